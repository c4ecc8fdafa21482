"""Processes by an identity that is never reused: pid, start time and boot. The one place of Linux-only calls here."""

from __future__ import annotations

import os
import signal
from functools import cache
from pathlib import Path

import msgspec


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """`start` in clock ticks since boot."""

    pid: int
    start: int
    boot: str


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the machine as the kernel lists it."""

    pid: int
    parent: int
    session: int
    state: str
    start: int


def identify(pid: int) -> Identity | None:
    """The identity of a living process; None for one that has ended, a zombie included."""
    found = row(pid)
    return (
        Identity(pid=pid, start=found.start, boot=boot_id()) if found is not None and found.state not in "ZX" else None
    )


def is_alive(identity: Identity) -> bool:
    """Whether exactly that process still runs."""
    return identify(identity.pid) == identity


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signal exactly that process; False where it is gone. The pidfd makes check and signal one thing."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(identity):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def row(pid: int) -> Row | None:
    """The process, a zombie too; None where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    if len(fields) < 20:
        return None
    return Row(
        pid=pid, parent=int(fields[1]), session=int(fields[3]), state=fields[0].decode("ascii"), start=int(fields[19])
    )


def table() -> list[Row]:
    """Every process of the machine that we may see."""
    rows = (row(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - names suffice
    return [row for row in rows if row is not None]


def environment_of(pid: int) -> dict[bytes, bytes]:
    """What the process was started with; empty where it is gone or another user's."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in content.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}


@cache
def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
