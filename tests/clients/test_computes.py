"""Computes by the unmodified SDK: clusters, instances and attached ones, their nodes, sizes, usages and quotas."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.zaffre_server import Answer, ZaffreServer, eventually

ARM = "api-version=2023-08-01-preview"
SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000/providers/Microsoft.MachineLearningServices"


@pytest.fixture
def put(server: ZaffreServer) -> Iterator[Callable[..., Answer]]:
    """PUT of a compute; those that were made are deleted after the test."""
    made = []

    def ask(name: str, kind: str, inner: dict[str, Any], **more: Any) -> Answer:
        body = {"location": "local", "properties": {"computeType": kind, "properties": inner, **more}}
        answer = server.request("PUT", f"{server.scope}/computes/{name}?{ARM}", body)
        made.append(name)
        return answer

    yield ask
    for name in made:
        for action in ("Delete", "Detach"):
            server.request("DELETE", f"{server.scope}/computes/{name}?{ARM}&underlyingResourceAction={action}")


def wait_for_status(server: ZaffreServer, job: str, status: str) -> None:
    eventually(lambda: server.status(job), lambda seen: seen == status, seconds=120, what=f"{job} to be {status}")


def test_life_of_a_cluster(ml: Any, server: ZaffreServer) -> None:
    """Its nodes are the jobs that run; larger, it takes the job that waited; it is not deleted under one."""
    from azure.ai.ml.entities import AmlCompute, IdentityConfiguration, NetworkSettings
    from azure.core.exceptions import HttpResponseError

    made = ml.compute.begin_create_or_update(
        AmlCompute(
            name="life-cluster",
            size="STANDARD_D2_V2",
            min_instances=0,
            max_instances=1,
            idle_time_before_scale_down=180,
            tier="low_priority",
            tags={"a": "b"},
            identity=IdentityConfiguration(type="system_assigned"),
            network_settings=NetworkSettings(vnet_name="net", subnet="sub"),
        )
    ).result()
    assert made.identity.type == "system_assigned" and made.network_settings.subnet.endswith("/net/subnets/sub")
    assert (made.size, made.tier, made.max_instances) == ("Standard_D2_v2", "low_priority", 1)
    assert (
        made.idle_time_before_scale_down == 180 and made.provisioning_state == "Succeeded" and made.tags == {"a": "b"}
    )
    assert list(ml.compute.list_nodes("life-cluster")) == []
    assert now(server, "life-cluster") == ("Steady", 0, 0)

    compute = f"{server.scope}/computes/life-cluster"
    try:
        assert server.put_job("cluster_one", "sleep 600", computeId=compute).status == 201
        wait_for_status(server, "cluster_one", "Running")
        assert server.put_job("cluster_two", "sleep 600", computeId=compute).status == 201
        wait_for_status(server, "cluster_two", "Queued")
        assert now(server, "life-cluster") == ("Steady", 1, 1)
        (node,) = ml.compute.list_nodes("life-cluster")
        assert wire(node, "nodeState") == "running" and wire(node, "runId") == "cluster_one"
        made.max_instances = 2
        assert ml.compute.begin_update(made).result().max_instances == 2
        wait_for_status(server, "cluster_two", "Running")
        assert now(server, "life-cluster") == ("Steady", 2, 2)
        with pytest.raises(HttpResponseError, match="cluster_one"):
            ml.compute.begin_delete("life-cluster").result()
    finally:
        for name in ("cluster_one", "cluster_two"):
            server.request("POST", f"{server.scope}/jobs/{name}/cancel?{ARM}")
            server.wait_for_job(name)
    assert now(server, "life-cluster") == ("Steady", 0, 0)
    assert "life-cluster" in [one.name for one in ml.compute.list(compute_type="amlcompute")]
    ml.compute.begin_delete("life-cluster").result()
    assert "life-cluster" not in [one.name for one in ml.compute.list()]


def wire(found: Any, name: str) -> Any:
    """A value by its name on the wire: since 1.34 the SDK leaves it there, and its own attribute stays None."""
    return vars(found)[name]


def now(server: ZaffreServer, name: str) -> tuple[str, int, int]:
    found = server.request("GET", f"{server.scope}/computes/{name}?{ARM}").json["properties"]["properties"]
    assert found["nodeStateCounts"]["idleNodeCount"] == 0
    return found["allocationState"], found["currentNodeCount"], found["targetNodeCount"]


def test_life_of_an_instance(ml: Any, server: ZaffreServer) -> None:
    """Stopping it ends what runs on it; stopped, it takes no job; started, it takes them again."""
    from azure.ai.ml.entities import ComputeInstance, ComputeSchedules, ComputeStartStopSchedule, CronTrigger

    schedule = ComputeStartStopSchedule(
        trigger=CronTrigger(expression="0 18 * * 1-5", time_zone="W. Europe Standard Time"), action="stop"
    )
    made = ml.compute.begin_create_or_update(
        ComputeInstance(
            name="life-instance",
            size="Standard_DS3_v2",
            idle_time_before_shutdown_minutes=30,
            schedules=ComputeSchedules(compute_start_stop=[schedule]),
        )
    ).result()
    assert (made.state, made.size) == ("Running", "Standard_DS3_v2")
    assert made.idle_time_before_shutdown_minutes == 30
    (kept,) = made.schedules.compute_start_stop
    assert (kept.action, kept.state, kept.trigger.expression) == ("Stop", "Enabled", "0 18 * * 1-5")
    assert kept.provisioning_state == "Completed" and kept.schedule_id
    ml.compute.enable_sso(name="life-instance", enable_sso=False)

    compute = f"{server.scope}/computes/life-instance"
    assert server.put_job("instance_one", "sleep 600", computeId=compute).status == 201
    wait_for_status(server, "instance_one", "Running")
    assert ml.compute.get("life-instance").state == "JobRunning"
    ml.compute.begin_stop("life-instance").result()
    stopped = ml.compute.get("life-instance")
    assert stopped.state == "Stopped" and server.status("instance_one") == "Canceled"
    assert stopped.last_operation["operationName"] == "Stop"
    assert stopped.last_operation["operationTrigger"] == "User"

    refused = server.put_job("instance_two", "true", computeId=compute)
    assert refused.status == 400 and "begin_start" in refused.json["error"]["message"], refused.body
    assert server.request("POST", f"{compute}/restart?{ARM}").status == 409
    ml.compute.begin_start("life-instance").result()
    assert ml.compute.get("life-instance").state == "Running"
    assert server.put_job("instance_three", "true", computeId=compute).status == 201
    assert server.wait_for_job("instance_three") == "Completed"
    ml.compute.begin_restart("life-instance").result()
    again = ml.compute.get("life-instance")
    assert again.state == "Running" and again.last_operation["operationStatus"] == "Succeeded"
    ml.compute.begin_delete("life-instance").result()


def test_what_is_attached_is_a_record(ml: Any, server: ZaffreServer) -> None:
    """Secrets are given back by listKeys alone, and no job is sent there."""
    from azure.ai.ml.entities import KubernetesCompute, VirtualMachineCompute, VirtualMachineSshSettings

    machine = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm"
    made = ml.compute.begin_attach(
        VirtualMachineCompute(
            name="attached-vm",
            resource_id=machine,
            ssh_settings=VirtualMachineSshSettings(admin_username="me", admin_password="s3cret-word", ssh_port=2222),
        )
    ).result()
    assert made.provisioning_errors == "NotConnected" and made.resource_id == machine
    assert made.ssh_settings.admin_username == "me" and made.ssh_settings.admin_password is None
    path = f"{server.scope}/computes/attached-vm"
    assert b"s3cret-word" not in server.request("GET", f"{path}?{ARM}").body
    keys = server.request("POST", f"{path}/listKeys?{ARM}").json
    assert keys["computeType"] == "VirtualMachine" and keys["administratorAccount"]["password"] == "s3cret-word"
    assert b"s3cret-word" not in server.database_file.read_bytes()

    refused = server.put_job("to_attached", "true", computeId=path)
    assert refused.status == 400 and "attached VirtualMachine" in refused.json["error"]["message"]
    assert server.request("DELETE", f"{path}?{ARM}").status == 400
    ml.compute.begin_delete("attached-vm", action="Detach").result()
    assert server.request("GET", f"{path}?{ARM}").status == 404

    cluster = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/k"
    kubernetes = ml.compute.begin_attach(
        KubernetesCompute(name="attached-k8s", resource_id=cluster, namespace="ml", properties={})
    ).result()
    assert kubernetes.namespace == "ml"
    ml.compute.begin_delete("attached-k8s", action="Detach").result()


def test_sizes_and_usages(ml: Any) -> None:
    sizes = {one.name: one for one in ml.compute.list_sizes()}
    here = sizes["Zaffre_Machine"]
    assert wire(here, "vCPUs") >= 1 and wire(here, "memoryGB") > 0.5
    known = sizes["Standard_NC6"]
    assert (wire(known, "vCPUs"), known.gpus, wire(known, "memoryGB")) == (6, 1, 56.0)
    assert len(ml.compute.list_sizes(compute_type="ComputeInstance")) == len(sizes)
    usages = {
        one.name["value"] if isinstance(one.name, dict) else one.name.value: one for one in ml.compute.list_usage()
    }
    assert usages["Total Cluster Dedicated Regional vCPUs"].limit == wire(here, "vCPUs")
    assert wire(usages["Clusters"], "currentValue") >= 0


def test_quotas_bind_clusters(server: ZaffreServer, put: Callable[..., Answer]) -> None:
    """A limit is refused when clusters have more, and clusters are refused beyond a limit."""
    place = f"{SUBSCRIPTION}/locations/local"
    listed = server.request("GET", f"{place}/quotas?{ARM}").json["value"]
    mine = {one["name"]["value"]: one for one in listed if one["id"].startswith(server.scope + "/")}
    quota = mine["standardFSv2Family"]
    assert quota["limit"] == -1 and quota["unit"] == "Count"

    def limit(number: int, id_: str = quota["id"]) -> Any:
        return server.request("POST", f"{place}/updateQuotas?{ARM}", {"value": [{"id": id_, "limit": number}]})

    scale = {"maxNodeCount": 2}
    assert put("quota-one", "AmlCompute", {"vmSize": "Standard_F4s_v2", "scaleSettings": scale}).status == 201
    assert limit(7).json["value"][0]["status"] == "InvalidQuotaBelowClusterMinimum"
    assert limit(8, f"{server.scope}/quotas/nothing").json["value"][0]["status"] == "InvalidVMFamilyName"
    assert limit(8, "/elsewhere/quotas/x").status == 400
    assert limit(10).json["value"][0] == {**limit(10).json["value"][0], "status": "Success", "limit": 10}
    refused = put("quota-two", "AmlCompute", {"vmSize": "standard_f4s_v2", "scaleSettings": {"maxNodeCount": 1}})
    assert refused.status == 400 and refused.json["error"]["code"] == "QuotaExceeded"
    smaller = put("quota-two", "AmlCompute", {"vmSize": "standard_f2s_v2", "scaleSettings": {"maxNodeCount": 1}})
    assert smaller.status == 201
    assert limit(-1).json["value"][0]["status"] == "Success"


def test_what_a_cluster_keeps_and_what_a_job_may_ask(server: ZaffreServer, put: Callable[..., Answer]) -> None:
    made = put("fixed-one", "AmlCompute", {"vmSize": "Odd_Size", "scaleSettings": {"maxNodeCount": 0}})
    errors = made.json["properties"]["provisioningErrors"]
    assert errors[0]["error"]["code"] == "SizeOfThisMachine" and "Odd_Size" in errors[0]["error"]["message"]
    changed = put("fixed-one", "AmlCompute", {"vmSize": "Standard_D2_v2", "scaleSettings": {"maxNodeCount": 1}})
    assert changed.status == 409 and "vmSize" in changed.json["error"]["message"]
    assert put("fixed-one", "ComputeInstance", {"vmSize": "Odd_Size"}).status == 409
    path = f"{server.scope}/computes/fixed-one"
    none = server.put_job("no_room", "true", computeId=path)
    assert none.status == 400 and none.json["error"]["code"] == "ComputeTooSmall", none.body
    patched = server.request(
        "PATCH", f"{path}?{ARM}", {"properties": {"properties": {"scaleSettings": {"maxNodeCount": 1}}}}
    )
    assert patched.json["properties"]["properties"]["scaleSettings"]["maxNodeCount"] == 1
    read = server.request("GET", f"{path}?{ARM}").json
    assert server.request("PUT", f"{path}?{ARM}", read).status == 200  # what was read may be sent back
    other = server.put_job("elsewhere", "true", computeId=path.replace("/workspaces/", "/workspaces/other-"))
    assert other.status == 400 and "computeId" in other.json["error"]["message"]
    for name in ("local", "serverless", f"{server.scope}/computes/local"):
        answer = server.put_job(f"named_{name[-5:]}_{int(time.time() * 1000)}", "true", computeId=name)
        assert answer.status == 201, answer.body
        assert server.wait_for_job(answer.json["name"]) == "Completed"


@pytest.mark.parametrize(
    ("name", "kind", "inner", "status", "field"),
    [
        ("x-ssh", "AmlCompute", {"remoteLoginPortPublicAccess": "Enabled"}, 501, "remoteLoginPortPublicAccess"),
        ("x-win", "AmlCompute", {"osType": "Windows"}, 501, "osType"),
        ("x-size", "AmlCompute", {"vmSize": "a b"}, 400, "vmSize"),
        ("x-scale", "AmlCompute", {"scaleSettings": {"maxNodeCount": 1, "minNodeCount": 2}}, 400, "scaleSettings"),
        ("x-idle", "ComputeInstance", {"idleTimeBeforeShutdown": "PT5M"}, 400, "idleTimeBeforeShutdown"),
        ("x-set", "ComputeInstance", {"setupScripts": {"scripts": {"creationScript": {}, "x": 1}}}, 501, "setupScripts"),
        ("x-own", "ComputeInstance", {"customServices": [{}]}, 501, "customServices"),
        ("x-k8s", "Kubernetes", {}, 400, "resourceId"),
        ("x-what", "Abacus", {}, 400, "computeType"),
        ("local", "AmlCompute", {}, 400, "local"),
        ("1-digit", "AmlCompute", {}, 400, "1-digit"),
        ("x-cron", "ComputeInstance", {"schedules": {"computeStartStop": [
            {"action": "Stop", "triggerType": "Cron", "cron": {"expression": "99 * * * *"}}]}}, 400, "expression"),
        ("x-zone", "ComputeInstance", {"schedules": {"computeStartStop": [
            {"action": "Stop", "triggerType": "Cron", "cron": {"expression": "0 * * * *", "timeZone": "Mars"}}]}},
            400, "timeZone"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(
    server: ZaffreServer,
    put: Callable[..., Answer],
    name: str,
    kind: str,
    inner: dict[str, Any],
    status: int,
    field: str,
) -> None:
    answer = put(name, kind, inner)
    assert answer.status == status and field in answer.json["error"]["message"], answer.body
    assert server.request("GET", f"{server.scope}/computes/{name}?{ARM}").status == 404


def test_only_instances_are_started_and_stopped(server: ZaffreServer, put: Callable[..., Answer]) -> None:
    assert put("plain-one", "AmlCompute", {}).status == 201
    for action in ("start", "stop", "restart", "enableSso"):
        answer = server.request("POST", f"{server.scope}/computes/plain-one/{action}?{ARM}", {})
        assert answer.status == 400 and "instance" in answer.json["error"]["message"], answer.body
    keys = server.request("POST", f"{server.scope}/computes/plain-one/listKeys?{ARM}")
    assert keys.status == 404 and "no keys" in keys.json["error"]["message"]
    assert server.request("POST", f"{server.scope}/computes/nobody/start?{ARM}").status == 404
