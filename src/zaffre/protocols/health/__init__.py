"""Whether the server lives and can work: open, and nothing else said."""

from __future__ import annotations

import sqlalchemy as sa
from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Access, Handler, Route
from zaffre.store.database import Database


def routes(database: Database) -> list[Route]:
    async def healthz(_call: Call) -> Response:
        return json_answer({"status": "ok"})

    async def readyz(_call: Call) -> Response:
        await database.read(lambda conn: conn.execute(sa.text("SELECT 1")))
        return json_answer({"status": "ready"})

    def open_(path: str, handler: Handler, operation: str) -> Route:
        return Route(
            protocol="health", method="GET", template=path, handler=handler, operation=operation, access=Access.OPEN
        )

    return [open_("/healthz", healthz, "Health_Live"), open_("/readyz", readyz, "Health_Ready")]
