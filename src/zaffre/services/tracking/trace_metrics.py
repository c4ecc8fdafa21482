"""Figures over traces: which there are, what may be done with each, and the page of them that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import sqlalchemy as sa

from zaffre.errors import InvalidInput
from zaffre.services.tracking import filters, paging
from zaffre.store.database import Database
from zaffre.store.tracking import trace_metrics as store
from zaffre.store.tracking.trace_metrics import (
    ASSESSMENTS,
    AVG,
    COUNT,
    MAX,
    MIN,
    PERCENTILE,
    SPANS,
    SUM,
    TRACES,
    Aggregation,
    Asked,
    Filter,
    Group,
)
from zaffre.store.tracking.traces import COSTS, TOKENS

VIEWS = (TRACES, SPANS, ASSESSMENTS)
AGGREGATIONS = (COUNT, SUM, AVG, PERCENTILE, MIN, MAX)
MOST_ASKED = 20  # aggregations, filters
_RANKED = (AVG, PERCENTILE, MIN, MAX)


@dataclass(frozen=True)
class Metric:
    """What may be computed of it, and what it may be grouped by."""

    aggregations: tuple[str, ...]
    dimensions: tuple[str, ...]


_MODEL = ("span_model_name", "span_model_provider")
METRICS: dict[str, dict[str, Metric]] = {
    TRACES: {
        "trace_count": Metric((COUNT,), ("trace_name", "trace_status")),
        "session_count": Metric((COUNT,), ()),
        "latency": Metric(_RANKED, ("trace_name",)),
        **dict.fromkeys(TOKENS, Metric((SUM, *_RANKED), ("trace_name",))),
    },
    SPANS: {
        "span_count": Metric((COUNT,), ("span_name", "span_type", "span_status", *_MODEL)),
        "latency": Metric(_RANKED, ("span_name", "span_status")),
        **dict.fromkeys(COSTS, Metric((SUM, *_RANKED), _MODEL)),
    },
    ASSESSMENTS: {
        "assessment_count": Metric((COUNT,), ("assessment_name", "assessment_value")),
        "assessment_value": Metric(_RANKED, ("assessment_name",)),
    },
}
_FIELDS = {
    "trace": ("status", "tag", "metadata"),
    "span": ("name", "status", "type"),
    "assessment": ("name", "type"),
}
_KEYED = ("tag", "metadata")
_ONLY_OF = {"span": SPANS, "assessment": ASSESSMENTS}


class TraceMetrics:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def query(self, scope: str, asked: Asked, token: str | None, limit: int) -> tuple[list[Group], str | None]:
        """A page of groups, in the order of their dimensions. Raises InvalidInput for what goes with no other."""
        check(asked)

        def work(conn: sa.Connection) -> tuple[list[Group], str | None]:
            def groups(after: list[Any] | None, most: int) -> list[tuple[Group, list[Any]]]:
                return [(one, one.place) for one in store.groups(conn, scope, asked, after, most)]

            return paging.found(token, limit, groups)

        return await self._database.read(work)


def check(asked: Asked) -> None:
    """Raises InvalidInput, in MLflow's words, for a question that has no answer."""
    metrics = METRICS[asked.view]
    if asked.metric not in metrics:
        _fail("metric_name", f"metric_name must be one of {_names(metrics)}, got '{asked.metric[:100]}'")
    metric = metrics[asked.metric]
    wrong = {one.kind for one in asked.aggregations} - set(metric.aggregations)
    if wrong:
        _fail(
            "aggregations",
            f"Found invalid aggregation_type(s): {_names(wrong)}. "
            f"Supported aggregation types: {_names(metric.aggregations)}",
        )
    unknown = set(asked.dimensions) - set(metric.dimensions)
    if unknown:
        _fail(
            "dimensions",
            f"Found invalid dimension(s): {_names(unknown)}. Supported dimensions: {_names(metric.dimensions)}",
        )
    if len(set(asked.dimensions)) < len(asked.dimensions):
        _fail("dimensions", "A dimension is named twice")
    if asked.interval and (asked.since is None or asked.until is None):
        _fail("time_interval_seconds", "start_time_ms and end_time_ms are required if time_interval_seconds is set")
    for one in asked.filters:
        only = _ONLY_OF.get(one.entity, asked.view)
        if only != asked.view:
            _fail("filters", f"Filtering by {one.entity} is only supported for {only} view type, got {asked.view}")


def parse_filters(texts: Sequence[str]) -> list[Filter]:
    """Each is one `view.field = 'value'`. Raises InvalidInput that says what was not understood."""
    return [_parsed(*filters.equality(text, "filters")) for text in texts]


def _parsed(name: str, value: str) -> Filter:
    head, *rest = name.split(".", 2)
    entity = head.strip("`")
    if not rest:
        _fail(
            "filters",
            f"Invalid identifier '{name[:100]}'. Columns should be specified as "
            "'trace.<key>', 'span.<key>', 'assessment.<key>'",
        )
    if entity not in _FIELDS:
        _fail("filters", f"Invalid view type '{entity[:100]}'. Valid values are {_names(_FIELDS)}")
    field, key = rest[0], rest[1] if len(rest) > 1 else None
    if field not in _FIELDS[entity]:
        _fail(
            "filters",
            f"Invalid entity '{field[:100]}' specified for view type '{entity}'. "
            f"Valid entities are {_names(_FIELDS[entity])}",
        )
    if field in _KEYED and not key:
        _fail("filters", f"Filtering by {field} requires a key, e.g. '{entity}.{field}.<key> = <value>'")
    if field not in _KEYED and key is not None:
        _fail("filters", f"Filtering by {field} does not require a key, use '{entity}.{field}' instead")
    return Filter(entity, field, None if key is None else filters.bare(key), value)


def _names(names: Iterable[str]) -> str:
    return f"[{', '.join(repr(name) for name in sorted(names))}]"


def _fail(target: str, what: str) -> NoReturn:
    raise InvalidInput(f"Field '{target}': {what}.", code="InvalidField", target=target)


__all__ = ["AGGREGATIONS", "METRICS", "VIEWS", "Aggregation", "Asked", "Group", "TraceMetrics", "parse_filters"]
