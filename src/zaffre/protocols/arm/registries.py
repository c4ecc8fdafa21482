"""Registries as resources: the one there is, `azureml`, is told in every group, since it belongs to nobody's."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Handler
from zaffre.runtime import iso
from zaffre.services.registries import AZUREML, BY, SINCE_MS, Registries
from zaffre.settings import Settings


class RegistryRecords:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.operations: dict[str, Handler] = {
            "Registries_Get": self.get,
            "Registries_List": self.list_,
            "Registries_ListBySubscription": self.list_,
        }

    async def get(self, call: Call) -> Response:
        Registries.check(call.params["registryName"])
        return json_answer(self._shaped(call))

    async def list_(self, call: Call) -> Response:
        return json_answer({"value": [self._shaped(call)]})

    def _shaped(self, call: Call) -> dict[str, Any]:
        group = call.params.get("resourceGroupName") or AZUREML
        address = public_address(call, self._settings)
        return {
            "id": f"/subscriptions/{call.params['subscriptionId']}/resourceGroups/{group}"
            f"/providers/Microsoft.MachineLearningServices/registries/{AZUREML}",
            "name": AZUREML,
            "type": "Microsoft.MachineLearningServices/registries",
            "location": self._settings.location,
            "tags": {},
            "properties": {
                "discoveryUrl": f"{address}/registrymanagement/v1.0/registries/{AZUREML}/discovery",
                "publicNetworkAccess": "Enabled",
                "regionDetails": [{"location": self._settings.location, "acrDetails": [], "storageAccountDetails": []}],
            },
            "systemData": {
                "createdAt": iso(SINCE_MS),
                "createdBy": BY,
                "createdByType": "Application",
                "lastModifiedAt": iso(SINCE_MS),
            },
        }
