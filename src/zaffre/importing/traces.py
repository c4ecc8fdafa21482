"""Traces: what their makers said of them, their spans, what was thought of them, and the runs they belong to.

All of it goes by MLflow's and OpenTelemetry's own operations; the tag that says a trace is whole goes last.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from zaffre.importing import journal, otlp, spans
from zaffre.importing.files import Files, Listing
from zaffre.importing.report import CHANGED, NEW, SAME, Report
from zaffre.importing.runs import paged
from zaffre.importing.source import Source, SourceError
from zaffre.importing.target import Target

AT_ONCE = 100
"""As many as this server answers, and links, in one request."""
IN_PROGRESS = "IN_PROGRESS"
SOURCE_RUN = "mlflow.sourceRun"
_PROMPTS = "mlflow.linkedPrompts"
_ID = re.compile(r"(?:tr-)?([0-9a-f]{32})")
_WITHOUT_FILES = ".without-files"
_ATTACHMENT = "mlflow-attachment://"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What MLflow says of a trace without its spans, of whatever version. Times in milliseconds."""

    there: str
    requested_at: int
    duration: int | None
    state: str
    client_request_id: str | None
    request_preview: str | None
    response_preview: str | None
    tags: dict[str, str]
    metadata: dict[str, str]
    assessments: list[dict[str, Any]]

    @property
    def here(self) -> str:
        """The id it has here: its own, or one made of that of MLflow 2, which OpenTelemetry's spans cannot have."""
        match = _ID.fullmatch(self.there)
        return f"tr-{match[1] if match else uuid.uuid5(uuid.NAMESPACE_URL, f'zaffre-import:{self.there}').hex}"

    def linked(self, runs: Iterable[str]) -> list[str]:
        """Those of the runs it is said to belong to that it does not name itself."""
        return sorted(set(runs) - {self.metadata.get(SOURCE_RUN)})

    def digest(self, runs: Iterable[str]) -> str:
        """For the journal. Its spans are no part of it: they are there before a trace's maker says how it ended."""
        return journal.digest(msgspec.to_builtins(self), self.linked(runs))


def head(info: Any) -> Head:
    metadata = dict(_either(info, "trace_metadata", "request_metadata"))
    state = _either(info, "state", "status")
    return Head(
        there=_either(info, "trace_id", "request_id"),
        requested_at=_either(info, "request_time", "timestamp_ms"),
        duration=_either(info, "execution_duration", "execution_time_ms"),
        state=str(getattr(state, "value", state)),
        client_request_id=getattr(info, "client_request_id", None),
        request_preview=getattr(info, "request_preview", None) or metadata.get("mlflow.traceInputs"),
        response_preview=getattr(info, "response_preview", None) or metadata.get("mlflow.traceOutputs"),
        tags={key: value for key, value in info.tags.items() if key not in journal.OURS},
        metadata=metadata,
        # Of a server MLflow's client does not say what holds, of a database it does.
        assessments=[{"valid": True, **one.to_dictionary()} for one in getattr(info, "assessments", None) or ()],
    )


class Traces:
    """Each call a trace, from any thread."""

    def __init__(self, source: Source, target: Target, files: Files, report: Report, *, again: bool) -> None:
        self._source, self._target, self._files, self._report = source, target, files, report
        self._again = again

    def known(self, ids: Sequence[str]) -> dict[str, str]:
        """Those traces that are here, each with the state the last import left it in; at most AT_ONCE."""
        answer = self._target.post("traces/batchGetInfos", {"trace_ids": list(ids)}, version="3.0")
        return {one["trace_id"]: one.get("tags", {}).get(journal.STATE, "") for one in answer.get("trace_infos", ())}

    def is_new(self, given: Head, known: str | None, runs: Iterable[str]) -> bool:
        """Whether there is anything to be brought; `runs` are those there that it belongs to."""
        digest = given.digest(runs)
        return self._again or (known != digest and (known != digest + _WITHOUT_FILES or self._files.wanted))

    def bring(self, given: Head, known: str | None, runs: Iterable[str], *, experiment_id: str) -> None:
        """Raises ClientError when something of it could not be brought; what is here stays and is taken up again."""
        if not self.is_new(given, known, runs):
            self._report.count("trace", SAME)
            return
        if not self._report.dry:
            whole = self._write(given, experiment_id, given.linked(runs))
            state = given.digest(runs) + ("" if whole else _WITHOUT_FILES)
            self._target.patch(f"traces/{given.here}/tags", {"key": journal.STATE, "value": state}, version="3.0")
        self._report.count("trace", CHANGED if known else NEW)

    def _write(self, given: Head, experiment_id: str, linked: Iterable[str]) -> bool:
        """Whether its files came, too. The head goes first: what a trace's maker has said, spans that arrive change no more."""
        wish = {"trace": {"trace_info": self._described(given, experiment_id)}}
        made = self._target.post("traces", wish, version="3.0")["trace"]["trace_info"]
        for run in linked:
            self._target.post("traces/link-to-run", {"run_id": journal.run_id(run), "trace_ids": [given.here]})
        for prompts in paged(_prompts(given.tags), AT_ONCE):
            self._target.post("traces/link-prompts", {"trace_id": given.here, "prompt_versions": prompts})
        read = spans.read(self._source, given.there, given.tags, ended=given.state != IN_PROGRESS)
        here = made["trace_location"]["mlflow_experiment"]["experiment_id"]
        for request in otlp.requests(read, given.here.removeprefix("tr-")):
            self._target.export_spans(here, request)
        attached = any(_ATTACHMENT in str(value) for span in read for value in otlp.raw(span).values())
        if attached and self._files.wanted:
            self._bring_attachments(given, made["tags"].get(spans.ARTIFACTS, ""))
        return not attached or self._files.wanted

    def _bring_attachments(self, given: Head, here: str) -> None:
        """What was too large for a span lies in files beside it."""
        scheme, _, base = here.partition(":/")
        if scheme != "mlflow-artifacts":
            raise SourceError(f"its attachments cannot be sent to {here}")
        files = self._files.listing(given.tags.get(spans.ARTIFACTS, ""))
        kept = Listing([one for one in files.entries if one[0] != spans.FILE], files.fetch)
        self._files.bring(kept, base.strip("/"), again=self._again)

    def _described(self, given: Head, experiment_id: str) -> dict[str, Any]:
        own = {key: value for key, value in given.tags.items() if key not in (spans.ARTIFACTS, spans.LOCATION)}
        metadata = dict(given.metadata)
        if run := metadata.get(SOURCE_RUN):
            metadata[SOURCE_RUN] = journal.run_id(run)
        info = {
            "trace_id": given.here,
            "trace_location": {
                "type": "MLFLOW_EXPERIMENT",
                "mlflow_experiment": {"experiment_id": experiment_id},
            },
            "request_time": datetime.fromtimestamp(given.requested_at / 1000, UTC).isoformat(timespec="milliseconds"),
            "execution_duration": None if given.duration is None else f"{Decimal(given.duration) / 1000:f}s",
            "state": given.state,
            "client_request_id": given.client_request_id,
            "request_preview": given.request_preview,
            "response_preview": given.response_preview,
            "trace_metadata": metadata,
            "tags": journal.tags(own, self._source.name, given.there, given.here),
            "assessments": [{**one, "trace_id": given.here} for one in given.assessments],
        }
        return {key: value for key, value in info.items() if value is not None}


def _prompts(tags: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The versions of prompts that a trace used."""
    try:
        listed = json.loads(tags.get(_PROMPTS, "[]"))
    except ValueError:
        return
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and one.get("name") and one.get("version"):
            yield {"name": str(one["name"]), "version": str(one["version"])}


def _either(info: Any, name: str, before: str) -> Any:
    """A field by its name since MLflow 3, or by the one it had before."""
    return getattr(info, name) if hasattr(info, name) else getattr(info, before)
