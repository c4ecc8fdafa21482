"""Signing in: azure-identity by variables, the SDK's own ways to be pointed at a server, storage by bearer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer


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
