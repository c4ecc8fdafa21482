"""The object store: what it says it stored is on disk, and what failed left nothing."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import os
import stat
import subprocess
import sys
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from zaffre.errors import InvalidInput, StorageFull, ZaffreError
from zaffre.runtime import Runtime
from zaffre.store import drafts
from zaffre.store import objects as module
from zaffre.store.objects import BUFFER, Objects

HOUR = 3_600_000


class Clock(Runtime):
    def __init__(self) -> None:
        self.at = 1_700_000_000_000

    def now(self) -> int:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def objects(tmp_path: Path, clock: Clock) -> Iterator[Objects]:
    made = Objects(tmp_path / "objects", clock)
    yield made
    made.close()


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def collected(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 7])
def test_bytes_come_back_under_their_hash(objects: Objects, size: int) -> None:
    data = os.urandom(size)
    pieces = [data[i : i + 65_536] for i in range(0, size, 65_536)]

    async def work() -> None:
        stored = await objects.put_stream(stream(*pieces), size=size, md5=hashlib.md5(data).digest())
        assert stored.sha256 == hashlib.sha256(data).hexdigest()
        assert stored.size == size
        assert stored.md5 == base64.b64encode(hashlib.md5(data).digest()).decode()
        assert objects.local_path(stored.sha256).read_bytes() == data
        assert await collected(await objects.open(stored.sha256)) == data
        assert await objects.read(stored.sha256) == data
        if size > 2:
            assert await collected(await objects.open(stored.sha256, 1, size - 1)) == data[1:-1]
            assert await objects.read(stored.sha256, 1, 2) == data[1:2]

    asyncio.run(work())


def test_the_same_bytes_are_kept_once_and_cannot_be_written_to(objects: Objects, tmp_path: Path) -> None:
    async def work() -> None:
        await asyncio.gather(*(objects.put_bytes(b"same") for _ in range(20)))

    asyncio.run(work())
    (path,) = files(tmp_path / "objects")
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_a_file_is_copied_in(objects: Objects, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * (BUFFER + 5))
    stored = asyncio.run(objects.put_file(source))
    source.write_bytes(b"changed")
    assert objects.local_path(stored.sha256).stat().st_size == BUFFER + 5
    with pytest.raises(FileNotFoundError):
        asyncio.run(objects.put_file(tmp_path / "none"))


@pytest.mark.parametrize("size", [10, 2 * BUFFER])
def test_a_broken_promise_leaves_nothing(objects: Objects, tmp_path: Path, size: int) -> None:
    data = b"y" * size
    with pytest.raises(InvalidInput, match="MD5") as refused:
        asyncio.run(objects.put_stream(stream(data), md5=hashlib.md5(b"other").digest()))
    assert refused.value.code == "Md5Mismatch"
    for promised in (size + 1, size - 1):
        with pytest.raises(InvalidInput, match="were announced"):
            asyncio.run(objects.put_stream(stream(data), size=promised))
    objects.close()
    assert files(tmp_path / "objects") == []


@pytest.mark.parametrize("sent", [0, 1, 5])
def test_a_stream_that_breaks_leaves_nothing(objects: Objects, tmp_path: Path, sent: int) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        for _ in range(sent):
            yield b"z" * BUFFER
        raise InvalidInput("The connection closed.")

    with pytest.raises(InvalidInput, match="closed"):
        asyncio.run(objects.put_stream(breaking()))
    objects.close()
    assert files(tmp_path / "objects") == []


def test_a_cancelled_write_leaves_nothing(objects: Objects, tmp_path: Path) -> None:
    async def work() -> None:
        reached = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"z" * BUFFER
                reached.set()
                await asyncio.sleep(0)

        task = asyncio.create_task(objects.put_stream(endless()))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    objects.close()
    assert files(tmp_path / "objects") == []


def test_a_full_disk_is_named_and_leaves_nothing(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = os.write, 0

    def filling(file: int, data: memoryview) -> int:
        nonlocal written
        if written >= BUFFER:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(file, data[:300_000])  # short writes, too, are in order
        written += done
        return done

    monkeypatch.setattr(drafts.os, "write", filling)
    with pytest.raises(StorageFull, match="disk is full"):
        asyncio.run(objects.put_stream(stream(*[b"q" * 700_000] * 9)))
    objects.close()
    assert files(tmp_path / "objects") == []


def test_bytes_that_an_early_flush_lost_are_not_kept(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux tells a write that failed to one sync of a file only, which may be the one in between."""
    flushed = []

    def losing(file: int) -> None:
        flushed.append(file)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(drafts, "FLUSHED", 2 * BUFFER)
    monkeypatch.setattr(drafts.os, "fdatasync", losing)
    with pytest.raises(StorageFull, match="disk is full"):
        asyncio.run(objects.put_stream(stream(*[b"q" * BUFFER] * 3)))
    objects.close()
    assert flushed and files(tmp_path / "objects") == []


def test_what_cannot_fit_is_refused_before_it_is_read(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _path: usage(100, 100, 5_000_000))

    async def untouchable() -> AsyncIterator[bytes]:
        raise AssertionError("not a byte should be asked for")
        yield b""

    with pytest.raises(StorageFull, match="10000000000 bytes are to come and the disk has 5000000 free"):
        asyncio.run(objects.put_stream(untouchable(), size=10_000_000_000))


def test_a_start_removes_the_drafts_of_the_dead_and_no_others(tmp_path: Path) -> None:
    root = tmp_path / "objects"
    first = Objects(root)
    (root / "drafts" / "leftover").write_bytes(b"half")

    async def work() -> None:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"a" * BUFFER
            yield b"b" * BUFFER  # asked for when the first is being written, on a thread
            yield b"c" * BUFFER
            reached.set()
            await go_on.wait()
            yield b"d"

        task = asyncio.create_task(first.put_stream(slow()))
        await reached.wait()
        assert len(files(root)) == 2
        second = await asyncio.to_thread(Objects, root)
        assert not (root / "drafts" / "leftover").exists()
        go_on.set()
        stored = await task
        assert second.local_path(stored.sha256).stat().st_size == 3 * BUFFER + 1
        second.close()

    asyncio.run(work())
    first.close()


def test_a_writer_that_is_killed_leaves_a_draft_that_the_next_start_removes(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from zaffre.store.objects import Objects, BUFFER\n"
        "async def chunks():\n"
        "    for _ in range(5): yield b'k' * BUFFER\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(Objects(Path(sys.argv[1])).put_stream(chunks()))\n"
    )
    root = tmp_path / "objects"
    assert subprocess.run([sys.executable, "-c", program, str(root)], check=False).returncode == -9
    assert len(files(root)) == 1
    Objects(root).close()
    assert files(root) == []


def test_deleting_spares_what_was_touched_lately(objects: Objects, clock: Clock) -> None:
    async def work() -> None:
        old = await objects.put_bytes(b"old")
        kept = await objects.put_bytes(b"kept")
        clock.at += 2 * HOUR
        new = await objects.put_bytes(b"new")
        assert await objects.touch(kept.sha256)
        before = clock.at - HOUR
        found = [name async for names in objects.untouched(before) for name in names]
        assert found == [old.sha256]
        assert not await objects.delete(kept.sha256, before=before)
        assert not await objects.delete(new.sha256, before=before)
        reader = await objects.open(old.sha256)
        assert await objects.delete(old.sha256, before=before)
        assert await collected(reader) == b"old"  # whoever had it open still reads it
        assert not await objects.delete(old.sha256, before=before)
        assert not await objects.touch(old.sha256)
        with pytest.raises(FileNotFoundError):
            await objects.open(old.sha256)

    asyncio.run(work())


def test_writing_again_what_is_there_keeps_it_from_being_collected(objects: Objects, clock: Clock) -> None:
    async def work() -> None:
        stored = await objects.put_bytes(b"again")
        clock.at += 2 * HOUR
        await objects.put_bytes(b"again")
        assert not await objects.delete(stored.sha256, before=clock.at - HOUR)

    asyncio.run(work())


def test_lost_bytes_are_noticed(objects: Objects) -> None:
    async def work() -> None:
        stored = await objects.put_bytes(b"12345")
        path = objects.local_path(stored.sha256)
        path.chmod(0o600)
        path.write_bytes(b"123")
        with pytest.raises(ZaffreError, match="shorter than its record"):
            await collected(await objects.open(stored.sha256, 0, 5))
        with pytest.raises(ZaffreError, match="shorter than its record"):
            await objects.read(stored.sha256, 0, 5)
        await objects.put_bytes(b"12345")  # writing it anew mends it
        assert path.read_bytes() == b"12345"

    asyncio.run(work())


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n"])
def test_only_hashes_name_objects(objects: Objects, name: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        objects.local_path(name)


def test_memory_stays_flat_under_a_stream_of_300_mb(objects: Objects) -> None:
    async def work() -> None:
        chunk = os.urandom(65_536)
        await objects.put_stream(stream(*[chunk] * 64))
        process = psutil.Process()
        before, most = process.memory_info().rss, 0

        async def long() -> AsyncIterator[bytes]:
            nonlocal most
            for number in range(300 * 16):
                if number % 160 == 0:
                    most = max(most, process.memory_info().rss)
                yield chunk

        stored = await objects.put_stream(long())
        assert stored.size == 300 * 1024 * 1024
        async for _ in await objects.open(stored.sha256):
            most = max(most, process.memory_info().rss)
        assert most - before < 24 * 1024 * 1024

    asyncio.run(work())


def test_open_files_are_not_leaked(objects: Objects) -> None:
    async def work() -> None:
        stored = await objects.put_bytes(b"x" * (3 * BUFFER))
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(50):
            reader = await objects.open(stored.sha256)
            await anext(reader)
            await reader.aclose()  # type: ignore[attr-defined]
            with pytest.raises(InvalidInput):
                await objects.put_stream(stream(b"1"), size=2)
        await asyncio.sleep(0)
        objects.close()
        assert len(list(Path("/proc/self/fd").iterdir())) <= before

    asyncio.run(work())


@pytest.mark.parametrize("fault", [None, errno.EXDEV, errno.EPERM])
def test_a_file_becomes_the_object_itself_or_a_copy_where_it_cannot(
    tmp_path: Path, objects: Objects, monkeypatch: pytest.MonkeyPatch, fault: int | None
) -> None:
    def fails(*_: object) -> None:
        raise OSError(fault, "no")

    if fault is not None:
        monkeypatch.setattr(os, "link", fails)
    data = os.urandom(3 * BUFFER)
    path = tmp_path / "kept"
    path.write_bytes(data)
    stored = asyncio.run(objects.put_kept(path))
    assert (stored.sha256, stored.size) == (hashlib.sha256(data).hexdigest(), len(data))
    (there,) = files(tmp_path / "objects")
    assert there.samefile(path) is (fault is None) and stat.S_IMODE(there.stat().st_mode) == 0o400
    path.unlink()
    assert there.read_bytes() == data


def test_a_file_that_is_not_there_leaves_nothing(tmp_path: Path, objects: Objects) -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(objects.put_kept(tmp_path / "none"))
    (tmp_path / "there").write_bytes(b"")
    assert asyncio.run(objects.put_kept(tmp_path / "there")).size == 0
    assert [path.stat().st_size for path in files(tmp_path / "objects")] == [0]
