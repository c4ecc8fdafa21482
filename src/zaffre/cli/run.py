"""`zaffre run`: one command with the variables of `zaffre env`; this process becomes it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from zaffre.cli import options
from zaffre.cli.env import prepare
from zaffre.variables import client_variables

_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@options.server
@options.workspace
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARGUMENT]...")
def command(
    home: Path | None,
    profile: str | None,
    subscription: str | None,
    resource_group: str | None,
    workspace: str | None,
    arguments: tuple[str, ...],
) -> None:
    """Run one command with these variables: zaffre run python train.py

    Options of `run` itself stand before the command.
    """
    found = prepare(home, profile, subscription, resource_group, workspace)
    try:
        os.execvpe(arguments[0], arguments, {**os.environ, **client_variables(found)})
    except FileNotFoundError:
        click.echo(f"zaffre: {arguments[0]}: there is no such command.", err=True)
        sys.exit(_NOT_FOUND)
    except PermissionError:
        click.echo(f"zaffre: {arguments[0]} may not be executed.", err=True)
        sys.exit(_NOT_EXECUTABLE)
