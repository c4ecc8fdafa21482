"""Writing files and links that must never be seen half written, nor files by anybody else."""

import os
from pathlib import Path


def link_to(path: Path, target: str) -> None:
    """Let `path` be a link to `target`, by rename where it is one to something else."""
    if path.is_symlink() and str(path.readlink()) == target:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.rename(path)


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by rename with a file that only its owner could ever read (or of `mode`)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
