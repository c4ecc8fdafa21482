"""A folder of this machine as a store. Nothing outside the root the operator named is ever opened, by '..' or by a link."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from zaffre.execution.data.capture import capture
from zaffre.execution.data.copies import copy_open
from zaffre.execution.data.sources import FolderSource, Found, check_path
from zaffre.execution.errors import StoreError

_CHUNK = 1 << 20


class FolderStore:
    """What was opened is checked by its handle, so a link that is put in place meanwhile leads nowhere."""

    def __init__(self, source: FolderSource, name: str) -> None:
        self._name = name
        self._root = Path(os.path.realpath(source.root))
        self._base = Path(os.path.realpath(source.path))
        if not self._base.is_relative_to(self._root):
            raise StoreError(
                f"The folder of datastore '{name}' leads out of '{source.root}', which the operator of this server allowed."
            )

    def list(self, prefix: str) -> list[Found]:
        prefix = prefix.strip("/")
        place = self._base / self._checked(prefix) if prefix else self._base
        real = Path(os.path.realpath(place))
        if not real.is_relative_to(self._base):
            raise self._escapes(prefix)
        if real.is_file():
            return [_found(prefix, real)]
        refused: list[str] = []
        files = capture(real, lambda path, why: refused.append(f"'{path}': {why}"))
        if refused:
            more = f", and {len(refused) - 3} more" if len(refused) > 3 else ""
            raise StoreError(f"Datastore '{self._name}' has what cannot be read: {'; '.join(refused[:3])}{more}.")
        return [_found(f"{prefix}/{file.path}" if prefix else file.path, file.source) for file in files]

    def children(self, folder: str) -> tuple[Sequence[str], Sequence[Found]]:
        real = Path(os.path.realpath(self._base / self._checked(folder) if folder else self._base))
        if not real.is_relative_to(self._base):
            raise self._escapes(folder)
        folders: list[str] = []
        files: list[Found] = []
        for entry in os.scandir(real) if real.is_dir() else ():
            path = f"{folder}/{entry.name}" if folder else entry.name
            place = Path(os.path.realpath(entry.path))
            if not place.is_relative_to(self._base):
                raise self._escapes(path)
            if place.is_dir():
                folders.append(path)
            elif place.is_file():
                files.append(_found(path, place))
        return folders, files

    def head(self, path: str) -> Found | None:
        real = Path(os.path.realpath(self._base / self._checked(path)))
        if not real.is_relative_to(self._base):
            raise self._escapes(path)
        return _found(path, real) if real.is_file() else None

    def fetch(self, path: str, dest: Path) -> None:
        handle = self._open(path, os.O_RDONLY)
        with open(handle, "rb") as reader, open(dest, "xb") as writer:
            copy_open(reader, writer)

    def read(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        with open(self._open(path, os.O_RDONLY), "rb") as reader:
            reader.seek(start)
            left = None if end is None else end - start
            while chunk := reader.read(_CHUNK if left is None else min(_CHUNK, left)):
                left = None if left is None else left - len(chunk)
                yield chunk

    def put(self, path: str, source: Path) -> None:
        relative = self._checked(path)
        parent = self._base / relative.parent
        above = Path(os.path.realpath(parent))
        if not above.is_relative_to(self._base):
            raise self._escapes(path)
        try:
            self._make(above)
            folder = self._open(str(relative.parent), os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._put_in(folder, relative.name, source)
            finally:
                os.close(folder)
        except OSError as error:
            raise StoreError(
                f"'{path}' could not be written to datastore '{self._name}': {error.strerror or error}."
            ) from None

    def delete(self, path: str) -> None:
        relative = self._checked(path)
        folder = self._open(str(relative.parent), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.unlink(relative.name, dir_fd=folder)
        except FileNotFoundError:
            pass
        finally:
            os.close(folder)

    def _put_in(self, folder: int, name: str, source: Path) -> None:
        fresh = f".{secrets.token_hex(8)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            with open(source, "rb") as reader, open(os.open(fresh, flags, 0o600, dir_fd=folder), "wb") as writer:
                copy_open(reader, writer)
                os.fchmod(writer.fileno(), self._mode() & 0o666)
                writer.flush()
                os.fsync(writer.fileno())
            os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except BaseException:
            try:
                os.unlink(fresh, dir_fd=folder)
            except FileNotFoundError:
                pass
            raise

    def _make(self, folder: Path) -> None:
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            one.chmod(self._mode())

    def _mode(self) -> int:
        """What is put is for those whom the folder itself is for, not for the server's account alone."""
        return 0o700 | (self._base.stat().st_mode & 0o777)

    def _open(self, path: str, flags: int) -> int:
        relative = self._checked(path) if path not in ("", ".") else Path()
        try:
            handle = os.open(self._base / relative, flags | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise StoreError(
                f"'{path}' of datastore '{self._name}' could not be opened: {error.strerror or error}."
            ) from None
        if not Path(f"/proc/self/fd/{handle}").readlink().is_relative_to(self._base):
            os.close(handle)
            raise self._escapes(path)
        return handle

    def _checked(self, path: str) -> Path:
        check_path(path, self._name)
        return Path(path)

    def _escapes(self, path: str) -> StoreError:
        return StoreError(
            f"'{path}' of datastore '{self._name}' is a link that leads out of its folder; it is not followed."
        )


def _found(path: str, file: Path) -> Found:
    state = file.stat()
    return Found(path, state.st_size, state.st_mtime_ns // 1_000_000, f"{state.st_size:x}-{state.st_mtime_ns:x}")
