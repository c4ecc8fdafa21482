"""What the edge costs a scoring request: CPU of nginx and model server through it, beside the model server alone.

The endpoint is deployed through the product. It is measured as it stands, with azureml-inference-server-http, and again
with a stand-in at the same socket: one scoring call of the real server costs milliseconds that vary by more than the
edge takes, so only the stand-in shows the difference itself. Beside ours runs the same nginx with the least
configuration that ends TLS and passes on, to tell the machine's share from our configuration's.
"""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path

from benchmarks import load, processes
from benchmarks.bare_servers import bare_nginx, stand_in
from benchmarks.figures import Figure
from benchmarks.samples import Sample, differences, sums
from benchmarks.server import Client, Server, ServerError
from zaffre.serving import server as model_server

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
    scorer = _Scorer(server, key, socket)
    with stand_in(socket) as model, bare_nginx(server.home / "edge", socket) as bare:
        edge, behind, direct, least = [], [], [], []
        for _ in range(rounds):
            ours = scorer.through_edge(requests, model)
            edge.append(ours[0])
            behind.append(ours[1])
            direct.append(scorer.directly(requests, model))
            least.append(scorer.through_bare(requests, bare.port, bare.pid))
    real = _model_server(server.home)
    real_edge, real_behind, real_direct = [], [], []
    for _ in range(rounds):
        ours = scorer.through_edge(real_requests, real)
        real_edge.append(ours[0])
        real_behind.append(ours[1])
        real_direct.append(scorer.directly(real_requests, real))
    more = differences(sums(Sample.of(edge), Sample.of(behind)), Sample.of(direct))
    above = differences(Sample.of(edge), Sample.of(least))
    return [
        Figure(
            f"scoring through the edge less the model server called directly, {CLIENTS} TLS clients: CPU a request",
            more.text("µs"),
            more.median,
            60.0,
            "≤ 60 µs",
        ),
        Figure("… nginx alone (TLS, key, split, log)", Sample.of(edge).text("µs")),
        Figure("… the same nginx with nothing but TLS and proxy_pass", Sample.of(least).text("µs")),
        Figure("… what our configuration adds to that", above.text("µs")),
        Figure("… stand-in model server, behind the edge / directly", _pair(behind, direct)),
        Figure("azureml-inference-server-http deployed by Zaffre: nginx", Sample.of(real_edge).text("µs")),
        Figure("… its own CPU, behind the edge / directly", _pair(real_behind, real_direct)),
    ]


class _Scorer:
    """CPU microseconds a request, of nginx and of the model server, on each way to it."""

    def __init__(self, server: Server, key: str, socket: Path) -> None:
        self._server = server
        self._socket = socket
        kind = {"Content-Type": "application/json"}
        self._path = f"/endpoints/{ENDPOINT}/score"
        self._asked = load.message("POST", self._path, BODY, {"Authorization": f"Bearer {key}", **kind})
        self._asked_directly = load.message("POST", "/score", BODY, kind)

    def through_edge(self, count: int, model: int) -> tuple[float, float]:
        target = load.Target(port=self._server.port, context=self._server.context())
        return self._cost(target, self._asked, count, self._server.nginx, processes.tree(model))

    def through_bare(self, count: int, port: int, nginx: int) -> float:
        target = load.Target(port=port, context=self._server.context())
        return self._cost(target, self._asked, count, processes.tree(nginx), [])[0]

    def directly(self, count: int, model: int) -> float:
        target = load.Target(socket=self._socket)
        return self._cost(target, self._asked_directly, count, [], processes.tree(model))[1]

    @staticmethod
    def _cost(
        target: load.Target, request: bytes, count: int, edge: list[int], model: list[int]
    ) -> tuple[float, float]:
        def look() -> tuple[float, float]:
            return processes.cpu_s(edge), processes.cpu_s(model)

        before, after, _ = load.between(target, request, clients=CLIENTS, requests=count, look=look)
        return (after[0] - before[0]) / count * 1e6, (after[1] - before[1]) / count * 1e6


def _pair(behind: list[float], direct: list[float]) -> str:
    return f"{Sample.of(behind).text('µs')} / {Sample.of(direct).text('µs')}"


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
    """The pid of the deployment's newest server; an older one may still be finishing."""
    folders = [record.parent for record in (home / "deployments").glob("*/i*/server.json")]
    for folder in sorted(folders, key=lambda one: int(one.parent.name.rpartition("-")[2]), reverse=True):
        found = model_server.identity(folder)
        if found is not None:
            return found.pid
    raise ServerError("the deployment is ready, but no model server lives")
