"""Block lists: which bytes a blob is made of when a client commits it from parts.

A block is looked for among the staged ones and among those the present blob was made from; the latter are ranges of its
bytes, so nothing is kept twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import sqlalchemy as sa

from zaffre.errors import InvalidInput
from zaffre.store import blobs as rows
from zaffre.store.parts import Part


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a block list: a block by its id, from the staged ones, the blob's own, or whichever is newer."""

    source: Literal["Latest", "Uncommitted", "Committed"]
    id: str


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A block and where its bytes lie."""

    id: str
    part: Part


def resolve(conn: sa.Connection, container_pk: int, name: str, picks: Sequence[Pick]) -> list[Piece]:
    """Where the bytes of every block lie. Raises InvalidInput that names the first block that is not there."""
    staged, own = rows.staged(conn, container_pk, name), _own(conn, container_pk, name)
    pieces = []
    for pick in picks:
        piece: Piece | None = None
        if pick.source != "Committed" and pick.id in staged:
            block = staged[pick.id]
            piece = Piece(id=block.id, part=Part(block.sha256, 0, block.size))
        elif pick.source != "Uncommitted":
            piece = own.get(pick.id)
        if piece is None:
            message = f"There is no block '{pick.id[:100]}' ({pick.source}) for the blob '{name}'; stage it first."
            raise InvalidInput(message, code="InvalidBlockList")
        pieces.append(piece)
    return pieces


def _own(conn: sa.Connection, container_pk: int, name: str) -> dict[str, Piece]:
    found: dict[str, Piece] = {}
    blob, start = rows.get(conn, container_pk, name), 0
    if blob is None:
        return found
    for id_, size in rows.committed(conn, blob.pk):
        found[id_] = Piece(id=id_, part=Part(blob.sha256, start, size))
        start += size
    return found
