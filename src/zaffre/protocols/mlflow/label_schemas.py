"""MLflow's label schemas: what reviewers of traces are asked."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from zaffre.errors import InvalidInput
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import review_requests as requests
from zaffre.protocols.mlflow.shape import Document
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.protocols.mlflow.words import word
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.label_schemas import TYPES, NewLabelSchema
from zaffre.store.tracking.label_schemas import Categorical, Input, LabelSchema, Numeric, PassFail, Text

_READ, _WRITE, _DELETE = (f"workspaces/experiments/labelschemas/{verb}" for verb in ("read", "write", "delete"))
_KINDS: dict[str, type[PassFail | Categorical | Numeric | Text]] = {
    "pass_fail": PassFail,
    "categorical": Categorical,
    "numeric": Numeric,
    "text": Text,
}


class LabelSchemaHandlers:
    def __init__(self, tracking: Tracking) -> None:
        self._schemas = tracking.label_schemas

    def operations(self) -> Served:
        return {
            "createLabelSchema": (self.create, _WRITE),
            "getLabelSchema": (self.get, _READ),
            "getLabelSchemaByName": (self.by_name, _READ),
            "listLabelSchemas": (self.listing, _READ),
            "updateLabelSchema": (self.update, _WRITE),
            "deleteLabelSchema": (self.delete, _DELETE),
        }

    async def create(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateLabelSchema)
        new = NewLabelSchema(
            experiment_id=required(asked.experiment_id, "experiment_id"),
            name=required(asked.name, "name"),
            type=word(asked.type, "type", TYPES),
            input=_input(asked.input),
            instruction=asked.instruction,
            enable_comment=asked.enable_comment,
        )
        return _answer(await self._schemas.create(call.actor, call.workspace.id, new))

    async def get(self, call: Call) -> Response:
        asked = await parse(call, requests.SchemaId)
        return _answer(await self._schemas.get(call.workspace.id, required(asked.schema_id, "schema_id")))

    async def by_name(self, call: Call) -> Response:
        asked = await parse(call, requests.NameIn)
        experiment, name = required(asked.experiment_id, "experiment_id"), required(asked.name, "name")
        return _answer(await self._schemas.by_name(call.workspace.id, experiment, name))

    async def listing(self, call: Call) -> Response:
        asked = await parse(call, requests.ListLabelSchemas)
        experiment = required(asked.experiment_id, "experiment_id")
        found, token = await self._schemas.listing(call.workspace.id, experiment, asked.page_token, asked.max_results)
        answer: Document = {"label_schemas": [_shape(one) for one in found]}
        return json_answer(answer | ({"next_page_token": token} if token else {}))

    async def update(self, call: Call) -> Response:
        asked = await parse(call, requests.UpdateLabelSchema)
        changed = await self._schemas.update(
            call.actor,
            call.workspace.id,
            required(asked.schema_id, "schema_id"),
            name=asked.name,
            instruction=asked.instruction,
            enable_comment=asked.enable_comment,
            input_=None if asked.input is None else _input(asked.input),
        )
        return _answer(changed)

    async def delete(self, call: Call) -> Response:
        asked = await parse(call, requests.SchemaId)
        await self._schemas.delete(call.actor, call.workspace.id, required(asked.schema_id, "schema_id"))
        return json_answer({})


def _input(asked: requests.LabelInput) -> Input:
    given = {kind: value for kind in _KINDS if (value := getattr(asked, kind)) is not None}
    if len(given) != 1:
        raise InvalidInput(
            "Label schema `input` must have exactly one of `pass_fail`, `categorical`, `numeric`, or `text` set; "
            f"got {', '.join(given) or 'an empty oneof'}.",
            code="InvalidField",
            target="input",
        )
    [(kind, value)] = given.items()
    return _KINDS[kind](**msgspec.structs.asdict(value))


def _answer(one: LabelSchema) -> Response:
    return json_answer({"label_schema": _shape(one)})


def _shape(one: LabelSchema) -> Document:
    kind = next(name for name, type_ in _KINDS.items() if isinstance(one.input, type_))
    fields = msgspec.structs.asdict(one.input)
    return {
        "schema_id": one.id,
        "experiment_id": one.experiment_id,
        "name": one.name,
        "type": one.type,
        **({} if one.instruction is None else {"instruction": one.instruction}),
        "enable_comment": one.enable_comment,
        "input": {kind: {name: value for name, value in fields.items() if value is not None}},
        "created_by": one.created_by,
        "created_at": one.created_at,
        "last_updated_at": one.modified_at,
        "is_default": one.is_default,
    }
