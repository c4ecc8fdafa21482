"""How a request becomes a struct: protobuf's JSON, in which numbers may be texts and NaN is one."""

from __future__ import annotations

import functools
import typing
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from zaffre.errors import InvalidInput
from zaffre.gateway.call import NUL, Call, refuse_nul
from zaffre.protocols.mlflow.refusals import missing, second_look

T = TypeVar("T", bound=msgspec.Struct)


async def parse(call: Call, type_: type[T]) -> T:
    """The request's fields, from the query of a GET and the body of anything else. Raises InvalidInput with the field."""
    if call.method == "GET":
        return _of_query(call, type_)
    body = await call.body_bytes() or b"{}"
    try:
        found = _decoded(type_, body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"The body is not valid JSON: {error}.") from None
    if NUL in body:
        refuse_nul(found)
    return found


def _decoded(type_: type[T], body: bytes) -> T:
    try:
        found: T = _decoder(type_).decode(body)
    except msgspec.ValidationError:
        # What did not fit may have been met before the end of what is no JSON at all.
        found = second_look(msgspec.json.decode(body), type_, len(body))
    return found


def required(value: str | None, field: str) -> str:
    """A field that must be there and not empty."""
    if not value:
        raise missing(field)
    return value


def _of_query(call: Call, type_: type[T]) -> T:
    given: dict[str, Any] = {}
    lists = _lists(type_)
    for name, value in parse_qsl(call.scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if name in lists:
            given.setdefault(name, []).append(value)
        elif value:
            given[name] = value
    found = second_look(given, type_)
    refuse_nul(found)
    return found


@functools.cache
def _decoder(type_: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_, strict=False)


@functools.cache
def _lists(type_: type[Any]) -> frozenset[str]:
    hints = typing.get_type_hints(type_)
    return frozenset(name for name, hint in hints.items() if typing.get_origin(hint) is list)
