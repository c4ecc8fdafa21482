"""docs/coverage.md is what the code says, never claimed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_coverage_page_is_true() -> None:
    run = subprocess.run(
        [sys.executable, "scripts/make_coverage.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
