"""From a job's PUT to the first line's bytes in its served log, beside a bare subprocess (and Ray Jobs, when asked)."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.parse
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.figures import Figure
from benchmarks.samples import Sample, ratios
from benchmarks.server import ARM, Client, Server, ServerError
from zaffre.execution.environments.spec import EnvironmentSpec, resolve

T = TypeVar("T")
IMAGE = f"python:{sys.version_info.major}.{sys.version_info.minor}"
LINE = "first line"
SCRIPT = f"print('{LINE}')"
LOG = "user_logs/std_log.txt"
PATIENCE_S = 120.0


def measure(server: Server, *, rounds: int, ray: Callable[[], float] | None = None) -> list[Figure]:
    with server.client() as client:
        environment = _environment(client, server.scope)
        job_s(client, server.scope, environment)  # builds the environment: the rest find it warm
        python = _interpreter(server.home)
        bare, ours, peers = [], [], []
        for _ in range(rounds):
            bare.append(bare_s(python))
            ours.append(job_s(client, server.scope, environment))
            if ray is not None:
                peers.append(ray())
    return _figures(Sample.of(bare), Sample.of(ours), Sample.of(peers) if peers else None)


def bare_s(python: Path) -> float:
    """From the start of a Python to its first line in a pipe."""
    started = time.perf_counter()
    with subprocess.Popen([python, "-c", SCRIPT], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        taken = time.perf_counter() - started
    assert line.strip() == LINE.encode()
    return taken


def job_s(client: Client, scope: str, environment: str) -> float:
    """From sending the PUT to having the line from the signed address of the log. The job is over when this returns."""
    name = f"bench-{uuid.uuid4().hex[:12]}"
    job = f"{scope}/jobs/{name}"
    started = time.perf_counter()
    client.arm("PUT", job, _job(f'python -c "{SCRIPT}"', environment))
    address = _when(started, lambda: _log_address(client, scope, name))
    _when(started, lambda: _log(client, address))
    taken = time.perf_counter() - started
    _end(client, job)
    return taken


def _figures(bare: Sample, ours: Sample, ray: Sample | None) -> list[Figure]:
    factor = ratios(ours, bare)
    found = [
        Figure("bare subprocess of the job's Python, start to first line", bare.text("ms", scale=1000)),
        Figure("job: PUT to the first line in the served log, warm environment", ours.text("ms", scale=1000)),
        Figure("… as a multiple of the bare subprocess", factor.text("×", digits=1), factor.median, 10.0, "≤ 10 ×"),
    ]
    if ray is not None:
        found.append(Figure("Ray Jobs, running head: POST to the first line in its log", ray.text("ms", scale=1000)))
        found.append(Figure("… Ray's time as a multiple of ours", ratios(ray, ours).text("×", digits=1)))
    return found


def _environment(client: Client, scope: str) -> str:
    path = f"{scope}/environments/bench/versions/1"
    return str(client.arm("PUT", path, {"image": IMAGE})["id"])


def _interpreter(home: Path) -> Path:
    """The Python of the environment the jobs run in."""
    return home / "environments" / resolve(EnvironmentSpec(image=IMAGE)).key / "bin" / "python"


def _job(command: str, environment: str) -> dict[str, object]:
    return {"jobType": "Command", "command": command, "environmentId": environment, "experimentName": "bench"}


def _log_address(client: Client, scope: str, name: str) -> str | None:
    files = client.json("GET", f"/history/v1.0{scope}/runs/{name}/details")["logFiles"]
    return _path(files[LOG]) if LOG in files else None


def _log(client: Client, address: str) -> bytes | None:
    """The log without a credential, as its signed address allows; None while it is empty."""
    status, body = client.raw("GET", address, headers={})
    if status != 200:
        raise ServerError(f"{address}: {status}: {body[:500].decode(errors='replace')}")
    return body or None


def _when(started: float, look: Callable[[], T | None]) -> T:
    """What `look` finds, asked again after 5 ms: more often would slow down what is measured."""
    while (found := look()) is None:
        if time.perf_counter() - started > PATIENCE_S:
            raise ServerError(f"no first line of the job within {PATIENCE_S:.0f} s")
        time.sleep(0.005)
    return found


def _end(client: Client, job: str) -> None:
    state = client.wait(job, "status", ("Completed", "Failed", "Canceled"), seconds=PATIENCE_S)
    if state != "Completed":
        raise ServerError(f"{job} ended {state}: {client.raw('GET', f'{job}?{ARM}')[1].decode(errors='replace')}")


def _path(address: str) -> str:
    parts = urllib.parse.urlsplit(address)
    return f"{parts.path}?{parts.query}"
