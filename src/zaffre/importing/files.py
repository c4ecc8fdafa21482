"""Files of runs and models: listed where they are, sent as streams, several at once, checked by the hash of what arrived."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import msgspec

from zaffre.importing import journal
from zaffre.importing.report import Report
from zaffre.importing.source import Source, SourceError
from zaffre.importing.target import Target, TargetError

_LEVELS = 3
"""MLflow's own stores keep files at `<store>/<experiment>/<run>/artifacts`."""


class Listing(msgspec.Struct, frozen=True):
    """What lies in a folder there: (path below it, size), and how to get a file as one of this machine.

    `fetch` is given a path and a folder for what has to be copied first.
    """

    entries: list[tuple[str, int]]
    fetch: Callable[[str, str], str]


class Files:
    """For as long as an import; `close` it."""

    def __init__(self, source: Source, target: Target, report: Report, *, wanted: bool, parallel: int) -> None:
        self._source, self._target, self._report = source, target, report
        self.wanted = wanted
        self._lock = threading.Lock()
        self._lacking: frozenset[Path] = frozenset()
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="zf-files")

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def of_run(self, run: Any) -> Listing:
        """The files of a run. Raises SourceError."""
        folder = local_folder(run.info.artifact_uri or "")
        served = None if folder is None or folder.is_dir() else self._source.served(run.info.run_id)
        if self.wanted and served is not None:
            return self._of_repository(served)
        return self.listing(run.info.artifact_uri)

    def listing(self, uri: str) -> Listing:
        """All that lies below an address that MLflow knows. Raises SourceError."""
        if not self.wanted or not uri:
            return Listing([], _nothing)
        folder = local_folder(uri)
        if folder is not None:
            self._look_for(folder)
            return Listing(sorted(_walk(folder)), lambda path, _spare: str(folder / path))
        return self._of_repository(self._source.artifacts(uri))

    def _of_repository(self, repository: Any) -> Listing:
        return Listing(
            sorted(self._remote(repository, "")),
            lambda path, spare: str(self._source.asked(repository.download_artifacts, path, spare)),
        )

    def _look_for(self, folder: Path) -> None:
        """A run that logged no files may have no folder; where the whole store of them lacks, it is on another machine. Said once."""
        near = [folder, *folder.parents][: _LEVELS + 1]
        if any(one.is_dir() and one != Path(one.anchor) for one in near):
            return
        with self._lock:
            known, self._lacking = near[-1] in self._lacking, self._lacking | {near[-1]}
        if not known:
            advice = "Import on the machine they are on or from its server, or leave them with --no-artifacts."
            self._report.fail("files", str(near[-1]), SourceError(f"there is no such folder on this machine. {advice}"))

    def state(self, listing: Listing, held: str) -> str:
        """What a thing's journal says of its files once they are here; where none are wanted, what it says already."""
        return journal.of_files(listing.entries) if self.wanted else held

    def bring(self, listing: Listing, base: str, *, again: bool = False) -> None:
        """Send every file that is not below `base` of the artifact proxy already, in its size."""
        if not listing.entries:
            return
        there = {} if again else dict(self._there(base, ""))
        missing = [path for path, size in listing.entries if there.get(path) != size]
        for done in [self._threads.submit(self._send, listing, path, f"{base}/{path}") for path in missing]:
            done.result()

    def _send(self, listing: Listing, path: str, where: str) -> None:
        with tempfile.TemporaryDirectory(prefix="zaffre-import-") as spare:
            try:
                file = listing.fetch(path, spare)
                size = Path(file).stat().st_size
                opened: list[_Hashing] = []

                def again() -> BinaryIO:
                    opened.append(_Hashing(open(file, "rb")))  # noqa: SIM115  (closed by whoever sends it)
                    return cast("BinaryIO", opened[-1])

                answer = self._target.upload(where, again, size)
            except OSError as error:
                raise SourceError(f"the file {path} cannot be read: {error}") from error
        if opened[-1].size != size or answer.get("x-zf-sha256") != opened[-1].sha256:
            raise TargetError(f"the file {path} did not arrive as it was sent; was it written to meanwhile?")
        self._report.add("files", 1)
        self._report.add("bytes", size)

    def _there(self, base: str, folder: str) -> Iterator[tuple[str, int]]:
        for one in self._target.folder(f"{base}/{folder}".rstrip("/")):
            path = f"{folder}/{one['path']}".lstrip("/")
            if one.get("is_dir"):
                yield from self._there(base, path)
            else:
                yield path, int(one["file_size"])

    def _remote(self, repository: Any, folder: str) -> Iterator[tuple[str, int]]:
        for one in self._source.asked(repository.list_artifacts, folder or None):
            if one.is_dir:
                yield from self._remote(repository, one.path)
            else:
                yield one.path, -1 if one.file_size is None else one.file_size


class _Hashing:
    """A file that remembers the size and the hash of what was read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def __enter__(self) -> _Hashing:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()


def local_folder(uri: str) -> Path | None:
    """The folder of this machine that an address names; None for any other address."""
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        return None
    return Path(unquote(parts.path) if parts.scheme else uri).absolute()


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    """The files below a folder; a link that leads out of it is none of them."""
    root = folder.resolve()
    for where, folders, files in os.walk(folder):
        folders.sort()
        for name in files:
            path = Path(where, name)
            if not path.is_symlink() or path.resolve().is_relative_to(root):
                yield path.relative_to(folder).as_posix(), path.stat().st_size


def _nothing(path: str, _spare: str) -> str:
    raise SourceError(f"there is no file {path}")
