"""`zaffre key`: API keys, each with a name, so that one can be taken back without the others."""

from __future__ import annotations

from pathlib import Path

import click

from zaffre.cli import options
from zaffre.cli.table import show
from zaffre.profiles import ClientError
from zaffre.remote import Remote

_KEYS = "/zaffre/v1/keys"


@click.group()
def command() -> None:
    """API keys: make one for each person, machine or program, and revoke it alone."""


@command.command()
@click.argument("name")
@options.expires
@click.option("--principal", metavar="NAME", help="The service principal it is for, by name or id; otherwise you.")
@options.server
def create(name: str, expires: str | None, principal: str | None, home: Path | None, profile: str | None) -> None:
    """Make a key called NAME and print it, this once."""
    remote = options.remote(home, profile)
    body = {"name": name, "expiresAt": expires, "principalId": _id_of(remote, principal) if principal else None}
    made = remote.call("POST", _KEYS, {field: value for field, value in body.items() if value is not None})
    ends = f" until {made['expiresAt']}" if made["expiresAt"] else ""
    click.echo(f"The key '{name}' of {made['principal']} is good{ends}. It is not shown again:", err=True)
    click.echo(made["key"])


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="A JSON list instead of a table.")
@click.option("--all", "everything", is_flag=True, help="Those that are revoked or over, too.")
@options.server
def list_(as_json: bool, everything: bool, home: Path | None, profile: str | None) -> None:
    """The keys there are; never the keys themselves."""
    found = options.remote(home, profile).call("GET", _KEYS)["value"]
    rows = [one for one in found if everything or one["state"] == "active"]
    show(rows, ("name", "id", "principal", "role", "state", "createdAt", "expiresAt"), as_json=as_json)


@command.command()
@click.argument("name")
@options.server
def revoke(name: str, home: Path | None, profile: str | None) -> None:
    """Refuse the key NAME (or id) from now on, with every token it was used to get.

    The owner's own key is called `owner`; the next `zaffre up` makes another.
    """
    gone = options.remote(home, profile).call("DELETE", f"{_KEYS}/{options.quoted(name)}")
    click.echo(f"The key '{gone['name']}' ({gone['id']}) of {gone['principal']} is revoked.")


def _id_of(remote: Remote, principal: str) -> str:
    for one in remote.call("GET", "/zaffre/v1/principals")["value"]:
        if principal in (one["id"], one["name"]):
            return str(one["id"])
    raise ClientError(f"There is no user or service principal '{principal}'; `zaffre principal list` names them.")
