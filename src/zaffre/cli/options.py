"""Options that several commands share."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from zaffre.remote import Remote

F = TypeVar("F", bound=Callable[..., Any])

STRAY = ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE")
"""With these DefaultAzureCredential signs in at Microsoft instead of here."""

ADFS = "adfs"
"""The one tenant whose authority MSAL does not ask Microsoft to vouch for."""


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


def remote(home: Path | None, profile: str | None) -> Remote:
    """The running server that `--home` or `--profile` means, ready to be asked."""
    from zaffre import profiles
    from zaffre.remote import Remote

    return Remote(profiles.require_running(profiles.resolve(home, profile)))


def quoted(name: str) -> str:
    """A name as one part of a path."""
    from urllib.parse import quote

    return quote(name, safe="")


def expires(function: F) -> F:
    """`--expires`, for keys and secrets; an ISO 8601 time, or None."""
    return click.option(
        "--expires", callback=_when, metavar="WHEN", help="When it ends: 90d, 12h, or a date; otherwise never."
    )(function)


def workspace(function: F) -> F:
    """Which workspace is meant; those that are missing are made."""
    for option, words in (
        ("--workspace", "The workspace; it is made if it is missing."),
        ("--resource-group", "Its resource group; any name will do."),
        ("--subscription", "Its subscription; any name will do."),
    ):
        function = click.option(option, metavar="NAME", help=words)(function)
    return function


def stray(env: Mapping[str, str], address: str | None) -> list[str]:
    """The variables with which DefaultAzureCredential signs in at Microsoft; none where they mean the server at `address`."""
    here = address is not None and env.get("AZURE_AUTHORITY_HOST", "").rstrip("/") == address
    if here and env.get("AZURE_CLIENT_SECRET") and env.get("AZURE_TENANT_ID", "").lower() == ADFS:
        return []
    return [name for name in STRAY if env.get(name)]


def warn_of_stray_credentials(address: str) -> None:
    found = stray(os.environ, address)
    if found:
        click.echo(
            f"zaffre: {', '.join(found)} is set: DefaultAzureCredential may sign in at Microsoft instead of here. "
            f"Unset it; `zaffre doctor` says more.",
            err=True,
        )


def _when(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    now = datetime.datetime.now(datetime.UTC)
    span = re.fullmatch(r"(\d{1,6})([hdw])", value)
    try:
        if span is not None:
            then = now + datetime.timedelta(hours=int(span[1]) * {"h": 1, "d": 24, "w": 7 * 24}[span[2]])
        else:
            then = datetime.datetime.fromisoformat(value).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is neither a span such as 90d or 12h nor a date such as 2027-01-31."
        ) from None
    if then <= now:
        raise click.BadParameter(f"{value!r} lies in the past.")
    return then.isoformat(timespec="seconds").replace("+00:00", "Z")
