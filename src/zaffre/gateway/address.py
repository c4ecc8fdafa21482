"""The address a client used, if it is one of ours; what it is told to call next must be reachable by the same name."""

from __future__ import annotations

from zaffre.gateway.call import Call
from zaffre.settings import Settings


def public_address(call: Call, settings: Settings) -> str:
    """`https://host:port` from the Host header when it is on the list of own names, else the canonical address."""
    host = call.headers.get("host", "").lower()
    return f"https://{host}" if host in settings.own_hosts else settings.address
