"""`listsecrets` of a connection: the one answer that holds its credentials."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Handler
from zaffre.protocols.arm import shape
from zaffre.services.connections import CONNECTION, Connections
from zaffre.services.kinds.base import Show
from zaffre.settings import Settings


def list_secrets(settings: Settings, connections: Connections) -> Handler:
    async def handler(call: Call) -> Response:
        row, credentials = await connections.with_secrets(call.workspace, call.params["connectionName"])
        show = Show(workspace=call.workspace, address=public_address(call, settings))
        answer = shape.envelope(connections.kinds[CONNECTION], row, show)
        if credentials is not None:
            answer["properties"]["credentials"] = credentials
        return json_answer(answer, headers={"cache-control": "no-store"})

    return handler
