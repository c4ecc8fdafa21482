"""What the edge costs a scoring request: CPU of nginx and model server through it, beside the model server alone.

The endpoint is deployed through the product. It is measured as it stands, with azureml-inference-server-http, and again
with a stand-in at the same socket: one scoring call of the real server costs milliseconds that vary by more than the
edge takes, so only the stand-in shows the difference itself.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from benchmarks import load, processes
from benchmarks.figures import Figure
from benchmarks.samples import Sample, differences
from benchmarks.server import Client, Server, ServerError

ENDPOINT, DEPLOYMENT = "bench", "blue"
CLIENTS = 16
BUILD_S = 600.0
BODY = json.dumps({"data": [[5.1, 3.5, 1.4, 0.2]] * 4}).encode()
SCORE = "import json\n\n\ndef init():\n    pass\n\n\ndef run(raw):\n    return {'rows': len(json.loads(raw)['data'])}\n"


def measure(server: Server, *, rounds: int, requests: int, real_requests: int) -> list[Figure]:
    """The server is up."""
    with server.client() as client:
        key = _deploy(client, server)
    socket = next((server.home / "edge" / "d").glob("*-0.sock"))
    through = load.Target(port=server.port, context=server.context())
    alone = load.Target(socket=socket)
    path = f"/endpoints/{ENDPOINT}/score"
    asked = load.message("POST", path, BODY, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    asked_directly = load.message("POST", "/score", BODY, {"Content-Type": "application/json"})

    def both(model: int, count: int) -> tuple[Sample, Sample, Sample]:
        edge, model_behind, direct = [], [], []
        for _ in range(rounds):
            edge_us, model_us = _cost(through, asked, count, server.nginx, processes.tree(model))
            edge.append(edge_us)
            model_behind.append(model_us)
            direct.append(_cost(alone, asked_directly, count, [], processes.tree(model))[1])
        return Sample.of(edge), Sample.of(model_behind), Sample.of(direct)

    real = both(_model_server(server.home), real_requests)
    with _stand_in(socket) as pid:
        light = both(pid, requests)
    return _figures(light, real)


def _figures(light: tuple[Sample, Sample, Sample], real: tuple[Sample, Sample, Sample]) -> list[Figure]:
    edge, behind, direct = light
    together = Sample.of([one + other for one, other in zip(edge.values, behind.values, strict=True)])
    more = differences(together, direct)
    return [
        Figure(
            f"scoring through the edge less the model server called directly, {CLIENTS} TLS clients: CPU a request",
            more.text("µs"),
            more.median,
            60.0,
            "≤ 60 µs",
        ),
        Figure("… nginx alone (TLS, key, split, log)", edge.text("µs")),
        Figure("… stand-in model server, behind the edge / directly", f"{behind.text('µs')} / {direct.text('µs')}"),
        Figure("azureml-inference-server-http deployed by Zaffre: nginx", real[0].text("µs")),
        Figure("… its own CPU, behind the edge / directly", f"{real[1].text('µs')} / {real[2].text('µs')}"),
    ]


def _cost(target: load.Target, request: bytes, count: int, edge: list[int], model: list[int]) -> tuple[float, float]:
    """CPU microseconds a request of nginx and of the model server."""

    def look() -> tuple[float, float]:
        return processes.cpu_s(edge), processes.cpu_s(model)

    before, after, _ = load.between(target, request, clients=CLIENTS, requests=count, look=look)
    return (after[0] - before[0]) / count * 1e6, (after[1] - before[1]) / count * 1e6


def _deploy(client: Client, server: Server) -> str:
    """An endpoint with one script deployment that takes all traffic; its key."""
    scope = server.scope
    endpoint = f"{scope}/onlineEndpoints/{ENDPOINT}"
    deployment = f"{endpoint}/deployments/{DEPLOYMENT}"
    code = _upload(client, scope)
    conda = {"dependencies": ["python=3.11", {"pip": ["azureml-inference-server-http"]}]}
    image = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
    properties = {"image": image, "condaFile": json.dumps(conda)}  # JSON is YAML
    environment = client.arm("PUT", f"{scope}/environments/bench-serving/versions/1", properties)["id"]
    client.arm("PUT", endpoint, {"authMode": "Key"}, location="local")
    _settled(client, endpoint)
    wished = {
        "endpointComputeType": "Managed",
        "codeConfiguration": {"codeId": code, "scoringScript": "score.py"},
        "environmentId": environment,
        "requestSettings": {"maxConcurrentRequestsPerInstance": 100, "requestTimeout": "PT60S"},
    }
    client.arm("PUT", deployment, wished, location="local")
    _settled(client, deployment)
    client.arm("PUT", endpoint, {"authMode": "Key", "traffic": {DEPLOYMENT: 100}}, location="local")
    _settled(client, endpoint)
    return str(client.arm("POST", f"{endpoint}/listKeys")["primaryKey"])


def _settled(client: Client, path: str) -> None:
    state = client.wait(path, "provisioningState", ("Succeeded", "Failed"), seconds=BUILD_S)
    if state != "Succeeded":
        raise ServerError(f"{path} is {state}; the server's log and the deployment's say why")


def _upload(client: Client, scope: str) -> str:
    """The scoring script as a code asset; its id."""
    version = f"{scope}/codes/bench/versions/1"
    place = client.arm("POST", f"{version}/startPendingUpload", {})["blobReferenceForConsumption"]
    address = urllib.parse.urlsplit(place["credential"]["sasUri"])
    path = f"{address.path}/score.py?{address.query}"
    status, answer = client.raw("PUT", path, SCORE.encode(), {"x-ms-blob-type": "BlockBlob"})
    if status != 201:
        raise ServerError(f"the upload of score.py was answered {status}: {answer[:500].decode(errors='replace')}")
    return str(client.arm("PUT", version, {"codeUri": place["blobUri"]})["id"])


def _model_server(home: Path) -> int:
    """The pid of the deployment's server."""
    for record in (home / "deployments").glob("*/server.json"):
        pid = int(json.loads(record.read_bytes())["identity"]["pid"])
        if Path(f"/proc/{pid}").exists():  # a home that was used before has records of servers that have ended
            return pid
    raise ServerError("the deployment is ready, but no model server lives")


@contextlib.contextmanager
def _stand_in(socket: Path) -> Iterator[int]:
    """Put the stand-in where nginx finds the model server; its pid. The real one is put back afterwards."""
    kept, coming = socket.with_suffix(".kept"), socket.with_suffix(".bench")
    kept.hardlink_to(socket)
    command = [sys.executable, "-P", str(Path(__file__).with_name("stand_in.py")), str(coming)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        coming.replace(socket)
        time.sleep(4)  # nginx keeps connections to the real server for up to three seconds
        try:
            yield process.pid
        finally:
            kept.replace(socket)
            process.terminate()
