"""What azureml-fsspec and mltable ask beside storage itself: a datastore with the credential that opens it, and data assets
by name (clients.md §C). Their engine joins `protocol://account.blob.endpoint/container`, so an account of `host:port/account`
leads it to this server, path-style, as it does the SDK.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from starlette.responses import Response

from zaffre.errors import InvalidInput, NotFound, NotServed
from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import WORKSPACE, Handler, Route
from zaffre.runtime import iso
from zaffre.services.datastore_sources import check_reachable
from zaffre.services.datastores import Datastores, Opened
from zaffre.services.kinds.base import Document
from zaffre.services.resources import ListQuery, Resources
from zaffre.services.urls import outward
from zaffre.services.workspaces import Workspace
from zaffre.settings import Settings
from zaffre.store.resources import Cursor, Row

CONTAINER, VERSION = "workspaces/data", "workspaces/data/versions"
PAGE = 100
_TYPES = {"uri_file": "UriFile", "uri_folder": "UriFolder", "mltable": "MLTable"}
_BLOB_ADDRESS = re.compile(r"(?P<protocol>https?)://(?P<account>.+)\.(?:blob|dfs)\.(?P<suffix>[^/]+)/?")
_ASSET = re.compile(r"azureml://locations/[^/]+/workspaces/(?P<w>[^/]+)/data/(?P<n>[^/]+)/versions/(?P<v>[^/]+)")


class AssetAsked(msgspec.Struct, kw_only=True):
    value: str


class DataHandlers:
    def __init__(self, settings: Settings, resources: Resources, datastores: Datastores) -> None:
        self._settings = settings
        self._resources = resources
        self._datastores = datastores
        self.operations: dict[str, Handler] = {
            "DataContainer_ListDataContainer": self.containers,
            "DataContainer_GetDataContainer": self.container,
            "DataVersion_List": self.versions,
            "DataVersion_Get": self.version,
            "DataVersion_Exists": self.exists,
            "DataVersion_GetByAssetId": self.by_asset_id,
        }

    def routes(self) -> list[Route]:
        """The one that the table of operations lacks."""
        return [
            Route(
                protocol="history", method="GET", template=f"/datastore/v1.0{WORKSPACE}/datastores/{{name}}",
                handler=self.datastore, operation="Datastores_GetWithSecrets", action="workspaces/datastores/listSecrets",
            )
        ]  # fmt: skip

    async def datastore(self, call: Call) -> Response:
        opened = await self._datastores.opened(call.workspace, call.params["name"])
        answer = datastore_answer(opened, public_address(call, self._settings))
        return json_answer(answer, headers={"cache-control": "no-store"})

    async def containers(self, call: Call) -> Response:
        query = ListQuery(after=_after(call), limit=PAGE)
        rows, following = await self._resources.page(call.workspace, self._resources.kinds[CONTAINER], "", query)
        return _page([_container_answer(row) for row in rows], following)

    async def container(self, call: Call) -> Response:
        row = await self._resources.get(call.workspace, self._resources.kinds[CONTAINER], "", call.params["name"])
        return json_answer(_container_answer(row))

    async def versions(self, call: Call) -> Response:
        name = call.params["name"]
        await self._resources.get(call.workspace, self._resources.kinds[CONTAINER], "", name)
        query = ListQuery(after=_after(call), limit=PAGE)
        rows, following = await self._resources.page(call.workspace, self._resources.kinds[VERSION], name, query)
        return _page([self._answer(call, row) for row in rows], following)

    async def version(self, call: Call) -> Response:
        return json_answer(self._answer(call, await self._find(call, call.params["name"], call.params["version"])))

    async def exists(self, call: Call) -> Response:
        try:
            await self._find(call, call.params["name"], call.params["version"])
        except NotFound:
            return json_answer(False)
        return json_answer(True)

    async def by_asset_id(self, call: Call) -> Response:
        asked = await call.parse(AssetAsked)
        match = _ASSET.fullmatch(asked.value)
        if match is None or match["w"] != call.workspace.id:
            raise InvalidInput(
                f"Field 'value': '{asked.value[:200]}' is no asset id of this workspace's data.",
                code="InvalidField",
                target="value",
            )
        return json_answer(self._answer(call, await self._find(call, match["n"], match["v"])))

    async def _find(self, call: Call, name: str, version: str) -> Row:
        return await self._resources.get(call.workspace, self._resources.kinds[VERSION], name, version)

    def _answer(self, call: Call, row: Row) -> Document:
        """A version in the words of the data plane, under an address that any engine can follow."""
        properties = row.body["properties"]
        return {
            "dataVersion": {
                "assetId": asset_id(call.workspace, row.parent_name, row.name),
                "dataContainerName": row.parent_name,
                "dataType": _TYPES.get(properties["dataType"], properties["dataType"]),
                "dataUri": long_uri(call.workspace, properties["dataUri"], public_address(call, self._settings)),
                "versionId": row.name,
                "mutableProps": {
                    "dataExpiryTime": None,
                    "description": properties.get("description"),
                    "tags": properties.get("tags") or {},
                    "isArchived": row.archived,
                },
                "referencedDataUris": properties.get("referencedUris"),
                "properties": properties.get("properties") or {},
                "initialAssetId": None,
                "isRegistered": True,
                "runId": None,
                "originAssetId": None,
            },
            "entityMetadata": _metadata(row),
            "isV2": True,
        }


def asset_id(workspace: Workspace, name: str, version: str) -> str:
    return f"azureml://locations/{workspace.location}/workspaces/{workspace.id}/data/{name}/versions/{version}"


def long_uri(workspace: Workspace, uri: str, address: str) -> str:
    """An address that names its workspace, or a host: the engine knows neither by itself."""
    if uri.startswith("azureml://datastores/"):
        return f"azureml://{workspace.uri}/{uri.removeprefix('azureml://')}"
    return outward(uri, address)


def datastore_answer(opened: Opened, address: str) -> Document:
    """A datastore with the credential that opens it, in the words of the native engine."""
    properties, kind = opened.properties, opened.properties["datastoreType"]
    if kind == "AzureDataLakeGen1":
        check_reachable(opened.name, properties)
    secret = _secret(opened)
    answer: dict[str, Any] = {
        "name": opened.name,
        "dataStoreType": kind,
        "isDefault": bool(properties.get("isDefault")),
    }
    if kind == "OneLake":
        artifact = properties["artifact"]
        answer["oneLakeSection"] = {
            "oneLakeWorkspaceName": properties["oneLakeWorkspaceName"],
            "endpoint": properties["endpoint"],
            "artifact": {"artifactName": artifact["artifactName"], "artifactType": artifact["artifactType"]},
            **secret,
        }
        return answer
    answer["azureStorageSection"] = {
        **_storage(opened, address),
        "containerName": properties.get("containerName") or properties.get("filesystem") or properties["fileShareName"],
        **secret,
    }
    return answer


def _storage(opened: Opened, address: str) -> Document:
    """The parts of which the engine makes `protocol://account.blob.endpoint`."""
    properties = opened.properties
    if opened.account:
        account = f"{address.removeprefix('https://')}/{opened.account}"
        return {"accountName": account, "endpoint": "core.windows.net", "protocol": "https"}
    endpoint = properties["endpoint"]
    if "://" not in endpoint:
        return {"accountName": properties["accountName"], "endpoint": endpoint, "protocol": properties["protocol"]}
    match = _BLOB_ADDRESS.fullmatch(endpoint)
    if match is None:
        raise NotServed(
            f"The endpoint of datastore '{opened.name}' is '{endpoint}', which the engine of azureml-fsspec cannot be told; it joins "
            "account and suffix itself. Read it by a job's inputs."
        )
    return {"accountName": match["account"], "endpoint": match["suffix"], "protocol": match["protocol"]}


def _secret(opened: Opened) -> Document:
    secret = opened.secret
    if "sasToken" in secret:
        return {"credentialType": "Sas", "credential": secret["sasToken"], "isSas": True}
    if "key" in secret:
        return {"credentialType": "AccountKey", "credential": secret["key"], "isSas": False}
    if "clientSecret" in secret or "certificate" in secret:
        credentials = opened.properties["credentials"]
        return {
            "credentialType": "ClientCredentials",
            "clientCredentials": {
                "clientId": credentials["clientId"],
                "tenantId": credentials["tenantId"],
                "clientSecret": secret.get("clientSecret"),
                "certificate": secret.get("certificate"),
                "thumbprint": credentials.get("thumbprint"),
                "isCertAuth": "certificate" in secret,
                "authorityUrl": credentials.get("authorityUrl"),
                "resourceUri": credentials.get("resourceUrl"),
            },
        }
    return {"credentialType": "None"}


def _container_answer(row: Row) -> Document:
    properties = row.body["properties"]
    return {
        "dataContainer": {
            "name": row.name,
            "dataType": _TYPES.get(properties.get("dataType", ""), properties.get("dataType")),
            "mutableProps": {
                "description": properties.get("description"),
                "tags": properties.get("tags") or {},
                "isArchived": row.archived,
            },
            "isRegistered": True,
        },
        "entityMetadata": _metadata(row),
    }


def _metadata(row: Row) -> Document:
    return {
        "etag": f'"{row.pk}-{row.generation}"',
        "createdTime": iso(row.created_at),
        "modifiedTime": iso(row.modified_at),
        "createdBy": {"userName": row.created_by},
        "modifiedBy": {"userName": row.modified_by},
    }


def _after(call: Call) -> Cursor | None:
    token = call.query.get("continuationtoken")
    return Cursor.of(token) if token else None


def _page(values: list[Document], following: Cursor | None) -> Response:
    token = None if following is None else following.token
    return json_answer({"value": values, "continuationToken": token})
