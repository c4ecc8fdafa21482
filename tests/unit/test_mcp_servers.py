"""The MCP registry on both databases: which version speaks for a server, whoever changes it; pages; and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
import semver
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tests.support.databases import database, postgres_url
from zaffre.errors import Conflict, InvalidInput, NotFound
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.mcp_endpoints import NewEndpoint
from zaffre.services.tracking.mcp_servers import NewVersion
from zaffre.services.tracking.semantic_versions import precedence
from zaffre.store import scopes, tables
from zaffre.store.database import Database
from zaffre.store.tracking.mcp_servers import Version
from zaffre.store.unit import Actor

__all__ = ["database", "postgres_url"]
ME = Actor(name="me")
NAME = "com.example/one"
T = TypeVar("T")
_identifier = st.one_of(
    st.integers(0, 10**12).map(str), st.from_regex(r"[0-9]{0,2}[A-Za-z-][0-9A-Za-z-]{0,5}", fullmatch=True)
)
_numbers = st.integers(0, 2**31 - 1)
_versions = st.builds(
    lambda core, behind: ".".join(map(str, core)) + (f"-{'.'.join(behind)}" if behind else ""),
    st.tuples(_numbers, _numbers, _numbers) | st.just((1, 0, 0)),
    st.lists(_identifier, max_size=3),
)


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


def add(tracking: Tracking, number: str, name: str = NAME, scope: str = "s", **more: Any) -> Version:
    new = NewVersion(server_json={"name": name, "version": number}, **more)
    return do(tracking.mcp_servers.create_version(ME, scope, name, new))


def latest(tracking: Tracking) -> str | None:
    return do(tracking.mcp_servers.get("s", NAME)).server.latest_version


@given(_versions, _versions)
def test_the_text_sorts_as_the_versions_do(one: str, other: str) -> None:
    a, b = precedence(one, "v"), precedence(other, "v")
    assert (a > b) - (a < b) == semver.Version.parse(one).compare(other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.0",
        "v1.0.0",
        "01.0.0",
        "1.0.0-",
        "1.0.0-01",
        "1.0.0+",
        "1.0.0 ",
        "٢.0.0",
        "2147483648.0.0",
        "1.0.0-" + "a" * 128,
    ],
)
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(InvalidInput, match="semantic version"):
        precedence(text, "server_json.version")


def test_the_newest_active_version_speaks_for_its_server(tracking: Tracking) -> None:
    for number in ("1.0.0-rc.1", "0.9.0", "1.0.0"):
        add(tracking, number)
    assert latest(tracking) == "1.0.0"
    for number, status, speaks in (
        ("0.9.0", "active", "0.9.0"),
        ("1.0.0-rc.1", "active", "1.0.0-rc.1"),
        ("1.0.0-rc.1", "deprecated", "0.9.0"),
        ("0.9.0", "draft", "1.0.0"),
    ):
        do(tracking.mcp_servers.update_version(ME, "s", NAME, number, {"status": status}))
        assert latest(tracking) == speaks
    for number, left in (("1.0.0", "1.0.0-rc.1"), ("1.0.0-rc.1", "0.9.0"), ("0.9.0", None)):
        do(tracking.mcp_servers.delete_version(ME, "s", NAME, number))
        assert latest(tracking) == left
    with pytest.raises(Conflict):
        add(tracking, "0.9.0")


def test_many_at_once(tracking: Tracking) -> None:
    """The server is made once, each number is given once, and the newest speaks."""

    async def go() -> list[Any]:
        works = [
            tracking.mcp_servers.create_version(
                ME, "s", NAME, NewVersion(server_json={"name": NAME, "version": f"1.{number % 8}.0"})
            )
            for number in range(16)
        ]
        return await asyncio.gather(*works, return_exceptions=True)

    done = do(go())
    assert sorted(one.version for one in done if isinstance(one, Version)) == [f"1.{number}.0" for number in range(8)]
    assert sum(isinstance(one, Conflict) for one in done) == 8
    assert latest(tracking) == "1.7.0"


def test_pages_hold_every_server_once(tracking: Tracking) -> None:
    for number in range(7):
        do(tracking.mcp_servers.create(ME, "s", f"com.example/s{number}", None, None))
    do(tracking.mcp_servers.create(ME, "elsewhere", "com.example/s1", None, None))
    for order in (["name DESC"], ["created_at"], []):
        seen: list[str] = []
        token = None
        while True:
            page, token = do(tracking.mcp_servers.search("s", None, order, token, 3))
            seen += [one.server.name for one in page]
            if token is None:
                break
        assert sorted(seen) == [f"com.example/s{number}" for number in range(7)]
        assert order != ["name DESC"] or seen == sorted(seen, reverse=True)
    _, token = do(tracking.mcp_servers.search("s", None, ["name"], None, 3))
    with pytest.raises(InvalidInput, match="page_token"):
        do(tracking.mcp_servers.search("s", None, ["created_at"], token, 3))


def test_workspaces_see_nothing_of_each_other(tracking: Tracking) -> None:
    add(tracking, "1.0.0")
    endpoint = do(
        tracking.mcp_endpoints.create(ME, "s", NAME, NewEndpoint(url="https://x", transport="sse", alias="latest"))
    )
    with pytest.raises(NotFound):
        do(tracking.mcp_endpoints.get("elsewhere", NAME, endpoint.id))
    with pytest.raises(NotFound):
        do(tracking.mcp_servers.version("elsewhere", NAME, "1.0.0"))
    assert do(tracking.mcp_servers.search("elsewhere", None, [], None, 10)) == ([], None)
    add(tracking, "1.0.0", scope="elsewhere")


def test_nothing_is_left_of_a_workspace(tracking: Tracking, database: Database) -> None:
    add(tracking, "1.0.0")
    do(tracking.mcp_servers.set_alias(ME, "s", NAME, "prod", "1.0.0"))
    do(tracking.mcp_servers.set_tag(ME, "s", NAME, "k", "v"))
    do(tracking.mcp_servers.set_version_tag(ME, "s", NAME, "1.0.0", "k", "v"))
    new = NewEndpoint(url="https://x", transport="sse", alias="prod")
    do(tracking.mcp_endpoints.create(ME, "s", NAME, new))
    while database.write_now(lambda unit: scopes.purge(unit, "s", "account")):
        pass
    kept = [table for table in tables.metadata.sorted_tables if table.name.startswith("mcp_")]
    counts = [
        database.read_now(lambda conn, t=table: conn.execute(sa.select(sa.func.count()).select_from(t)).scalar())
        for table in kept
    ]
    assert len(kept) == 6 and counts == [0] * 6
