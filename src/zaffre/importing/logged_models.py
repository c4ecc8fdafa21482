"""Logged models, as MLflow 3 keeps them: what they are and their files. What was measured on them goes with the runs that did."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from zaffre.importing import journal
from zaffre.importing.files import Files
from zaffre.importing.report import CHANGED, NEW, SAME, Report
from zaffre.importing.source import Source
from zaffre.importing.target import Target

PREFIX = "LOGGED_MODEL_"
_STATUS = {"FAILED": "UPLOAD_FAILED"}


class LoggedModels:
    """Those of one experiment after the other, each call a model, from any thread."""

    def __init__(self, source: Source, target: Target, files: Files, report: Report, *, again: bool) -> None:
        self._source, self._target, self._files, self._report = source, target, files, report
        self._again = again

    def known(self, experiment_id: str) -> dict[str, str]:
        """The models of an experiment that are here, each with the state the last import left it in."""
        wish = {"experiment_ids": [experiment_id], "max_results": 1000}
        return {
            one["info"]["model_id"]: next(
                (t["value"] for t in one["info"].get("tags", ()) if t["key"] == journal.STATE), ""
            )
            for one in self._target.pages("logged-models/search", "models", wish)
        }

    def bring(self, model: Any, experiment_id: str, known: str | None) -> None:
        """Raises ClientError when something of the model could not be brought."""
        files = self._files.listing(model.artifact_location)
        wanted = f"{journal.of_logged_model(model)}.{self._files.state(files, (known or '').partition('.')[2])}"
        if known == wanted and not self._again:
            self._report.count("logged model", SAME)
            return
        if not self._report.dry:
            answer = self._target.put("logged-models", self._described(model, experiment_id))
            if answer["lifecycle_stage"] != "active":
                self._report.note(f"logged model {model.model_id} was deleted here; it is left as it is")
                self._report.count("logged model", SAME)
                return
            self._files.bring(files, f"ExperimentRun/dcid.{model.model_id}", again=self._again)
            self._target.put("logged-models", self._described(model, experiment_id, {journal.STATE: wanted}))
        self._report.count("logged model", NEW if not known else CHANGED)

    def _described(self, model: Any, experiment_id: str, more: dict[str, str] | None = None) -> dict[str, Any]:
        status = getattr(model.status, "value", str(model.status))
        given = {
            "model_id": model.model_id,
            "experiment_id": experiment_id,
            "name": model.name,
            "status": PREFIX + _STATUS.get(status, status),
            "status_message": model.status_message or None,
            "model_type": model.model_type or None,
            "source_run_id": journal.run_id(model.source_run_id) if model.source_run_id else None,
            "creation_timestamp_ms": model.creation_timestamp,
            "last_updated_timestamp_ms": model.last_updated_timestamp,
            "tags": journal.tags(model.tags, self._source.name, model.model_id, model.model_id) | (more or {}),
            "params": dict(model.params),
        }
        return {key: value for key, value in given.items() if value is not None}


def measured(models: list[Any]) -> dict[str, list[Any]]:
    """The points that runs measured on models, by run."""
    found: dict[str, list[Any]] = defaultdict(list)
    for model in models:
        for one in model.metrics or ():
            found[one.run_id].append(one)
    return found
