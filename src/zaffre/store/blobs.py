"""Blobs as rows: the namespace of containers, blobs and the blocks not yet committed. Bytes are in `objects`.

Names are compared byte by byte and listed in that order, as Azure does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import inserts, tables
from zaffre.store.unit import Unit, decode, encode

_c, _b, _k = tables.blob_containers, tables.blobs, tables.blob_blocks
_COLUMNS = [column for column in _b.c if column.name != "blocks"]  # `blocks` may be megabytes; only a commit wants it
_NAMES = [column.name for column in _COLUMNS]
WALK_BATCH = 250
DISCARDED = "$discarded-"  # begins the name of a container that is being deleted; no client can ask for such a name


class Container(msgspec.Struct, frozen=True, kw_only=True):
    pk: int
    account: str
    name: str
    created_at: int


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """One blob. `md5` is base64 and may be unknown; `etag` has no quotes; `headers` are the content headers to echo.

    `sha256` names its bytes in the object store: it is their hash, or stands for a list of parts (`store.parts`).
    """

    pk: int
    container: int
    name: str
    sha256: str
    size: int
    md5: str | None
    etag: str
    content_type: str
    headers: dict[str, str]
    metadata: dict[str, str]
    created_at: int
    modified_at: int


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A staged block; `sha256` names its bytes."""

    id: str
    sha256: str
    size: int


class BlobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy of a whole tree needs to know."""

    name: str
    sha256: str
    size: int


def container(conn: sa.Connection, account: str, name: str) -> Container | None:
    if name.startswith(DISCARDED):
        return None
    found = conn.execute(sa.select(_c).where(_c.c.account == account, _c.c.name == name)).mappings().one_or_none()
    return None if found is None else Container(**found)


def containers(conn: sa.Connection, account: str) -> list[Container]:
    """All containers of an account by name."""
    query = sa.select(_c).where(_c.c.account == account, ~_c.c.name.startswith(DISCARDED, autoescape=True))
    return sorted((Container(**row) for row in conn.execute(query).mappings()), key=lambda one: one.name)


def make_container(unit: Unit, account: str, name: str) -> bool:
    """Add the container; False when there is one."""
    values = {"account": account, "name": name, "created_at": unit.now}
    return _inserted(unit, inserts.insert(unit.conn, _c).values(values).on_conflict_do_nothing().returning(_c.c.pk))


def discard_container(unit: Unit, pk: int) -> None:
    """The container is gone for everybody at once; `purge` removes what is in it."""
    unit.conn.execute(sa.update(_c).where(_c.c.pk == pk).values(name=f"{DISCARDED}{pk}"))


def discard_account(unit: Unit, account: str) -> None:
    """The same for all containers of an account, in the transaction that deletes its workspace."""
    for found in containers(unit.conn, account):
        discard_container(unit, found.pk)


def purge(unit: Unit, limit: int) -> int:
    """Remove up to `limit` blobs of discarded containers, then those that are empty; how many blobs went."""
    gone = sa.select(_c.c.pk).where(_c.c.name.startswith(DISCARDED, autoescape=True))
    some = sa.select(_b.c.pk).where(_b.c.container.in_(gone)).limit(limit)
    removed = unit.conn.execute(sa.delete(_b).where(_b.c.pk.in_(some))).rowcount
    if removed < limit:
        unit.conn.execute(sa.delete(_k).where(_k.c.container.in_(gone)))
        left = sa.select(_b.c.container).where(_b.c.container.in_(gone))
        unit.conn.execute(sa.delete(_c).where(_c.c.pk.in_(gone), ~_c.c.pk.in_(left)))
    return removed


def get(conn: sa.Connection, container_pk: int, name: str, *, lock: bool = False) -> Blob | None:
    """The blob, or None. With `lock` no other transaction changes it before this one ends."""
    query = sa.select(*_COLUMNS).where(_b.c.container == container_pk, _b.c.name == name)
    found = conn.execute(query.with_for_update() if lock else query).one_or_none()
    return None if found is None else _blob(found)


def insert(unit: Unit, container_pk: int, name: str, **values: Any) -> bool:
    """Add the blob; False when there is one of that name. `headers`, `metadata` and `blocks` are given as documents."""
    row = {"container": container_pk, "name": name, "created_at": unit.now, "modified_at": unit.now, **_encoded(values)}
    return _inserted(unit, inserts.insert(unit.conn, _b).values(row).on_conflict_do_nothing().returning(_b.c.pk))


def update(unit: Unit, pk: int, **values: Any) -> None:
    unit.conn.execute(sa.update(_b).where(_b.c.pk == pk).values({"modified_at": unit.now, **_encoded(values)}))


def delete(unit: Unit, pk: int) -> None:
    unit.conn.execute(sa.delete(_b).where(_b.c.pk == pk))


def delete_tree(unit: Unit, container_pk: int, prefix: str, kept: Sequence[str] = ()) -> int:
    """Delete every blob whose name begins with `prefix`, and what is staged for such names; how many blobs went.

    The files and folders `kept` stay.
    """
    for table in (_k, _b):
        conditions = [table.c.container == container_pk, *_in_range(table.c.name, prefix)]
        for path in kept:
            conditions.append(sa.not_(sa.or_(table.c.name == path, sa.and_(*_in_range(table.c.name, f"{path}/")))))
        result = unit.conn.execute(sa.delete(table).where(*conditions))
    return result.rowcount


def delete_container(unit: Unit, pk: int) -> None:
    """Delete a container that is empty."""
    unit.conn.execute(sa.delete(_c).where(_c.c.pk == pk))


def walk(
    conn: sa.Connection, container_pk: int, *, prefix: str = "", delimiter: str = "", start: str = "", limit: int
) -> tuple[list[Blob | str], str | None]:
    """Up to `limit` entries from the name `start` on, and the name the next page starts at.

    With a delimiter, names that hold it behind the prefix and agree up to it become one entry, a text ending with it.
    """
    entries: list[Blob | str] = []
    position: str | None = max(prefix, start)
    end = after_prefix(prefix)
    while position is not None:
        wanted = min(WALK_BATCH, limit + 1) if delimiter else limit + 1 - len(entries)
        rows = _rows(conn, container_pk, position, end, wanted)
        for row in rows:
            if position is None or row.name < position:
                continue  # inside a folder that is listed already
            if len(entries) == limit:
                return entries, row.name
            cut = row.name.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                entries.append(row)
                position = row.name + "\x01"  # behind this name, before any other: names hold no such character
            else:
                folder = row.name[: cut + len(delimiter)]
                entries.append(folder)
                position = after_prefix(folder)
        if len(rows) < wanted:
            break
    return entries, None


def tree(conn: sa.Connection, container_pk: int, prefix: str) -> list[BlobInfo]:
    """Every blob whose name begins with `prefix`, in order."""
    query = sa.select(_b.c.name, _b.c.sha256, _b.c.size).where(_b.c.container == container_pk, _b.c.name >= prefix)
    end = after_prefix(prefix)
    if end is not None:
        query = query.where(_b.c.name < end)
    return [
        BlobInfo(name=name, sha256=sha256, size=size) for name, sha256, size in conn.execute(query.order_by(_b.c.name))
    ]


def hold(conn: sa.Connection, container_pk: int, prefix: str) -> bool:
    """Whether there is a blob whose name begins with `prefix`. Of those who ask this of one prefix, one goes on at a time."""
    query = sa.select(_b.c.pk).where(_b.c.container == container_pk, *_in_range(_b.c.name, prefix))
    return conn.execute(query.order_by(_b.c.name).limit(1).with_for_update()).first() is not None


def stage(unit: Unit, container_pk: int, name: str, block: Block) -> None:
    """Add a block to what a later commit may take; a newer one of the same id wins."""
    values = {"sha256": block.sha256, "size": block.size, "created_at": unit.now}
    unit.conn.execute(
        inserts.insert(unit.conn, _k)
        .values(container=container_pk, name=name, block=block.id, **values)
        .on_conflict_do_update(index_elements=["container", "name", "block"], set_=values)
    )


def staged(conn: sa.Connection, container_pk: int, name: str) -> dict[str, Block]:
    query = sa.select(_k.c.block, _k.c.sha256, _k.c.size).where(_k.c.container == container_pk, _k.c.name == name)
    rows = conn.execute(query.order_by(_k.c.created_at, _k.c.block))
    return {id_: Block(id=id_, sha256=sha256, size=size) for id_, sha256, size in rows}


def unstage(unit: Unit, container_pk: int, name: str, prefix: str = "") -> None:
    """Forget the blocks staged for a blob whose ids begin with `prefix`."""
    begins = sa.func.substr(_k.c.block, 1, len(prefix)) == prefix
    unit.conn.execute(sa.delete(_k).where(_k.c.container == container_pk, _k.c.name == name, begins))


def unstage_older(unit: Unit, before: int) -> int:
    """Forget blocks staged before that time; how many there were."""
    return unit.conn.execute(sa.delete(_k).where(_k.c.created_at < before)).rowcount


def count_staged(conn: sa.Connection, before: int) -> int:
    """Blocks staged before that time."""
    return int(conn.execute(sa.select(sa.func.count()).where(_k.c.created_at < before)).scalar_one())


def committed(conn: sa.Connection, pk: int) -> list[tuple[str, int]]:
    """Ids and sizes of the blocks a blob was made from, in order; none for one that was written whole."""
    text = conn.execute(sa.select(_b.c.blocks).where(_b.c.pk == pk)).scalar_one_or_none()
    return [(id_, size) for id_, size in decode(text)] if text else []


def referenced(conn: sa.Connection, hashes: Iterable[str]) -> set[str]:
    """Those of `hashes` that a blob or a staged block refers to."""
    wanted = list(hashes)
    found: set[str] = set()
    for first in range(0, len(wanted), 500):
        part = wanted[first : first + 500]
        for table in (_b, _k):
            found.update(conn.execute(sa.select(table.c.sha256).where(table.c.sha256.in_(part)).distinct()).scalars())
    return found


def names(conn: sa.Connection) -> list[str]:
    """Of all objects that a blob or a staged block refers to, in order."""
    return sorted(conn.execute(sa.union(sa.select(_b.c.sha256), sa.select(_k.c.sha256))).scalars())


def after_prefix(prefix: str) -> str | None:
    """The smallest text behind all that begin with `prefix`; None when nothing is."""
    for cut in range(len(prefix), 0, -1):
        last = ord(prefix[cut - 1])
        if last < 0x10FFFF:
            return prefix[: cut - 1] + chr(0xE000 if last == 0xD7FF else last + 1)
    return None


def _in_range(name: sa.Column[str], prefix: str) -> list[sa.ColumnElement[bool]]:
    end = after_prefix(prefix)
    return [name >= prefix, *([name < end] if end is not None else [])]


def _rows(conn: sa.Connection, container_pk: int, start: str, end: str | None, limit: int) -> list[Blob]:
    query = sa.select(*_COLUMNS).where(_b.c.container == container_pk, _b.c.name >= start)
    if end is not None:
        query = query.where(_b.c.name < end)
    return [_blob(found) for found in conn.execute(query.order_by(_b.c.name).limit(limit))]


def _blob(found: sa.Row[Any]) -> Blob:
    values = dict(zip(_NAMES, found, strict=True))
    for document in ("headers", "metadata"):
        values[document] = decode(values[document]) if values[document] != "{}" else {}
    return Blob(**values)


def _encoded(values: dict[str, Any]) -> dict[str, Any]:
    documents = ("headers", "metadata", "blocks")
    return {name: encode(value) if name in documents and value is not None else value for name, value in values.items()}


def _inserted(unit: Unit, statement: Any) -> bool:
    """Whether the insert added a row; its RETURNING tells, since PostgreSQL's driver has no row count for it."""
    return unit.conn.execute(statement).scalar_one_or_none() is not None
