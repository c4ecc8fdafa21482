"""Taking a backup of a home, whether its server runs or not."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from zaffre.backup.layout import (
    DATABASE,
    FORMAT,
    HOME,
    MANIFEST,
    OBJECTS_LIST,
    BackupError,
    Entry,
    Manifest,
    Target,
    copy_private,
    digest,
    share,
    sync,
)
from zaffre.settings import Settings
from zaffre.store import parts, snapshots
from zaffre.store.objects import KEEP, PARTS

Say = Callable[[str], None]
FILES = ("credentials", "run/address.json")
LOG_FOLDERS = ("user_logs", "logs", "azureml-logs", "system_logs")
"""What a home is beside database and objects. Everything else it makes again, or is of no use elsewhere."""


def back_up(settings: Settings, path: Path, *, keep: int | None = None, say: Say = print) -> Manifest:
    """Take a backup of the home to the folder `path`; with `keep`, only so many of the newest stay there.

    Raises BackupError, SnapshotError and OSError; what was copied by then is not copied again.
    """
    home = settings.home
    if not settings.credentials.exists():
        raise BackupError(f"{home} is no home of Zaffre: no server has run on it yet.")
    path = path.absolute()
    if path.is_relative_to(home) or home.is_relative_to(path):
        raise BackupError(f"{path} and the home {home} must not lie in one another.")
    target = Target(path)
    target.prepare()
    with target.alone(), _kept(settings.objects):
        for left in target.snapshots.glob(".*"):
            shutil.rmtree(left)  # an interrupted one: the database has gone on since
        name = _free_name(target)
        folder = target.snapshots / f".{name}"
        folder.mkdir(mode=0o700)
        say("Copying the database …")
        contents = snapshots.take(settings.database, folder / DATABASE)
        found, lost = _located(settings.objects, target, contents.objects)
        _copy_objects(settings.objects, target, found, say)
        (folder / OBJECTS_LIST).write_text("".join(f"{one} {size}\n" for one, size in found.items()), encoding="ascii")
        for source in _small_files(settings, contents.stranded):
            if source.is_file() and not source.is_symlink():
                below = settings.keys.parent if source.is_relative_to(settings.keys) else home
                copy_private(source, folder / HOME / source.relative_to(below))
        manifest = Manifest(
            format=FORMAT,
            name=name,
            taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
            zaffre=version("zaffre"),
            database=contents.kind,
            schema=contents.schema,
            files=_entries(folder),
            objects=len(found),
            object_bytes=sum(found.values()),
            lost=lost,
        )
        _finish(folder, target.snapshots / name, manifest)
        if keep is not None:
            _prune(target, keep, say)
    return manifest


@contextmanager
def _kept(objects: Path) -> Iterator[None]:
    """While this lasts, the server's collector deletes nothing; one that deletes just now is waited for."""
    with open(objects / KEEP, "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _free_name(target: Target) -> str:
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    taken = set(target.names())
    return next(one for one in (name, *(f"{name}-{n}" for n in range(1, 1000))) if one not in taken)


def _located(objects: Path, target: Target, names: Iterable[str]) -> tuple[dict[str, int], list[str]]:
    """Paths below `objects` and sizes of the files that these objects are, lists with their parts; and what is missing.

    A list that was copied before stays as it is there, though the home may have joined its parts since: older snapshots
    hold those parts.
    """
    places = (objects, target.objects)
    found: dict[str, int] = {}
    lost: set[str] = set()
    for name in names:
        if _note(f"{name[:2]}/{name}", places, found):
            continue
        listed = _list_of(name, places)
        if listed is None:
            lost.add(name)
            continue
        _note(f"{PARTS}/{name}", places, found)
        lost |= {one for one in listed if not _note(f"{one[:2]}/{one}", places, found)}
    return found, sorted(lost)


def _list_of(name: str, places: tuple[Path, Path]) -> list[str] | None:
    """The parts that the list of that name has in the backup from now on; None when there is no such list."""
    home, there = places
    copied = there / PARTS / name
    kept = parts.read(copied)
    if kept is None or not all(_note(f"{one.sha256[:2]}/{one.sha256}", places, {}) for one in kept):
        copied.unlink(missing_ok=True)  # of a backup that was interrupted before it came to the parts
        try:
            share(home / PARTS / name, copied)  # at once: the server may join its parts while objects are copied
        except FileNotFoundError:
            return None
        kept = parts.read(copied) or []
    return [one.sha256 for one in kept]


def _note(path: str, places: tuple[Path, Path], found: dict[str, int]) -> bool:
    for place in places:
        with contextlib.suppress(FileNotFoundError):
            found[path] = (place / path).stat().st_size
            return True
    return False


def _copy_objects(objects: Path, target: Target, found: dict[str, int], say: Say) -> None:
    """Those that are not there yet."""
    missing = {path: size for path, size in found.items() if not _is_there(target.objects / path, size)}
    say(f"Copying {len(missing):,} of {len(found):,} stored objects ({sum(missing.values()):,} bytes) …")
    for path in missing:
        share(objects / path, target.objects / path)


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size or path.parent.name == PARTS
    except FileNotFoundError:
        return False


def _small_files(settings: Settings, stranded: Iterable[tuple[str, str]]) -> Iterator[Path]:
    """Keys, the certificates' authority, the owner's credentials; logs of jobs that could not be stored."""
    home = settings.home
    yield from (home / name for name in FILES)
    for folder in (settings.keys, home / "ca"):
        yield from (path for path in sorted(folder.rglob("*")) if not path.name.endswith(".new"))
    for scope, job in stranded:
        for top in LOG_FOLDERS:
            yield from sorted((settings.jobs / scope / job / top).rglob("*"))


def _entries(folder: Path) -> dict[str, Entry]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): Entry(size=path.stat().st_size, sha256=digest(path)) for path in files}


def _finish(folder: Path, final: Path, manifest: Manifest) -> None:
    """From the rename on, and not before, the snapshot is whole: all it stands on is on disk by then."""
    os.sync()
    with open(folder / MANIFEST, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest)))
        file.flush()
        os.fsync(file.fileno())
    sync(folder)
    folder.rename(final)
    sync(final.parent)


def _prune(target: Target, keep: int, say: Say) -> None:
    """Remove all but the newest snapshots, then the objects that none of the others lists."""
    gone = target.names()[:-keep]
    for name in gone:
        hidden = target.snapshots / f".{name}"
        (target.snapshots / name).rename(hidden)
        shutil.rmtree(hidden)
    if not gone:
        return
    needed = {path for name in target.names() for path, _ in target.listed(name)}
    removed = 0
    for path in target.objects.glob("*/*"):
        if str(path.relative_to(target.objects)) not in needed:
            path.unlink()
            removed += 1
    say(f"Removed {len(gone)} older snapshot{'' if len(gone) == 1 else 's'} and {removed:,} objects only they had.")
