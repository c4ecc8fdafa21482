"""Endpoints and deployments that are written and deleted at the same moment, by two transactions of PostgreSQL."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from tests.support.databases import postgres_url
from tests.support.zaffre_server import eventually
from zaffre.services import kinds, lineage
from zaffre.services.endpoints import DEPLOYMENT, ENDPOINT, Endpoints
from zaffre.services.resources import Resources
from zaffre.services.workspaces import Workspace
from zaffre.store import resources, tables
from zaffre.store.database import Database
from zaffre.store.seal import Vault
from zaffre.store.unit import PLATFORM

__all__ = ["postgres_url"]
WORKSPACE = Workspace(id="11111111-2222", subscription="s", resource_group="g", name="w", location="here")


def test_a_deployment_that_comes_while_its_endpoint_goes(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the endpoint would wait for ever for a deployment that nobody ends."""
    made = Database(postgres_url)
    tables.metadata.create_all(made.engine)
    generic = Resources(made, Vault(tmp_path / "key"), kinds.load())
    service = Endpoints(generic, *[cast("Any", None)] * 5)
    body: dict[str, Any] = {"properties": {"authMode": "Key"}}
    made.write_now(lambda unit: resources.insert(unit, PLATFORM, WORKSPACE.id, ENDPOINT, "e", body, {}))
    note, deletes = lineage.note, list[Future[Any]]()

    def waits(conn: sa.Connection) -> bool:
        return bool(conn.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())

    def meanwhile(*args: Any) -> None:
        if not deletes:
            delete = service.delete(PLATFORM, WORKSPACE, service.kinds[ENDPOINT], "", "e")
            deletes.append(threads.submit(asyncio.run, delete))
            eventually(lambda: deletes[0].done() or made.read_now(waits), bool, seconds=60, what="the delete")
        note(*args)

    async def resolved(*_: Any) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(service, "_resolve", resolved)
    monkeypatch.setattr(lineage, "note", meanwhile)
    kind, wish = service.kinds[DEPLOYMENT], {"properties": {"endpointComputeType": "Managed", "model": "azureml:m:1"}}
    with ThreadPoolExecutor() as threads:
        asyncio.run(service.put(PLATFORM, WORKSPACE, kind, "e", "blue", wish))
        deletes[0].result()
    found = made.read_now(lambda conn: resources.listing(conn, WORKSPACE.id, DEPLOYMENT, parent="e"))
    assert [row.state for row in found] == ["Deleting"]
    made.close()
