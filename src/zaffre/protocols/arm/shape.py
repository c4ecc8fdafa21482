"""Rows as ARM answers them: envelope, paging, long-running operations (wire.md §4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.runtime import iso
from zaffre.services.kinds.base import Kind, Show
from zaffre.services.workspaces import Workspace
from zaffre.store import operations
from zaffre.store.operations import Operation
from zaffre.store.resources import Cursor, Row

POLL_S = "1"  # Retry-After: 0 counts as absent and makes the SDK wait 30 s


def envelope(kind: Kind, row: Row, show: Show) -> dict[str, Any]:
    """The resource as a client sees it."""
    properties = row.body["properties"]
    if properties is not None:
        properties = {name: value for name, value in properties.items() if name not in kind.hide} | kind.extra(
            row, show
        )
    answer: dict[str, Any] = {
        "id": resource_id(show.workspace, kind.type, row.parent_name, row.name),
        "name": row.name,
        "type": f"Microsoft.MachineLearningServices/{kind.type}",
        "properties": properties,
        "systemData": {
            "createdAt": iso(row.created_at),
            "createdBy": row.created_by,
            "createdByType": row.created_by_type,
            "lastModifiedAt": iso(row.modified_at),
            "lastModifiedBy": row.modified_by,
            "lastModifiedByType": row.modified_by_type,
        },
    }
    if kind.tracked:
        answer["location"] = row.body.get("location") or show.workspace.location
        answer["tags"] = row.body.get("tags") or {}
        for name in ("identity", "kind", "sku"):
            if row.body.get(name) is not None:
                answer[name] = row.body[name]
    return answer


def resource_id(workspace: Workspace, type_: str, parent: str, name: str) -> str:
    """The ARM id, in the capitalisation the clients' parsers insist on."""
    parts = type_.split("/")[1:]
    if not parts:
        return workspace.path
    names = [parent, name] if len(parts) == 2 else [name]
    return workspace.path + "".join(f"/{part}/{value}" for part, value in zip(parts, names, strict=True))


def page(call: Call, address: str, values: Sequence[dict[str, Any]], following: Cursor | None) -> Response:
    """A list answer, with the address of the next page when there is one."""
    answer: dict[str, Any] = {"value": list(values)}
    if following is not None:
        query = {**call.query, "$skip": following.token}
        for name in ("api-version", "offset"):
            query.pop(name, None)  # the client adds its own version; what was passed over is behind us
        answer["nextLink"] = f"{address}{call.raw_path}?{urlencode(query, quote_via=quote)}"
    return json_answer(answer)


def in_progress(address: str, workspace: Workspace, operation: str) -> dict[str, str]:
    """Headers that make a client poll a PUT or PATCH."""
    return {
        "azure-asyncoperation": f"{address}{quote(workspace.path)}/operationsStatus/{operation}",
        "retry-after": POLL_S,
    }


def accepted(address: str, workspace: Workspace, operation: str) -> Response:
    """The answer to a POST or DELETE that goes on after it."""
    return poll_again(f"{address}{quote(workspace.path)}/operationsResult/{operation}")


def poll_again(location: str) -> Response:
    return Response(status_code=202, headers={"location": location, "retry-after": POLL_S})


def operation_status(id_: str, found: Operation) -> Response:
    """What `Azure-AsyncOperation` points to."""
    body: dict[str, object] = {"id": id_, "name": found.id, "status": found.status}
    if found.error is not None:
        body["error"] = found.error
    return json_answer(body, headers={"retry-after": POLL_S} if found.status == operations.RUNNING else {})


def operation_result(location: str, found: Operation) -> Response:
    """What `Location` points to: 202 while it runs, 204 when it is done."""
    if found.status == operations.RUNNING:
        return poll_again(location)
    if found.error is not None and found.status == operations.FAILED:
        return json_answer({"error": found.error}, 409)
    return Response(status_code=204)
