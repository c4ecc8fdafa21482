"""`zaffre down`: a clean stop of application, nginx and model servers."""

from __future__ import annotations

from pathlib import Path

import click

from zaffre.cli import options
from zaffre.settings import default_home
from zaffre.supervisor import client
from zaffre.supervisor.errors import NotRunningError
from zaffre.supervisor.files import Home
from zaffre.supervisor.nginx_record import NginxRecord


@click.command()
@options.home
@click.option("--jobs", is_flag=True, help="Cancel the running jobs, too.")
def command(home: Path | None, jobs: bool) -> None:
    """Stop it. Running jobs go on, are named, and the next start finds them."""
    folder = (home or default_home()).expanduser().absolute()
    try:
        client.stop(folder, cancel_jobs=jobs, progress=click.echo)
    except NotRunningError:
        click.echo(f"No Zaffre runs on {folder}.")
        left = NginxRecord.read(Home(folder))
        if left is not None and left.identity.alive():
            click.echo(
                f"But its nginx (pid {left.identity.pid}) and its model servers still do: the supervisor was killed. "
                "`zaffre up --detach` takes them over, and `zaffre down` then ends them."
            )
