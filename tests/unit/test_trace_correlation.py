"""Pointwise mutual information of two filters, at the edges and by figures worked out by hand."""

from __future__ import annotations

import math

import pytest

from zaffre.services.tracking.correlation import JEFFREYS, Counts, npmi


@pytest.mark.parametrize(
    ("counts", "plain", "smoothed"),
    [
        (Counts(0, 0, 0, 0), None, None),
        (Counts(0, 5, 0, 9), None, None),
        (Counts(5, 0, 0, 9), None, None),
        (Counts(4, 5, 0, 9), -1.0, None),
        (Counts(9, 9, 9, 9), 1.0, 1.0),
        (Counts(4, 4, 4, 9), 1.0, None),
        (Counts(5, 4, 2, 10), 0.0, None),
        # p(both) = 1/4, p(first) = p(second) = 3/8: log(16/9) / log(4)
        (Counts(3, 3, 2, 8), math.log(16 / 9) / math.log(4), None),
        # cells 2.5, 1.5, 1.5, 4.5 of 10: log(0.25 / 0.16) / log(4)
        (Counts(3, 3, 2, 8), None, math.log(0.25 / 0.16) / math.log(4)),
    ],
)
def test_npmi(counts: Counts, plain: float | None, smoothed: float | None) -> None:
    if plain is None and smoothed is None:
        assert math.isnan(npmi(counts)) and math.isnan(npmi(counts, JEFFREYS))
    if plain is not None:
        assert npmi(counts) == pytest.approx(plain)
    if smoothed is not None:
        assert npmi(counts, JEFFREYS) == pytest.approx(smoothed)


def test_smoothing_takes_few_traces_for_less_certain() -> None:
    few, many = Counts(1, 1, 1, 2), Counts(100, 100, 100, 200)
    assert 0 < npmi(few, JEFFREYS) < npmi(many, JEFFREYS) < 1
    assert -1 < npmi(Counts(100, 100, 0, 200), JEFFREYS) < npmi(Counts(1, 1, 0, 2), JEFFREYS) < 0
