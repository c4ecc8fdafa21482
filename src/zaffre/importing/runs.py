"""One run: who it was, what it logged, what it read and made, its files; and last of all the tag that says so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, TypeVar

import msgspec

from zaffre.importing import journal
from zaffre.importing.files import Files, Listing
from zaffre.importing.report import CHANGED, NEW, SAME, Report
from zaffre.importing.source import Source
from zaffre.importing.target import Target

T = TypeVar("T")
POINTS_A_REQUEST = 999
"""MLflow takes 1,000 of metrics, params and tags together; the last request carries the tag that says all is here."""
LINKS_A_REQUEST = 100


class Known(msgspec.Struct, frozen=True):
    """A run that is here already: its state as the last import left it (empty: none has finished), and its lifecycle."""

    state: str
    lifecycle: str


class Runs:
    """Imports runs of one experiment after the other, each call a run, from any thread."""

    def __init__(self, source: Source, target: Target, files: Files, report: Report, *, again: bool) -> None:
        self._source, self._target, self._files, self._report = source, target, files, report
        self._again = again

    def known(self, experiment_id: str) -> dict[str, Known]:
        """The runs of an experiment that are here."""
        wish = {"experiment_ids": [experiment_id], "run_view_type": "ALL", "max_results": 1000}
        found = {}
        for run in self._target.pages("runs/search", "runs", wish):
            state = next((tag["value"] for tag in run["data"].get("tags", ()) if tag["key"] == journal.STATE), "")
            found[run["info"]["run_id"]] = Known(state, run["info"]["lifecycle_stage"])
        return found

    def bring(self, run: Any, experiment_id: str, known: Known | None, measured: Sequence[Any] = ()) -> None:
        """`measured` are the points it logged for models.

        Raises ClientError when something of the run could not be brought; what is here stays and is taken up again.
        """
        info = run.info
        here = journal.run_id(info.run_id)
        files = self._files.of_run(run)
        held = "" if known is None or self._again else known.state
        wanted = f"{journal.of_run(run, measured)}.{self._files.state(files, held.partition('.')[2])}"
        if (
            known is not None
            and held == wanted
            and (known.lifecycle == info.lifecycle_stage or info.lifecycle_stage == "active")
        ):
            self._report.count("run", SAME)
            return
        if known is not None and known.lifecycle == "deleted" and info.lifecycle_stage == "active":
            self._report.note(f"run {info.run_id} has changed there, but was deleted here; it is left as it is")
            self._report.count("run", SAME)
            return
        became = NEW if known is None or not known.state else CHANGED
        if not self._report.dry:
            if known is not None and known.lifecycle == "deleted":
                self._target.post("runs/restore", {"run_id": here})
            self._write(run, here, experiment_id, files, held, wanted, measured)
            if info.lifecycle_stage == "deleted":
                self._target.post("runs/delete", {"run_id": here})
        self._report.count("run", became)

    def _write(
        self, run: Any, here: str, experiment_id: str, files: Listing, held: str, wanted: str, measured: Sequence[Any]
    ) -> None:
        held_state, _, held_files = held.partition(".")
        state, _, files_state = wanted.partition(".")
        if held_state != state:
            self._head(run, here, experiment_id)
            self._links(run, here)
        if held_files != files_state:
            self._files.bring(files, f"ExperimentRun/dcid.{here}", again=self._again)
        points = self._points(run, measured) if held_state != state else iter(())
        done = {"tags": [{"key": journal.STATE, "value": wanted}]}
        page = list(islice(points, POINTS_A_REQUEST))
        while page:
            following = list(islice(points, POINTS_A_REQUEST))
            self._target.post("runs/log-batch", {"run_id": here, "metrics": page, **({} if following else done)})
            self._report.add("points", len(page))
            page = following
            if not following:
                return
        self._target.post("runs/log-batch", {"run_id": here, **done})

    def _head(self, run: Any, here: str, experiment_id: str) -> None:
        info = run.info
        given = {
            "id": here,
            "experiment_id": experiment_id,
            "status": info.status,
            "name": (info.run_name or "")[:250],
            "user": info.user_id or "",
            "tags": journal.tags(run.data.tags, self._source.name, info.run_id, here),
            "params": dict(run.data.params),
        }
        times = {"start_time": info.start_time, "end_time": info.end_time}
        self._target.put("runs", given | {key: value for key, value in times.items() if value is not None})

    def _links(self, run: Any, here: str) -> None:
        models = [{"model_id": one} for one in journal.model_inputs(run)]
        for page in paged(journal.inputs(run), LINKS_A_REQUEST):
            self._target.post("runs/log-inputs", {"run_id": here, "datasets": page})
        for page in paged(models, LINKS_A_REQUEST):
            self._target.post("runs/log-inputs", {"run_id": here, "models": page})
        for page in paged(journal.outputs(run), LINKS_A_REQUEST):
            self._target.post("runs/outputs", {"run_id": here, "models": page})

    def _points(self, run: Any, measured: Sequence[Any]) -> Iterator[dict[str, Any]]:
        for one in chain(self._source.points(run), measured):
            yield point(one)


def point(one: Any) -> dict[str, Any]:
    """A metric as MLflow's JSON has it."""
    found: dict[str, Any] = {"key": one.key, "value": number(one.value), "timestamp": one.timestamp, "step": one.step}
    for name in ("model_id", "dataset_name", "dataset_digest"):
        if value := getattr(one, name, None):
            found[name] = value
    return found


def number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def paged(values: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(values)
    while page := list(islice(rest, size)):
        yield page
