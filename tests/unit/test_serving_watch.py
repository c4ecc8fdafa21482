"""A server at work: the verdicts of its probes, its end, and copies that are sent to a shadow."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from zaffre import processes
from zaffre.processes import Identity
from zaffre.serving import shadow, watch
from zaffre.serving.plan import DeploymentPlan, Probe
from zaffre.serving.shadow import Copy, Shadow, Shadows

DEADLINE_S = 30.0
LENIENT = Probe(initial_delay_s=0, period_s=0.02, timeout_s=20, failure_threshold=1000)
STRICT = Probe(initial_delay_s=0, period_s=0.02, timeout_s=20, failure_threshold=3, success_threshold=2)


class Model:
    """Answers `status` to whatever it is asked, when `let_go` is set; notes what it got."""

    def __init__(self) -> None:
        self.status = 200
        self.asked = 0
        self.got: list[bytes] = []
        self.arrived = asyncio.Event()
        self.let_go = asyncio.Event()
        self.let_go.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
        self.got.append(head + await reader.readexactly(length))
        self.asked += 1
        self.arrived.set()
        await self.let_go.wait()
        writer.write(b"HTTP/1.1 %d X\r\nConnection: close\r\n\r\n" % self.status)
        writer.close()


@asynccontextmanager
async def model(path: Path) -> AsyncIterator[Model]:
    found = Model()
    path.parent.mkdir(parents=True, exist_ok=True)
    server = await asyncio.start_unix_server(found.serve, path=str(path))
    try:
        yield found
    finally:
        found.let_go.set()
        server.close()


def plan(root: Path, liveness: Probe, readiness: Probe) -> DeploymentPlan:
    return DeploymentPlan(
        id="blue-1-0",
        endpoint="ep",
        deployment="blue",
        folder=str(root),
        interpreter="/bin/python",
        socket=str(root / "s.sock"),
        kind="mlflow",
        model_dir=str(root),
        liveness=liveness,
        readiness=readiness,
    )


def own() -> Identity:
    found = processes.identify(os.getpid())
    assert found is not None
    return found


async def soon(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not look():  # noqa: ASYNC110  what is looked at is no event
            await asyncio.sleep(0.005)


def run(body: Callable[[], Awaitable[Any]]) -> None:
    asyncio.run(asyncio.wait_for(body(), DEADLINE_S))  # type: ignore[arg-type]


def test_a_liveness_probe_that_fails_often_enough_in_a_row(tmp_path: Path) -> None:
    async def body() -> None:
        async with model(tmp_path / "s.sock") as served:
            turns: list[bool] = []
            task = asyncio.create_task(_watch(plan(tmp_path, STRICT, LENIENT), turns))
            await soon(lambda: served.asked > 5)
            served.status = 500
            why = await task
            assert why == "its liveness probe failed 3 times in a row: GET / answered 500"
            assert turns == []

    run(body)


def test_readiness_turns_and_turns_back(tmp_path: Path) -> None:
    async def body() -> None:
        async with model(tmp_path / "s.sock") as served:
            turns: list[bool] = []
            task = asyncio.create_task(_watch(plan(tmp_path, LENIENT, STRICT), turns))
            served.status = 503
            await soon(lambda: turns == [False])
            served.status = 200
            await soon(lambda: turns == [False, True])
            assert not task.done()
            task.cancel()

    run(body)


def test_who_begins_out_of_rotation_has_to_earn_it(tmp_path: Path) -> None:
    async def body() -> None:
        async with model(tmp_path / "s.sock"):
            turns: list[bool] = []
            task = asyncio.create_task(_watch(plan(tmp_path, LENIENT, STRICT), turns, in_rotation=False))
            await soon(lambda: turns == [True])
            task.cancel()

    run(body)


def test_the_end_of_the_process_is_no_verdict(tmp_path: Path) -> None:
    async def body() -> None:
        async with model(tmp_path / "s.sock"):
            child = await asyncio.create_subprocess_exec("sleep", "1000")
            identity = processes.identify(child.pid)
            assert identity is not None
            task = asyncio.create_task(_watch(plan(tmp_path, STRICT, STRICT), [], identity=identity))
            await asyncio.sleep(0)
            child.kill()
            assert await task is None
            await child.wait()

    run(body)


async def _watch(
    of: DeploymentPlan, turns: list[bool], *, in_rotation: bool = True, identity: Identity | None = None
) -> str | None:
    async def turned(ready: bool) -> None:
        turns.append(ready)

    return await watch.until_down(of, identity or own(), in_rotation=in_rotation, turned=turned)


def test_copies_are_sent_on_as_they_came(tmp_path: Path) -> None:
    async def body() -> None:
        async with model(tmp_path / "s.sock") as served:
            shadows = Shadows(lambda name: _lane(tmp_path) if name == "ep/shadow" else None)
            assert shadows.offer("ep/shadow", _copy(b"one"))
            assert not shadows.offer("ep/nobody", _copy(b"two"))
            await soon(lambda: len(served.got) == 1)
            text = served.got[0].decode()
            assert text.startswith("POST /score?x=1 HTTP/1.1\r\n") and text.endswith("\r\n\r\none")
            assert "X-Own: y" in text and "Authorization" not in text
            await shadows.close()

    run(body)


def test_copies_for_a_slow_shadow_are_dropped_and_nobody_waits(tmp_path: Path) -> None:
    async def body() -> None:
        async with model(tmp_path / "s.sock") as served:
            served.let_go.clear()
            shadows = Shadows(lambda _name: _lane(tmp_path))
            assert shadows.offer("ep/shadow", _copy(b"first"))
            await served.arrived.wait()
            taken = [shadows.offer("ep/shadow", _copy(b"x")) for _ in range(shadow.WAITING + 5)]
            assert taken.count(True) == shadow.WAITING and taken[-1] is False
            served.let_go.set()
            await soon(lambda: served.asked == shadow.WAITING + 1)
            assert shadows.offer("ep/shadow", _copy(b"again"))
            await soon(lambda: served.asked == shadow.WAITING + 2)
            await shadows.close()

    run(body)


def test_a_shadow_that_is_away_costs_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        shadows = Shadows(lambda _name: _lane(tmp_path))
        assert shadows.offer("ep/shadow", _copy(b"one"))
        await shadows.close()

    run(body)


def _lane(root: Path) -> Shadow:
    return Shadow(sockets=(root / "s.sock",), timeout_s=20.0, parallel=1)


def _copy(body: bytes) -> Copy:
    headers = (("X-Own", "y"), ("Authorization", "Bearer secret"), ("Host", "h"), ("Content-Length", "7"))
    return Copy(method="POST", target="/score?x=1", headers=headers, body=body)
