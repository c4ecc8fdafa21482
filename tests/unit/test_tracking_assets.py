"""Version numbers: given out in turn and never twice; a version never changes but for what may change."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.databases import database, postgres_url
from zaffre.errors import Conflict
from zaffre.services import assets
from zaffre.store import resources
from zaffre.store.database import Database
from zaffre.store.resources import Row
from zaffre.store.unit import Actor

__all__ = ["database", "postgres_url"]
ME = Actor(name="me")
MODELS = "workspaces/models"


def put(
    database: Database, version: str | None, fingerprint: str = "f", name: str = "m", **properties: object
) -> tuple[Row, bool]:
    body = {"properties": {"modelUri": "u", "tags": {}, **properties}}
    return database.write_now(
        lambda unit: assets.put_version(unit, ME, "w", MODELS, name, version, body, {"by": "me"}, fingerprint)
    )


def test_numbers_are_given_out_in_turn(database: Database) -> None:
    assert [put(database, None)[0].name for _ in range(3)] == ["1", "2", "3"]
    assert put(database, "7")[1] is True
    assert put(database, "5")[1] is True
    assert put(database, "alpha")[1] is True
    assert put(database, "9" * 30)[1] is True
    assert put(database, None)[0].name == "8"
    container = database.read_now(lambda conn: resources.get(conn, "w", MODELS, "m"))
    assert (container.counter, container.body) == (9, assets.empty_container())


def test_the_latest_version_is_the_one_made_last(database: Database) -> None:
    for version in ("5", "alpha", "3"):
        put(database, version)
    latest = database.read_now(lambda conn: assets.latest_version(conn, "w", MODELS, "M"))
    assert latest.name == "3"
    put(database, "3", isArchived=True)
    shown = database.read_now(lambda conn: assets.latest_version(conn, "w", MODELS, "m", archived=False))
    assert shown.name == "alpha"


def test_the_same_content_again_updates_what_may_change(database: Database) -> None:
    put(database, "1", stage="Staging", description="old")
    row, created = put(database, "1", tags={"a": "b"}, description=None, modelUri="elsewhere")
    assert created is False
    assert row.body["properties"] == {
        "modelUri": "u",
        "tags": {"a": "b"},
        "stage": "Staging",
        "description": None,
    }
    assert row.generation == 2
    again, _ = put(database, "1", tags={"a": "b"})
    assert again.generation == 2


def test_other_content_is_a_conflict_that_names_the_next_number(database: Database) -> None:
    put(database, "1")
    with pytest.raises(Conflict, match="next free one: 2"):
        put(database, "1", fingerprint="g")


def test_names_are_compared_without_case(database: Database) -> None:
    put(database, "A", name="Model")
    row, created = put(database, "a", name="model")
    assert (row.name, created) == ("A", False)
    assert len(database.read_now(lambda conn: resources.listing(conn, "w", MODELS))) == 1


def test_writers_at_the_same_moment_get_different_numbers(database: Database) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: put(database, None)[0].name, range(40)))
    assert sorted(map(int, made)) == list(range(1, 41))
