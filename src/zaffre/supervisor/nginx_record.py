"""`run/nginx.json`: which process the nginx of a home is, for the next supervisor."""

from dataclasses import dataclass
from typing import Any

from zaffre.supervisor.files import Home, read_json, write_json
from zaffre.supervisor.identity import Identity


@dataclass(frozen=True)
class NginxRecord:
    """Which process, on which addresses, of which version."""

    identity: Identity
    addresses: tuple[str, ...]
    version: str

    @classmethod
    def read(cls, home: Home) -> "NginxRecord | None":
        value: dict[str, Any] = read_json(home.nginx) or {}
        identity = Identity.from_json(value)
        if identity is None:
            return None
        return cls(identity, tuple(value.get("addresses", ())), str(value.get("version", "")))

    def write(self, home: Home) -> None:
        own = {"addresses": list(self.addresses), "version": self.version}
        write_json(home.nginx, {**self.identity.to_json(), **own})
