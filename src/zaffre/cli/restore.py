"""`zaffre restore`: a home made from a backup."""

from __future__ import annotations

import os
from pathlib import Path

import click

from zaffre import settings as settings_module
from zaffre.cli import options
from zaffre.profiles import ClientError
from zaffre.supervisor.files import Home
from zaffre.supervisor.lock import HomeLock


@click.command()
@options.home
@click.argument("source", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.option("--snapshot", metavar="NAME", help="Which one of SOURCE; otherwise the newest.")
@click.option("--force", is_flag=True, help="Put aside what the home holds instead of refusing it.")
def command(home: Path | None, source: Path, snapshot: str | None, force: bool) -> None:
    """Make the home what the backup SOURCE says; `zaffre up` then starts with everything.

    The home must be empty and no server may run on it. Every byte is checked. Jobs that ran when the backup was taken
    are failed with a word, those that waited begin again, and deployments are started anew.
    """
    from zaffre.backup import BackupError, restore
    from zaffre.errors import ZaffreError

    os.umask(0o077)
    try:
        settings = settings_module.load((home or settings_module.default_home()).expanduser())
        folder = Home(settings.home)
        folder.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = HomeLock.take(folder.lock)
        try:
            made = restore(settings, source.expanduser(), snapshot=snapshot, force=force, say=click.echo)
        finally:
            lock.release()
    except (BackupError, ZaffreError, ValueError) as error:
        raise ClientError(str(error)) from error
    click.echo(
        f"Restored {made.name} to {settings.home}. Start it with `zaffre up{settings_module.home_option(settings.home)}`."
    )
