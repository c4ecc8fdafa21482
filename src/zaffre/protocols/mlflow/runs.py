"""MLflow's runs, and what is logged to them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from zaffre.errors import InvalidInput
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import requests, shape
from zaffre.protocols.mlflow.addresses import AddressBook, Addresses
from zaffre.protocols.mlflow.experiments import lifecycles
from zaffre.protocols.mlflow.refusals import missing
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.experiments import ACTIVE, DELETED
from zaffre.services.tracking.runs import Batch
from zaffre.store.tracking.records import Link, PlainPoint, Point, Run

_READ, _WRITE, _DELETE = (f"workspaces/experiments/runs/{verb}" for verb in ("read", "write", "delete"))
MOST_EXPERIMENTS, MOST_DATASETS = 20, 1000  # MLflow's limits of a search for datasets
_STATUSES = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}  # protobuf's numbers
DATASET_CONTEXT = "mlflow.data.context"  # the tag that says what a run used a dataset for
MOST_RUNS, MOST_SAMPLES, MOST_POINTS = 100, 2500, 25_000  # and of the histories of several runs


class Runs:
    def __init__(self, tracking: Tracking, addresses: AddressBook) -> None:
        self._at = addresses
        self._runs = tracking.runs

    def operations(self) -> Served:
        return {
            "createRun": (self.create, _WRITE),
            "getRun": (self.get, _READ),
            "updateRun": (self.update, _WRITE),
            "deleteRun": (self.delete, _DELETE),
            "restoreRun": (self.restore, _WRITE),
            "logMetric": (self.log_metric, _WRITE),
            "logParam": (self.log_param, _WRITE),
            "setTag": (self.set_tag, _WRITE),
            "deleteTag": (self.delete_tag, _WRITE),
            "logBatch": (self.log_batch, _WRITE),
            "logBatchAsync": (self.log_batch, _WRITE),  # an answer without a tracking id says that all is written
            "getRunDataStatus": (self.data_status, _READ),
            "logModel": (self.log_model, _WRITE),
            "logInputs": (self.log_inputs, _WRITE),
            "logOutputs": (self.log_outputs, _WRITE),
            "searchRuns": (self.search, _READ),
            "searchDatasets": (self.search_datasets, _READ),
            "getMetricHistory": (self.history, _READ),
            "getMetricHistoryBulkInterval": (self.histories, _READ),
            "getMetricHistoryBulk": (self.whole_histories, _READ),
        }

    async def create(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateRun)
        tags = _tags(asked.tags)
        made = await self._runs.start(
            call.actor,
            call.workspace.id,
            required(asked.experiment_id, "experiment_id"),
            name=asked.run_name or "",
            user=asked.user_id or call.principal.name,
            started_at=asked.start_time,
            tags=tags,
        )
        return json_answer({"run": shape.run(made, self._at(call))})

    async def get(self, call: Call) -> Response:
        asked = await parse(call, requests.OfRun)
        found = await self._runs.get(call.workspace.id, required(asked.run, "run_id"))
        return json_answer({"run": shape.run(found, self._at(call))})

    async def update(self, call: Call) -> Response:
        asked = await parse(call, requests.UpdateRun)
        head = await self._runs.update(
            call.workspace.id,
            required(asked.run, "run_id"),
            status=None if asked.status is None else _STATUSES.get(str(asked.status), str(asked.status)),
            ended_at=asked.end_time,
            name=asked.run_name,
        )
        return json_answer({"run_info": shape.run_info(head, self._at(call))})

    async def delete(self, call: Call) -> Response:
        return await self._set_lifecycle(call, DELETED)

    async def restore(self, call: Call) -> Response:
        return await self._set_lifecycle(call, ACTIVE)

    async def log_metric(self, call: Call) -> Response:
        asked = await parse(call, requests.LogMetric)
        await self._runs.log(call.workspace.id, required(asked.run, "run_id"), Batch(metrics=(_point(asked),)))
        return json_answer({})

    async def log_param(self, call: Call) -> Response:
        asked = await parse(call, requests.LogParam)
        await self._runs.log(
            call.workspace.id,
            required(asked.run, "run_id"),
            Batch(params=((asked.key, asked.value[: requests.MOST_IN_PARAM]),)),
        )
        return json_answer({})

    async def set_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.SetTag)
        await self._runs.log(
            call.workspace.id,
            required(asked.run, "run_id"),
            Batch(tags={asked.key: asked.value[: requests.MOST_IN_TAG]}),
        )
        return json_answer({})

    async def delete_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.DeleteTag)
        await self._runs.delete_tag(call.workspace.id, required(asked.run, "run_id"), asked.key)
        return json_answer({})

    async def log_batch(self, call: Call) -> Response:
        asked = await parse(call, requests.LogBatch)
        _check_batch(asked)
        batch = Batch(
            metrics=[_point(metric) for metric in asked.metrics],
            params=[(param.key, param.value[: requests.MOST_IN_PARAM]) for param in asked.params],
            tags=_tags(asked.tags),
        )
        await self._runs.log(call.workspace.id, required(asked.run, "run_id"), batch)
        return json_answer({})

    async def data_status(self, call: Call) -> Response:
        """Whether a batch that azureml-mlflow sent without waiting is written. It is: none is answered before."""
        asked = await parse(call, requests.RunDataStatus)
        required(asked.batch_tracking_id, "batch_tracking_id")
        await self._runs.head(call.workspace.id, required(asked.run, "run_id"))
        return json_answer({"is_complete": True})

    async def log_model(self, call: Call) -> Response:
        asked = await parse(call, requests.LogModel)
        try:
            model: dict[str, Any] = msgspec.json.decode(required(asked.model_json, "model_json"), type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"Field 'model_json': {error}.", target="model_json") from None
        missing = [field for field in ("artifact_path", "flavors", "utc_time_created", "run_id") if field not in model]
        if missing:
            raise InvalidInput(f"Field 'model_json': it lacks {', '.join(missing)}.", target="model_json")
        await self._runs.record_model(call.workspace.id, required(asked.run, "run_id"), model)
        return json_answer({})

    async def log_inputs(self, call: Call) -> Response:
        asked = await parse(call, requests.LogInputs)
        links = [
            Link(
                direction="input",
                kind="dataset",
                target=f"{one.dataset.name}@{one.dataset.digest}",
                detail=msgspec.to_builtins(one),
                name=one.dataset.name,
                digest=one.dataset.digest,
                context=next((tag.value for tag in one.tags if tag.key == DATASET_CONTEXT), None),
            )
            for one in asked.datasets
        ]
        links += [Link(direction="input", kind="model", target=one.model_id) for one in asked.models]
        await self._runs.link(call.workspace.id, required(asked.run, "run_id"), links)
        return json_answer({})

    async def log_outputs(self, call: Call) -> Response:
        asked = await parse(call, requests.LogOutputs)
        links = [Link(direction="output", kind="model", target=one.model_id, step=one.step) for one in asked.models]
        await self._runs.link(call.workspace.id, required(asked.run, "run_id"), links)
        return json_answer({})

    async def search_datasets(self, call: Call) -> Response:
        asked = await parse(call, requests.SearchDatasets)
        if not asked.experiment_ids:
            raise InvalidInput(
                "SearchDatasets request must specify at least one experiment_id.", target="experiment_ids"
            )
        if len(asked.experiment_ids) > MOST_EXPERIMENTS:
            raise InvalidInput(
                f"SearchDatasets request cannot specify more than {MOST_EXPERIMENTS} experiment_ids."
                f" Received {len(asked.experiment_ids)} experiment_ids.",
                target="experiment_ids",
            )
        ids = list(dict.fromkeys(asked.experiment_ids))
        found = await self._runs.datasets(call.workspace.id, ids, MOST_DATASETS)
        return json_answer({"dataset_summaries": [shape.dataset_summary(one) for one in found]})

    async def search(self, call: Call) -> Response:
        asked = await parse(call, requests.SearchRuns)
        found, token = await self._runs.search(
            call.workspace.id,
            asked.experiment_ids,
            asked.filter,
            lifecycles(asked.run_view_type, "run_view_type"),
            asked.order_by,
            asked.page_token,
            asked.max_results,
        )
        return await asyncio.to_thread(_page_of_runs, found, token, self._at(call))

    async def history(self, call: Call) -> Response:
        asked = await parse(call, requests.MetricHistory)
        points, token = await self._runs.history(
            call.workspace.id,
            required(asked.run, "run_id"),
            required(asked.metric_key, "metric_key"),
            asked.page_token,
            asked.max_results,
        )
        return await asyncio.to_thread(_history, points, token)

    async def histories(self, call: Call) -> Response:
        """One metric of several runs, at steps they share, so that charts of them can be compared."""
        asked = await parse(call, requests.BulkHistory)
        if not asked.run_ids:
            raise missing("run_ids")
        if len(asked.run_ids) > MOST_RUNS:
            raise InvalidInput(
                f"GetMetricHistoryBulkInterval request must specify at most {MOST_RUNS} run_ids."
                f" Received {len(asked.run_ids)} run_ids.",
                target="run_ids",
            )
        key = required(asked.metric_key, "metric_key")
        most = MOST_SAMPLES if asked.max_results is None else asked.max_results
        if not 1 <= most <= MOST_SAMPLES:
            raise InvalidInput(f"max_results must be between 1 and {MOST_SAMPLES}.", target="max_results")
        steps = _steps(asked.start_step, asked.end_step)
        points = await self._runs.histories(call.workspace.id, asked.run_ids, key, steps, most)
        return await asyncio.to_thread(_points, points, None)

    async def whole_histories(self, call: Call) -> Response:
        """One metric of several runs with every point, run by run in the order of their ids."""
        asked = await parse(call, requests.BulkHistory)
        if not asked.run_id:
            raise InvalidInput("GetMetricHistoryBulk request must specify at least one run_id.", target="run_id")
        if len(asked.run_id) > MOST_RUNS:
            raise InvalidInput(
                f"GetMetricHistoryBulk request cannot specify more than {MOST_RUNS} run_ids."
                f" Received {len(asked.run_id)} run_ids.",
                target="run_id",
            )
        if not asked.metric_key:
            raise InvalidInput("GetMetricHistoryBulk request must specify a metric_key.", target="metric_key")
        most = MOST_POINTS if asked.max_results is None else min(asked.max_results, MOST_POINTS)
        points = await self._runs.whole_histories(
            call.workspace.id, sorted(set(asked.run_id)), asked.metric_key, max(most, 0)
        )
        return await asyncio.to_thread(_points, points, None)

    async def _set_lifecycle(self, call: Call, lifecycle: str) -> Response:
        asked = await parse(call, requests.OfRun)
        await self._runs.set_lifecycle(call.actor, call.workspace.id, required(asked.run, "run_id"), lifecycle)
        return json_answer({})


def _steps(start: int | None, end: int | None) -> tuple[int, int] | None:
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise InvalidInput(
            "If either start step or end step are specified, both must be specified.", target="start_step"
        )
    if start > end:
        raise InvalidInput(
            f"end_step must be greater than start_step. Found start_step={start} and end_step={end}.", target="end_step"
        )
    return start, end


def _check_batch(asked: requests.LogBatch) -> None:
    """MLflow's limits of one batch. Raises InvalidInput."""
    counts = {"metrics": len(asked.metrics), "params": len(asked.params), "tags": len(asked.tags)}
    for what, limit in requests.MOST_IN_BATCH_OF.items():
        if counts[what] > limit:
            raise _too_many(what, limit, counts[what])
    total = sum(counts.values())
    if total > requests.MOST_IN_BATCH:
        raise _too_many("metrics, params, and tags", requests.MOST_IN_BATCH, total)
    keys = [param.key for param in asked.params]
    if len(set(keys)) < len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise InvalidInput(
            f"Duplicate parameter keys have been submitted: {twice}. One batch takes one value of each param.",
            target="params",
        )


def _too_many(what: str, limit: int, count: int) -> InvalidInput:
    return InvalidInput(
        f"A batch logging request can contain at most {limit} {what}. Got {count} {what}. Send them in several requests.",
        target=what.partition(",")[0],
    )


def _tags(tags: Sequence[requests.RunTag]) -> dict[str, str]:
    return {tag.key: tag.value[: requests.MOST_IN_TAG] for tag in tags}


def _point(metric: requests.LogMetric) -> Point:
    dataset = (metric.dataset_name, metric.dataset_digest or "") if metric.dataset_name else None
    return Point(
        key=metric.key,
        value=metric.value,
        timestamp=metric.timestamp,
        step=metric.step,
        model_id=metric.model_id or "",
        dataset=dataset,
    )


# Both may hold thousands of entries, so they are put into words beside the loop.
def _page_of_runs(found: list[Run], token: str | None, at: Addresses) -> Response:
    answer: shape.Document = {"runs": [shape.run(one, at) for one in found]}
    return json_answer(answer | ({"next_page_token": token} if token else {}))


def _history(points: Sequence[Point | PlainPoint], token: str | None) -> Response:
    metrics = [point if isinstance(point, PlainPoint) else shape.metric(point) for point in points]
    return json_answer({"metrics": metrics, **({"next_page_token": token} if token else {})})


def _points(points: Sequence[tuple[str | None, Point]], token: str | None) -> Response:
    answer: shape.Document = {"metrics": [shape.metric(point, run_id) for run_id, point in points]}
    return json_answer(answer | ({"next_page_token": token} if token else {}))
