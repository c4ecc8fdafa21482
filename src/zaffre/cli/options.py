"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

STRAY = ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE")
"""With these DefaultAzureCredential signs in at Microsoft instead of here."""


def home(function: F) -> F:
    """`--home`, for commands that act on this machine's own server."""
    return click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        help="The server's folder; otherwise ZAFFRE_HOME, else ~/.zaffre.",
    )(function)


def server(function: F) -> F:
    """`--home` or `--profile`, for commands that only talk to a server."""
    named = click.option(
        "--profile", metavar="NAME", help="A server remembered in ~/.config/zaffre; otherwise ZAFFRE_PROFILE."
    )
    return home(named(function))


def workspace(function: F) -> F:
    """Which workspace is meant; those that are missing are made."""
    for option, words in (
        ("--workspace", "The workspace; it is made if it is missing."),
        ("--resource-group", "Its resource group; any name will do."),
        ("--subscription", "Its subscription; any name will do."),
    ):
        function = click.option(option, metavar="NAME", help=words)(function)
    return function


def warn_of_stray_credentials() -> None:
    found = [name for name in STRAY if os.environ.get(name)]
    if found:
        click.echo(
            f"zaffre: {', '.join(found)} is set: DefaultAzureCredential may sign in at Microsoft instead of here. "
            f"Unset it; `zaffre doctor` says more.",
            err=True,
        )
