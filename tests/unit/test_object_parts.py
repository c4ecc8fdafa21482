"""Objects made of others: the bytes come out as if they had been copied, whatever happens to the parts."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.errors import ZaffreError
from zaffre.store import parts as lists
from zaffre.store.objects import Objects
from zaffre.store.parts import Part

MB = 1024 * 1024


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[Objects]:
    made = Objects(tmp_path / "objects")
    yield made
    made.close()


async def collected(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def composed(objects: Objects, *blocks: bytes) -> str:
    """The name of an object made of these."""
    stored = [await objects.put_bytes(block) for block in blocks]
    return (await objects.compose([Part(one.sha256, 0, one.size) for one in stored])).sha256


def test_large_blocks_become_a_list_and_are_not_copied(objects: Objects, tmp_path: Path) -> None:
    blocks = [os.urandom(7 * MB) for _ in range(3)]
    expected = b"".join(blocks)

    async def work() -> None:
        name = await composed(objects, *blocks)
        assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < len(expected) + 1000
        assert await collected(await objects.open(name)) == expected
        for start, end in ((0, 10), (7 * MB - 5, 7 * MB + 5), (6 * MB, 20 * MB), (21 * MB - 1, 21 * MB), (5, 5)):
            assert await collected(await objects.open(name, start, end)) == expected[start:end]
            assert await objects.read(name, start, end) == expected[start:end]
        assert await objects.read(name) == expected
        with pytest.raises(ZaffreError, match="shorter than its record"):
            await objects.open(name, 0, 21 * MB + 1)

    asyncio.run(work())


def test_a_list_is_joined_once_where_one_file_is_wanted(objects: Objects) -> None:
    blocks = [os.urandom(9 * MB), os.urandom(9 * MB)]
    expected = b"".join(blocks)

    async def work() -> None:
        name = await composed(objects, *blocks)
        paths = await asyncio.gather(*(asyncio.to_thread(objects.local_path, name) for _ in range(4)))
        assert len(set(paths)) == 1
        assert paths[0].read_bytes() == expected
        assert paths[0].name == hashlib.sha256(expected).hexdigest(), "bytes are always named by their hash"
        assert await objects.read(name) == expected
        assert (await composed(objects, *blocks)) == name, "the same blocks again are the same object"
        assert await objects.held() == {paths[0].name}
        assert objects.digest(name) == objects.digest(paths[0].name) == paths[0].name

    asyncio.run(work())


def test_a_slow_reader_goes_on_in_the_whole_when_its_parts_are_gone(objects: Objects) -> None:
    blocks = [os.urandom(9 * MB), os.urandom(9 * MB), os.urandom(2 * MB)]

    async def work() -> None:
        name = await composed(objects, *blocks)
        reader = await objects.open(name, 100, 19 * MB)
        first = await anext(reader)
        await asyncio.to_thread(objects.local_path, name)
        for block in blocks:
            assert await objects.delete(hashlib.sha256(block).hexdigest(), before=2**50)
        assert first + await collected(reader) == b"".join(blocks)[100 : 19 * MB]

    asyncio.run(work())


def test_small_or_many_parts_are_copied(objects: Objects) -> None:
    async def work() -> None:
        for blocks in ([b"one", b"two"], [b"x"], [b"", b""], [bytes([n]) * 65_536 for n in range(256)] * 2):
            expected = b"".join(blocks)
            assert await composed(objects, *blocks) == hashlib.sha256(expected).hexdigest()
        assert (await objects.compose([])).size == 0

    asyncio.run(work())


def test_parts_of_lists_are_parts_of_what_they_list(objects: Objects) -> None:
    """A client that appends commits what is there and a block more, again and again."""
    blocks = [os.urandom(10 * MB) for _ in range(3)]

    async def work() -> None:
        name, size = await composed(objects, *blocks[:2]), 20 * MB
        more = await objects.put_bytes(blocks[2])
        longer = await objects.compose([Part(name, 0, size), Part(more.sha256, 0, more.size)])
        assert await objects.read(longer.sha256) == b"".join(blocks)
        part = await objects.compose([Part(longer.sha256, 5 * MB, 20 * MB)])
        assert await objects.read(part.sha256) == b"".join(blocks)[5 * MB : 25 * MB]
        again = await objects.compose([Part(more.sha256, 0, MB), Part(more.sha256, MB, 9 * MB)])
        assert again.sha256 == more.sha256, "neighbours are one part, and all of an object is that object"
        assert len(await objects.held()) == 3

    asyncio.run(work())


def test_what_is_gone_is_not_composed_of(objects: Objects) -> None:
    async def work() -> None:
        kept = await objects.put_bytes(os.urandom(20 * MB))
        gone = await objects.put_bytes(os.urandom(20 * MB))
        await objects.delete(gone.sha256, before=2**50)
        with pytest.raises(FileNotFoundError):
            await objects.compose([Part(kept.sha256, 0, kept.size), Part(gone.sha256, 0, gone.size)])
        with pytest.raises(FileNotFoundError):
            await objects.open("0" * 64)
        assert await objects.held() == set()

    asyncio.run(work())


def test_nobody_can_upload_bytes_that_take_a_lists_name(objects: Objects) -> None:
    parts = [Part("0" * 64, 0, 5), Part("1" * 64, 0, 5)]
    assert lists.name_of(parts) != hashlib.sha256(lists.encode(parts)).hexdigest()


def test_a_damaged_list_is_named(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "objects" / "parts" / ("a" * 64)).write_bytes(b"[[")
    with pytest.raises(ZaffreError, match="is damaged"):
        asyncio.run(objects.open("a" * 64))


_PARTS = st.lists(st.builds(Part, st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 4)), max_size=6)
_BYTES = {"a": bytes(range(7)), "b": bytes(range(10, 17))}


def _content(parts: list[Part]) -> bytes:
    return b"".join(_BYTES[part.sha256][part.start : part.start + part.size] for part in parts)


@given(_PARTS, st.integers(0, 25), st.integers(0, 25) | st.none())
def test_merging_and_cutting_keep_the_bytes(parts: list[Part], start: int, end: int | None) -> None:
    expected = _content(parts)
    assert _content(lists.merged(parts)) == expected
    assert _content(lists.within(parts, start, end)) == expected[start:end]
    assert _content(lists.within(lists.merged(parts), start, end)) == expected[start:end]
