"""Where a registry is, and what it holds. Assets are addressed by `azureml://registries/…`; the SDK takes no ARM ids here."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from zaffre.errors import NotFound
from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Handler, Route
from zaffre.runtime import iso
from zaffre.services.registries import AZUREML, BY, LATEST, SINCE_MS, Curated, Registries
from zaffre.settings import TENANT, Settings

_REGISTRY = (
    "/mferp/managementfrontend/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}"
    "/providers/Microsoft.MachineLearningServices/registries/{registryName}"
)
_VIEWS_WITHOUT = "archivedonly"


def routes(settings: Settings, registries: Registries) -> list[Route]:
    handlers = _Handlers(settings, registries)

    def route(method: str, template: str, handler: Handler, operation: str, verb: str = "read") -> Route:
        return Route(
            protocol="registries",
            method=method,
            template=template,
            handler=handler,
            operation=operation,
            action=f"registries/{verb}",
        )

    return [
        route("GET", "/registrymanagement/v1.0/registries/{registryName}/discovery", handlers.discovery, "Registry_Discovery"),
        route("GET", f"{_REGISTRY}/{{kind}}", handlers.containers, "RegistryAssets_List"),
        route("GET", f"{_REGISTRY}/{{kind}}/{{name}}", handlers.container, "RegistryAssets_Get"),
        route("GET", f"{_REGISTRY}/{{kind}}/{{name}}/versions", handlers.versions, "RegistryVersions_List"),
        route("GET", f"{_REGISTRY}/{{kind}}/{{name}}/versions/{{version}}", handlers.version, "RegistryVersions_Get"),
        route("GET", f"{_REGISTRY}/{{kind}}/{{name}}/labels/{{label}}", handlers.labelled, "RegistryLabels_Get"),
        *(
            route(method, f"{_REGISTRY}/{{path*}}", handlers.refuse, f"Registry_{method.capitalize()}", "write")
            for method in ("PUT", "PATCH", "POST", "DELETE")
        ),
    ]  # fmt: skip


class _Handlers:
    def __init__(self, settings: Settings, registries: Registries) -> None:
        self._settings = settings
        self._registries = registries

    async def discovery(self, call: Call) -> Response:
        self._registries.check(call.params["registryName"])
        region = self._settings.location
        address = public_address(call, self._settings) + "/"  # clients append to it
        return json_answer(
            {
                "registryName": AZUREML,
                "primaryRegion": region,
                "primaryRegionResourceProviderUri": address,
                "resourceGroup": AZUREML,
                "subscriptionId": self._settings.subscription,
                "tenantId": TENANT,
                "workspaceId": None,
                "additionalRegions": [],
                "regions": [region],
            }
        )

    async def containers(self, call: Call) -> Response:
        kind = self._kind(call)
        archived = call.query.get("listviewtype", "").lower() == _VIEWS_WITHOUT
        found = [] if archived else self._registries.all(kind)
        return json_answer({"value": [_container(one) for one in found], "nextLink": None})

    async def container(self, call: Call) -> Response:
        return json_answer(_container(self._registries.get(self._kind(call), call.params["name"])))

    async def versions(self, call: Call) -> Response:
        found, version = self._registries.version(self._kind(call), call.params["name"], LATEST)
        return json_answer({"value": [_version(found, version)], "nextLink": None})

    async def version(self, call: Call) -> Response:
        found = self._registries.version(self._kind(call), call.params["name"], call.params["version"])
        return json_answer(_version(*found))

    async def labelled(self, call: Call) -> Response:
        kind, name, label = self._kind(call), call.params["name"], call.params["label"]
        self._registries.get(kind, name)
        if label.lower() != LATEST:
            raise NotFound(f"'{name[:100]}' has no label '{label[:100]}'; it has '{LATEST}'.")
        return json_answer(_version(*self._registries.version(kind, name, LATEST)))

    async def refuse(self, call: Call) -> Response:
        raise self._registries.refuse(call.params["registryName"])

    def _kind(self, call: Call) -> str:
        kind = call.params["kind"].lower()
        self._registries.check(call.params["registryName"], kind)
        return kind


def _container(found: Curated) -> dict[str, Any]:
    properties = found.properties(found.version)
    return _envelope(
        "environments",
        found.name,
        f"environments/{found.name}",
        {
            **{name: properties[name] for name in ("description", "tags", "properties", "isArchived")},
            "latestVersion": found.version,
            "nextVersion": str(int(found.version) + 1),
        },
    )


def _version(found: Curated, version: str) -> dict[str, Any]:
    path = f"environments/{found.name}/versions/{version}"
    return _envelope("environments/versions", version, path, {**found.properties(version), "stage": None})


def _envelope(type_: str, name: str, path: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"azureml://registries/{AZUREML}/{path}",
        "name": name,
        "type": f"Microsoft.MachineLearningServices/registries/{type_}",
        "properties": {**properties, "provisioningState": "Succeeded"},
        "systemData": {
            "createdAt": iso(SINCE_MS),
            "createdBy": BY,
            "createdByType": "Application",
            "lastModifiedAt": iso(SINCE_MS),
        },
    }
