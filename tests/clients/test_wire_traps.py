"""wire.md §12, trap by trap: what the server must answer so that none of the clients' traps snaps.

Left out are those that only a client can fall into: 14 (names of endpoints), 15, 26. The doctor looks for 1, 8, 12, 13, 18 and
24 in a user's own surroundings, too; bad input in general, the better part of 3, has suites of its own.
"""

from __future__ import annotations

import base64
import json
import sys
import time
import uuid
from typing import Any

import pytest

from tests.support.zaffre_server import Answer, ZaffreServer, eventually

API = "api-version=2024-04-01"


@pytest.fixture(scope="module")
def job(server: ZaffreServer) -> str:
    """A job that is over, with an input, a data output and a model output."""
    data = {
        "properties": {"dataType": "uri_file", "dataUri": "azureml://datastores/workspaceblobstore/paths/traps/in.txt"}
    }
    store = server.request("GET", f"{server.scope}/datastores/workspaceblobstore?{API}").json["properties"]
    assert upload(server, store, "traps/in.txt", b"hello").status == 201
    put(server, "data/traps/versions/1", data)
    answer = server.put_job(
        "traps",
        "cat ${{inputs.one}} && echo x > ${{outputs.made}}/x.txt && echo y > ${{outputs.model}}/y.txt",
        inputs={"one": {"jobInputType": "uri_file", "uri": f"{server.scope}/data/traps/versions/1"}},
        outputs={"made": {"jobOutputType": "uri_folder"}, "model": {"jobOutputType": "custom_model"}},
    )
    assert answer.status in (200, 201), answer.body
    assert server.wait_for_job("traps") == "Completed", server.job("traps")
    return "traps"


def put(server: ZaffreServer, path: str, body: dict[str, Any]) -> Answer:
    answer = server.request("PUT", f"{server.scope}/{path}?{API}", body)
    assert answer.status in (200, 201), f"{path}: {answer.status} {answer.body!r}"
    return answer


def get(server: ZaffreServer, path: str, query: str = API) -> Any:
    answer = server.request("GET", f"{server.scope}/{path}?{query}")
    assert answer.status == 200, f"{path}: {answer.status} {answer.body!r}"
    return answer.json


def upload(server: ZaffreServer, store: dict[str, Any], name: str, content: bytes, **headers: str) -> Answer:
    given = {"x-ms-blob-type": "BlockBlob", "Content-Type": "text/plain", "x-ms-version": "2021-12-02", **headers}
    account = store["accountName"].rpartition("/")[2]
    path = f"/{account}.blob.core.windows.net/{store['containerName']}/{name}"
    return server.request("PUT", path, content, headers=given, token=server.token("https://storage.azure.com"))


def component(server: ZaffreServer, **more: str) -> dict[str, Any]:
    image = f"python:{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "name": "traps",
        "type": "command",
        "command": "true",
        "environment": server.environment_version("bare", {"image": image}),
        "inputs": {"one": {"type": "string"}},
        **more,
    }


def test_1_the_cloud_is_part_of_the_address_it_is_asked_at(server: ZaffreServer) -> None:
    url = server.variables["ARM_CLOUD_METADATA_URL"]
    (cloud,) = server.request("GET", url.removeprefix(server.address), token=None).json
    assert cloud["resourceManager"] in url and cloud["name"] == server.variables["AZUREML_CURRENT_CLOUD"]


def test_2_nobody_is_told_to_wait_zero_seconds(server: ZaffreServer) -> None:
    """0 counts as absent, and the SDK then waits for 30 s."""
    assert server.put_job("traps-wait", "sleep 600").status in (200, 201)
    compute = {"properties": {"computeType": "AmlCompute", "properties": {"scaleSettings": {"maxNodeCount": 1}}}}
    answers = [
        server.request("POST", f"{server.scope}/jobs/traps-wait/cancel?{API}"),
        put(server, "onlineEndpoints/traps-wait", {"properties": {"authMode": "Key"}, "location": "local"}),
        put(server, "computes/traps-wait", {**compute, "location": "local"}),
        server.request("DELETE", f"{server.scope}/onlineEndpoints/traps-wait?{API}"),
        server.request("DELETE", f"{server.scope}/computes/traps-wait?{API}&underlyingResourceAction=Delete"),
    ]
    for answer in list(answers):
        for name in ("azure-asyncoperation", "location"):
            if name in answer.headers:
                answers.append(server.request("GET", answer.headers[name].removeprefix(server.address)))
    waits = [float(answer.headers["retry-after"]) for answer in answers if "retry-after" in answer.headers]
    assert waits and min(waits) >= 1
    unfinished = [a for a in answers if a.status == 202 or "azure-asyncoperation" in a.headers]
    assert unfinished and all("retry-after" in answer.headers for answer in unfinished)


def test_3_what_is_missing_or_unknown_is_no_failure_of_ours(server: ZaffreServer) -> None:
    """A 5xx is repeated ten times before a client says anything."""
    for method, path in (
        ("GET", f"{server.scope}/jobs/nothing?{API}"),
        ("PUT", f"{server.scope}/jobs/nothing?{API}"),
        ("POST", f"{server.scope}/jobs/nothing/cancel?{API}"),
        ("DELETE", f"{server.scope}/nothing/at/all?{API}"),
        ("PATCH", f"/history/v1.0{server.scope}/experiments/nothing/runs/nothing"),
        ("GET", "/nothing"),
    ):
        answer = server.request(method, path, {} if method in ("PUT", "PATCH") else None)
        assert 400 <= answer.status < 500, f"{method} {path}: {answer.status}"


def test_4_the_only_status_some_operations_may_have(server: ZaffreServer) -> None:
    connection = {"properties": {"category": "Git", "authType": "None", "target": "https://example.org/x.git"}}
    for _ in range(2):
        assert put(server, "connections/traps", connection).status == 200
    size = {"vmSize": "Standard_DS3_v2"}
    put(
        server,
        "computes/traps-instance",
        {"properties": {"computeType": "ComputeInstance", "properties": size}, "location": "local"},
    )
    for action in ("stop", "start", "restart"):
        eventually(
            lambda: get(server, "computes/traps-instance")["properties"],
            lambda found: (
                found["provisioningState"] == "Succeeded" and found["properties"]["state"] in ("Running", "Stopped")
            ),
            what=f"the instance before {action}",
        )
        assert server.request("POST", f"{server.scope}/computes/traps-instance/{action}?{API}").status == 202


def test_5_objects_are_objects_and_never_null(server: ZaffreServer, job: str) -> None:
    model = {"properties": {"modelUri": f"azureml://jobs/{job}/outputs/model", "modelType": "custom_model"}}
    found = put(server, "models/traps/versions/1", model).json["properties"]
    for name in ("flavors", "tags", "properties"):
        assert isinstance(found[name], dict), name
    found = server.job(job)["properties"]
    for name in ("services", "tags", "properties"):
        assert isinstance(found[name], dict), name


def test_6_and_7_what_a_jobs_outputs_are(server: ZaffreServer, job: str) -> None:
    """`default` would be downloaded twice; a model among the data outputs crashes the client."""
    assert set(server.job(job)["properties"]["outputs"]) == {"made", "model"}
    data = server.request("POST", f"/history/v1.0{server.scope}/rundata", {"runId": job, "selectRunMetadata": True})
    outputs = data.json["runMetadata"]["outputs"]
    assert set(outputs) == {"made", "model"}
    assert {one["type"] for one in outputs.values()} <= {"uri_file", "uri_folder", "mltable"}


def test_8_discovery_and_logs_are_asked_for_without_a_credential(server: ZaffreServer, job: str) -> None:
    url = server.request("GET", f"{server.scope}?{API}").json["properties"]["discoveryUrl"]
    assert server.request("GET", url.removeprefix(server.address), token=None).status == 200
    details = server.request("GET", f"/history/v1.0{server.scope}/runs/{job}/details").json
    log = server.request("GET", details["logFiles"]["user_logs/std_log.txt"].removeprefix(server.address), token=None)
    assert log.status == 200 and log.body.startswith(b"hello")


def test_9_assets_are_put_again_and_again(server: ZaffreServer) -> None:
    bodies = {
        "environments/traps/versions/1": {"image": "python:3.11"},
        "codes/traps/versions/1": {"codeUri": f"{server.address}/x/code"},
        "components/traps/versions/1": {"componentSpec": component(server, version="1")},
    }
    for path, properties in bodies.items():
        first, second = (put(server, path, {"properties": properties}) for _ in range(2))
        assert second.status == 200 and second.json["systemData"]["createdAt"] == first.json["systemData"]["createdAt"]
        assert second.json["id"] == first.json["id"]


def test_10_code_is_found_by_its_hash_under_any_name(server: ZaffreServer) -> None:
    """Otherwise each submission stores another copy."""
    hash_ = uuid.uuid4().hex
    body = {
        "properties": {
            "codeUri": f"{server.address}/x/code",
            "properties": {"hash_sha256": hash_, "hash_version": "202208"},
        }
    }
    made = put(server, f"codes/{uuid.uuid4()}/versions/1", body).json
    found = get(server, f"codes/{uuid.uuid4()}/versions", f"{API}&hash={hash_}&hashVersion=202208")["value"]
    assert [one["id"] for one in found] == [made["id"]]


def test_11_a_component_without_a_version_in_its_spec_gets_one(server: ZaffreServer) -> None:
    found = put(server, "components/traps/versions/7", {"properties": {"componentSpec": component(server)}}).json
    assert found["properties"]["componentSpec"]["version"] == "7"


def test_12_ids_have_the_one_spelling_that_parsers_take(server: ZaffreServer, job: str) -> None:
    for scope in (server.scope, server.scope.lower(), server.scope.replace("resourceGroups", "RESOURCEGROUPS")):
        for path in ("", f"/jobs/{job}", "/datastores/workspaceblobstore", "/data/traps/versions/1"):
            answer = server.request("GET", f"{scope}{path}?{API}")
            assert answer.status == 200 and answer.json["id"] == server.scope + path


def test_13_a_workspaces_own_id_stays_and_is_its_own(server: ZaffreServer) -> None:
    def own(path: str) -> str:
        return str(server.request("GET", f"{path}?{API}").json["properties"]["workspaceId"])

    other = f"{server.scope.rpartition('/')[0]}/traps-other"
    assert server.request("PUT", f"{other}?{API}", {"properties": {}}).status in (200, 201, 202)
    eventually(
        lambda: server.request("GET", f"{other}?{API}").status, lambda status: status == 200, what="the workspace"
    )
    assert own(server.scope) == own(server.scope) != own(other)
    assert uuid.UUID(own(other))


def test_16_a_fetched_job_is_changed_by_the_run_history(server: ZaffreServer, job: str) -> None:
    change = {"runId": job, "displayName": "another name", "tags": {"a": "b"}}
    answer = server.request("PATCH", f"/history/v1.0{server.scope}/experiments/tests/runs/{job}", change)
    assert answer.status == 200, answer.body
    found = server.job(job)["properties"]
    assert found["displayName"] == "another name" and found["tags"]["a"] == "b"


def test_17_every_answer_has_an_id_to_ask_by(server: ZaffreServer) -> None:
    for path in ("/healthz", "/nothing", f"{server.scope}?{API}"):
        assert server.request("GET", path).headers["x-ms-request-id"]


def test_18_a_users_token_in_a_header_is_not_logged(server: ZaffreServer) -> None:
    mark = uuid.uuid4().hex
    token = f"eyJ.{mark}.x"
    for path in (f"{server.scope}/jobs/x?{API}", f"{server.scope}/jobs/%zz?{API}", "/nothing"):
        server.request("PUT", path, {"properties": {"jobType": "Nonsense"}}, headers={"x-azureml-token": token})
    assert mark not in server.log()
    assert mark.encode() not in b"".join(
        path.read_bytes() for path in (server.home / "logs").iterdir() if path.is_file()
    )


def test_19_defaults_are_filled(server: ZaffreServer, job: str) -> None:
    found = server.job(job)["properties"]
    assert found["inputs"]["one"]["mode"] == "ReadOnlyMount" and found["outputs"]["made"]["mode"] == "ReadWriteMount"
    spec = put(server, "components/traps/versions/8", {"properties": {"componentSpec": component(server)}}).json
    inputs = spec["properties"]["componentSpec"]["inputs"]
    assert inputs["one"]["optional"] in (False, "False", "false")


def test_20_a_component_by_its_label(server: ZaffreServer) -> None:
    put(server, "components/traps/versions/9", {"properties": {"componentSpec": component(server)}})
    found = get(server, "components/traps/versions/azureml_default")
    assert found["id"].endswith("/components/traps/labels/default")
    assert found["properties"]["componentSpec"]["version"] == "9"


def test_21_folders_come_back_with_a_slash_at_their_end(server: ZaffreServer) -> None:
    store = get(server, "datastores/workspaceblobstore")["properties"]
    assert upload(server, store, "traps/folder/MLTable", b"paths:\n  - file: ./x.csv\n").status == 201
    for number, (kind, slash) in enumerate((("uri_folder", True), ("mltable", True), ("uri_file", False)), 1):
        uri = "azureml://datastores/workspaceblobstore/paths/traps/folder"
        body = {"properties": {"dataType": kind, "dataUri": uri}}
        found = put(server, f"data/traps-slash/versions/{number}", body).json["properties"]["dataUri"]
        assert found.endswith("/folder/") is slash, f"{kind}: {found}"


def test_22_a_connections_secret_is_told_by_listsecrets_alone(server: ZaffreServer) -> None:
    secret = uuid.uuid4().hex
    body = {
        "properties": {
            "category": "Git", "authType": "PAT", "target": "https://example.org/x.git", "credentials": {"pat": secret},
        }
    }  # fmt: skip
    assert secret.encode() not in put(server, "connections/traps-secret", body).body
    for path in ("connections/traps-secret", "connections"):
        assert secret not in json.dumps(get(server, path))
    told = server.request("POST", f"{server.scope}/connections/traps-secret/listsecrets?{API}")
    assert told.status == 200 and told.json["properties"]["credentials"]["pat"] == secret


def test_23_the_operations_of_a_deployment_have_a_path_of_their_own(server: ZaffreServer) -> None:
    group = server.scope.partition("/providers/")[0]
    for spelling in ("resourcegroups", "resourceGroups"):
        path = f"{group.replace('resourceGroups', spelling)}/deployments/nothing/operations?{API}"
        assert server.request("GET", path).status in (200, 404)  # never 501, nor 405


def test_24_tokens_are_well_formed(server: ZaffreServer) -> None:
    """AutoML and pipelines decode them in the client: alphabet, padding, and an audience without a slash at its end."""
    for audience in (
        "https://ml.azure.com",
        "https://ml.azure.com/",
        "https://management.azure.com/",
        server.address + "/",
    ):
        parts = server.token(audience).split(".")
        header, claims, signature = (
            base64.b64decode(p + "=" * (-len(p) % 4), altchars=b"-_", validate=True) for p in parts
        )
        assert json.loads(header)["alg"] == "RS256" and len(signature) == 256
        found = json.loads(claims)
        assert found["aud"] == audience.rstrip("/") and found["tid"] and found["exp"] > time.time()


def test_25_the_second_of_two_uploads_is_refused(server: ZaffreServer) -> None:
    store = get(server, "datastores/workspaceblobstore")["properties"]
    name = f"traps/{uuid.uuid4().hex}"
    first, second = (upload(server, store, name, b"x", **{"If-None-Match": "*"}) for _ in range(2))
    assert (first.status, second.status) == (201, 409), second.body


def test_27_enum_words_come_back_in_the_contracts_spelling(server: ZaffreServer) -> None:
    endpoint = {"properties": {"authMode": "key"}, "location": "local"}
    found = put(server, "onlineEndpoints/traps-words", endpoint).json["properties"]
    assert found["authMode"] == "Key"
    cluster = {
        "computeType": "AmlCompute",
        "properties": {"vmPriority": "dedicated", "scaleSettings": {"maxNodeCount": 1}},
    }
    found = put(server, "computes/traps-words", {"properties": cluster, "location": "local"}).json["properties"]
    assert found["properties"]["vmPriority"] == "Dedicated"
    server.request("DELETE", f"{server.scope}/onlineEndpoints/traps-words?{API}")
