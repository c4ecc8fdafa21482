"""Lists of the control plane: the query understood or refused, filters on both databases, pages that cost the same."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.databases import database, postgres_url  # noqa: F401  (fixtures)
from tests.support.steps import steps_of
from zaffre.errors import InvalidInput
from zaffre.protocols.arm.listing import list_query, pairs
from zaffre.store import resources, tables
from zaffre.store.database import Database
from zaffre.store.filters import Pair
from zaffre.store.resources import Cursor, Selection
from zaffre.store.unit import PLATFORM, Actor, Unit

TYPE = "workspaces/data/versions"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ()),
        ("a", (Pair("a"),)),
        ("a,b=c", (Pair("a"), Pair("b", "c"))),
        ("a=x=y, b=", (Pair("a", "x=y"), Pair("b", ""))),
    ],
)
def test_pairs(text: str | None, expected: tuple[Pair, ...]) -> None:
    assert pairs(text, "tags") == expected


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"tags": "=b"}, "tags"),
        ({"tags": "a,,b"}, "tags"),
        ({"$tags": ","}, "$tags"),
        ({"properties": " =x"}, "properties"),
        ({"listviewtype": "Some"}, "listViewType"),
        ({"$orderby": "size desc"}, "$orderBy"),
        ({"$orderby": "createdtime desc, name"}, "$orderBy"),
        ({"orderby": "createdtime down"}, "orderBy"),
        ({"orderbyasc": "maybe"}, "orderByAsc"),
        ({"isdefault": "1"}, "isDefault"),
        ({"scheduled": "yes"}, "scheduled"),
        ({"$top": "0"}, "$top"),
        ({"$top": "ten"}, "$top"),
        ({"count": "10001"}, "count"),
        ({"pagesize": "-1"}, "pageSize"),
        ({"offset": "x"}, "offset"),
        ({"$skip": "-1"}, "$skip"),
        ({"$skip": "1."}, "$skip"),
        ({"$skip": "9" * 19}, "$skip"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(query: dict[str, str], parameter: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        list_query(query)
    assert caught.value.target == parameter and f"'{parameter}'" in caught.value.message


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ({}, ("created", True)),
        ({"$orderby": "createdtime desc"}, ("created", True)),
        ({"$orderby": "createdtime asc"}, ("created", False)),
        ({"orderby": "CreatedAtAsc"}, ("created", False)),
        ({"orderby": "UpdatedAtDesc"}, ("modified", True)),
        ({"orderby": "name"}, ("name", False)),
        ({"orderby": "name", "orderbyasc": "false"}, ("name", True)),
        ({"orderbyasc": "false"}, ("created", True)),
        ({"orderbyasc": "true"}, ("created", False)),
        ({"orderby": "modifiedtime", "orderbyasc": "true"}, ("modified", False)),
    ],
)
def test_orders(query: dict[str, str], order: tuple[str, bool]) -> None:
    found = list_query(query)
    assert (found.order, found.descending) == order


@pytest.fixture
def store(database: Database) -> Database:  # noqa: F811
    """Seven versions of one asset, numbered as made; changed in the reverse order. And one of another asset."""

    def fill(unit: Unit) -> None:
        for i in range(7):
            properties = {
                "description": f"The {'EVEN' if i % 2 == 0 else 'odd'} one, 100%",
                "stage": "Production" if i == 3 else None,
                "tags": {"n": str(i), 'odd"key.with $signs': "x"} if i % 2 else {"n": str(i), "even": ""},
                "properties": {"a": "b"} if i < 2 else None,
                "isDefault": i == 5,
            }
            actor = Actor(name="eve" if i == 6 else "adam")
            resources.insert(
                unit, actor, "s", TYPE, f"V{i}", {"properties": properties}, {}, parent="Asset", archived=i == 4
            )
        resources.insert(unit, PLATFORM, "s", TYPE, "V1", {"properties": {"tags": None}}, {}, parent="other")
        for i in range(7):
            unit.conn.execute(
                sa.update(tables.resources).where(tables.resources.c.name == f"V{i}").values(modified_at=1000 - i)
            )

    database.write_now(fill)
    return database


def names(store: Database, **wanted: Any) -> str:
    """The last letters of what a list of the asset answers, as one text."""
    selection = Selection(**{"parent": "ASSET", "limit": 100, **wanted})
    return "".join(row.name[1:] for row in store.read_now(lambda conn: resources.select(conn, "s", TYPE, selection)))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "6543210"),
        ({"descending": False}, "0123456"),
        ({"order": "modified"}, "0123456"),
        ({"order": "name"}, "6543210"),
        ({"archived": False}, "653210"),
        ({"archived": True}, "4"),
        ({"tags": (Pair("even"),)}, "6420"),
        ({"tags": (Pair("even", ""),)}, "6420"),
        ({"tags": (Pair("even", "x"),)}, ""),
        ({"tags": (Pair('odd"key.with $signs', "x"), Pair("n", "3"))}, "3"),
        ({"tags": (Pair("none"),)}, ""),
        ({"properties": (Pair("a", "b"),)}, "10"),
        ({"fields": (("stage", "production"),)}, "3"),
        ({"names": ("v1", "V2", "V9")}, "21"),
        ({"search": "v"}, "6543210"),
        ({"search": "%"}, ""),
        ({"description": "even"}, "6420"),
        ({"description": "100%"}, "6543210"),
        ({"description": "100_"}, ""),
        ({"created_by": "eve"}, "6"),
        ({"default_only": True}, "5"),
        ({"offset": 5}, "10"),
        ({"parent": None, "names": ("V1",)}, "11"),
    ],
)
def test_filters(store: Database, wanted: dict[str, Any], expected: str) -> None:
    assert names(store, **wanted) == expected


def test_the_newest_of_many_in_one_look(store: Database) -> None:
    def archive_last(unit: Unit) -> None:
        unit.conn.execute(sa.update(tables.resources).where(tables.resources.c.name == "V6").values(archived=True))

    store.write_now(archive_last)
    found = store.read_now(lambda conn: resources.newest(conn, "s", TYPE, ["ASSET", "other", "none"]))
    assert found == {"asset": "V5", "other": "V1", "none": None}
    assert store.read_now(lambda conn: resources.newest(conn, "s", TYPE, [])) == {}


@pytest.mark.parametrize("order", ["created", "modified", "name"])
@pytest.mark.parametrize("descending", [True, False])
def test_pages_meet_without_a_gap(store: Database, order: str, descending: bool) -> None:
    whole = names(store, order=order, descending=descending)
    seen, cursor = "", None
    for _ in range(4):
        selection = Selection(parent="asset", order=order, descending=descending, after=cursor, limit=2)
        rows = store.read_now(lambda conn, now=selection: resources.select(conn, "s", TYPE, now))  # type: ignore[misc]
        seen += "".join(row.name[1:] for row in rows)
        cursor = Cursor.of(selection.cursor(rows[-1]).token)
    assert seen == whole


def test_a_token_of_another_order_is_refused(store: Database) -> None:
    for token in ("5", "5.soon"):
        with pytest.raises(InvalidInput, match="another order"):
            names(store, order="modified", after=Cursor.of(token))


def test_a_late_page_of_a_long_list_reads_only_its_own_rows(database: Database) -> None:  # noqa: F811
    """5,000 versions of one asset: what SQLite does for the last page is what it does for the first."""
    if database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL has the same index; only SQLite tells its steps")

    def fill(unit: Unit) -> None:
        row = {
            "scope": "s", "type": TYPE, "parent": "long", "body": '{"properties":{}}', "server": "{}", "created_at": 1,
            "created_by": "x", "created_by_type": "User", "modified_at": 1, "modified_by": "x", "modified_by_type": "User",
        }  # fmt: skip
        many = [{**row, "name": f"{i}", "name_key": f"{i}"} for i in range(5000)]
        unit.conn.execute(sa.insert(tables.resources), many)

    database.write_now(fill)

    def steps(after: Cursor | None) -> int:
        wanted = Selection(parent="long", archived=False, after=after, limit=100)
        rows, count = steps_of(database, lambda conn: resources.select(conn, "s", TYPE, wanted))
        assert len(rows) == 100
        return count

    first, last = steps(None), steps(Cursor(pk=105))
    assert last <= 2 * first and first < 2000, (first, last)
