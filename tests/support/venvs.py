"""Small virtual environments with other versions of the clients; uv's cache makes them in seconds once it holds the wheels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

UV = Path(sys.executable).parent / "uv"


def make(folder: Path, *packages: str) -> Path:
    """The Python of a new environment that has `packages`."""
    _uv("venv", "--python", sys.executable, str(folder))
    python = folder / "bin" / "python"
    add(python, *packages)
    return python


def add(python: Path, *packages: str) -> None:
    """Install `packages`, more of them or other versions, into the environment of `python`."""
    _uv("pip", "install", "--python", str(python), *packages)


def _uv(*arguments: str) -> None:
    done = subprocess.run([str(UV), "-q", *arguments], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"uv {' '.join(arguments)}:\n{done.stderr}"
