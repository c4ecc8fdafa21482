"""Tracking's SQL, on both databases: what a replay changes, which metric is the newest, how pages of a search join."""

from __future__ import annotations

import itertools
import math

import msgspec
import pytest

from tests.support.databases import database, postgres_url
from zaffre.store.database import Database
from zaffre.store.tracking import experiments, metrics, models, runs, search
from zaffre.store.tracking.conditions import Condition, Order
from zaffre.store.tracking.records import Link, NewRun, Point

__all__ = ["database", "postgres_url"]
SCOPE = "workspace"


@pytest.fixture
def experiment(database: Database) -> int:
    def work(unit):
        assert experiments.insert(unit, SCOPE, "e1", "first", None, {"k": "v"})
        return experiments.by_id(unit.conn, SCOPE, "e1").pk

    return database.write_now(work)


def make_run(database: Database, experiment: int, id_: str, **values) -> int:
    new = {"origin": "mlflow", "status": "Running", "display_name": id_, "user": "u", **values}

    def work(unit):
        assert runs.insert(unit, [NewRun(scope=SCOPE, id=id_, experiment=experiment, **new)])[0]
        return runs.find(unit.conn, SCOPE, id_).pk

    return database.write_now(work)


def latest(database: Database, run: int) -> dict[str, Point]:
    return {point.key: point for point in database.read_now(lambda conn: metrics.latest(conn, [run]))[run]}


def test_an_experiment_is_made_once_a_name_and_once_an_id(database: Database, experiment: int) -> None:
    assert not database.write_now(lambda unit: experiments.insert(unit, SCOPE, "e2", "first", None, {}))
    assert not database.write_now(lambda unit: experiments.insert(unit, SCOPE, "e1", "second", None, {}))
    assert database.write_now(lambda unit: experiments.insert(unit, "other", "e1", "first", None, {}))
    found = database.read_now(lambda conn: experiments.by_name(conn, SCOPE, "first"))
    assert (found.id, found.tags, found.lifecycle) == ("e1", {"k": "v"}, "active")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_newest_point_wins_by_step_then_time_then_value(
    database: Database, experiment: int, order: tuple[int, ...]
) -> None:
    run = make_run(database, experiment, "r")
    points = [
        Point(key="m", value=9.0, timestamp=9, step=1),
        Point(key="m", value=1.0, timestamp=5, step=2),
        Point(key="m", value=2.0, timestamp=5, step=2),
    ]
    for index in order:
        database.write_now(lambda unit, index=index: metrics.log(unit, [(run, experiment, [points[index]])]))
    assert latest(database, run)["m"] == points[2]
    assert database.read_now(lambda conn: metrics.history(conn, run, "m")) == points


def test_a_batch_that_is_sent_twice_changes_nothing(database: Database, experiment: int) -> None:
    run = make_run(database, experiment, "r")
    batch = [Point(key=f"m{n % 3}", value=float(n), timestamp=n, step=n // 3) for n in range(300)]
    batch += [Point(key="nan", value=math.nan, timestamp=1), Point(key="inf", value=-math.inf, timestamp=1)]
    for _ in range(2):
        database.write_now(lambda unit: metrics.log(unit, [(run, experiment, batch)]))
    assert len(database.read_now(lambda conn: metrics.history(conn, run, "m0"))) == 100
    found = latest(database, run)
    assert found["m2"] == batch[299]
    assert math.isnan(found["nan"].value) and found["inf"].value == -math.inf
    assert len(database.read_now(lambda conn: metrics.history(conn, run, "nan"))) == 1


def test_a_history_goes_on_where_its_page_ended(database: Database, experiment: int) -> None:
    run = make_run(database, experiment, "r")
    points = [Point(key="m", value=v, timestamp=1, step=s) for s in range(5) for v in (-math.inf, 0.5, math.nan)]
    database.write_now(lambda unit: metrics.log(unit, [(run, experiment, points)]))
    whole = database.read_now(lambda conn: metrics.history(conn, run, "m"))
    assert len(whole) == 15
    found: list[Point] = []
    after = None
    while page := database.read_now(lambda conn, after=after: metrics.history(conn, run, "m", after=after, limit=4)):
        found += page
        after = metrics.place(page[-1])
    assert str(found) == str(whole)
    steps = database.read_now(lambda conn: metrics.history(conn, run, "m", steps=(1, 2)))
    assert {point.step for point in steps} == {1, 2}


def test_metrics_of_a_model_are_found_in_every_run_that_measured_it(database: Database, experiment: int) -> None:
    first, second = make_run(database, experiment, "r1"), make_run(database, experiment, "r2")
    for run, value in ((first, 0.1), (second, 0.2)):
        old = Point(key="m", value=value, timestamp=1, step=1, model_id="m-1", dataset=("d", "x"))
        new = Point(key="m", value=value + 1, timestamp=1, step=2, model_id="m-1", dataset=("d", "x"))
        database.write_now(lambda unit, run=run, both=(new, old): metrics.log(unit, [(run, experiment, both)]))
    found = database.read_now(lambda conn: metrics.of_models(conn, SCOPE, ["m-1", "m-2"]))
    assert {(one.run_id, one.point.value) for one in found["m-1"]} == {("r1", 1.1), ("r2", 1.2)}
    assert found["m-1"][0].point.dataset == ("d", "x")
    assert found["m-2"] == []


def test_params_never_change(database: Database, experiment: int) -> None:
    run = make_run(database, experiment, "r")
    assert database.write_now(lambda unit: runs.put_params(unit, run, [("a", "1"), ("b", "2")])) is None
    assert database.write_now(lambda unit: runs.put_params(unit, run, [("b", "2"), ("c", "3")])) is None
    clash = database.write_now(lambda unit: runs.put_params(unit, run, [("d", "4"), ("a", "9")]))
    assert clash == ("a", "1", "9")


def test_a_run_is_read_with_all_that_was_logged_to_it(database: Database, experiment: int) -> None:
    run = make_run(database, experiment, "r", tags={"t": "1"}, properties={"p": "q"}, started_at=7)
    links = [
        Link(direction="input", kind="dataset", target="d@1", detail={"dataset": {"name": "d"}}),
        Link(direction="output", kind="model", target="m-1", step=3),
    ]

    def work(unit):
        runs.set_tags(unit, run, {"t": "2", "u": "3"})
        runs.put_params(unit, run, [("p", "1")])
        runs.put_links(unit, run, links)
        runs.put_links(unit, run, links)
        runs.update(unit, run, error={"code": "X"}, description="d")

    database.write_now(work)
    found = database.read_now(lambda conn: runs.get(conn, SCOPE, "r"))
    assert (found.tags, found.params, found.links) == ({"t": "2", "u": "3"}, {"p": "1"}, links)
    assert (found.head.properties, found.head.error, found.head.description) == ({"p": "q"}, {"code": "X"}, "d")
    assert (found.head.started_at, found.head.ordered_at, found.head.experiment_name) == (7, 7, "first")
    again = NewRun(
        scope=SCOPE, id="r", experiment=experiment, origin="job", status="NotStarted", display_name="", user=""
    )
    other = msgspec.structs.replace(again, id="other")
    held, made = database.write_now(lambda unit: runs.insert(unit, [again, other]))
    assert held is None and made is not None


def test_only_one_of_two_transitions_wins(database: Database, experiment: int) -> None:
    make_run(database, experiment, "r", status="Queued")
    move = lambda: database.write_now(  # noqa: E731
        lambda unit: runs.transition(unit, SCOPE, "r", ("Queued",), "Running", started_at=5)
    )
    assert [move(), move()] == [True, False]
    head = database.read_now(lambda conn: runs.head(conn, SCOPE, "r"))
    assert (head.status, head.started_at) == ("Running", 5)


def searched(database: Database, experiment: int, *conditions: Condition, order: tuple[Order, ...] = ()) -> list[str]:
    """The ids found, gathered over pages of two."""
    found: list[str] = []
    after = None
    while True:
        page = database.read_now(
            lambda conn, after=after: search.search(conn, SCOPE, [experiment], ("active",), conditions, order, after, 2)
        )
        found += [head.id for head, _ in page]
        if len(page) < 2:
            return found
        after = page[-1][1]


@pytest.fixture
def five(database: Database, experiment: int) -> int:
    """Runs a to e, started in that order; metrics 2, 1, NaN, absent, 1; `e` is deleted."""
    values = {"a": 2.0, "b": 1.0, "c": math.nan, "d": None, "e": 1.0}
    for number, (id_, value) in enumerate(values.items()):
        run = make_run(
            database, experiment, id_, started_at=100 + number, tags={"t": id_.upper()} if id_ != "d" else {}
        )

        def work(unit, run=run, value=value, id_=id_):
            if value is not None:
                metrics.log(unit, [(run, experiment, [Point(key="m", value=value, timestamp=1)])])
            runs.put_params(unit, run, [("p", f"x_{id_}")])
            if id_ == "e":
                runs.update(unit, run, lifecycle="deleted")

        database.write_now(work)
    return experiment


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ((), "dcba"),
        ((Condition("metric", "m", ">", 1),), "a"),
        ((Condition("metric", "m", "!=", 1),), "a"),
        ((Condition("metric", "m", "<=", 2.0), Condition("tag", "t", "=", "B")), "b"),
        ((Condition("tag", "t", "LIKE", "a"),), ""),
        ((Condition("tag", "t", "LIKE", "_"),), "cba"),
        ((Condition("tag", "t", "ILIKE", "a%"),), "a"),
        ((Condition("tag", "t", "IS NULL", None),), "d"),
        ((Condition("tag", "t", "IS NOT NULL", None),), "cba"),
        ((Condition("param", "p", "LIKE", "x_%"), Condition("param", "p", "!=", "x_a")), "dcb"),
        ((Condition("attribute", "run_id", "IN", ("a", "c", "z")),), "ca"),
        ((Condition("attribute", "run_id", "NOT IN", ("a", "c")),), "db"),
        ((Condition("attribute", "start_time", ">=", 102),), "dc"),
        ((Condition("tag", "mlflow.runName", "=", "b"),), "b"),
        ((Condition("tag", "mlflow.parentRunId", "IS NULL", None),), "dcba"),
    ],
)
@pytest.mark.parametrize("large", [1, 3, 2000])
def test_conditions(
    database: Database,
    five: int,
    conditions: tuple[Condition, ...],
    expected: str,
    large: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "LARGE", large)  # however many runs there are, the result is the same
    assert "".join(searched(database, five, *conditions)) == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ((Order("metric", "m"),), "bacd"),
        ((Order("metric", "m", descending=True),), "abcd"),
        ((Order("metric", "m"), Order("attribute", "run_name", descending=True)), "bacd"),
        ((Order("metric", "nobody has it"),), "dcba"),
        ((Order("tag", "t"),), "abcd"),
        ((Order("tag", "t", descending=True),), "cbad"),
        ((Order("attribute", "start_time"),), "abcd"),
        ((Order("attribute", "end_time"),), "dcba"),
        ((Order("attribute", "status"), Order("param", "p", descending=True)), "dcba"),
        ((Order("attribute", "run_name"),), "abcd"),
    ],
)
@pytest.mark.parametrize("large", [1, 2000])
def test_orders_and_their_pages(
    database: Database,
    five: int,
    order: tuple[Order, ...],
    expected: str,
    large: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "LARGE", large)
    assert "".join(searched(database, five, order=order)) == expected


def test_a_place_of_another_order_is_refused(database: Database, five: int) -> None:
    with pytest.raises(ValueError, match="another order"):
        database.read_now(lambda conn: search.search(conn, SCOPE, [five], ("active",), (), (), [1], 2))


def test_many_runs_are_read_in_a_few_queries(database: Database, experiment: int) -> None:
    def work(unit):
        for number in range(1200):
            new = NewRun(
                scope=SCOPE,
                id=f"r{number}",
                experiment=experiment,
                origin="mlflow",
                status="Running",
                display_name="n",
                user="u",
                tags={"n": str(number)},
            )
            runs.insert(unit, [new])

    database.write_now(work)
    heads = [
        head
        for head, _ in database.read_now(
            lambda conn: search.search(conn, SCOPE, [experiment], ("active",), (), (), None, 1200)
        )
    ]
    found = database.read_now(lambda conn: runs.with_data(conn, heads))
    assert [run.tags["n"] for run in found] == sorted(str(number) for number in range(1200))


def test_logged_models(database: Database, experiment: int) -> None:
    def work(unit):
        models.insert(
            unit, SCOPE, "m-1", experiment, "m", "PENDING", model_type=None, source_run="r", params={"a": "1"}, tags={}
        )
        models.update(unit, models.get(unit.conn, SCOPE, "m-1", lock=True).pk, tags={"b": "2"}, status="READY")

    database.write_now(work)
    found = database.read_now(lambda conn: models.listing(conn, SCOPE, ["e1", "e2"]))
    assert [(one.id, one.params, one.tags, one.status) for one in found] == [("m-1", {"a": "1"}, {"b": "2"}, "READY")]
    assert database.read_now(lambda conn: models.listing(conn, "other", ["e1"])) == []


def test_any_text_goes_through_the_columns_of_one_statement(database: Database, experiment: int) -> None:
    """What PostgreSQL's arrays have a meaning for is text like any other."""
    odd = ['a"b', "c\\d", "{e,f}", "NULL", "", " g ", "h\ni", "ö€😀", "'"]
    pk = make_run(database, experiment, "odd")
    points = [
        Point(key=key or "empty", value=value, timestamp=5, step=i) for i, key in enumerate(odd) for value in VALUES
    ]
    database.write_now(lambda unit: metrics.log(unit, [(pk, experiment, points)]))
    database.write_now(lambda unit: runs.set_tags(unit, pk, {f"k{i}": text for i, text in enumerate(odd)}))
    tags = database.read_now(lambda conn: runs.tags(conn, pk))
    assert tags == {f"k{i}": text for i, text in enumerate(odd)}
    for i, key in enumerate(odd):
        found = database.read_now(lambda conn, key=key: metrics.history(conn, pk, key or "empty"))  # type: ignore[misc]
        assert [point.value for point in found] == sorted(VALUES), (key, i)


VALUES = (0.1, -1e-320, 1.7976931348623157e308, float("inf"), float("-inf"), 3.0)
