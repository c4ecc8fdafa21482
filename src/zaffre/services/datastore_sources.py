"""A datastore outside this server as the source that execution opens: its address and its secret put together."""

from __future__ import annotations

from pathlib import Path

import msgspec

from zaffre.errors import InvalidInput, NotServed
from zaffre.services.kinds.base import Document
from zaffre.services.workspaces import Workspace

LOCAL_FOLDER = "LocalFolder"
_RECORDS = {
    "AzureFile": "no library that Zaffre could use reads Azure's file shares",
    "AzureDataLakeGen1": "Azure has shut that service down",
}
_ONE_LAKE = "onelake"


def source_of(name: str, properties: Document, sealed: str | None, folders: tuple[Path, ...]) -> Document:
    """The document of execution's `Source`; it holds the secret, so it lives in memory only.

    Raises NotServed for a datastore that is kept and cannot be reached, InvalidInput for a folder that is not allowed.
    """
    secret: dict[str, str] = msgspec.json.decode(sealed) if sealed else {}
    if properties.get("zaffreType") == LOCAL_FOLDER:
        return {"type": "folder", "root": str(root_of(folders, properties["path"])), "path": properties["path"]}
    if properties.get("zaffreType") == "S3":
        key = {"access_key_id": properties["accessKeyId"], "secret_access_key": secret["key"]} if secret else {}
        return {
            "type": "bucket",
            "bucket": properties["bucketName"],
            "prefix": properties.get("path") or "",
            "endpoint": properties["endpoint"].partition("?")[0],
            "region": properties["region"],
            **key,
        }
    check_reachable(name, properties)
    return {"type": "azure", **_azure_place(properties), **_azure_secret(properties["credentials"], secret)}


def check_reachable(name: str, properties: Document, field: str | None = None) -> None:
    """Raise NotServed, with a sentence, for a datastore that Zaffre keeps and cannot open."""
    kind, where = properties["datastoreType"], f"Field '{field}': " if field else ""
    if kind in _RECORDS:
        raise NotServed(
            f"{where}datastore '{name}' is kept as a record only: it is of type {kind}, and {_RECORDS[kind]}.",
            target=field,
        )
    if properties["credentials"]["credentialsType"] == "Certificate":
        raise NotServed(
            f"{where}datastore '{name}' signs in with a certificate, which Zaffre keeps and cannot use; give it a client secret, a key "
            "or a SAS.",
            target=field,
        )


def below_address(properties: Document, account: str | None, container: str, path: str) -> str | None:
    """What `path` of a container (`account`) or of a bucket (None) is called in a datastore; None if it lies elsewhere."""
    if account is None:
        if properties.get("zaffreType") != "S3" or properties["bucketName"] != container:
            return None
        prefix = properties.get("path") or ""
        if not prefix:
            return path
        return path.removeprefix(f"{prefix}/") if path.startswith(f"{prefix}/") else None
    named = properties.get("containerName") or properties.get("filesystem")
    is_there = not properties.get("zaffreType") and (properties.get("accountName"), named) == (account, container)
    return path if is_there else None


def root_of(folders: tuple[Path, ...], path: str) -> Path:
    """Which of the operator's folders a folder lies in, links resolved. Raises InvalidInput when it is none."""
    place = Path(path).resolve()
    for root in folders:
        if place.is_relative_to(root.resolve()):
            return root
    raise InvalidInput(
        f"Field 'properties.path': '{path[:200]}' lies in none of the folders this server's operator opened for datastores"
        f"{': ' + ', '.join(map(str, folders)) if folders else ''}. They are named in ZAFFRE_DATA_FOLDERS.",
        code="InvalidField",
        target="properties.path",
    )


def is_own(workspace: Workspace, properties: Document) -> bool:
    """Whether a datastore lies in the workspace's own storage account."""
    return str(properties.get("accountName", "")).rpartition("/")[2] == workspace.account


def _azure_place(properties: Document) -> dict[str, str]:
    endpoint = properties["endpoint"]
    if properties["datastoreType"] == "OneLake":
        # OneLake speaks Blob under a name of its own; a lakehouse keeps files in `Files`.
        address = endpoint if "://" in endpoint else f"https://{endpoint}"
        return {
            "account": _ONE_LAKE,
            "container": properties["oneLakeWorkspaceName"],
            "endpoint": address.replace(".dfs.", ".blob.", 1).rstrip("/"),
            "prefix": f"{properties['artifact']['artifactName']}/Files",
        }
    account = properties["accountName"]
    bare = f"{properties['protocol']}://{account}.blob.{endpoint}"
    return {
        "account": account,
        "container": properties.get("containerName") or properties["filesystem"],
        "endpoint": endpoint.rstrip("/") if "://" in endpoint else bare,
    }


def _azure_secret(credentials: Document, secret: dict[str, str]) -> dict[str, str]:
    if not secret:
        return {}
    if "clientSecret" in secret:
        made = {
            "client_id": credentials["clientId"],
            "client_secret": secret["clientSecret"],
            "tenant_id": credentials["tenantId"],
        }
        return {**made, "authority": credentials["authorityUrl"]} if credentials.get("authorityUrl") else made
    return {"key": secret["key"]} if "key" in secret else {"sas": secret["sasToken"]}
