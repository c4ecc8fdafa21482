"""A datastore outside, seen through the Blob protocol: a bucket or a folder is listed, read and written as a container.

So the SDK uploads to it and downloads from it, and azureml-fsspec opens it, though neither knows S3 or this server's disk.
What is written arrives in a hidden container of the workspace first, by the same checks as any blob, and goes on from there;
an empty blob stays behind that keeps what the datastore has no place for: metadata and content headers.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from zaffre.errors import Conflict, NotFound, NotServed
from zaffre.services import conditions as cond
from zaffre.services.blobs import OCTETS, Blobs, Content, Page
from zaffre.services.blocks import Pick
from zaffre.services.conditions import Conditions
from zaffre.services.datastores import Datastores
from zaffre.services.kinds.base import Document
from zaffre.services.kinds.datastores import account_pk, hidden_container
from zaffre.services.workspaces import Workspace
from zaffre.store import resources
from zaffre.store.blobs import Blob, Block, Container
from zaffre.store.database import Database
from zaffre.store.drafts import Stored
from zaffre.store.resources import Row
from zaffre.store.unit import PLATFORM, Actor

_MARK = "x-zaffre-of"
"""The header, never answered, that ties what a hidden blob keeps to the one state of the file that it was told of."""

_NO_COPIES = "Copies within a datastore outside are not served; read the file and write it again."


class OutsideFile(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def modified(self) -> int: ...
    @property
    def etag(self) -> str: ...


class OutsideStore(Protocol):
    """What execution's stores can do; they are handed in, since services reach no network."""

    def list(self, prefix: str) -> Sequence[OutsideFile]: ...
    def children(self, folder: str) -> tuple[Sequence[str], Sequence[OutsideFile]]: ...
    def head(self, path: str) -> OutsideFile | None: ...
    def read(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]: ...
    def put(self, path: str, source: Path) -> None: ...
    def delete(self, path: str) -> None: ...


class _Open(NamedTuple):
    """A store, and the datastore it was opened for. The key of a row does not tell: SQLite uses that of the last row again."""

    of: tuple[str, int, int]
    store: OutsideStore


class OutsideAccounts:
    """The datastores behind accounts such as `zd17`; each is opened once, until it changes."""

    def __init__(
        self,
        database: Database,
        datastores: Datastores,
        blobs: Blobs,
        open_store: Callable[[str, Document], OutsideStore],
    ) -> None:
        self._database = database
        self._datastores = datastores
        self._blobs = blobs
        self._open_store = open_store
        self._open: dict[int, _Open] = {}

    async def blobs(self, account: str, workspace: Workspace) -> OutsideBlobs:
        """The datastore behind the account as a service of blobs."""
        pk = account_pk(account)
        row = await self._database.read(lambda conn: resources.by_pk(conn, pk)) if pk is not None else None
        if row is None or row.scope != workspace.id:
            raise NotFound(f"There is no storage account '{account}' on this server.")
        known, of = self._open.get(row.pk), (row.scope, row.created_at, row.generation)
        if known is None or known.of != of:
            source = await self._datastores.source(workspace, row.name)
            known = _Open(of, await asyncio.to_thread(self._open_store, row.name, source))
            self._open[row.pk] = known
        return OutsideBlobs(self._blobs, known.store, workspace, row)


class OutsideBlobs(Blobs):
    def __init__(self, inner: Blobs, store: OutsideStore, workspace: Workspace, row: Row) -> None:
        vars(self).update(vars(inner))  # it is the same service, but for what it overrides
        self._inner = inner
        self._store = store
        self._row = row
        self._hidden = (workspace.account, hidden_container(row.pk))

    # ---- the container

    async def container(self, account: str, name: str) -> Container:
        return Container(pk=0, account=account, name=name, created_at=self._row.created_at)

    async def containers(self, account: str) -> list[Container]:
        return [await self.container(account, self._row.name)]

    async def create_container(self, account: str, name: str, actor: Actor) -> Container:
        raise Conflict(f"The container '{name}' exists already.", code="ContainerAlreadyExists")

    async def delete_container(self, account: str, name: str, actor: Actor, conditions: Conditions = cond.NONE) -> None:
        raise NotServed(f"'{self._row.name}' is a datastore outside; what it stands for is not deleted from here.")

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
        await self._admit_write(name, conditions)
        kept = await self._inner.put(
            *self._hidden,
            name,
            chunks,
            size=size,
            md5=md5,
            content=content,
            metadata=metadata,
            want_md5=want_md5,
        )
        return await self._push(kept)

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
        await self._make_hidden()
        return await self._inner.stage_block(*self._hidden, name, block, chunks, size=size, md5=md5)

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
        await self._admit_write(name, conditions)
        return await self._push(
            await self._inner.commit_blocks(*self._hidden, name, picks, content=content, metadata=metadata)
        )

    async def set_metadata(
        self, account: str, container: str, name: str, metadata: dict[str, str], conditions: Conditions = cond.NONE
    ) -> Blob:
        found = await self.properties(account, container, name, conditions)
        await self._remember(found, Content(content_type=found.content_type, headers=found.headers), metadata)
        return await self.properties(account, container, name)

    async def set_content(
        self, account: str, container: str, name: str, content: Content, conditions: Conditions = cond.NONE
    ) -> Blob:
        found = await self.properties(account, container, name, conditions)
        await self._remember(found, content, found.metadata)
        return await self.properties(account, container, name)

    async def source(self, account: str, container: str, name: str, conditions: Conditions) -> Blob:
        raise NotServed(_NO_COPIES)  # before anything is told of a file whose reading nobody has allowed

    async def copy_of(self, *_: object, **__: object) -> Blob:
        raise NotServed(_NO_COPIES)

    async def stage_range(self, *_: object, **__: object) -> None:
        raise NotServed(_NO_COPIES)

    async def delete(self, account: str, container: str, name: str, conditions: Conditions = cond.NONE) -> None:
        conditions.check_write(await self.properties(account, container, name), name)
        await asyncio.to_thread(self._store.delete, name)
        try:
            await self._inner.delete(*self._hidden, name)
        except NotFound:
            pass

    # ---- reading

    async def properties(self, account: str, container: str, name: str, conditions: Conditions = cond.NONE) -> Blob:
        found = await asyncio.to_thread(self._store.head, name)
        if found is None:
            raise NotFound(f"Datastore '{self._row.name}' has no file '{name}'.", code="BlobNotFound")
        blob = _blob(found, await self._remembered(name))
        conditions.check_read(blob)
        return blob

    async def stream(self, blob: Blob, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        return self._chunks(blob.name, start, blob.size if end is None else end)

    async def piece(self, blob: Blob, start: int = 0, end: int | None = None) -> bytes:
        return b"".join([chunk async for chunk in await self.stream(blob, start, end)])

    async def listing(
        self, account: str, container: str, *, prefix: str = "", delimiter: str = "", start: str = "", limit: int = 5000
    ) -> Page:
        """With a delimiter one folder is looked at, without one all below it. Metadata is not told in lists."""
        if delimiter not in ("", "/"):
            raise NotServed(f"The delimiter '{delimiter[:20]}' is not served for a datastore outside; '/' is.")
        folder = prefix.rpartition("/")[0]
        folders: Sequence[str] = ()
        if delimiter:
            folders, files = await asyncio.to_thread(self._store.children, folder)
        else:
            files = await asyncio.to_thread(self._store.list, folder)
        entries: dict[str, Blob | str] = {f"{path}/": f"{path}/" for path in folders}
        entries |= {file.path: _blob(file, None) for file in files}
        entries = {name: entry for name, entry in entries.items() if name.startswith(prefix)}
        names = sorted(name for name in entries if name >= start)
        following = names[limit] if len(names) > limit else None
        return Page(entries=[entries[name] for name in names[:limit]], next=following)

    async def block_lists(
        self, account: str, container: str, name: str
    ) -> tuple[Blob | None, list[Block], list[Block]]:
        await self._make_hidden()
        _, _, staged = await self._inner.block_lists(*self._hidden, name)
        return None, [], staged

    # ---- what these share

    async def _admit_write(self, name: str, conditions: Conditions) -> None:
        if conditions != cond.NONE:
            found = await asyncio.to_thread(self._store.head, name)
            conditions.check_write(None if found is None else _blob(found, None), name)
        await self._make_hidden()

    async def _make_hidden(self) -> None:
        try:
            await self._inner.container(*self._hidden)
        except NotFound:
            try:
                await self._inner.create_container(*self._hidden, PLATFORM)
            except Conflict:
                pass  # another upload was faster

    async def _push(self, kept: Blob) -> Blob:
        """Send on what has arrived whole."""
        place = await asyncio.to_thread(self.objects.local_path, kept.sha256)
        await asyncio.to_thread(self._store.put, kept.name, place)
        blob = await self.properties("", "", kept.name)
        await self._remember(blob, Content(content_type=kept.content_type, headers=kept.headers), kept.metadata)
        return await self.properties("", "", kept.name)

    async def _remember(self, blob: Blob, content: Content, metadata: dict[str, str]) -> None:
        await self._make_hidden()
        given = Content(content_type=content.content_type, headers={**content.headers, _MARK: blob.etag})
        await self._inner.put(*self._hidden, blob.name, _nothing(), content=given, metadata=metadata)

    async def _remembered(self, name: str) -> Blob | None:
        try:
            return await self._inner.properties(*self._hidden, name)
        except NotFound:
            return None

    async def _chunks(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        reading = self._store.read(name, start, end) if end > start else iter(())
        while (chunk := await asyncio.to_thread(next, reading, None)) is not None:
            yield chunk


def _blob(found: OutsideFile, record: Blob | None) -> Blob:
    """The file as a blob; what is remembered of it counts while it is the same file."""
    etag = found.etag.strip('"') or f"{found.size:x}-{found.modified:x}"
    known = record is not None and record.headers.get(_MARK) == etag
    return Blob(
        pk=0,
        container=0,
        name=found.path,
        sha256="",
        size=found.size,
        md5=None,
        etag=etag,
        content_type=record.content_type if known and record else mimetypes.guess_type(found.path)[0] or OCTETS,
        headers={name: value for name, value in record.headers.items() if name != _MARK} if known and record else {},
        metadata=record.metadata if known and record else {},
        created_at=found.modified,
        modified_at=found.modified,
    )


async def _nothing() -> AsyncIterator[bytes]:
    yield b""
