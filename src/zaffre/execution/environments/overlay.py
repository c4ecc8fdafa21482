"""A job's own thin environment on top of a shared one.

`pip install` in a job must not change what other jobs run in, and taking the right to write away does not stop root. So
a job gets an environment that holds nothing but a reference to the shared one; what it installs lands there, and wins.
"""

from __future__ import annotations

from pathlib import Path

from zaffre.execution.files import remove_tree

REFERENCE = "_zaffre_shared.pth"
"""The file in a thin environment's site-packages that names the shared one."""

_OWN = {"bin", "lib", "lib64", "pyvenv.cfg", "requirements.txt", "CACHEDIR.TAG"}
_LARGEST_SCRIPT = 1 << 16
_LONGEST_FIRST_LINE = 127  # that every kernel reads


def overlay(python: Path, folder: Path) -> Path:
    """The interpreter of a thin environment in `folder` on top of the one `python` belongs to; a few ms, no copies.

    May be repeated; what was installed into it meanwhile is kept.
    """
    shared = python.parents[1]
    own = folder / "bin" / "python"
    if (folder / "pyvenv.cfg").exists():
        return own
    remove_tree(folder)  # begun and never finished
    (folder / "bin").mkdir(mode=0o700, parents=True)
    for entry in (shared / "bin").iterdir():
        _offer(entry, folder / "bin" / entry.name, str(shared).encode(), str(folder).encode())
    for packages in (shared / "lib").glob("python*/site-packages"):
        site = folder / packages.relative_to(shared)
        site.mkdir(mode=0o700, parents=True)
        # Not the bare path: only a site directory has its own .pth files read.
        (site / REFERENCE).write_text(f"import site; site.addsitedir({str(packages)!r})\n", encoding="utf-8")
    for entry in shared.iterdir():
        if entry.name not in _OWN and not entry.name.startswith("."):
            (folder / entry.name).symlink_to(entry)  # share, etc, include: packages look there by sys.prefix
    (folder / "pyvenv.cfg").write_bytes((shared / "pyvenv.cfg").read_bytes())
    return own


def _offer(source: Path, dest: Path, shared: bytes, own: bytes) -> None:
    """Put a program of the shared environment into the thin one; a script there starts the thin one's interpreter."""
    if source.is_symlink():
        dest.symlink_to(source.readlink())
        return
    if source.stat().st_size <= _LARGEST_SCRIPT:
        content = source.read_bytes()
        if content.startswith(b"#!") or shared in content:
            dest.write_bytes(_within_limit(content.replace(shared, own)))
            dest.chmod(0o700)
            return
    dest.symlink_to(source)


def _within_limit(script: bytes) -> bytes:
    """The script with a first line short enough; where it is not, a shell starts the rest, to Python a mere string."""
    first, _, rest = script.partition(b"\n")
    if not first.startswith(b"#!") or len(first) <= _LONGEST_FIRST_LINE:
        return script
    return b"#!/bin/sh\n'''exec' \"" + first[2:].strip() + b'" "$0" "$@"\n\' \'\'\'\n' + rest
