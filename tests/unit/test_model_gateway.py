"""What the AI gateway's records need of both databases: names that are one, secrets that stay sealed, nothing left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from tests.support.databases import database, postgres_url
from zaffre.errors import Conflict, InvalidInput, NotFound, NotServed, PreconditionFailed
from zaffre.services.model_gateway import ModelGateway
from zaffre.services.model_gateway.asking import Asker
from zaffre.services.model_gateway.endpoints import EndpointWish, ModelLink
from zaffre.services.model_gateway.words import FALLBACK, PRIMARY
from zaffre.services.tracking import Tracking
from zaffre.store import scopes, tables
from zaffre.store.database import Database
from zaffre.store.model_gateway.records import Endpoint, Model, Secret
from zaffre.store.seal import Vault
from zaffre.store.unit import Actor

__all__ = ["database", "postgres_url"]
ME = Actor(name="me")
KEY = "sk-very-secret-0815"
T = TypeVar("T")


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def gateway(database: Database, tmp_path: Path) -> ModelGateway:
    asker = Asker((), tmp_path / "bundle.pem")
    return ModelGateway(database, Vault(tmp_path / "vault.key"), Tracking(database), asker)


def secret(gateway: ModelGateway, name: str = "key", scope: str = "s") -> Secret:
    return do(gateway.secrets.create(ME, scope, name, {"api_key": KEY}, "openai", {}))


def model(gateway: ModelGateway, name: str, scope: str = "s") -> Model:
    with_key = do(gateway.secrets.create(ME, scope, f"key of {name}", {"api_key": KEY}, None, {}))
    return do(gateway.models.create(ME, scope, name, with_key.id, "openai", "gpt-4o"))


def primary(one: Model, weight: float = 1.0) -> ModelLink:
    return ModelLink(model_id=one.id, linkage=PRIMARY, weight=weight)


def endpoint(gateway: ModelGateway, name: str, *links: ModelLink, tracked: bool = False) -> Endpoint:
    return do(gateway.endpoints.create(ME, "s", EndpointWish(name=name, links=links, usage_tracking=tracked)))


def test_a_secret_is_shown_in_part_only_and_lies_sealed(gateway: ModelGateway, database: Database) -> None:
    made = do(gateway.secrets.create(ME, "s", "key", {"api_key": KEY, "pin": "1234567"}, None, {"api_version": "1"}))
    assert made.masked == {"api_key": "sk-...0815", "pin": "***"} and made.auth == {"api_version": "1"}

    def everything(conn: sa.Connection) -> str:
        return str([conn.execute(sa.select(table)).all() for table in tables.metadata.sorted_tables])

    assert KEY not in do(database.read(everything))
    assert do(database.read(lambda conn: gateway.secrets.opened(conn, "s", made.id))) == {
        "api_key": KEY,
        "pin": "1234567",
    }
    assert do(database.read(lambda conn: gateway.secrets.opened(conn, "elsewhere", made.id))) == {}
    with pytest.raises(Conflict):
        secret(gateway)
    secret(gateway, scope="elsewhere")
    changed = do(gateway.secrets.update(ME, "s", made.id, {"api_key": "another-key-4711"}, None))
    assert changed.masked == {"api_key": "ano...4711"} and changed.auth == {"api_version": "1"}
    assert changed.modified_at > made.modified_at
    assert do(database.read(lambda conn: gateway.secrets.opened(conn, "s", made.id))) == {"api_key": "another-key-4711"}


def test_a_deleted_secret_leaves_its_models_without_one(gateway: ModelGateway, database: Database) -> None:
    one = model(gateway, "m")
    assert one.secret_id is not None
    do(gateway.secrets.delete(ME, "s", one.secret_id))
    left = do(gateway.models.get("s", one.id))
    assert (left.secret_id, left.secret_name) == (None, None)
    assert do(database.read(lambda conn: gateway.secrets.opened(conn, "s", one.secret_id or ""))) == {}


def test_a_model_in_use_stays(gateway: ModelGateway) -> None:
    one = model(gateway, "m")
    made = endpoint(gateway, "e", primary(one))
    with pytest.raises(PreconditionFailed):
        do(gateway.models.delete(ME, "s", one.id))
    do(gateway.endpoints.detach(ME, "s", made.id, one.id))
    do(gateway.models.delete(ME, "s", one.id))
    with pytest.raises(NotFound):
        do(gateway.models.get("s", one.id))


def test_a_provider_that_nobody_here_can_ask_is_refused_by_name(gateway: ModelGateway) -> None:
    made = secret(gateway)
    with pytest.raises(NotServed, match="bedrock"):
        do(gateway.models.create(ME, "s", "m", made.id, "bedrock", "titan"))
    one = do(gateway.models.create(ME, "s", "m", made.id, "openai", "gpt-4o"))
    with pytest.raises(NotServed):
        do(gateway.models.update(ME, "s", one.id, name=None, secret_id=None, provider="bedrock", model=None))
    assert [each.name for each in do(gateway.models.listing("s", "openai", made.id))] == ["m"]
    assert do(gateway.models.listing("s", "azure", None)) == []


def test_names_are_one(gateway: ModelGateway) -> None:
    one, other = model(gateway, "m"), model(gateway, "n")
    with pytest.raises(Conflict):
        do(gateway.models.update(ME, "s", other.id, name="m", secret_id=None, provider=None, model=None))
    do(gateway.models.update(ME, "s", one.id, name="m", secret_id=None, provider=None, model="gpt-5"))
    endpoint(gateway, "e", primary(one))
    second = endpoint(gateway, "f", primary(one))
    with pytest.raises(Conflict):
        endpoint(gateway, "e", primary(one))
    with pytest.raises(Conflict):
        do(gateway.endpoints.update(ME, "s", second.id, EndpointWish(name="e")))
    for bad in ("a b", "a/b", "ä", "x" * 256):
        with pytest.raises(InvalidInput):
            endpoint(gateway, bad, primary(one))


def test_an_endpoint_is_made_whole_or_not_at_all(gateway: ModelGateway, database: Database) -> None:
    one = model(gateway, "m")
    with pytest.raises(NotFound):
        endpoint(gateway, "e", primary(one), ModelLink(model_id="d-none", linkage=FALLBACK), tracked=True)
    with pytest.raises(Conflict):
        endpoint(gateway, "e", primary(one), primary(one), tracked=True)
    with pytest.raises(InvalidInput):
        endpoint(gateway, "e", ModelLink(model_id=one.id, linkage=FALLBACK))
    with pytest.raises(InvalidInput):
        endpoint(gateway, "e", primary(one, weight=float("nan")))
    assert do(gateway.endpoints.listing("s", None, None)) == []
    assert do(database.read(lambda conn: conn.execute(sa.select(tables.experiments.c.pk)).all())) == []
    made = endpoint(gateway, "e", primary(one), ModelLink(model_id=one.id, linkage=FALLBACK, position=0), tracked=True)
    assert [each.linkage for each in made.mappings] == [PRIMARY, FALLBACK] and made.fallback is not None
    assert made.experiment_id is not None


def test_new_models_take_the_place_of_the_old_ones(gateway: ModelGateway) -> None:
    one, other = model(gateway, "m"), model(gateway, "n")
    made = endpoint(gateway, "e", primary(one), ModelLink(model_id=one.id, linkage=FALLBACK))
    with pytest.raises(NotFound):
        do(
            gateway.endpoints.update(
                ME, "s", made.id, EndpointWish(name="f", links=[ModelLink(model_id="?", linkage=PRIMARY)])
            )
        )
    assert do(gateway.endpoints.get("s", id_=made.id)) == made
    changed = do(gateway.endpoints.update(ME, "s", made.id, EndpointWish(links=[primary(other, 0.5)])))
    assert [(each.model.name, each.weight) for each in changed.mappings] == [("n", 0.5)] and changed.fallback is None
    assert do(gateway.endpoints.listing("s", None, one.secret_id)) == []
    assert [each.name for each in do(gateway.endpoints.listing("s", "openai", other.secret_id))] == ["e"]


def test_tags_and_bindings_go_with_their_endpoint(gateway: ModelGateway, database: Database) -> None:
    made = endpoint(gateway, "e", primary(model(gateway, "m")))
    do(gateway.endpoints.set_tag(ME, "s", made.id, "k", "v"))
    do(gateway.endpoints.set_tag(ME, "s", made.id, "k", "w"))
    do(gateway.endpoints.bind(ME, "s", made.id, "scorer", "x"))
    with pytest.raises(Conflict):
        do(gateway.endpoints.bind(ME, "s", made.id, "scorer", "x"))
    with pytest.raises(InvalidInput):
        do(gateway.endpoints.bind(ME, "s", made.id, "dream", "x"))
    with pytest.raises(NotFound):
        do(gateway.endpoints.unbind(ME, "s", made.id, "scorer", "y"))
    assert do(gateway.endpoints.get("s", name="e")).tags == {"k": "w"}
    assert [one.resource_id for one in do(gateway.endpoints.bindings("s", None, "scorer", "x"))] == ["x"]
    assert do(gateway.endpoints.bindings("elsewhere", None, None, None)) == []
    do(gateway.endpoints.delete(ME, "s", made.id))
    for table in (tables.gateway_tags, tables.gateway_bindings, tables.gateway_mappings):
        assert do(database.read(lambda conn, table=table: conn.execute(sa.select(table)).all())) == []  # type: ignore[misc]


def test_a_scorer_is_bound_to_the_endpoint_it_asks(gateway: ModelGateway, database: Database) -> None:
    scorers = Tracking(database).scorers
    do(Tracking(database).experiments.by_name("s", "Default"))
    made = endpoint(gateway, "e", primary(model(gateway, "m")))
    other = endpoint(gateway, "f", primary(model(gateway, "n")))

    def asking(name: str) -> str:
        return json.dumps(
            {"instructions_judge_pydantic_data": {"model": f"gateway:/{name}", "instructions": "be kind"}}
        )

    def model_of(version: int) -> str | None:
        found = json.loads(do(scorers.get("s", "0", "kind", version)).serialized)
        asked: str | None = found["instructions_judge_pydantic_data"]["model"]
        return asked

    def bound(to: Endpoint) -> list[tuple[str, str | None]]:
        return [(one.resource_id, one.display_name) for one in do(gateway.endpoints.bindings("s", to.id, None, None))]

    with pytest.raises(NotFound, match="nobody"):
        do(scorers.register(ME, "s", "0", "kind", asking("nobody")))
    first = do(scorers.register(ME, "s", "0", "kind", asking("e")))
    assert json.loads(first.serialized) == json.loads(asking("e")) and bound(made) == [(first.id, "kind")]
    do(scorers.register(ME, "s", "0", "kind", asking("f")))
    assert (bound(made), bound(other)) == ([], [(first.id, "kind")])
    do(gateway.endpoints.update(ME, "s", made.id, EndpointWish(name="g")))
    assert [model_of(1), model_of(2)] == ["gateway:/g", "gateway:/f"]
    do(gateway.endpoints.delete(ME, "s", made.id))
    assert [model_of(1), model_of(2)] == [None, "gateway:/f"]
    do(scorers.delete(ME, "s", "0", "kind", 1))
    assert bound(other) == [(first.id, "kind")]
    do(scorers.delete(ME, "s", "0", "kind", None))
    assert bound(other) == []


def test_a_workspace_that_is_deleted_takes_its_gateway_with_it(gateway: ModelGateway, database: Database) -> None:
    made = endpoint(gateway, "e", primary(model(gateway, "m")), tracked=True)
    do(gateway.endpoints.bind(ME, "s", made.id, "scorer", "x"))
    while do(database.write(lambda unit: scopes.purge(unit, "s", "account"))):
        pass
    for table in tables.metadata.sorted_tables:
        if table.name.startswith("gateway_") or table.name == "secrets":
            assert do(database.read(lambda conn, table=table: conn.execute(sa.select(table)).all())) == []  # type: ignore[misc]
