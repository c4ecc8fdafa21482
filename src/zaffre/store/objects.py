"""The bytes themselves: objects named by their SHA-256 in a folder, written once, never changed.

Layout: `<root>/ab/<sha256>`, drafts in `<root>/drafts/`. What a call has returned is on disk for good: file and folder
are synced before it returns. obstore's folder backend syncs neither and cannot name a file by what streamed into it, so
this module writes and reads by itself; a bucket (S3, Azure, GCS) is another class with these methods.

An object nobody refers to any more is collected. Two rules make that safe beside writers: whoever is about to refer to
an object has written or touched it just before, and `delete` spares one touched lately, both under one lock.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

import msgspec

from zaffre.errors import InvalidInput, StorageFull, ZaffreError
from zaffre.runtime import Runtime

P = ParamSpec("P")
T = TypeVar("T")
BUFFER = 1024 * 1024
THREADS = 8  # most of their time is waiting for the disk
DRAFTS = "drafts"
_HASH = re.compile(r"[0-9a-f]{64}")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What was written. `md5` is base64, as HTTP writes it; None where nobody asked for it."""

    sha256: str
    size: int
    md5: str | None


class Objects:
    """Methods are for the event loop; hashing and disk work run on a few threads. A stream holds two buffers."""

    def __init__(self, root: Path, runtime: Runtime | None = None) -> None:
        self._root = root
        self._runtime = runtime or Runtime()
        self._drafts = root / DRAFTS
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="zf-object")
        self._drafts.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(256):  # made now, so that a write has one folder to sync, not two
            (root / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
        _sync_folder(root)
        _clean(self._drafts)

    async def put_stream(
        self, chunks: AsyncIterator[bytes], *, size: int | None = None, md5: bytes | None = None, want_md5: bool = True
    ) -> Stored:
        """Store what `chunks` brings, hashed as it streams. `size` and `md5` are what the caller was promised.

        Raises InvalidInput when the promise is broken and StorageFull when it cannot fit; whatever happens on the way,
        a cancellation included, nothing is left behind.
        """
        if size is not None and size > BUFFER:
            await self._run(self.ensure_space, size)
        draft = _Draft(self._drafts, want_md5=want_md5 or md5 is not None)
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

    async def put_bytes(self, data: bytes) -> Stored:
        return await self.put_stream(_once(data))

    async def put_file(self, path: Path) -> Stored:
        """Store a copy of the file. Raises OSError when it cannot be read."""
        file = await self._run(_open, path)
        await self._run(self.ensure_space, os.fstat(file.fileno()).st_size)
        return await self.put_stream(self._chunks(file, 0, None))

    async def open(self, sha256: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to but not including `end`. The file is open when this returns.

        Raises FileNotFoundError when there is no such object.
        """
        file = await self._run(_open, self.local_path(sha256))
        return self._chunks(file, start, end)

    async def read(self, sha256: str, start: int = 0, end: int | None = None) -> bytes:
        """The same as one piece, for what is known to be small."""
        return await self._run(_read, self.local_path(sha256), start, end)

    def local_path(self, sha256: str) -> Path:
        """Where the object lies. The file must not be written to, nor linked where user code could."""
        if not _HASH.fullmatch(sha256):
            raise ValueError(f"{sha256[:80]!r} is not a SHA-256 in lower-case hexadecimal.")
        return self._root / sha256[:2] / sha256

    async def touch(self, sha256: str) -> bool:
        """Keep the object from being collected for a while, before a new reference to it; False when it is gone."""
        return await self._run(self._touch, self.local_path(sha256))

    async def untouched(self, before: int) -> AsyncIterator[list[str]]:
        """Names of all objects last touched before that time, in groups."""
        for number in range(256):
            names = await self._run(_untouched, self._root / f"{number:02x}", before)
            if names:
                yield names

    async def delete(self, sha256: str, *, before: int) -> bool:
        """Delete the object unless it was touched at or after `before`."""
        return await self._run(self._delete, self.local_path(sha256), before)

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

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    async def _chunks(self, file: IO[bytes], start: int, end: int | None) -> AsyncIterator[bytes]:
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

    def _finish(self, draft: _Draft, rest: bytearray, size: int | None, md5: bytes | None) -> Stored:
        draft.write(rest)
        stored = draft.seal()
        if size is not None and stored.size != size:
            raise InvalidInput(f"{size} bytes were announced and {stored.size} came.", code="InvalidInput")
        if md5 is not None and base64.b64decode(stored.md5 or "") != md5:
            raise InvalidInput("The MD5 of the bytes that came is not the one that was announced.", code="Md5Mismatch")
        self._publish(draft, stored)
        return stored

    def _publish(self, draft: _Draft, stored: Stored) -> None:
        path = self.local_path(stored.sha256)
        with _disk_full_named(), self._lock:
            if _size(path) == stored.size:
                self._stamp(path)
            else:
                self._stamp(draft.path)
                draft.path.replace(path)
        draft.discard()
        _sync_folder(path.parent)  # also for one that was there: its writer may not have come to this line yet

    def _touch(self, path: Path) -> bool:
        with self._lock, contextlib.suppress(FileNotFoundError):
            self._stamp(path)
            return True
        return False

    def _delete(self, path: Path, before: int) -> bool:
        with self._lock, contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime_ns < before * 1_000_000:
                path.unlink()
                return True
        return False

    def _stamp(self, path: Path) -> None:
        now = self._runtime.now() * 1_000_000
        os.utime(path, ns=(now, now))


class _Draft:
    """A file being written. It is locked, by which the next start tells it from the leftover of a crash."""

    def __init__(self, folder: Path, *, want_md5: bool) -> None:
        self.path = folder / os.urandom(16).hex()
        self._lock = threading.Lock()
        self._file: int | None = None
        self._ended = False
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if want_md5 else None

    def write(self, data: bytearray) -> None:
        with self._lock, _disk_full_named():
            if self._ended:
                return
            if self._file is None:
                self._file = self._create()
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            self._size += len(data)
            self._sha256.update(data)
            if self._md5 is not None:
                self._md5.update(data)

    def seal(self) -> Stored:
        """Bring it to disk; what is in it."""
        with self._lock, _disk_full_named():
            if self._file is None:
                raise RuntimeError("The draft was never written to, or was discarded.")
            os.fsync(self._file)
            md5 = base64.b64encode(self._md5.digest()).decode() if self._md5 is not None else None
            return Stored(sha256=self._sha256.hexdigest(), size=self._size, md5=md5)

    def discard(self) -> None:
        """End it, and remove the file if it still has the draft's name."""
        with self._lock:
            self._ended = True
            if self._file is not None:
                os.close(self._file)
                self._file = None
            self.path.unlink(missing_ok=True)

    def _create(self) -> int:
        while True:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                return file
            os.close(file)  # a starting server took it for a leftover before it was locked


def _clean(folder: Path) -> None:
    """Remove drafts whose writers are dead."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


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


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _disk_full_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("The disk is full. Nothing was kept; make room and repeat the request.") from error
        raise


def _look_away(task: asyncio.Future[None]) -> None:
    """Take a failure that nobody awaits any more, or asyncio complains of it."""
    if not task.cancelled():
        task.exception()


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
