"""Workspaces by the unmodified SDK: made, changed, listed, diagnosed, deleted for good; and none sees another."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.zaffre_server import Answer, ZaffreServer, eventually

GROUP = "rooms"
ARM = "api-version=2024-10-01-preview"


@pytest.fixture(scope="module")
def rooms(client_environment: ZaffreServer) -> Iterator[Any]:
    """The SDK in a subscription and a group of this module's own."""
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    yield MLClient(DefaultAzureCredential(), "sub-rooms", GROUP)


def scope(name: str, group: str = GROUP) -> str:
    return (
        f"/subscriptions/sub-rooms/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/workspaces/{name}"
    )


def client_of(name: str) -> Any:
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    return MLClient(DefaultAzureCredential(), "sub-rooms", GROUP, name)


def make(server: ZaffreServer, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = server.request("PUT", f"{scope(name)}?{ARM}", body or {"properties": {}})
    assert answer.status == 200, answer.body
    made: dict[str, Any] = answer.json
    return made


def test_life_of_a_workspace(rooms: Any, server: ZaffreServer) -> None:
    from azure.ai.ml.entities import IdentityConfiguration, ManagedIdentityConfiguration, Workspace
    from azure.core.exceptions import ResourceNotFoundError

    made = rooms.workspaces.begin_create(
        Workspace(name="life", display_name="Life", description="a room", location="eastus", tags={"team": "blue"})
    ).result()
    assert (made.name, made.display_name, made.description) == ("life", "Life", "a room")
    assert made.location == "eastus" and made.tags["team"] == "blue" and "createdByToolkit" in made.tags
    assert made.identity.type == "system_assigned" and made.public_network_access == "Enabled"
    assert made.id == scope("life") and made.resource_group == GROUP
    assert made.discovery_url.endswith(f"/discovery{scope('life')}")

    uai = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/me"
    made.display_name, made.image_build_compute, made.tags = "Longer life", "builder", {"team": "red"}
    made.identity = IdentityConfiguration(
        type="user_assigned", user_assigned_identities=[ManagedIdentityConfiguration(resource_id=uai)]
    )
    changed = rooms.workspaces.begin_update(made).result()
    assert (changed.display_name, changed.image_build_compute) == ("Longer life", "builder")
    assert changed.tags == {"team": "red"} and changed.description == "a room"
    assert [one.resource_id for one in changed.identity.user_assigned_identities] == [uai]
    again = rooms.workspaces.begin_create(Workspace(name="life", tags={"more": "yes"})).result()
    assert again.tags == {"team": "red", "more": "yes"} and again.display_name == "Longer life"

    rooms.workspaces.begin_delete("life", delete_dependent_resources=True, permanently_delete=True).result()
    with pytest.raises(ResourceNotFoundError, match="zaffre env"):
        rooms.workspaces.get("life")


def test_lists_by_group_and_subscription_and_kind(rooms: Any, server: ZaffreServer) -> None:
    from azure.ai.ml.entities import Hub, Project, Workspace

    rooms.workspaces.begin_create(Workspace(name="plain", location="local")).result()
    hub = rooms.workspaces.begin_create(Hub(name="hub", location="local")).result()
    project = rooms.workspaces.begin_create(Project(name="project", hub_id=hub.id, location="local")).result()
    assert type(hub).__name__ == "Hub" and project.hub_id == hub.id
    other = server.request("PUT", f"{scope('elsewhere', 'other-rooms')}?{ARM}", {"properties": {}})
    assert other.status == 200, other.body

    def names(**more: Any) -> set[str]:
        return {one.name for one in rooms.workspaces.list(**more)}

    assert {"plain", "hub", "project"} <= names() and "elsewhere" not in names()
    assert {"plain", "elsewhere"} <= names(scope="subscription")
    assert names(filtered_kinds="hub") == {"hub"}
    assert names(filtered_kinds=["hub", "project"], scope="subscription") == {"hub", "project"}
    refused = server.request("DELETE", f"{scope('hub')}?{ARM}")
    assert refused.status == 409 and "project" in refused.json["error"]["message"]
    for name in ("project", "hub"):
        rooms.workspaces.begin_delete(name, delete_dependent_resources=False).result()


def test_pages_of_workspaces(server: ZaffreServer) -> None:
    path = "/subscriptions/sub-pages/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces"
    for number in range(5):
        assert server.request("PUT", f"{path}/w{number}?{ARM}", {"kind": "hub" if number % 2 else None}).status == 200
    seen, url = [], f"{path}?{ARM}&$top=2"
    while url:
        answer = server.request("GET", url).json
        seen.append([one["name"] for one in answer["value"]])
        url = answer.get("nextLink", "").removeprefix(server.address)
    assert seen == [["w0", "w1"], ["w2", "w3"], ["w4"]]
    hubs = server.request("GET", f"{path}?{ARM}&kind=Hub&$top=1").json
    assert [one["name"] for one in hubs["value"]] == ["w1"] and "nextLink" in hubs
    assert server.request("GET", f"{path}?{ARM}&kind=Castle").status == 400


def test_feature_stores_are_workspaces(rooms: Any, tmp_path: Path) -> None:
    """Their datastores are reached without a secret: the SDK uploads with its own token."""
    from azure.ai.ml.entities import Data, FeatureStore

    made = rooms.feature_stores.begin_create(FeatureStore(name="features", location="local")).result()
    assert made.name == "features"
    assert [one.name for one in rooms.feature_stores.list()] == ["features"]
    stores = client_of("features").datastores.list()
    assert {one.credentials.type.lower() for one in stores} == {"none"}
    (tmp_path / "a.txt").write_text("hello")
    sent = client_of("features").data.create_or_update(Data(name="sent", path=str(tmp_path / "a.txt"), type="uri_file"))
    assert "/datastores/workspaceblobstore/paths/" in sent.path
    rooms.feature_stores.begin_delete("features").result()


def test_keys_and_their_rotation(rooms: Any, server: ZaffreServer) -> None:
    """A key that is replaced signs on for a while, so what uploads goes on; after the second rotation it is dead."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
    from azure.storage.blob import BlobServiceClient

    made = make(server, "keys")
    first = rooms.workspaces.get_keys("keys")
    assert first.user_storage_key and first.user_storage_resource_id.endswith("/storageAccounts/" + account(made))
    assert first.notebook_access_keys is None and first.container_registry_credentials is None
    url = f"{server.address}/{account(made)}.blob.core.windows.net"
    old = BlobServiceClient(url, credential={"account_name": account(made), "account_key": first.user_storage_key})
    old.get_blob_client("azureml", "before").upload_blob(b"1")
    rooms.workspaces.begin_sync_keys("keys").result()
    second = rooms.workspaces.get_keys("keys").user_storage_key
    assert second != first.user_storage_key
    assert server.request("POST", f"{scope('keys')}/listStorageAccountKeys?{ARM}").json == {"userStorageKey": second}
    new = BlobServiceClient(url, credential={"account_name": account(made), "account_key": second})
    assert new.get_blob_client("azureml", "before").download_blob().readall() == b"1"
    old.get_blob_client("azureml", "still").upload_blob(b"2")
    rooms.workspaces.begin_sync_keys("keys").result()
    with pytest.raises((ClientAuthenticationError, HttpResponseError), match="signature"):
        old.get_blob_client("azureml", "never").upload_blob(b"3")


def test_a_diagnosis_finds_what_is_wrong(rooms: Any, server: ZaffreServer) -> None:
    make(server, "sick", {"properties": {"imageBuildCompute": "nowhere"}})
    good = rooms.workspaces.begin_diagnose("sick").result()
    assert good.user_defined_route_results == [] and good.key_vault_results == []
    assert [one.code for one in good.other_results] == ["ImageBuildComputeMissing", "Examined"]
    assert not [one.code for one in good.storage_account_results if one.level == "Error"]
    store = {"datastoreType": "AzureBlob", "accountName": "nowhere", "containerName": "c", "endpoint": "invalid"}
    store["credentials"] = {"credentialsType": "Sas", "secrets": {"secretsType": "Sas", "sasToken": "sv=1&sig=x"}}
    path = f"{scope('sick')}/datastores/far?{ARM}&skipValidation=true"
    kept = server.request("PUT", path, {"properties": store})
    assert kept.status == 201, kept.body
    bad = rooms.workspaces.begin_diagnose("sick").result()
    assert [one.code for one in bad.storage_account_results if one.level == "Error"] == ["DatastoreNotReachable"]


@pytest.mark.parametrize(
    ("properties", "status", "field"),
    [
        ({"publicNetworkAccess": "Disabled"}, 501, "publicNetworkAccess"),
        ({"managedNetwork": {"isolationMode": "AllowInternetOutbound"}}, 501, "isolationMode"),
        ({"storageAccount": "/subscriptions/x"}, 501, "storageAccount"),
        ({"encryption": {"status": "Enabled"}}, 501, "encryption"),
        ({"v1LegacyMode": True}, 501, "v1LegacyMode"),
        ({"publicNetworkAccess": "Sometimes"}, 400, "publicNetworkAccess"),
        ({"hbiWorkspace": "perhaps"}, 400, "hbiWorkspace"),
        ({"description": 5}, 400, "description"),
        ({"hubResourceId": "/x"}, 400, "hubResourceId"),
    ],
)
def test_what_is_refused_is_named_and_nothing_is_made(
    server: ZaffreServer, properties: dict[str, Any], status: int, field: str
) -> None:
    answer = server.request("PUT", f"{scope('refused')}?{ARM}", {"properties": properties})
    assert answer.status == status and field in answer.json["error"]["message"], answer.body
    assert server.request("GET", f"{scope('refused')}?{ARM}").status == 404


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("GET", "{}/outboundRules", "ManagedNetworkSettingsRule_List"),
        ("PUT", "{}/outboundRules/r", "ManagedNetworkSettingsRule_CreateOrUpdate"),
        ("GET", "{}/privateEndpointConnections", "PrivateEndpointConnections_List"),
        ("GET", "{}/privateLinkResources", "PrivateLinkResources_List"),
        ("POST", "{}/provisionManagedNetwork", "ProvisionManagedNetwork"),
        ("POST", "{}/listNotebookKeys", "ListNotebookKeys"),
        ("POST", "{}/prepareNotebook", "PrepareNotebook"),
        ("PUT", "/rp/workspaces{}/join/project", "Join"),
    ],
)
def test_what_only_a_cloud_has_is_refused_by_name(server: ZaffreServer, method: str, path: str, operation: str) -> None:
    make(server, "nets")
    answer = server.request(method, f"{path.format(scope('nets'))}?{ARM}", None if method == "GET" else {})
    assert answer.status == 501 and operation in answer.json["error"]["message"]


def test_templates_and_groups(server: ZaffreServer) -> None:
    group = f"/subscriptions/sub-rooms/resourcegroups/{GROUP}"
    make(server, "grouped")
    assert server.request("GET", group).json["name"] == GROUP
    assert GROUP in [
        one["name"] for one in server.request("GET", "/subscriptions/sub-rooms/resourcegroups").json["value"]
    ]
    assert server.request("HEAD", group).status == 204
    assert server.request("GET", f"{group}/deployments/none/operations").status == 404
    deployment = f"{group}/providers/Microsoft.Resources/deployments/mine"
    for properties, status in (
        ({"template": {}, "parameters": {}}, 501),
        ({"template": {}}, 400),
        ({"parameters": {"workspaceName": "x"}}, 400),
        ({"parameters": {"workspaceName": {"value": "x"}}, "mode": "Complete"}, 501),
        ({"parameters": {"workspaceName": {"value": "-"}}}, 400),
        ({"parameters": {"workspaceName": {"value": "x1"}, "privateEndpointType": {"value": "AutoApproval"}}}, 501),
    ):
        answer = server.request("PUT", deployment, {"properties": properties})
        assert answer.status == status, answer.body
    assert server.request("GET", deployment).status == 404
    wish = {"workspaceName": {"value": "templated"}, "kind": {"value": "default"}}
    assert server.request("PUT", deployment, {"properties": {"parameters": wish}}).status == 201
    assert server.request("GET", deployment).json["properties"]["outputResources"] == [{"id": scope("templated")}]
    listed = server.request("GET", f"{group}/deployments/mine/operations").json["value"]
    assert listed[0]["properties"]["targetResource"]["id"] == scope("templated")


def test_groups_made_by_hand(server: ZaffreServer) -> None:
    """What `az group create` and `az group delete` ask."""
    group = "/subscriptions/sub-hand/resourcegroups/hand"
    made = server.request("PUT", group, {"location": "eastus", "tags": {"a": 1}})
    assert made.status == 201 and made.json["tags"] == {"a": "1"} and made.json["location"] == "eastus"
    assert server.request("PUT", group, {"location": "eastus"}).json["tags"] == {"a": "1"}
    assert server.request("PUT", group, {"location": "elsewhere"}).status == 409
    assert server.request("PUT", group, {"tags": "x"}).status == 400
    assert [one["name"] for one in server.request("GET", "/subscriptions/sub-hand/resourcegroups").json["value"]] == [
        "hand"
    ]
    path = scope("in-hand", "hand").replace("sub-rooms", "sub-hand")
    assert server.request("PUT", f"{path}?{ARM}", {"properties": {}}).status == 200
    refused = server.request("DELETE", group)
    assert refused.status == 409 and "in-hand" in refused.json["error"]["message"]
    assert server.request("DELETE", f"{path}?{ARM}").status == 202
    eventually(
        lambda: server.request("GET", f"{path}?{ARM}").status, lambda status: status == 404, seconds=60, what="the end"
    )
    assert server.request("DELETE", group).status == 200
    assert server.request("GET", "/subscriptions/sub-hand/resourcegroups").json["value"] == []


def test_what_changes_and_what_stays(server: ZaffreServer) -> None:
    made = make(server, "changes", {"kind": "hub", "tags": {"a": "1"}, "properties": {"description": "d"}})
    assert made["kind"] == "Hub"

    def patch(body: dict[str, Any]) -> Answer:
        return server.request("PATCH", f"{scope('changes')}?{ARM}", body)

    same = patch({"properties": {"description": None, "friendlyName": "f"}}).json
    assert same["properties"]["description"] == "d" and same["tags"] == {"a": "1"}
    emptied = patch({"tags": {"b": 2}, "properties": {"description": ""}}).json
    assert "description" not in emptied["properties"] and emptied["tags"] == {"b": "2"}
    assert patch({"properties": {"hbiWorkspace": True}}).status == 409
    assert patch({"kind": "Default"}).status == 409
    assert patch({"identity": {"type": "Somebody"}}).status == 400
    assert patch({"properties": {"publicNetworkAccess": "Disabled"}}).status == 501
    after = server.request("GET", f"{scope('changes')}?{ARM}").json
    assert after["properties"]["workspaceId"] == made["properties"]["workspaceId"] and after["tags"] == {"b": "2"}


def test_a_workspace_with_work_in_it_is_deleted_for_good(server: ZaffreServer, tmp_path: Path) -> None:
    """A job that runs is cancelled, what was stored is gone, and the name is free for a new one that knows nothing."""
    before = make(server, "busy")
    base = scope("busy")
    server.request(
        "PUT", f"{base}/environments/bare/versions/1?{ARM}", {"properties": {"image": "python:3.11"}}
    )  # fmt: skip
    endpoint = server.request("PUT", f"{base}/onlineEndpoints/busy-rooms?{ARM}", {"properties": {"authMode": "Key"}})
    assert endpoint.status == 201, endpoint.body
    job = {
        "jobType": "Command",
        "command": "echo started; sleep 600",
        "environmentId": "azureml:bare:1",
        "experimentName": "e",
    }
    assert server.request("PUT", f"{base}/jobs/sleeper?{ARM}", {"properties": job}).status == 201
    eventually(
        lambda: server.request("GET", f"{base}/jobs/sleeper?{ARM}").json["properties"]["status"],
        lambda status: status == "Running",
        seconds=120,
        what="the job to run",
    )
    token = server.token("https://storage.azure.com")
    blob = f"/{account(before)}.blob.core.windows.net/azureml/kept"
    headers = {"x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob"}
    assert server.request("PUT", blob, b"bytes", headers=headers, token=token).status == 201
    answer = server.request("DELETE", f"{base}?{ARM}&forceToPurge=true")
    assert answer.status == 202
    location = answer.headers["location"].removeprefix(server.address)
    last = eventually(
        lambda: server.request("GET", location).status, lambda status: status != 202, seconds=120, what="the deletion"
    )
    assert last == 204
    status = location.replace("workspaceOperationResults", "workspaceOperationsStatus")
    assert server.request("GET", status).json["status"] == "Succeeded"
    assert server.request("GET", f"{base}?{ARM}").status == 404
    assert server.request("GET", blob, headers={"x-ms-version": "2021-12-02"}, token=token).status == 404
    after = make(server, "busy")
    assert after["properties"]["workspaceId"] != before["properties"]["workspaceId"]
    assert server.request("GET", f"{base}/jobs?{ARM}").json["value"] == []
    assert server.request("GET", f"{base}/environments?{ARM}").json["value"] == []
    assert server.request("GET", f"{base}/onlineEndpoints/busy-rooms?{ARM}").status == 404
    assert not (server.home / "jobs" / before["properties"]["workspaceId"]).exists()


def account(workspace: dict[str, Any]) -> str:
    return "zf" + workspace["properties"]["workspaceId"].replace("-", "")[:20]


def test_two_workspaces_see_nothing_of_each_other(server: ZaffreServer) -> None:
    """Asset, job, run, experiment, datastore, blob, SAS and key of one are nowhere in the other."""
    one, two = make(server, "island-one"), make(server, "island-two")
    mine, theirs = scope("island-one"), scope("island-two")
    tag = uuid.uuid4().hex[:8]
    environment = {"properties": {"image": "python:3.11"}}
    assert server.request("PUT", f"{mine}/environments/{tag}/versions/1?{ARM}", environment).status == 201
    job = {"jobType": "Command", "command": PEEK, "environmentId": f"azureml:{tag}:1", "experimentName": tag}
    job["environmentVariables"] = {"OTHER": theirs}
    assert server.request("PUT", f"{mine}/jobs/{tag}?{ARM}", {"properties": job}).status == 201

    # ARM: nothing listed, nothing found, nothing that may be referred to
    for kind in ("environments", "jobs", "computes", "data", "models"):
        assert tag not in [row["name"] for row in server.request("GET", f"{theirs}/{kind}?{ARM}").json["value"]]
    assert server.request("GET", f"{theirs}/jobs/{tag}?{ARM}").status == 404
    assert server.request("POST", f"{theirs}/jobs/{tag}/cancel?{ARM}").status == 404
    foreign = {**job, "environmentId": f"{mine}/environments/{tag}/versions/1"}
    assert server.request("PUT", f"{theirs}/jobs/x{tag}?{ARM}", {"properties": foreign}).status in (400, 404)
    server.request("PUT", f"{theirs}/environments/{tag}/versions/1?{ARM}", environment)
    for uri in (f"azureml:/{mine}/datastores/workspaceblobstore/paths/x/", f"{mine}/data/{tag}/versions/1"):
        reads = {**job, "inputs": {"x": {"jobInputType": "uri_folder", "uri": uri}}}
        refused = server.request("PUT", f"{theirs}/jobs/x{tag}?{ARM}", {"properties": reads})
        assert refused.status == 400 and "island-one" in refused.json["error"]["message"], refused.body
    there = {**job, "computeId": f"{mine}/computes/x"}
    assert server.request("PUT", f"{theirs}/jobs/x{tag}?{ARM}", {"properties": there}).status == 400

    # history and mlflow
    assert server.request("GET", f"/history/v1.0{theirs}/runs/{tag}").status == 404
    assert (
        server.request("PATCH", f"/history/v1.0{theirs}/experiments/{tag}/runs/{tag}", {"hidden": True}).status == 404
    )
    api = "/api/2.0/mlflow"
    assert server.request("GET", f"/tracking{theirs}{api}/runs/get?run_id={tag}").status == 404
    assert server.request("GET", f"/tracking{mine}{api}/runs/get?run_id={tag}").status == 200
    found = server.request("GET", f"/tracking{theirs}{api}/experiments/get-by-name?experiment_name={tag}")
    assert found.status == 404

    # storage: neither SAS nor key nor a path through the other's account
    secret = server.request("POST", f"{mine}/datastores/workspaceblobstore/listSecrets?{ARM}", {}).json["sasToken"]
    headers = {"x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob"}
    own = f"/{account(one)}.blob.core.windows.net/azureml/{tag}"
    other = f"/{account(two)}.blob.core.windows.net/azureml/{tag}"
    assert server.request("PUT", f"{own}?{secret}", b"x", headers=headers, token=None).status == 201
    assert server.request("PUT", f"{other}?{secret}", b"x", headers=headers, token=None).status == 403
    assert server.request("GET", f"{other}?{secret}", headers=headers, token=None).status == 403
    keys = [server.request("POST", f"{place}/listKeys?{ARM}").json["userStorageKey"] for place in (mine, theirs)]
    assert keys[0] != keys[1]

    # a job's own token is good for its workspace alone
    done = eventually(
        lambda: server.request("GET", f"{mine}/jobs/{tag}?{ARM}").json["properties"]["status"],
        lambda status: status in ("Completed", "Failed", "Canceled"),
        seconds=180,
        what="the end of the job",
    )
    details = server.request("GET", f"/history/v1.0{mine}/runs/{tag}/details").json
    log = server.request("GET", details["logFiles"]["user_logs/std_log.txt"].removeprefix(server.address), token=None)
    assert done == "Completed", log.body
    assert log.body.decode().splitlines()[-1] == "200 403 403 403 404", log.body


PEEK = """python - <<'END'
import os, ssl, urllib.error, urllib.request
tracking = os.environ["MLFLOW_TRACKING_URI"]
host, _, own = tracking.partition("/tracking")
token = os.environ["MLFLOW_TRACKING_TOKEN"]
context = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
other = os.environ["OTHER"]
def ask(path):
    request = urllib.request.Request(host + path, headers={"Authorization": "Bearer " + token})
    try:
        return urllib.request.urlopen(request, context=context).status
    except urllib.error.HTTPError as error:
        return error.code
api = "/api/2.0/mlflow/experiments/get?experiment_id=0"
print(ask(own), ask(other), ask("/history/v1.0" + other + "/runs/x"), ask("/tracking" + other + api), ask("/nowhere"))
END"""
