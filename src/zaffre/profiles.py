"""Which server a command or a notebook means: the one of a home, or one remembered by name in `~/.config/zaffre/<name>`,
which `zaffre login` writes for a server on another host.

A home on this machine always wins over what a profile remembers of it: a restart may have changed its port.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import msgspec

from zaffre.settings import DEFAULT_GROUP, DEFAULT_SUBSCRIPTION, DEFAULT_WORKSPACE, default_home, home_option
from zaffre.supervisor import client as supervisor

DEFAULT_NAME = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ClientError(Exception):
    """A command cannot go on: the message says what happened, to what, and what to do."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is reached and who asks. `home` is its folder when it runs on this machine."""

    address: str
    bundle: str
    api_key: str
    subscription: str = DEFAULT_SUBSCRIPTION
    resource_group: str = DEFAULT_GROUP
    workspace: str = DEFAULT_WORKSPACE
    home: str | None = None

    @property
    def scope(self) -> str:
        """The ARM id of the workspace."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.workspace}"
        )

    def at(
        self, subscription: str | None = None, resource_group: str | None = None, workspace: str | None = None
    ) -> Profile:
        """The same server, another workspace."""
        return msgspec.structs.replace(
            self,
            subscription=subscription or self.subscription,
            resource_group=resource_group or self.resource_group,
            workspace=workspace or self.workspace,
        )


def resolve(home: Path | None = None, name: str | None = None) -> Profile:
    """The server meant: by its home, by a profile's name, by `ZAFFRE_HOME` or `ZAFFRE_PROFILE`, else the default one.

    Where no server has run on the default home, that is the profile `default`, or the only profile there is.

    It need not run; `require_running` checks. Raises ClientError when nothing is known of it.
    """
    if home is not None:
        return of_home(home)
    if name is None and os.environ.get("ZAFFRE_HOME"):
        return of_home(default_home())
    name = name or os.environ.get("ZAFFRE_PROFILE") or None
    if name is None:
        fallback = DEFAULT_NAME if path_of(DEFAULT_NAME).exists() else only_one()
        if (default_home() / "credentials").exists() or fallback is None:
            return of_home(default_home())
        name = fallback
    return load(name)


def of_home(home: Path) -> Profile:
    """What `<home>/credentials` says. Raises ClientError when no server has run there yet."""
    home = home.expanduser().absolute()
    found = _read(home / "credentials")
    if found is None:
        raise ClientError(f"No Zaffre has run on {home} yet; start one with `zaffre up{home_option(home)}`.")
    try:
        return _profile({**found, "bundle": str(home / "bundle.pem"), "home": str(home)})
    except msgspec.ValidationError as error:
        raise ClientError(
            f"{home / 'credentials'} is damaged ({error}); the next `zaffre up` writes it anew."
        ) from None


def require_running(profile: Profile) -> Profile:
    """The profile with the address the server has now. Raises ClientError when it is down or not ready yet."""
    if profile.home is None:
        return profile
    status = supervisor.status(Path(profile.home))
    if status is None:
        start = f"`zaffre up{home_option(Path(profile.home))}`"
        raise ClientError(f"No Zaffre runs on {profile.home}; start it with {start}.")
    if not status["application"]["ready"]:
        raise ClientError(f"Zaffre on {profile.home} is still starting; try again in a moment.")
    return msgspec.structs.replace(profile, address=status["address"])


def path_of(name: str) -> Path:
    """The file of a profile. Raises ClientError for a name that is no plain file name."""
    if not _NAME.fullmatch(name):
        raise ClientError(f"'{name}' is no profile name; use letters, digits, dots, dashes and underscores.")
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".config") / "zaffre" / name


def load(name: str) -> Profile:
    """The remembered profile, or what its home says now if that is on this machine."""
    path = path_of(name)
    found = _read(path)
    if found is None:
        raise ClientError(
            f"There is no profile '{name}' ({path}); `zaffre login URL --name {name}` makes one for a server on another host, "
            f"`zaffre up --profile {name}` for one on this."
        )
    home = found.get("home")
    if isinstance(home, str) and ("address" not in found or (Path(home) / "credentials").exists()):
        return of_home(Path(home))
    try:
        return _profile(found)
    except msgspec.ValidationError as error:
        raise ClientError(f"The profile {path} is damaged ({error}); remove it, or correct it.") from None


def names() -> list[str]:
    """The profiles there are."""
    folder = path_of(DEFAULT_NAME).parent
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_file() and _NAME.fullmatch(path.name))


def only_one() -> str | None:
    """The name of the only profile; None when there are none or several."""
    found = names()
    return found[0] if len(found) == 1 else None


def bundle_of(name: str) -> Path:
    """Where the roots lie by which a server on another host is trusted. No profile has a name that begins with a dot."""
    path = path_of(name)
    return path.parent / ".trust" / f"{name}.pem"


def remove(name: str) -> None:
    """Forget a profile, and whom it trusts. Raises ClientError when there is none of that name."""
    path = path_of(name)
    if not path.is_file():
        raise ClientError(f"There is no profile '{name}' ({path}).")
    path.unlink()
    bundle_of(name).unlink(missing_ok=True)


def save(name: str, profile: Profile) -> Path:
    """Remember `profile` under `name`, readable by its owner only."""
    return _write(path_of(name), msgspec.to_builtins(profile))


def announce(name: str, home: Path) -> Path:
    """Remember under `name` where a server is about to start; the first command that uses it fills in the rest."""
    path = path_of(name)
    known = _read(path) if path.exists() else None
    return path if known is not None and known.get("home") == str(home) else _write(path, {"home": str(home)})


def name_for(home: Path) -> str | None:
    """The profile a home is remembered under unasked: only the default home has one."""
    return DEFAULT_NAME if home.expanduser().absolute() == (Path.home() / ".zaffre").absolute() else None


def _write(path: Path, value: dict[str, Any]) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = json.dumps(value, indent=1).encode() + b"\n"
    if path.is_file() and path.read_bytes() == content and stat.S_IMODE(path.stat().st_mode) == 0o600:
        return path
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    new.rename(path)
    return path


def _profile(value: dict[str, Any]) -> Profile:
    return msgspec.convert(value, Profile)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except PermissionError:
        raise ClientError(f"{path} belongs to another user; it holds the key of the server's owner.") from None
    except ValueError:
        raise ClientError(f"{path} is not JSON; it is damaged.") from None
    return value if isinstance(value, dict) else {}
