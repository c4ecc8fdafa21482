"""As the first process of a container we inherit the orphans of all others, and have to bury them."""

import asyncio
import os

from zaffre.supervisor import platform_linux

_INTERVAL = 5.0


def needed() -> bool:
    """Whether we are the process that gets the orphans."""
    return os.getpid() == 1


async def run() -> None:
    """Reap, for ever, what has been dead for a whole round: our own children are waited for by who started them."""
    before: set[int] = set()
    while True:
        await asyncio.sleep(_INTERVAL)
        dead = {pid for pid in platform_linux.children(os.getpid()) if _is_dead(pid)}
        for pid in dead & before:
            _bury(pid)
        before = dead - before


def _bury(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # its owner came first after all
        return


def _is_dead(pid: int) -> bool:
    facts = platform_linux.stat(pid)
    return facts is not None and facts.state == "Z"
