"""Which paths a pattern of an MLTable means; and that no pattern takes longer than it is long."""

from __future__ import annotations

import time

import pytest

from zaffre.control.evaluated import matcher


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("a/*.csv", ["a/x.csv", "a/.csv"], ["a/b/x.csv", "a/x.csv2", "b/x.csv"]),
        ("a/**/x.csv", ["a/x.csv", "a/b/x.csv", "a/b/c/x.csv"], ["a/bx.csv", "x.csv"]),
        ("a/**", ["a/x", "a/b/x"], ["b/x", "a"]),
        ("**.csv", ["x.csv", "a/b/x.csv"], ["x.csv/y"]),
        ("?[ab][!ab].c", ["xac.c"], ["xaa.c", "xcc.c", "/ac.c", "xa/.c"]),
        ("a[", ["a["], ["a"]),
        ("*a*b/**/c", ["xaxb/c", "aab/d/c"], ["xb/c", "ab1/c"]),
    ],
)
def test_what_fits(pattern: str, fitting: list[str], others: list[str]) -> None:
    fits = matcher(pattern)
    assert [path for path in [*fitting, *others] if fits(path)] == fitting


@pytest.mark.parametrize("pattern", ["**/" * 40 + "x.csv", "*a" * 40 + "b", "**/*/" * 30 + "x"])
def test_none_takes_years(pattern: str) -> None:
    began = time.process_time()
    assert not matcher(pattern)("a/" * 250 + "y.csv")
    assert not matcher(pattern)("a" * 500)
    assert time.process_time() - began < 30
