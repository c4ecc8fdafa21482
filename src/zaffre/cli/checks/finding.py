"""One thing the doctor has looked at."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.Enum):
    GOOD = "good"
    NOTE = "note"  # worth knowing; nothing fails because of it
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """`text` says what is, `advice` what to do about it."""

    level: Level
    text: str
    advice: str = ""


def good(text: str) -> Finding:
    return Finding(Level.GOOD, text)


def note(text: str, advice: str = "") -> Finding:
    return Finding(Level.NOTE, text, advice)


def wrong(text: str, advice: str = "") -> Finding:
    return Finding(Level.WRONG, text, advice)
