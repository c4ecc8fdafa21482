"""docs/coverage.md is what the code says, never claimed; docs/compatibility.md leaves no field out."""

from __future__ import annotations

import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import msgspec

from zaffre.services import kinds

ROOT = Path(__file__).parents[2]


def test_the_coverage_page_is_true() -> None:
    run = subprocess.run(
        [sys.executable, "scripts/make_coverage.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_every_field_that_a_kind_knows_is_told_of() -> None:
    """docs/compatibility.md says of each what becomes of it."""
    told = set(re.findall(r"[A-Za-z0-9_$]+", (ROOT / "docs" / "compatibility.md").read_text()))
    missing = {
        kind.type: sorted(name for name in _fields(kind.properties) if name not in told)
        for kind in kinds.load().values()
    }
    assert {type_: names for type_, names in missing.items() if names} == {}


def _fields(struct: type[msgspec.Struct]) -> Iterator[str]:
    hints = typing.get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        yield field.encode_name
        for hint in (hints[field.name], *typing.get_args(hints[field.name])):
            if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
                yield from _fields(hint)
