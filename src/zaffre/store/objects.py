"""The bytes themselves: objects named by their SHA-256 in a folder, written once, never changed.

Layout: `<root>/ab/<sha256>`, lists of parts in `<root>/parts/` (see `store.parts`), drafts in `<root>/drafts/`. What a
call has returned is on disk for good: file and folder are synced before it returns. obstore's folder backend syncs
neither and cannot name a file by what streamed into it, so this module writes and reads by itself; a bucket (S3, Azure,
GCS) is another class with these methods.

An object nobody refers to any more is collected. Two rules make that safe beside writers: whoever is about to refer to
an object has written or touched it just before, and `delete` spares one touched lately, both under one lock.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import fcntl
import os
import re
import shutil
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from zaffre.errors import InvalidInput, StorageFull, ZaffreError
from zaffre.runtime import Runtime
from zaffre.store import drafts
from zaffre.store import parts as lists
from zaffre.store.drafts import Draft, Stored, disk_full_named, sync_folder
from zaffre.store.parts import Part

P = ParamSpec("P")
T = TypeVar("T")
BUFFER = 1024 * 1024
THREADS = 8  # most of their time is waiting for the disk
HASHERS = min(os.cpu_count() or 1, 4)
DRAFTS, PARTS = "drafts", "parts"
KEEP = "keep.lock"  # whoever holds it shared, as a backup does, finds every object where it was
_HASH = re.compile(r"[0-9a-f]{64}")


class Objects:
    """Methods are for the event loop; hashing and disk work run on a few threads. A stream holds two buffers."""

    def __init__(self, root: Path, runtime: Runtime | None = None) -> None:
        self._root = root
        self._runtime = runtime or Runtime()
        self._drafts, self._parts = root / DRAFTS, root / PARTS
        self._lock = threading.Lock()
        self._joining = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="zf-object")
        self._hashers = ThreadPoolExecutor(HASHERS, thread_name_prefix="zf-hash")
        for folder in (self._drafts, self._parts):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(256):  # made now, so that a write has one folder to sync, not two
            (root / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
        sync_folder(root)
        drafts.clean(self._drafts)

    # ---- writing

    async def put_stream(
        self, chunks: AsyncIterator[bytes], *, size: int | None = None, md5: bytes | None = None, want_md5: bool = True
    ) -> Stored:
        """Store what `chunks` brings, hashed as it streams. `size` and `md5` are what the caller was promised.

        Raises InvalidInput when the promise is broken and StorageFull when it cannot fit; whatever happens on the way,
        a cancellation included, nothing is left behind.
        """
        if size is not None and size > BUFFER:
            await self._run(self.ensure_space, size)
        draft = Draft(self._drafts, want_md5=want_md5 or md5 is not None, hashers=self._hashers)
        buffer, writing = bytearray(), None
        try:
            async for chunk in chunks:
                buffer += chunk
                if len(buffer) < BUFFER:
                    continue
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(self._run(draft.write, buffer))  # the next buffer fills meanwhile
                buffer = bytearray()
            if writing is not None:
                await writing
            return await self._run(self._finish, draft, buffer, size, md5)
        except BaseException:
            if writing is not None:
                writing.add_done_callback(_look_away)
            self._threads.submit(draft.discard)  # a write may still run; the draft has a lock of its own
            raise

    async def put_kept(self, path: Path) -> Stored:
        """Make the file itself an object, or a copy of it where it lies on another disk. Raises OSError when it cannot be read.

        Its writer is done with it and may remove its name at any time after this.
        """
        draft = Draft(self._drafts, want_md5=False, hashers=self._hashers)
        try:
            return await self._run(self._adopt, draft, path)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
        finally:
            self._threads.submit(draft.discard)
        return await self.put_file(path)

    async def put_bytes(self, data: bytes) -> Stored:
        return await self.put_stream(_once(data))

    async def put_file(self, path: Path) -> Stored:
        """Store a copy of the file. Raises OSError when it cannot be read."""
        file = await self._run(_open, path)
        await self._run(self.ensure_space, os.fstat(file.fileno()).st_size)
        return await self.put_stream(self._chunks(file, 0, None))

    async def compose(self, parts: Sequence[Part]) -> Stored:
        """One object of these ranges of others, in that order. Large ones are not copied: they become a list of parts.

        Raises FileNotFoundError when one of the objects is gone.
        """
        flat, whole = await self._run(self._flatten, parts)
        if whole is not None:
            return whole
        if lists.worth_a_list(flat):
            name = await self._run(self._publish_list, flat)
            return Stored(sha256=name, size=lists.total(flat), md5=None)
        return await self.put_stream(self._spans(None, flat, 0, None), size=lists.total(flat), want_md5=False)

    # ---- reading

    async def open(self, sha256: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to but not including `end`. The file is open when this returns.

        Raises FileNotFoundError when there is no such object.
        """
        path = self._path(sha256)
        try:
            return self._chunks(await self._run(_open, path), start, end)
        except FileNotFoundError:
            found = await self._run(lists.read, self._list_path(sha256))
            if found is None:
                raise
        spans = lists.within(found, start, end)
        if end is not None and lists.total(spans) != end - start:
            raise _short(self._list_path(sha256))
        file = await self._run(_open, self._path(spans[0].sha256)) if spans else None
        return self._spans(sha256, spans, start, file)

    async def read(self, sha256: str, start: int = 0, end: int | None = None) -> bytes:
        """The same as one piece, for what is known to be small."""
        try:
            return await self._run(_read, self._path(sha256), start, end)
        except FileNotFoundError:
            return b"".join([chunk async for chunk in await self.open(sha256, start, end)])

    async def file_name(self, sha256: str) -> str | None:
        """The name below the store's folder of the one file that is the object; None for one that is still in parts."""
        return await self._run(self._file_name, sha256)

    def local_path(self, sha256: str) -> Path:
        """Where the object lies as one file. One made of parts is joined first, so ask on a thread of your own.

        The file must not be written to, nor linked where user code could.
        """
        path = self._path(sha256)
        if path.exists():
            return path
        found = lists.read(self._list_path(sha256))
        if found is None:
            return path
        with self._joining:
            found = lists.read(self._list_path(sha256)) or found  # somebody may have joined it while we waited
            if len(found) == 1 and _size(self._path(found[0].sha256)) == found[0].size:
                return self._path(found[0].sha256)
            return self._join(sha256, found)

    def digest(self, sha256: str) -> str:
        """SHA-256 of the object's bytes: its name, but for one made of parts, which is joined; ask on a thread."""
        return self.local_path(sha256).name

    # ---- keeping and letting go

    async def touch(self, sha256: str) -> bool:
        """Keep the object from being collected for a while, before a new reference to it; False when it is gone."""
        return await self._run(self._touch, sha256)

    async def untouched(self, before: int) -> AsyncIterator[list[str]]:
        """Names of all objects last touched before that time, in groups."""
        for folder in (*(f"{number:02x}" for number in range(256)), PARTS):
            names = await self._run(_untouched, self._root / folder, before)
            if names:
                yield names

    async def held(self) -> set[str]:
        """Names of all objects that lists of parts need."""
        return await self._run(self._held)

    async def size(self, sha256: str) -> int:
        """Bytes that deleting the object itself would free; 0 when it is gone."""
        return await self._run(lambda: max(_size(self._path(sha256)), _size(self._list_path(sha256)), 0))

    async def delete(self, sha256: str, *, before: int) -> bool:
        """Delete the object unless it was touched at or after `before`."""
        return await self._run(self._delete, sha256, before)

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no backup copies objects now, which none does then until this ends."""
        with open(self._root / KEEP, "a", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def ensure_space(self, size: int) -> None:
        """Raise StorageFull when `size` bytes cannot fit now."""
        free = shutil.disk_usage(self._root).free
        if size > free:
            raise StorageFull(
                f"{size} bytes are to come and the disk has {free} free. Make room and repeat the request."
            )

    def close(self) -> None:
        """Wait for what still runs."""
        self._threads.shutdown(wait=True)
        self._hashers.shutdown(wait=True)

    # ---- helpers

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def _path(self, sha256: str) -> Path:
        if not _HASH.fullmatch(sha256):
            raise ValueError(f"{sha256[:80]!r} is not a SHA-256 in lower-case hexadecimal.")
        return self._root / sha256[:2] / sha256

    def _list_path(self, name: str) -> Path:
        return self._parts / name

    async def _chunks(self, file: IO[bytes], start: int, end: int | None) -> AsyncGenerator[bytes]:
        with file:
            position = start
            while end is None or position < end:
                wanted = BUFFER if end is None else min(BUFFER, end - position)
                data = await self._run(os.pread, file.fileno(), wanted, position)
                if not data:
                    if end is not None:
                        raise _short(file.name)
                    return
                position += len(data)
                yield data

    async def _spans(
        self, name: str | None, spans: list[Part], start: int, file: IO[bytes] | None
    ) -> AsyncIterator[bytes]:
        """The ranges one after the other; `file` is the first one's, open.

        A reader slower than the collector may find parts gone that were joined meanwhile: it goes on in the whole.
        """
        position = start
        for number, span in enumerate(spans):
            try:
                current = file if number == 0 and file is not None else await self._run(_open, self._path(span.sha256))
            except FileNotFoundError:
                if name is None:
                    raise
                break
            async with contextlib.aclosing(self._chunks(current, span.start, span.start + span.size)) as chunks:
                async for chunk in chunks:
                    position += len(chunk)
                    yield chunk
        else:
            return
        joined = await self._run(lists.read, self._list_path(name))
        if joined is None:
            raise _short(self._list_path(name))
        for span in lists.within(joined, position, start + lists.total(spans)):
            again = await self._run(_open, self._path(span.sha256))
            async for chunk in self._chunks(again, span.start, span.start + span.size):
                yield chunk

    def _adopt(self, draft: Draft, path: Path) -> Stored:
        draft.adopt(path)
        stored = draft.seal()
        self._publish(draft, self._path(stored.sha256), stored.size)
        return stored

    def _finish(self, draft: Draft, rest: bytearray, size: int | None, md5: bytes | None) -> Stored:
        draft.write(rest)
        stored = draft.seal()
        if size is not None and stored.size != size:
            raise InvalidInput(f"{size} bytes were announced and {stored.size} came.", code="InvalidInput")
        if md5 is not None and base64.b64decode(stored.md5 or "") != md5:
            raise InvalidInput("The MD5 of the bytes that came is not the one that was announced.", code="Md5Mismatch")
        self._publish(draft, self._path(stored.sha256), stored.size)
        return stored

    def _publish(self, draft: Draft, path: Path, size: int, *, replace: bool = False) -> None:
        with disk_full_named(), self._lock:
            if _size(path) == size and not replace:
                self._stamp(path)
            else:
                self._stamp(draft.path)
                draft.path.replace(path)
        draft.discard()
        sync_folder(path.parent)  # also for one that was there: its writer may not have come to this line yet

    def _flatten(self, parts: Sequence[Part]) -> tuple[list[Part], Stored | None]:
        """The parts as ranges of objects of bytes, each touched; or the one object that they are all of."""
        flat: list[Part] = []
        for part in parts:
            inner = lists.read(self._list_path(part.sha256)) if _size(self._path(part.sha256)) < 0 else None
            flat += [part] if inner is None else lists.within(inner, part.start, part.start + part.size)
        flat = lists.merged(flat)
        names = {part.sha256 for part in flat}
        if lists.total(flat) != lists.total(parts) or not all(self._touch(name) for name in names):
            raise FileNotFoundError("An object that a new one is to be made of is gone.")
        if len(flat) == 1 and flat[0].start == 0 and flat[0].size == _size(self._path(flat[0].sha256)):
            return flat, Stored(sha256=flat[0].sha256, size=flat[0].size, md5=None)
        return flat, None

    def _publish_list(self, parts: list[Part]) -> str:
        name = lists.name_of(parts)
        self._write_list(name, parts, replace=False)
        return name

    def _write_list(self, name: str, parts: list[Part], *, replace: bool) -> None:
        path = self._list_path(name)
        with disk_full_named(), self._lock:
            if not replace and path.exists():
                self._stamp(path)
                return
        draft = Draft(self._drafts, want_md5=False)
        try:
            draft.write(lists.encode(parts))
            size = draft.seal().size
            self._publish(draft, path, size, replace=True)
        finally:
            draft.discard()

    def _join(self, name: str, parts: list[Part]) -> Path:
        """One object of all the parts, which the list of that name then consists of."""
        self.ensure_space(lists.total(parts))
        draft = Draft(self._drafts, want_md5=False)
        try:
            for part in parts:
                with _open(self._path(part.sha256)) as file:
                    position, end = part.start, part.start + part.size
                    while position < end:
                        data = os.pread(file.fileno(), min(4 * BUFFER, end - position), position)
                        if not data:
                            raise _short(file.name)
                        draft.write(data)
                        position += len(data)
            stored = draft.seal()
            path = self._path(stored.sha256)
            self._publish(draft, path, stored.size)
        finally:
            draft.discard()
        self._write_list(name, [Part(stored.sha256, 0, stored.size)], replace=True)
        return path

    def _file_name(self, sha256: str) -> str | None:
        path = self._path(sha256)
        if not path.exists():
            parts = lists.read(self._list_path(sha256)) or []
            if len(parts) != 1 or _size(self._path(parts[0].sha256)) != parts[0].size:
                return None
            path = self._path(parts[0].sha256)
        return f"{path.parent.name}/{path.name}"

    def _touch(self, sha256: str) -> bool:
        for path in (self._path(sha256), self._list_path(sha256)):
            with self._lock, contextlib.suppress(FileNotFoundError):
                self._stamp(path)
                return True
        return False

    def _delete(self, sha256: str, before: int) -> bool:
        for path in (self._path(sha256), self._list_path(sha256)):
            with self._lock, contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime_ns < before * 1_000_000:
                    path.unlink()
                    return True
        return False

    def _held(self) -> set[str]:
        found: set[str] = set()
        for path in self._parts.iterdir():
            found.update(part.sha256 for part in lists.read(path) or ())
        return found

    def _stamp(self, path: Path) -> None:
        now = self._runtime.now() * 1_000_000
        os.utime(path, ns=(now, now))


def _untouched(folder: Path, before: int) -> list[str]:
    limit = before * 1_000_000
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if _HASH.fullmatch(entry.name) and _mtime_ns(entry) < limit]


def _mtime_ns(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime_ns
    except FileNotFoundError:
        return float("inf")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _open(path: Path) -> IO[bytes]:
    return path.open("rb", buffering=0)


def _read(path: Path, start: int, end: int | None) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(-1 if end is None else end - start)
    if end is not None and len(data) != end - start:
        raise _short(path)
    return data


def _short(path: object) -> ZaffreError:
    return ZaffreError(f"The object {path} is shorter than its record says: the disk has lost bytes.")


def _look_away(task: asyncio.Future[None]) -> None:
    """Take a failure that nobody awaits any more, or asyncio complains of it."""
    if not task.cancelled():
        task.exception()


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
