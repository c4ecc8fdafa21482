"""Ray Jobs, for comparison: a head of its own in a virtual environment of its own (about 300 MB from PyPI)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uv

from benchmarks.job_start import LINE, SCRIPT

HOST = "127.0.0.1"
DASHBOARD, HEAD = 28265, 26379  # outside of 10002–19999, which Ray gives to its workers
PATIENCE_S = 180.0


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Callable[[], float]]:
    """Install and start Ray; yields what measures one job: from the POST to the first line in the job's log."""
    python = folder / "ray" / "bin" / "python"
    tool = uv.find_uv_bin()
    if not python.exists():
        subprocess.run([tool, "venv", "-q", "--python", sys.executable, folder / "ray"], check=True)
        subprocess.run([tool, "pip", "install", "-q", "-p", python, "ray[default]"], check=True)
    ports = [f"--port={HEAD}", f"--dashboard-host={HOST}", f"--dashboard-port={DASHBOARD}"]
    start = [
        str(python.with_name("ray")),
        "start",
        "--head",
        "--block",
        *ports,
        "--disable-usage-stats",
        f"--temp-dir={folder / 'ray-session'}",
    ]
    with subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as head:
        try:
            _await_head(head)
            yield job_s
        finally:
            head.terminate()


def version(folder: Path) -> str:
    command = [str(folder / "ray" / "bin" / "python"), "-c", "import ray; print(ray.__version__)"]
    return str(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def job_s() -> float:
    started = time.perf_counter()
    job = _ask("POST", "/api/jobs/", {"entrypoint": f'python -c "{SCRIPT}"'})["submission_id"]
    while LINE not in _ask("GET", f"/api/jobs/{job}/logs")["logs"]:
        if time.perf_counter() - started > PATIENCE_S:
            raise TimeoutError(f"Ray's job {job} printed nothing within {PATIENCE_S:.0f} s")
        time.sleep(0.005)
    taken = time.perf_counter() - started
    while _ask("GET", f"/api/jobs/{job}")["status"] not in ("SUCCEEDED", "FAILED", "STOPPED"):
        time.sleep(0.1)
    return taken


def _await_head(head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            _ask("GET", "/api/jobs/")
        except (urllib.error.URLError, ConnectionError):
            if head.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def _ask(method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{HOST}:{DASHBOARD}{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
