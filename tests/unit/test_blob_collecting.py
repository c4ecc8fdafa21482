"""Collecting: what nothing refers to goes, what anybody may still need stays; on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.blob_server import Services
from tests.support.databases import postgres_url  # noqa: F401  (a fixture)
from zaffre.errors import Conflict, NotFound
from zaffre.services.blobs import Content
from zaffre.services.blocks import Pick
from zaffre.services.collection import GRACE_MS, STAGED_MS
from zaffre.store import blobs as rows
from zaffre.store.objects import KEEP
from zaffre.store.unit import PLATFORM

BOX = "azureml"
MB = 1024 * 1024


@pytest.fixture(params=["sqlite", "postgres"])
def services(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Services]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    made = Services(tmp_path, url=url)
    yield made
    made.close()


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def put(services: Services, name: str, data: bytes) -> None:
    asyncio.run(services.blobs.put(services.workspace.account, BOX, name, stream(data)))


def stage(services: Services, name: str, id_: str, data: bytes) -> None:
    asyncio.run(services.blobs.stage_block(services.workspace.account, BOX, name, id_, stream(data)))


def commit(services: Services, name: str, *picks: tuple[str, str]) -> bytes:
    account = services.workspace.account
    chosen = [Pick(source=source, id=id_) for source, id_ in picks]  # type: ignore[arg-type]
    asyncio.run(services.blobs.commit_blocks(account, BOX, name, chosen))
    return asyncio.run(services.blobs.get_bytes(account, BOX, name, limit=10**9))


def collect(services: Services) -> int:
    return asyncio.run(services.collector.collect()).deleted


def objects_of(services: Services) -> set[str]:
    return {path.name for path in services.settings.objects.rglob("*") if path.is_file()} - {KEEP}


def test_unreferenced_bytes_go_and_no_others(services: Services) -> None:
    account, blobs = services.workspace.account, services.blobs
    put(services, "kept", b"kept")
    put(services, "replaced", b"old")
    put(services, "gone", b"gone")
    stage(services, "open", "b1", b"staged")
    found = asyncio.run(blobs.properties(account, BOX, "gone"))
    asyncio.run(blobs.copy_of(account, BOX, "copy", found, content=Content(), metadata={}))
    put(services, "replaced", b"new")
    asyncio.run(blobs.delete(account, BOX, "gone"))
    assert len(objects_of(services)) == 5

    for _ in range(3):  # too young, however often one looks
        assert collect(services) == 0
    services.clock.ahead_ms += GRACE_MS + 1000
    assert collect(services) == 0, "old enough, but a reader may have looked it up just before"
    services.clock.ahead_ms += GRACE_MS + 1000
    assert collect(services) == 1
    assert hashlib.sha256(b"old").hexdigest() not in objects_of(services)
    for name, data in (("kept", b"kept"), ("replaced", b"new"), ("copy", b"gone")):
        assert asyncio.run(blobs.get_bytes(account, BOX, name)) == data
    assert commit(services, "open", ("Latest", "b1")) == b"staged"


def test_blocks_nobody_commits_go_after_a_week(services: Services) -> None:
    stage(services, "x", "b1", b"forgotten")
    services.clock.ahead_ms += STAGED_MS + 1000
    assert collect(services) == 0
    services.clock.ahead_ms += GRACE_MS + 1000
    assert collect(services) == 1
    assert objects_of(services) == set()


def test_writing_what_is_about_to_be_collected_keeps_it(services: Services) -> None:
    account, blobs = services.workspace.account, services.blobs
    put(services, "x", b"twice")
    asyncio.run(blobs.delete(account, BOX, "x"))
    services.clock.ahead_ms += GRACE_MS + 1000
    collect(services)
    services.clock.ahead_ms += GRACE_MS + 1000
    put(services, "y", b"twice")
    assert collect(services) == 0
    services.clock.ahead_ms += 2 * GRACE_MS
    assert collect(services) == 0
    assert asyncio.run(blobs.get_bytes(account, BOX, "y")) == b"twice"


def test_collecting_between_a_writers_bytes_and_its_row_loses_nothing(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes lay there unreferenced for hours and are about to go, just when somebody brings them again."""
    account, blobs = services.workspace.account, services.blobs
    put(services, "x", b"same")
    stage(services, "z", "b1", b"block")
    for name in ("x", "z"):
        with contextlib.suppress(NotFound):
            asyncio.run(blobs.delete(account, BOX, name))
    services.database.write_now(lambda unit: rows.unstage_older(unit, unit.now + 1))
    services.clock.ahead_ms += GRACE_MS + 1000
    collect(services)
    services.clock.ahead_ms += GRACE_MS + 1000
    put_stream, collected = services.objects.put_stream, []

    async def collecting(*args: Any, **kwargs: Any) -> Any:
        stored = await put_stream(*args, **kwargs)
        collected.append((await services.collector.collect()).deleted)
        return stored

    monkeypatch.setattr(services.objects, "put_stream", collecting)
    put(services, "y", b"same")
    assert collected == [1], "the block's bytes went, those brought again did not"
    assert asyncio.run(blobs.get_bytes(account, BOX, "y")) == b"same"


def test_a_look_says_what_would_go_and_leaves_it(services: Services) -> None:
    put(services, "x", b"12345")
    asyncio.run(services.blobs.delete(services.workspace.account, BOX, "x"))
    stage(services, "y", "b1", b"block")
    services.clock.ahead_ms += STAGED_MS + 1000
    look = asyncio.run(services.collector.collect(dry_run=True))
    assert (look.deleted, look.waiting, look.waiting_bytes, look.expired_blocks) == (0, 1, 5, 1)
    services.clock.ahead_ms += GRACE_MS + 1000
    look = asyncio.run(services.collector.collect(dry_run=True))
    assert (look.deleted, look.deleted_bytes, look.waiting, look.expired_blocks) == (1, 5, 0, 1)
    assert len(objects_of(services)) == 2
    assert collect(services) == 1


def test_nothing_goes_while_a_backup_runs(services: Services) -> None:
    put(services, "x", b"old")
    asyncio.run(services.blobs.delete(services.workspace.account, BOX, "x"))
    services.clock.ahead_ms += GRACE_MS + 1000
    collect(services)
    services.clock.ahead_ms += GRACE_MS + 1000
    with (services.settings.objects / KEEP).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        look = asyncio.run(services.collector.collect())
        assert (look.held, look.deleted, look.waiting) == (True, 0, 1)
    assert collect(services) == 1


def test_a_deleted_container_is_gone_at_once_and_its_bytes_later(services: Services) -> None:
    account, blobs = services.workspace.account, services.blobs

    async def fill() -> None:
        await blobs.create_container(account, "mine", PLATFORM)
        for number in range(5):
            await blobs.put_bytes(account, "mine", f"b{number}", str(number).encode())
        await blobs.stage_block(account, "mine", "open", "b1", stream(b"staged"))
        await blobs.delete_container(account, "mine", PLATFORM)
        with pytest.raises(NotFound):
            await blobs.container(account, "mine")
        with pytest.raises(NotFound):
            await blobs.container(account, f"{rows.DISCARDED}1")
        await blobs.create_container(account, "mine", PLATFORM)
        assert (await blobs.listing(account, "mine")).entries == []
        for own in (BOX, services.workspace.container):
            with pytest.raises(Conflict):
                await blobs.delete_container(account, own, PLATFORM)

    asyncio.run(fill())
    assert services.database.write_now(lambda unit: rows.purge(unit, 3)) == 3
    assert [one.name for one in asyncio.run(blobs.containers(account))] == [
        "azureml",
        services.workspace.container,
        "mine",
    ]
    collect(services)
    for _ in range(2):
        services.clock.ahead_ms += GRACE_MS + 1000
        collect(services)
    assert objects_of(services) == set()


def test_what_a_list_of_parts_needs_stays_as_long_as_the_list(services: Services) -> None:
    account, blobs = services.workspace.account, services.blobs
    blocks = [os.urandom(6 * MB) for _ in range(3)]
    for number, data in enumerate(blocks):
        stage(services, "big", f"b{number}", data)
    whole = b"".join(blocks)
    assert commit(services, "big", *(("Latest", f"b{number}") for number in range(3))) == whole
    for _ in range(3):
        services.clock.ahead_ms += GRACE_MS + 1000
        assert collect(services) == 0
    assert asyncio.run(blobs.get_bytes(account, BOX, "big", limit=10**9)) == whole
    assert len(objects_of(services)) == 4, "three blocks and their list"

    name = asyncio.run(blobs.properties(account, BOX, "big")).sha256
    assert services.objects.local_path(name).read_bytes() == whole
    services.clock.ahead_ms += GRACE_MS + 1000
    collect(services)
    services.clock.ahead_ms += GRACE_MS + 1000
    assert collect(services) == 3, "what was joined is no longer needed in pieces"
    assert asyncio.run(blobs.get_bytes(account, BOX, "big", limit=10**9)) == whole
    asyncio.run(blobs.delete(account, BOX, "big"))
    for _ in range(5):
        services.clock.ahead_ms += GRACE_MS + 1000
        collect(services)
    assert objects_of(services) == set()
