"""Lays a job's inputs and code into its folder.

Always as files of the job's own (a reflink or a copy), never as a link to a stored object: one `open(path, "w")` of
user code would change a version that others rely on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import msgspec

from zaffre.execution.data.copies import copy_file
from zaffre.execution.errors import PlanError, StagingError
from zaffre.execution.files import make_read_only, remove_tree
from zaffre.execution.plan import FileRef, Tree

Fetch = Callable[[FileRef, Path], None]
_MARKS = ".staged"


def stage(trees: Iterable[Tree], folder: Path, fetch: Fetch) -> None:
    """Lay every tree at its place in `folder`; `fetch(file, path)` writes one file's bytes to a new one.

    May be repeated, after a crash too: a tree is filled under another name, renamed when whole and then marked; one
    that is marked is not touched again. Raises PlanError for trees that lie in one another, StagingError for a file
    that can't be had or has another size than the plan says.
    """
    trees = list(trees)
    _refuse_overlap(trees)
    for tree in trees:
        mark = folder / _MARKS / hashlib.sha256(tree.dest.encode()).hexdigest()
        content = hashlib.sha256(msgspec.json.encode(tree)).hexdigest()
        if mark.exists() and mark.read_text(encoding="ascii") == content:
            continue
        _stage_tree(tree, folder / tree.dest, fetch)
        mark.parent.mkdir(mode=0o700, exist_ok=True)
        mark.write_text(content, encoding="ascii")


def copy_object(locate: Callable[[str], Path]) -> Fetch:
    """A `fetch` for objects that are local files; `locate` gives the path of one. Shares blocks where the disk can."""

    def fetch(file: FileRef, dest: Path) -> None:
        copy_file(locate(file.sha256), dest)

    return fetch


def _stage_tree(tree: Tree, dest: Path, fetch: Fetch) -> None:
    dest.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = dest.with_name(f".{dest.name}.staging")
    remove_tree(fresh)
    remove_tree(dest)  # renamed, not marked: the last attempt died in between
    fresh.mkdir(mode=0o700)
    for file in tree.files:
        target = fresh / file.path
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fetch(file, target)
            size = target.stat().st_size
        except OSError as error:
            raise StagingError(f"'{file.path}' of '{tree.dest}' could not be staged: {error}.") from error
        if size != file.size:
            raise StagingError(
                f"'{file.path}' of '{tree.dest}' has {size} bytes in the store, but {file.size} were registered; "
                "its content was damaged or is still being written."
            )
        target.chmod(0o755 if _is_program(target) else 0o644)
    fresh.rename(dest)
    if not tree.writable:
        make_read_only(dest)


def _is_program(path: Path) -> bool:
    """Stores keep no mode bits, and `./run.sh` in a command has to work."""
    with open(path, "rb") as file:
        head = file.read(4)
    return head.startswith(b"#!") or head == b"\x7fELF"


def _refuse_overlap(trees: list[Tree]) -> None:
    places = sorted(f"{tree.dest}/" for tree in trees)
    for first, second in pairwise(places):
        if second.startswith(first):
            raise PlanError(f"Two trees would be staged into one another: '{first[:-1]}' and '{second[:-1]}'.")
