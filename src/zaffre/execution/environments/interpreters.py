"""Which Pythons this machine has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from zaffre.execution.errors import EnvironmentSpecError

_MINORS = range(8, 15)
_TRY_S = 30.0


def find_interpreter(version: str) -> Path:
    """An interpreter of `version` ("3.11"). Raises EnvironmentSpecError that names those there are."""
    for candidate in _candidates(version):
        if _version_of(candidate) == version:
            return candidate
    known = ", ".join(available()) or "none"
    raise EnvironmentSpecError(
        f"The environment needs Python {version}, which this machine does not have; it has {known}. "
        f"Install it (for example with `uv python install {version}`) or ask for another version.",
        target="python",
        package="python",
    )


def available() -> list[str]:
    """The minor versions that can be found, in order."""
    versions = (f"3.{minor}" for minor in _MINORS)
    return [version for version in versions if any(_version_of(path) == version for path in _candidates(version))]


def _candidates(version: str) -> Iterator[Path]:
    """From the cheapest to look at; each has still to prove itself, as pyenv's shims exist for versions that don't."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        yield Path(getattr(sys, "_base_executable", None) or sys.executable)
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield Path(on_path)
    for folder in (_pyenv_root() / "versions", _uv_pythons()):
        found = [path for path in folder.glob("*") if re.search(rf"(^|-){re.escape(version)}(\.|-|$)", path.name)]
        for path in sorted(found, key=_numbers, reverse=True):
            yield path / "bin" / "python3"


def _version_of(python: Path) -> str | None:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-c", code], capture_output=True, timeout=_TRY_S, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _pyenv_root() -> Path:
    return Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")


def _uv_pythons() -> Path:
    chosen = os.environ.get("UV_PYTHON_INSTALL_DIR")
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(chosen) if chosen else Path(data, "uv", "python")


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]
