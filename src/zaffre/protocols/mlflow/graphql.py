"""GraphQL, as MLflow's pages ask it: each root field is one of the REST operations, asked for in this process.

So a field is allowed to whom the operation is, and refuses what the operation refuses. The library is loaded by the first query.
"""

from __future__ import annotations

import asyncio
import functools
import re
import sys
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response
from starlette.types import Message

from zaffre.errors import InvalidInput, ZaffreError
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow.requests import GraphQLQuery
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse
from zaffre.services import access

if TYPE_CHECKING:
    from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLResolveInfo, GraphQLSchema

    Info = GraphQLResolveInfo["_Asking"]

Document = dict[str, Any]

# MLflow's limits of one query.
MOST_ROOT_FIELDS, MOST_ALIASES, MOST_DEPTH, MOST_SELECTIONS = 10, 10, 10, 1000
MOST_LETTERS = 100_000
MOST_ASKED = 1000  # operations that one query may come to: each run of a page may ask for its versions
_OPERATIONS = {
    "mlflowGetExperiment": "getExperiment",
    "mlflowGetMetricHistoryBulkInterval": "getMetricHistoryBulkInterval",
    "mlflowGetRun": "getRun",
    "mlflowListArtifacts": "listArtifacts",
    "mlflowSearchModelVersions": "searchModelVersions",
    "mlflowSearchRuns": "searchRuns",
    "mlflowSearchDatasets": "searchDatasets",
}
_UNSET = {
    "String": "",
    "LongString": "0",
    "Boolean": False,
    "Float": 0.0,
}  # what protobuf answers for a field nobody set
_FLOATS = {"Infinity": sys.float_info.max, "-Infinity": -sys.float_info.max, "NaN": None}  # JSON knows none of them


class GraphQL:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def query(self, call: Call) -> Response:
        asked = await parse(call, GraphQLQuery)
        if len(asked.query) > MOST_LETTERS:
            raise InvalidInput(f"The query is longer than {MOST_LETTERS} characters.", target="query")
        try:
            document, complaints = await asyncio.to_thread(_checked, asked.query)
        except RecursionError:
            document, complaints = None, ["The query is nested too deeply."]
        if document is None or complaints:
            return json_answer({"data": None, "errors": complaints})
        # A page of runs is many thousand fields, each a step in Python: beside the loop, in one of its own.
        result = await asyncio.to_thread(asyncio.run, _executed(document, asked, _Asking(call, self._served)))
        return json_answer({"data": result.data, "errors": _told(result.errors or [])})


async def _executed(document: DocumentNode, asked: GraphQLQuery, asking: _Asking) -> ExecutionResult:
    from graphql import ExecutionResult, execute

    running = execute(
        _schema(),
        document,
        context_value=asking,
        variable_values=asked.variables,
        operation_name=asked.operationName,
        field_resolver=_field,
    )
    return running if isinstance(running, ExecutionResult) else await running


def _told(errors: Sequence[GraphQLError]) -> list[str] | None:
    """What is the caller's to know. Raises what was no refusal: a failure of ours is one here as everywhere."""
    for error in errors:
        if error.original_error is not None and not isinstance(error.original_error, ZaffreError | ValueError):
            raise error.original_error
    return [error.message for error in errors] or None


class _Asking:
    """The operations one query comes to, each asked once."""

    def __init__(self, call: Call, served: Served) -> None:
        self._call = call
        self._served = served
        self._asked: dict[tuple[str, bytes], asyncio.Task[Document]] = {}

    async def ask(self, operation: str, fields: Document) -> Document:
        body = msgspec.json.encode(fields)
        task = self._asked.get((operation, body))
        if task is None:
            if len(self._asked) >= MOST_ASKED:
                raise InvalidInput(f"The query comes to more than {MOST_ASKED} operations; ask for fewer runs at once.")
            task = self._asked[operation, body] = asyncio.create_task(self._answer(operation, body))
        return await task

    async def _answer(self, operation: str, body: bytes) -> Document:
        handler, action = self._served[operation]
        access.authorize(self._call.principal, action, self._call.workspace.id)
        answer = await handler(_within(self._call, body))
        found: Document = msgspec.json.decode(bytes(answer.body))
        return found


def _within(call: Call, body: bytes) -> Call:
    """A request with that body, by the caller of `call` and in the same place."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(name, value) for name, value in call.scope["headers"] if name != b"content-length"]
    made = Call({**call.scope, "method": "POST", "query_string": b"", "headers": headers}, receive)
    made.id, made.route, made.params = call.id, call.route, call.params
    made.principal, made.workspace = call.principal, call.workspace
    return made


async def _root(_source: object, info: Info, input: Document | None = None) -> Document:  # noqa: A002
    asking: _Asking = info.context
    fields = {_snake(name): value for name, value in (input or {}).items() if value is not None}
    return await asking.ask(_OPERATIONS[info.field_name], fields)


def _echo(_source: object, _info: Info, inputString: str = "") -> Document:
    return {"output": inputString}


async def _experiment_of(run: Document, info: Info) -> Document | None:
    found = await info.context.ask("getExperiment", {"experiment_id": run["info"]["experiment_id"]})
    experiment: Document | None = found.get("experiment")
    return experiment


async def _versions_of(run: Document, info: Info) -> list[Document]:
    run_id = run["info"]["run_id"].replace("'", "''")
    found = await info.context.ask("searchModelVersions", {"filter": f"run_id = '{run_id}'"})
    return list(found.get("model_versions", ()))


def _field(source: Document, info: Info) -> Any:
    value = source.get(_snake(info.field_name))
    kind = str(info.return_type)
    if value is None:
        return [] if kind.startswith("[") else _UNSET.get(kind)
    if kind == "LongString":
        return str(value)
    return _FLOATS.get(value) if kind == "Float" and isinstance(value, str) else value


@functools.cache
def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


@functools.cache
def _schema() -> GraphQLSchema:
    from graphql import build_schema

    made = build_schema(resources.files("zaffre.protocols.mlflow").joinpath("schema.graphql").read_text())
    for root in (made.query_type, made.mutation_type):
        assert root is not None, "the schema names both"
        for name, field in root.fields.items():
            field.resolve = _root if name in _OPERATIONS else _echo
    run: Any = made.type_map["MlflowRunExtension"]
    run.fields["experiment"].resolve, run.fields["modelVersions"].resolve = _experiment_of, _versions_of
    return made


def _checked(text: str) -> tuple[DocumentNode | None, list[str]]:
    """The query as parsed, and what is wrong with it."""
    from graphql import GraphQLError, validate
    from graphql import parse as parse_query

    try:
        document = parse_query(text, no_location=True)
        if complaint := _too_much(document):
            return document, [complaint]
        return document, [error.message for error in validate(_schema(), document)]
    except GraphQLError as error:
        return None, [error.message]


def _too_much(document: DocumentNode) -> str | None:
    """What the query asks for beyond MLflow's limits, told in MLflow's words. A fragment counts wherever it is used, too."""
    from graphql import FragmentDefinitionNode, FragmentSpreadNode, OperationDefinitionNode

    given = document.definitions
    fragments = {one.name.value: one.selection_set for one in given if isinstance(one, FragmentDefinitionNode)}
    roots, aliases, selections = 0, 0, 0
    waiting = [(one.selection_set, 1) for one in given if isinstance(one, OperationDefinitionNode)]
    waiting += [(one, 2) for one in fragments.values()]  # looked at even where no operation uses them
    while waiting:
        chosen, depth = waiting.pop()
        if depth > MOST_DEPTH:
            return f"Query exceeds maximum depth of {MOST_DEPTH}"
        selections += len(chosen.selections)
        if selections > MOST_SELECTIONS:
            return f"Query exceeds maximum total selections of {MOST_SELECTIONS}"
        roots += len(chosen.selections) if depth == 1 else 0
        aliases = max(aliases, sum(getattr(one, "alias", None) is not None for one in chosen.selections))
        for one in chosen.selections:
            spread = one if isinstance(one, FragmentSpreadNode) else None
            inner = fragments.get(spread.name.value) if spread else getattr(one, "selection_set", None)
            if inner:
                waiting.append((inner, depth + 1))
    for what, count, most in (("root fields", roots, MOST_ROOT_FIELDS), ("aliases", aliases, MOST_ALIASES)):
        if count > most:
            return f"GraphQL queries should have at most {most} {what}, got {count} {what}."
    return None
