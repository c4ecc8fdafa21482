"""What reviews need of both databases: one queue a user whoever asks at once, questions that hold, pages, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from tests.support.databases import Clock, database, postgres_url
from zaffre.errors import Conflict, InvalidInput, NotFound
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.label_schemas import NewLabelSchema
from zaffre.services.tracking.review_queues import CUSTOM, NewQueue
from zaffre.services.tracking.traces import NewTrace
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.tracking.label_schemas import LabelSchema, Text
from zaffre.store.tracking.review_queues import Queue
from zaffre.store.unit import Actor

__all__ = ["database", "postgres_url"]
ME = Actor(name="me")
T = TypeVar("T")


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def all_of(*works: Coroutine[Any, Any, T]) -> list[T | BaseException]:
    async def go() -> list[T | BaseException]:
        return await asyncio.gather(*works, return_exceptions=True)

    return asyncio.run(go())


@pytest.fixture
def tracking(database: Database) -> Tracking:
    """Traces t0 to t4 in experiment "0" of scope "s", one called "other" in another experiment."""
    made = Tracking(database)
    for scope in ("s", "elsewhere"):
        do(made.experiments.by_name(scope, "Default"))
    other = do(made.experiments.create(ME, "s", "other", None, {})).id
    for id_ in ("t0", "t1", "t2", "t3", "t4", "other"):
        new = NewTrace(id=id_, experiment_id=other if id_ == "other" else "0", state="OK", requested_at=1000)
        do(made.traces.start(ME, "s", new))
    return made


def schema(tracking: Tracking, name: str, scope: str = "s", experiment: str = "0") -> LabelSchema:
    new = NewLabelSchema(experiment_id=experiment, name=name, type="FEEDBACK", input=Text())
    return do(tracking.label_schemas.create(ME, scope, new))


def queue(tracking: Tracking, name: str, schema_ids: tuple[str, ...] = (), scope: str = "s") -> Queue:
    new = NewQueue(experiment_id="0", name=name, type=CUSTOM, users=["ann"], schema_ids=schema_ids)
    return do(tracking.review_queues.create(ME, scope, new))


def change(tracking: Tracking, one: Queue, **words: Any) -> Queue:
    nothing: dict[str, Any] = {"name": None, "owner": None, "users": None, "schema_ids": None}
    return do(tracking.review_queues.update(ME, "s", one.id, **{**nothing, **words}))


def waiting(tracking: Tracking, one: Queue) -> list[str]:
    return [item.id for item in do(tracking.review_queues.items("s", one.id, None, None, 100))[0]]


def test_many_at_once_make_one_queue_of_a_user_and_one_default_question(tracking: Tracking) -> None:
    queues = all_of(*(tracking.review_queues.of_user(ME, "s", "0", name) for name in ("Ann", "ann", " ANN ") * 5))
    assert len({one.id for one in queues if isinstance(one, Queue)}) == 1 and not _failed(queues)
    assert _count(tracking, tables.review_queue_users) == 1
    lists = all_of(*(tracking.label_schemas.listing("s", "0", None, 10) for _ in range(10)))
    assert not _failed(lists) and _count(tracking, tables.label_schemas) == 1
    default = do(tracking.label_schemas.by_name("s", "0", "Feedback"))
    with pytest.raises(InvalidInput, match="default question"):
        do(tracking.label_schemas.delete(ME, "s", default.id))
    made = all_of(*(tracking.review_queues.create(ME, "s", NewQueue(experiment_id="0", name=name, type=CUSTOM))
                    for name in ("team", "TEAM") * 5))  # fmt: skip
    assert len([one for one in made if isinstance(one, Queue)]) == 1
    assert all(isinstance(one, Conflict) for one in _failed(made)) and len(_failed(made)) == 9
    with pytest.raises(Conflict, match="non-user queue"):
        do(tracking.review_queues.of_user(ME, "s", "0", "Team"))


def _failed(found: list[Any]) -> list[Any]:
    return [one for one in found if isinstance(one, BaseException)]


def _count(tracking: Tracking, table: sa.Table) -> int:
    database = tracking.label_schemas._database
    return database.read_now(lambda conn: conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_all_items_are_added_or_none(tracking: Tracking) -> None:
    one = queue(tracking, "q")
    for wrong in (["t0", "none"], ["t0", "other"]):
        with pytest.raises(NotFound, match=f"{wrong[1]}"):
            do(tracking.review_queues.add(ME, "s", one.id, wrong))
    assert waiting(tracking, one) == []
    added = all_of(*(tracking.review_queues.add(ME, "s", one.id, ["t1", "t0"]) for _ in range(8)))
    assert not _failed(added) and waiting(tracking, one) == ["t0", "t1"]


def test_a_deleted_trace_waits_nowhere(tracking: Tracking) -> None:
    first, second = queue(tracking, "a"), queue(tracking, "b")
    for one in (first, second):
        do(tracking.review_queues.add(ME, "s", one.id, ["t0", "t1"]))
    do(tracking.traces.delete(ME, "s", "0", ids=["t0"], until=None, most=None))
    assert waiting(tracking, first) == waiting(tracking, second) == ["t1"]
    do(tracking.review_queues.delete(ME, "s", first.id))
    do(tracking.review_queues.delete(ME, "s", first.id))
    assert waiting(tracking, second) == ["t1"]


def test_questions_hold_while_something_waits(tracking: Tracking) -> None:
    asked, more = schema(tracking, "asked"), schema(tracking, "more")
    one = queue(tracking, "q", (asked.id,))
    do(tracking.review_queues.add(ME, "s", one.id, ["t0"]))
    with pytest.raises(InvalidInput, match="locked"):
        change(tracking, one, users=["bob"], schema_ids=[more.id])
    assert do(tracking.review_queues.get("s", one.id)).users == ["ann"]  # nothing of what was refused was done
    do(tracking.review_queues.remove(ME, "s", one.id, ["t0", "t4"]))
    assert change(tracking, one, schema_ids=[more.id, more.id]).schema_ids == [more.id]
    do(tracking.label_schemas.delete(ME, "s", more.id))
    assert do(tracking.review_queues.get("s", one.id)).schema_ids == []
    assert change(tracking, one, users=[]).users == []


def test_names_are_taken_once(tracking: Tracking) -> None:
    first, second = queue(tracking, "First"), queue(tracking, "second")
    with pytest.raises(Conflict):
        change(tracking, second, name="FIRST")
    assert change(tracking, first, name="first").name == "first"
    question = schema(tracking, "q")
    assert schema(tracking, "Q").name == "Q"
    same: dict[str, Any] = {"instruction": None, "enable_comment": None, "input_": None}
    with pytest.raises(Conflict):
        do(tracking.label_schemas.update(ME, "s", question.id, name="Q", **same))
    assert do(tracking.label_schemas.update(ME, "s", question.id, name="q", **same)).name == "q"
    mine = do(tracking.review_queues.of_user(ME, "s", "0", "ann"))
    with pytest.raises(InvalidInput, match="fixed"):
        change(tracking, mine)


def test_pages_hold_everything_once(tracking: Tracking) -> None:
    clock = Clock()
    tracking.runtime.now = clock.now  # type: ignore[method-assign]
    for number in range(7):
        clock.time += number % 2  # some are of one moment
        queue(tracking, f"q{number}")
        schema(tracking, f"s{number}")
    one = queue(tracking, "items")
    for number in range(5):
        do(tracking.review_queues.add(ME, "s", one.id, [f"t{number}"]))

    def pages(ask: Any) -> list[Any]:
        seen: list[Any] = []
        token = None
        while token is not None or not seen:
            found, token = do(ask(token))
            assert len(found) <= 2
            seen += found
        return seen

    queues = pages(lambda token: tracking.review_queues.listing("s", "0", user=None, item=None, token=token, limit=2))
    schemas = pages(lambda token: tracking.label_schemas.listing("s", "0", token, 2))
    items = pages(lambda token: tracking.review_queues.items("s", one.id, None, token, 2))
    for seen, size in ((queues, 8), (schemas, 8), (items, 5)):
        assert len({row.id for row in seen}) == len(seen) == size
        assert seen == sorted(seen, key=lambda row: (-row.created_at, row.id))


def test_another_workspace_sees_nothing_of_it(tracking: Tracking) -> None:
    question, one = schema(tracking, "q"), queue(tracking, "q")
    for work in (
        tracking.label_schemas.get("elsewhere", question.id),
        tracking.review_queues.get("elsewhere", one.id),
        tracking.review_queues.add(ME, "elsewhere", one.id, ["t0"]),
        tracking.review_queues.by_name("elsewhere", "0", "q"),
    ):
        with pytest.raises(NotFound):
            do(work)
    do(tracking.label_schemas.delete(ME, "elsewhere", question.id))
    do(tracking.review_queues.delete(ME, "elsewhere", one.id))
    with pytest.raises(InvalidInput, match="not found for experiment"):
        queue(tracking, "x", (question.id,), scope="elsewhere")
    assert do(tracking.label_schemas.get("s", question.id)) == question
    assert do(tracking.review_queues.get("s", one.id)) == one


def test_a_deleted_experiment_takes_nothing_new(tracking: Tracking) -> None:
    question = schema(tracking, "q")
    do(tracking.experiments.set_lifecycle(ME, "s", "0", "deleted"))
    for work in (
        tracking.label_schemas.listing("s", "0", None, 10),
        tracking.review_queues.of_user(ME, "s", "0", "ann"),
        tracking.review_queues.listing("s", "0", user=None, item=None, token=None, limit=10),
    ):
        with pytest.raises(InvalidInput, match="active"):
            do(work)
    assert do(tracking.label_schemas.get("s", question.id)) == question
