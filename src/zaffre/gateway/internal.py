"""What nginx alone asks, over a socket of its own: whether a token may score, whether to keep a large body as a file, and to take a
copy for a shadow."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from zaffre.errors import ZaffreError
from zaffre.gateway import bodies
from zaffre.gateway.app import bearer
from zaffre.gateway.call import Call

COPY_LIMIT = 8 * 1024 * 1024

_log = logging.getLogger("zaffre.internal")

Check = Callable[[str, str], Awaitable[None]]
Keeps = Callable[[Call, int], Awaitable[bool]]
Offer = Callable[[str, Call, str, bytes], bool]


class Internal:
    """The ASGI application behind `internal.sock`. No public address leads here."""

    def __init__(self, check: Check, keeps: Keeps, offer: Offer) -> None:
        """`check(endpoint, token)` raises where the token is not good; `keeps(upload, size)` tells whether its body is to be a file;
        `offer(shadow, call, target, body)` takes a copy.
        """
        self._check = check
        self._keeps = keeps
        self._offer = offer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (await self._answer(Call(scope, receive)))(scope, receive, send)

    async def _answer(self, call: Call) -> Response:
        try:
            if call.raw_path == "/auth":
                await self._check(call.headers.get("x-zf-endpoint", ""), bearer(call))
                return Response(status_code=200)
            if call.raw_path == "/upload":
                keep = await self._keeps(bodies.original(call), bodies.length(call))
                return Response(status_code=200 if keep else 403)
            if call.raw_path == "/mirror":
                body = await call.body_bytes(COPY_LIMIT)
                taken = self._offer(
                    call.headers.get("x-zf-shadow", ""), call, call.headers.get("x-zf-target", "/"), body
                )
                return Response(status_code=202 if taken else 503)
            return Response(status_code=404)
        except ZaffreError as error:
            return Response(status_code=error.status)
        except Exception:  # noqa: BLE001  nginx must hear something: without an answer it waits its time out
            _log.exception("unhandled", extra={"path": call.raw_path})
            return Response(status_code=500)
