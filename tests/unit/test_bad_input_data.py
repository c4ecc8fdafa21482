"""Bad input in what a job or a blob brings along: environments, commands, code, names and signatures."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import pytest

from tests.support.bad_input import ARM, Raw, outside, refused, rows
from tests.support.zaffre_server import ZaffreServer

PUT_BLOB = {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02"}


@pytest.fixture(scope="module")
def raw(server: ZaffreServer) -> Iterator[Raw]:
    server.environment_version("bare", {"image": f"python:{sys.version_info.major}.{sys.version_info.minor}"})
    made = Raw(server)
    yield made
    made.close()


@pytest.fixture(scope="module")
def upload(server: ZaffreServer) -> tuple[str, str]:
    """The path of a folder for uploads of a code version, and the SAS for it."""
    answer = server.request("POST", f"{server.scope}/codes/bad-input/versions/1/startPendingUpload?{ARM}", {})
    found = answer.json["blobReferenceForConsumption"]["credential"]["sasUri"]
    path, _, sas = found.removeprefix(server.address).partition("?")
    return path, sas


# ---- what a job names


@pytest.fixture(scope="module")
def named(server: ZaffreServer) -> dict[str, str]:
    """An asset of each kind that is no data, and data that names itself, by their ids."""
    found = {"environment": server.environment_version("of-no-use", {"image": "python:3.11"})}
    path = "azureml://datastores/workspaceblobstore/paths/of-no-use.txt"
    for version, uri in (("1", path), ("2", "azureml:of-no-use@latest")):
        properties = {"dataType": "uri_file", "dataUri": uri}
        answer = server.request(
            "PUT", f"{server.scope}/data/of-no-use/versions/{version}?{ARM}", {"properties": properties}
        )
        assert answer.status == 201, answer.body
        found[f"data {version}"] = answer.json["id"]
    return found


@pytest.mark.parametrize(
    ("field", "kind", "uri"),
    [
        ("codeId", "data 1", ""),
        ("codeId", "environment", ""),
        ("input", "environment", ""),
        ("input", "data 2", ""),
        ("input", "", "https://["),
        ("input", "", "https://host:port/x"),
    ],
)
def test_what_a_job_cannot_mean(server: ZaffreServer, named: dict[str, str], field: str, kind: str, uri: str) -> None:
    value = named.get(kind, uri)
    given: dict[str, Any] = {"codeId": value}
    if field == "input":
        given = {"inputs": {"x": {"jobInputType": "uri_file", "uri": value}}}
    refused(server.put_job(f"means-{tag(field + kind + uri)}", "true", **given), 400)


# ---- environments and commands


@pytest.mark.parametrize(
    ("conda", "names"),
    [
        ("dependencies: [no-such-conda-package-zf]", "no-such-conda-package-zf"),
        ("dependencies: [python=2.7]", "python"),
        ("dependencies: [numpy=not!a!version]", "numpy"),
        ("dependencies: [{pip: 7}]", "pip"),
        ("dependencies: [{pip: ['-r /etc/passwd']}]", "-r"),
        ("dependencies: [{pip: ['./local']}]", "./local"),
        ("dependencies: [{pip: ['--config-settings=x']}]", "--config-settings"),
    ],
)
def test_conda_files_that_cannot_be_used(server: ZaffreServer, raw: Raw, conda: str, names: str) -> None:
    """Refused when a job wants them, before anything is made."""
    environment = environment_of(server, conda)
    before = rows(server)
    answer = server.put_job(f"conda-{tag(conda)}", "true", environmentId=environment)
    refused(answer, 400, names=json.dumps(names)[1:-1])
    assert rows(server) == before


@pytest.mark.parametrize(
    ("conda", "names"),
    [
        ("dependencies: {a: b}", "dependencies"),
        ("dependencies: [\n", "YAML"),
        ("!!python/object/apply:os.system ['true']", "YAML"),
        ("just a text", "dependencies"),
    ],
)
def test_what_is_no_conda_file_is_refused_by_the_environment(server: ZaffreServer, conda: str, names: str) -> None:
    before = rows(server)
    path = f"{server.scope}/environments/bad-{tag(conda)}/versions/1?{ARM}"
    refused(server.request("PUT", path, {"properties": {"image": "python:3.11", "condaFile": conda}}), 400, names=names)
    assert rows(server) == before


def test_a_package_that_does_not_exist_fails_the_job_with_the_resolvers_words(server: ZaffreServer) -> None:
    environment = environment_of(server, "dependencies: [{pip: [no-such-package-of-zaffre-tests]}]")
    assert server.put_job("no-such-package", "true", environmentId=environment).status == 201
    assert server.wait_for_job("no-such-package") == "Failed"
    error = error_of(server, "no-such-package")
    assert "no-such-package-of-zaffre-tests" in error["message"] and "not found" in error["message"]


def test_a_command_that_does_not_exist(server: ZaffreServer) -> None:
    assert server.put_job("no-such-command", "no-such-program --now").status == 201
    assert server.wait_for_job("no-such-command") == "Failed"
    error = error_of(server, "no-such-command")
    assert "exit code 127" in error["message"] and "no-such-program: command not found" in error["message"]
    assert "Hint: 'no-such-program' is not a program of the environment" in error["message"]


@pytest.mark.parametrize("command", ["exec /no/such/file", "((", "exit 300", "kill -9 $$", "\\", "echo 'open"])
def test_commands_that_end_badly(server: ZaffreServer, command: str) -> None:
    name = f"bad-command-{tag(command)}"
    assert server.put_job(name, command).status == 201
    assert server.wait_for_job(name) == "Failed"
    assert "The command" in error_of(server, name)["message"]


def test_outputs_under_names_that_no_blob_may_have(server: ZaffreServer) -> None:
    """The rest is kept, and the job says what was not."""
    long = "/".join("x" * 200 for _ in range(6))
    command = (
        "echo printed; echo kept > outputs/kept; touch \"outputs/$(printf 'a\\001b')\"; "
        f"mkdir -p outputs/{long} && touch outputs/{long}/y"
    )
    assert server.put_job("odd-outputs", command).status == 201
    assert server.wait_for_job("odd-outputs") == "Failed"
    message = error_of(server, "odd-outputs")["message"]
    assert "control characters" in message and "1024 characters" in message
    assert server.job_log("odd-outputs") == "printed\n"
    listed = server.request(
        "GET", f"/tracking{server.scope}/api/2.0/mlflow/artifacts/list?run_id=odd-outputs&path=outputs"
    ).json
    assert [file["path"] for file in listed["files"]] == ["outputs/kept"]


@pytest.mark.parametrize(
    "path", ["../../../escaped", "a/../../../../escaped", "a//b", "./c", "a/..", "..\\escaped", "/etc/escaped"]
)
def test_code_paths_that_climb(server: ZaffreServer, raw: Raw, upload: tuple[str, str], path: str) -> None:
    """Refused at the upload, or the job that would stage the file fails; nothing is written beside the job's folder."""
    around = outside(server)
    folder = f"climb-{tag(path)}"
    base, sas = upload
    put = raw.ask("PUT", f"{base}/{folder}/{quote(path, safe='')}?{sas}", b"escaped", token=None, headers=PUT_BLOB)
    if put.status == 201:
        body = {"properties": {"codeUri": f"{server.address}{base}/{folder}"}}
        answer = server.request("PUT", f"{server.scope}/codes/{folder}/versions/1?{ARM}", body)
        assert answer.status == 201, answer.body
        assert server.put_job(folder, "cat $(find . -type f)", codeId=answer.json["id"]).status == 201
        state = server.wait_for_job(folder)
        # A backslash is a letter like any other here, so that file lies where it should.
        assert state == ("Completed" if "\\" in path else "Failed"), server.job(folder)
        assert state == "Completed" or "plain relative path" in error_of(server, folder)["message"]
    else:
        refused(put)
    assert outside(server) == around
    # os.walk passes over folders that go meanwhile.
    found = [top for top, _, files in os.walk(server.home) if any("escaped" in name for name in files)]
    assert [top for top in found if "/wd" not in top] == []


# ---- blobs


@pytest.mark.parametrize("name", ["%2e%2e%2f%2e%2e%2fx", "%00", "a%00b", "%ff%fe", "a" * 1025, "%C3%28", "a%01b"])
def test_blob_names(server: ZaffreServer, raw: Raw, name: str) -> None:
    """What is not a name is refused; one that climbs is at most a name, never a path."""
    before, around = rows(server), outside(server)
    answer = raw.ask("PUT", f"{container(server)}/{name}", b"x", headers=PUT_BLOB, token=storage_token(server))
    if name.startswith("%2e"):
        assert answer.status in (201, 400), answer.body
    else:
        refused(answer)
        assert rows(server) == before
    assert outside(server) == around


def test_ten_gigabytes_for_a_blob(server: ZaffreServer, raw: Raw) -> None:
    """Azure takes at most 5,000 MiB at once; more comes in blocks."""
    answer = raw.ask(
        "PUT",
        f"{container(server)}/huge",
        b"x",
        headers={**PUT_BLOB, "Content-Length": "10737418240"},
        token=storage_token(server),
    )
    refused(answer, 413)
    raw.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-MD5": "no base64"},
        {"Content-MD5": base64.b64encode(b"x" * 16).decode()},
        {"x-ms-blob-type": "PageBlob"},
        {"x-ms-blob-type": "None"},
        {"If-Modified-Since": "yesterday"},
        {"x-ms-meta-a b": "x"},
        {"x-ms-meta-": "x"},
        {"x-ms-range": "bytes=5-1"},
    ],
)
def test_blob_headers(server: ZaffreServer, raw: Raw, headers: dict[str, str]) -> None:
    token = storage_token(server)
    before = rows(server)
    if "x-ms-range" in headers:
        answer = raw.ask("GET", f"{container(server)}/nobody", headers={**PUT_BLOB, **headers}, token=token)
    else:
        answer = raw.ask("PUT", f"{container(server)}/headers", b"x", headers={**PUT_BLOB, **headers}, token=token)
    assert answer.status in (*range(400, 500), 501), answer.body
    assert b"Traceback" not in answer.body
    assert rows(server) == before


@pytest.mark.parametrize(
    "query",
    [
        "comp=block&blockid=",
        "comp=block&blockid=%%%",
        "comp=block",
        "comp=blocklist",
        "comp=nothing",
        "timeout=abc&comp=block&blockid=!!",
    ],
)
def test_blocks(server: ZaffreServer, raw: Raw, query: str) -> None:
    answer = raw.ask("PUT", f"{container(server)}/blocks?{query}", b"<x", headers=PUT_BLOB, token=storage_token(server))
    assert answer.status in (*range(400, 500), 501), answer.body
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize(
    "document",
    [
        b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><BlockList><Latest>&a;</Latest></BlockList>",
        b"<BlockList>",
        b"",
        b"\xff",
        b"<a/>",
        b"<BlockList><Latest>bm8=</Latest></BlockList>",
    ],
)
def test_block_lists(server: ZaffreServer, raw: Raw, document: bytes) -> None:
    before = rows(server)
    answer = raw.ask(
        "PUT", f"{container(server)}/listed?comp=blocklist", document, headers=PUT_BLOB, token=storage_token(server)
    )
    refused(answer)
    assert b"root:" not in answer.body
    assert rows(server) == before


@pytest.mark.parametrize(
    "change",
    [
        {"se": "2020-01-01T00:00:00Z"},
        {"se": "2099-01-01T00:00:00Z"},
        {"sp": "rwdl"},
        {"sig": "AAAA"},
        {"sig": ""},
        {"sig": "é"},
        {"se": ""},
        {"se": "soon"},
        {"sv": "1999-01-01"},
        {"ss": "q"},
        {"srt": "s"},
        {"spr": "http"},
        {"sip": "1.2.3.4"},
        {"st": "2098-01-01T00:00:00Z"},
    ],
)
def test_signatures_that_are_not_ours(
    server: ZaffreServer, raw: Raw, upload: tuple[str, str], change: dict[str, str]
) -> None:
    before = rows(server)
    path, sas = upload
    query = {name: values[0] for name, values in parse_qs(sas).items()} | change
    answer = raw.ask("PUT", f"{path}/signed?{urlencode(query)}", b"x", headers=PUT_BLOB, token=None)
    refused(answer, 400, 401, 403)
    assert rows(server) == before


def test_a_signature_of_another_workspace(server: ZaffreServer, raw: Raw, upload: tuple[str, str]) -> None:
    other = f"{server.scope.rpartition('/')[0]}/foreign"
    assert server.request("PUT", f"{other}?{ARM}", {}).status == 200
    store = server.request("GET", f"{other}/datastores/workspaceblobstore?{ARM}").json["properties"]
    account = f"{store['accountName'].rpartition('/')[2]}.blob.core.windows.net"
    before = rows(server)
    for target in (f"/{account}/azureml/x", f"/{store['containerName']}/x"):
        refused(raw.ask("PUT", f"{target}?{upload[1]}", b"x", headers=PUT_BLOB, token=None), 403)
    refused(
        raw.ask("PUT", f"/zf00000000000000000000.blob.core.windows.net/azureml/x?{upload[1]}", b"x", token=None),
        403,
        404,
    )
    assert rows(server) == before


# ---- artifacts by MLflow's proxy


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../x",
        "a/../../x",
        "%2e%2e/x",
        "a/%2e%2e/%2e%2e/x",
        "a%00b",
        "a//b",
        "%2Fetc%2Fpasswd",
        "_containers/x/y",
        "%ff",
    ],
)
def test_artifact_paths(server: ZaffreServer, raw: Raw, path: str) -> None:
    before, around = rows(server), outside(server)
    base = f"/tracking{server.scope}/api/2.0/mlflow-artifacts/artifacts"
    for method in ("PUT", "GET", "DELETE"):
        answer = raw.ask(method, f"{base}/{path}", b"x" if method == "PUT" else None)
        assert answer.status in (*range(400, 500), 501), answer.body
        assert b"Traceback" not in answer.body
    answer = raw.ask("GET", f"{base}?path={path}")
    assert answer.status in (200, 400, 404), answer.body
    assert answer.status != 200 or answer.json == {"files": []}
    assert rows(server) == before
    assert outside(server) == around


# ---- helpers


def tag(text: str) -> str:
    """A short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def environment_of(server: ZaffreServer, conda: str) -> str:
    return server.environment_version(f"bad-{tag(conda)}", {"image": "python:3.11", "condaFile": conda})


def error_of(server: ZaffreServer, name: str) -> dict[str, Any]:
    details = server.request("GET", f"/history/v1.0{server.scope}/runs/{name}/details").json
    found: dict[str, Any] = details["error"]["error"]
    return found


def container(server: ZaffreServer) -> str:
    """The path of the default container."""
    store = server.request("GET", f"{server.scope}/datastores/workspaceblobstore?{ARM}").json["properties"]
    return f"/{store['accountName'].rpartition('/')[2]}.blob.core.windows.net/{store['containerName']}"


def storage_token(server: ZaffreServer) -> str:
    return server.token("https://storage.azure.com")


def test_where_an_operation_is_told_is_an_address(server: ZaffreServer, raw: Raw) -> None:
    """A resource group may have any letters; a header may not."""
    scope = quote(f"{server.scope.partition('/resourceGroups/')[0]}/resourceGroups/データ グループ") + (
        "/providers/Microsoft.MachineLearningServices/workspaces/of-any-letters"
    )
    assert server.request("PUT", f"{scope}?{ARM}", {"properties": {}}).status == 200
    path = f"{scope}/onlineEndpoints/of-any-letters?{ARM}"
    made = server.request("PUT", path, {"location": "local", "properties": {"authMode": "Key"}})
    gone = server.request("DELETE", path)
    assert (made.status, gone.status) == (201, 202), (made.body, gone.body)
    for answer, header in ((made, "azure-asyncoperation"), (gone, "location")):
        assert server.request("GET", answer.headers[header].removeprefix(server.address)).status in (200, 202, 204)
    assert server.request("DELETE", f"{scope}?{ARM}").status == 202
