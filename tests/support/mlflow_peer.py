"""A real `mlflow server` on SQLite, from an environment of its own, on a free port."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.support.zaffre_server import eventually

PARTS = ("flask", "flask-cors", "sqlalchemy", "alembic", "aiohttp", "huey", "graphene", "numpy", "pandas<3")
"""What the server needs beside `mlflow-skinny`; the whole package would bring ten times as much."""
START_S = 120.0


@contextlib.contextmanager
def serving(python: Path, folder: Path, *arguments: str) -> Iterator[str]:
    """The address of a server whose database and files lie in `folder`; it is gone afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(python), "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *arguments]
    quiet = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"],
            cwd=folder,
            env={**os.environ, **quiet},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, port, folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    def said() -> str:
        return log.read_text(errors="replace")[-4000:]

    def state() -> str:
        """`up`, `gone`, or what it has said so far."""
        if process.poll() is not None:
            return "gone"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return "up" if answer.status == 200 else said()
        except OSError:
            return said()

    ended = eventually(state, lambda seen: seen in ("up", "gone"), seconds=START_S, what="mlflow server")
    assert ended == "up", f"mlflow server did not start:\n{said()}"
