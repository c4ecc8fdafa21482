"""`zaffre keys`: the keys that the server signs tokens with."""

from __future__ import annotations

from pathlib import Path

import click

from zaffre.cli import options
from zaffre.cli.table import show

_KEYS = "/zaffre/v1/signing-keys"


@click.group()
def command() -> None:
    """The server's own signing keys (API keys are `zaffre key`)."""


@command.command()
@click.option("--forget", is_flag=True, help="End every token that was signed before, those of running jobs too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.server
def rotate(forget: bool, yes: bool, home: Path | None, profile: str | None) -> None:
    """Sign tokens with a new key from now on. Nobody is logged out: the old one verifies until its tokens are over.

    It happens by itself every 90 days. --forget is for a key that was stolen: everybody gets a new token by themselves,
    but jobs that run can log no more.
    """
    remote = options.remote(home, profile)
    if forget and not yes:
        click.confirm("Jobs that run now will be refused from then on. Go on?", abort=True, err=True)
    made = remote.call("POST", f"{_KEYS}/rotate", {"forget": forget})
    click.echo(f"Tokens are signed with the key {made['kid']} from now on.")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="A JSON list instead of a table.")
@options.server
def list_(as_json: bool, home: Path | None, profile: str | None) -> None:
    """The keys that verify tokens, the one that signs first."""
    found = options.remote(home, profile).call("GET", _KEYS)["value"]
    show(found, ("kid", "signs", "madeAt", "endsAt"), as_json=as_json)
