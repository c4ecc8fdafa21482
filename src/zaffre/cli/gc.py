"""`zaffre gc`: have a running server remove what nobody needs any more."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from zaffre import profiles
from zaffre.cli import options
from zaffre.remote import Remote

TIMEOUT_S = 3600.0
DAYS = 30


@click.command()
@options.server
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--grace",
    type=click.IntRange(10, 7 * 24 * 60),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="Bytes go once nothing has referred to them for so long.",
)
@click.option(
    "--environments",
    type=click.IntRange(1, 3650),
    default=DAYS,
    show_default=True,
    metavar="DAYS",
    help="Environments go that no job or deployment has used for so long; they are built again when asked for.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def command(
    home: Path | None, profile: str | None, dry_run: bool, grace: int, environments: int, as_json: bool
) -> None:
    """Remove bytes, folders and environments that nobody needs any more.

    The server goes on working, and does the same by itself every half hour, but for environments. Bytes that were
    referred to until just now wait for the grace period, so that uploads and downloads under way are not disturbed.
    """
    server = profiles.require_running(profiles.resolve(home, profile))
    wish = {"dryRun": dry_run, "graceMinutes": grace, "environmentsDays": environments}
    report = Remote(server, timeout=TIMEOUT_S).call("POST", "/zaffre/v1/collect", wish)
    click.echo(json.dumps(report, indent=1) if as_json else "\n".join(lines(report, grace)))


def lines(report: dict[str, Any], grace: int) -> list[str]:
    """The report for people."""
    found, dry = report["bytes"], report["dryRun"]
    verb = "Would remove" if dry else "Removed"
    said = [f"{verb} {_count(found['deleted'], 'stored object')} ({size(found['deletedBytes'])})."]
    if found["waiting"]:
        why = "a backup runs" if found["held"] else f"they go once nothing has referred to them for {grace} minutes"
        said.append(f"  {_count(found['waiting'], 'object')} ({size(found['waitingBytes'])}) must wait: {why}.")
    if found["expiredBlocks"]:
        said.append(f"{verb} {_count(found['expiredBlocks'], 'block')} of uploads that nobody finished in a week.")
    if report["jobFolders"]:
        said.append(f"{verb} {_count(len(report['jobFolders']), 'folder')} of jobs that are over or deleted:")
        said += [f"  {folder}" for folder in report["jobFolders"]]
    if report["environments"]:
        total = sum(one["size"] for one in report["environments"])
        said.append(f"{verb} {_count(len(report['environments']), 'environment')} ({size(total)}):")
        for one in report["environments"]:
            day = datetime.fromtimestamp(one["used"] / 1000, UTC).date()
            said.append(f"  {one['key'][:12]}  {size(one['size'])}, last used on {day}")
    return said


def size(number: int) -> str:
    """Bytes as people read them."""
    value = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
