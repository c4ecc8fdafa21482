"""What a benchmark found, and the table of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the results. `value` and `limit` are in one unit; without a limit it is there to compare only."""

    name: str
    measured: str
    value: float | None = None
    limit: float | None = None
    target: str = "–"

    @property
    def verdict(self) -> str:
        if self.limit is None or self.value is None:
            return "–"
        return "met" if self.value <= self.limit else "**missed**"


def table(figures: Sequence[Figure]) -> str:
    """As Markdown."""
    lines = ["| figure | target | measured: median (quartiles) | |", "|---|---|---|---|"]
    lines += [f"| {one.name} | {one.target} | {one.measured} | {one.verdict} |" for one in figures]
    return "\n".join(lines)


START, END = "<!-- measured: written by `python -m benchmarks --write` -->", "<!-- end of measured -->"


def replace_between(document: str, text: str) -> str:
    """The document with `text` between its two marks. Raises ValueError when it has no marks."""
    before, start, rest = document.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the document has no place for the results: {START} … {END}")
    return f"{before}{START}\n{text}\n{END}{after}"
