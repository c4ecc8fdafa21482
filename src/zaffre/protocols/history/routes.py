"""The history's routes; those of its table that are not built answer 501."""

from __future__ import annotations

import csv
import mimetypes
import re
from importlib import resources
from typing import Annotated
from urllib.parse import quote, urlencode

import msgspec
from starlette.responses import Response, StreamingResponse

from zaffre.errors import Denied, InvalidInput, NotFound, NotServed
from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import WORKSPACE, Access, Handler, Route, decode_part, not_served
from zaffre.protocols.history import shape
from zaffre.protocols.history.artifacts import ArtifactHandlers
from zaffre.protocols.history.data import DataHandlers
from zaffre.protocols.history.watching import Watchers
from zaffre.runtime import iso
from zaffre.services import run_filters
from zaffre.services.history import Change, History
from zaffre.services.logs import Logs
from zaffre.services.tokens import Tokens
from zaffre.services.workspaces import Workspaces
from zaffre.settings import Settings
from zaffre.store import jobs

CHILDREN = 500  # of a run, to a page
READS = (
    "Runs_GetRunData",
    "DataVersion_BatchGetResolvedUris",
    "DataVersion_GetByAssetId",
    "Models_BatchGetResolvedUris",
)


def routes(
    settings: Settings,
    history: History,
    logs: Logs,
    tokens: Tokens,
    workspaces: Workspaces,
    artifacts: ArtifactHandlers,
    data: DataHandlers,
) -> list[Route]:
    handlers = _Handlers(settings, history, logs, tokens, workspaces)
    bound: dict[str, Handler] = {
        "Runs_Get": handlers.get,
        "Runs_GetByExperimentId": handlers.get,
        "Runs_GetByExperimentName": handlers.get,
        "Runs_GetDetails": handlers.details,
        "Runs_GetDetailsByExperimentId": handlers.details,
        "Runs_GetDetailsByExperimentName": handlers.details,
        "Runs_GetChild": handlers.children,
        "Runs_GetChildByExperimentId": handlers.children,
        "Runs_GetChildByExperimentName": handlers.children,
        "Runs_GetRunData": handlers.run_data,
        "DataVersion_BatchGetResolvedUris": handlers.resolve_data,
        "Models_BatchGetResolvedUris": handlers.resolve_models,
        "Runs_AddOrModifyByExperimentId": handlers.change,
        "Runs_AddOrModifyByExperimentName": handlers.change,
        "Runs_AddOrModifyExperiment": handlers.change,
        "Runs_GetRunServiceInstances": handlers.services,
        **artifacts.of_runs(),
    }
    text = resources.files("zaffre.protocols.history").joinpath("operations.csv").read_text()
    made = [
        Route(
            protocol="history",
            method=row["verb"],
            template=row["path"],
            handler=bound.get(row["operation"])
            or data.operations.get(row["operation"])
            or not_served(row["operation"]),
            operation=row["operation"],
            action="workspaces/runs/read"
            if row["verb"] == "GET" or row["operation"] in READS
            else "workspaces/runs/write",
        )
        for row in csv.DictReader(text.splitlines())
    ]
    made += artifacts.service_routes()
    for kind in ("experiments", "experimentids"):
        made.append(
            Route(
                protocol="history",
                method="GET",
                template=f"/history/v1.0{WORKSPACE}/{kind}/{{experiment}}/runs/{{runId}}/token",
                handler=handlers.token,
                operation=f"RunToken_Get_{kind}",
                action="workspaces/runs/token",
            )
        )
    made.append(
        Route(
            protocol="history", method="GET", template=f"/discovery{WORKSPACE}", handler=handlers.discovery,
            operation="Discovery_Get", access=Access.OPEN, needs_workspace=False,
        )
    )  # fmt: skip
    made.append(
        Route(
            protocol="history", method="GET", template="/logs/{workspaceId}/{runId}/{path*}", handler=handlers.log,
            operation="Logs_Read", access=Access.SIGNED,
        )
    )  # fmt: skip
    return made


class RunDataRequest(msgspec.Struct, rename="camel", kw_only=True):
    """What else a client may select is answered anyway, or is not there to be told."""

    run_id: Annotated[str, msgspec.Meta(min_length=1)]
    select_run_metadata: bool | None = None
    select_run_definition: bool | None = None
    select_job_specification: bool | None = None


class ResolveUris(msgspec.Struct, kw_only=True):
    values: Annotated[list[str], msgspec.Meta(max_length=1000)]


class _Handlers:
    def __init__(
        self, settings: Settings, history: History, logs: Logs, tokens: Tokens, workspaces: Workspaces
    ) -> None:
        self._settings = settings
        self._history = history
        self._logs = logs
        self._tokens = tokens
        self._workspaces = workspaces
        self._watchers = Watchers()

    async def get(self, call: Call) -> Response:
        return json_answer(shape.run_answer(*await self._history.run(call.workspace, call.params["runId"])))

    async def details(self, call: Call) -> Response:
        run, job = await self._history.run(call.workspace, call.params["runId"])
        files: dict[str, str] = {}
        if job is not None:
            address = public_address(call, self._settings)
            for name in await self._logs.names(call.workspace, job):
                files[name] = address + self._logs.address(call.workspace, job.id, name)
        status = run.head.status
        if job is not None:
            agent = call.headers.get("user-agent", "")
            status = self._watchers.told(f"{call.workspace.id}/{job.id}", status, agent)
        return json_answer(shape.details(run, job, status, files))

    async def children(self, call: Call) -> Response:
        query = call.query
        if query.get("$orderby", "").lower() not in ("", "createdutc", "createdutc asc"):
            raise NotServed(
                f"Query '$orderby': children come by the time they were made, not by '{query['$orderby'][:50]}'."
            )
        limit = number(query, "$top", CHILDREN, 1, 10_000)
        after = number(query, "$continuationtoken", 0, 0, 2**62)
        wanted = run_filters.parse(query.get("$filter"))
        found, following = await self._history.children(call.workspace, call.params["runId"], wanted, after, limit)
        token = None if following is None else str(following)
        link = None
        if token is not None and "$top" not in query:  # `$top` asks for that many in all; the token leads on
            rest = urlencode({**query, "$continuationtoken": token}, quote_via=quote)
            link = f"{public_address(call, self._settings)}{call.raw_path}?{rest}"
        values = [shape.run_answer(*one) for one in found]
        more = {name: value for name, value in (("continuationToken", token), ("nextLink", link)) if value}
        return json_answer({"value": values, **more})

    async def run_data(self, call: Call) -> Response:
        """A run with its data outputs, which `download` then asks to be resolved (wire.md §6.3)."""
        asked = await call.parse(RunDataRequest)
        run, job = await self._history.run(call.workspace, asked.run_id)
        outputs = shape.output_assets(job, shape.words(call.headers.get("user-agent", "")))
        return json_answer({"runMetadata": {**shape.run_answer(run, job), "outputs": outputs}})

    async def resolve_data(self, call: Call) -> Response:
        """Where data lies; what is not there is left out, as the service does."""
        words = shape.words(call.headers.get("user-agent", ""))
        found = await self._resolve(call, "data", "models")
        values = {id_: {"uri": uri, "type": words[shape.data_type(kind)]} for id_, (uri, kind) in found.items()}
        return json_answer({"values": values})

    async def resolve_models(self, call: Call) -> Response:
        found = await self._resolve(call, "models")
        return json_answer({"values": {id_: {"path": uri, "type": kind} for id_, (uri, kind) in found.items()}})

    async def _resolve(self, call: Call, *kinds: str) -> dict[str, tuple[str, str]]:
        body = await call.parse(ResolveUris)
        found = {id_: await self._history.resolve(call.workspace, id_, "values", kinds) for id_ in body.values}
        return {id_: one for id_, one in found.items() if one is not None}

    async def change(self, call: Call) -> Response:
        change = await call.parse(Change)
        experiment = call.params.get("experimentName") or call.params.get("experimentId")
        run_id = call.params["runId"]
        await self._history.change(call.actor, call.workspace, run_id, experiment, change)
        return json_answer(shape.run_answer(*await self._history.run(call.workspace, run_id)))

    async def services(self, call: Call) -> Response:
        _, job = await self._history.run(call.workspace, call.params["runId"])
        node = call.params["nodeId"]
        if not re.fullmatch(r"[0-9]{1,6}", node):
            raise InvalidInput(
                f"'{node[:50]}' is not the index of a node; expected a number from 0 on.", target="nodeId"
            )
        return json_answer({"instances": shape.service_instances(job, int(node))})

    async def token(self, call: Call) -> Response:
        """A fresh token for the run that asks; azureml-mlflow asks when the one it has is near its end."""
        run, _ = await self._history.run(call.workspace, call.params["runId"])
        if call.params["experiment"] not in (run.head.experiment_name, run.head.experiment_id):
            raise NotFound(
                f"Run '{run.head.id}' is not in experiment '{call.params['experiment']}'.", code="RunNotFound"
            )
        if call.principal.run is not None and call.principal.run != run.head.id:
            raise Denied(f"The token of job '{call.principal.run}' does not allow a token for '{run.head.id}'.")
        if run.head.status in jobs.TERMINAL:
            raise Denied(f"Run '{run.head.id}' has ended; it gets no more tokens.")
        head = run.head
        token, expires = self._tokens.mint_run(call.workspace.id, head.id, head.user, head.created_at, call.principal)
        return json_answer(
            {"token": token, "expiryTimeUtc": iso(expires * 1000)}, headers={"cache-control": "no-store"}
        )

    async def discovery(self, call: Call) -> Response:
        """Where every other plane lies. Asked without a credential, and the same for every workspace."""
        address = public_address(call, self._settings)
        return json_answer(
            {
                "api": address,
                "history": address,
                "experimentation": address,
                "mlflow": address,
                "artifact": address,
                "studio": address,
            }
        )

    async def log(self, call: Call) -> Response:
        name = "/".join(decode_part(part) for part in call.params["path"].split("/"))
        scope, run_id = call.params["workspaceId"], call.params["runId"]
        self._logs.check(scope, run_id, name, call.query.get("se", ""), call.query.get("sig", ""))
        workspace = await self._workspaces.by_id(scope)
        _, job = await self._history.run(workspace, run_id)
        if job is None:
            raise NotFound(f"Run '{run_id}' is no job; it has no logs of its own.")
        chunks = await self._logs.read(workspace, job, name)
        kind = mimetypes.guess_type(name)[0] or "text/plain"
        # Written by user code and opened in a browser: never a page that runs under our own name.
        safe = "text/plain; charset=utf-8" if kind.startswith("text/") else "application/octet-stream"
        headers = {
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "content-security-policy": "sandbox",
        }
        return StreamingResponse(chunks, headers=headers, media_type=safe)


def number(query: dict[str, str], name: str, absent: int, least: int, most: int) -> int:
    """A whole number of the query. Raises InvalidInput for anything else."""
    text = query.get(name)
    if not text:
        return absent
    if not re.fullmatch(r"[0-9]{1,19}", text) or not least <= int(text) <= most:
        raise InvalidInput(
            f"Query '{name}': '{text[:50]}'; expected a number from {least} to {most}.",
            code="InvalidField",
            target=name,
        )
    return int(text)
