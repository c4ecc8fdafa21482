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
from zaffre.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from zaffre.gateway.answers import json_answer
from zaffre.gateway.app import Gateway
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Route
from zaffre.services import keys as keys_module
from zaffre.services.keys import ApiKeys
from zaffre.services.principals import Principals
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
    assert first.id == second.id and first.role == "Owner"
    assert (first.key, second.key) == (keys_module.id_of(key), keys_module.id_of(other))


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
    assert asyncio.run(keys.revoke(ME, "owner")).id == keys_module.id_of(key)
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
    clock = database.runtime
    tokens = Tokens(settings, clock, lambda *_: True, keys.is_good)
    database.bells.listen(keys_module.TOPIC, tokens.end_key)

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
    again = Tokens(settings, clock, lambda *_: True, keys.is_good)
    asyncio.run(keys.revoke(ME, keys_module.id_of(key)))
    assert status(key) == status(token) == 401
    with pytest.raises(Unauthenticated, match="revoked"):
        again.verify(token)  # as after a restart, which has heard no bell


def test_a_token_ends_with_its_key(database: Database, keys: ApiKeys, tmp_path: Path) -> None:
    clock = database.runtime
    assert isinstance(clock, Clock)
    tokens = Tokens(Settings(home=tmp_path), clock, lambda *_: True, keys.is_good)
    owner = asyncio.run(keys.principal(asyncio.run(keys.ensure_owner(None))))
    _, key = asyncio.run(keys.create(ME, owner.id, "short", clock.time + 60_000))
    token, expires = tokens.mint(asyncio.run(keys.principal(key)), "https://ml.azure.com")
    assert expires == (clock.time + 60_000) // 1000
    assert tokens.mint(tokens.verify(token), "https://storage.azure.com")[1] == expires  # and what is got with it
    clock.time += 60_000
    for refused in (lambda: tokens.verify(token), lambda: asyncio.run(keys.principal(key))):
        with pytest.raises(Unauthenticated):
            refused()


def test_named_keys(database: Database, keys: ApiKeys) -> None:
    clock = database.runtime
    assert isinstance(clock, Clock)
    owner = asyncio.run(keys.principal(asyncio.run(keys.ensure_owner(None))))
    made, key = asyncio.run(keys.create(ME, owner.id, "laptop", None))
    assert asyncio.run(keys.principal(key)).key == made.id and key not in repr(made)
    with pytest.raises(Conflict, match="'laptop' already"):
        asyncio.run(keys.create(ME, owner.id, "laptop", None))
    for name, expires, words in (("a b", None, "is no name"), ("x", clock.time, "in the past")):
        with pytest.raises(InvalidInput, match=words):
            asyncio.run(keys.create(ME, owner.id, name, expires))
    with pytest.raises(NotFound, match="with the id 'nobody'"):
        asyncio.run(keys.create(ME, "nobody", "x", None))
    asyncio.run(keys.create(ME, owner.id, "week", clock.time + 1))
    clock.time += 1
    again, _ = asyncio.run(keys.create(ME, owner.id, "week", clock.time + 1))
    with pytest.raises(Conflict, match=again.id):  # two of that name: one is over, neither is revoked
        asyncio.run(keys.revoke(ME, "week"))
    asyncio.run(keys.revoke(ME, "laptop"))
    with pytest.raises(NotFound, match="zaffre key list"):
        asyncio.run(keys.revoke(ME, "laptop"))
    shown = [(one.name, one.state) for one in asyncio.run(keys.listing())]
    assert shown == [("owner", "active"), ("laptop", "revoked"), ("week", "expired"), ("week", "active")]
    renamed, _ = asyncio.run(keys.create(ME, owner.id, "laptop", None))
    assert renamed.state == "active" and renamed.id != made.id


def test_service_principals(database: Database, keys: ApiKeys) -> None:
    principals = Principals(database, keys)
    owner = asyncio.run(keys.ensure_owner(None))
    info, secret = asyncio.run(principals.create(ME, "ci", "Reader"))
    found = asyncio.run(keys.client(info.id.upper(), secret))
    assert (found.id, found.kind, found.role) == (info.id, "Application", "Reader")
    for client_id, wrong in ((info.id, owner), (info.id, secret + "x"), ("ci", secret), ("", secret)):
        with pytest.raises(Unauthenticated) as caught:
            asyncio.run(keys.client(client_id, wrong))
        assert caught.value.code == "invalid_client"
    with pytest.raises(Conflict, match="'ci' already"):
        asyncio.run(principals.create(ME, "ci", "Owner"))
    with pytest.raises(InvalidInput, match="is none of Owner, Reader"):
        asyncio.run(principals.create(ME, "other", "King"))
    assert [one.name for one in asyncio.run(principals.listing()) if one.kind == "Application"] == ["ci"]
    rung: list[str] = []
    database.bells.listen(keys_module.TOPIC, rung.append)
    asyncio.run(principals.delete(ME, "ci"))
    assert rung == [keys_module.id_of(secret)] and not keys.is_good(rung[0])
    with pytest.raises(Unauthenticated):
        asyncio.run(keys.client(info.id, secret))
    with pytest.raises(NotFound, match="zaffre principal list"):
        asyncio.run(principals.delete(ME, asyncio.run(keys.principal(owner)).id))  # a user is none
    # The owner's key is made for a person again, not for a program that happens to be an owner.
    asyncio.run(principals.create(ME, "deployer", "Owner"))
    assert asyncio.run(keys.principal(asyncio.run(keys.ensure_owner(None)))).kind == "User"


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
