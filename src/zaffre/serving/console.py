"""What a server printed: a file that only grows while the server lives, read from its end and cut when too long."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

NAME = "console.log"
_OLDER = "console.log.1"
_STEP = 64 * 1024


def tail(folder: Path, lines: int, *, since: int = 0) -> str:
    """The last `lines` lines; of the current file only those after byte `since`, if given."""
    if lines <= 0:
        return ""
    found = _last_lines(folder / NAME, lines, since)
    if since == 0 and len(found) < lines:
        found = _last_lines(folder / _OLDER, lines - len(found), 0) + found
    return _text(found)


def tail_of(path: Path, lines: int) -> str:
    """The last `lines` lines of any file; empty where there is none."""
    return _text(_last_lines(path, lines, 0)) if lines > 0 else ""


def size(folder: Path) -> int:
    try:
        return (folder / NAME).stat().st_size
    except FileNotFoundError:
        return 0


def trim(folder: Path, limit: int) -> bool:
    """When the log is longer than `limit` bytes, move it aside (the one moved before is dropped). True if it was.

    The writer appends to an open file, so the content is copied and the file cut; a line written in between is lost.
    """
    path = folder / NAME
    if size(folder) <= limit:
        return False
    temporary = folder / (_OLDER + ".new")
    with path.open("rb") as source, temporary.open("wb") as target:
        os.fchmod(target.fileno(), 0o600)
        # a flood between two looks shall not fill the disk twice
        source.seek(max(0, os.fstat(source.fileno()).st_size - limit))
        shutil.copyfileobj(source, target)
    os.truncate(path, 0)
    temporary.replace(folder / _OLDER)
    return True


def _text(lines: list[bytes]) -> str:
    return b"\n".join(lines).decode("utf-8", "replace")


def _last_lines(path: Path, lines: int, since: int) -> list[bytes]:
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            # cut since then: everything in it is newer
            first = since if since <= end else 0
            start, data = end, b""
            while start > first and data.count(b"\n") <= lines:
                step = min(_STEP, start - first)
                start -= step
                file.seek(start)
                data = file.read(step) + data
    except FileNotFoundError:
        return []
    return data.splitlines()[-lines:]
