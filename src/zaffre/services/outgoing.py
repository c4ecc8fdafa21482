"""Where requests of ours may go: to hosts that are allowed, at addresses that were looked at, never to what lies inside by chance."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult

Resolve = Callable[[str, int], list[str]]


def addresses(host: str, port: int) -> list[str]:
    """Every address a name has. Raises OSError where it has none."""
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    return found.is_global and not found.is_multicast and (inner is None or inner.is_global)


def port_of(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def matches(allowed: str, parts: SplitResult) -> bool:
    """Whether an entry of a setting means this address. Without a port it means the scheme's own."""
    scheme, _, rest = allowed.rpartition("://")
    if parts.scheme != (scheme or "https"):
        return False
    host, _, port = (
        rest.rpartition(":") if rest.rpartition(":")[2].isdigit() and not rest.endswith("]") else (rest, "", "")
    )
    usual = 443 if parts.scheme == "https" else 80
    if (parts.port or usual) != (int(port) if port else usual):
        return False
    named = (parts.hostname or "").lower()
    host = host.strip("[]")
    return named.endswith(host[1:]) and len(named) >= len(host) if host.startswith("*.") else named == host


def names(hosts: tuple[str, ...], parts: SplitResult) -> bool:
    """Whether the operator named this very host, not one of many by a star."""
    return any("*" not in one and matches(one, parts) for one in hosts)


def secured(raw: socket.socket, parts: SplitResult, bundle: Path) -> socket.socket:
    """The same connection under TLS, where the address asks for it; certificates are held against `bundle`."""
    if parts.scheme != "https":
        return raw
    context = ssl.create_default_context(cafile=str(bundle) if bundle.exists() else None)
    return context.wrap_socket(raw, server_hostname=parts.hostname)


def cut(link: socket.socket) -> None:
    """End a connection that another thread reads from."""
    try:
        link.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is closed already
