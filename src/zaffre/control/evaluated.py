"""An MLTable evaluated for a job: the files its paths name, in place of the table (modes EvalMount and EvalDownload).

Only what says which files there are is carried out. A table that reads records out of them yields no files.
"""

from __future__ import annotations

import posixpath
import re
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
                form = re.compile(_regex(path))
            except re.error:
                raise _wrong(name, f"has a pattern that is none: '{path[:200]}'") from None
            found = [
                blob
                for blob in await self._blobs.tree(place.account, place.container, fixed)
                if form.fullmatch(blob.name)
            ]
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


def _regex(pattern: str) -> str:
    """A pattern of paths as a regular expression: `*` and `?` stay in a folder, `**` goes through all below it."""
    made, rest = "", pattern
    while rest:
        if rest.startswith("**/"):
            made, rest = made + "(?:[^/]+/)*", rest[3:]
        elif rest.startswith("**"):
            made, rest = made + ".*", rest[2:]
        elif match := re.match(r"\[!?[^\]/]+\]", rest):
            made, rest = made + match[0].replace("[!", "[^").replace("\\", "\\\\"), rest[match.end() :]
        else:
            made, rest = made + {"*": "[^/]*", "?": "[^/]"}.get(rest[0], re.escape(rest[0])), rest[1:]
    return made


def _wrong(name: str, what: str) -> InvalidInput:
    return InvalidInput(f"The MLTable of input '{name}' {what}.", code="InvalidMLTable", target=f"inputs.{name}")
