"""`zaffre principal`: service principals, for programs that sign in by themselves."""

from __future__ import annotations

import json
from pathlib import Path

import click

from zaffre.cli import options
from zaffre.cli.table import show

_PRINCIPALS = "/zaffre/v1/principals"


@click.group()
def command() -> None:
    """Service principals: an id and a secret that a program signs in with, as on Azure."""


@command.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["Owner", "Reader"]), default="Owner", show_default=True)
@options.expires
@options.server
def create(name: str, role: str, expires: str | None, home: Path | None, profile: str | None) -> None:
    """Make a service principal called NAME; print it with its secret, this once, as `az ad sp create-for-rbac` does."""
    remote = options.remote(home, profile)
    body = {"name": name, "role": role} | ({"expiresAt": expires} if expires else {})
    made = remote.call("POST", _PRINCIPALS, body)
    shown = {
        "appId": made["id"],
        "displayName": made["name"],
        "password": made["secret"],
        "tenant": made["tenantId"],
    }
    click.echo(json.dumps(shown, indent=2))
    click.echo(
        "The password is not shown again. With AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_TENANT_ID=adfs and\n"
        f"AZURE_AUTHORITY_HOST={remote.address}, DefaultAzureCredential signs in with no code.",
        err=True,
    )


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="A JSON list instead of a table.")
@options.server
def list_(as_json: bool, home: Path | None, profile: str | None) -> None:
    """Users and service principals."""
    found = options.remote(home, profile).call("GET", _PRINCIPALS)["value"]
    show(found, ("name", "id", "kind", "role", "createdAt"), as_json=as_json)


@command.command()
@click.argument("name")
@options.server
def delete(name: str, home: Path | None, profile: str | None) -> None:
    """Remove the service principal NAME (or id); its secrets and tokens end at once."""
    gone = options.remote(home, profile).call("DELETE", f"{_PRINCIPALS}/{options.quoted(name)}")
    click.echo(f"The service principal '{gone['name']}' ({gone['id']}) is gone.")
