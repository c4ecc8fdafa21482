"""Repeated measurements of one thing, and how two of them compare."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """Measured values of one kind, in one unit."""

    values: tuple[float, ...]

    @staticmethod
    def of(values: Sequence[float]) -> Sample:
        if not values:
            raise ValueError("a sample needs at least one value")
        return Sample(tuple(values))

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The lower quartile, or the least of fewer than four values."""
        return _quartiles(self.values)[0]

    @property
    def high(self) -> float:
        """The upper quartile, or the greatest of fewer than four values."""
        return _quartiles(self.values)[1]

    def text(self, unit: str, *, scale: float = 1.0, digits: int = 0) -> str:
        """`median unit (low–high)`."""
        median, low, high = (f"{value * scale:,.{digits}f}" for value in (self.median, self.low, self.high))
        return f"{median} {unit} ({low}–{high})"


def ratios(ours: Sample, peers: Sample) -> Sample:
    """Ours to the peer's, round by round: the two were taken alternately, so each pair saw the same machine."""
    return Sample.of([one / other for one, other in _rounds(ours, peers)])


def differences(ours: Sample, peers: Sample) -> Sample:
    """Ours less the peer's, round by round."""
    return Sample.of([one - other for one, other in _rounds(ours, peers)])


def sums(one: Sample, other: Sample) -> Sample:
    """Both together, round by round."""
    return Sample.of([mine + yours for mine, yours in _rounds(one, other)])


def _rounds(one: Sample, other: Sample) -> Iterator[tuple[float, float]]:
    if len(one.values) != len(other.values):
        raise ValueError(f"{len(one.values)} rounds against {len(other.values)}: they were not taken alternately")
    return zip(one.values, other.values, strict=True)


def _quartiles(values: tuple[float, ...]) -> tuple[float, float]:
    if len(values) < 4:
        return min(values), max(values)
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third
