"""Datastores: where data lies and with which credential. Secrets go to the vault, never into an answer.

The SDK knows five types and fails on a list that holds a sixth, so our own two travel as AzureBlob, told apart by
`protocol`: `s3` is a bucket, `file` a folder of the server's machine. A PUT may also name them S3 and LocalFolder.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from zaffre.services.kinds.base import Document, Kind, Show, Texts, check, spelled, texts
from zaffre.services.kinds.datastore_credentials import FILE, S3, check_address, check_credentials, take_secrets, wrong
from zaffre.store.resources import Row

AZURE_SUFFIX = "core.windows.net"
ALIAS = "zd"
_ALIAS = re.compile(ALIAS + r"([0-9]{1,18})")

_IDENTITIES = ("None", "WorkspaceSystemAssignedIdentity", "WorkspaceUserAssignedIdentity")
_ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,63}")
_NAMED = re.compile(r"[A-Za-z0-9_]")
_REGIONLESS = "us-east-1"
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_AWS = re.compile(r"s3[.-]([a-z0-9-]+)\.amazonaws\.com(\.cn)?")
# What an answer has no field for goes among the user's properties, as `zaffre.region`.
_OWN_FIELDS = ("zaffreType", "bucketName", "region", "accessKeyId", "path")
# What each type must say.
_NEEDS: dict[str, tuple[str, ...]] = {
    "AzureBlob": ("accountName", "containerName"),
    "AzureFile": ("accountName", "fileShareName"),
    "AzureDataLakeGen1": ("storeName",),
    "AzureDataLakeGen2": ("accountName", "filesystem"),
    "OneLake": ("oneLakeWorkspaceName",),
}
TYPES = (*_NEEDS, "S3", "LocalFolder")


class Properties(msgspec.Struct, rename="camel", kw_only=True):
    datastore_type: str
    account_name: str | None = None
    container_name: str | None = None
    file_share_name: str | None = None
    filesystem: str | None = None
    store_name: str | None = None
    one_lake_workspace_name: str | None = None
    artifact: dict[str, Any] | None = None
    endpoint: str | None = None
    protocol: str | None = None
    bucket_name: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    path: str | None = None
    service_data_access_auth_identity: str | None = None
    description: str | None = None
    tags: Texts | None = None
    properties: Texts | None = None
    credentials: dict[str, Any] | None = None
    is_default: bool | None = None


class Artifact(msgspec.Struct, rename="camel", kw_only=True):
    artifact_type: str
    artifact_name: str


def account_of(pk: int) -> str:
    """The account a client is told for a datastore that is no Azure account, by the key of its row."""
    return f"{ALIAS}{pk}"


def account_pk(account: str) -> int | None:
    """The reverse; None for an account of another kind."""
    match = _ALIAS.fullmatch(account)
    return int(match[1]) if match else None


def hidden_container(pk: int) -> str:
    """Where the workspace keeps what such a datastore has no place for."""
    return f"outside-{account_of(pk)}"


def container_of(properties: Document) -> str:
    """The container a client is told: a bucket by its name, a folder by a word that can stand in an address."""
    return properties["bucketName"] if properties["zaffreType"] == "S3" else "folder"


def _complete(properties: Document) -> Document:
    type_ = spelled(properties["datastoreType"], TYPES, "properties.datastoreType")
    properties = {name: value for name, value in properties.items() if name != "zaffreType"}  # ours to say
    given = {**properties, **_OURS[type_](properties)} if type_ in _OURS else {**properties, "datastoreType": type_}
    kind = given["datastoreType"]
    for field in _NEEDS[kind]:
        if not _NAMED.search(given.get(field) or ""):
            raise wrong(field, f"a datastore of type {kind} needs it")
    protocol = (given.get("protocol") or "https").lower()
    if kind == "AzureBlob" and protocol in _PLACES:
        given |= _PLACES[protocol](given)
    elif protocol not in ("https", "http"):
        raise wrong(
            "protocol", f"'{protocol[:50]}' is not one of http, https{', s3, file' if kind == 'AzureBlob' else ''}"
        )
    elif kind == "OneLake":
        given |= _one_lake(given)
    else:
        if "accountName" in _NEEDS[kind] and not _ACCOUNT.fullmatch(given["accountName"]):
            raise wrong("accountName", f"'{given['accountName'][:100]}' is no name of a storage account")
        check_address(given.get("endpoint"), "endpoint")
        given["endpoint"] = given.get("endpoint") or AZURE_SUFFIX
    if kind in ("AzureDataLakeGen1", "OneLake"):
        given.pop("protocol", None)
    else:
        given["protocol"] = protocol
    if kind == "AzureDataLakeGen1":
        given.pop("endpoint", None)
    return {
        **given,
        "credentials": check_credentials(given, protocol if protocol in _PLACES else kind),
        "serviceDataAccessAuthIdentity": spelled(
            given.get("serviceDataAccessAuthIdentity") or "None",
            _IDENTITIES,
            "properties.serviceDataAccessAuthIdentity",
        ),
        "description": given.get("description"),
        "tags": texts(given.get("tags")),
        "properties": {
            name: value for name, value in texts(given.get("properties")).items() if not name.startswith("zaffre.")
        },
    }


def _named_s3(properties: Document) -> Document:
    if not properties.get("bucketName"):
        raise wrong("bucketName", "a datastore of type S3 needs it")
    return {
        "datastoreType": "AzureBlob",
        "protocol": S3,
        "containerName": "/".join(part for part in (properties["bucketName"], properties.get("path")) if part),
        "accountName": properties.get("accessKeyId") or "anonymous",
    }


def _named_folder(properties: Document) -> Document:
    if not properties.get("path"):
        raise wrong("path", "a datastore of type LocalFolder needs it")
    return {"datastoreType": "AzureBlob", "protocol": FILE, "containerName": properties["path"], "accountName": "local"}


def _bucket(given: Document) -> Document:
    """A bucket: `accountName` is the id of the access key, `endpoint` the server's address, if it isn't AWS's own."""
    bucket, _, prefix = given["containerName"].strip("/").partition("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", bucket) or ".." in prefix.split("/"):
        raise wrong("containerName", f"'{bucket[:100]}' is no name of a bucket")
    endpoint = given.get("endpoint")
    endpoint = None if endpoint in (None, "", AZURE_SUFFIX) else endpoint
    check_address(endpoint, "endpoint")
    parts = urlsplit(endpoint if endpoint and "://" in endpoint else f"https://{endpoint or ''}")
    aws = _AWS.fullmatch(parts.hostname or "")
    told = (given.get("properties") or {}).get("zaffre.region")
    region = given.get("region") or told or next(iter(parse_qs(parts.query).get("region", ())), None)
    region = region or (aws[1] if aws else _REGIONLESS)
    if not _REGION.fullmatch(region):
        raise wrong("region", f"'{region[:50]}' is no region")
    return {
        "zaffreType": "S3",
        "bucketName": bucket,
        "accessKeyId": given["accountName"],
        # The SDK sends back an endpoint and no field for a region, so the region stays with it.
        "endpoint": f"{parts.scheme}://{parts.netloc}{'' if aws or region == _REGIONLESS else f'?region={region}'}"
        if parts.netloc
        else f"https://s3.{region}.amazonaws.com",
        "region": region,
        "path": prefix,
    }


def _folder(given: Document) -> Document:
    path = given["containerName"]
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise wrong("containerName", f"'{path[:200]}'; expected the absolute path of a folder, without '..'")
    return {"zaffreType": "LocalFolder", "path": path.rstrip("/") or "/", "endpoint": "localhost"}


def _one_lake(given: Document) -> Document:
    artifact = given.get("artifact") or {}
    check(artifact, Artifact, "properties.artifact")
    spelled(artifact["artifactType"], ("LakeHouse",), "properties.artifact.artifactType")
    endpoint = given.get("endpoint") or "onelake.dfs.fabric.microsoft.com"
    check_address(endpoint, "endpoint")
    return {"endpoint": endpoint, "artifact": {**artifact, "artifactType": "LakeHouse"}}


_OURS: dict[str, Callable[[Document], Document]] = {"S3": _named_s3, "LocalFolder": _named_folder}
_PLACES: dict[str, Callable[[Document], Document]] = {S3: _bucket, FILE: _folder}


def _extra(row: Row, show: Show) -> Document:
    properties = row.body["properties"]
    more: Document = {}
    if properties["datastoreType"] != "OneLake":
        more = {"subscriptionId": show.workspace.subscription, "resourceGroup": show.workspace.resource_group}
    host = show.address.removeprefix("https://")
    if properties.get("accountName") == show.workspace.account:
        # `host:port/account` makes the SDK build path-style blob addresses on our one port (wire.md §7.2).
        more["accountName"] = f"{host}/{show.workspace.account}"
    elif properties.get("zaffreType"):
        # Else the SDK would take a key's id for an account of Azure's, and send it what is meant for us.
        more["accountName"] = f"{host}/{account_of(row.pk)}"
        more["containerName"] = container_of(properties)
        own = {f"zaffre.{field}": properties[field] for field in _OWN_FIELDS if properties.get(field)}
        more["properties"] = {**properties["properties"], **own}
    return more


KINDS = (
    Kind(
        type="workspaces/datastores",
        properties=Properties,
        name=re.compile(r"[A-Za-z0-9_]{1,255}"),
        complete=_complete,
        extra=_extra,
        hide=_OWN_FIELDS,
        take_secrets=take_secrets,
    ),
)
