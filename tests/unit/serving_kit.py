"""What the tests of serving share: a real environment with the inference server, plans, a client for unix sockets."""

from __future__ import annotations

import atexit
import contextlib
import functools
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uv

from zaffre.serving.plan import DeploymentPlan, Probe

PACKAGES = ("azureml-inference-server-http", "mlflow-skinny", "scikit-learn", "skops", "numpy", "pandas")


@functools.cache
def environment() -> Path:
    """`bin/python` of an environment with the inference server, mlflow-skinny and scikit-learn, made once a session."""
    folder = Path(_session_folder()) / "env"
    make_environment(folder, *PACKAGES)
    return folder / "bin" / "python"


def make_environment(folder: Path, *packages: str) -> None:
    tool = uv.find_uv_bin()
    subprocess.run([tool, "venv", "-q", "--python", sys.executable, folder], check=True, timeout=60)
    if packages:
        subprocess.run(
            [tool, "pip", "install", "-q", "-p", folder / "bin" / "python", *packages], check=True, timeout=300
        )


def make_plan(root: Path, name: str = "blue-1", *, script: str | None = None, **changes: Any) -> DeploymentPlan:
    """A plan under `root`; `script` is the text of score.py (None for an MLflow model)."""
    code = root / f"code-{name}"
    model = root / "model"
    model.mkdir(exist_ok=True)
    if script is not None:
        code.mkdir()
        (code / "score.py").write_text(script)
    fields: dict[str, Any] = {
        "id": name,
        "endpoint": "ep",
        "deployment": name.partition("-")[0],
        "folder": str(root / "deployments" / name),
        "interpreter": str(environment()),
        "socket": str(root / "edge" / "d" / "blue-0.sock"),
        "kind": "mlflow" if script is None else "script",
        "code_dir": None if script is None else str(code),
        "entry_script": None if script is None else "score.py",
        "model_dir": str(model),
        "request_timeout_s": 5.0,
        "startup_timeout_s": 120.0,
        "readiness": Probe(period_s=1.0),
    }
    return DeploymentPlan(**(fields | changes))


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


def score(path: str | Path, payload: Any, *, route: str = "/score", raw: bytes | None = None) -> Answer:
    """One request over the unix socket, on a connection of its own; waits for the answer."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = _connected(Path(path))
    body = json.dumps(payload).encode() if raw is None else raw
    try:
        connection.request("GET" if route != "/score" else "POST", route, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """For states that announce themselves to nobody; bounded, and says what never came."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def _connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        client.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    return client


@functools.cache
def _session_folder() -> str:
    folder = contextlib.ExitStack()
    path = folder.enter_context(tempfile.TemporaryDirectory(prefix="zaffre-serving-"))
    atexit.register(folder.close)
    return path
