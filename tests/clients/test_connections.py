"""Connections by the unmodified SDK: every class of its own, every way to sign in, and secrets by listsecrets alone."""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.support.blob_server import Services
from tests.support.zaffre_server import ZaffreServer
from zaffre.services import kinds
from zaffre.services.connections import CONNECTION, Connections, PythonFeed
from zaffre.services.kinds.connection_words import SIGN_INS
from zaffre.services.resources import Resources
from zaffre.store.seal import Vault
from zaffre.store.unit import PLATFORM

ARM = "api-version=2024-04-01-preview"
GUID = "11111111-2222-3333-4444-555555555555"
SECRETS = ("a-pat", "a-password", "a-sas", "an-account-key", "a-client-secret", "a-secret-access-key", "an-api-key")


def every_class() -> list[Any]:
    from azure.ai.ml import entities as e

    key = e.ApiKeyConfiguration(key="an-api-key")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            e.WorkspaceConnection(
                name="c_git", type="git", target="https://git.example/r", credentials=e.PatTokenConfiguration(pat="a-pat")
            ),
            e.WorkspaceConnection(
                name="c_feed", type="python_feed", target="https://pkgs.example/simple", metadata={"team": "blue"},
                credentials=e.UsernamePasswordConfiguration(username="me", password="a-password"),
            ),
            e.WorkspaceConnection(
                name="c_registry", type="container_registry", target="registry.example", is_shared=False,
                credentials=e.ManagedIdentityConfiguration(client_id=GUID, resource_id="/subscriptions/x"),
            ),
            e.WorkspaceConnection(
                name="c_s3", type="s3", target="https://s3.example",
                credentials=e.AccessKeyConfiguration(access_key_id="id", secret_access_key="a-secret-access-key"),
            ),
            e.WorkspaceConnection(
                name="c_snowflake", type="snowflake", target="jdbc:snowflake://x",
                credentials=e.UsernamePasswordConfiguration(username="me", password="a-password"),
            ),
            e.WorkspaceConnection(
                name="c_sql", type="azure_sql_db", target="Server=x",
                credentials=e.ServicePrincipalConfiguration(
                    client_id=GUID, client_secret="a-client-secret", tenant_id=GUID
                ),
            ),
            e.WorkspaceConnection(
                name="c_gen2", type="azure_data_lake_gen2", target="https://a.dfs.example/fs",
                credentials=e.ServicePrincipalConfiguration(
                    client_id=GUID, client_secret="a-client-secret", tenant_id=GUID
                ),
            ),
            e.WorkspaceConnection(name="c_custom", type="custom", target="https://any", credentials=key),
            e.WorkspaceConnection(
                name="c_redis", type="redis", target="r", credentials=e.AccountKeyConfiguration(account_key="an-account-key")
            ),
            e.AzureBlobStoreConnection(
                name="c_blob", url="https://a.blob.example/c", container_name="c", account_name="a",
                credentials=e.SasTokenConfiguration(sas_token="a-sas"),
            ),
            e.MicrosoftOneLakeConnection(
                name="c_lake", endpoint="https://onelake", one_lake_workspace_name="w", credentials=e.AadCredentialConfiguration(),
                artifact=e.OneLakeConnectionArtifact(name="x"),
            ),
            e.AzureOpenAIConnection(name="c_aoai", azure_endpoint="https://aoai", api_key="an-api-key", api_version="1"),
            e.AzureAIServicesConnection(
                name="c_ais", endpoint="https://ais", api_key="an-api-key", ai_services_resource_id="/subscriptions/x"
            ),
            e.AzureAISearchConnection(name="c_search", endpoint="https://search", api_key="an-api-key"),
            e.AzureContentSafetyConnection(name="c_safety", endpoint="https://safety", api_key="an-api-key"),
            e.AzureSpeechServicesConnection(name="c_speech", endpoint="https://speech", api_key="an-api-key"),
            e.APIKeyConnection(name="c_key", api_base="https://api", api_key="an-api-key"),
            e.OpenAIConnection(name="c_openai", api_key="an-api-key"),
            e.SerpConnection(name="c_serp", api_key="an-api-key"),
            e.ServerlessConnection(name="c_serverless", endpoint="https://serverless", api_key="an-api-key"),
        ]  # fmt: skip


@pytest.fixture(scope="module")
def made(ml: Any) -> dict[str, Any]:
    """One of every class of the SDK, as it was given."""
    given = {connection.name: connection for connection in every_class()}
    for connection in given.values():
        answered = ml.connections.create_or_update(connection)
        assert type(answered) is type(connection)
    return given


def test_every_class_is_kept_and_read_back(ml: Any, made: dict[str, Any]) -> None:
    for name, given in made.items():
        read = ml.connections.get(name)
        assert type(read) is type(given), name
        assert (read.type, type(read.credentials)) == (given.type, type(given.credentials)), name
        assert read.target == (given.target or ""), name
        assert read.is_shared == given.is_shared, name
    assert ml.connections.get("c_feed").metadata == {"team": "blue"}
    assert ml.connections.get("c_aoai").api_version == "1"
    assert ml.connections.get("c_blob").container_name == "c"


def test_lists_filter(ml: Any, made: dict[str, Any], server: ZaffreServer) -> None:
    def names(**query: Any) -> set[str]:
        return {found.name for found in ml.connections.list(**query)} & set(made)

    data = {"c_blob", "c_lake", "c_gen2"}
    assert names() == set(made) - data
    # SDK 1.35 overwrites what `include_data_connections` asks for with includeAll=false; this is the parameter itself.
    assert names(include_all=True) == set(made)
    assert names(connection_type="python_feed") == {"c_feed"}
    assert names(connection_type="azure_blob") == {"c_blob"}
    assert names(connection_type="azure_open_ai") == {"c_aoai"}
    found = server.request("GET", f"{server.scope}/connections?{ARM}&target=https%3A%2F%2Fsearch").json["value"]
    assert [one["name"] for one in found] == ["c_search"]


def test_secrets_come_by_listsecrets_alone_and_lie_sealed(ml: Any, made: dict[str, Any], server: ZaffreServer) -> None:
    shown = server.request("GET", f"{server.scope}/connections?{ARM}&includeAll=true").body
    shown += b"".join(server.request("GET", f"{server.scope}/connections/{name}?{ARM}").body for name in made)
    database = b"".join(path.read_bytes() for path in sorted(server.home.glob(f"{server.database_file.name}*")))
    for secret in SECRETS:
        assert secret.encode() not in shown
        assert secret.encode() not in database
    assert ml.connections.get("c_openai", populate_secrets=True).api_key == "an-api-key"

    def credentials(name: str) -> Any:
        told = server.request("POST", f"{server.scope}/connections/{name}/listsecrets?{ARM}").json["properties"]
        return told.get("credentials")

    assert credentials("c_feed") == {"username": "me", "password": "a-password"}
    assert credentials("c_redis") == {"key": "an-account-key"}
    assert credentials("c_sql") == {"clientId": GUID, "clientSecret": "a-client-secret", "tenantId": GUID}
    assert credentials("c_lake") is None, "AAD has none"


def test_what_was_read_can_be_sent_back(ml: Any, made: dict[str, Any], server: ZaffreServer) -> None:
    read = ml.connections.get("c_snowflake")
    read.metadata = {"warehouse": "large"}
    assert ml.connections.create_or_update(read).metadata == {"warehouse": "large"}
    found = server.request("POST", f"{server.scope}/connections/c_snowflake/listsecrets?{ARM}").json["properties"]
    assert found["credentials"] == {"username": "me", "password": "a-password"}


def test_put_answers_200_and_patch_changes_a_part(server: ZaffreServer) -> None:
    path = f"{server.scope}/connections/patched"
    body = {
        "authType": "UsernamePassword",
        "category": "Git",
        "target": "t",
        "credentials": {"username": "u", "password": "p"},
    }
    made = server.request("PUT", f"{path}?{ARM}", {"properties": body})
    assert made.status == 200, "the SDK takes 201 for an error"
    assert "credentials" not in made.json["properties"]
    assert made.json["properties"]["group"] == "Azure"
    change = {"authType": "UsernamePassword", "metadata": {"a": 1}, "credentials": {"password": "q"}}
    changed = server.request("PATCH", f"{path}?{ARM}", {"properties": change})
    assert (changed.status, changed.json["properties"]["metadata"]) == (200, {"a": "1"})
    told = server.request("POST", f"{path}/listsecrets?{ARM}").json["properties"]
    assert (told["target"], told["credentials"]) == ("t", {"username": "u", "password": "q"})
    other = server.request("PATCH", f"{path}?{ARM}", {"properties": {"authType": "PAT"}})
    assert (other.status, other.json["error"]["target"]) == (400, "properties.credentials.pat")
    none = server.request("PATCH", f"{path}?{ARM}", {"properties": {"authType": "None"}})
    assert none.status == 200
    assert "credentials" not in server.request("POST", f"{path}/listsecrets?{ARM}").json["properties"]
    assert server.request("DELETE", f"{path}?{ARM}").status in (200, 204)
    assert server.request("GET", f"{path}?{ARM}").status == 404


@pytest.mark.parametrize("auth_type", sorted(SIGN_INS))
def test_every_way_to_sign_in_wants_its_own(server: ZaffreServer, auth_type: str) -> None:
    path = f"{server.scope}/connections/way_{auth_type}?{ARM}"
    needs = SIGN_INS[auth_type].needs
    whole = {name: {"a": "1"} if name == "keys" else "x" for name in needs}
    base = {"authType": auth_type, "category": "GenericRest", "target": "t"}
    for missing in needs:
        short = {name: value for name, value in whole.items() if name != missing}
        answer = server.request("PUT", path, {"properties": {**base, "credentials": short}})
        assert (answer.status, answer.json["error"]["target"]) == (400, f"properties.credentials.{missing}")
    odd = server.request("PUT", path, {"properties": {**base, "credentials": {**whole, "shoe": "9"}}})
    assert (odd.status, odd.json["error"]["target"]) == (400, "properties.credentials.shoe")
    assert server.request("GET", path).status == 404, "nothing half-written"
    assert server.request("PUT", path, {"properties": {**base, "credentials": whole}}).status == 200
    assert server.request("DELETE", path).status in (200, 204)


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"category": "Fax"}, 400, "properties.category"),
        ({"authType": "Handshake"}, 400, "properties.authType"),
        ({"authType": "AgenticUser"}, 501, "AgenticUser"),
        ({"target": None}, 400, "properties.target"),
        ({"metadata": {"a": {}}}, 400, "properties.metadata"),
        ({"expiryTime": "soon"}, 400, "properties.expiryTime"),
        ({"credentials": "x"}, 400, "properties.credentials"),
    ],
)
def test_what_is_wrong_is_named(server: ZaffreServer, change: dict[str, Any], status: int, word: str) -> None:
    body = {"authType": "PAT", "category": "Git", "target": "t", "credentials": {"pat": "x"}, **change}
    answer = server.request("PUT", f"{server.scope}/connections/wrong?{ARM}", {"properties": body})
    assert answer.status == status, answer.body
    assert word in answer.json["error"]["message"]


def test_a_job_reads_no_credentials(server: ZaffreServer, made: dict[str, Any]) -> None:
    command = (
        "python - <<'E'\n"
        "import os, ssl, urllib.error, urllib.request as r\n"
        "base = os.environ['AZUREML_SERVICE_ENDPOINT'] + os.environ['AZUREML_WORKSPACE_SCOPE'] + '/connections/c_feed'\n"
        "def ask(method, tail):\n"
        "    try:\n"
        "        q = r.Request(base + tail + '?api-version=2024-04-01-preview', method=method,\n"
        "                      headers={'Authorization': 'Bearer ' + os.environ['AZUREML_RUN_TOKEN']})\n"
        "        return r.urlopen(q).status\n"
        "    except urllib.error.HTTPError as error:\n"
        "        return error.code\n"
        "print('SAW', ask('GET', ''), ask('POST', '/listsecrets'), ask('DELETE', ''))\n"
        "E"
    )
    assert server.put_job("reads_connections", command).status == 201
    assert server.wait_for_job("reads_connections") == "Completed", server.job_log("reads_connections")
    assert "SAW 200 403 403" in server.job_log("reads_connections")


def test_python_feeds_are_told_to_whoever_builds(tmp_path: Path) -> None:
    services = Services(tmp_path)
    try:
        found = kinds.load()
        connections = Connections(Resources(services.database, Vault(services.settings.keys / "vault.key"), found))

        async def put(name: str, **properties: Any) -> None:
            await connections.put(PLATFORM, services.workspace, found[CONNECTION], "", name, {"properties": properties})

        async def all_feeds() -> list[PythonFeed]:
            feed = {"category": "PythonFeed"}
            await put("a", **feed, target="https://a/simple", authType="PAT", credentials={"pat": "p"})
            await put("b", **feed, target="https://b/simple", authType="UsernamePassword",
                      credentials={"username": "u", "password": "s"})  # fmt: skip
            await put("c", **feed, target="https://c/simple", authType="None")
            await put("d", category="Git", target="https://d", authType="PAT", credentials={"pat": "no"})
            assert await connections.python_feeds(services.other) == []
            return await connections.python_feeds(services.workspace)

        assert asyncio.run(all_feeds()) == [
            PythonFeed("https://a/simple", "token", "p"),
            PythonFeed("https://b/simple", "u", "s"),
            PythonFeed("https://c/simple", "", ""),
        ]
    finally:
        services.close()
