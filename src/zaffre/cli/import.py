"""`zaffre import`: bring what another tracking server holds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from zaffre import profiles
from zaffre.cli import options
from zaffre.cli.env import prepare

_OURS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@click.group()
def command() -> None:
    """Bring what another tracking server holds."""


@command.command()
@options.server
@options.workspace
@click.argument("uri")
@click.option("--experiment", "experiments", multiple=True, metavar="NAME", help="Only this one; may be repeated.")
@click.option("--no-artifacts", is_flag=True, help="Leave the files where they are.")
@click.option("--again", is_flag=True, help="Go through what has been imported already, too.")
@click.option(
    "--mlflow", "version", metavar="VERSION", help="Read with this MLflow, in an environment of its own; or 'newest'."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be imported.")
@click.option(
    "--parallel", type=click.IntRange(1, 64), default=8, show_default=True, metavar="N", help="So many runs at once."
)
def mlflow(
    home: Path | None,
    profile: str | None,
    subscription: str | None,
    resource_group: str | None,
    workspace: str | None,
    uri: str,
    experiments: tuple[str, ...],
    no_artifacts: bool,
    again: bool,
    version: str | None,
    dry_run: bool,
    parallel: int,
) -> None:
    """Import experiments, runs, files, traces, models and prompts of an MLflow server, its database, or a folder such as ./mlruns.

    It may be interrupted and run again, as often as you like: it goes on where it was, takes along what is new there,
    and changes nothing else. What cannot be imported is named, the rest goes on, and the exit code is 1.
    """
    from zaffre.importing import environment
    from zaffre.importing.importer import Importer, Wishes
    from zaffre.importing.report import Report
    from zaffre.importing.source import Source
    from zaffre.importing.target import Target

    if dry_run:  # which makes no workspace either
        server = profiles.require_running(profiles.resolve(home, profile))
        found = server.at(subscription, resource_group, workspace)
    else:
        found = prepare(home, profile, subscription, resource_group, workspace)
    if os.environ.get("MLFLOW_TRACKING_URI", "").startswith(f"{found.address}/") and not uri.startswith(found.address):
        for name in _OURS:  # a shell that `zaffre env` was evaluated in: these are for us, not for where we import from
            os.environ.pop(name, None)
    if version is not None and os.environ.get(environment.MARK) != version:
        environment.become(version, uri)
    report = Report(click.echo, lambda line: click.echo(f"zaffre: {line}", err=True), dry=dry_run)
    wishes = Wishes(experiments=experiments, artifacts=not no_artifacts, again=again, parallel=parallel)
    Importer(Source(uri), Target(found), report, wishes).run()
    click.echo("\n".join(report.lines()))
    sys.exit(1 if report.failures else 0)
