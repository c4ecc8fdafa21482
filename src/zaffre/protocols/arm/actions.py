"""What can be asked of a resource beside the common verbs."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from zaffre.errors import InvalidInput, NotFound
from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.arm import shape
from zaffre.services.datastores import Datastores
from zaffre.services.endpoints import DEPLOYMENT, LOG_CONTAINERS, Endpoints
from zaffre.services.jobs import Jobs
from zaffre.services.kinds.deployments import skus
from zaffre.settings import Settings
from zaffre.store import operations
from zaffre.store.database import Database


class SecretsAsked(msgspec.Struct, rename="camel", kw_only=True):
    expirable_secret: bool = False
    expire_after_hours: int = 1


class Actions:
    """One method an action; `table` binds them to types."""

    def __init__(
        self, settings: Settings, database: Database, datastores: Datastores, jobs: Jobs, endpoints: Endpoints
    ) -> None:
        self._settings = settings
        self._database = database
        self._datastores = datastores
        self._jobs = jobs
        self._endpoints = endpoints
        self.table = {
            ("workspaces/codes/versions", "startPendingUpload"): self.start_pending_upload,
            ("workspaces/datastores", "listSecrets"): self.datastore_secrets,
            ("workspaces/jobs", "cancel"): self.cancel_job,
            ("workspaces/onlineEndpoints", "listKeys"): self.endpoint_keys,
            ("workspaces/onlineEndpoints", "regenerateKeys"): self.regenerate_keys,
            ("workspaces/onlineEndpoints", "token"): self.endpoint_token,
            ("workspaces/onlineEndpoints/deployments", "getLogs"): self.deployment_logs,
            ("workspaces/onlineEndpoints/deployments/skus", "list"): self.deployment_skus,
        }

    async def start_pending_upload(self, call: Call) -> Response:
        """A place to upload a code version to, and a SAS for it (wire.md §7.1)."""
        name, version = call.params["name"], call.params["version"]
        path, sas = await self._datastores.pending_upload(call.actor, call.workspace, name, version)
        url = public_address(call, self._settings) + path
        return json_answer(
            {
                "pendingUploadId": f"{name}:{version}",
                "pendingUploadType": "TemporaryBlobReference",
                "blobReferenceForConsumption": {
                    "blobUri": url,
                    "storageAccountArmId": f"{call.workspace.path}/storageAccounts/{call.workspace.account}",
                    "credential": {"credentialType": "SAS", "sasUri": f"{url}?{sas}"},
                },
            }
        )

    async def datastore_secrets(self, call: Call) -> Response:
        """The one answer that holds a datastore's secret."""
        asked = await call.parse(SecretsAsked)
        found = await self._datastores.secrets(
            call.workspace, _last(call), expirable=asked.expirable_secret, hours=asked.expire_after_hours
        )
        return json_answer(found, headers={"cache-control": "no-store"})

    async def cancel_job(self, call: Call) -> Response:
        operation = await self._jobs.cancel(call.actor, call.workspace, _last(call))
        if operation is None:
            return Response(status_code=200)
        return shape.accepted(public_address(call, self._settings), call.workspace, operation)

    async def endpoint_keys(self, call: Call) -> Response:
        primary, secondary = await self._endpoints.keys(call.workspace, _last(call))
        return json_answer({"primaryKey": primary, "secondaryKey": secondary})

    async def regenerate_keys(self, call: Call) -> Response:
        body = await call.document()
        which = str(body.get("keyType", "")).capitalize()
        if which not in ("Primary", "Secondary"):
            raise InvalidInput(
                f"Field 'keyType': '{which}' is not one of Primary, Secondary.", code="InvalidField", target="keyType"
            )
        operation = await self._endpoints.regenerate(
            call.actor, call.workspace, _last(call), which, body.get("keyValue")
        )
        return shape.accepted(public_address(call, self._settings), call.workspace, operation)

    async def endpoint_token(self, call: Call) -> Response:
        made = await self._endpoints.token(call.principal, call.workspace, _last(call))
        return json_answer(
            {
                "accessToken": made.token,
                "expiryTimeUtc": made.expires,
                "refreshAfterTimeUtc": made.refresh_after,
                "tokenType": "Bearer",
            },
            headers={"cache-control": "no-store"},
        )

    async def deployment_logs(self, call: Call) -> Response:
        body = await call.document()
        tail = body.get("tail") if body.get("tail") is not None else 50
        if isinstance(tail, bool) or not isinstance(tail, int) or not 1 <= tail <= 10_000:
            raise InvalidInput(
                f"Field 'tail': {str(tail)[:50]}; expected a number from 1 to 10000.",
                code="InvalidField",
                target="tail",
            )
        container = body.get("containerType")
        if container is not None and container not in LOG_CONTAINERS:
            raise InvalidInput(
                f"Field 'containerType': '{str(container)[:50]}' is not one of {', '.join(LOG_CONTAINERS)}.",
                code="InvalidField",
                target="containerType",
            )
        parent, name = list(call.params.values())[-2:]
        return json_answer({"content": await self._endpoints.logs(call.workspace, parent, name, tail, container)})

    async def deployment_skus(self, call: Call) -> Response:
        parent, name = list(call.params.values())[-2:]
        await self._endpoints.get(call.workspace, self._endpoints.kinds[DEPLOYMENT], parent, name)
        return json_answer({"value": skus()})

    async def operation_status(self, call: Call) -> Response:
        """What `Azure-AsyncOperation` points to."""
        return shape.operation_status(call.raw_path, await self._operation(call))

    async def operation_result(self, call: Call) -> Response:
        """What `Location` points to."""
        found = await self._operation(call)
        return shape.operation_result(public_address(call, self._settings) + call.raw_path, found)

    async def _operation(self, call: Call) -> operations.Operation:
        id_ = call.params["operationId"]
        found = await self._database.read(lambda conn: operations.get(conn, call.workspace.id, id_))
        if found is None:
            raise NotFound(f"There is no operation '{id_}' in workspace '{call.workspace.name}'.")
        return found


def _last(call: Call) -> str:
    return list(call.params.values())[-1]
