"""The peer of tracking: `mlflow server`, the newest that installs, in a virtual environment of its own, as it comes.

Its defaults stay: workers, SQLite's journal and `synchronous=FULL`, PostgreSQL's `synchronous_commit`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uv

from benchmarks import processes
from benchmarks.server import ServerError, environment

START_S = 180.0
API = "/api/2.0/mlflow"


def install(folder: Path) -> Path:
    """The Python of the environment, made once a folder (about 900 MB from PyPI)."""
    python = folder / "mlflow" / "bin" / "python"
    tool = uv.find_uv_bin()
    if not python.exists():
        subprocess.run([tool, "venv", "-q", "--python", sys.executable, folder / "mlflow"], check=True)
        subprocess.run([tool, "pip", "install", "-q", "-p", python, "mlflow", "psycopg[binary]"], check=True)
    return python


def version(python: Path) -> str:
    code = "import importlib.metadata as m; print(m.version('mlflow'))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


class MlflowServer:
    """One server on one database; `folder` is its working folder, where artifacts and the SQLite file lie."""

    def __init__(self, python: Path, folder: Path, database_url: str | None = None) -> None:
        self.folder = folder
        self.port = _free_port()
        self._python = python
        self._url = database_url or f"sqlite:///{folder / 'mlflow.db'}"
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[MlflowServer]:
        """Up when it answers; down at the end, with all of its workers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(self._python.with_name("mlflow")), "server", "--backend-store-uri", self._url]
        command += ["--port", str(self.port), "--artifacts-destination", str(self.folder / "artifacts")]
        with open(self.folder / "server.log", "ab") as log:
            self._process = process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**environment(), "MLFLOW_DISABLE_TELEMETRY": "true"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._await(process)
            yield self
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    @property
    def pids(self) -> list[int]:
        assert self._process is not None, "it is up"
        return processes.tree(self._process.pid)

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's document. Raises ServerError when it is no success."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise ServerError(f"mlflow: {method} {path}: {answer.status}: {text[:1000].decode(errors='replace')}")
        return json.loads(text)

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.json("GET", f"{API}/experiments/get?experiment_id=0")
                return
            except (OSError, http.client.HTTPException, ServerError) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    log = (self.folder / "server.log").read_text(errors="replace")
                    raise ServerError(f"mlflow server did not start: {error}\n{log[-2000:]}") from error
            time.sleep(0.1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
