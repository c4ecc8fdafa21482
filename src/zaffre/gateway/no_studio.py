"""Where the SDK's "Web View" links lead: the Studio, which is not built yet, and says so to whoever clicks."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.errors import NotServed
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Access, Route

WHY = (
    "Zaffre has no Studio yet. `zaffre status` shows what runs; ml.jobs.get, ml.jobs.stream and ml.jobs.download, "
    "and MLflow's own client show a job."
)


def routes() -> list[Route]:
    async def refuse(_call: Call) -> Response:
        raise NotServed(WHY)

    return [
        Route(
            protocol="studio", method="GET", template="/studio/{path*}", handler=refuse, operation="Studio_Get",
            access=Access.OPEN,
        )
    ]  # fmt: skip
