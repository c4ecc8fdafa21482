"""MLflow's evaluation datasets. Tags and records come and go as JSON texts within JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response

from zaffre.errors import InvalidInput
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call, refuse_nul
from zaffre.protocols.mlflow.requests import Limit
from zaffre.protocols.mlflow.shape import Document
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.evaluation_datasets import SOURCES, NewRecord
from zaffre.store.tracking.evaluation_datasets import EvaluationDataset, Record

_READ, _WRITE, _DELETE = (f"workspaces/experiments/evaluationdatasets/{verb}" for verb in ("read", "write", "delete"))
_FIELDS = frozenset({"inputs", "outputs", "expectations", "tags", "source"})


class CreateDataset(Struct, frozen=True):
    name: str = ""
    experiment_ids: Annotated[list[str], Meta(max_length=1000)] = []
    tags: str | None = None


class SearchDatasets(Struct, frozen=True):
    experiment_ids: Annotated[list[str], Meta(max_length=1000)] = []
    filter_string: str | None = None
    max_results: Limit = 1000
    order_by: list[str] = []
    page_token: str | None = None


class Tags(Struct, frozen=True):
    tags: str = ""


class ExperimentIds(Struct, frozen=True):
    experiment_ids: Annotated[list[str], Meta(max_length=1000)] = []


class Records(Struct, frozen=True):
    records: str = ""


class GetRecords(Struct, frozen=True):
    max_results: Limit = 1000
    page_token: str | None = None


class DeleteRecords(Struct, frozen=True):
    dataset_record_ids: Annotated[list[str], Meta(max_length=50_000)] = []


class Nothing(Struct, frozen=True):
    """Of an operation whose address says all; clients send an object all the same."""


class EvaluationDatasetHandlers:
    def __init__(self, tracking: Tracking) -> None:
        self._datasets = tracking.evaluation_datasets

    def operations(self) -> Served:
        return {
            "createDataset": (self.create, _WRITE),
            "getDataset": (self.get, _READ),
            "deleteDataset": (self.delete, _DELETE),
            "searchEvaluationDatasets": (self.search, _READ),
            "setDatasetTags": (self.set_tags, _WRITE),
            "deleteDatasetTag": (self.delete_tag, _WRITE),
            "addDatasetToExperiments": (self.add_to, _WRITE),
            "removeDatasetFromExperiments": (self.remove_from, _WRITE),
            "getDatasetExperimentIds": (self.experiment_ids, _READ),
            "upsertDatasetRecords": (self.upsert, _WRITE),
            "getDatasetRecords": (self.records, _READ),
            "deleteDatasetRecords": (self.delete_records, _WRITE),
        }

    async def create(self, call: Call) -> Response:
        asked = await parse(call, CreateDataset)
        name, tags = required(asked.name, "name"), _tags(asked.tags)
        made = await self._datasets.create(call.actor, call.workspace.id, name, tags, _distinct(asked.experiment_ids))
        return _answer(made)

    async def get(self, call: Call) -> Response:
        return _answer(await self._datasets.get(call.workspace.id, _id(call)))

    async def delete(self, call: Call) -> Response:
        await parse(call, Nothing)
        await self._datasets.delete(call.actor, call.workspace.id, _id(call))
        return json_answer({})

    async def search(self, call: Call) -> Response:
        asked = await parse(call, SearchDatasets)
        found, token = await self._datasets.search(
            call.workspace.id,
            asked.experiment_ids,
            asked.filter_string,
            asked.order_by,
            asked.page_token,
            asked.max_results,
        )
        answer: Document = {"datasets": [_shape(one) for one in found]}
        return json_answer(answer | ({"next_page_token": token} if token else {}))

    async def set_tags(self, call: Call) -> Response:
        asked = await parse(call, Tags)
        tags = _tags(required(asked.tags, "tags"))
        await self._datasets.set_tags(call.actor, call.workspace.id, _id(call), tags)
        return json_answer({})

    async def delete_tag(self, call: Call) -> Response:
        await parse(call, Nothing)
        await self._datasets.delete_tag(call.actor, call.workspace.id, _id(call), call.params["key"])
        return json_answer({})

    async def add_to(self, call: Call) -> Response:
        experiments = _distinct((await parse(call, ExperimentIds)).experiment_ids)
        return _answer(await self._datasets.add_to(call.actor, call.workspace.id, _id(call), experiments))

    async def remove_from(self, call: Call) -> Response:
        experiments = _distinct((await parse(call, ExperimentIds)).experiment_ids)
        return _answer(await self._datasets.remove_from(call.actor, call.workspace.id, _id(call), experiments))

    async def experiment_ids(self, call: Call) -> Response:
        found = await self._datasets.get(call.workspace.id, _id(call))
        return json_answer({"experiment_ids": found.experiment_ids})

    async def upsert(self, call: Call) -> Response:
        text = required((await parse(call, Records)).records, "records")
        given = await asyncio.to_thread(_records, text)
        added, merged = await self._datasets.upsert(call.actor, call.workspace.id, _id(call), given)
        return json_answer({"inserted_count": added, "updated_count": merged})

    async def records(self, call: Call) -> Response:
        asked = await parse(call, GetRecords)
        id_ = _id(call)
        found, token = await self._datasets.records(call.workspace.id, id_, asked.page_token, asked.max_results)
        text = f"[{', '.join(_record(id_, one) for one in found)}]"
        return json_answer({"records": text} | ({"next_page_token": token} if token else {}))

    async def delete_records(self, call: Call) -> Response:
        asked = await parse(call, DeleteRecords)
        gone = await self._datasets.delete_records(call.actor, call.workspace.id, _id(call), asked.dataset_record_ids)
        return json_answer({"deleted_count": gone})


def _id(call: Call) -> str:
    return call.params["dataset_id"]


def _distinct(ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(ids))


def _document(text: str, field: str) -> Any:
    """A JSON text as Python reads it, NaN among its numbers. Raises InvalidInput that names the field."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused(field, f"expected a JSON text; {error}") from None
    if "\\u0000" in text:
        refuse_nul(found)
    if "\\ud" in text.lower():
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise _refused(field, "a text in it holds half a character") from None
    return found


def _tags(text: str | None) -> dict[str, str]:
    given = _document(text, "tags") if text else {}
    if not isinstance(given, dict):
        raise _refused("tags", "expected a JSON object of texts")
    return _texts(given, "tags")


def _texts(given: dict[str, Any], field: str) -> dict[str, str]:
    """Tags as texts; one that is null is none."""
    for key, value in given.items():
        if isinstance(value, (dict, list)):
            raise _refused(field, f"the tag '{key[:50]}' is no text")
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items() if value is not None
    }


def _records(text: str) -> list[NewRecord]:
    given = _document(text, "records")
    if not isinstance(given, list):
        raise _refused("records", "expected a JSON array of records")
    return [_new(one, f"records[{number}]") for number, one in enumerate(given)]


def _new(given: Any, field: str) -> NewRecord:
    if not isinstance(given, dict):
        raise _refused(field, "expected an object")
    for part in ("inputs", "expectations", "tags", "source"):
        if not isinstance(given.get(part), (dict, type(None))):
            raise _refused(f"{field}.{part}", "expected an object")
    return NewRecord(
        inputs=given.get("inputs") or {},
        outputs=given.get("outputs", msgspec.UNSET),
        expectations=given.get("expectations"),
        tags=_texts(given.get("tags") or {}, f"{field}.tags"),
        source=_source(given["source"], f"{field}.source") if given.get("source") else None,
    )


def _source(given: dict[str, Any], field: str) -> tuple[str, dict[str, Any]]:
    type_, data = str(given.get("source_type", "")).upper(), given.get("source_data", {})
    if type_ not in SOURCES:
        raise _refused(
            f"{field}.source_type", f"Invalid dataset record source type: {type_[:50]}. Valid: {', '.join(SOURCES)}"
        )
    if not isinstance(data, dict):
        raise _refused(f"{field}.source_data", "expected an object")
    return type_, data


def _answer(one: EvaluationDataset) -> Response:
    return json_answer({"dataset": _shape(one)})


def _shape(one: EvaluationDataset) -> Document:
    return {
        "dataset_id": one.id,
        "name": one.name,
        "tags": json.dumps(one.tags),
        **({} if one.schema is None else {"schema": one.schema}),
        **({"profile": json.dumps({"num_records": one.records})} if one.records else {}),
        "digest": one.digest,
        "created_time": one.created_at,
        "last_update_time": one.modified_at,
        "created_by": one.created_by,
        "last_updated_by": one.modified_by,
        "experiment_ids": one.experiment_ids,
    }


def _record(dataset: str, one: Record) -> str:
    """One record as a JSON text, made around the documents in it, which are such texts."""
    data = json.loads(one.source_data) if one.source_data else {}
    source_id = data.get("trace_id" if one.source_type == "TRACE" else "source_id")
    head = {
        "dataset_record_id": one.id,
        "dataset_id": dataset,
        "created_time": one.created_at,
        "last_update_time": one.modified_at,
        "created_by": one.created_by,
        "last_updated_by": one.modified_by,
        **({"source_type": one.source_type} if one.source_type else {}),
        **({"source_id": source_id} if isinstance(source_id, str) else {}),
        **({"source": {"source_type": one.source_type, "source_data": data}} if one.source_type else {}),
    }
    documents = {"inputs": one.inputs, "outputs": one.outputs, "expectations": one.expectations, "tags": one.tags}
    told = "".join(f', "{name}": {text}' for name, text in documents.items() if text is not None)
    return json.dumps(head)[:-1] + told + "}"


def _refused(field: str, why: str) -> InvalidInput:
    return InvalidInput(f"Field '{field}': {why}.", code="InvalidField", target=field)
