"""API keys: known, remembered for a while, refused the moment they are revoked; and taken as bearer tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.responses import Response
from starlette.types import Message, Scope

from tests.support.databases import Clock, database, postgres_url
from zaffre.errors import Unauthenticated
from zaffre.gateway.answers import json_answer
from zaffre.gateway.app import Gateway
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Route
from zaffre.runtime import Runtime
from zaffre.services import keys as keys_module
from zaffre.services.keys import ApiKeys
from zaffre.services.tokens import Tokens
from zaffre.services.workspaces import Workspaces
from zaffre.settings import Settings
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.seal import Vault
from zaffre.store.unit import Actor

__all__ = ["database", "postgres_url"]
ME = Actor(name="me")


@pytest.fixture
def keys(database: Database) -> ApiKeys:
    return ApiKeys(database)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the table of keys was asked."""
    count = 0
    find = keys_module._find

    def counting(conn: sa.Connection, hash_: str, now: int) -> object:
        nonlocal count
        count += 1
        return find(conn, hash_, now)

    monkeypatch.setattr(keys_module, "_find", counting)
    return lambda: count


def test_the_owners_key_is_made_once(keys: ApiKeys) -> None:
    key = asyncio.run(keys.ensure_owner(None))
    assert key.startswith(keys_module.PREFIX) and len(key) > 40
    assert asyncio.run(keys.ensure_owner(key)) == key
    other = asyncio.run(keys.ensure_owner("zf_lost"))
    assert other != key
    first, second = (asyncio.run(keys.principal(one)) for one in (key, other))
    assert first == second and first.role == "Owner"


def test_a_key_is_read_once_a_minute(keys: ApiKeys, database: Database, reads: Callable[[], int]) -> None:
    key = asyncio.run(keys.ensure_owner(None))
    assert asyncio.run(keys.principal(key)) == asyncio.run(keys.principal(key))
    assert reads() == 1
    assert isinstance(database.runtime, Clock)
    database.runtime.time += keys_module.REMEMBERED_MS
    asyncio.run(keys.principal(key))
    assert reads() == 2


def test_a_revoked_key_is_refused_at_once(keys: ApiKeys, database: Database) -> None:
    key = asyncio.run(keys.ensure_owner(None))
    elsewhere = ApiKeys(database)
    for one in (keys, elsewhere):
        asyncio.run(one.principal(key))
    asyncio.run(keys.revoke(ME, key))
    for one in (keys, elsewhere):
        with pytest.raises(Unauthenticated, match="revoked"):
            asyncio.run(one.principal(key))


def test_a_key_is_not_remembered_beyond_its_end(keys: ApiKeys, database: Database) -> None:
    key = asyncio.run(keys.ensure_owner(None))
    assert isinstance(database.runtime, Clock)
    ends = database.runtime.time + 1000
    asyncio.run(database.write(lambda unit: unit.conn.execute(sa.update(tables.api_keys).values(expires_at=ends))))
    asyncio.run(keys.principal(key))
    database.runtime.time = ends
    with pytest.raises(Unauthenticated):
        asyncio.run(keys.principal(key))


def test_only_so_many_are_remembered(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch, reads: Callable[[], int]) -> None:
    monkeypatch.setattr(keys_module, "REMEMBERED", 1)
    first, second = (asyncio.run(keys.ensure_owner(None)) for _ in range(2))
    before = reads()
    for key in (first, second, second, first):
        asyncio.run(keys.principal(key))
    assert reads() - before == 3


def test_a_route_takes_a_key_or_a_token_and_nothing_else(database: Database, keys: ApiKeys, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    tokens = Tokens(settings, Runtime(), lambda _scope, _run: True)

    async def who(call: Call) -> Response:
        return json_answer({"name": call.principal.name})

    route = Route(protocol="arm", method="GET", template="/who", handler=who, operation="Who", action="who/read")
    workspaces = Workspaces(database, Vault(settings.keys / "vault.key"), "local")
    gateway = Gateway([route], [], {}, tokens, keys, workspaces, database)
    key = asyncio.run(keys.ensure_owner(None))
    token, _ = tokens.mint(asyncio.run(keys.principal(key)), "https://ml.azure.com")

    def status(credential: str) -> int:
        return asyncio.run(_status(gateway, "/who", credential))

    assert status(key) == status(token) == 200
    assert {status(one) for one in ("zf_wrong", key + "x", key.upper(), "zf_", token[:-2], "x")} == {401}
    asyncio.run(keys.revoke(ME, key))
    assert status(key) == 401


async def _status(gateway: Gateway, path: str, credential: str) -> int:
    """The status of a GET, without a socket."""
    headers = [(b"host", b"localhost:8443"), (b"authorization", f"Bearer {credential}".encode())]
    scope: Scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await gateway(scope, receive, send)
    return int(sent[0]["status"])
