"""Page tokens: opaque to clients, the place of the last row to us."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from zaffre.errors import InvalidInput

T = TypeVar("T")


def token(place: Sequence[Any]) -> str:
    # Not JSON, which has no infinity: a run may be sorted by one.
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode()


def place(text: str) -> list[Any]:
    """The place behind a token of ours. Raises InvalidInput for anything else."""
    try:
        return msgspec.msgpack.decode(base64.b64decode(text.encode(), altchars=b"-_", validate=True), type=list[Any])
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise bad_token(text) from None


def bad_token(text: str) -> InvalidInput:
    return InvalidInput(
        f"Invalid page token: field 'page_token': '{text[:60]}' does not fit this request; repeat the request the token came with, "
        "and pass its next_page_token as it is.",
        code="InvalidField",
        target="page_token",
    )


def start(text: str | None) -> tuple[int, Any] | None:
    """What a token of `page` names: where its last row stood, and that row's key. Raises InvalidInput for anything else."""
    if not text:
        return None
    named = place(text)
    if len(named) != 2 or not isinstance(named[0], int):
        raise bad_token(text)
    return max(named[0], 0), named[1]


def page(rows: Sequence[T], key: Callable[[T], Any], text: str | None, limit: int) -> tuple[list[T], str | None]:
    """One page of sorted rows. Goes on behind the row the token names, or where it stood if that is gone."""
    first = 0
    if named := start(text):
        index, last = named
        first = next((at + 1 for at, row in enumerate(rows) if key(row) == last), index)
    found = list(rows[first : first + limit])
    end = first + len(found)
    return found, token([end, key(found[-1])]) if found and end < len(rows) else None


def behind(text: str | None) -> tuple[int, str] | None:
    """The time and the id a token of `cut` names. Raises InvalidInput for anything else."""
    named = start(text)
    if named is None:
        return None
    time, last = named
    if not isinstance(last, str) or "\0" in last or time >= 2**63:
        raise bad_token(text or "")
    return time, last


def cut(rows: Sequence[T], limit: int, last: Callable[[T], tuple[int, str]]) -> tuple[list[T], str | None]:
    """A page of rows that the database has sorted, one more of which were asked for than it holds, and the next token."""
    return list(rows[:limit]), token(last(rows[limit - 1])) if len(rows) > limit else None


def found(
    text: str | None, limit: int, search: Callable[[list[Any] | None, int], Sequence[tuple[T, list[Any]]]]
) -> tuple[list[T], str | None]:
    """A page of what `search` finds from behind a place on, each with its own place, and the token of the next page.

    Raises InvalidInput for a token that does not fit.
    """
    try:
        rows = search(place(text) if text else None, limit + 1)
    except ValueError:
        raise bad_token(text or "") from None
    following = token(rows[limit - 1][1]) if len(rows) > limit else None
    return [one for one, _ in rows[:limit]], following
