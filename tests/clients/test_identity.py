"""Signing in: azure-identity by variables, the SDK's own ways to be pointed at a server, storage by bearer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer, eventually


def test_managed_identity_credential(client_environment: ZaffreServer) -> None:
    from azure.identity import ManagedIdentityCredential

    token = ManagedIdentityCredential().get_token("https://ml.azure.com/.default")
    assert time.time() + 3000 < token.expires_on < time.time() + 4000
    scope = client_environment.scope
    assert client_environment.request("GET", scope, token=token.token).status == 200
    assert client_environment.request("GET", scope, token=token.token[:-3] + "abc").status == 401


def test_a_wrong_api_key_gets_no_token(client_environment: ZaffreServer) -> None:
    answer = client_environment.request(
        "GET", "/msi/token?resource=https://ml.azure.com", headers={"X-IDENTITY-HEADER": "zf_wrong"}, token=None
    )
    assert (answer.status, answer.json["error"]) == (401, "AuthenticationFailed")
    answer = client_environment.request(
        "GET",
        "/msi/token?resource=https://graph.microsoft.com",
        headers={"X-IDENTITY-HEADER": client_environment.credentials["api_key"]},
        token=None,
    )
    assert (answer.status, answer.json["error"]) == (400, "invalid_resource")


def test_from_config(client_environment: ZaffreServer, tmp_path: Path) -> None:
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    names = client_environment.credentials
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "subscription_id": names["subscription"],
                "resource_group": names["resource_group"],
                "workspace_name": names["workspace"],
            }
        )
    )
    ml = MLClient.from_config(DefaultAzureCredential(), path=str(tmp_path))
    assert ml.workspaces.get(names["workspace"]).name == names["workspace"]


def test_blob_by_bearer_over_tls(client_environment: ZaffreServer, ml: Any) -> None:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import DefaultAzureCredential
    from azure.storage.blob import BlobServiceClient

    store = ml.datastores.get("workspaceblobstore")
    url = f"https://{store.account_name}.blob.core.windows.net"
    container = BlobServiceClient(url, credential=DefaultAzureCredential()).get_container_client(store.container_name)
    container.upload_blob("bearer/a.txt", b"hello", overwrite=True)
    assert container.download_blob("bearer/a.txt").readall() == b"hello"
    assert [blob.name for blob in container.list_blobs(name_starts_with="bearer/")] == ["bearer/a.txt"]

    class Wrong:
        def get_token(self, *_scopes: str, **_more: Any) -> Any:
            return DefaultAzureCredential().get_token("https://ml.azure.com/.default")

    foreign = BlobServiceClient(url, credential=Wrong()).get_container_client(store.container_name)
    with pytest.raises(ClientAuthenticationError):
        foreign.download_blob("bearer/a.txt").readall()


def test_zaffre_connect(client_environment: ZaffreServer) -> None:
    import zaffre

    ml = zaffre.connect(home=client_environment.home)
    assert ml.workspaces.get(ml.workspace_name).name == client_environment.credentials["workspace"]


@pytest.fixture(scope="module")
def principal(client_environment: ZaffreServer) -> dict[str, str]:
    """A service principal: `id` and `secret`."""
    found: dict[str, str] = client_environment.request("POST", "/zaffre/v1/principals", {"name": "identity"}).json
    return found


def environment_of(server: ZaffreServer, **more: str) -> dict[str, str]:
    """The variables of `zaffre env` but for those that sign in, and what a test signs in with."""
    left_out = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET")
    return {name: value for name, value in {**os.environ, **server.variables}.items() if name not in left_out} | more


READS = """
import os
from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential

names = [os.environ[name] for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE")]
ml = MLClient(DefaultAzureCredential(), *names)
print(ml.workspaces.get().name, ml.datastores.get("workspaceblobstore").name)
"""


@pytest.mark.parametrize("how", ["adfs", "msi"])
def test_default_credential_with_no_code(client_environment: ZaffreServer, principal: dict[str, str], how: str) -> None:
    """A service principal by the `adfs` authority, and the variables that an Azure ML compute sets."""
    server = client_environment
    if how == "adfs":
        variables = {
            "AZURE_AUTHORITY_HOST": server.address,
            "AZURE_TENANT_ID": "adfs",
            "AZURE_CLIENT_ID": principal["id"],
            "AZURE_CLIENT_SECRET": principal["secret"],
        }
    else:
        variables = {"MSI_ENDPOINT": f"{server.address}/msi/token", "MSI_SECRET": principal["secret"]}
    done = subprocess.run(
        [sys.executable, "-c", READS],
        env=environment_of(server, **variables),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [server.credentials["workspace"], "workspaceblobstore"]


@pytest.mark.parametrize("tenant", ["8e2f7a0c-6b1d-4c55-9a3e-5d0f1e2a3b4c", "11111111-2222-3333-4444-555555555555"])
def test_client_secret_credential(client_environment: ZaffreServer, principal: dict[str, str], tenant: str) -> None:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import ClientSecretCredential

    def credential(secret: str) -> ClientSecretCredential:
        return ClientSecretCredential(
            tenant, principal["id"], secret, authority=client_environment.address, disable_instance_discovery=True
        )

    token = credential(principal["secret"]).get_token("https://ml.azure.com/.default")
    assert client_environment.request("GET", "/zaffre/v1/me", token=token.token).json["name"] == "identity"
    with pytest.raises(ClientAuthenticationError, match="its secret is wrong, expired or revoked"):
        credential(principal["secret"] + "x").get_token("https://ml.azure.com/.default")
    with pytest.raises(ClientAuthenticationError, match="is not an audience of this server"):
        credential(principal["secret"]).get_token("https://graph.microsoft.com/.default")


def test_what_az_login_asks(client_environment: ZaffreServer, principal: dict[str, str]) -> None:
    """clients.md §A.3: cloud register, then login with MSAL as az has it, then the lists."""
    import msal

    server = client_environment
    cloud = server.request("GET", "/metadata/endpoints?api-version=2022-09-01", token=None).json
    assert cloud["authentication"]["loginEndpoint"] == cloud["resourceManager"] == server.address
    tenant = cloud["authentication"]["tenant"]
    application = msal.ConfidentialClientApplication(
        principal["id"],
        client_credential=principal["secret"],
        authority=f"{cloud['authentication']['loginEndpoint']}/{tenant}",
        instance_discovery=False,
        verify=str(server.home / "bundle.pem"),
    )
    found = application.acquire_token_for_client([f"{cloud['resourceManager']}//.default"])
    assert "access_token" in found, found
    for path, name in (("/subscriptions", "subscriptionId"), ("/tenants", "tenantId")):
        answer = server.request("GET", f"{path}?api-version=2022-12-01", token=found["access_token"])
        assert answer.status == 200 and answer.json["value"][0][name], answer.body


def test_another_signing_key_logs_nobody_out(client_environment: ZaffreServer, ml: Any) -> None:
    """Neither a client that holds a token, nor a job that runs."""
    server = client_environment
    before = server.token()
    first = server.request("GET", "/zaffre/v1/signing-keys").json["value"][0]
    assert server.put_job(
        "signing-keys",
        'echo "$MLFLOW_TRACKING_TOKEN"; until [ -e "$AZ_BATCHAI_JOB_WORK_DIR/go" ]; do sleep 0.1; done',
    ).status in (200, 201)
    eventually(lambda: server.status("signing-keys"), lambda state: state == "Running", what="the job to run")
    work = eventually(
        lambda: list((server.home / "jobs").glob("*/signing-keys/wd")), lambda found: len(found) == 1, what="its folder"
    )
    job = eventually(lambda: server.job_log("signing-keys"), lambda text: "\n" in text, what="its token").split()[0]
    made = server.request("POST", "/zaffre/v1/signing-keys/rotate", {}).json
    assert made["signs"] and made["kid"] != first["kid"]
    mine = f"/tracking{server.scope}/api/2.0/mlflow/runs/get?run_id=signing-keys"
    assert (
        server.request("GET", mine, token=job).status == server.request("GET", server.scope, token=before).status == 200
    )
    assert ml.workspaces.get().name == server.credentials["workspace"]
    kids = [one["kid"] for one in server.request("GET", "/discovery/keys", token=None).json["keys"]]
    assert kids[:2] == [made["kid"], first["kid"]]
    (work[0] / "go").touch()
    assert server.wait_for_job("signing-keys") == "Completed"
