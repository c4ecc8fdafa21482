"""`zaffre logout`: forget a server that was remembered, and if asked make its key worthless."""

from __future__ import annotations

import os

import click

from zaffre import profiles
from zaffre.remote import Remote


@click.command()
@click.argument("name", required=False)
@click.option("--revoke", is_flag=True, help="Revoke the profile's key on the server, too; the key of an owner may.")
def command(name: str | None, revoke: bool) -> None:
    """Forget the profile NAME (otherwise ZAFFRE_PROFILE's, or the only one) with its key.

    A server on this machine goes on and keeps its own key.
    """
    chosen = name or os.environ.get("ZAFFRE_PROFILE") or profiles.only_one()
    if chosen is None:
        raise profiles.ClientError(f"Say which profile: {', '.join(profiles.names()) or 'there is none'}.")
    if revoke:
        remote = Remote(profiles.load(chosen))
        key = remote.call("GET", "/zaffre/v1/me")["keyId"]
        remote.call("DELETE", f"/zaffre/v1/keys/{key}")
        click.echo("Its key is revoked.")
    profiles.remove(chosen)
    click.echo(f"The profile '{chosen}' is forgotten.")
