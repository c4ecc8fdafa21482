"""How much two filters find the same traces: normalized pointwise mutual information, from -1 (never both) to 1 (always both)."""

from __future__ import annotations

import math

import msgspec

JEFFREYS = 0.5  # added to each of the four cells: what few traces say is not taken for certain


class Counts(msgspec.Struct, frozen=True):
    """Traces that the first filter finds, the second, both, and all there are."""

    first: int
    second: int
    both: int
    total: int


def npmi(counts: Counts, smoothing: float = 0) -> float:
    """NaN where one of the filters finds nothing, since nothing can be said then."""
    if not counts.first or not counts.second:
        return math.nan
    only_first, only_second = counts.first - counts.both, counts.second - counts.both
    neither = counts.total - counts.both - only_first - only_second
    if not (only_first or only_second or neither):
        return 1.0
    both = counts.both + smoothing
    if not both:
        return -1.0
    total = counts.total + 4 * smoothing
    first, second = both + only_first + smoothing, both + only_second + smoothing
    information = math.log(both) + math.log(total) - math.log(first) - math.log(second)
    return max(-1.0, min(1.0, information / (math.log(total) - math.log(both))))
