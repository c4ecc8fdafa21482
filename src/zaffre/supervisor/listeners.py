"""The listening sockets: TCP for the world, unix for the application. Requests wait in them while others restart."""

import errno
import ipaddress
import os
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zaffre.supervisor import platform_linux
from zaffre.supervisor.errors import ListenError

DEFAULT_PORT = 8443
BACKLOG = 4096
"""The same as in nginx's `listen` lines; the kernel cuts it to net.core.somaxconn."""

_TRIES_FOR_A_COMMON_PORT = 50


@dataclass(frozen=True)
class Listeners:
    """Bound and listening TCP sockets with their addresses as nginx writes them: `127.0.0.1:8443`, `[::1]:8443`."""

    port: int
    addresses: tuple[str, ...]
    sockets: tuple[socket.socket, ...]

    def close(self) -> None:
        for listener in self.sockets:
            listener.close()


def default_hosts() -> tuple[str, ...]:
    """Both loopbacks, as `localhost` may mean either; one where this machine has no IPv6."""
    return ("127.0.0.1", "::1") if _has_ipv6_loopback() else ("127.0.0.1",)


def with_loopbacks(hosts: Iterable[str]) -> tuple[str, ...]:
    """`hosts` and the loopbacks they do not cover: jobs and this machine's own clients come by `localhost`, always."""
    given = tuple(dict.fromkeys(hosts))
    everywhere = {ipaddress.ip_address(host).version for host in given if ipaddress.ip_address(host).is_unspecified}
    missing = (host for host in default_hosts() if ipaddress.ip_address(host).version not in everywhere)
    return tuple(dict.fromkeys((*missing, *given)))


def addresses(hosts: Iterable[str], port: int) -> tuple[str, ...]:
    """The addresses as nginx writes them."""
    return tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts)


def is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def bind(hosts: Sequence[str], port: int, *, preferred: int | None = None) -> Listeners:
    """Bind `port` on every host; port 0 is `preferred` if that is free, else one that is free on all of them.

    Raises `ListenError`, which names the port and, where we may see it, who holds it.
    """
    if port != 0:
        return _bind_all(hosts, port)
    if preferred is not None:
        try:
            return _bind_all(hosts, preferred)
        except ListenError:
            pass  # taken meanwhile; any other will do
    for _ in range(_TRIES_FOR_A_COMMON_PORT):
        with _tcp_socket(hosts[0]) as probe:
            probe.bind((hosts[0], 0))
            free: int = probe.getsockname()[1]
        try:
            return _bind_all(hosts, free)
        except ListenError:
            continue
    raise ListenError(f"No port was found that is free on all of {', '.join(hosts)}; name one with --port.")


def bind_soon(hosts: Sequence[str], port: int, *, seconds: float) -> Listeners:
    """Bind a port that is about to be let go by processes of ours; raises `ListenError` when it was not by then."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return _bind_all(hosts, port)
        except ListenError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def bind_unix(path: Path) -> socket.socket:
    """A listening unix socket under a new name renamed over the old one, for this user only.

    `path` must be short (107 bytes): relative to the working directory. What connects by name reaches the new socket
    from then on; connections to the old one stay with it.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    listener.bind(str(temporary))
    temporary.chmod(0o600)
    listener.setblocking(False)
    listener.listen(BACKLOG)
    temporary.rename(path)
    return listener


def _bind_all(hosts: Sequence[str], port: int) -> Listeners:
    bound: list[socket.socket] = []
    try:
        for host in hosts:
            listener = _tcp_socket(host)
            bound.append(listener)
            listener.bind((host, port))
            listener.listen(BACKLOG)
    except OSError as error:
        for listener in bound:
            listener.close()
        raise ListenError(_why(host, port, error)) from error
    return Listeners(port=port, addresses=addresses(hosts, port), sockets=tuple(bound))


def _tcp_socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.setblocking(False)  # whoever inherits it shares this; a blocking accept would hang an event loop
    return listener


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = platform_linux.port_holder(port)
        by = f" by process {holder[0]} ({holder[1]})" if holder else ""
        return f"Port {port} on {host} is taken{by}. End that program, or choose another port: --port N."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; give --listen one that is."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"This user may not listen on port {port} of {host}; choose one above 1023: --port N."
    return f"Port {port} on {host} could not be bound: {os.strerror(error.errno or 0)}."


def _has_ipv6_loopback() -> bool:
    try:
        with _tcp_socket("::1") as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
