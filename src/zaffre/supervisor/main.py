"""`python -m zaffre.supervisor`: one supervisor for one home, in the foreground or, with `--detach`, behind.

Ends with 0 after a clean stop, 1 when it could not start or go on, 2 for a mistake on the command line.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from zaffre.supervisor import background
from zaffre.supervisor.console import Console
from zaffre.supervisor.errors import SupervisorError
from zaffre.supervisor.files import Home
from zaffre.supervisor.lock import HomeLock
from zaffre.supervisor.options import Options, parse
from zaffre.supervisor.supervisor import Supervisor


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a supervisor with these arguments (otherwise those of the command line); its exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    home = Home(options.home)
    os.umask(0o077)  # whatever is made from here on, by nginx too, is for its owner only
    _settle_import_path()
    try:
        home.make()
        lock = HomeLock.take(home.lock)
        if home.unfinished_restore.exists():
            raise SupervisorError(f"A restore of {home.path} was not finished; run the same `zaffre restore` again.")
    except (SupervisorError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    starter: int | None = None
    if options.detach:
        starter = background.detach(home.server_log)
        lock.sign()
    console = Console(home.server_log, terminal=None if options.detach else 1, starter=starter)
    try:
        return asyncio.run(_run(options, home, console))
    except (SupervisorError, OSError) as error:
        console.failed(str(error))
        return 1
    finally:
        lock.release()


def _settle_import_path() -> None:
    """Children are started in other folders: what PYTHONPATH says relative to this one must keep its meaning."""
    paths = os.environ.get("PYTHONPATH")
    if paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(one).absolute()) for one in paths.split(os.pathsep) if one)


async def _run(options: Options, home: Home, console: Console) -> int:
    return await Supervisor(options, home, console).run()  # made inside the loop, as its events belong to it
