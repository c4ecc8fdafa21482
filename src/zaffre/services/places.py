"""Where data lies: every way a client names data, resolved to a container and a path of this server."""

from __future__ import annotations

import re

import msgspec

from zaffre.errors import InvalidInput, NotFound, NotServed
from zaffre.services.datastore_sources import below_address, check_reachable, is_own
from zaffre.services.kinds.base import Kind
from zaffre.services.references import ARM, SHORT
from zaffre.services.registries import refuse_asset
from zaffre.services.resources import ListQuery, Resources
from zaffre.services.urls import inward
from zaffre.services.workspaces import (
    ARTIFACT_CONTAINER,
    DATASTORE,
    STORAGE_SUFFIX,
    Workspace,
    output_folder,
    run_folder,
)
from zaffre.store import jobs
from zaffre.store.resources import Row

_DATASTORE = re.compile(
    r"azureml://(?:subscriptions/(?P<s>[^/]+)/resource[gG]roups/(?P<g>[^/]+)"
    r"/(?:providers/Microsoft\.MachineLearningServices/)?workspaces/(?P<w>[^/]+)/)?datastores/(?P<d>[^/]+)/paths/(?P<p>.*)",
    re.DOTALL,
)
_JOB_OUTPUT = re.compile(
    r"azureml://jobs/(?P<j>[^/]+)/outputs/(?P<o>[^/]+)(?:/paths/(?P<p>.*)|/(?:paths)?)?", re.DOTALL
)
_RUN = re.compile(r"runs:/(?P<r>[^/]+)/(?P<p>.*)", re.DOTALL)
_S3 = re.compile(r"s3a?://(?P<c>[^/]+)/(?P<p>.*)", re.DOTALL)
_STORAGE = re.compile(r"(?:wasbs?|abfss?)://(?P<c>[^/@]+)@(?P<a>[^/.]+)\.(?:blob|dfs)\.[^/]+/(?P<p>.*)", re.DOTALL)

ARTIFACTS = ("artifacts", "default")
"""The outputs of a job or a run that nobody declares: its artifacts."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A file or a folder in a container; `path` has no leading slash, a folder's may end in one.

    What lies outside this server has no account and no container of ours: `datastore` names the datastore it is in.
    """

    account: str
    container: str
    path: str
    datastore: str = ""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A version of an asset, found; `id` is its ARM id with the number in it, whatever label was asked."""

    row: Row
    kind: Kind


def names_asset(text: str) -> bool:
    """Whether `text` has the form of an asset's name, and not of a place."""
    return ARM.fullmatch(text) is not None or SHORT.fullmatch(text) is not None


def datastore_uri(workspace: Workspace, text: str) -> str | None:
    """A path of a datastore in the long form that every client reads; None for any other text."""
    match = _DATASTORE.fullmatch(text.strip())
    return (
        None if match is None else f"azureml://{workspace.uri}/datastores/{match['d']}/paths/{match['p'].lstrip('/')}"
    )


class Places:
    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def resolve(self, workspace: Workspace, uri: str, field: str, *, outside: bool = False) -> Place:
        """The place `uri` names. Raises InvalidInput, NotFound or NotServed that name `field`.

        Only who asks for it with `outside` is answered a place in a datastore that does not lie on this server.
        """
        uri = inward(uri.strip())
        refuse_asset(uri, field)
        if ".." in uri.split("/"):
            raise InvalidInput(
                f"Field '{field}': '{uri[:200]}' climbs; expected a path without '..'.",
                code="InvalidField",
                target=field,
            )
        if match := _DATASTORE.fullmatch(uri):
            self._own(workspace, match, field)
            return await self._in_datastore(workspace, match["d"], match["p"], field, outside)
        if match := _JOB_OUTPUT.fullmatch(uri):
            place = await self._job_output(workspace, match["j"], match["o"], match["p"] or "")
            if place.datastore and not outside:
                raise _outside(place.datastore, field)
            return place
        if match := _RUN.fullmatch(uri):
            return await self._job_output(workspace, match["r"], "artifacts", match["p"])
        if uri.startswith(f"/{workspace.account}{STORAGE_SUFFIX}/"):
            container, _, path = uri.split("/", 2)[2].partition("/")
            return Place(account=workspace.account, container=container, path=path)
        if uri.startswith(f"/{workspace.container}/"):
            return Place(account=workspace.account, container=workspace.container, path=uri.split("/", 2)[2])
        if match := _STORAGE.fullmatch(uri):
            if match["a"] == workspace.account:
                return Place(account=workspace.account, container=match["c"], path=match["p"].lstrip("/"))
            return await self._by_address(workspace, uri, match["a"], match["c"], match["p"], field, outside)
        if match := _S3.fullmatch(uri):
            return await self._by_address(workspace, uri, None, match["c"], match["p"], field, outside)
        if names_asset(uri):
            _, uri = await self.followed(workspace, uri, field)
            return await self.resolve(workspace, uri, field, outside=outside)
        if uri.startswith(("http://", "https://", "adl://")):
            raise NotServed(
                f"Field '{field}': data outside this server ('{uri[:100]}') is not served yet.", target=field
            )
        raise InvalidInput(
            f"Field '{field}': '{uri[:200]}' is not a place of data; expected azureml://datastores/<name>/paths/<path>, an asset "
            "(azureml:<name>:<version>) or the output of a job.",
            code="InvalidField",
            target=field,
        )

    async def followed(self, workspace: Workspace, text: str, field: str) -> tuple[Reference, str]:
        """The data or the model that `text` names, and the address behind it, which may have been told by another asset."""
        first = found = await self.asset(workspace, text, field)
        seen: set[int] = set()
        while True:
            if found.row.pk in seen:  # by its label, which was another version's when it was made
                raise InvalidInput(
                    f"Field '{field}': '{text[:200]}' names itself, so no data is behind it.",
                    code="InvalidField",
                    target=field,
                )
            seen.add(found.row.pk)
            properties = found.row.body["properties"]
            uri: str = properties.get("dataUri") or properties["modelUri"]
            if not names_asset(uri):
                return first, uri
            found = await self.asset(workspace, uri, field)

    async def asset(
        self, workspace: Workspace, text: str, field: str, kinds: tuple[str, ...] = ("data", "models")
    ) -> Reference:
        """The asset version of one of `kinds` that `text` names: an ARM id, or `azureml:name:version`, or `azureml:name@latest`."""
        refuse_asset(text, field)
        if match := ARM.fullmatch(text):
            self._own(workspace, match, field)
            if match["kind"].lower() not in kinds:
                raise InvalidInput(
                    f"Field '{field}': '{text[-200:]}' is of {match['kind']}; expected one of {', '.join(kinds)}.",
                    code="InvalidField",
                    target=field,
                )
            # The SDK makes an id of `azureml:name@latest` with the prefix left in the name (wire.md §9).
            name = match["n"].removeprefix("azureml:")
            return await self._version(workspace, match["kind"].lower(), name, match["by"].lower(), match["v"], field)
        if match := SHORT.fullmatch(text):
            by = "versions" if match["by"] == ":" else "labels"
            for kind in kinds:
                try:
                    return await self._version(workspace, kind, match["n"], by, match["v"] or "latest", field)
                except NotFound:
                    if kind == kinds[-1]:
                        raise
        raise InvalidInput(
            f"Field '{field}': '{text[:200]}' names no asset; expected an ARM id or azureml:<name>:<version>.",
            code="InvalidField",
            target=field,
        )

    async def _version(
        self, workspace: Workspace, kind_name: str, name: str, by: str, version: str, field: str
    ) -> Reference:
        kind = self._resources.kinds[f"workspaces/{kind_name}/versions"]
        find = self._resources.get if by == "versions" else self._resources.labelled
        try:
            return Reference(row=await find(workspace, kind, name, version), kind=kind)
        except NotFound as error:
            raise NotFound(f"Field '{field}': {error.message}", target=field) from None

    async def _in_datastore(self, workspace: Workspace, name: str, path: str, field: str, outside: bool) -> Place:
        try:
            row = await self._resources.get(workspace, self._resources.kinds[DATASTORE], "", name)
        except NotFound as error:
            raise NotFound(f"Field '{field}': {error.message}", target=field) from None
        properties = row.body["properties"]
        path = path.lstrip("/")
        if is_own(workspace, properties):
            return Place(account=workspace.account, container=properties["containerName"], path=path)
        if not outside:
            raise _outside(row.name, field)
        check_reachable(row.name, properties, field)
        return Place(account="", container="", path=path, datastore=row.name)

    async def _by_address(
        self, workspace: Workspace, uri: str, account: str | None, container: str, path: str, field: str, outside: bool
    ) -> Place:
        """Storage outside by its own address: opened as the datastore that knows it, since an address has no credential."""
        kind = self._resources.kinds[DATASTORE]
        query = ListQuery(descending=False, limit=1000)
        rows, _ = await self._resources.page(workspace, kind, "", query)
        path = path.lstrip("/")
        for row in rows:
            below = below_address(row.body["properties"], account, container, path)
            if below is not None:
                return await self._in_datastore(workspace, row.name, below, field, outside)
        raise NotServed(
            f"Field '{field}': no datastore of workspace '{workspace.name}' knows the storage of '{uri[:200]}', and without one there is "
            "no credential for it. Create a datastore of that account and container.",
            target=field,
        )

    async def _job_output(self, workspace: Workspace, job: str, output: str, path: str) -> Place:
        path = path.lstrip("/")
        if output in ARTIFACTS:
            return Place(account=workspace.account, container=ARTIFACT_CONTAINER, path=f"{run_folder(job)}/{path}")
        found = await self._resources.database.read(lambda conn: jobs.get(conn, workspace.id, job))
        given = found.server["resolved"]["outputs"].get(output) if found else None
        if given is not None:
            whole = f"{given['path'].rstrip('/')}/{path}" if path else given["path"]
            return Place(
                account=given["account"],
                container=given["container"],
                path=whole,
                datastore=given.get("datastore", ""),
            )
        return Place(
            account=workspace.account, container=workspace.container, path=f"{output_folder(job, output)}/{path}"
        )

    @staticmethod
    def _own(workspace: Workspace, match: re.Match[str], field: str) -> None:
        """Two workspaces see nothing of each other, so an address of another one is refused, not followed."""
        groups = (match["s"], match["g"], match["w"])
        own = (workspace.subscription, workspace.resource_group, workspace.name)
        if groups != (None, None, None) and tuple(str(g).lower() for g in groups) != tuple(o.lower() for o in own):
            raise InvalidInput(
                f"Field '{field}': it names workspace '{match['w']}', but the request is made in '{workspace.name}'.",
                code="InvalidField",
                target=field,
            )


def _outside(name: str, field: str) -> NotServed:
    return NotServed(
        f"Field '{field}': datastore '{name}' lies outside this server. Jobs read and write it; what is served or registered here has "
        "to lie in a datastore of the workspace's own, such as workspaceblobstore.",
        target=field,
    )
