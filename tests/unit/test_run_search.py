"""Searching runs as MLflow does, on both databases: what is found and in which order is held against a plain model in Python."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.databases import database, postgres_url
from zaffre.services.tracking import Tracking, filters
from zaffre.services.tracking.runs import Batch
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.tracking.conditions import Condition, Order, holds
from zaffre.store.tracking.records import Link, Point, Run
from zaffre.store.unit import Actor

__all__ = ["database", "postgres_url"]
ME = Actor(name="me")
T = TypeVar("T")
SHARED = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


def start(tracking: Tracking, *, name: str = "r", at: int = 1, links: list[Link] | None = None, **logged: Any) -> str:
    """A run with metrics, params and tags, given as documents."""
    made = do(tracking.runs.start(ME, "w", "0", name=name, user="me", started_at=at, tags=logged.get("tags", {})))
    metrics = [Point(key=key, value=value, timestamp=1) for key, value in logged.get("metrics", {}).items()]
    do(tracking.runs.log("w", made.head.id, Batch(metrics=metrics, params=list(logged.get("params", {}).items()))))
    if links:
        do(tracking.runs.link("w", made.head.id, links))
    return made.head.id


def found(tracking: Tracking, filter_: str | None = None, *order_by: str, size: int = 100) -> list[str]:
    """The ids of the runs, read page by page."""
    ids: list[str] = []
    token: str | None = None
    while True:
        page, token = do(tracking.search_runs("w", ["0"], filter_=filter_, order_by=order_by, token=token, limit=size))
        ids += [run.head.id for run in page]
        if token is None:
            return ids


def dataset(name: str, digest: str, context: str | None = None) -> Link:
    detail = {"dataset": {"name": name, "digest": digest}}
    return Link(
        direction="input", kind="dataset", target=f"{name}@{digest}", detail=detail, name=name, digest=digest, context=context
    )  # fmt: skip


def test_runs_are_found_by_what_they_read(tracking: Tracking) -> None:
    a = start(tracking, links=[dataset("iris", "1", "training"), dataset("wine", "2", "eval")])
    b = start(tracking, links=[dataset("iris", "3")])
    start(tracking)
    expected = {
        "datasets.name = 'iris'": {a, b},
        "dataset.name LIKE 'i%' AND dataset.digest = '3'": {b},
        "datasets.name ILIKE 'WIN_'": {a},
        "datasets.name IN ('wine', 'none')": {a},
        "datasets.digest NOT IN ('3')": {a},
        "datasets.context = 'training'": {a},
        "datasets.context != 'training'": {a},
        "datasets.name = 'none'": set(),
    }
    assert {text: set(found(tracking, text)) for text in expected} == expected
    summaries = do(tracking.runs.datasets("w", ["0"], 10))
    assert [(one.name, one.digest, one.context) for one in summaries] == [
        ("iris", "1", "training"), ("iris", "3", None), ("wine", "2", "eval"),
    ]  # fmt: skip
    do(tracking.runs.set_lifecycle(ME, "w", b, "deleted"))
    assert [one.digest for one in do(tracking.runs.datasets("w", ["0"], 10))] == ["1", "2"]


def test_a_dataset_is_read_once_and_a_model_made_again_moves_on(tracking: Tracking) -> None:
    run = start(tracking, links=[dataset("iris", "1", "training")])
    do(tracking.runs.link("w", run, [dataset("iris", "1", "eval")]))
    for step in (1, 5):
        do(tracking.runs.link("w", run, [Link(direction="output", kind="model", target="m-1", step=step)]))
    links = do(tracking.get_run("w", run)).links
    assert [(one.kind, one.step, one.context) for one in links] == [("dataset", 0, "training"), ("model", 5, None)]
    do(tracking.runs.link("w", run, [dataset("b", "2"), dataset("a", "3")]))
    do(tracking.runs.link("w", run, [dataset("0", "4")]))
    read = [one.name for one in do(tracking.get_run("w", run)).links if one.direction == "input"]
    assert read == ["iris", "b", "a", "0"]


def test_equal_starts_are_ordered_by_id_and_newer_runs_come_first(tracking: Tracking) -> None:
    old, new = start(tracking, at=1), start(tracking, at=3)
    same = sorted(start(tracking, at=2) for _ in range(7))
    assert found(tracking, None, size=2) == [new, *same, old]
    assert found(tracking, None, "start_time ASC", size=3) == [old, *same, new]


def test_runs_that_start_meanwhile_do_not_move_the_pages(tracking: Tracking) -> None:
    ids = [start(tracking, at=at, metrics={"m": at}) for at in range(6)]
    page, token = do(tracking.search_runs("w", ["0"], order_by=["metrics.m DESC"], limit=2))
    start(tracking, at=9, metrics={"m": 9})
    rest, _ = do(tracking.search_runs("w", ["0"], order_by=["metrics.m DESC"], token=token, limit=10))
    assert [run.head.id for run in page + rest] == ids[::-1]


def test_not_a_number_sorts_behind_the_numbers_and_the_absent_last(tracking: Tracking) -> None:
    values = {"low": -math.inf, "one": 1.0, "high": math.inf, "nan": math.nan}
    ids = {name: start(tracking, metrics={"m": value}) for name, value in values.items()}
    ids["none"] = start(tracking)
    names = {id_: name for name, id_ in ids.items()}
    assert [names[id_] for id_ in found(tracking, None, "metrics.m", size=2)] == ["low", "one", "high", "nan", "none"]
    assert [names[id_] for id_ in found(tracking, None, "metric.m DESC", size=2)] == [
        "high",
        "one",
        "low",
        "nan",
        "none",
    ]
    assert found(tracking, "metrics.m > 1e300") == [ids["high"]]
    assert set(found(tracking, "metrics.m != 1")) == {ids["low"], ids["high"]}


def test_where_artifacts_are_is_an_attribute(tracking: Tracking) -> None:
    run = start(tracking)
    assert found(tracking, f"artifact_uri = 'mlflow-artifacts:/ExperimentRun/dcid.{run}'") == [run]
    assert found(tracking, "attributes.artifact_uri LIKE 's3:%'") == []


@pytest.mark.parametrize("pattern", ["\\", "a\\", "%\\%", "[", "*", "?", "]", "%[_", "ä", "'", '"', "%" * 9_000])
def test_no_pattern_breaks_a_search(tracking: Tracking, pattern: str) -> None:
    text = pattern.replace("%", "x").replace("_", "y")
    run = start(tracking, tags={"t": text})
    quoted = pattern.replace("'", "''")
    for op in ("LIKE", "ILIKE"):
        assert found(tracking, f"tags.t {op} '{quoted}'") == [run]


# ---- the model: a handful of runs, random conditions and orders
numbers = st.sampled_from([-math.inf, -2.5, 0.0, 0.5, 3.0, math.inf, math.nan])
texts = st.sampled_from(["", "a", "A", "ab", "%", "b_", "it's"])
made = st.lists(
    st.fixed_dictionaries(
        {"at": st.integers(0, 3), "name": texts.filter(bool)},
        optional={
            "metrics": st.dictionaries(st.sampled_from("mn"), numbers),
            "params": st.dictionaries(st.sampled_from("pq"), texts),
            "tags": st.dictionaries(st.sampled_from("tu"), texts),
        },
    ),
    min_size=1,
    max_size=6,
)
comparisons = st.one_of(
    st.builds(
        lambda key, op, value: f"metrics.{key} {op} {value}",
        st.sampled_from("mn"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.sampled_from([-2.5, 0, 0.5, 3]),
    ),
    st.builds(
        lambda field, op, value: f"{field} {op} '{value.replace(chr(39), chr(39) * 2)}'",
        st.sampled_from(["params.p", "tags.t", "attributes.run_name", "tags.mlflow.runName"]),
        st.sampled_from(["=", "!=", "LIKE", "ILIKE"]),
        st.sampled_from(["", "a", "A%", "%b", "_", "%", "it's"]),
    ),
    st.builds("{} {}".format, st.sampled_from(["params.p", "tags.u"]), st.sampled_from(["IS NULL", "IS NOT NULL"])),
    st.builds("start_time {} {}".format, st.sampled_from(["=", "!=", "<", ">="]), st.integers(0, 3)),
    st.builds("run_name {} ('a', 'ab')".format, st.sampled_from(["IN", "NOT IN"])),
)  # fmt: skip
orders = st.lists(
    st.builds("{} {}".format, st.sampled_from(["metrics.m", "start_time"]), st.sampled_from(["ASC", "DESC"])),
    max_size=2,
)


@SHARED
@given(runs=made, asked=st.lists(comparisons, max_size=3), order_by=orders, size=st.integers(1, 4))
def test_what_is_found_is_what_is_meant(
    database: Database, runs: list[dict[str, Any]], asked: list[str], order_by: list[str], size: int
) -> None:
    with database.engine.begin() as conn:
        conn.execute(sa.delete(tables.runs))
    tracking = Tracking(database)
    known = [do(tracking.get_run("w", start(tracking, **one))) for one in runs]
    conditions = filters.parse(" AND ".join(asked), filters.RUNS)
    expected = [run for run in known if all(meets(one, run) for one in conditions)]
    expected.sort(key=lambda run: (-(run.head.started_at or 0), run.head.id))
    for order in reversed(filters.parse_order(order_by, filters.RUNS)):
        expected = ordered(expected, order)
    assert found(tracking, " AND ".join(asked), *order_by, size=size) == [run.head.id for run in expected]


def meets(condition: Condition, run: Run) -> bool:
    value = value_of(run, condition.entity, condition.key)
    if isinstance(value, float) and math.isnan(value):
        return False
    return holds(condition, value)


def value_of(run: Run, entity: str, key: str) -> Any:
    if entity == "metric":
        return next((point.value for point in run.metrics if point.key == key), None)
    if entity == "param":
        return run.params.get(key)
    if entity == "tag":
        return {**run.tags, "mlflow.runName": run.head.display_name}.get(key)
    return {"start_time": run.head.started_at, "run_name": run.head.display_name}[key]


def ordered(runs: list[Run], order: Order) -> list[Run]:
    """Stable, so that what was sorted before decides between equals."""

    def rank(run: Run) -> tuple[int, float]:
        value = value_of(run, order.entity, order.key)
        if value is None:
            return 2, 0
        if math.isnan(value):
            return 1, 0
        return 0, -value if order.descending else value

    return sorted(runs, key=rank)
