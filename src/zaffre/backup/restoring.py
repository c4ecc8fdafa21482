"""Making a home from a snapshot: everything is checked and laid beside first, then put in its place.

`<home>/.restoring` is where it is laid; while it is there, no server starts. An interrupted restore goes on where it was
when it is run again. The caller holds the home's lock.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from zaffre.backup.layout import DATABASE, HOME, BackupError, Manifest, Target, copy_private, digest, sync
from zaffre.settings import Settings
from zaffre.store import parts, snapshots
from zaffre.store.migrations import HEAD
from zaffre.store.objects import PARTS

Say = Callable[[str], None]
UNFINISHED = ".restoring"
RESTORED = "run/restored"
"""Tells the server's next start that what ran on the old machine is gone."""

_REPLACED = "replaced-"
_PLACING, _OF, _LOADED = ".placing", ".snapshot", ".database-loaded"
_CHUNK = 4 * 1024 * 1024


def restore(
    settings: Settings, source: Path, *, snapshot: str | None = None, force: bool = False, say: Say = print
) -> Manifest:
    """Make the home what a snapshot (the newest, if none is named) says.

    Raises BackupError, SnapshotError and OSError. With `force` what the home held is put aside in it, not deleted.
    """
    target = Target(source.absolute())
    target.check()
    names = target.names()
    if not names and snapshot is None:
        raise BackupError(f"{target.path} holds no whole backup; the one that was begun was not finished.")
    manifest = target.manifest(snapshot or names[-1])
    _check_fits(manifest, settings)
    home, laid = settings.home, settings.home / UNFINISHED
    if not (laid / _PLACING).exists():
        if not force and _others(home):
            raise BackupError(
                f"{home} is not empty (it has {', '.join(_others(home)[:3])} …). Restore into another folder, or put what "
                "is there aside with --force."
            )
        _lay(target, manifest, settings, laid, say)
        if force:
            _put_aside(home, say)
        (laid / _PLACING).touch()
    elif (laid / _OF).read_text() != manifest.name:
        begun = (laid / _OF).read_text()
        raise BackupError(f"{home} is just being made from the snapshot {begun}; finish that with --snapshot {begun}.")
    _place(home, laid)
    return manifest


def _check_fits(manifest: Manifest, settings: Settings) -> None:
    kind = snapshots.kind_of(settings.database)
    if manifest.database != kind:
        wish = "set ZAFFRE_DATABASE_URL to an empty one" if kind == snapshots.SQLITE else "unset ZAFFRE_DATABASE_URL"
        raise BackupError(f"The backup is of a {manifest.database} database, and here is {kind}: {wish}.")
    if settings.shared is not None:
        raise BackupError(
            "A restore lays stored bytes and keys into the home. Unset ZAFFRE_SHARED, restore, and move 'objects' and "
            "'keys' to the shared folder before the servers start."
        )
    if manifest.schema > HEAD:
        raise BackupError(
            f"The backup has schema {manifest.schema}, of Zaffre {manifest.zaffre}; this one knows schemas up to {HEAD}. "
            "Install that version, or a newer one."
        )


def _others(home: Path) -> list[str]:
    """What a home holds that a restore would be mixed with; a lock and logs are no harm."""
    if not home.is_dir():
        return []
    found = {path.name for path in home.iterdir()} - {UNFINISHED, "logs"}
    if "run" in found and {path.name for path in (home / "run").iterdir()} <= {"lock"}:
        found.remove("run")
    return sorted(name for name in found if not name.startswith(_REPLACED))


def _lay(target: Target, manifest: Manifest, settings: Settings, laid: Path, say: Say) -> None:
    """Everything, checked, in a folder beside its place."""
    mark = laid / _OF
    if laid.exists() and (not mark.exists() or mark.read_text() != manifest.name):
        shutil.rmtree(laid)
    laid.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark.write_text(manifest.name)
    folder = target.snapshots / manifest.name
    say(f"Checking the snapshot {manifest.name} …")
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise BackupError(f"The snapshot {manifest.name} lacks its file '{name}'; restore another one.")
        if path.stat().st_size != entry.size or digest(path) != entry.sha256:
            raise BackupError(f"The file '{name}' of the snapshot {manifest.name} was damaged; restore another one.")
    say(f"Copying {manifest.objects:,} stored objects ({manifest.object_bytes:,} bytes) …")
    _lay_objects(target, manifest, laid / "objects")
    for name in manifest.files:
        if name.startswith(f"{HOME}/"):
            copy_private(folder / name, laid / name.removeprefix(f"{HOME}/"))
    (laid / RESTORED).parent.mkdir(mode=0o700, exist_ok=True)
    (laid / RESTORED).write_text(manifest.name)
    if manifest.database == snapshots.SQLITE:
        copy_private(folder / DATABASE, laid / "zaffre.db")
    elif not (laid / _LOADED).exists():
        say("Loading the database …")
        snapshots.give_back(folder / DATABASE, settings.database)
        (laid / _LOADED).touch()
    os.sync()


def _lay_objects(target: Target, manifest: Manifest, objects: Path) -> None:
    damaged = []
    for relative, size in target.listed(manifest.name):
        source, place = target.objects / relative, objects / relative
        if place.exists():
            continue
        if not _copy_checked(source, place, size):
            damaged.append(relative)
    if damaged:
        raise BackupError(
            f"{len(damaged)} stored objects of the backup are missing or damaged, the first is {damaged[0]}. Restore "
            "another snapshot, or another copy of this one."
        )


def _copy_checked(source: Path, place: Path, size: int) -> bool:
    """Copy an object; False, and nothing there, when it is not what its name says. Lists are checked by reading them."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}.new")
    new.unlink(missing_ok=True)
    hashed = hashlib.sha256()
    try:
        with open(source, "rb") as reader, open(new, "xb") as writer:
            while chunk := reader.read(_CHUNK):
                hashed.update(chunk)
                writer.write(chunk)
    except FileNotFoundError:
        return False
    same = new.stat().st_size == size and hashed.hexdigest() == place.name
    good = parts.read(new) is not None if place.parent.name == PARTS else same
    if good:
        new.chmod(0o400)
        new.rename(place)
    else:
        new.unlink()
    return good


def _put_aside(home: Path, say: Say) -> None:
    others = _others(home)
    if not others:
        return
    aside = home / f"{_REPLACED}{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}"
    aside.mkdir(mode=0o700)
    for name in others:
        if name == "run":
            (aside / "run").mkdir(mode=0o700)
            for path in (home / "run").iterdir():
                if path.name != "lock":
                    path.rename(aside / "run" / path.name)
        else:
            (home / name).rename(aside / name)
    sync(home)
    say(f"What the home held lies in {aside}; remove it when you are sure.")


def _place(home: Path, laid: Path) -> None:
    """Put everything in its place, the database last; repeated after a crash, what is left."""
    for path in sorted(_leaves(laid), key=lambda one: one.name == "zaffre.db"):
        place = home / path.relative_to(laid)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.rename(place)
    sync(home)
    shutil.rmtree(laid)
    sync(home)


def _leaves(laid: Path) -> Iterator[Path]:
    """What is moved as one: whole folders where the home has none of that name, files of `run`, which it has."""
    for path in laid.iterdir():
        if path.name == "run":
            yield from path.iterdir()
        elif path.name not in (_PLACING, _OF, _LOADED):
            yield path
