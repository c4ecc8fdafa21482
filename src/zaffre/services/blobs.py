"""Blobs: bytes under a name in a container of a workspace's storage account.

Every write is bytes first, row second: what a row names is on disk. Every read is row first, and the bytes of a row
that was replaced meanwhile stay for an hour (`services.collection`), so whoever holds a name of bytes has time to read them.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput, NotFound, TooLarge, Unavailable
from zaffre.services import blocks
from zaffre.services import conditions as cond
from zaffre.services.blocks import Pick
from zaffre.services.conditions import Conditions
from zaffre.services.storage_accounts import StorageAccounts
from zaffre.services.workspaces import ARTIFACT_CONTAINER, Workspace, Workspaces
from zaffre.store import blobs as rows
from zaffre.store.blobs import Blob, BlobInfo, Block, Container
from zaffre.store.database import Database
from zaffre.store.drafts import Stored
from zaffre.store.objects import Objects
from zaffre.store.parts import Part
from zaffre.store.unit import Actor, Unit

OCTETS = "application/octet-stream"
NAME_LIMIT = 1024
BLOCKS_LIMIT = 50_000
READ_LIMIT = 16 * 1024 * 1024
_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(-[a-z0-9]+)*\Z")
# XML 1.0, in which names are listed, has no way to write these.
UNLISTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What readers are told of the bytes. `headers`: cache-control, content-encoding and so on; `md5` is base64."""

    content_type: str = OCTETS
    headers: dict[str, str] = {}
    md5: str | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a listing, in order; a text is a folder. `next` is the name the next part starts at."""

    entries: list[Blob | str]
    next: str | None


class Blobs:
    """Everything that reads or writes stored bytes goes through here, whatever protocol or controller asks."""

    def __init__(self, database: Database, objects: Objects, workspaces: Workspaces) -> None:
        self._database = database
        self.objects = objects
        self.accounts = StorageAccounts(database, workspaces)
        self._orphans: dict[str, int] = {}

    async def account(self, name: str) -> Workspace:
        """The workspace whose storage account that is. Raises NotFound."""
        return await self.accounts.find(name)

    # ---- containers

    async def create_container(self, account: str, name: str, actor: Actor) -> Container:
        """Raises Conflict when there is one."""
        if not _CONTAINER.match(name):
            raise InvalidInput(
                f"'{name[:100]}' cannot be a container: take 3 to 63 lower-case letters, digits and hyphens.",
                code="InvalidResourceName",
            )
        workspace = await self.account(account)

        def work(unit: Unit) -> Container:
            if not rows.make_container(unit, account, name):
                raise Conflict(f"The container '{name}' exists already.", code="ContainerAlreadyExists")
            unit.audit(actor, "workspaces/containers/write", f"{workspace.path}/containers/{name}")
            return _container(unit.conn, account, name)

        return await self._database.write(work)

    async def container(self, account: str, name: str) -> Container:
        return await self._database.read(lambda conn: _container(conn, account, name))

    async def containers(self, account: str) -> list[Container]:
        return await self._database.read(lambda conn: rows.containers(conn, account))

    async def delete_container(self, account: str, name: str, actor: Actor, conditions: Conditions = cond.NONE) -> None:
        """Delete it with all its blobs. Raises Conflict for those that a workspace's own datastores stand on."""
        workspace = await self.account(account)
        if name in (workspace.container, ARTIFACT_CONTAINER):
            message = f"The container '{name}' belongs to the workspace '{workspace.name}'; it goes with it."
            raise Conflict(message, code="OperationNotAllowedOnContainer")

        def work(unit: Unit) -> None:
            found = _container(unit.conn, account, name)
            conditions.check_container(found)
            rows.discard_container(unit, found.pk)
            unit.audit(actor, "workspaces/containers/delete", f"{workspace.path}/containers/{name}")

        await self._database.write(work)

    # ---- writing

    async def put(
        self,
        account: str,
        container: str,
        name: str,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None = None,
        md5: bytes | None = None,
        content: Content = Content(),  # noqa: B008  (frozen)
        metadata: dict[str, str] | None = None,
        conditions: Conditions = cond.NONE,
        want_md5: bool = True,
    ) -> Blob:
        """Write the blob whole. `size` and `md5` are checked against what comes; nothing is kept when they differ.

        MD5 is most of what a large upload costs; without `want_md5` the blob has none, as one made of blocks has none.
        """
        await self._admit(account, container, name, conditions)
        stored = await self.objects.put_stream(chunks, size=size, md5=md5, want_md5=want_md5)
        given = Content(content_type=content.content_type, headers=content.headers, md5=content.md5 or stored.md5)
        return await self._record(account, container, name, stored, given, metadata, conditions)

    async def put_kept(self, account: str, container: str, name: str, path: Path, content: Content) -> Blob:
        """Write the blob by making the file itself its bytes. It has no MD5."""
        await self._admit(account, container, name, cond.NONE)
        stored = await self.objects.put_kept(path)
        return await self._record(account, container, name, stored, content, None, cond.NONE)

    async def put_file(
        self,
        account: str,
        container: str,
        name: str,
        path: Path,
        content_type: str | None = None,
        metadata: dict[str, str] | None = None,
    ) -> Blob:
        """Write the blob from a file of this machine. Raises OSError when the file cannot be read."""
        await self._admit(account, container, name, cond.NONE)
        stored = await self.objects.put_file(path)
        content = Content(content_type=content_type or OCTETS, md5=stored.md5)
        return await self._record(account, container, name, stored, content, metadata, cond.NONE)

    async def put_bytes(
        self, account: str, container: str, name: str, data: bytes, content_type: str | None = None
    ) -> Blob:
        """Write a small blob."""
        await self._admit(account, container, name, cond.NONE)
        stored = await self.objects.put_bytes(data)
        content = Content(content_type=content_type or OCTETS, md5=stored.md5)
        return await self._record(account, container, name, stored, content, None, cond.NONE)

    async def stage_block(
        self,
        account: str,
        container: str,
        name: str,
        block: str,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None = None,
        md5: bytes | None = None,
    ) -> Stored:
        """Keep a block for a later commit."""
        await self._admit(account, container, name, cond.NONE)
        stored = await self.objects.put_stream(chunks, size=size, md5=md5, want_md5=False)
        await self._stage(account, container, name, block, stored)
        return stored

    async def commit_blocks(
        self,
        account: str,
        container: str,
        name: str,
        picks: Sequence[Pick],
        *,
        content: Content = Content(),  # noqa: B008  (frozen)
        metadata: dict[str, str] | None = None,
        conditions: Conditions = cond.NONE,
    ) -> Blob:
        """Make the blob from blocks, in that order; other staged ones are dropped. Raises InvalidInput if one lacks."""
        if len(picks) > BLOCKS_LIMIT:
            message = f"The list has {len(picks)} blocks; at most {BLOCKS_LIMIT} are taken."
            raise InvalidInput(message, code="BlockListTooLong")
        await self._admit(account, container, name, conditions)
        pieces = await self._database.read(
            lambda conn: blocks.resolve(conn, _container(conn, account, container).pk, name, picks)
        )
        try:
            stored = await self.objects.compose([piece.part for piece in pieces])
        except FileNotFoundError:
            raise Unavailable("A block was committed by somebody else meanwhile. Repeat the request.") from None
        made_of = [(piece.id, piece.part.size) for piece in pieces]
        return await self._record(account, container, name, stored, content, metadata, conditions, made_of)

    async def forget_blocks(self, account: str, container: str, name: str, prefix: str) -> None:
        """Drop the blocks staged for the blob whose ids begin with `prefix`."""

        def work(unit: Unit) -> None:
            rows.unstage(unit, _container(unit.conn, account, container).pk, name, prefix)

        await self._database.write(work)

    async def copy_of(
        self,
        account: str,
        container: str,
        name: str,
        source: Blob,
        *,
        content: Content,
        metadata: dict[str, str],
        conditions: Conditions = cond.NONE,
    ) -> Blob:
        """A blob with the bytes of `source`, which may have been replaced since it was looked up. No bytes move."""
        await self._admit(account, container, name, conditions)
        if not await self.objects.touch(source.sha256):
            raise _gone(source)
        stored = Stored(sha256=source.sha256, size=source.size, md5=source.md5)
        return await self._record(account, container, name, stored, content, metadata, conditions)

    async def stage_range(
        self, account: str, container: str, name: str, block: str, source: Blob, start: int, end: int
    ) -> None:
        """Keep a part of `source` as a block for a later commit."""
        await self._admit(account, container, name, cond.NONE)
        try:
            stored = await self.objects.compose([Part(source.sha256, start, end - start)])
        except FileNotFoundError:
            raise _gone(source) from None
        await self._stage(account, container, name, block, stored)

    async def set_metadata(
        self, account: str, container: str, name: str, metadata: dict[str, str], conditions: Conditions = cond.NONE
    ) -> Blob:
        """Replace the blob's metadata."""
        return await self._change(account, container, name, conditions, metadata=metadata)

    async def set_content(
        self, account: str, container: str, name: str, content: Content, conditions: Conditions = cond.NONE
    ) -> Blob:
        """Replace what readers are told of the bytes, the MD5 included."""
        return await self._change(
            account,
            container,
            name,
            conditions,
            content_type=content.content_type,
            headers=content.headers,
            md5=content.md5,
        )

    async def delete(self, account: str, container: str, name: str, conditions: Conditions = cond.NONE) -> None:
        """Delete the blob with its staged blocks; the collector frees the bytes later."""

        def work(unit: Unit) -> None:
            found = _blob(unit.conn, account, container, name, lock=True)
            conditions.check_write(found, name)
            rows.delete(unit, found.pk)
            rows.unstage(unit, found.container, name)

        await self._database.write(work)

    # ---- reading

    async def properties(self, account: str, container: str, name: str, conditions: Conditions = cond.NONE) -> Blob:
        """The blob without its bytes. Raises NotFound."""
        found = await self._database.read(lambda conn: _blob(conn, account, container, name))
        conditions.check_read(found)
        return found

    async def source(self, account: str, container: str, name: str, conditions: Conditions) -> Blob:
        """The blob that a copy is to be made of."""
        found = await self.properties(account, container, name)
        conditions.check_source(found)
        return found

    async def md5_of(self, blob: Blob, start: int, end: int) -> bytes:
        """The MD5 of a part of the blob."""
        digest = hashlib.md5(usedforsecurity=False)
        async for chunk in await self.stream(blob, start, end):
            await asyncio.to_thread(digest.update, chunk)
        return digest.digest()

    async def stream(self, blob: Blob, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The blob's bytes from `start` up to but not including `end`, as `properties` found it."""
        try:
            return await self.objects.open(blob.sha256, start, blob.size if end is None else end)
        except FileNotFoundError:
            raise _gone(blob) from None

    async def piece(self, blob: Blob, start: int = 0, end: int | None = None) -> bytes:
        """The same in one piece, for what is known to be small."""
        try:
            return await self.objects.read(blob.sha256, start, blob.size if end is None else end)
        except FileNotFoundError:
            raise _gone(blob) from None

    async def read(self, account: str, container: str, name: str) -> tuple[Blob, AsyncIterator[bytes]]:
        blob = await self.properties(account, container, name)
        return blob, await self.stream(blob)

    async def get_bytes(self, account: str, container: str, name: str, limit: int = READ_LIMIT) -> bytes:
        """The whole blob, at most `limit` bytes. Raises NotFound and TooLarge."""
        blob = await self.properties(account, container, name)
        if blob.size > limit:
            raise TooLarge(f"The blob '{name}' has {blob.size} bytes; at most {limit} are read in one piece.")
        return await self.piece(blob)

    async def listing(
        self, account: str, container: str, *, prefix: str = "", delimiter: str = "", start: str = "", limit: int = 5000
    ) -> Page:
        """Blobs in the order of their names; see `store.blobs.walk`."""

        def work(conn: sa.Connection) -> Page:
            pk = _container(conn, account, container).pk
            entries, following = rows.walk(conn, pk, prefix=prefix, delimiter=delimiter, start=start, limit=limit)
            return Page(entries=entries, next=following)

        return await self._database.read(work)

    async def tree(self, account: str, container: str, prefix: str = "") -> list[BlobInfo]:
        """Every blob whose name begins with `prefix`; `objects.local_path(sha256)` is where its bytes lie."""
        return await self._database.read(lambda conn: rows.tree(conn, _container(conn, account, container).pk, prefix))

    async def block_lists(
        self, account: str, container: str, name: str
    ) -> tuple[Blob | None, list[Block], list[Block]]:
        """The blob, the blocks it was made from and those staged for it. Raises NotFound when there is neither."""

        def work(conn: sa.Connection) -> tuple[Blob | None, list[Block], list[Block]]:
            pk = _container(conn, account, container).pk
            blob, staged = rows.get(conn, pk, name), list(rows.staged(conn, pk, name).values())
            if blob is None and not staged:
                raise _no_blob(container, name)
            committed = rows.committed(conn, blob.pk) if blob else []
            return blob, [Block(id=id_, sha256="", size=size) for id_, size in committed], staged

        return await self._database.read(work)

    async def record_denial(self, actor: Actor, action: str, target: str) -> None:
        """Leave an audit record of what somebody known was not allowed to do."""
        await self._database.write(lambda unit: unit.audit(actor, action, target, outcome="denied"))

    def new_id(self) -> str:
        """For what a client may want to name later."""
        return self._database.runtime.guid()

    # ---- helpers

    async def _admit(self, account: str, container: str, name: str, conditions: Conditions) -> None:
        """Refuse before any byte is taken what would be refused after the last."""
        check_name(name)

        def work(conn: sa.Connection) -> None:
            conditions.check_write(rows.get(conn, _container(conn, account, container).pk, name), name)

        await self._database.read(work)

    async def _record(
        self,
        account: str,
        container: str,
        name: str,
        stored: Stored,
        content: Content,
        metadata: dict[str, str] | None,
        conditions: Conditions,
        made_of: Sequence[tuple[str, int]] | None = None,
    ) -> Blob:
        values = {
            "sha256": stored.sha256,
            "size": stored.size,
            "md5": content.md5,
            "content_type": content.content_type,
            "headers": content.headers,
            "metadata": metadata or {},
            "blocks": made_of,
            "etag": self._etag(),
        }
        return await self._database.write(lambda unit: _write(unit, account, container, name, values, conditions))

    async def _stage(self, account: str, container: str, name: str, block: str, stored: Stored) -> None:
        def work(unit: Unit) -> None:
            pk = _container(unit.conn, account, container).pk
            rows.stage(unit, pk, name, Block(id=block, sha256=stored.sha256, size=stored.size))

        await self._database.write(work)

    async def _change(self, account: str, container: str, name: str, conditions: Conditions, **values: Any) -> Blob:
        etag = self._etag()

        def work(unit: Unit) -> Blob:
            found = _blob(unit.conn, account, container, name, lock=True)
            conditions.check_write(found, name)
            rows.update(unit, found.pk, etag=etag, **values)
            return _blob(unit.conn, account, container, name)

        return await self._database.write(work)

    def _etag(self) -> str:
        return "0x" + self._database.runtime.hex_id()[:16].upper()


def check_name(name: str) -> None:
    """Raise InvalidInput for what cannot be a blob's name."""
    if not name or len(name) > NAME_LIMIT:
        message = f"A blob's name has 1 to {NAME_LIMIT} characters; this one has {len(name)}."
        raise InvalidInput(message, code="InvalidResourceName")
    if UNLISTABLE.search(name):
        message = f"The blob's name {name[:100]!r} holds control characters, which listings in XML cannot carry."
        raise InvalidInput(message, code="InvalidResourceName")


def _container(conn: sa.Connection, account: str, name: str) -> Container:
    found = rows.container(conn, account, name)
    if found is None:
        raise NotFound(f"The storage account '{account}' has no container '{name[:100]}'.", code="ContainerNotFound")
    return found


def _blob(conn: sa.Connection, account: str, container: str, name: str, *, lock: bool = False) -> Blob:
    found = rows.get(conn, _container(conn, account, container).pk, name, lock=lock)
    if found is None:
        raise _no_blob(container, name)
    return found


def _write(unit: Unit, account: str, container: str, name: str, values: dict[str, Any], conditions: Conditions) -> Blob:
    """Insert or replace the blob; its staged blocks are dropped."""
    pk = _container(unit.conn, account, container).pk
    while True:
        found = rows.get(unit.conn, pk, name, lock=True)
        conditions.check_write(found, name)
        if found is not None:
            rows.update(unit, found.pk, **values)
            break
        if rows.insert(unit, pk, name, **values):
            break  # else another transaction was first: look again
    rows.unstage(unit, pk, name)
    written = rows.get(unit.conn, pk, name)
    assert written is not None, "written in this transaction"
    return written


def _no_blob(container: str, name: str) -> NotFound:
    return NotFound(f"The container '{container}' has no blob '{name}'.", code="BlobNotFound")


def _gone(blob: Blob) -> Unavailable:
    return Unavailable(f"The bytes of the blob '{blob.name}' are gone: it was replaced or deleted. Repeat the request.")
