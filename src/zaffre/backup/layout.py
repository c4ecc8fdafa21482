"""What a folder of backups looks like."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import msgspec

FORMAT = 1
MARK = "zaffre-backup.json"
MANIFEST, OBJECTS_LIST, DATABASE, HOME = "manifest.json", "objects.txt", "database", "home"
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z(-[0-9]+)?")
_OBJECT = re.compile(r"([0-9a-f]{2}|parts)/[0-9a-f]{64}")
_CHUNK = 4 * 1024 * 1024


class BackupError(Exception):
    """A backup or a restore cannot go on: the message says what happened, to what, and what to do."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a snapshot."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a whole snapshot holds. `lost` are objects that the database names and the home had not."""

    format: int
    name: str
    taken_at: str
    zaffre: str
    database: str
    schema: str
    files: dict[str, Entry]
    objects: int
    object_bytes: int
    lost: list[str] = []


class Target:
    """A folder of backups."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.objects = path / "objects"
        self.snapshots = path / "snapshots"

    def prepare(self) -> None:
        """Make the folder ours, or see that it is. Raises BackupError for one that holds something else."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = self.path / MARK
        if not mark.exists():
            if any(self.path.iterdir()):
                raise BackupError(f"{self.path} is not empty and holds no backups; give a folder of its own.")
            mark.write_text(json.dumps({"format": FORMAT}))
        self.check()
        for folder in (self.objects, self.snapshots):
            folder.mkdir(mode=0o700, exist_ok=True)

    def check(self) -> None:
        """Raise BackupError unless this is a folder of backups that this version can read."""
        try:
            found = json.loads((self.path / MARK).read_bytes())["format"]
        except (OSError, ValueError, KeyError, TypeError):
            raise BackupError(f"{self.path} is no folder of backups: {MARK} is not in it.") from None
        if found != FORMAT:
            raise BackupError(
                f"{self.path} has format {found}; this Zaffre knows {FORMAT}. Use the version that wrote it."
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One backup writes at a time. Raises BackupError when another does."""
        with open(self.path / "lock", "a", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupError(f"Another backup is being written to {self.path}; wait for its end.") from None
            yield

    def names(self) -> list[str]:
        """The snapshots that are whole, oldest first."""
        if not self.snapshots.is_dir():
            return []
        return sorted(path.name for path in self.snapshots.iterdir() if _NAME.fullmatch(path.name))

    def manifest(self, name: str) -> Manifest:
        """Raises BackupError when the snapshot is not there or not readable, or names what lies elsewhere."""
        path = self.snapshots / name / MANIFEST
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError:
            raise BackupError(
                f"{self.path} has no snapshot '{name}'; it has {', '.join(self.names()) or 'none'}."
            ) from None
        except msgspec.DecodeError as error:
            raise BackupError(f"{path} is damaged ({error}); restore another snapshot.") from None
        for given in (found.name, *found.files):
            plain = PurePosixPath(given)
            if plain.as_posix() != given or plain.is_absolute() or ".." in plain.parts:
                raise BackupError(
                    f"{path} is damaged ('{given[:100]}' is no name of a file); restore another snapshot."
                )
        return found

    def listed(self, name: str) -> Iterator[tuple[str, int]]:
        """Path below `objects` and size of all objects of a snapshot. Raises BackupError for what is no such path."""
        with open(self.snapshots / name / OBJECTS_LIST, encoding="ascii") as lines:
            for line in lines:
                path, _, size = line.rstrip("\n").partition(" ")
                if not _OBJECT.fullmatch(path) or not size.isdecimal():
                    raise BackupError(f"{OBJECTS_LIST} of the snapshot {name} is damaged: '{line[:80].rstrip()}'.")
                yield path, int(size)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_private(source: Path, target: Path) -> None:
    """A copy that only its owner can read, with the time of the original: the newest key is known by it."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(source, "rb") as reader, open(handle, "wb") as writer:
        shutil.copyfileobj(reader, writer, _CHUNK)
        writer.flush()
        os.fsync(writer.fileno())
    shutil.copystat(source, new)
    new.chmod(0o600)
    new.rename(target)


def share(source: Path, target: Path) -> None:
    """The object under another name where that is possible, else a copy; whole or not there. Objects never change."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.new")
    new.unlink(missing_ok=True)
    try:
        os.link(source, new)
    except OSError:  # another disk, or one that has no links
        shutil.copyfile(source, new)
        new.chmod(0o400)
    new.rename(target)


def sync(folder: Path) -> None:
    """Bring a folder's names to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
