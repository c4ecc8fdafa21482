"""Another version of MLflow than this Python has, in an environment of its own: a database can be read by the one that wrote it.

The environment is made once, by uv, and kept in the user's cache. What runs in it is this same program, found where it is now;
only MLflow, and what it needs itself, come from there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from zaffre.profiles import ClientError

NEWEST = "newest"
MARK = "ZAFFRE_IMPORT_MLFLOW"
"""Set in the program that runs there."""
MINUTES = 10
_VERSION = re.compile(r"[0-9][0-9A-Za-z.]{0,30}")
_DRIVERS = {"postgresql+psycopg": "psycopg[binary]", "postgresql": "psycopg2-binary", "mysql+pymysql": "pymysql"}
_START = """import json, sys
sys.path += [one for one in json.loads(sys.argv.pop(1)) if one not in sys.path]
from zaffre.cli.main import main
main()
"""


def become(version: str, uri: str) -> NoReturn:
    """Go on as this same command with that MLflow. Raises ClientError when it cannot be installed."""
    python = _ready(version, uri)
    found = json.dumps([one for one in sys.path if one and Path(one).is_dir() and not one.startswith(sys.base_prefix)])
    os.execve(python, [str(python), "-P", "-c", _START, found, *sys.argv[1:]], {**os.environ, MARK: version})


def _ready(version: str, uri: str) -> Path:
    """The Python of the environment, made if it is missing."""
    if version != NEWEST and not _VERSION.fullmatch(version):
        raise ClientError(f"'{version}' is no version of MLflow; give one such as 2.22.5, or '{NEWEST}'.")
    driver = _DRIVERS.get(uri.partition("://")[0])
    base = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "zaffre" / "mlflow"
    tag = f"py{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache / "-".join(filter(None, (version, tag, re.sub(r"\W+", "", driver or ""))))
    python = folder / "bin" / "python"
    if python.exists() and version != NEWEST:
        return python
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = "mlflow-skinny" if version == NEWEST else f"mlflow-skinny=={version}"
    with tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as new:
        made = Path(new) / "environment"
        _uv("venv", "--relocatable", "--python", sys.executable, str(made))
        packages = [wanted, "sqlalchemy<2.1", "alembic", *([driver] if driver else [])]  # MLflow 2 knows no newer one
        _uv("pip", "install", "--python", str(made / "bin" / "python"), *packages)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    return python


def _uv(*arguments: str) -> None:
    from uv import find_uv_bin

    command = [str(find_uv_bin()), "--quiet", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES, check=False)
    except subprocess.TimeoutExpired:
        raise ClientError(f"MLflow could not be installed within {MINUTES} minutes.") from None
    if done.returncode != 0:
        raise ClientError(f"MLflow could not be installed: {done.stderr.strip()[-1000:]}")
