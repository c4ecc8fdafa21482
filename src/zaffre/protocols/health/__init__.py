"""Whether the server lives and can work (open, and nothing else said), and what it does (for readers)."""

from __future__ import annotations

import sqlalchemy as sa
from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Access, Handler, Route
from zaffre.protocols.health.metrics import Metrics
from zaffre.services.measures import Measures
from zaffre.store.database import Database


def routes(database: Database, measures: Measures) -> list[Route]:
    async def healthz(_call: Call) -> Response:
        return json_answer({"status": "ok"})

    async def readyz(_call: Call) -> Response:
        await database.read(lambda conn: conn.execute(sa.text("SELECT 1")))
        return json_answer({"status": "ready"})

    def open_(path: str, handler: Handler, operation: str) -> Route:
        return Route(
            protocol="health", method="GET", template=path, handler=handler, operation=operation, access=Access.OPEN
        )

    metrics = Route(
        protocol="health",
        method="GET",
        template="/metrics",
        handler=Metrics(database, measures).scrape,
        operation="Metrics_Get",
        action="metrics/read",
    )
    return [metrics, open_("/healthz", healthz, "Health_Live"), open_("/readyz", readyz, "Health_Ready")]
