"""What a job left in an output folder: the files to be stored."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class OutputFile(NamedTuple):
    """`path` is relative and '/'-separated, `source` absolute with all links resolved, `size` in bytes."""

    path: str
    source: Path
    size: int


def capture(folder: Path, skipped: Callable[[str, str], None] | None = None) -> list[OutputFile]:
    """Every regular file in `folder`, by path. A folder that does not exist is empty.

    A link is taken as what it names when that lies in `folder` too; one that leads out is never followed, or a job
    could have any file of the server stored as its own. `skipped` is told (path, reason) of all that was left out.
    """
    root = Path(os.path.realpath(folder))
    tell = skipped or (lambda path, reason: None)
    return sorted(_walk(root, root, "", frozenset(), tell)) if root.is_dir() else []


def _walk(
    root: Path, folder: Path, prefix: str, above: frozenset[Path], tell: Callable[[str, str], None]
) -> Iterator[OutputFile]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        path = prefix + name
        source = Path(os.path.realpath(folder / name))
        if not _is_text(path):
            tell(path.encode("utf-8", "replace").decode(), "its name is not UTF-8")
        elif not source.is_relative_to(root):
            tell(path, "it is a link that leads out of the folder")
        elif not source.exists():
            tell(path, "it is a link to nothing")
        elif source.is_dir():
            if source == folder or source in above:
                tell(path, "it is a link to a folder that holds it")
            else:
                yield from _walk(root, source, path + "/", above | {folder}, tell)
        elif stat.S_ISREG(source.stat().st_mode):
            yield OutputFile(path, source, source.stat().st_size)
        else:
            tell(path, "it is neither a file nor a folder")


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
