"""Files on their way to become objects: written under another name, hashed as they grow, synced before they are named.

Hashing frees Python's lock, so MD5 runs beside SHA-256 and the disk: the slowest of them decides, not their sum.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, wait
from pathlib import Path

import msgspec

from zaffre.errors import StorageFull

FLUSHED = 32 * 1024 * 1024
"""Bytes after which what was written is brought to disk beside the rest, so that the last sync finds little to do."""
WORTH_A_THREAD = 128 * 1024  # below it, handing the bytes over costs more than hashing them
_MODE = 0o400  # an object is never written to
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What was written. `md5` is base64, as HTTP writes it; None where nobody asked for it."""

    sha256: str
    size: int
    md5: str | None


class Draft:
    """A file being written. It is locked, by which the next start tells it from the leftover of a crash."""

    def __init__(self, folder: Path, *, want_md5: bool, hashers: Executor | None = None) -> None:
        """`hashers` lends threads for MD5 and for flushing; without it all is done on the caller's."""
        self.path = folder / os.urandom(16).hex()
        self._hashers = hashers
        self._lock = threading.Lock()
        self._file: int | None = None
        self._ended = False
        self._size = 0
        self._flushing: Future[None] | None = None
        self._flushed = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if want_md5 else None

    def write(self, data: bytes | bytearray) -> None:
        """Append. The data must not change before this returns."""
        with self._lock, disk_full_named():
            if self._ended:
                return
            if self._file is None:
                self._file = self._create()
            beside = self._hash_beside(data)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._file, view) :]
                self._sha256.update(data)
                self._size += len(data)
                self._flush_beside()
            finally:
                if beside is not None:
                    beside.result()

    def adopt(self, path: Path) -> None:
        """Make the file at `path` what was written, without copying it: it gets the draft's name beside its own.

        Whoever wrote it is done with it. Raises OSError where it cannot have two names, as on another disk.
        """
        with self._lock, disk_full_named():
            if self._ended:
                return
            os.link(path, self.path)
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            os.fchmod(self._file, _MODE)
            if self._hashers is not None:
                self._flushing = self._hashers.submit(os.fdatasync, self._file)
            with open(self._file, "rb", closefd=False) as file:
                self._sha256 = hashlib.file_digest(file, "sha256")
                self._size = file.tell()

    def seal(self) -> Stored:
        """Bring it to disk; what is in it."""
        with self._lock, disk_full_named():
            if self._file is None:
                raise RuntimeError("The draft was never written to, or was discarded.")
            self._end_flushing()
            os.fsync(self._file)
            md5 = base64.b64encode(self._md5.digest()).decode() if self._md5 is not None else None
            return Stored(sha256=self._sha256.hexdigest(), size=self._size, md5=md5)

    def discard(self) -> None:
        """End it, and remove the file if it still has the draft's name."""
        with self._lock:
            self._ended = True
            if self._file is not None:
                if self._flushing is not None:
                    wait([self._flushing])
                os.close(self._file)
                self._file = None
            self.path.unlink(missing_ok=True)

    def _hash_beside(self, data: bytes | bytearray) -> Future[None] | None:
        if self._md5 is None:
            return None
        if self._hashers is None or len(data) < WORTH_A_THREAD:
            self._md5.update(data)
            return None
        return self._hashers.submit(self._md5.update, data)

    def _flush_beside(self) -> None:
        """One at a time. Raises what the one before failed with: a system tells a failed write to one sync only."""
        if self._hashers is None or self._file is None or self._size - self._flushed < FLUSHED:
            return
        if self._flushing is None or self._flushing.done():
            self._end_flushing()
            self._flushed = self._size
            self._flushing = self._hashers.submit(os.fdatasync, self._file)

    def _end_flushing(self) -> None:
        flushing, self._flushing = self._flushing, None
        if flushing is not None:
            flushing.result()

    def _create(self) -> int:
        while True:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                return file
            os.close(file)  # a starting server took it for a leftover before it was locked


def clean(folder: Path) -> None:
    """Remove drafts whose writers are dead."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to disk."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def disk_full_named() -> Iterator[None]:
    """Turn the system's word for a full disk into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("The disk is full. Nothing was kept; make room and repeat the request.") from error
        raise
