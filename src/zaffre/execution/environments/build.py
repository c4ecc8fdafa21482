"""The builder process: makes one environment under its lock. Told what on stdin, answers on stdout, logs to a file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import uv

from zaffre.errors import ZaffreError
from zaffre.execution.environments import settle
from zaffre.execution.environments.builder import READY, IndexLogin, Order, Outcome, ready
from zaffre.execution.environments.interpreters import find_interpreter
from zaffre.execution.environments.spec import Recipe
from zaffre.execution.errors import EnvironmentBuildError, EnvironmentSpecError
from zaffre.execution.files import remove_tree

_LAST_LINES = 25
# pip's settings under uv's names; pip separates by spaces, uv finds links separated by commas.
_PIP_TO_UV = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_FIND_LINKS": "UV_FIND_LINKS"}


def main() -> None:
    """Build, then answer; nobody being there to listen any more is no failure."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        with _signed_in(order.logins) as variables:
            build(order.recipe, Path(order.home), Path(order.log), variables)
        outcome = Outcome()
    except ZaffreError as error:
        outcome = Outcome(error=error.message, users_own=isinstance(error, EnvironmentSpecError))
    except OSError as error:
        outcome = Outcome(error=f"Building environment {order.recipe.key[:12]} failed: {error}.")
    try:
        os.write(1, msgspec.json.encode(outcome))
    except BrokenPipeError:
        return


def build(recipe: Recipe, home: Path, log_path: Path, variables: Mapping[str, str] | None = None) -> None:
    """Make the environment unless it is ready; `variables` are set for uv. Raises EnvironmentBuildError and EnvironmentSpecError."""
    folder = home / "environments" / recipe.key
    locked = open(folder.with_name(f"{recipe.key}.lock"), "a+", encoding="utf-8")  # noqa: SIM115 - closed by `with`
    with locked as lock, _Log(log_path, variables or {}) as log:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Not for whom: that may be a job of another workspace. The operator finds its log in the lock.
            log.say(f"Environment {recipe.key[:12]} is being built for another already; this one waits for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if ready(recipe, home) is not None:
            log.say(f"Environment {recipe.key[:12]} is ready.")
            return
        lock.truncate(0)
        lock.write(str(log_path))
        lock.flush()
        remove_tree(folder)  # what an earlier builder left half done
        _make(recipe, folder, log)


def _make(recipe: Recipe, folder: Path, log: _Log) -> None:
    began = time.monotonic()
    count = len(recipe.requirements)
    what = f"{count} requirement{'' if count == 1 else 's'}"
    log.say(f"Building environment {recipe.key[:12]}: Python {recipe.python}, {what}.")
    interpreter = find_interpreter(recipe.python)
    log.say(f"Using {interpreter}.")
    python = folder / "bin" / "python"
    log.run(
        ["venv", "--quiet", "--python", str(interpreter), "--no-project", str(folder)], "make the virtual environment"
    )
    bundled = _bundled_wheels(interpreter)
    if bundled:
        # A job may call pip, and old packages import setuptools; both come with Python itself, so no network is needed.
        log.run(_install(python, "--quiet", "--offline", "--no-deps", "--no-index", *bundled), "install pip")
    if recipe.requirements:
        wanted = folder / "requirements.txt"
        wanted.write_text("".join(f"{line}\n" for line in recipe.requirements), encoding="utf-8")
        log.run(_install(python, *recipe.options, "-r", str(wanted)), "install its packages")
    with open(folder / READY, "wb") as marker:
        marker.write(msgspec.json.encode({"python": recipe.python, "interpreter": str(interpreter)}))
        marker.flush()
        os.fsync(marker.fileno())
        os.fchmod(marker.fileno(), 0o400)
    settle.start(folder)
    log.say(f"Environment {recipe.key[:12]} was built in {time.monotonic() - began:.1f} s.")


def _install(python: Path, *arguments: str) -> list[str]:
    # Copied, not linked: a link would let a job write into uv's cache and so into every other environment.
    return ["pip", "install", "--link-mode=copy", "--python", str(python), *arguments]


def _bundled_wheels(interpreter: Path) -> list[str]:
    """The wheels of pip (before 3.12 setuptools too) inside `ensurepip`; Debian keeps them elsewhere or not at all."""
    code = (
        "import sysconfig; print(sysconfig.get_path('stdlib')); print(sysconfig.get_config_var('WHEEL_PKG_DIR') or '')"
    )
    done = subprocess.run([interpreter, "-I", "-S", "-c", code], capture_output=True, check=False, text=True)
    stdlib, _, packaged = done.stdout.strip().partition("\n")
    folders = [Path(stdlib, "ensurepip", "_bundled"), Path(packaged or "/usr/share/python-wheels")]
    for folder in folders:
        wheels = [str(path) for name in ("pip", "setuptools") for path in sorted(folder.glob(f"{name}-*.whl"))[-1:]]
        if wheels:
            return wheels
    return []


class _Log:
    """The log of the job that asked; uv writes into it itself, so its lines are there as they come."""

    def __init__(self, path: Path, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._file = open(path, "ab+", buffering=0)  # noqa: SIM115 - closed by `__exit__`

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def say(self, text: str) -> None:
        self._file.write(f"{text}\n".encode())

    def run(self, arguments: list[str], purpose: str) -> None:
        """Run uv; EnvironmentBuildError with what it said where it fails."""
        begin = self._file.seek(0, os.SEEK_END)
        command = [uv.find_uv_bin(), *arguments]
        # From the root: no project's uv.toml or pyproject.toml may decide anything here.
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=self._file,
            cwd="/",
            env={**_uv_environment(), **self._variables},
            check=False,
        )
        if done.returncode == 0:
            return
        self._file.seek(begin)
        said = [line for line in self._file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        self.say(f"Failed: uv {shlex.join(arguments)} (status {done.returncode})")
        reason = "\n".join(said[-_LAST_LINES:])
        raise EnvironmentBuildError(f"The environment could not be built; uv failed to {purpose}:\n{reason}")


@contextlib.contextmanager
def _signed_in(logins: tuple[IndexLogin, ...]) -> Iterator[dict[str, str]]:
    """A netrc file for uv that holds these before the operator's own, for as long as the build takes.

    And no cache: the one all builds share would give a page or a wheel to a workspace that may not fetch it.
    """
    if not logins:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="zaffre-build-") as folder:
        netrc = Path(folder, "netrc")
        own = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
        lines = [f"machine {one.host} login {_quoted(one.user)} password {_quoted(one.secret)}\n" for one in logins]
        with open(os.open(netrc, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
            file.writelines(lines)
            if own.is_file():
                file.write(own.read_text("utf-8"))
        yield {"NETRC": str(netrc), "UV_NO_CACHE": "1"}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _uv_environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    for pip_name, uv_name in _PIP_TO_UV.items():
        value = environment.get(pip_name)
        if value and uv_name not in environment:
            environment[uv_name] = ",".join(value.split()) if uv_name == "UV_FIND_LINKS" else value
    # Only interpreters that are here; fetching one is the operator's decision.
    environment.setdefault("UV_PYTHON_DOWNLOADS", "never")
    environment["UV_NO_PROGRESS"] = "1"
    return environment


if __name__ == "__main__":
    main()
