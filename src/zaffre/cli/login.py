"""`zaffre login`: remember a server on another host, and the key one is known by there."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from zaffre import profiles
from zaffre.cli import options, trust
from zaffre.profiles import ClientError, Profile
from zaffre.remote import Remote


@click.command()
@click.argument("url")
@click.option("--name", metavar="NAME", help="What to call it, for --profile; otherwise its host.")
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Where the API key stands; otherwise it is asked for on stdin.",
)
@click.option(
    "--ca",
    "authority",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The authority that signed its certificate: <home>/ca/ca.pem of the server.",
)
@click.option("--fingerprint", metavar="SHA256", help="The fingerprint of that authority, instead of being asked.")
@options.workspace
def command(
    url: str,
    name: str | None,
    key_file: Path | None,
    authority: Path | None,
    fingerprint: str | None,
    subscription: str | None,
    resource_group: str | None,
    workspace: str | None,
) -> None:
    """Remember the server at URL, so that env, run, status and doctor can be told --profile NAME.

    The key is one of `zaffre key create NAME` on the server. It is kept in ~/.config/zaffre, for its owner only.
    """
    address = trust.address_of(url)
    name = name or _name_for(address)
    path = profiles.path_of(name)
    if path.exists():
        known = profiles.load(name)
        if known.home is not None or known.address != address:
            raise ClientError(
                f"The profile '{name}' is of another server ({known.address}); choose another --name, or `zaffre logout {name}`."
            )
    bundle = profiles.bundle_of(name)
    trust.settle(address, bundle, authority, fingerprint)
    try:
        profile = Profile(address=address, bundle=str(bundle), api_key=_read_key(key_file))
        me = Remote(profile).call("GET", "/zaffre/v1/me")
    except ClientError:
        if not path.exists():
            bundle.unlink()
        raise
    profile = msgspec.structs.replace(
        profile,
        subscription=subscription or me["subscription"],
        resource_group=resource_group or me["resourceGroup"],
        workspace=workspace or me["workspace"],
    )
    if (subscription or resource_group or workspace) and Remote(profile).ensure_workspace():
        click.echo(f"Made the workspace '{profile.workspace}' in '{profile.resource_group}'.", err=True)
    profiles.save(name, profile)
    click.echo(f"You are {me['name']} ({me['role']}) at {address}, remembered as '{name}'.")
    click.echo(f'  use  eval "$(zaffre env --profile {name})"')


def _read_key(file: Path | None) -> str:
    """One line: from the file, from a prompt that does not show it, or from what is piped in."""
    if file is not None:
        text = file.read_text(errors="replace")
    elif sys.stdin.isatty():
        text = str(click.prompt("API key", hide_input=True, err=True))
    else:
        text = sys.stdin.readline()
    key = text.strip()
    if not key or not key.isascii() or any(character.isspace() for character in key):
        raise ClientError("No API key was given; pipe it in, or name a file that holds nothing else: --key-file FILE.")
    return key


def _name_for(address: str) -> str:
    host = address.removeprefix("https://").rpartition(":")[0] if ":" in address[8:] else address[8:]
    return host.strip("[]").replace(":", "-").lstrip("-")[:64]
