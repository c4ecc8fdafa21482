"""`zaffre version`: what to put into a report of a problem."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

import click

from zaffre import __version__
from zaffre.cli import options
from zaffre.settings import default_home
from zaffre.supervisor import client

_CLIENTS = ("azure-ai-ml", "azure-identity", "azure-storage-blob", "mlflow", "mlflow-skinny", "azureml-mlflow")


@click.command()
@options.home
def command(home: Path | None) -> None:
    """The versions of Zaffre and of what it works with, as they are installed beside it."""
    click.echo(f"zaffre {__version__}")
    click.echo(f"python {platform.python_version()} ({platform.system()} {platform.machine()})")
    for name in _CLIENTS:
        try:
            click.echo(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    running = client.status(home or default_home())
    if running and running["nginx"] and running["nginx"]["version"]:
        click.echo(f"nginx {running['nginx']['version']} (running)")
