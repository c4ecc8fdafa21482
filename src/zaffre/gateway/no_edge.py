"""What only nginx can do, refused clearly where there is none (`zaffre up --no-edge`)."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.errors import NotServed
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Access, Route

SCORING = "Scoring goes through nginx, and this server runs without it. Start it again without --no-edge."


def routes() -> list[Route]:
    async def refuse(_call: Call) -> Response:
        raise NotServed(SCORING)

    return [
        Route(
            protocol="scoring",
            method=method,
            template="/endpoints/{endpointName}/{path*}",
            handler=refuse,
            operation=f"Scoring_{method.capitalize()}",
            access=Access.OPEN,
        )
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS")
    ]
