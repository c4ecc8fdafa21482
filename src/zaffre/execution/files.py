"""Folders that are written once and then only read: making them so, and being able to remove them again."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

_ANY_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def make_read_only(folder: Path) -> None:
    """Take the right to write from all that is in `folder` and from itself; links and what they name are left alone."""
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            _without_write(Path(parent, name))
        _without_write(Path(parent))


def remove_tree(folder: Path) -> None:
    """Remove a folder, read-only parts included; nothing where there is none."""
    if not folder.exists():
        return
    for parent, _, _ in os.walk(folder):
        Path(parent).chmod(0o700)
    shutil.rmtree(folder)


def _without_write(path: Path) -> None:
    if not path.is_symlink():
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_ANY_WRITE)
