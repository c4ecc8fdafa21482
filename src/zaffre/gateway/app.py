"""What happens to a request: the handlers below, in this order; the first that answers ends it.

Whatever a handler raises becomes a wire error here and nowhere else, in the form the route's protocol speaks.
"""

from __future__ import annotations

import base64
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from zaffre.errors import NotAllowed, NotFound, Unauthenticated, ZaffreError
from zaffre.gateway.answers import arm_error
from zaffre.gateway.call import Call
from zaffre.gateway.recorder import Recorder
from zaffre.gateway.routes import Access, Handler, Route, Router
from zaffre.services import access, keys
from zaffre.services.keys import ApiKeys
from zaffre.services.measures import UNKNOWN, Measures
from zaffre.services.tokens import Tokens
from zaffre.services.workspaces import Workspaces
from zaffre.store.database import Database

Step = Callable[[Call], Awaitable[Response | None]]
ErrorForm = Callable[[ZaffreError, str], Response]

_log = logging.getLogger("zaffre.request")
_GIVEN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_SLOW_S = 1.0


@dataclass(frozen=True)
class Mount:
    """A protocol that is known by the first part of the path, or by the host, and routes by itself, as Blob does."""

    owns: Callable[[str, str], bool]
    answer: Handler
    error_form: ErrorForm


class Gateway:
    """The ASGI application."""

    def __init__(
        self,
        routes: Sequence[Route],
        mounts: Sequence[Mount],
        error_forms: dict[str, ErrorForm],
        tokens: Tokens,
        api_keys: ApiKeys,
        workspaces: Workspaces,
        database: Database,
        measures: Measures | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._router = Router(routes)
        self._mounts = tuple(mounts)
        self._error_forms = error_forms
        self._tokens = tokens
        self._api_keys = api_keys
        self._workspaces = workspaces
        self._database = database
        self._measures = measures or Measures()
        self._recorder = recorder
        self._steps: tuple[Step, ...] = (
            self._mounted,
            self._find_route,
            self._authenticate,
            self._find_workspace,
            self._authorize,
            self._answer,
        )

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every route but those of the mounts, which route by themselves."""
        return self._router.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        started = time.perf_counter()
        call = Call(scope, receive)
        response = await self._run(call)
        response.headers["x-ms-request-id"] = call.id
        self._record(call, response, time.perf_counter() - started)
        if call.method == "HEAD" and not response.headers.get("content-length"):
            response.headers["content-length"] = "0"
        await response(scope, receive, send)

    async def keeps(self, call: Call) -> bool:
        """Whether the body of a request may be kept as a file before it is passed on: whether its handler takes one, and would be
        come to, then as now. A token of an hour may end meanwhile, an API key and a job's token do not.
        """
        try:
            await self._find_route(call)
            if not call.route.keeps_body:
                return False
            await self._authenticate(call)
            await self._find_workspace(call)
            _check_access(call)
        except ZaffreError:
            return False
        return call.principal.run is not None or _is_key(_token(call))

    async def _run(self, call: Call) -> Response:
        try:
            call.id = self._identify(call)
            for step in self._steps:
                response = await step(call)
                if response is not None:
                    return response
            raise NotFound(f"Nothing answers {call.method} {call.raw_path}.")
        except ZaffreError as error:
            return self._error_form(call)(error, call.id)
        except Exception:  # noqa: BLE001  the last line of defence: a bug of ours; the client gets an id, the log gets the trace
            _log.exception("unhandled", extra={"request_id": call.id, "method": call.method, "path": call.raw_path})
            bug = ZaffreError(
                f"Zaffre failed on this request; this is a bug. The server's log has the details under the id {call.id}."
            )
            return self._error_form(call)(bug, call.id)

    def _identify(self, call: Call) -> str:
        given = call.headers.get("x-request-id", "")
        return given if _GIVEN_ID.fullmatch(given) else self._database.runtime.guid()

    async def _mounted(self, call: Call) -> Response | None:
        first, host = call.raw_path.removeprefix("/").split("/", 1)[0], call.headers.get("host", "")
        for mount in self._mounts:
            if mount.owns(first, host):
                call.scope["zaffre.error_form"] = mount.error_form
                return await mount.answer(call)
        return None

    async def _find_route(self, call: Call) -> Response | None:
        route, params, others = self._router.find(call.method, call.raw_path)
        if route is None and call.method == "HEAD":
            route, params, others = self._router.find("GET", call.raw_path)
        if route is None:
            if others:
                raise NotAllowed(f"{call.raw_path} takes {', '.join(sorted(others))}, not {call.method}.")
            raise NotFound(f"Nothing on this server answers {call.method} {call.raw_path}.", code="InvalidResourceType")
        call.route, call.params = route, params
        return None

    async def _authenticate(self, call: Call) -> Response | None:
        if call.route.access is Access.TOKEN:
            token = _token(call)
            # An API key is taken as it is, too: plain mlflow never renews a token, and a shell outlives an hour.
            call.principal = await self._api_keys.principal(token) if _is_key(token) else self._tokens.verify(token)
        return None

    async def _find_workspace(self, call: Call) -> Response | None:
        if call.route.needs_workspace and "workspaceName" in call.params:
            names = call.params
            call.workspace = await self._workspaces.find(
                names["subscriptionId"], names["resourceGroupName"], names["workspaceName"]
            )
        return None

    async def _authorize(self, call: Call) -> Response | None:
        if call.route.access is not Access.TOKEN:
            return None
        try:
            _check_access(call)
        except ZaffreError:
            action, target = call.route.action or call.route.operation, call.raw_path
            await self._database.write(lambda unit: unit.audit(call.actor, action, target, outcome="denied"))
            raise
        return None

    async def _answer(self, call: Call) -> Response | None:
        return await call.route.handler(call)

    def _error_form(self, call: Call) -> ErrorForm:
        mounted: ErrorForm | None = call.scope.get("zaffre.error_form")
        if mounted is not None:
            return mounted
        route: Route | None = getattr(call, "route", None)
        return self._error_forms.get(route.protocol, arm_error) if route else arm_error

    def _record(self, call: Call, response: Response, seconds: float) -> None:
        """One line a request that changed the control plane, failed or was slow; nginx's own log has them all."""
        route: Route | None = getattr(call, "route", None)
        named = (route.protocol, route.operation) if route else call.scope.get("zaffre.operation")
        self._measures.request(named or UNKNOWN, response.status_code, seconds)
        if self._recorder is not None and response.status_code < 300 and named is not None:
            protocol, operation = named
            self._recorder.note(protocol, operation, call.headers.get("user-agent", ""))
        changes = route is not None and route.protocol == "arm" and call.method != "GET"
        if changes or response.status_code >= 400 or seconds > _SLOW_S:
            principal = getattr(call, "principal", None)
            _log.info(
                "request",
                extra={
                    "request_id": call.id,
                    "method": call.method,
                    "path": call.raw_path,
                    "status": response.status_code,
                    "ms": round(seconds * 1000, 1),
                    "who": principal.name if principal else "",
                },
            )


def _check_access(call: Call) -> None:
    workspace = getattr(call, "workspace", None)
    access.authorize(call.principal, call.route.action or call.route.operation, workspace.id if workspace else None)


def _token(call: Call) -> str:
    # MLflow's judges ask its AI gateway with a user and a password only, whatever else is set.
    return (password(call) if call.route.protocol == "mlflow" else None) or bearer(call)


def _is_key(token: str) -> bool:
    return token.startswith(keys.PREFIX)


def bearer(call: Call) -> str:
    """The bearer token of a request. Raises Unauthenticated when there is none."""
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            'The request carries no bearer token. Run the program with `zaffre run …` or after eval "$(zaffre env)".'
        )
    return token.strip()


def password(call: Call) -> str | None:
    """The password of a request that comes with a user and one: a token or a key, whatever the user is called."""
    scheme, _, told = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(told, validate=True).decode().partition(":")[2].strip() or None
    except ValueError:
        return None


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
