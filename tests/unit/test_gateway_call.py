"""A request's body, in pieces as it comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from zaffre.errors import InvalidInput, TooLarge
from zaffre.gateway.call import Call


def _call(*messages: dict[str, Any], headers: tuple[tuple[bytes, bytes], ...] = ()) -> Call:
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    return Call({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def _piece(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    "messages",
    [
        (_piece(b"abc"),),
        (_piece(b"a", True), _piece(b"bc")),
        (_piece(b"", True), _piece(b"abc", True), _piece(b"")),
        (_piece(b"abc", True), {"type": "http.request"}),
    ],
)
def test_it_is_the_same_however_it_is_cut(messages: tuple[dict[str, Any], ...]) -> None:
    async def pieces() -> bytes:
        return b"".join([piece async for piece in _call(*messages).chunks()])

    assert asyncio.run(_call(*messages).body_bytes(3)) == asyncio.run(pieces()) == b"abc"


def test_more_than_is_taken_is_refused_before_the_rest_is_read() -> None:
    rest = {"type": "never looked at"}
    for messages in ((_piece(b"abcd"),), (_piece(b"ab", True), _piece(b"cd", True), rest)):
        with pytest.raises(TooLarge, match="3 bytes"):
            asyncio.run(_call(*messages).body_bytes(3))
    with pytest.raises(TooLarge, match="9 bytes long"):
        asyncio.run(_call(rest, headers=((b"content-length", b"9"),)).body_bytes(3))


def test_a_client_that_hangs_up_is_bad_input() -> None:
    with pytest.raises(InvalidInput, match="closed"):
        asyncio.run(_call(_piece(b"a", True), {"type": "http.disconnect"}).body_bytes())


def test_headers_are_found_as_starlette_finds_them() -> None:
    raw = ((b"host", b"a"), (b"x-two", b"first"), (b"x-two", b"second"), (b"x-letters", "ä".encode("latin-1")))
    headers = _call(headers=raw).headers
    assert headers["Host"] == headers.get("HOST") == "a" and "hOST" in headers and "x-none" not in headers
    assert headers.get("x-two") == "first" and headers.getlist("x-two") == ["first", "second"]
    assert headers["x-letters"] == "ä" and headers.get("x-none") is None and headers.get("x-none", "-") == "-"
    assert list(headers.items()) == [(name.decode(), value.decode("latin-1")) for name, value in raw]
    with pytest.raises(KeyError):
        headers["x-none"]
