"""Zaffre's own route for what an operator asks a running server: collect what nobody needs any more."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import msgspec
from starlette.responses import Response

from zaffre.errors import InvalidInput
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Route

LEAST_GRACE_MINUTES = 10
"""An upload is on its way from its bytes to its row for seconds at most; below this nobody could be sure of it."""


class Wish(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """`environments_days` None leaves environments alone."""

    dry_run: bool = False
    grace_minutes: int = 60
    environments_days: int | None = None


class Collect(Protocol):
    def __call__(self, *, dry_run: bool, grace_ms: int, environments_days: int | None) -> Awaitable[object]: ...


def routes(collect: Collect) -> list[Route]:
    async def handler(call: Call) -> Response:
        wish = await call.parse(Wish)
        _check("graceMinutes", wish.grace_minutes, LEAST_GRACE_MINUTES, 7 * 24 * 60)
        if wish.environments_days is not None:
            _check("environmentsDays", wish.environments_days, 1, 3650)
        found = await collect(
            dry_run=wish.dry_run, grace_ms=wish.grace_minutes * 60_000, environments_days=wish.environments_days
        )
        return json_answer(found)

    return [
        Route(
            protocol="manage",
            method="POST",
            template="/zaffre/v1/collect",
            handler=handler,
            operation="Garbage_Collect",
            action="garbage/manage",
        )
    ]


def _check(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidInput(
            f"Field '{field}' is {value}; expected a number from {least} to {most}.", code="InvalidField", target=field
        )
