"""PUT of a datastore looks whether it opens, unless it is told not to; the rest is as for any kind."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.gateway.call import Call
from zaffre.protocols.arm.provider import Provider
from zaffre.runtime import Runtime
from zaffre.services.datastores import Datastores
from zaffre.services.kinds.base import Kind
from zaffre.settings import Settings


class DatastoreProvider(Provider):
    def __init__(self, settings: Settings, runtime: Runtime, kind: Kind, datastores: Datastores) -> None:
        super().__init__(settings, runtime, kind, datastores)
        self._datastores = datastores

    async def put(self, call: Call) -> Response:
        validate = call.query.get("skipvalidation", "").lower() != "true"
        name = list(call.params.values())[-1]
        written = await self._datastores.put(
            call.actor, call.workspace, self._kind, "", name, await call.document(), validate=validate
        )
        return await self._answered(call, written)
