"""Asking a model server whether it is well, and judging a row of answers as Azure ML's probes do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from zaffre.serving import sockets
from zaffre.serving.plan import Probe

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: zaffre-probe\r\nConnection: close\r\n\r\n"
_ANSWER_LIMIT = 64 * 1024


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `detail` says what came instead of 200."""

    ok: bool
    detail: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The answers so far, as two counts in a row and the standing verdict."""

    healthy: bool
    succeeded: int = 0
    failed: int = 0


async def ask(socket: Path, timeout_s: float | None) -> Health:
    """`GET /` over the unix socket. A busy worker answers after its request."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await sockets.connect(socket)
            try:
                writer.write(_REQUEST)
                answer = await reader.read(_ANSWER_LIMIT)
            finally:
                writer.close()
    except TimeoutError:
        return Health(ok=False, detail=f"no answer to GET / within {timeout_s:g} s")
    except OSError as error:
        return Health(ok=False, detail=f"cannot be reached: {error.strerror or error}")
    status = answer.partition(b"\r\n")[0].split(b" ")
    if len(status) < 2 or not status[0].startswith(b"HTTP/"):
        return Health(ok=False, detail="closed the connection without an answer")
    return Health(ok=status[1] == b"200", detail="" if status[1] == b"200" else f"GET / answered {status[1].decode()}")


def observe(record: Record, answer: Health, probe: Probe) -> Record:
    """The record with one more answer; the verdict turns only after as many in a row as the probe's threshold says."""
    if answer.ok:
        succeeded = record.succeeded + 1
        return Record(healthy=record.healthy or succeeded >= probe.success_threshold, succeeded=succeeded)
    failed = record.failed + 1
    return Record(healthy=record.healthy and failed < probe.failure_threshold, failed=failed)


def due_in(probe: Probe, uptime_s: float, since_last_s: float | None) -> float:
    """Seconds until the next question: the first after the initial delay, then one a period."""
    if since_last_s is None:
        return max(0.0, probe.initial_delay_s - uptime_s)
    return max(0.0, probe.period_s - since_last_s)
