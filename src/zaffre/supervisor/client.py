"""Talking to the supervisor of a home: what the command line uses. Standard library only, and quick to import."""

import json
import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zaffre.supervisor import platform_linux
from zaffre.supervisor.errors import NotRunningError, SupervisorError

STOP_SECONDS = 180.0
_LAST_INSTANT_SECONDS = 5.0
_LONGEST_PATH = 107


def status(home: Path) -> dict[str, Any] | None:
    """What runs on this home, or None when no supervisor does.

    `{"pid", "port", "address", "since", "listen": ["127.0.0.1:8443", …],
    "authority": SHA-256 of the CA | None, "application": {"pid", "ready", "restarts"},
    "nginx": {"pid", "version", "adopted"} | None}`. Raises `SupervisorError` when the supervisor gives no answer.
    """
    try:
        with _connection(home, timeout=10.0) as connection:
            return next(_ask(connection, {"cmd": "status"}))
    except NotRunningError:
        return None
    except (TimeoutError, StopIteration) as error:
        raise SupervisorError(f"The supervisor of {home} gave no answer to `status`.") from error


def stop(home: Path, cancel_jobs: bool = False, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Stop what runs on this home and wait for its end: `{"stopped": true, "running_jobs": [names that go on]}`.

    Raises `NotRunningError` when nothing runs, `SupervisorError` when it does not stop in three minutes.
    """
    try:
        with _connection(home, timeout=STOP_SECONDS) as connection:
            for answer in _ask(connection, {"cmd": "stop", "cancel_jobs": cancel_jobs}):
                if "stopped" in answer:
                    _wait_for_end(answer.pop("pid"))
                    return answer
                if progress is not None and "progress" in answer:
                    progress(answer["progress"])
    except TimeoutError as error:
        raise SupervisorError(f"The supervisor of {home} has not stopped in {STOP_SECONDS:.0f} s.") from error
    raise SupervisorError(f"The supervisor of {home} ended without saying what goes on; look with `status`.")


def _wait_for_end(pid: int) -> None:
    """It has said its last word and holds the lock for an instant more; whoever asked may want to start the next."""
    pidfd = platform_linux.open_pidfd(pid)
    if pidfd is not None:
        select.select([pidfd], [], [], _LAST_INSTANT_SECONDS)
        os.close(pidfd)


@contextmanager
def _connection(home: Path, *, timeout: float) -> Iterator[socket.socket]:
    folder: int | None = None
    path = home.absolute() / "run" / "supervisor.sock"
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        try:
            if len(os.fsencode(path)) > _LONGEST_PATH:
                folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                path = platform_linux.folder_alias(folder) / path.name
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunningError(f"No Zaffre runs on {home}; start one with `zaffre up`.") from error
        yield connection
    finally:
        connection.close()
        if folder is not None:
            os.close(folder)


def _ask(connection: socket.socket, command: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send a command; every answer until the other end closes."""
    connection.sendall(json.dumps(command).encode() + b"\n")
    with connection.makefile("rb") as answers:
        for line in answers:
            yield json.loads(line)
