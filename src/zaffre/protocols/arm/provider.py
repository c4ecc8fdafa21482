"""The generic provider: the same verbs over every kind."""

from __future__ import annotations

from typing import Any, Protocol

from starlette.responses import Response

from zaffre.errors import NotFound
from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.arm import shape
from zaffre.protocols.arm.listing import list_query
from zaffre.runtime import Runtime
from zaffre.services.kinds.base import Document, Kind, Show
from zaffre.services.resources import ListQuery, Resources, Written
from zaffre.services.workspaces import Workspace
from zaffre.settings import Settings
from zaffre.store.resources import Cursor, Row
from zaffre.store.unit import Actor


class Service(Protocol):
    """What the provider asks of whoever keeps a kind."""

    async def get(self, workspace: Workspace, kind: Kind, parent: str, name: str) -> Row: ...
    async def put(
        self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str, body: Document
    ) -> Written: ...
    async def delete(self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str) -> str | None: ...
    async def page(
        self, workspace: Workspace, kind: Kind, parent: str, query: ListQuery
    ) -> tuple[list[Row], Cursor | None]: ...
    async def latest(self, workspace: Workspace, kind: Kind, rows: list[Row]) -> dict[int, str | None]: ...


class Provider:
    """get, put, patch, delete and list for one kind, by the service that keeps it."""

    def __init__(self, settings: Settings, runtime: Runtime, kind: Kind, service: Service) -> None:
        self._settings = settings
        self._runtime = runtime
        self._kind = kind
        self._service = service
        self.verbs = {"get": self.get, "put": self.put, "patch": self.patch, "delete": self.delete, "list": self.list_}

    async def get(self, call: Call) -> Response:
        # `azureml:name@latest` as the path of an input: the SDK asks for an asset called `azureml:name` (wire.md §9).
        parent, name = (name.removeprefix("azureml:") for name in _names(call))
        label = self._kind.labels.get(name.lower())
        if label is not None:
            row = await self._labelled(call, parent, label)
            answer = (await self._shaped(call, [row]))[0]
            # Whoever keeps this id keeps the label: it names whatever is newest when it is used.
            return json_answer({**answer, "id": answer["id"].rpartition("/versions/")[0] + f"/labels/{label}"})
        row = await self._service.get(call.workspace, self._kind, parent, name)
        return json_answer((await self._shaped(call, [row]))[0])

    async def put(self, call: Call) -> Response:
        return await self._written(call, await call.document())

    async def patch(self, call: Call) -> Response:
        """JSON merge patch (RFC 7396) over the body as it was sent; null takes a field away."""
        change = await call.document()
        row = await self._service.get(call.workspace, self._kind, *_names(call))
        return await self._written(call, merged(row.body, change))

    async def delete(self, call: Call) -> Response:
        operation = await self._service.delete(call.actor, call.workspace, self._kind, *_names(call))
        if operation is None:
            return Response(status_code=204)
        return shape.accepted(public_address(call, self._settings), call.workspace, operation)

    async def _labelled(self, call: Call, parent: str, label: str) -> Row:
        if not isinstance(self._service, Resources):
            raise NotFound(f"There are no labels of {self._kind.type}.")
        return await self._service.labelled(call.workspace, self._kind, parent, label)

    async def list_(self, call: Call) -> Response:
        values = [value for name, value in call.params.items() if name not in _SCOPE]
        parent = values[-1] if values else ""
        if parent:
            await self._check_parent(call, parent)
        query = list_query(call.query)
        rows, following = await self._service.page(call.workspace, self._kind, parent, query)
        if "$top" in call.query:
            following = None  # `$top` asks for that many in all
        return shape.page(call, public_address(call, self._settings), await self._shaped(call, rows), following)

    async def _check_parent(self, call: Call, parent: str) -> None:
        """The versions of an asset that isn't there are 404, but for code, whose random names are asked before they exist."""
        if self._kind.type == "workspaces/codes/versions":
            return
        type_ = self._kind.type.rpartition("/")[0]
        await self._service.get(call.workspace, _parent_kind(self._service, type_), "", parent)

    async def _written(self, call: Call, body: dict[str, Any]) -> Response:
        written = await self._service.put(call.actor, call.workspace, self._kind, *_names(call), body)
        return await self._answered(call, written)

    async def _answered(self, call: Call, written: Written) -> Response:
        answer = (await self._shaped(call, [written.row]))[0]
        headers = {}
        if written.operation is not None:
            headers = shape.in_progress(public_address(call, self._settings), call.workspace, written.operation)
        return json_answer(answer, self._kind.made_status if written.created else 200, headers)

    async def _shaped(self, call: Call, rows: list[Row]) -> list[dict[str, Any]]:
        address = public_address(call, self._settings)
        latest = await self._service.latest(call.workspace, self._kind, rows)
        now = self._runtime.now()
        return [
            shape.envelope(
                self._kind, row, Show(workspace=call.workspace, address=address, latest=latest.get(row.pk), now=now)
            )
            for row in rows
        ]


def merged(base: Any, change: Any) -> Any:
    """JSON merge patch."""
    if not isinstance(change, dict) or not isinstance(base, dict):
        return change
    result = dict(base)
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value) if isinstance(value, dict) else value
    return result


_SCOPE = ("subscriptionId", "resourceGroupName", "workspaceName")


def _names(call: Call) -> tuple[str, str]:
    """The parent's name and the resource's own; the parent's is empty below the workspace itself."""
    values = [value for name, value in call.params.items() if name not in _SCOPE]
    return (values[-2] if len(values) > 1 else "", values[-1])


def _parent_kind(service: Service, type_: str) -> Kind:
    kinds: dict[str, Kind] = getattr(service, "kinds", {})
    if type_ not in kinds:
        raise NotFound(f"There is no resource type {type_}.")
    return kinds[type_]
