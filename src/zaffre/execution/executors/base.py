"""The contract of every place where jobs run."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from zaffre.execution.events import Event
from zaffre.execution.plan import JobPlan


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job now.

    `died`: its launcher is gone, or never was, and told no end; nothing more will come. Where no `started` was told
    either, the command has not run, and `start` may be called (again).
    """

    events: list[Event]
    alive: bool
    died: bool


class Executor(Protocol):
    """Starts, stops and watches jobs by their folders. All but `wait` are quick and may be called from any thread."""

    def start(self, plan: JobPlan, folder: Path) -> None:
        """Start the job. May be repeated, after a crash too: the command never starts twice. Raises LaunchError."""

    def cancel(self, folder: Path) -> None:
        """Ask the job to end: SIGTERM to all of its processes, SIGKILL after the plan's grace."""

    def kill(self, folder: Path) -> None:
        """End all of the job's processes now, those that a dead launcher left behind too."""

    def alive(self, folder: Path) -> bool:
        """Whether a launcher watches over the job."""

    def observe(self, folder: Path, after: int = 0) -> Observation:
        """Events numbered above `after` and whether more may come, read in the order that is safe."""

    async def wait(self, folder: Path, after: int = 0) -> None:
        """Return when there is an event numbered above `after`, or the launcher has ended."""
