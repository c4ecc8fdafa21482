"""What evaluation datasets need of both databases: the same inputs are one record whoever sends them at once, pages, nothing left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from tests.support.databases import Clock, database, postgres_url
from zaffre.errors import InvalidInput, NotFound
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.evaluation_datasets import NewRecord
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.scopes import purge
from zaffre.store.tracking.evaluation_datasets import EvaluationDataset, Record
from zaffre.store.unit import Actor

__all__ = ["database", "postgres_url"]
ME, YOU = Actor(name="me"), Actor(name="you")
T = TypeVar("T")


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


def made(
    tracking: Tracking, name: str = "d", scope: str = "s", experiments: tuple[str, ...] = ("0",)
) -> EvaluationDataset:
    return do(tracking.evaluation_datasets.create(ME, scope, name, {"k": "v"}, experiments))


def all_records(tracking: Tracking, dataset: EvaluationDataset, limit: int = 100) -> list[Record]:
    found: list[Record] = []
    token: str | None = None
    while True:
        page, token = do(tracking.evaluation_datasets.records("s", dataset.id, token, limit))
        found += page
        if token is None:
            return found


def of(number: int, **more: Any) -> NewRecord:
    return NewRecord(inputs={"b": number, "a": {"deep": [number]}}, **more)


def test_the_same_inputs_are_one_record_however_often_they_come(tracking: Tracking) -> None:
    held = made(tracking)

    async def many() -> list[tuple[int, int]]:
        upsert = tracking.evaluation_datasets.upsert
        return await asyncio.gather(*(upsert(ME, "s", held.id, [of(n % 5), of(n % 5)]) for n in range(20)))

    counts = do(many())
    assert (sum(added for added, _ in counts), sum(merged for _, merged in counts)) == (5, 35)
    assert len(all_records(tracking, held)) == do(tracking.evaluation_datasets.get("s", held.id)).records == 5
    # The order of the names in the inputs is nobody's doing.
    swapped = NewRecord(inputs={"a": {"deep": [1]}, "b": 1}, outputs=None, expectations={"x": 1}, tags={"t": "1"})
    assert do(tracking.evaluation_datasets.upsert(YOU, "s", held.id, [swapped])) == (0, 1)
    assert do(
        tracking.evaluation_datasets.upsert(YOU, "s", held.id, [of(1, expectations={"y": [2.5]}, tags={"u": "2"})])
    ) == (0, 1)
    merged = next(one for one in all_records(tracking, held) if json.loads(one.inputs)["b"] == 1)
    assert json.loads(merged.expectations or "") == {"x": 1, "y": [2.5]} and json.loads(merged.tags) == {
        "t": "1",
        "u": "2",
    }
    assert (merged.outputs, merged.created_by, merged.modified_by) == ("null", "me", "you")


def test_what_a_dataset_says_of_its_records(tracking: Tracking, database: Database) -> None:
    held = made(tracking)
    assert (held.schema, held.records, held.tags, held.experiment_ids) == (None, 0, {"k": "v"}, ("0",))
    values = {"s": "x", "i": 1, "f": 0.5, "b": True, "n": None, "l": [], "o": {}}
    do(
        tracking.evaluation_datasets.upsert(
            ME, "s", held.id, [NewRecord(inputs=values, outputs="text", expectations={"e": float("nan")})]
        )
    )
    do(
        tracking.evaluation_datasets.upsert(
            ME, "s", held.id, [NewRecord(inputs={"s": 5, "new": "y"}, outputs={"a": 1})]
        )
    )
    told = do(tracking.evaluation_datasets.get("s", held.id))
    assert json.loads(told.schema or "") == {
        "inputs": {
            "s": "string",
            "i": "integer",
            "f": "float",
            "b": "boolean",
            "n": "null",
            "l": "array",
            "o": "object",
            "new": "string",
        },
        "outputs": "string",
        "expectations": {"e": "float"},
        "version": "1.0",
    }
    assert told.records == 2
    clock = database.runtime
    assert isinstance(clock, Clock)
    clock.time += 1
    first = all_records(tracking, held)[0]
    assert do(tracking.evaluation_datasets.delete_records(ME, "s", held.id, [first.id, first.id, "dr-none"])) == 1
    changed = do(tracking.evaluation_datasets.get("s", held.id))
    assert changed.records == 1 and changed.digest != told.digest


def test_pages_in_the_order_they_came(tracking: Tracking) -> None:
    held = made(tracking)
    do(tracking.evaluation_datasets.upsert(ME, "s", held.id, [of(n) for n in range(25)]))
    for limit in (1, 7, 25, 26):
        assert [json.loads(one.inputs)["b"] for one in all_records(tracking, held, limit)] == list(range(25))
    for wrong in ("x", "gaE=", "kg=="):
        with pytest.raises(InvalidInput):
            do(tracking.evaluation_datasets.records("s", held.id, wrong, 10))


def test_who_has_a_dataset(tracking: Tracking) -> None:
    other = do(tracking.experiments.create(ME, "s", "other", None, {})).id
    one, two = made(tracking, "one"), made(tracking, "two", experiments=(other, "0"))
    made(tracking, "one", scope="elsewhere")

    def search(experiments: list[str], **more: Any) -> list[str]:
        asked = {"filter_": None, "order_by": [], "token": None, "limit": 10, **more}
        return [found.name for found in do(tracking.evaluation_datasets.search("s", experiments, **asked))[0]]

    assert search([]) == search(["0"]) == ["two", "one"] and search([other]) == ["two"] and search(["none"]) == []
    assert search([], order_by=["name ASC"]) == ["one", "two"] and search([], filter_="name ILIKE 'T%'") == ["two"]
    assert search([], filter_="tags.k = 'v' AND created_by = 'me'") == ["two", "one"]
    do(tracking.evaluation_datasets.add_to(ME, "s", one.id, [other, other, "0"]))
    assert search([other]) == ["two", "one"]
    assert do(tracking.evaluation_datasets.remove_from(ME, "s", two.id, ["0", "none"])).experiment_ids == (other,)
    with pytest.raises(NotFound, match="No Experiment with id=none"):
        do(tracking.evaluation_datasets.add_to(ME, "s", one.id, ["none"]))
    with pytest.raises(NotFound):
        made(tracking, "three", experiments=("none",))
    assert search([]) == ["two", "one"]
    for wrong in ("digest = 'x'", "name > 'x'", "created_time LIKE 'x'", "metrics.a > 1"):
        with pytest.raises(InvalidInput):
            search([], filter_=wrong)


def test_nothing_is_left_of_what_is_deleted(tracking: Tracking, database: Database) -> None:
    held, other = made(tracking), made(tracking, "other")
    do(tracking.evaluation_datasets.upsert(ME, "s", held.id, [of(n) for n in range(3)]))
    do(tracking.evaluation_datasets.upsert(ME, "s", other.id, [of(1)]))
    do(tracking.evaluation_datasets.delete(ME, "s", held.id))
    do(tracking.evaluation_datasets.delete(ME, "s", held.id))
    with pytest.raises(NotFound):
        do(tracking.evaluation_datasets.get("s", held.id))
    assert _counts(database) == [1, 1, 1, 1]
    while database.write_now(lambda unit: purge(unit, "s", "nobodys")):
        pass
    assert _counts(database) == [0, 0, 0, 0]


@pytest.mark.parametrize("tags", [{"": "x"}, {"k" * 256: "x"}, {"k": "v" * 5001}])
def test_tags_too_long(tracking: Tracking, tags: dict[str, str]) -> None:
    held = made(tracking)
    with pytest.raises(InvalidInput):
        do(tracking.evaluation_datasets.set_tags(ME, "s", held.id, {"good": "1", **tags}))
    assert do(tracking.evaluation_datasets.get("s", held.id)).tags == {"k": "v"}


def _counts(database: Database) -> list[int]:
    those = (
        tables.evaluation_datasets,
        tables.evaluation_dataset_tags,
        tables.evaluation_dataset_experiments,
        tables.evaluation_records,
    )

    def count(conn: sa.Connection) -> list[int]:
        return [conn.execute(sa.select(sa.func.count()).select_from(one)).scalar_one() for one in those]

    return database.read_now(count)
