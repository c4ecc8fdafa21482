"""Properties of lists and names: whatever lies in the store and however it is paged, every row is met once and in order."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zaffre.errors import InvalidInput
from zaffre.gateway.routes import decode_part
from zaffre.services import kinds
from zaffre.store import resources, tables
from zaffre.store.database import Database
from zaffre.store.filters import Pair
from zaffre.store.resources import Cursor, Row, Selection
from zaffre.store.unit import PLATFORM, Unit

TYPE = "workspaces/data/versions"
# The `database` of a test is emptied for each example by itself.
SHARED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

Stored = tuple[str, int, bool, dict[str, str]]
names = st.text(alphabet="abcABC019._-", min_size=1, max_size=6)
tags = st.dictionaries(st.sampled_from(["a", "b", "ü'\"%_"]), st.sampled_from(["", "1", "ä%_\\'"]), max_size=2)
stored = st.lists(
    st.tuples(names, st.integers(0, 3), st.booleans(), tags), max_size=12, unique_by=lambda row: row[0].lower()
)


@SHARED
@given(
    rows=stored,
    order=st.sampled_from(["created", "modified", "name"]),
    descending=st.booleans(),
    size=st.integers(1, 5),
    archived=st.sampled_from([None, True, False]),
    wanted=st.sampled_from([(), (Pair("a"),), (Pair("ü'\"%_", "ä%_\\'"),)]),
)
def test_pages_are_the_list(
    database: Database, rows: list[Stored], order: str, descending: bool, size: int, archived: bool | None, wanted: Any
) -> None:
    _fill(database, rows)
    selection = functools.partial(Selection, order=order, descending=descending, archived=archived, tags=wanted)
    paged: list[Row] = []
    after: Cursor | None = None
    with database.engine.connect() as conn:
        while page := resources.select(conn, "ws", TYPE, selection(limit=size, after=after)):
            assert len(page) <= size
            paged += page
            # As the next request brings it: a text in an address
            after = Cursor.of(selection(limit=size).cursor(page[-1]).token)
    fitting = [
        (name, at, number)
        for number, (name, at, is_archived, given_tags) in enumerate(rows)
        if archived in (None, is_archived) and all(_has(given_tags, pair) for pair in wanted)
    ]
    sorting: dict[str, Any] = {
        "created": lambda row: row[2],
        "modified": lambda row: (row[1], row[2]),
        "name": lambda row: (row[0].lower(), row[2]),
    }
    expected = [row[0] for row in sorted(fitting, key=sorting[order], reverse=descending)]
    if order == "name" and not database.is_sqlite:  # PostgreSQL sorts texts as its locale has it
        assert sorted(row.name for row in paged) == sorted(expected)
    else:
        assert [row.name for row in paged] == expected


@SHARED
@given(rows=stored, more=stored, size=st.integers(1, 4), descending=st.booleans())
def test_what_is_added_meanwhile_moves_no_page(
    database: Database, rows: list[Stored], more: list[Stored], size: int, descending: bool
) -> None:
    """Who walks a list while it grows meets every row that was there once; new ones are met at its growing end or not at all."""
    _fill(database, rows)
    known = {name.lower() for name, *_ in rows}
    coming = [row for row in more if row[0].lower() not in known]
    met: list[str] = []
    after: Cursor | None = None
    while True:
        wanted = Selection(descending=descending, limit=size, after=after)
        with database.engine.connect() as conn:
            page = resources.select(conn, "ws", TYPE, wanted)
        if not page:
            break
        met += [row.name for row in page]
        after = wanted.cursor(page[-1])
        if coming:
            _add(database, [coming.pop()])
    assert len(met) == len(set(met))
    there = [name for name, *_ in rows]
    old = [name for name in met if name in set(there)]
    assert old == (there[::-1] if descending else there)


@given(token=st.text(max_size=30))
def test_any_token_is_read_or_refused(token: str) -> None:
    try:
        cursor = Cursor.of(token)
    except InvalidInput as error:
        assert error.target == "$skip"
    else:
        assert Cursor.of(cursor.token) == cursor


@given(name=st.text(max_size=300), kind=st.sampled_from(sorted(kinds.load())))
def test_any_name_is_taken_or_refused(name: str, kind: str) -> None:
    """What is taken is safe in a path, a file name and a log line."""
    try:
        kinds.load()[kind].check_name(name)
    except InvalidInput:
        return
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set("/\\%?#:'\"<>|* ")
    assert name.strip(".") != ""
    assert len(name) <= 255


@given(part=st.text(max_size=50))
def test_a_part_of_a_path_is_what_was_encoded(part: str) -> None:
    from urllib.parse import quote

    if "\0" in part:
        with pytest.raises(InvalidInput):
            decode_part(quote(part, safe=""))
    else:
        assert decode_part(quote(part, safe="")) == part


def _has(given_tags: dict[str, str], pair: Pair) -> bool:
    return pair.key in given_tags and pair.value in (None, given_tags[pair.key])


def _fill(database: Database, rows: list[Stored]) -> None:
    with database.engine.begin() as conn:
        conn.execute(sa.delete(tables.resources))
    _add(database, rows)


def _add(database: Database, rows: list[Stored]) -> None:
    for name, at, is_archived, given_tags in rows:
        body = {"properties": {"tags": given_tags}}

        def work(unit: Unit, name: str = name, at: int = at, archived: bool = is_archived, body: Any = body) -> None:
            resources.insert(unit, PLATFORM, "ws", TYPE, name, body, {}, parent="x", archived=archived)
            here = tables.resources.c.name_key == name.lower()
            unit.conn.execute(sa.update(tables.resources).where(here).values(modified_at=at))

        database.write_now(work)
