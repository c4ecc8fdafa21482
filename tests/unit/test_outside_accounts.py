"""Accounts that stand for datastores outside: which store is behind one, and what may be copied from it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.blob_server import Services
from zaffre.errors import NotFound, NotServed
from zaffre.services import kinds
from zaffre.services.conditions import NONE
from zaffre.services.datastores import Datastores
from zaffre.services.kinds.base import Document
from zaffre.services.kinds.datastores import account_of
from zaffre.services.outside_blobs import OutsideAccounts, OutsideBlobs
from zaffre.services.resources import Resources
from zaffre.services.workspaces import DATASTORE, Workspace
from zaffre.store.seal import Vault
from zaffre.store.unit import PLATFORM

KINDS = kinds.load()


class Accounts:
    """`of` makes a datastore of a folder and answers what its account opens."""

    def __init__(self, services: Services, root: Path) -> None:
        self.root = root
        generic = Resources(services.database, Vault(services.settings.keys / "vault.key"), KINDS)
        self.datastores = Datastores(generic, services.workspaces, services.blobs, (root,), lambda _name, _source: None)
        self.outside = OutsideAccounts(
            services.database,
            self.datastores,
            services.blobs,
            lambda _name, source: source["path"],  # type: ignore[arg-type,return-value]
        )

    async def of(self, workspace: Workspace, folder: str) -> tuple[str, OutsideBlobs]:
        body: Document = {"properties": {"datastoreType": "LocalFolder", "path": str(self.root / folder)}}
        row = (await self.datastores.put(PLATFORM, workspace, KINDS[DATASTORE], "", "outside", body)).row
        account = account_of(row.pk)
        return account, await self.outside.blobs(account, workspace)

    async def delete(self, workspace: Workspace) -> None:
        await self.datastores.delete(PLATFORM, workspace, KINDS[DATASTORE], "", "outside")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = Services(tmp_path)
    yield made
    made.close()


def test_an_account_that_is_used_again_opens_what_it_stands_for_now(services: Services, tmp_path: Path) -> None:
    """SQLite gives the last row's number to the next one, of whatever workspace that is."""
    for name in ("mine", "theirs"):
        (tmp_path / "root" / name).mkdir(parents=True)
    accounts = Accounts(services, tmp_path / "root")

    async def work() -> None:
        first, opened = await accounts.of(services.workspace, "mine")
        assert opened._store == str(tmp_path / "root" / "mine")
        await accounts.delete(services.workspace)
        second, opened = await accounts.of(services.other, "theirs")
        assert first == second, "the test's own assumption"
        assert opened._store == str(tmp_path / "root" / "theirs")

        with pytest.raises(NotFound):
            await accounts.outside.blobs(second, services.workspace)

    asyncio.run(work())


def test_nothing_is_told_of_what_lies_outside_as_the_source_of_a_copy(services: Services, tmp_path: Path) -> None:
    """The signature that was checked is for the source's own account, whatever name it is looked up by."""
    (tmp_path / "root" / "mine").mkdir(parents=True)
    accounts = Accounts(services, tmp_path / "root")

    async def work() -> None:
        _, opened = await accounts.of(services.workspace, "mine")
        with pytest.raises(NotServed):
            await opened.source(services.other.account, "azureml", "a", NONE)

    asyncio.run(work())
