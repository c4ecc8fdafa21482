"""Datastores: where data lies and with which credential. Secrets go to the vault, never into an answer.

The SDK knows five types and fails on a list that holds a sixth, so our own two travel as AzureBlob, told apart by
`protocol`: `s3` is a bucket, `file` a folder of the server's machine. A PUT may also name them S3 and LocalFolder.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from zaffre.errors import InvalidInput
from zaffre.services.kinds.base import Document, Kind, Show, Texts, check, spelled, texts
from zaffre.services.workspaces import Workspace
from zaffre.store.resources import Row

S3, FILE = "s3", "file"
AZURE_SUFFIX = "core.windows.net"
ALIAS = "zd"

_SECRET = {
    "AccountKey": "key",
    "Sas": "sasToken",
    "ServicePrincipal": "clientSecret",
    "Certificate": "certificate",
}
_CREDENTIALS = ("None", *_SECRET)
_IDENTITIES = ("None", "WorkspaceSystemAssignedIdentity", "WorkspaceUserAssignedIdentity")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAMED = re.compile(r"[A-Za-z0-9_]")
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_AWS = re.compile(r"s3[.-]([a-z0-9-]+)\.amazonaws\.com(\.cn)?")
# What each type must say, and the credentials that can open it.
_NEEDS: dict[str, tuple[str, ...]] = {
    "AzureBlob": ("accountName", "containerName"),
    "AzureFile": ("accountName", "fileShareName"),
    "AzureDataLakeGen1": ("storeName",),
    "AzureDataLakeGen2": ("accountName", "filesystem"),
    "OneLake": ("oneLakeWorkspaceName",),
}
_TAKES = {
    "AzureBlob": _CREDENTIALS,
    "AzureFile": ("AccountKey", "Sas", "None"),
    "AzureDataLakeGen1": ("ServicePrincipal", "Certificate", "None"),
    "AzureDataLakeGen2": _CREDENTIALS,
    "OneLake": ("ServicePrincipal", "Certificate", "None"),
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


class Principal(msgspec.Struct, rename="camel", kw_only=True):
    credentials_type: str
    client_id: str
    tenant_id: str
    authority_url: str | None = None
    resource_url: str | None = None


class Certificate(Principal, rename="camel", kw_only=True):
    thumbprint: str


class Artifact(msgspec.Struct, rename="camel", kw_only=True):
    artifact_type: str
    artifact_name: str


def alias(workspace: Workspace, name: str) -> str:
    """The account a client is told for a datastore that is no Azure account: no name of anybody's in the world."""
    return ALIAS + hashlib.sha256(f"{workspace.id}/{name.lower()}".encode()).hexdigest()[:20]


def secret_field(properties: Document) -> str | None:
    """The name of the one secret these credentials have."""
    return _SECRET.get(properties["credentials"]["credentialsType"])


def _complete(properties: Document) -> Document:
    type_ = spelled(properties["datastoreType"], TYPES, "properties.datastoreType")
    given = {**properties, **_OURS[type_](properties)} if type_ in _OURS else {**properties, "datastoreType": type_}
    kind = given["datastoreType"]
    for field in _NEEDS[kind]:
        if not _NAMED.search(given.get(field) or ""):
            raise _wrong(field, f"a datastore of type {kind} needs it")
    protocol = (given.get("protocol") or "https").lower()
    if kind == "AzureBlob" and protocol in _PLACES:
        given |= _PLACES[protocol](given)
    elif protocol not in ("https", "http"):
        raise _wrong(
            "protocol", f"'{protocol[:50]}' is not one of http, https{', s3, file' if kind == 'AzureBlob' else ''}"
        )
    elif kind == "OneLake":
        given |= _one_lake(given)
    else:
        _check_address(given.get("endpoint"), "endpoint")
        given["endpoint"] = given.get("endpoint") or AZURE_SUFFIX
    given["protocol"] = protocol
    return {
        **given,
        "credentials": _credentials(given, protocol if protocol in _PLACES else kind),
        "serviceDataAccessAuthIdentity": spelled(
            given.get("serviceDataAccessAuthIdentity") or "None",
            _IDENTITIES,
            "properties.serviceDataAccessAuthIdentity",
        ),
        "description": given.get("description"),
        "tags": texts(given.get("tags")),
        "properties": texts(given.get("properties")),
    }


def _named_s3(properties: Document) -> Document:
    if not properties.get("bucketName"):
        raise _wrong("bucketName", "a datastore of type S3 needs it")
    return {
        "datastoreType": "AzureBlob",
        "protocol": S3,
        "containerName": properties["bucketName"],
        "accountName": properties.get("accessKeyId") or "anonymous",
    }


def _named_folder(properties: Document) -> Document:
    if not properties.get("path"):
        raise _wrong("path", "a datastore of type LocalFolder needs it")
    return {"datastoreType": "AzureBlob", "protocol": FILE, "containerName": properties["path"], "accountName": "local"}


def _bucket(given: Document) -> Document:
    """A bucket: `accountName` is the id of the access key, `endpoint` the server's address, if it isn't AWS's own."""
    bucket, _, prefix = given["containerName"].strip("/").partition("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", bucket) or ".." in prefix.split("/"):
        raise _wrong("containerName", f"'{bucket[:100]}' is no name of a bucket")
    endpoint = given.get("endpoint")
    endpoint = None if endpoint in (None, "", AZURE_SUFFIX) else endpoint
    _check_address(endpoint, "endpoint")
    parts = urlsplit(endpoint if endpoint and "://" in endpoint else f"https://{endpoint or ''}")
    aws = _AWS.fullmatch(parts.hostname or "")
    region = given.get("region") or next(iter(parse_qs(parts.query).get("region", ())), None)
    region = region or (aws[1] if aws else "us-east-1")
    if not _REGION.fullmatch(region):
        raise _wrong("region", f"'{region[:50]}' is no region")
    return {
        "zaffreType": "S3",
        "bucketName": bucket,
        "accessKeyId": given["accountName"],
        "endpoint": f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"https://s3.{region}.amazonaws.com",
        "region": region,
        "path": prefix,
    }


def _folder(given: Document) -> Document:
    path = given["containerName"]
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise _wrong("containerName", f"'{path[:200]}'; expected the absolute path of a folder, without '..'")
    return {"zaffreType": "LocalFolder", "path": path.rstrip("/") or "/", "endpoint": "localhost"}


def _one_lake(given: Document) -> Document:
    artifact = given.get("artifact") or {}
    check(artifact, Artifact, "properties.artifact")
    spelled(artifact["artifactType"], ("LakeHouse",), "properties.artifact.artifactType")
    endpoint = given.get("endpoint") or "onelake.dfs.fabric.microsoft.com"
    _check_address(endpoint, "endpoint")
    return {"endpoint": endpoint, "artifact": {**artifact, "artifactType": "LakeHouse"}}


_OURS: dict[str, Callable[[Document], Document]] = {"S3": _named_s3, "LocalFolder": _named_folder}
_PLACES: dict[str, Callable[[Document], Document]] = {S3: _bucket, FILE: _folder}


def _credentials(given: Document, kind: str) -> Document:
    credentials = dict(given.get("credentials") or {"credentialsType": "None"})
    where = "properties.credentials"
    type_ = credentials.get("credentialsType")
    if not isinstance(type_, str):
        raise _wrong("credentials.credentialsType", f"expected one of {', '.join(_CREDENTIALS)}")
    credentials["credentialsType"] = type_ = spelled(type_, _CREDENTIALS, f"{where}.credentialsType")
    taken = {S3: ("AccountKey", "None"), FILE: ("None",)}.get(kind) or _TAKES[kind]
    if type_ not in taken:
        what = {S3: "S3 bucket", FILE: "local folder"}.get(kind, kind)
        raise _wrong(
            "credentials.credentialsType", f"a datastore of type {what} takes {' or '.join(taken)}, not {type_}"
        )
    if type_ in ("ServicePrincipal", "Certificate"):
        check(credentials, Certificate if type_ == "Certificate" else Principal, where)
        for field in ("clientId", "tenantId"):
            if not _GUID.fullmatch(credentials[field]):
                raise _wrong(f"credentials.{field}", f"'{credentials[field][:50]}'; expected a GUID")
        _check_address(credentials.get("authorityUrl"), "credentials.authorityUrl")
    return credentials


def _check_address(text: str | None, field: str) -> None:
    """A host, with a port or not, or a whole address without a user in it."""
    if not text:
        return
    if "://" in text:
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
            good = good and parts.port != 0
        except ValueError:
            good = False
    else:
        good = _HOST.fullmatch(text.partition("?")[0]) is not None
    if not good or "\0" in text:
        raise _wrong(field, f"'{text[:100]}'; expected a host, or an address that begins with https://")


def _take_secrets(body: Document) -> tuple[dict[str, str], Document]:
    """The one secret that fits the credentials' type. Null is none: the SDK sends back what it got, which had none."""
    properties = body.get("properties")
    credentials = properties.get("credentials") if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(credentials, dict) or "secrets" not in credentials:
        return {}, body
    secrets = credentials["secrets"]
    rest = {name: value for name, value in credentials.items() if name != "secrets"}
    kept = {**body, "properties": {**properties, "credentials": rest}}
    if secrets is None:
        return {}, kept
    if not isinstance(secrets, dict):
        raise _wrong("credentials.secrets", "expected an object")
    type_ = credentials.get("credentialsType")
    given = {
        name: value
        for name, value in secrets.items()
        if name not in ("secretsType", "expiresOn") and value not in (None, "")
    }
    expected = next((field for word, field in _SECRET.items() if str(type_).lower() == word.lower()), None)
    for name, value in given.items():
        if name != expected or not isinstance(value, str) or "\0" in value:
            raise _wrong(
                f"credentials.secrets.{name}",
                f"credentials of type {str(type_)[:50]} take {expected or 'no secret'}, a text",
            )
    if (
        expected == "key"
        and str(properties.get("protocol") or "").lower() != S3
        and properties.get("datastoreType") != "S3"
    ):
        _check_key(given.get("key"))
    return given and {"secrets": msgspec.json.encode(given).decode()}, kept


def _check_key(key: str | None) -> None:
    try:
        base64.b64decode(key or "", validate=True)
    except binascii.Error:
        raise _wrong("credentials.secrets.key", "the key of a storage account is base64") from None


def _extra(row: Row, show: Show) -> Document:
    properties = row.body["properties"]
    more: Document = {"subscriptionId": show.workspace.subscription, "resourceGroup": show.workspace.resource_group}
    host = show.address.removeprefix("https://")
    if properties.get("accountName") == show.workspace.account:
        # `host:port/account` makes the SDK build path-style blob addresses on our one port (wire.md §7.2).
        more["accountName"] = f"{host}/{show.workspace.account}"
    elif properties.get("zaffreType"):
        # Else the SDK would take a key's id for an account of Azure's, and send it what is meant for us.
        more["accountName"] = f"{host}/{alias(show.workspace, row.name)}"
    return more


def _wrong(field: str, text: str) -> InvalidInput:
    field = f"properties.{field}"
    return InvalidInput(f"Field '{field}': {text}.", code="InvalidField", target=field)


KINDS = (
    Kind(
        type="workspaces/datastores",
        properties=Properties,
        name=re.compile(r"[A-Za-z0-9_]{1,255}"),
        complete=_complete,
        extra=_extra,
        take_secrets=_take_secrets,
    ),
)
