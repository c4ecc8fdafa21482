"""Ready environments: found in microseconds, built once by a process that outlives the server.

<home>/environments/<key>/ is a virtual environment; it is ready when its `.ready` file is there, which is written last.
(Building elsewhere and renaming would break the absolute paths in its scripts.) It is never changed afterwards.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from zaffre.errors import Unavailable
from zaffre.execution.environments.spec import Recipe
from zaffre.execution.errors import EnvironmentBuildError, EnvironmentSpecError

READY = ".ready"
_MODULE = "zaffre.execution.environments.build"
_KEPT_PREFIXES = ("UV_", "PIP_", "XDG_", "SSL_CERT_", "PYENV_")
_KEPT = {
    *("HOME", "PATH", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME", "NETRC"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CC", "CXX", "CFLAGS", "LDFLAGS", "CUDA_HOME"),
}


class IndexLogin(msgspec.Struct, frozen=True):
    """What signs in to a private package index: for its host, whatever the path."""

    host: str
    user: str
    secret: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a builder process is told, on its standard input: no argument and no variable of it holds a secret."""

    recipe: Recipe
    home: str
    log: str
    logins: tuple[IndexLogin, ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What it answers; `users_own` marks an error in what the user asked for."""

    error: str | None = None
    users_own: bool = False


def ready(recipe: Recipe, home: Path) -> Path | None:
    """The interpreter of a ready environment; None where it has still to be built.

    Asking for one is using it: the time of its `.ready` file is that of its last use, by which `cleanup` goes.
    """
    folder = home / "environments" / recipe.key
    python = folder / "bin" / "python"
    try:
        os.utime(folder / READY)
    except FileNotFoundError:
        return None
    # `exists` follows the link: an interpreter that was removed from the machine makes the environment unready.
    return python if python.exists() else None


def ensure(recipe: Recipe, home: Path, log: Path, logins: tuple[IndexLogin, ...] = ()) -> Path:
    """The interpreter of the recipe's environment, built first where need be; what uv says goes to `log` as it comes.

    Callers at the same time, in other processes too, wait for one build. Raises EnvironmentBuildError with the
    resolver's own words, EnvironmentSpecError where the machine has no such Python.
    """
    python = ready(recipe, home)
    if python is not None:
        return python
    process = _begin(recipe, home, log, logins)
    answer, _ = process.communicate()
    return _finish(recipe, home, log, process.returncode, answer)


async def ensure_async(recipe: Recipe, home: Path, log: Path, logins: tuple[IndexLogin, ...] = ()) -> Path:
    """The same without holding up loop or thread. A build outlasts a cancelled caller: others may want it."""
    python = ready(recipe, home)
    if python is not None:
        return python
    process = _begin(recipe, home, log, logins)
    answer = await _read_all(process)
    return _finish(recipe, home, log, process.wait(), answer)


def _begin(recipe: Recipe, home: Path, log: Path, logins: tuple[IndexLogin, ...]) -> subprocess.Popen[bytes]:
    folder = home / "environments"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    order = Order(recipe=recipe, home=str(home.absolute()), log=str(log.absolute()), logins=logins)
    package = Path(__file__).parents[3]
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=folder,
            env={**_own_environment(), "PYTHONPATH": str(package), "PYTHONSAFEPATH": "1"},
            start_new_session=True,
        )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(order))
    process.stdin.close()
    process.stdin = None
    return process


def _finish(recipe: Recipe, home: Path, log: Path, status: int, answer: bytes) -> Path:
    try:
        outcome = msgspec.json.decode(answer, type=Outcome)
    except msgspec.DecodeError:
        raise Unavailable(
            f"The builder of environment {recipe.key[:12]} died (status {status}) before telling why; see {log.name}."
        ) from None
    if outcome.error is not None and outcome.users_own:
        raise EnvironmentSpecError(outcome.error, target="environment")
    if outcome.error is not None:
        raise EnvironmentBuildError(outcome.error)
    python = ready(recipe, home)
    if python is None:
        raise Unavailable(f"The environment {recipe.key[:12]} was built and is gone; build it again.")
    return python


async def _read_all(process: subprocess.Popen[bytes]) -> bytes:
    """What the process writes until its end; asyncio's own subprocess would kill it when dropped."""
    assert process.stdout is not None
    source = process.stdout.fileno()
    os.set_blocking(source, False)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()
    parts: list[bytes] = []

    def read() -> None:
        try:
            part = os.read(source, 65536)
        except BlockingIOError:
            return
        parts.append(part)
        if not part and not done.done():
            done.set_result(b"".join(parts))

    loop.add_reader(source, read)
    try:
        return await done
    finally:
        loop.remove_reader(source)
        process.stdout.close()


def _own_environment() -> dict[str, str]:
    """Build steps of source packages run in this: the operator's index, proxy and compiler settings, nothing else."""
    return {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
