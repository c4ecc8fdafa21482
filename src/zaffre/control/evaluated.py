"""An MLTable evaluated for a job: the files its paths name, in place of the table (modes EvalMount and EvalDownload).

Only what says which files there are is carried out. A table that reads records out of them yields no files.
"""

from __future__ import annotations

import asyncio
import functools
import posixpath
import re
from collections.abc import Callable
from typing import Any

import msgspec

from zaffre.errors import InvalidInput, NotFound
from zaffre.execution.plan import FileRef, Tree
from zaffre.services.blobs import Blobs
from zaffre.services.places import Place, Places
from zaffre.services.workspaces import Workspace
from zaffre.store.blobs import BlobInfo

_TABLE = "MLTable"
_KINDS = ("file", "folder", "pattern")
_WILD = re.compile(r"[*?\[]")
_TOKENS = re.compile(r"\*\*/|\*\*|\*|\[!?[^\]/]+\]|.", re.DOTALL)
_STARS = ("**/", "**", "*")
_LIMIT = 1 << 20


class Evaluation:
    """Reads tables of the workspace's own storage. Raises InvalidInput and NotFound with the input's name."""

    def __init__(self, blobs: Blobs, places: Places, workspace: Workspace) -> None:
        self._blobs = blobs
        self._places = places
        self._workspace = workspace

    async def tree(self, source: dict[str, str], dest: str, name: str, *, writable: bool) -> Tree:
        """The table's files, each below the folder that holds them all; in the order of the table, as far as names allow."""
        if source.get("datastore") or source.get("kind") == "web":
            raise _wrong(name, "lies outside the workspace's own storage; only a table there is evaluated")
        folder = Place(account=source["account"], container=source["container"], path=source["path"].rstrip("/"))
        entries, steps = _parsed(await self._text(folder, name), name)
        found: dict[tuple[str, str], BlobInfo] = {}
        for kind, path in entries:
            place = await self._place(folder, path, name)
            for blob in await self._files(place, kind, name):
                found.setdefault((place.container, blob.name), blob)
        chosen = list(found.items())
        for step, count in steps:
            chosen = chosen[count:] if step == "skip" else chosen[:count]
        if not chosen:
            raise NotFound(f"The MLTable of input '{name}' names no file.", code="DataNotFound")
        root = posixpath.commonpath([f"/{container}/{posixpath.dirname(path)}" for (container, path), _ in chosen])
        files = tuple(
            FileRef(path=posixpath.relpath(f"/{container}/{path}", root), sha256=blob.sha256, size=blob.size)
            for (container, path), blob in chosen
        )
        return Tree(dest=dest, files=files, writable=writable)

    async def _text(self, folder: Place, name: str) -> bytes:
        try:
            return await self._blobs.get_bytes(folder.account, folder.container, f"{folder.path}/{_TABLE}", _LIMIT)
        except NotFound:
            raise _wrong(name, f"has no file '{_TABLE}' in '{folder.path}'") from None

    async def _place(self, folder: Place, path: str, name: str) -> Place:
        if "://" not in path:
            whole = posixpath.normpath(f"/{folder.path}/{path}")
            return msgspec.structs.replace(folder, path=whole.lstrip("/") + ("/" if path.endswith("/") else ""))
        return await self._places.resolve(self._workspace, path, f"inputs.{name}: paths")

    async def _files(self, place: Place, kind: str, name: str) -> list[BlobInfo]:
        path = place.path.rstrip("/")
        if kind == "pattern":
            wild = _WILD.search(path)
            fixed = path[: wild.start()] if wild else path
            try:
                fits = matcher(path)
            except re.error:
                raise _wrong(name, f"has a pattern that is none: '{path[:200]}'") from None
            below = await self._blobs.tree(place.account, place.container, fixed)
            found = await asyncio.to_thread(lambda: [blob for blob in below if fits(blob.name)])
        else:
            prefix = path if kind == "file" else f"{path}/" if path else ""
            found = await self._blobs.tree(place.account, place.container, prefix)
            if kind == "file":
                found = [blob for blob in found if blob.name == path]
        if not found:
            raise NotFound(
                f"The MLTable of input '{name}' names '{place.path}', where nothing lies.", code="DataNotFound"
            )
        return [blob for blob in found if not blob.name.endswith("/")]


def _parsed(text: bytes, name: str) -> tuple[list[tuple[str, str]], list[tuple[str, int]]]:
    """Its paths, and the steps that choose among files, as (skip or take, how many)."""
    import yaml  # for such inputs only: it would cost every start of the application 30 ms

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _wrong(name, f"is not valid YAML: {error}") from None
    paths = document.get("paths") if isinstance(document, dict) else None
    if not isinstance(paths, list) or not paths:
        raise _wrong(name, "has no 'paths'")
    entries = []
    for entry in paths:
        kinds = [kind for kind in _KINDS if isinstance(entry, dict) and isinstance(entry.get(kind), str)]
        if len(kinds) != 1:
            raise _wrong(name, f"has a path that is none of file, folder and pattern: {str(entry)[:100]}")
        entries.append((kinds[0], str(entry[kinds[0]])))
    return entries, [_step(step, name) for step in document.get("transformations") or []]


def _step(step: Any, name: str) -> tuple[str, int]:
    word = next(iter(step), None) if isinstance(step, dict) else step
    count = step[word] if isinstance(step, dict) and word in ("skip", "take") else None
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise _wrong(
            name,
            f"has the step '{str(word)[:100]}', which is for records; of the steps for files, skip and take are carried out. Use "
            "ReadOnlyMount and load the table in the job with mltable.load",
        )
    return str(word), count


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a path fits: `*`, `?` and `[…]` stay in a folder, `**/` is any folders or none, another `**` anything.

    Read letter by letter, so the time is at most the path's length times the pattern's: a regular expression of several
    stars may take years for one path. Raises re.error for a range that is none.
    """
    steps = _TOKENS.findall(pattern)
    tests = [re.compile(_letter(step), re.DOTALL).fullmatch for step in steps]

    def closed(states: set[int]) -> frozenset[int]:
        """And where one is as well, since stars may stand for nothing."""
        for state in sorted(states):
            while state < len(steps) and steps[state] in _STARS:
                state += 1
                states.add(state)
        return frozenset(states)

    @functools.lru_cache(4096)
    def after(states: frozenset[int], inside: frozenset[int], letter: str) -> tuple[frozenset[int], frozenset[int]]:
        """`inside` are the `**/` that are in the middle of a folder's name, and cannot be left there."""
        if letter == "/":
            going, inside = set(inside), frozenset()
        else:
            going, inside = set(), inside | {state for state in states if steps[state : state + 1] == ["**/"]}
        for state in states - {len(steps)}:
            step = steps[state]
            if step == "**" or (step == "*" and letter != "/"):
                going.add(state)
            elif step not in _STARS and (letter != "/" or step == "/") and tests[state](letter):
                going.add(state + 1)
        return closed(going), inside

    def fits(path: str) -> bool:
        states, inside = closed({0}), frozenset[int]()
        for letter in path:
            states, inside = after(states, inside, letter)
        return len(steps) in states

    return fits


def _letter(step: str) -> str:
    """The regular expression of a step that stands for one letter."""
    if len(step) > 1 and step.startswith("["):
        return step.replace("[!", "[^").replace("\\", "\\\\")
    return "." if step == "?" else re.escape(step)


def _wrong(name: str, what: str) -> InvalidInput:
    return InvalidInput(f"The MLTable of input '{name}' {what}.", code="InvalidMLTable", target=f"inputs.{name}")
