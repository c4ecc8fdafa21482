"""Artifacts of runs and of uploaded folders: listed, and signed addresses at which a client fetches or writes them itself.

The bytes go by the Blob protocol. An artifact exists when its blob does; asking for an address makes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from zaffre.errors import InvalidInput, NotFound, NotServed, ZaffreError
from zaffre.services.artifact_uris import OTHER_CONTAINERS, RUN_ORIGIN, in_container
from zaffre.services.blobs import Blobs, check_name
from zaffre.services.conditions import REPLACES, REPLACES_MARK
from zaffre.services.places import Place
from zaffre.services.signed_links import READ, WRITE, signed_address
from zaffre.services.workspaces import Workspace, Workspaces
from zaffre.store.blobs import Blob
from zaffre.store.database import Database
from zaffre.store.tracking import models, runs

PAGE = 1000
BATCH_LIMIT = 5000
LINK_HOURS = 12


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """One container of the artifact service, and where its files lie."""

    origin: str
    container: str
    place: Place

    def relative(self, blob: str) -> str:
        return blob.removeprefix(f"{self.place.path}/" if self.place.path else "")


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Where one artifact is fetched or written: `address` has no host and carries a signature."""

    path: str
    address: str


class RunArtifacts:
    def __init__(self, database: Database, workspaces: Workspaces, blobs: Blobs) -> None:
        self._database = database
        self._workspaces = workspaces
        self._blobs = blobs

    async def of_run(self, workspace: Workspace, experiment: str | None, id_: str) -> Folder:
        """The folder of a run or a logged model. Raises NotFound, also when it is not in `experiment` (a name or an id)."""

        def work(conn: sa.Connection) -> tuple[str | None, ...] | None:
            run = runs.head(conn, workspace.id, id_)
            if run is not None:
                return run.experiment_id, run.experiment_name, None
            model = models.get(conn, workspace.id, id_)
            return (experiment,) if model is not None else None  # a model is of one id; its experiment says no more

        found = await self._database.read(work)
        if found is None or experiment not in found:
            where = f" in experiment '{experiment}'" if found is not None else ""
            raise NotFound(
                f"There is no run '{id_}'{where} in workspace '{workspace.name}'.", code="RunNotFound", target="runId"
            )
        return self.folder(workspace, RUN_ORIGIN, f"dcid.{id_}")

    @staticmethod
    def folder(workspace: Workspace, origin: str, container: str) -> Folder:
        """Any container of the artifact service."""
        return Folder(origin=origin, container=container, place=in_container(workspace, origin, container, ""))

    async def listing(self, folder: Folder, below: str, start: str) -> tuple[list[Blob], str | None]:
        """A page of all files below the folder `below`, at any depth, and where the next one starts."""
        place = folder.place
        prefix = f"{place.path}/" if place.path else ""
        if below.strip("/"):
            prefix += below.strip("/") + "/"
        page = await self._blobs.listing(
            place.account, place.container, prefix=prefix, delimiter="", start=start, limit=PAGE
        )
        return [entry for entry in page.entries if not isinstance(entry, str)], page.next

    async def blob(self, folder: Folder, path: str) -> Blob:
        """One artifact. Raises NotFound that names the path as the client knows it."""
        place = _inside(folder, path)
        try:
            return await self._blobs.properties(place.account, place.container, place.path)
        except NotFound:
            raise _missing(folder, path) from None

    async def read_link(self, workspace: Workspace, folder: Folder, path: str) -> Link:
        """Where the artifact is fetched. Raises NotFound when there is none."""
        blob = await self.blob(folder, path)
        return self._link(await self._workspaces.account_key(workspace), folder, folder.relative(blob.name), READ)

    async def read_links(self, workspace: Workspace, folder: Folder, blobs: Sequence[Blob]) -> list[Link]:
        """Where each of `blobs`, a page of the folder's listing, is fetched."""
        key = await self._workspaces.account_key(workspace)
        return [self._link(key, folder, folder.relative(blob.name), READ) for blob in blobs]

    async def write_links(
        self, workspace: Workspace, folder: Folder, paths: Sequence[str]
    ) -> tuple[dict[str, Link], dict[str, ZaffreError]]:
        """Where each path may be written, and what is wrong with those that may not.

        Clients write with `If-None-Match: *`, but MLflow lets an artifact be logged again: the address of one that exists
        says which it replaces.
        """
        if folder.origin == OTHER_CONTAINERS:
            raise NotServed(f"Files of container '{folder.place.container}' can be read here; write them by Blob.")
        if not 0 < len(paths) <= BATCH_LIMIT:
            raise InvalidInput(
                f"Field 'paths': expected 1 to {BATCH_LIMIT} paths, got {len(paths)}.",
                code="InvalidField",
                target="paths",
            )
        good: dict[str, Place] = {}
        errors: dict[str, ZaffreError] = {}
        for path in paths:
            try:
                good[path] = _inside(folder, path)
            except InvalidInput as error:
                errors[path] = error
        key = await self._workspaces.account_key(workspace)
        found: dict[str, Link] = {}
        for path, place in good.items():
            link = self._link(key, folder, path, WRITE)
            try:
                held = await self._blobs.properties(place.account, place.container, place.path)
            except NotFound:
                found[path] = link
            else:
                found[path] = Link(path=path, address=f"{link.address}&{REPLACES}={REPLACES_MARK}{held.etag}")
        return found, errors

    def _link(self, key: str, folder: Folder, path: str, permissions: str) -> Link:
        place = _inside(folder, path)
        expiry = self._database.runtime.now() + LINK_HOURS * 3_600_000
        return Link(path=path, address=signed_address(place, key, permissions=permissions, expiry=expiry))


def _inside(folder: Folder, path: str) -> Place:
    """The place of an artifact of the folder. Raises InvalidInput for what leaves it."""
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") for part in parts):
        raise InvalidInput(
            f"The path '{path[:200]}' must be a relative one without empty, '.' or '..' parts.",
            code="InvalidField",
            target="path",
        )
    place = msgspec.structs.replace(folder.place, path=f"{folder.place.path}/{path}".lstrip("/"))
    check_name(place.path)
    return place


def _missing(folder: Folder, path: str) -> NotFound:
    return NotFound(
        f"There is no artifact '{path[:200]}' in '{folder.origin}/{folder.container}'.", code="ArtifactNotFound"
    )
