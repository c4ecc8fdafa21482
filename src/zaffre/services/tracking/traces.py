"""Traces: told by their makers at the end, or grown from the spans that arrive; labelled, assessed, searched, deleted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import InvalidInput, NotFound
from zaffre.services.artifact_uris import ARTIFACT_SCHEME
from zaffre.services.tracking import filters, paging
from zaffre.services.tracking.correlation import Counts
from zaffre.services.tracking.counted import figure, tokens
from zaffre.services.tracking.experiments import Experiments
from zaffre.store.database import Database
from zaffre.store.tracking import trace_search
from zaffre.store.tracking import traces as store
from zaffre.store.tracking.conditions import Condition
from zaffre.store.tracking.records import Experiment
from zaffre.store.tracking.traces import METADATA, PROMPT, TAG, Assessment, Span, Trace
from zaffre.store.unit import Actor, Unit

IN_PROGRESS = "IN_PROGRESS"
STATES = ("STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS")
NAME_TAG, ARTIFACTS_TAG = "mlflow.traceName", "mlflow.artifactLocation"
TOKENS, COST = "mlflow.trace.tokenUsage", "mlflow.trace.cost"
SPANS_TAG, IN_STORE = "mlflow.trace.spansLocation", "TRACKING_STORE"
MOST_IN_PREVIEW = 1000


class NewTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What its maker says of a trace. Times in milliseconds."""

    id: str
    experiment_id: str
    state: str
    requested_at: int
    duration: int | None = None
    client_request_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    tags: dict[str, str] = {}
    metadata: dict[str, str] = {}
    assessments: list[Assessment] = []


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """Spans of one trace, and what its root, if it is among them, says of the whole.

    `used` is what they used of models, all together, by the trace's metadata that tells it: tokens and US dollars.
    """

    trace: str
    spans: list[Span]
    request: str | None = None
    response: str | None = None
    metadata: dict[str, str] = {}
    used: dict[str, dict[str, float]] = {}


class Traces:
    def __init__(self, database: Database, experiments: Experiments) -> None:
        self._database = database
        self._experiments = experiments

    async def start(self, actor: Actor, scope: str, new: NewTrace) -> Trace:
        """Keep what its maker says of a trace; told again, or after its spans, it is what was said last."""

        def work(unit: Unit) -> Trace:
            experiment = self._experiments.active(unit, scope, new.experiment_id)
            pk = store.put(
                unit,
                scope,
                new.id,
                experiment.pk,
                state=new.state,
                requested_at=new.requested_at,
                duration=new.duration,
                client_request_id=new.client_request_id,
                finalized=True,
                **_previews(new),
                **tokens(new.metadata.get(TOKENS)),
            )
            store.set_labels(unit, pk, TAG, {ARTIFACTS_TAG: _artifacts(experiment, new.id), **new.tags})
            store.set_labels(unit, pk, METADATA, new.metadata)
            for one in new.assessments:
                store.put_assessment(unit, pk, one)
            self._record(unit, actor, "write", scope, new.id)
            return _present(unit.conn, scope, new.id)

        return await self._database.write(work)

    async def end(
        self,
        actor: Actor,
        scope: str,
        id_: str,
        *,
        state: str,
        ended_at: int,
        tags: Mapping[str, str],
        metadata: Mapping[str, str],
    ) -> Trace:
        """Say how a trace that was started ended, and when; labels join those it has."""

        def work(unit: Unit) -> Trace:
            held = _held(unit, scope, id_)
            store.put(
                unit,
                scope,
                id_,
                held.experiment,
                state=state,
                requested_at=held.requested_at,
                duration=ended_at - held.requested_at,
                finalized=True,
                **tokens(metadata.get(TOKENS)),
            )
            store.set_labels(unit, held.pk, TAG, tags)
            store.set_labels(unit, held.pk, METADATA, metadata)
            self._record(unit, actor, "write", scope, id_)
            return _present(unit.conn, scope, id_)

        return await self._database.write(work)

    async def log_spans(self, actor: Actor, scope: str, experiment_id: str, arrived: Sequence[Arrived]) -> None:
        """Keep spans, and make the traces they are the first of. All of them or, on any fault, none."""

        def work(unit: Unit) -> None:
            experiment = self._experiments.active(unit, scope, experiment_id)
            for one in sorted(arrived, key=lambda one: one.trace):  # two writers take PostgreSQL's locks in one order
                self._grow(unit, actor, scope, experiment, one)

        await self._database.write(work)

    async def get(self, scope: str, id_: str) -> Trace:
        return await self._database.read(lambda conn: _present(conn, scope, id_))

    async def several(self, scope: str, ids: Sequence[str]) -> list[Trace]:
        """Those that are there, in the order asked for."""
        return await self._database.read(lambda conn: store.get(conn, scope, ids))

    async def spans(self, traces: Sequence[Trace]) -> dict[int, list[bytes]]:
        """By the key of the trace, as they came."""
        return await self._database.read(lambda conn: store.spans(conn, [one.pk for one in traces]))

    async def search(
        self,
        scope: str,
        experiment_ids: Sequence[str],
        filter_: str | None,
        order_by: Sequence[str],
        token: str | None,
        limit: int,
    ) -> tuple[list[Trace], str | None]:
        """A page of traces, the newest first where nothing else is asked."""
        conditions = _conditions(filter_)
        orders = filters.parse_order(order_by, filters.TRACES)
        for one in orders:
            if one.entity == "attribute" and one.key not in trace_search.ORDERED:
                raise InvalidInput(
                    f"Field 'order_by': traces are not ordered by {one.entity} '{one.key}'.", target="order_by"
                )

        def work(conn: sa.Connection) -> tuple[list[Trace], str | None]:
            return paging.found(
                token,
                limit,
                lambda after, most: trace_search.search(conn, scope, experiment_ids, conditions, orders, after, most),
            )

        return await self._database.read(work)

    async def correlation(
        self, scope: str, experiment_ids: Sequence[str], base: str | None, first: str, second: str
    ) -> Counts:
        """How many traces of those that fit `base` each of two filters finds."""
        wanted = [
            _conditions(text, field)
            for field, text in (("base_filter", base), ("filter_string1", first), ("filter_string2", second))
        ]
        return Counts(
            *await self._database.read(lambda conn: trace_search.counts(conn, scope, experiment_ids, *wanted))
        )

    async def link_prompts(self, scope: str, id_: str, prompts: Sequence[tuple[str, str]]) -> None:
        """Say that a trace used versions of prompts, beside those said before."""
        used = {f"{name}/{version}": "" for name, version in prompts}
        await self._database.write(lambda unit: store.set_labels(unit, _held(unit, scope, id_).pk, PROMPT, used))

    async def set_tag(self, scope: str, id_: str, key: str, value: str) -> None:
        await self._database.write(lambda unit: store.set_labels(unit, _held(unit, scope, id_).pk, TAG, {key: value}))

    async def delete_tag(self, scope: str, id_: str, key: str) -> None:
        def work(unit: Unit) -> None:
            if not store.delete_label(unit, _held(unit, scope, id_).pk, TAG, key):
                raise NotFound(f"No trace tag with key '{key}' for trace with ID '{id_}'", target="key")

        await self._database.write(work)

    async def link(self, scope: str, ids: Sequence[str], run_id: str) -> None:
        """Say that traces belong to a run, beside the one that made them."""

        await self._database.write(lambda unit: store.link(unit, scope, ids, run_id))

    async def delete(
        self, actor: Actor, scope: str, experiment_id: str, *, ids: Sequence[str], until: int | None, most: int | None
    ) -> int:
        """Delete the traces with those ids, or those begun no later than that, the oldest first. How many."""

        def work(unit: Unit) -> int:
            experiment = self._experiments.named(unit, scope, experiment_id)
            named = until is None
            pks = (
                list(store.keys(unit.conn, scope, experiment.pk, ids).values())
                if named
                else store.older(unit.conn, experiment.pk, until or 0, most)
            )
            self._record(unit, actor, "delete", scope, experiment_id)
            return store.delete(unit, scope, pks)

        return await self._database.write(work)

    # ---- assessments
    async def assess(self, scope: str, id_: str, one: Assessment, overrides: str | None) -> Assessment:
        """Add an assessment; the one it overrides holds no more."""

        def work(unit: Unit) -> Assessment:
            pk = _held(unit, scope, id_).pk
            if overrides is not None:
                self._set_valid(unit, pk, _assessment(unit.conn, pk, id_, overrides), valid=False)
            store.put_assessment(unit, pk, one)
            return one

        return await self._database.write(work)

    async def assessment(self, scope: str, id_: str, assessment: str) -> Assessment:
        def work(conn: sa.Connection) -> Assessment:
            trace = store.find(conn, scope, id_)
            if trace is None:
                raise _missing(id_)
            return _assessment(conn, trace.pk, id_, assessment)

        return await self._database.read(work)

    async def reassess(self, scope: str, id_: str, assessment: str, change: Any) -> Assessment:
        """Change an assessment: `change` answers the new one of the old."""

        def work(unit: Unit) -> Assessment:
            pk = _held(unit, scope, id_).pk
            changed: Assessment = change(_assessment(unit.conn, pk, id_, assessment), unit.now)
            store.put_assessment(unit, pk, changed)
            return changed

        return await self._database.write(work)

    async def delete_assessment(self, scope: str, id_: str, assessment: str) -> None:
        """Delete it, if it is there; the one it overrode holds again."""

        def work(unit: Unit) -> None:
            pk = _held(unit, scope, id_).pk
            gone = store.assessment(unit.conn, pk, assessment)
            if gone is None:
                return
            overridden = gone.body.get("overrides")
            held = store.assessment(unit.conn, pk, overridden) if overridden else None
            if held is not None:
                self._set_valid(unit, pk, held, valid=True)
            store.delete_assessment(unit, pk, assessment)

        await self._database.write(work)

    # ---- helpers
    def _grow(self, unit: Unit, actor: Actor, scope: str, experiment: Experiment, one: Arrived) -> None:
        held = store.find(unit.conn, scope, one.trace, lock=True)
        root = next((span for span in one.spans if span.parent is None), None)
        tags = {SPANS_TAG: IN_STORE}
        if held is None or not held.finalized:
            begun = min(span.started_ns for span in one.spans) // 1_000_000
            ended = max(span.ended_ns or span.started_ns for span in one.spans) // 1_000_000
            if held is not None:
                begun = min(begun, held.requested_at)
                ended = max(ended, held.requested_at + (held.duration or 0))
            state = held.state if held is not None else IN_PROGRESS
            if root is not None and root.ended_ns and state in (IN_PROGRESS, STATES[0]):
                state = "ERROR" if root.status == "ERROR" else "OK"
            values: dict[str, Any] = {
                "state": state,
                "requested_at": begun,
                "duration": ended - begun,
                "finalized": False,
            }
            if root is not None:
                values |= {"request_preview": _short(one.request), "response_preview": _short(one.response)}
                tags[NAME_TAG] = root.name
            held_metadata = store.whole(unit.conn, [held])[0].metadata if held is not None else {}
            metadata = _with_used(held_metadata, one)
            values |= tokens(metadata.get(TOKENS))
            pk = store.put(unit, scope, one.trace, experiment.pk, **values)
            store.set_labels(unit, pk, METADATA, metadata)
        else:
            pk = held.pk
        if held is None:
            tags[ARTIFACTS_TAG] = _artifacts(experiment, one.trace)
            self._record(unit, actor, "write", scope, one.trace)
        store.set_labels(unit, pk, TAG, tags)
        store.put_spans(unit, pk, one.spans)

    @staticmethod
    def _set_valid(unit: Unit, pk: int, one: Assessment, *, valid: bool) -> None:
        changed = msgspec.structs.replace(one, valid=valid, body={**one.body, "valid": valid}, modified_at=unit.now)
        store.put_assessment(unit, pk, changed)

    @staticmethod
    def _record(unit: Unit, actor: Actor, verb: str, scope: str, which: str) -> None:
        unit.audit(actor, f"workspaces/experiments/traces/{verb}", f"{scope}/traces/{which}")


def _conditions(text: str | None, field: str = "filter") -> list[Condition]:
    """What a filter of traces asks for. Raises InvalidInput that names the field."""
    try:
        found = filters.parse(text, filters.TRACES)
    except InvalidInput as error:
        raise InvalidInput(
            str(error).replace("Field 'filter'", f"Field '{field}'", 1), code=error.code, target=field
        ) from None
    for one in found:
        if (one.entity, one.key) != ("attribute", "prompt"):
            continue
        wanted = 'prompt = "name/version"'
        if one.op != "=":
            why = f"Invalid comparator '{one.op}' for prompts filter. Only '=' is supported with format: {wanted}"
            raise InvalidInput(f"Field '{field}': {why}", target=field)
        if str(one.value).count("/") != 1:
            why = f"Invalid prompts filter value '{str(one.value)[:100]}'. Expected format: {wanted}"
            raise InvalidInput(f"Field '{field}': {why}", target=field)
    return found


def _previews(new: NewTrace) -> dict[str, str]:
    """Those its maker says; what its spans said before stays where it says none."""
    said = {"request_preview": new.request_preview, "response_preview": new.response_preview}
    return {name: text for name, text in said.items() if text is not None}


def _with_used(held: Mapping[str, str], one: Arrived) -> dict[str, str]:
    """What has arrived says of the trace, with what its spans used added to what was used before."""
    total = dict(one.metadata)
    for label, used in one.used.items():
        before = _told(held.get(label))
        both = {name: before.get(name, 0) + used.get(name, 0) for name in {**before, **used}}
        total[label] = json.dumps(both)
    return total


def _told(text: str | None) -> dict[str, float]:
    """Figures of a label, which anybody may have written."""
    try:
        told = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return {name: value for name, value in told.items() if figure(value) is not None} if isinstance(told, dict) else {}


def _artifacts(experiment: Experiment, trace: str) -> str:
    """Where a client puts what is too large for a span."""
    base = experiment.artifact_location or f"{ARTIFACT_SCHEME}experiments/{experiment.id}"
    return f"{base.rstrip('/')}/traces/{trace}/artifacts"


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= MOST_IN_PREVIEW else text[: MOST_IN_PREVIEW - 3] + "..."


def _held(unit: Unit, scope: str, id_: str) -> Trace:
    found = store.find(unit.conn, scope, id_, lock=True)
    if found is None:
        raise _missing(id_)
    return found


def _present(conn: sa.Connection, scope: str, id_: str) -> Trace:
    found = store.get(conn, scope, [id_])
    if not found:
        raise _missing(id_)
    return found[0]


def _assessment(conn: sa.Connection, pk: int, trace: str, id_: str) -> Assessment:
    found = store.assessment(conn, pk, id_)
    if found is None:
        raise NotFound(f"Assessment with ID '{id_}' not found for trace '{trace}'", target="assessment_id")
    return found


def _missing(id_: str) -> NotFound:
    return NotFound(f"Trace with ID '{id_}' not found.", target="trace_id")
