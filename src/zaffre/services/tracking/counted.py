"""What traces, spans and assessments are counted by: figures taken from what clients say, where they say any."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from zaffre.store.tracking.traces import TOKENS

_LARGEST = 1e200  # so that sums of many stay numbers, on PostgreSQL too, which refuses infinity
_YES, _NO = ("yes", True), ("no", False)


def figure(value: Any) -> float | None:
    """A number that can be added up; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if -_LARGEST < value < _LARGEST else None


def figures(names: tuple[str, ...], told: Any) -> dict[str, float | None]:
    """By name; nothing at all where nothing was told."""
    return {name: figure(told.get(name)) for name in names} if isinstance(told, Mapping) else {}


def tokens(text: str | None) -> dict[str, float | None]:
    """What a trace used of a model's tokens, from the JSON that its metadata has it in."""
    try:
        return figures(TOKENS, json.loads(text or "null"))
    except (ValueError, RecursionError):
        return {}


def judged(value: Any) -> float | None:
    """An assessment's value as a number; yes and no, in both forms that judges use, are 1 and 0."""
    if isinstance(value, (str, bool)):
        return 1.0 if value in _YES else 0.0 if value in _NO else None
    return figure(value)
