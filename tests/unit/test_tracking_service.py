"""What tracking promises to jobs and to MLflow, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from tests.support.databases import Clock, database, postgres_url
from zaffre.errors import Conflict, InvalidInput, NotFound
from zaffre.services.tracking import Tracking, paging, words
from zaffre.services.tracking.names import two_words
from zaffre.services.tracking.runs import Batch
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.tracking.records import Point, Run
from zaffre.store.unit import Actor

__all__ = ["database", "postgres_url"]
ME = Actor(name="me")
T = TypeVar("T")


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def start(tracking: Tracking, **values: Any) -> Run:
    given = {"name": "", "user": "me", "started_at": None, "tags": {}, **values}
    return do(tracking.runs.start(ME, "w", "0", **given))


def make_job(database: Database, tracking: Tracking, run_id: str = "job-1", **values: Any) -> None:
    def work(unit):
        experiment = tracking.ensure_experiment(unit, "w", "train")
        tracking.create_run(
            unit, "w", run_id, experiment.pk, origin="job", status="NotStarted", display_name="Job", user="me", **values
        )

    database.write_now(work)


def events(database: Database, topic: str) -> list[str]:
    query = sa.select(tables.events.c.data).where(tables.events.c.topic == topic).order_by(tables.events.c.pk)
    return list(database.read_now(lambda conn: conn.execute(query).scalars().all()))


def test_the_default_experiment_is_made_when_first_asked_for(database: Database, tracking: Tracking) -> None:
    assert do(tracking.experiments.get("w", "0")).name == "Default"
    assert database.write_now(lambda unit: tracking.ensure_experiment(unit, "w", "Default")).id == "0"
    named = database.write_now(lambda unit: tracking.ensure_experiment(unit, "w", "train"))
    assert database.write_now(lambda unit: tracking.ensure_experiment(unit, "w", "train")) == named
    with pytest.raises(NotFound):
        do(tracking.experiments.get("w", "nope"))


def test_a_deleted_experiment_takes_no_runs_and_keeps_its_name(database: Database, tracking: Tracking) -> None:
    made = do(tracking.experiments.create(ME, "w", "e", None, {}))
    do(tracking.experiments.set_lifecycle(ME, "w", made.id, "deleted"))
    with pytest.raises(Conflict, match="Restore it"):
        database.write_now(lambda unit: tracking.ensure_experiment(unit, "w", "e"))
    with pytest.raises(Conflict, match="deleted state") as raised:
        do(tracking.experiments.create(ME, "w", "e", None, {}))
    assert raised.value.code == "RESOURCE_ALREADY_EXISTS"
    with pytest.raises(InvalidInput, match="'active' state"):
        do(tracking.runs.start(ME, "w", made.id, name="", user="", started_at=None, tags={}))
    do(tracking.experiments.set_lifecycle(ME, "w", made.id, "active"))
    do(tracking.experiments.rename(ME, "w", made.id, "f"))
    found, _ = do(tracking.experiments.search("w", ("active",), "name LIKE 'f'", [], None, 10))
    assert [one.id for one in found] == [made.id]


def test_three_tags_of_mlflow_are_columns(database: Database, tracking: Tracking) -> None:
    make_job(database, tracking)
    made = start(
        tracking, tags={"mlflow.runName": "n", "mlflow.note.content": "d", "mlflow.parentRunId": "job-1", "k": "v"}
    )
    head = made.head
    assert (head.display_name, head.description, head.parent, head.root) == ("n", "d", "job-1", "job-1")
    assert made.tags == {"k": "v"}
    grandchild = start(tracking, tags={"mlflow.parentRunId": head.id}).head
    assert (grandchild.parent, grandchild.root) == (head.id, "job-1")
    do(tracking.runs.log("w", head.id, Batch(tags={"mlflow.note.content": "e", "mlflow.runName": "o", "k": "w"})))
    again = do(tracking.get_run("w", head.id))
    assert (again.head.description, again.head.display_name, again.tags) == ("e", "o", {"k": "w"})
    do(tracking.runs.delete_tag("w", head.id, "mlflow.note.content"))
    assert do(tracking.get_run("w", head.id)).head.description is None
    for key in ("mlflow.runName", "gone"):
        with pytest.raises((InvalidInput, NotFound)):
            do(tracking.runs.delete_tag("w", head.id, key))


def test_a_run_without_a_name_gets_one(tracking: Tracking) -> None:
    assert len(start(tracking).head.display_name.split("-")) == 3
    assert two_words(Clock()) != two_words(Clock())


def test_what_a_job_says_of_its_own_status_is_passed_over(database: Database, tracking: Tracking) -> None:
    make_job(database, tracking)
    head = do(tracking.runs.update("w", "job-1", status="FINISHED", ended_at=5, name="New"))
    assert (head.status, head.ended_at, head.display_name) == ("NotStarted", None, "New")
    with pytest.raises(InvalidInput, match="status"):
        do(tracking.runs.update("w", "job-1", status="DONE", ended_at=None, name=None))


def test_a_run_of_mlflow_ends_and_may_be_taken_up_again(database: Database, tracking: Tracking) -> None:
    run_id = start(tracking).head.id
    ended = do(tracking.runs.update("w", run_id, status="FAILED", ended_at=9, name=None))
    assert (ended.status, ended.ended_at) == ("Failed", 9)
    resumed = do(tracking.runs.update("w", run_id, status="RUNNING", ended_at=None, name=None))
    assert (resumed.status, resumed.ended_at) == ("Running", None)
    assert events(database, "runs") == [
        '{"status":"Running"}',
        '{"status":"Failed"}',
        '{"status":"Running"}',
    ]


def test_a_transition_is_guarded_and_emits_once(database: Database, tracking: Tracking) -> None:
    make_job(database, tracking)
    rung: list[str] = []
    database.bells.listen("runs", rung.append)
    move = lambda: database.write_now(  # noqa: E731
        lambda unit: tracking.set_status(unit, "w", "job-1", ("NotStarted",), "Failed", error={"code": "X"}, ended=3)
    )
    assert [move(), move()] == [True, False]
    assert rung == ["job-1"]
    head = do(tracking.runs.head("w", "job-1"))
    assert (head.status, head.error, head.ended_at) == ("Failed", {"code": "X"}, 3)


def test_a_batch_is_logged_whole_or_not_at_all(tracking: Tracking) -> None:
    run_id = start(tracking).head.id
    do(tracking.runs.log("w", run_id, Batch(params=[("p", "1")])))
    bad = Batch(params=[("q", "2"), ("p", "3")], metrics=[Point(key="m", value=1, timestamp=1)], tags={"t": "u"})
    with pytest.raises(InvalidInput, match="already logged with value='1'"):
        do(tracking.runs.log("w", run_id, bad))
    found = do(tracking.get_run("w", run_id))
    assert (found.params, found.metrics, found.tags) == ({"p": "1"}, [], {})


def test_a_deleted_run_takes_nothing_and_is_not_found(tracking: Tracking) -> None:
    run_id = start(tracking).head.id
    do(tracking.runs.set_lifecycle(ME, "w", run_id, "deleted"))
    with pytest.raises(InvalidInput, match="'active' state"):
        do(tracking.runs.log("w", run_id, Batch(tags={"a": "b"})))
    assert do(tracking.search_runs("w", ["0"])) == ([], None)
    assert len(do(tracking.search_runs("w", ["0"], lifecycles=("deleted",)))[0]) == 1
    do(tracking.runs.set_lifecycle(ME, "w", run_id, "active"))
    do(tracking.runs.set_lifecycle(ME, "w", run_id, "active"))  # again changes nothing
    for missing in (tracking.runs.set_lifecycle(ME, "w", "no", "deleted"), tracking.runs.log("w", "no", Batch())):
        with pytest.raises(NotFound):
            do(missing)


def test_an_experiment_is_deleted_and_restored_with_its_runs(tracking: Tracking) -> None:
    made = do(tracking.experiments.create(ME, "w", "e", None, {}))
    ids = [
        do(tracking.runs.start(ME, "w", made.id, name="", user="me", started_at=None, tags={})).head.id for _ in "ab"
    ]
    other = start(tracking).head.id
    do(tracking.runs.set_lifecycle(ME, "w", ids[0], "deleted"))
    do(tracking.experiments.set_lifecycle(ME, "w", made.id, "deleted"))
    gone, _ = do(tracking.search_runs("w", [made.id, "0"], lifecycles=("deleted",)))
    assert {run.head.id for run in gone} == set(ids)
    with pytest.raises(InvalidInput, match="'active' state"):
        do(tracking.runs.log("w", ids[1], Batch(tags={"a": "b"})))
    do(tracking.experiments.set_lifecycle(ME, "w", made.id, "active"))
    back, _ = do(tracking.search_runs("w", [made.id, "0"]))
    assert {run.head.id for run in back} == {*ids, other}


def test_a_runs_end_is_the_one_that_is_told(tracking: Tracking) -> None:
    run_id = start(tracking).head.id
    update = tracking.runs.update
    assert do(update("w", run_id, status="RUNNING", ended_at=-5, name=None)).ended_at == -5
    assert do(update("w", run_id, status=None, ended_at=7, name=None)).ended_at == 7
    assert do(update("w", run_id, status="RUNNING", ended_at=None, name=None)).ended_at is None
    assert do(update("w", run_id, status="FINISHED", ended_at=None, name=None)).ended_at is not None


def test_a_run_has_one_name(tracking: Tracking) -> None:
    assert start(tracking, name="a", tags={"mlflow.runName": "a"}).head.display_name == "a"
    with pytest.raises(InvalidInput, match="with different values"):
        start(tracking, name="a", tags={"mlflow.runName": "b"})


def test_a_search_for_mlflows_status_finds_all_words_it_stands_for(database: Database, tracking: Tracking) -> None:
    make_job(database, tracking)
    experiment = do(tracking.get_run("w", "job-1")).head.experiment_id
    for status, mlflow in (("Queued", "SCHEDULED"), ("Finalizing", "RUNNING"), ("Canceled", "KILLED")):
        database.write_now(lambda unit, status=status: tracking.set_status(unit, "w", "job-1", words.ALL, status))
        assert words.to_mlflow(status) == mlflow
        for filter_, expected in (
            (f"status = '{mlflow}'", 1),
            (f"status != '{mlflow}'", 0),
            ("status LIKE '%ED%'", None),
        ):
            found, _ = do(tracking.search_runs("w", [experiment, "unknown"], filter_=filter_))
            assert len(found) == (expected if expected is not None else ("ED" in mlflow))


def test_pages_of_runs_and_of_a_history(tracking: Tracking) -> None:
    ids = [start(tracking, started_at=number).head.id for number in range(5)]
    found: list[str] = []
    token = None
    while True:
        page, token = do(tracking.search_runs("w", ["0"], order_by=["start_time ASC"], limit=2, token=token))
        found += [run.head.id for run in page]
        if token is None:
            break
    assert found == ids
    do(tracking.runs.log("w", ids[0], Batch(metrics=[Point(key="m", value=n, timestamp=n, step=n) for n in range(5)])))
    points, token = do(tracking.runs.history("w", ids[0], "m", None, 3))
    rest, end = do(tracking.runs.history("w", ids[0], "m", token, 3))
    assert ([point.step for point in points + rest], end) == ([0, 1, 2, 3, 4], None)
    some = do(tracking.runs.histories("w", ids[:2], "m", None, 3))
    assert [(run, point.step) for run, point in some] == [(ids[0], step) for step in (0, 1, 3, 4)]
    for wrong in ("x", "WzFd", *map(paging.token, ([], [1], ["a", "b"], [None, "b"], [2**63, "b"], [1, 2], [{}, "b"]))):
        with pytest.raises(InvalidInput, match="page_token"):
            do(tracking.search_runs("w", ["0"], token=wrong))
        with pytest.raises(InvalidInput, match="page_token"):
            do(tracking.runs.history("w", ids[0], "m", wrong, 3))


def test_logged_models(tracking: Tracking) -> None:
    given = {"model_type": None, "source_run": None, "params": {"a": "1"}, "tags": {}}
    one = do(tracking.models.create(ME, "w", "0", name="one", **given)).model
    two = do(tracking.models.create(ME, "w", "0", name=None, **given)).model
    assert (one.status, one.id[:2]) == ("LOGGED_MODEL_PENDING", "m-")
    assert do(tracking.models.finalize(ME, "w", one.id, "LOGGED_MODEL_READY")).model.status == "LOGGED_MODEL_READY"
    with pytest.raises(InvalidInput, match="status"):
        do(tracking.models.finalize(ME, "w", one.id, "READY"))
    do(tracking.models.log_params(ME, "w", one.id, {"a": "1", "b": "2"}))
    with pytest.raises(InvalidInput, match="already logged"):
        do(tracking.models.log_params(ME, "w", one.id, {"a": "2"}))
    do(tracking.models.set_tags(ME, "w", one.id, {"t": "1"}))
    run_id = start(tracking).head.id
    do(tracking.runs.log("w", run_id, Batch(metrics=[Point(key="acc", value=0.5, timestamp=1, model_id=one.id)])))
    for filter_ in ("metrics.acc >= 0.5", "tags.t = '1'", "params.b = '2'", "name = 'one' AND status = 'READY'"):
        found, token = do(tracking.models.search("w", ["0"], filter_, [], None, 10))
        assert ([row.model.id for row in found], token) == ([one.id], None)
        assert [point.point.value for point in found[0].metrics] == [0.5]
    order = [("creation_timestamp DESC", None), ("name ASC", None)]
    found, token = do(tracking.models.search("w", ["0"], None, order, None, 1))
    rest, _ = do(tracking.models.search("w", ["0"], None, order, token, 1))
    assert {found[0].model.id, rest[0].model.id} == {one.id, two.id}
    do(tracking.models.delete_tag(ME, "w", one.id, "t"))
    do(tracking.models.delete(ME, "w", one.id))
    for gone in (tracking.models.get("w", one.id), tracking.models.delete_tag(ME, "w", two.id, "t")):
        with pytest.raises(NotFound):
            do(gone)
