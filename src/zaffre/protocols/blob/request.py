"""What a blob operation is handed, and the table that names them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response

from zaffre.gateway.call import Call
from zaffre.protocols.blob.address import Address
from zaffre.protocols.blob.auth import Caller, Door
from zaffre.services.blobs import Blobs


@dataclass(frozen=True)
class Storage:
    """The services an operation may use. `hosts` are our own, `host:port`; `answer` does a request inside another."""

    blobs: Blobs
    door: Door
    hosts: frozenset[str]
    now: Callable[[], int]
    answer: Callable[[Call, Address], Awaitable[Response]]


@dataclass(frozen=True)
class BlobRequest:
    call: Call
    address: Address
    caller: Caller
    storage: Storage

    @property
    def at(self) -> tuple[str, str, str]:
        """Account, container and blob, as the service's methods begin."""
        return self.address.account, self.address.container, self.address.blob


@dataclass(frozen=True)
class Operation:
    """`resource` and `permissions` are Azure's letters; one of the permissions is enough. `name` is Azure's, too."""

    name: str
    answer: Callable[[BlobRequest], Awaitable[Response]]
    resource: str
    permissions: str


Table = dict[tuple[str, str, str], Operation]
"""Verb, `restype` and `comp` -> operation."""
