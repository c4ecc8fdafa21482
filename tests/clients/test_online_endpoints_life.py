"""Deployments over time by the unmodified SDK: request settings, instances, probes, failed changes, shadows, an early end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.endpoints import SCORE, OnlineEndpoint
from tests.support.zaffre_server import Answer, ZaffreServer, eventually

pytestmark = pytest.mark.slow
ARM = "api-version=2023-04-01-preview"


@pytest.fixture(scope="module")
def life(ml: Any, client_environment: ZaffreServer, tmp_path_factory: pytest.TempPathFactory) -> OnlineEndpoint:
    """With a deployment `blue` that takes all traffic."""
    from azure.ai.ml.entities import OnlineRequestSettings

    endpoint = OnlineEndpoint(ml, client_environment, tmp_path_factory.mktemp("life"), "life")
    endpoint.deploy(
        "blue",
        environment_variables={"COLOR": "blue"},
        request_settings=OnlineRequestSettings(request_timeout_ms=20_000),
    )
    endpoint.share(blue=100)
    return endpoint


@contextmanager
def load(endpoint: OnlineEndpoint, deployment: str) -> Iterator[list[Answer]]:
    """One request after the other, all the while; what they were answered."""
    key = endpoint.ml.online_endpoints.get_keys(endpoint.name).primary_key
    answers: list[Answer] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answers.append(endpoint.score(deployment=deployment, token=key))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        done.set()
        thread.join()


def test_as_many_may_wait_as_may_run(life: OnlineEndpoint) -> None:
    answers = life.score_at_once(4, {"sleep": 3})
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert "Too many pending requests" in answers[-1].json["error"]["message"]
    assert life.score().status == 200


def test_a_request_that_takes_too_long_is_408_and_a_failure_stays_the_models(life: OnlineEndpoint) -> None:
    from azure.ai.ml.entities import OnlineRequestSettings

    life.deploy("quick", request_settings=OnlineRequestSettings(request_timeout_ms=1000))
    late = life.score({"sleep": 30}, deployment="quick")
    assert (late.status, late.headers["azureml-model-deployment"]) == (408, "quick")
    failed = life.score({"fail": 1}, deployment="quick")
    assert (failed.status, failed.headers["ms-azureml-model-error-statuscode"]) == (500, "500")
    assert life.score({"x": 1}, deployment="quick").json["echo"] == {"x": 1}
    settings = life.get("quick").request_settings
    assert (settings.request_timeout_ms, settings.max_concurrent_requests_per_instance) == (1000, 1)


def test_more_and_fewer_instances_without_a_lost_request(life: OnlineEndpoint) -> None:
    first = life.score().json["pid"]
    with load(life, "blue") as answers:
        blue = life.get("blue")
        blue.instance_count = 2
        assert life.begin(blue).result().instance_count == 2
        eventually(
            lambda: {answer.json["pid"] for answer in answers if answer.status == 200},
            lambda pids: len(pids) == 2 and first in pids,
            what="both instances",
        )
        blue = life.get("blue")
        blue.instance_count = 1
        life.begin(blue).result()
        reached = len(answers)
        eventually(lambda: len(answers), lambda count: count > reached + 5, what="more scores")
    assert {answer.status for answer in answers} == {200}
    assert {life.score().json["pid"] for _ in range(10)} == {first}


def test_a_failed_change_leaves_what_serves(life: OnlineEndpoint) -> None:
    first = life.score().json
    with load(life, "blue") as answers, pytest.raises(Exception, match="no such weights"):
        life.deploy("blue", "def init():\n    raise RuntimeError('no such weights')\n\ndef run(raw):\n    return raw\n")
    assert {(answer.status, answer.json["pid"]) for answer in answers} == {(200, first["pid"])}
    blue = life.get("blue")
    assert blue.provisioning_state == "Failed"
    assert "no such weights" in blue.properties["zaffre.error"] and "goes on serving" in blue.properties["zaffre.error"]
    assert "no such weights" in life.ml.online_deployments.get_logs("blue", life.name, lines=200)
    with load(life, "blue") as answers:
        made = life.deploy("blue", SCORE.replace("asked to fail", "anew"), environment_variables={"COLOR": "new"})
        assert (made.provisioning_state, "zaffre.error" in made.properties) == ("Succeeded", False)
        eventually(lambda: answers[-1].json["color"], lambda color: color == "new", what="the new version")
    assert {answer.status for answer in answers} == {200}


def test_probes_as_configured(life: OnlineEndpoint) -> None:
    """A worker that is busy answers no probe: out of rotation by the one, started again by the other."""
    from azure.ai.ml.entities import OnlineRequestSettings, ProbeSettings

    strict = ProbeSettings(initial_delay=1, period=1, timeout=1, success_threshold=1, failure_threshold=2)
    patient = ProbeSettings(initial_delay=1, period=2, timeout=2, success_threshold=1, failure_threshold=5)
    settings = OnlineRequestSettings(request_timeout_ms=60_000, max_concurrent_requests_per_instance=10)

    def scored() -> Any:
        return eventually(
            lambda: life.score(deployment="probed"), lambda answer: answer.status == 200, seconds=60, what="a score"
        ).json

    def status_now() -> int:
        try:
            return life.score(deployment="probed", timeout=2).status
        except OSError:  # no answer in time
            return 0  # still in rotation, behind the one that hangs

    life.deploy("probed", request_settings=settings)
    first = scored()["pid"]
    probed = life.get("probed")
    probed.readiness_probe, probed.liveness_probe = strict, patient
    life.begin(probed).result()
    assert scored()["pid"] == first, "other probes are no reason for another server"
    assert life.get("probed").liveness_probe.failure_threshold == 5
    hung = threading.Thread(target=lambda: life.score({"sleep": 50}, deployment="probed"))
    hung.start()
    eventually(status_now, lambda status: status == 503, what="its way out of rotation")
    assert life.get("probed").properties["zaffre.instances"] == "0 of 1 ready"
    eventually(lambda: life.get("probed").properties.get("zaffre.restarts"), bool, what="a restart")
    assert scored()["pid"] != first
    hung.join()
    assert life.get("probed").provisioning_state == "Succeeded"
    life.ml.online_deployments.begin_delete("probed", life.name).result()


def test_logs_of_both_containers(life: OnlineEndpoint) -> None:
    def logs(container: str | None = None, lines: int = 500) -> str:
        found: str = life.ml.online_deployments.get_logs("blue", life.name, lines=lines, container_type=container)
        return found

    assert "init of" in logs("inference-server") and "environment is ready" not in logs("inference-server")
    assert "model life:" in logs("storage-initializer") and "init of" not in logs("storage-initializer")
    assert "init of" in logs() and "environment is ready" in logs()
    assert len(logs(lines=3).splitlines()) == 3
    assert "zaffre-probe" not in logs()


def test_copies_for_a_shadow(life: OnlineEndpoint) -> None:
    life.deploy("shadow", "def init():\n    pass\n\ndef run(raw):\n    print('copied', raw)\n    return 1\n")
    endpoint = life.ml.online_endpoints.get(life.name)
    endpoint.traffic, endpoint.mirror_traffic = {"blue": 100}, {"shadow": 50}
    made = life.ml.online_endpoints.begin_create_or_update(endpoint).result()
    assert made.mirror_traffic == {"shadow": 50}
    key = life.ml.online_endpoints.get_keys(life.name).primary_key
    sent = [life.score({"number": number}, token=key) for number in range(40)]
    assert {answer.headers["azureml-model-deployment"] for answer in sent} == {"blue"}
    logs = eventually(
        lambda: life.ml.online_deployments.get_logs("shadow", life.name, lines=2000),
        lambda text: text.count("copied") >= 8,
        what="copies",
    )
    assert logs.count("copied") <= 34
    with pytest.raises(Exception, match="is sent copies of 50 %"):
        life.ml.online_deployments.begin_delete("shadow", life.name).result()
    endpoint.mirror_traffic = {"blue": 10}
    with pytest.raises(Exception, match="has traffic of its own"):
        life.ml.online_endpoints.begin_create_or_update(endpoint).result()
    endpoint.mirror_traffic = {}
    life.ml.online_endpoints.begin_create_or_update(endpoint).result()
    life.ml.online_deployments.begin_delete("shadow", life.name).result()


def test_without_traffic_and_with_wrong_traffic(life: OnlineEndpoint) -> None:
    life.share()
    answer = life.score()
    assert answer.status == 404 and "positive share" in answer.json["error"]["message"]
    assert life.score(deployment="blue").status == 200
    for traffic, words in (({"nobody": 100}, "no deployment 'nobody'"), ({"blue": 50}, "add up to 100")):
        with pytest.raises(Exception, match=words):
            life.share(**traffic)
    uri = life.share(blue=100).openapi_uri
    key = life.ml.online_endpoints.get_keys(life.name).primary_key
    swagger = life.server.request("GET", uri.removeprefix(life.server.address), token=key)
    assert swagger.json["swagger"] == "2.0"


def test_deleted_while_it_starts(life: OnlineEndpoint) -> None:
    script = "import time\n\ndef init():\n    print('begins', flush=True)\n    time.sleep(600)\n\ndef run(raw):\n    return raw\n"
    life.begin(life.deployment("early", script))
    eventually(
        lambda: life.ml.online_deployments.get_logs("early", life.name, lines=100),
        lambda text: "begins" in text,
        seconds=60,
        what="the start",
    )
    servers = set((life.server.home / "deployments").glob("*/i*/server.json"))
    assert life.get("early").provisioning_state == "Creating"
    life.ml.online_deployments.begin_delete("early", life.name).result()
    assert "early" not in [one.name for one in life.ml.online_deployments.list(life.name)]
    assert len(servers - set((life.server.home / "deployments").glob("*/i*/server.json"))) == 1


def test_what_is_told_and_what_is_refused(life: OnlineEndpoint) -> None:
    from azure.ai.ml.entities import DataCollector, DeploymentCollection, KubernetesOnlineEndpoint

    life.deploy("blue", environment_variables={"COLOR": "told"})
    before = life.score().json["pid"]
    blue = life.deployment(
        "blue",
        environment_variables={"COLOR": "told"},
        app_insights_enabled=True,
        egress_public_network_access="disabled",
        tags={"team": "x"},
        description="told",
        data_collector=DataCollector(collections={"model_inputs": DeploymentCollection(enabled="True")}),
    )
    made = life.begin(blue).result()
    assert (made.app_insights_enabled, made.egress_public_network_access) == (True, "Disabled")
    assert made.tags == {"team": "x"} and list(made.data_collector.collections) == ["model_inputs"]
    assert life.score().json["pid"] == before, "nothing that the server is told has changed"
    skus = life.ml.online_deployments._online_deployment.list_skus(
        resource_group_name=life.server.credentials["resource_group"],
        workspace_name=life.server.credentials["workspace"],
        endpoint_name=life.name,
        deployment_name="blue",
    )
    assert [sku.sku.name for sku in skus] == ["Default"]
    with pytest.raises(Exception, match="no compute 'k8s'"):
        life.ml.online_endpoints.begin_create_or_update(KubernetesOnlineEndpoint(name="elsewhere", compute="k8s"))
    cluster = {"computeType": "Kubernetes", "resourceId": "/subscriptions/s/resourceGroups/g/providers/x/y/z"}
    made = life.server.request("PUT", f"{life.server.scope}/computes/attached?{ARM}", {"properties": cluster})
    assert made.status in (200, 201), made.body
    path = f"{life.server.scope}/onlineEndpoints/{life.name}"
    for where, change, status, word in (
        (path, {"properties": {"publicNetworkAccess": "Disabled"}}, 501, "publicNetworkAccess"),
        (path, {"properties": {"compute": "attached"}}, 501, "only a record"),
        (f"{path}/deployments/blue", {"sku": {"name": "Default", "capacity": 0}}, 400, "sku.capacity"),
        (f"{path}/deployments/blue", {"properties": {"modelMountPath": "/x"}}, 501, "modelMountPath"),
        (f"{path}/deployments/blue", {"properties": {"endpointComputeType": "Kubernetes"}}, 400, "endpointComputeType"),
        (f"{path}/deployments/blue", {"properties": {"environmentVariables": {"A=B": "c"}}}, 400, "A=B"),
    ):
        answer = life.server.request("PATCH", f"{where}?{ARM}", change)
        assert (answer.status, word in answer.body.decode()) == (status, True), answer.body
    assert life.server.request("PATCH", f"{path}?{ARM}", {"tags": {"a": "b"}}).json["tags"] == {"a": "b"}
    for query, found in (("computeType=Managed", 1), ("computeType=Kubernetes", 0), ("tags=a=b", 1), ("tags=c", 0)):
        answer = life.server.request("GET", f"{life.server.scope}/onlineEndpoints?name={life.name}&{query}&{ARM}")
        assert len(answer.json["value"]) == found, query


def test_the_end_takes_all_with_it(life: OnlineEndpoint) -> None:
    deployments = life.server.home / "deployments"
    before = len(list(deployments.glob("*/i*/server.json")))
    life.ml.online_endpoints.begin_delete(life.name).result()
    assert life.score(token="x").status == 404
    assert len(list(deployments.glob("*/i*/server.json"))) <= before - 2, "blue and quick"
