"""The application with a few job steps that wait or fail where the real ones are too quick, or never do.

A job named `hold-<State>-…` stays in that state until somebody cancels it; `fail-<State>-…` fails in it as a bug of ours
would make it. The supervisor starts this module instead of `zaffre.application` when a test asks for it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from zaffre.application import main
from zaffre.control.jobs import JobController
from zaffre.errors import InvalidInput
from zaffre.store import jobs
from zaffre.store.jobs import JobRow

REASON = "The test wants this step to fail."


def _wanted(job: JobRow, what: str) -> bool:
    return job.id.startswith(f"{what}-{job.status}-")


def _with_faults(controller: JobController) -> None:
    for state, step in tuple(controller._steps.items()):
        controller._steps[state] = _faulty(controller, state, step)
    make_plan, capacity = controller._make_plan, controller._capacity

    async def slow_plan(job: JobRow, workspace: Any) -> Any:
        if _wanted(job, "hold"):
            await asyncio.Event().wait()
        return await make_plan(job, workspace)

    async def no_room(workspace: Any, job: JobRow) -> int:
        return 0 if _wanted(job, "hold") else await capacity(workspace, job)

    controller._make_plan = slow_plan  # type: ignore[method-assign]
    controller._capacity = no_room  # type: ignore[method-assign]


def _faulty(controller: JobController, state: str, step: Any) -> Any:
    async def run(job: JobRow, workspace: Any) -> None:
        if _wanted(job, "fail"):
            raise InvalidInput(REASON)
        if _wanted(job, "hold") and state in (jobs.NOT_STARTED, jobs.STARTING):
            news = controller._news[job.scope, job.id]
            await news.wait()
            news.clear()
            return
        await step(job, workspace)

    return run


def _patch() -> None:
    original = JobController.__init__

    def init(self: JobController, *arguments: Any, **more: Any) -> None:
        original(self, *arguments, **more)
        _with_faults(self)

    JobController.__init__ = init  # type: ignore[method-assign]


if __name__ == "__main__":
    _patch()
    sys.exit(main(sys.argv[1:]))
