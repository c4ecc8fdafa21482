"""What an import did so far, counted by many threads, said in lines."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

NEW, CHANGED, SAME, FAILED = ALL = "new", "changed", "same", "failed"
THINGS = ("experiment", "run", "logged model", "trace", "registered model", "model version", "prompt", "prompt version")
EVERY_S = 5.0
"""How often a line tells of progress."""


class Report:
    """Counts things by what became of them, and amounts: `points` of metrics, `files`, `bytes`."""

    def __init__(self, say: Callable[[str], None], complain: Callable[[str], None], *, dry: bool = False) -> None:
        self._say, self._complain = say, complain
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._amounts: Counter[str] = Counter()
        self._said_at = time.monotonic()
        self.dry = dry

    def count(self, thing: str, became: str) -> None:
        with self._lock:
            self._counts[thing, became] += 1
            now = time.monotonic()
            if now - self._said_at < EVERY_S:
                return
            self._said_at = now
            line = self._progress()
        self._say(line)

    def add(self, amount: str, number: int) -> None:
        with self._lock:
            self._amounts[amount] += number

    def fail(self, thing: str, which: str, error: Exception) -> None:
        """Something was left out; the rest goes on."""
        with self._lock:
            self._counts[thing, FAILED] += 1
        self._complain(f"{thing} {which}: {error}")

    def note(self, line: str) -> None:
        """Something a user should know, and that is no failure."""
        self._say(line)

    @property
    def failures(self) -> int:
        return sum(number for (_, became), number in self._counts.items() if became == FAILED)

    @property
    def changes(self) -> int:
        return sum(number for (_, became), number in self._counts.items() if became in (NEW, CHANGED))

    def number(self, thing: str, became: str) -> int:
        return self._counts[thing, became]

    def amount(self, name: str) -> int:
        return self._amounts[name]

    def lines(self) -> list[str]:
        """The summary."""
        said = []
        for thing in THINGS:
            parts = [f"{self._counts[thing, became]:,} {became}" for became in ALL if self._counts[thing, became]]
            if parts:
                said.append(f"{thing + 's:':<20}{', '.join(parts)}")
        if self._amounts and not self.dry:
            amounts = [f"{self._amounts['points']:,} metric values, {self._amounts['files']:,} files"]
            said.append(f"{'sent:':<20}{amounts[0]} ({self._amounts['bytes']:,} bytes)")
        if self.failures:
            last = f"{self.failures:,} could not be imported; they are named above. The same command tries again."
        elif self.dry:
            last = "Nothing was written." if self.changes else "There is nothing new to import."
        elif self.changes:
            last = "Done."
        else:
            last = "There was nothing new; nothing was changed."
        return [*said, last]

    def _progress(self) -> str:
        runs, traces = (sum(self._counts[thing, became] for became in ALL) for thing in ("run", "trace"))
        return f"{runs:,} runs, {traces:,} traces, {self._amounts['points']:,} metric values, {self._amounts['bytes']:,} bytes so far"
