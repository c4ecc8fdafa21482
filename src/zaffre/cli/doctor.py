"""`zaffre doctor`: look at the server, at this machine and at this shell, and say what is wrong and what to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from zaffre import profiles
from zaffre.cli import options
from zaffre.cli.checks import client, server
from zaffre.cli.checks.finding import Finding, Level
from zaffre.cli.checks.packages import packages
from zaffre.profiles import ClientError
from zaffre.settings import default_home

_MARKS = {Level.GOOD: "ok", Level.NOTE: "note", Level.WRONG: "WRONG"}


@click.command()
@options.server
def command(home: Path | None, profile: str | None) -> None:
    """Say what is wrong and what to do about it. Ends with 1 when something is.

    It looks at the server and at the variables of this shell, as a client started here would see them.
    """
    findings = examine(home, profile)
    for one in findings:
        click.echo(f"{_MARKS[one.level]:>5}  {one.text}")
        if one.advice:
            click.echo(f"       -> {one.advice}")
    wrong = sum(one.level is Level.WRONG for one in findings)
    if wrong:
        click.echo(f"{wrong} thing{'s are' if wrong > 1 else ' is'} wrong.", err=True)
        sys.exit(1)


def examine(home: Path | None = None, name: str | None = None) -> list[Finding]:
    """Every finding, the server's before the client's."""
    try:
        profile = profiles.resolve(home, name)
    except ClientError as error:
        folder = (home or default_home()).expanduser().absolute()
        nothing = Finding(Level.WRONG, str(error))
        return [nothing, *server.machine(folder), *client.without_server(dict(os.environ))]
    findings, running = server.server(profile)
    if profile.home is not None:
        findings += server.machine(Path(profile.home))
    if running is None:
        return [*findings, *client.without_server(dict(os.environ)), *packages()]
    return [*findings, *client.shell(running, dict(os.environ)), *packages()]
