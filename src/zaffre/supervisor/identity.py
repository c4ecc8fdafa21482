"""Which process is meant: pid, start time and boot id, so that a signal never reaches one that got an old pid.

`Identity` is what files hold. `Watched` is a living process held by a pidfd: the same code for children and adopted.
"""

import asyncio
import os
from dataclasses import asdict, dataclass
from signal import Signals
from typing import Any, Self

from zaffre.supervisor import platform_linux


@dataclass(frozen=True)
class Identity:
    """One process of one run of the machine."""

    pid: int
    start_time: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The identity of a living process, or None."""
        facts = platform_linux.stat(pid)
        if facts is None or facts.state in "ZX":
            return None
        return cls(pid=pid, start_time=facts.start_time, boot_id=platform_linux.boot_id())

    @classmethod
    def own(cls) -> Self:
        found = cls.of(os.getpid())
        assert found is not None  # we are alive
        return found

    @classmethod
    def from_json(cls, value: dict[str, Any] | None) -> Self | None:
        """What a file said, or None when it said something else."""
        try:
            return cls(int(value["pid"]), int(value["start_time"]), str(value["boot_id"])) if value else None
        except (KeyError, TypeError, ValueError):
            return None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def alive(self) -> bool:
        return Identity.of(self.pid) == self


class Watched:
    """A process held by pidfd. Signals go through the handle, so they cannot reach another process."""

    def __init__(self, identity: Identity, pidfd: int) -> None:
        self.identity = identity
        self._pidfd: int | None = pidfd

    @classmethod
    def open(cls, identity: Identity) -> "Watched | None":
        """Hold the process if it is still the one meant (looked at after the handle was opened: no gap)."""
        pidfd = platform_linux.open_pidfd(identity.pid)
        if pidfd is None:
            return None
        if not identity.alive():
            os.close(pidfd)
            return None
        return cls(identity, pidfd)

    @classmethod
    def child(cls, pid: int) -> "Watched":
        """Hold a child that was not waited for yet: it may have ended already, but its pid is still its own."""
        facts = platform_linux.stat(pid)
        pidfd = platform_linux.open_pidfd(pid)
        assert facts is not None and pidfd is not None  # at the least a zombie
        return cls(Identity(pid, facts.start_time, platform_linux.boot_id()), pidfd)

    @property
    def pid(self) -> int:
        return self.identity.pid

    def send(self, number: Signals) -> bool:
        """False when the process has ended."""
        return self._pidfd is not None and platform_linux.signal_pidfd(self._pidfd, number)

    async def exited(self, timeout: float | None = None) -> bool:
        """Wait for the end of the process; False when it still lives after `timeout` seconds."""
        if self._pidfd is None:
            return True
        # A copy of the handle, because a loop allows one reader a handle and several may wait.
        handle = os.dup(self._pidfd)
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(handle, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), timeout)
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(handle)
            os.close(handle)
        return True

    async def end(self, *steps: tuple[Signals, float]) -> bool:
        """Send each signal and wait its seconds, until the process has ended; False when it outlived them all."""
        for number, seconds in steps:
            if not self.send(number) or await self.exited(seconds):
                return True
        return False

    def close(self) -> None:
        """Let go of the handle. Whoever still holds this object sees a process that has ended."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
