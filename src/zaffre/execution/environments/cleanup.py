"""Environments that nobody has used for long: found, and removed without taking one from somebody who just asked for it.

An environment that is ready carries the time of its last use as the time of its `.ready` file; see `builder.ready`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from zaffre.execution.environments.builder import READY
from zaffre.execution.environments.overlay import REFERENCE
from zaffre.execution.files import remove_tree

KEY = re.compile(r"[0-9a-f]{16,64}")
_PATH = re.compile(r"/environments/([0-9a-f]{16,64})/")
_DOOMED = ".removing-"


class Unused(msgspec.Struct, frozen=True, kw_only=True):
    """`used` is the last use in milliseconds since 1970; of one that was never finished, its making."""

    key: str
    used: int
    size: int


def unused(home: Path, before: int, needed: Collection[str]) -> list[Unused]:
    """Environments last used before that time, but for those that are `needed`, by their keys."""
    return [
        Unused(key=folder.name, used=_used(folder), size=_size(folder))
        for folder in _folders(home)
        if folder.name not in needed and _used(folder) < before
    ]


def needed_by_jobs(jobs: Path) -> set[str]:
    """Keys of the environments that the thin ones in these jobs' folders stand on."""
    found: set[str] = set()
    for path in jobs.glob(f"*/*/venv/lib/python*/site-packages/{REFERENCE}"):
        with contextlib.suppress(FileNotFoundError):
            found.update(named_in(path.read_text(encoding="utf-8")))
    return found


def named_in(text: str) -> list[str]:
    """Keys of the environments that a text has paths of."""
    return _PATH.findall(text)


def remove(home: Path, key: str, before: int) -> bool:
    """Remove the environment unless it was used at or after `before`, or is being built."""
    folder = home / "environments" / key
    doomed = folder.with_name(f"{_DOOMED}{key}")
    with open(folder.with_name(f"{key}.lock"), "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        _finish_removing(home)
        if not folder.exists() or _used(folder) >= before:
            return False
        folder.chmod(0o700)
        folder.rename(doomed)
        if _used(doomed) >= before:  # somebody found it ready between the two lines above
            doomed.rename(folder)
            return False
        remove_tree(doomed)
    return True


def _finish_removing(home: Path) -> None:
    """What was cut short."""
    for folder in (home / "environments").glob(f"{_DOOMED}*"):
        remove_tree(folder)


def _folders(home: Path) -> Iterator[Path]:
    root = home / "environments"
    if root.is_dir():
        yield from sorted(path for path in root.iterdir() if KEY.fullmatch(path.name) and path.is_dir())


def _used(folder: Path) -> int:
    for path in (folder / READY, folder):
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_mtime_ns // 1_000_000
    return 0


def _size(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_blocks * 512
    return total
