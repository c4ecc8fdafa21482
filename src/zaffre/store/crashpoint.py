"""Dying exactly where a test wants it: the process kills itself at a named point, once, as `kill -9` from outside would.

`ZAFFRE_CRASH_AT` names points, `;` between them, each ending in `/before` or `/after`: before the commit of the
transaction that passes it, or after that commit and before anybody has heard of it. Unset, which is always but in
tests, passing a point costs one look at an empty set.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from zaffre.store.bells import Bells
from zaffre.store.unit import Unit

VARIABLE = "ZAFFRE_CRASH_AT"
_TOPIC = "crashpoints"

_points: frozenset[str] = frozenset()
_fired = Path()


def arm(folder: Path, bells: Bells) -> None:
    """Take up the points of the environment; `folder` remembers which have fired, so that the next process goes on."""
    global _points, _fired
    _points = frozenset(filter(None, os.environ.get(VARIABLE, "").split(";")))
    if _points:
        _fired = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        bells.listen(_TOPIC, _die)


def reach(unit: Unit, point: str) -> None:
    """Say that `unit` has come to `point`."""
    if not _points:
        return
    if f"{point}/before" in _points:
        _die(f"{point}/before")
    if f"{point}/after" in _points:
        unit.ring(_TOPIC, f"{point}/after")


def mark(folder: Path, point: str) -> Path:
    """The file in `folder` that says that `point` has fired."""
    return folder / point.replace("/", "~")


def _die(point: str) -> None:
    try:
        os.close(os.open(mark(_fired, point), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
