"""What may wait until after the first job: byte code for a new environment, and then the right to write into it taken away.

`python -m zaffre.execution.environments.settle FOLDER`, detached and at the lowest priority. Compiling a large environment takes
longer than installing it, and a job need not wait for it; without it each later start would compile what it imports again.
A run that is cut short leaves an environment that works.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from zaffre.execution.files import make_read_only


def start(folder: Path) -> None:
    """Begin, and do not wait."""
    subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def settle(folder: Path) -> None:
    """Compile every module of the environment, then make it read-only."""
    # Some packages ship files that are no valid Python; compileall names them and goes on, which is all there is to do.
    subprocess.run(
        [folder / "bin" / "python", "-m", "compileall", "-q", "-q", "-j", "0", folder / "lib"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    make_read_only(folder)


if __name__ == "__main__":
    os.nice(19)
    settle(Path(sys.argv[1]))
