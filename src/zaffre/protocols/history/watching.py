"""Who watches which run: `ml.jobs.stream` is to show the log of a job that is over before it first looks."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from zaffre.store import jobs

_SDK = "azure-ai-ml/"
_LONGEST = 300.0  # seconds between two looks of one stream; the SDK waits three minutes at most
_REMEMBERED = 1024


class Watchers:
    """The SDK's stream prints logs only after a look that found the run under way, so it shows nothing of a job of
    two seconds. Its first look at a run that is over is told `Finalizing`; the next one, after it, the truth.

    Other programs, which may look but once, are always told the truth, and so is every other read of the SDK.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way: OrderedDict[str, float] = OrderedDict()  # when a stream was last told that a run goes on

    def told(self, run: str, status: str, user_agent: str) -> str:
        """The status to answer a look at the run, which may be called anything that is unique on the server."""
        if _SDK not in user_agent:
            return status
        now = self._clock()
        last = self._under_way.pop(run, None)
        if status in jobs.TERMINAL:
            if last is not None and now - last <= _LONGEST:
                return status
            status = jobs.FINALIZING
        self._under_way[run] = now
        if len(self._under_way) > _REMEMBERED:
            self._under_way.popitem(last=False)
        return status
