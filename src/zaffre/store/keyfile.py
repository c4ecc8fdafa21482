"""Small files that are made on first use, whole or not at all: keys that lie outside the database, the name of a home."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def load(path: Path, size: int = 32) -> bytes:
    """The key in `path`."""
    return made_once(path, lambda: secrets.token_bytes(size))


def made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """What is in `path`, 0600. Of two processes that make it at once, both get the one that was first."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}.new")
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(new, path)
        except FileExistsError:
            pass
        finally:
            new.unlink()
    return path.read_bytes()
