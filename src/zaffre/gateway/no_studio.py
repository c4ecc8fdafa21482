"""Where browsers come: by the SDK's "Web View" links, by MLflow's, or by the bare address. The Studio is not built yet, and says so."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.errors import NotServed
from zaffre.gateway.call import Call
from zaffre.gateway.routes import WORKSPACE, Access, Route

WHY = (
    "This is a Zaffre server; it has no Studio yet. `zaffre status` shows what runs; ml.jobs.get, ml.jobs.stream and ml.jobs.download, "
    "and MLflow's own client show a job."
)


def routes() -> list[Route]:
    async def refuse(_call: Call) -> Response:
        raise NotServed(WHY)

    return [
        Route(
            protocol="studio", method="GET", template=template, handler=refuse, operation="Studio_Get",
            access=Access.OPEN, needs_workspace=False,
        )
        for template in ("/", "/studio/{path*}", f"/tracking{WORKSPACE}/")
    ]  # fmt: skip
