"""Blobs: what the service promises, on both databases."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from tests.support.blob_server import Services
from tests.support.databases import postgres_url  # noqa: F401  (a fixture)
from zaffre.errors import Conflict, InvalidInput, NotFound, PreconditionFailed, TooLarge, Unavailable
from zaffre.services.blobs import Content
from zaffre.services.blocks import Pick
from zaffre.services.conditions import Conditions, NotModified
from zaffre.store import blobs as rows
from zaffre.store import tables
from zaffre.store.blobs import Blob, BlobInfo, after_prefix
from zaffre.store.unit import PLATFORM

BOX = "azureml"


@pytest.fixture(params=["sqlite", "postgres"])
def services(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Services]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    made = Services(tmp_path, url=url)
    yield made
    made.close()


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def put(services: Services, name: str, data: bytes = b"data", conditions: Conditions = Conditions()) -> Blob:  # noqa: B008
    account = services.workspace.account
    return asyncio.run(services.blobs.put(account, BOX, name, stream(data), conditions=conditions))


# ---- the service


def test_a_blob_is_written_read_described_and_deleted(services: Services) -> None:
    account, blobs = services.workspace.account, services.blobs

    async def work() -> None:
        content = Content(content_type="text/plain", headers={"cache-control": "no-store"})
        made = await blobs.put(account, BOX, "a//b", stream(b"he", b"llo"), content=content, metadata={"k": "v"})
        assert made.size == 5
        assert made.md5 == base64.b64encode(hashlib.md5(b"hello").digest()).decode()
        assert await blobs.properties(account, BOX, "a//b") == made
        assert await blobs.get_bytes(account, BOX, "a//b") == b"hello"
        found, chunks = await blobs.read(account, BOX, "a//b")
        assert found == made
        assert b"".join([chunk async for chunk in chunks]) == b"hello"
        with pytest.raises(TooLarge):
            await blobs.get_bytes(account, BOX, "a//b", limit=4)

        changed = await blobs.set_metadata(account, BOX, "a//b", {"n": "1"})
        assert changed.metadata == {"n": "1"}
        assert changed.etag != made.etag
        changed = await blobs.set_content(account, BOX, "a//b", Content(content_type="x/y"))
        assert (changed.content_type, changed.headers, changed.md5, changed.metadata) == ("x/y", {}, None, {"n": "1"})

        await blobs.delete(account, BOX, "a//b")
        for missing in ("a//b", "a/b"):
            with pytest.raises(NotFound) as refused:
                await blobs.properties(account, BOX, missing)
            assert refused.value.code == "BlobNotFound"
        with pytest.raises(NotFound) as refused:
            await blobs.properties(account, "no-such", "a")
        assert refused.value.code == "ContainerNotFound"

    asyncio.run(work())


def test_other_services_write_files_and_read_trees(services: Services, tmp_path: Path) -> None:
    account, blobs = services.workspace.account, services.blobs

    async def work() -> None:
        source = tmp_path / "model.bin"
        source.write_bytes(b"weights")
        made = await blobs.put_file(account, BOX, "m/model.bin", source, content_type="application/x-model")
        assert made.content_type == "application/x-model"
        await blobs.put_bytes(account, BOX, "m/a.txt", b"a")
        await blobs.put_bytes(account, BOX, "mm", b"not below m/")
        tree = await blobs.tree(account, BOX, "m/")
        assert tree == [
            BlobInfo(name="m/a.txt", sha256=hashlib.sha256(b"a").hexdigest(), size=1),
            BlobInfo(name="m/model.bin", sha256=made.sha256, size=7),
        ]
        assert services.objects.local_path(tree[1].sha256).read_bytes() == b"weights"
        content = Content(content_type="a/b", md5=made.md5)
        copied = await blobs.copy_of(account, BOX, "copy", made, content=content, metadata={"k": "v"})
        assert (copied.sha256, copied.content_type, copied.metadata) == (made.sha256, "a/b", {"k": "v"})
        with pytest.raises(NotFound):
            await blobs.source(account, BOX, "nothing", Conditions())
        gone = msgspec.structs.replace(made, sha256="0" * 64)
        with pytest.raises(Unavailable):
            await blobs.copy_of(account, BOX, "copy", gone, content=content, metadata={})
        with pytest.raises(NotFound):
            await blobs.tree(account, "no-such")

    asyncio.run(work())


def test_conditions_on_writes(services: Services) -> None:
    first = put(services, "x", b"1")
    with pytest.raises(Conflict) as refused:
        put(services, "x", b"2", Conditions(none_match=("*",)))
    assert refused.value.code == "BlobAlreadyExists"
    with pytest.raises(PreconditionFailed):
        put(services, "x", b"2", Conditions(match=("0xOTHER",)))
    with pytest.raises(PreconditionFailed):
        put(services, "x", b"2", Conditions(none_match=(first.etag,)))
    with pytest.raises(PreconditionFailed):
        put(services, "y", b"2", Conditions(match=("*",)))
    with pytest.raises(PreconditionFailed):
        put(services, "x", b"2", Conditions(unmodified_since=0))
    put(services, "x", b"2", Conditions(match=(first.etag,)))
    with pytest.raises(PreconditionFailed):
        put(services, "x", b"3", Conditions(match=(first.etag,)))
    put(services, "new", b"3", Conditions(none_match=("*",)))


def test_conditions_on_reads(services: Services) -> None:
    account, made = services.workspace.account, put(services, "x")

    def read(conditions: Conditions) -> Blob:
        return asyncio.run(services.blobs.properties(account, BOX, "x", conditions))

    second = made.modified_at // 1000 * 1000
    assert read(Conditions(match=(made.etag,), unmodified_since=second, modified_since=second - 1000)) == made
    for same in (Conditions(none_match=(made.etag,)), Conditions(none_match=("*",)), Conditions(modified_since=second)):
        with pytest.raises(NotModified):
            read(same)
    for other in (Conditions(match=("0x1",)), Conditions(unmodified_since=second - 1000)):
        with pytest.raises(PreconditionFailed):
            read(other)


def test_only_one_of_many_creators_wins(services: Services) -> None:
    account = services.workspace.account

    async def create(number: int) -> bool:
        try:
            await services.blobs.put(
                account, BOX, "race", stream(str(number).encode()), conditions=Conditions(none_match=("*",))
            )
        except Conflict:
            return False
        return True

    async def work() -> list[bool]:
        return await asyncio.gather(*(create(number) for number in range(20)))

    assert sum(asyncio.run(work())) == 1


@pytest.mark.parametrize("name", ["", "x" * 1025, "a\x00b", "a\x01b", "\x1f", "a\ufffe", "a\uffff"])
def test_names_that_no_listing_could_carry_are_refused(services: Services, name: str) -> None:
    with pytest.raises(InvalidInput):
        put(services, name)


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", ".", "..", "x" * 1024, "a\tb\r\nc", "ünï/😀", "a%2Fb", " "])
def test_odd_names_are_just_names(services: Services, name: str) -> None:
    put(services, name, b"odd")
    account = services.workspace.account
    assert asyncio.run(services.blobs.get_bytes(account, BOX, name)) == b"odd"
    assert [info.name for info in asyncio.run(services.blobs.tree(account, BOX))] == [name]


def test_containers(services: Services) -> None:
    account, blobs = services.workspace.account, services.blobs

    async def work() -> None:
        await blobs.create_container(account, "mine", PLATFORM)
        with pytest.raises(Conflict) as refused:
            await blobs.create_container(account, "mine", PLATFORM)
        assert refused.value.code == "ContainerAlreadyExists"
        for bad in ("ab", "A-b", "a--b", "-ab", "a" * 64, "../x", "$root", "mine\n"):
            with pytest.raises(InvalidInput):
                await blobs.create_container(account, bad, PLATFORM)
        names = [one.name for one in await blobs.containers(account)]
        assert names == ["azureml", f"azureml-blobstore-{services.workspace.id}", "mine"]

    asyncio.run(work())
    found = services.database.read_now(lambda conn: conn.execute(tables.audit.select()).mappings().all())
    assert [row["action"] for row in found].count("workspaces/containers/write") == 1


# ---- blocks


def stage(services: Services, name: str, id_: str, data: bytes) -> None:
    asyncio.run(services.blobs.stage_block(services.workspace.account, BOX, name, id_, stream(data)))


def commit(services: Services, name: str, *picks: tuple[str, str]) -> bytes:
    account = services.workspace.account
    chosen = [Pick(source=source, id=id_) for source, id_ in picks]  # type: ignore[arg-type]
    asyncio.run(services.blobs.commit_blocks(account, BOX, name, chosen))
    return asyncio.run(services.blobs.get_bytes(account, BOX, name))


def test_blocks_become_a_blob_in_the_order_of_the_list(services: Services) -> None:
    for id_, data in (("b1", b"one"), ("b2", b"two"), ("b3", b"three")):
        stage(services, "x", id_, data)
    with pytest.raises(NotFound):
        asyncio.run(services.blobs.properties(services.workspace.account, BOX, "x"))
    assert commit(services, "x", ("Latest", "b2"), ("Uncommitted", "b1"), ("Latest", "b2")) == b"twoonetwo"
    with pytest.raises(InvalidInput) as refused:
        commit(services, "x", ("Latest", "b3"))  # what was not taken is dropped
    assert refused.value.code == "InvalidBlockList"


def test_committed_blocks_can_be_taken_again_as_appending_clients_do(services: Services) -> None:
    stage(services, "log", "b1", b"first,")
    stage(services, "log", "b2", b"second,")
    commit(services, "log", ("Latest", "b1"), ("Latest", "b2"))
    stage(services, "log", "b3", b"third")
    stage(services, "log", "b1", b"FIRST,")
    with pytest.raises(InvalidInput):
        commit(services, "log", ("Committed", "b3"))
    with pytest.raises(InvalidInput):
        commit(services, "log", ("Uncommitted", "b2"))
    picks = (("Committed", "b1"), ("Latest", "b1"), ("Latest", "b2"), ("Latest", "b3"))
    assert commit(services, "log", *picks) == b"first,FIRST,second,third"
    blob, committed, staged = asyncio.run(services.blobs.block_lists(services.workspace.account, BOX, "log"))
    assert blob is not None
    assert [(one.id, one.size) for one in committed] == [("b1", 6), ("b1", 6), ("b2", 7), ("b3", 5)]
    assert staged == []


def test_committing_twice_is_the_same_as_once(services: Services) -> None:
    """A client whose first answer was lost repeats the request."""
    stage(services, "x", "b1", b"one")
    stage(services, "x", "b2", b"two")
    for _ in range(3):
        assert commit(services, "x", ("Latest", "b1"), ("Latest", "b2")) == b"onetwo"
    stage(services, "one", "b1", b"alone")
    for _ in range(3):
        assert commit(services, "one", ("Latest", "b1")) == b"alone"
    assert commit(services, "empty") == b""


def test_writing_or_deleting_the_blob_drops_its_staged_blocks(services: Services) -> None:
    stage(services, "x", "b1", b"one")
    put(services, "x", b"whole")
    with pytest.raises(InvalidInput):
        commit(services, "x", ("Latest", "b1"))
    stage(services, "x", "b1", b"one")
    asyncio.run(services.blobs.delete(services.workspace.account, BOX, "x"))
    with pytest.raises(NotFound):
        asyncio.run(services.blobs.block_lists(services.workspace.account, BOX, "x"))


# ---- listing


def listed(services: Services, **how: object) -> list[str]:
    """All pages of a listing, put together."""
    account, found, start = services.workspace.account, [], ""
    while True:
        page = asyncio.run(services.blobs.listing(account, BOX, start=start, **how))  # type: ignore[arg-type]
        found += [entry if isinstance(entry, str) else entry.name for entry in page.entries]
        if page.next is None:
            return found
        start = page.next


def test_listings_with_prefix_delimiter_and_pages(services: Services) -> None:
    names = ["a", "a/1", "a/2/x", "a/2/y", "a//", "ab", "b/1", "Z", "ä/1", "ä/2", "😀"]
    for name in names:
        put(services, name)
    for limit in (1, 2, 3, 100):
        assert listed(services, limit=limit) == sorted(names)
        assert listed(services, limit=limit, delimiter="/") == ["Z", "a", "a/", "ab", "b/", "ä/", "😀"]
        assert listed(services, limit=limit, prefix="a/", delimiter="/") == ["a//", "a/1", "a/2/"]
        assert listed(services, limit=limit, prefix="a") == ["a", "a//", "a/1", "a/2/x", "a/2/y", "ab"]
        assert listed(services, limit=limit, prefix="a/2") == ["a/2/x", "a/2/y"]
        assert listed(services, limit=limit, prefix="A") == []


def test_a_folder_of_thousands_is_one_entry_and_few_queries(services: Services) -> None:
    account, other = services.workspace.account, services.database
    put(services, "zz")
    pk = other.read_now(lambda conn: rows.container(conn, account, BOX).pk)  # type: ignore[union-attr]
    values = {
        "sha256": "0" * 64,
        "size": 0,
        "md5": None,
        "etag": "0x1",
        "content_type": "x/y",
        "headers": {},
        "metadata": {},
        "blocks": None,
    }
    other.write_now(lambda unit: [rows.insert(unit, pk, f"big/{n:05}", **values) for n in range(700)])
    queries = 0

    def count(conn: object) -> tuple[list[Blob | str], str | None]:
        nonlocal queries

        def seen(_conn: object, _cursor: object, statement: str, *_: object) -> None:
            nonlocal queries
            queries += statement.startswith("SELECT")

        event.listen(conn, "before_cursor_execute", seen)
        return rows.walk(conn, pk, delimiter="/", limit=10)  # type: ignore[arg-type]

    entries, following = other.read_now(count)
    assert [entry if isinstance(entry, str) else entry.name for entry in entries] == ["big/", "zz"]
    assert following is None
    assert queries == 2


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=4), st.text(max_size=6))
def test_what_is_behind_a_prefix(prefix: str, text: str) -> None:
    end = after_prefix(prefix)
    utf8 = [value.encode("utf-8", "surrogatepass") for value in (prefix, text, end or "")]
    assert text.startswith(prefix) == (utf8[0] <= utf8[1] and (end is None or utf8[1] < utf8[2]))
