"""One request on its way through the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeVar, overload
from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope

from zaffre.errors import InvalidInput, TooLarge
from zaffre.store.unit import Actor

if TYPE_CHECKING:
    from zaffre.gateway.routes import Route
    from zaffre.services.access import Principal
    from zaffre.services.workspaces import Workspace

T = TypeVar("T")
BODY_LIMIT = 16 * 1024 * 1024
NUL = rb"\u0000"


class Fields(Headers):
    """A request's headers, looked up by name: a request is asked for ten of them, and Starlette reads them all each time."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        self._first = dict(reversed(raw))  # of several of a name, the first

    def __getitem__(self, key: str) -> str:
        return self._first[key.lower().encode("latin-1")].decode("latin-1")

    def __contains__(self, key: Any) -> bool:
        return isinstance(key, str) and key.lower().encode("latin-1") in self._first

    @overload
    def get(self, key: str, /) -> str | None: ...
    @overload
    def get(self, key: str, /, default: T) -> str | T: ...
    def get(self, key: str, /, default: Any = None) -> Any:
        found = self._first.get(key.lower().encode("latin-1"))
        return default if found is None else found.decode("latin-1")


class Call(Request):
    """A request plus what the handlers before have found out: its id, route, parameters, caller and workspace."""

    id: str = ""
    route: Route
    params: dict[str, str]
    principal: Principal
    workspace: Workspace

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        self.raw_path = raw.split(b"?", 1)[0].decode("latin-1")
        self.params = {}
        self._fields = Fields(scope["headers"])
        self._query: dict[str, str] | None = None

    @property
    def headers(self) -> Fields:
        return self._fields

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters, names in lower case (ARM compares them so); the last one of a name wins."""
        if self._query is None:
            text = self.scope["query_string"].decode("latin-1")
            if "%00" in text:
                raise InvalidInput("The query holds a NUL character.")
            self._query = {name.lower(): value for name, value in parse_qsl(text, keep_blank_values=True)}
        return self._query

    @property
    def actor(self) -> Actor:
        """The caller as a change records it."""
        client = self.client
        return Actor(
            name=self.principal.name,
            kind=self.principal.kind,
            source=client.host if client else "",
            request_id=self.id,
        )

    async def body_bytes(self, limit: int = BODY_LIMIT) -> bytes:
        """The whole body, at most `limit` bytes. Raises TooLarge before reading more than that."""
        declared = self.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise TooLarge(f"The body is {declared} bytes long; at most {limit} are taken here.")
        body, more = await self._piece()
        if more:
            whole = bytearray(body)
            while more and len(whole) <= limit:
                piece, more = await self._piece()
                whole += piece
            body = bytes(whole)
        if len(body) > limit:
            raise TooLarge(f"The body is longer than the {limit} bytes that are taken here.")
        return body

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        more = True
        while more:
            piece, more = await self._piece()
            if piece:
                yield piece

    async def _piece(self) -> tuple[bytes, bool]:
        """Some of the body, and whether there may be more. A client that hangs up is bad input, not a failure of ours."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise InvalidInput("The connection closed before the whole body had arrived.")
        return message.get("body", b""), message.get("more_body", False)

    async def document(self, limit: int = BODY_LIMIT) -> dict[str, Any]:
        """The body as a JSON object."""
        return await self.parse(dict[str, Any], limit)

    async def parse(self, type_: type[T], limit: int = BODY_LIMIT) -> T:
        """The body as JSON of `type_`. Raises InvalidInput that names the field and what was expected."""
        body = await self.body_bytes(limit)
        try:
            found = msgspec.json.decode(body or b"{}", type=type_)
        except msgspec.ValidationError as error:
            raise invalid_field(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"The body is not valid JSON: {error}.", code="InvalidRequestContent") from None
        if NUL in body:
            refuse_nul(found)
        return found


def refuse_nul(found: object) -> None:
    """PostgreSQL keeps no NUL in a text, so neither database is given one."""
    if NUL in msgspec.json.encode(found).replace(b"\\\\", b""):
        raise InvalidInput("A text in the request holds a NUL character.", code="InvalidRequestContent")


def invalid_field(error: msgspec.ValidationError, prefix: str = "") -> InvalidInput:
    """msgspec's complaint as ours: `Expected `int`, got `str` - at `$.a.b`` becomes a message with the field as target."""
    text, _, path = str(error).partition(" - at ")
    field = (prefix + path.strip("`").removeprefix("$")).strip(".")
    where = f"Field '{field}': " if field else "The body: "
    return InvalidInput(
        f"{where}{text[:1].lower()}{text[1:].replace('`', chr(39))}.", code="InvalidField", target=field or None
    )
