"""One typed settings object: where things lie and how this server is reached.

Every field can be given as an environment variable `ZAFFRE_<NAME>`; the command line wins over it.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec

DEFAULT_PORT = 8443
DEFAULT_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
DEFAULT_GROUP = "zaffre"
DEFAULT_WORKSPACE = "default"
CLOUD_NAME = "Zaffre"
TENANT = "8e2f7a0c-6b1d-4c55-9a3e-5d0f1e2a3b4c"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`address` is canonical: scheme, host and port as clients are told them, without a trailing slash.

    `data_folders` are the folders of this machine, absolute, that datastores may lie in; without one, none may.
    `webhook_hosts` are the only hosts that webhooks may go to, where there are any (docs/webhooks.md).
    `gateway_hosts` are hosts that the AI gateway may ask beside the providers' own (docs/gateway.md).
    `shared` is a folder that several servers on one PostgreSQL have in common: stored bytes and keys lie there.
    """

    home: Path
    port: int = DEFAULT_PORT
    database_url: str | None = None
    edge: bool = True
    subscription: str = DEFAULT_SUBSCRIPTION
    resource_group: str = DEFAULT_GROUP
    workspace: str = DEFAULT_WORKSPACE
    location: str = "local"
    names: tuple[str, ...] = ()
    data_folders: tuple[Path, ...] = ()
    shared: Path | None = None
    webhook_hosts: tuple[str, ...] = ()
    gateway_hosts: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def own_hosts(self) -> frozenset[str]:
        """Every Host header by which clients may call us; any other is ignored. With port 443 it may be left out."""
        return _hosts(self.port, self.names)

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'zaffre.db'}"

    @property
    def objects(self) -> Path:
        return (self.shared or self.home) / "objects"

    @property
    def jobs(self) -> Path:
        return self.home / "jobs"

    @property
    def deployments(self) -> Path:
        return self.home / "deployments"

    @property
    def edge_folder(self) -> Path:
        return self.home / "edge"

    @property
    def kept_bodies(self) -> Path | None:
        """Where nginx keeps large uploads until they are adopted: below its own folder, under numbers. None where there is no edge."""
        return self.edge_folder / "tmp" / "body" if self.edge else None

    @property
    def keys(self) -> Path:
        return (self.shared or self.home) / "keys"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def credentials(self) -> Path:
        return self.home / "credentials"

    @property
    def bundle(self) -> Path:
        """Public roots plus our own CA, what `REQUESTS_CA_BUNDLE` and `SSL_CERT_FILE` name."""
        return self.home / "bundle.pem"


@functools.lru_cache
def _hosts(port: int, names: tuple[str, ...]) -> frozenset[str]:
    """A name may bring a port of its own: that of a proxy in front, or of a container's host."""
    given = ("localhost", "127.0.0.1", "[::1]", socket.gethostname().lower(), *(name.lower() for name in names))
    whole = [name if re.search(r"[^:]:\d+$", name) else f"{name}:{port}" for name in given]
    return frozenset([*whole, *(host.removesuffix(":443") for host in whole)])


def default_home() -> Path:
    return Path(os.environ.get("ZAFFRE_HOME") or Path.home() / ".zaffre").absolute()


def home_option(home: Path) -> str:
    """What a command of this shell has to say to mean `home`: nothing where it is the usual one."""
    return "" if home.absolute() == default_home() else f" --home {shlex.quote(str(home))}"


def load(home: Path | None = None, environ: dict[str, str] | None = None) -> Settings:
    """Settings for `home` from the environment. Raises ValueError that names the variable that is wrong."""
    env = dict(os.environ if environ is None else environ)
    text = {
        "database_url": env.get("ZAFFRE_DATABASE_URL"),
        "subscription": env.get("ZAFFRE_SUBSCRIPTION"),
        "resource_group": env.get("ZAFFRE_RESOURCE_GROUP"),
        "workspace": env.get("ZAFFRE_WORKSPACE"),
        "location": env.get("ZAFFRE_LOCATION"),
    }
    given = {name: value for name, value in text.items() if value}
    names = tuple(n.strip() for n in env.get("ZAFFRE_NAMES", "").split(",") if n.strip())
    place = (home or default_home()).absolute()
    shared = _shared(env.get("ZAFFRE_SHARED", ""), env.get("ZAFFRE_DATABASE_URL", ""))
    return Settings(
        home=place,
        port=_port(env.get("ZAFFRE_PORT", "")),
        edge=env.get("ZAFFRE_EDGE", "1") != "0",
        names=names,
        data_folders=_folders(env.get("ZAFFRE_DATA_FOLDERS", ""), (place, *filter(None, [shared]))),
        shared=shared,
        webhook_hosts=_hosts_named(env, "ZAFFRE_WEBHOOK_HOSTS"),
        gateway_hosts=_hosts_named(env, "ZAFFRE_GATEWAY_HOSTS"),
        **given,
    )


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not text.isascii() or not text.isdigit() or not 0 <= int(text) <= 65535:
        raise ValueError(f"ZAFFRE_PORT is {text!r}; expected a number from 0 to 65535.")
    return int(text)


def _hosts_named(env: Mapping[str, str], variable: str) -> tuple[str, ...]:
    found = tuple(part.strip().lower() for part in env.get(variable, "").split(",") if part.strip())
    for one in found:
        if not re.fullmatch(r"(http://)?(\*\.)?([\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", one):
            raise ValueError(
                f"{variable} names '{one}'; expected hosts like 'example.com', '*.example.com', 'localhost:8080' or "
                "'http://localhost:8080', parted by commas."
            )
    return found


def _shared(text: str, database_url: str) -> Path | None:
    if not text:
        return None
    if not Path(text).is_absolute():
        raise ValueError(f"ZAFFRE_SHARED is {text!r}; expected an absolute folder.")
    if not database_url.startswith("postgresql"):
        raise ValueError("ZAFFRE_SHARED is for several servers on one PostgreSQL; set ZAFFRE_DATABASE_URL as well.")
    return Path(text)


def _folders(text: str, homes: tuple[Path, ...]) -> tuple[Path, ...]:
    """Whoever may make a datastore reads all below them, so the keys must not lie there."""
    found = tuple(Path(part) for part in text.split(":") if part.strip())
    for path in found:
        if not path.is_absolute() or path == Path("/"):
            raise ValueError(
                f"ZAFFRE_DATA_FOLDERS names '{path}'; expected absolute folders other than '/', parted by ':'."
            )
        for home in homes:
            real, own = path.resolve(), home.resolve()
            if own.is_relative_to(real) or real.is_relative_to(own):
                raise ValueError(
                    f"ZAFFRE_DATA_FOLDERS names '{path}', which holds or lies in Zaffre's own home, {home}; name other folders."
                )
    return found
