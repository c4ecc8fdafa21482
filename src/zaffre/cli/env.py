"""`zaffre env`: the variables that point unmodified clients at a server, for `eval "$(zaffre env)"`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from zaffre import profiles
from zaffre.cli import options
from zaffre.profiles import ClientError, Profile
from zaffre.variables import client_variables


@click.command()
@options.server
@options.workspace
@click.option("--write-config", is_flag=True, help="Leave .azureml/config.json here, for MLClient.from_config().")
def command(
    home: Path | None,
    profile: str | None,
    subscription: str | None,
    resource_group: str | None,
    workspace: str | None,
    write_config: bool,
) -> None:
    """Print the variables that point clients at it, for eval "$(zaffre env)".

    Scripts that bring their own subscription, resource group and workspace: name them here, and they are made.
    """
    found = prepare(home, profile, subscription, resource_group, workspace)
    if write_config:
        click.echo(f"Wrote {_write_config(Path.cwd(), found)}.", err=True)
    for name, value in client_variables(found).items():
        click.echo(f"export {name}={shlex.quote(value)}")


def prepare(
    home: Path | None,
    profile: str | None,
    subscription: str | None,
    resource_group: str | None,
    workspace: str | None,
) -> Profile:
    """The running server that is meant, with the workspace that is meant, which is made if it is missing."""
    found = profiles.require_running(profiles.resolve(home, profile))
    options.warn_of_stray_credentials(found.address)
    name = profile or (profiles.name_for(Path(found.home)) if found.home else None)
    if name is not None:
        profiles.save(name, found)
    chosen = found.at(subscription, resource_group, workspace)
    if chosen != found:
        from zaffre.remote import Remote

        if Remote(chosen).ensure_workspace():
            click.echo(f"Made the workspace '{chosen.workspace}' in '{chosen.resource_group}'.", err=True)
    return chosen


def _write_config(folder: Path, profile: Profile) -> Path:
    """The file `MLClient.from_config` looks for. One that names another workspace is the user's own: it stays."""
    path = folder / ".azureml" / "config.json"
    content = {
        "subscription_id": profile.subscription,
        "resource_group": profile.resource_group,
        "workspace_name": profile.workspace,
    }
    try:
        present = json.loads(path.read_bytes())
    except FileNotFoundError:
        present = content
    except ValueError:
        present = None
    if not isinstance(present, dict) or any(present.get(key) != value for key, value in content.items()):
        raise ClientError(
            f"{path} is there and names another workspace. Remove it, or make that workspace here: "
            "`zaffre env --subscription … --resource-group … --workspace …`."
        )
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
