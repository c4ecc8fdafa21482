"""A server at work, under the two questions Azure ML's probes ask: does it live, and may it have requests?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from zaffre.processes import Identity
from zaffre.serving import process
from zaffre.serving.plan import DeploymentPlan, Probe
from zaffre.serving.probes import Health, Record, ask, due_in, observe

Turned = Callable[[bool], Awaitable[None]]


async def until_down(plan: DeploymentPlan, identity: Identity, *, in_rotation: bool, turned: Turned) -> str | None:
    """Return when the server has ended (None), or with what its liveness probe got as often as it may fail.

    `turned` is told whenever the readiness probe's verdict turns, `in_rotation` is the verdict to begin with.
    """
    tasks = (
        asyncio.create_task(process.ended(identity)),
        asyncio.create_task(_until_dead(plan)),
        asyncio.create_task(_tell_readiness(plan, in_rotation, turned)),
    )
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended, dead, readiness = tasks
        if ended.done():
            return None
        if readiness.done():
            readiness.result()  # it never ends but by an error
        return dead.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_dead(plan: DeploymentPlan) -> str:
    async for record, answer in _verdicts(plan.liveness, Path(plan.socket), Record(healthy=True)):
        if not record.healthy:
            return f"its liveness probe failed {record.failed} times in a row: {answer.detail}"
    raise AssertionError("probes go on for ever")


async def _tell_readiness(plan: DeploymentPlan, in_rotation: bool, turned: Turned) -> None:
    healthy = in_rotation
    async for record, _ in _verdicts(plan.readiness, Path(plan.socket), Record(healthy=healthy)):
        if record.healthy != healthy:
            healthy = record.healthy
            await turned(healthy)


async def _verdicts(probe: Probe, socket: Path, record: Record) -> AsyncIterator[tuple[Record, Health]]:
    began, asked = time.monotonic(), None
    while True:
        now = time.monotonic()
        await asyncio.sleep(due_in(probe, now - began, None if asked is None else now - asked))
        asked = time.monotonic()
        answer = await ask(socket, probe.timeout_s)
        record = observe(record, answer, probe)
        yield record, answer
