"""`zaffre backup`: a copy of everything a home holds, while its server runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from zaffre import settings as settings_module
from zaffre.cli import options
from zaffre.profiles import ClientError


@click.command()
@options.home
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Keep only the N newest snapshots there.")
def command(home: Path | None, target: Path, keep: int | None) -> None:
    """Back up database, stored bytes, keys and settings to the folder TARGET, while the server runs.

    Each backup is one moment of the whole. Bytes that TARGET has already are not copied again; on the same disk they
    are shared, so put TARGET on another one. It holds the keys: guard it like the home. An interrupted backup is begun
    again by the same command, and never taken for a whole one.
    """
    from zaffre.backup import BackupError, back_up
    from zaffre.errors import ZaffreError

    os.umask(0o077)
    try:
        settings = settings_module.load((home or settings_module.default_home()).expanduser())
        made = back_up(settings, target.expanduser(), keep=keep, say=click.echo)
    except (BackupError, ZaffreError, ValueError) as error:
        raise ClientError(str(error)) from error
    click.echo(f"Backed up as {made.name}: {made.objects:,} objects, {made.object_bytes:,} bytes.")
    if made.lost:
        click.echo(
            f"But the home has lost {len(made.lost)} objects that its database names, the first is {made.lost[0]}; what "
            "stood on them cannot be read here, nor will it be where this is restored.",
            err=True,
        )
        sys.exit(1)
