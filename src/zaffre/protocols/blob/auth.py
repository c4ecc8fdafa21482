"""Who asks for a blob, and what they may: a SAS, a request signed with the account's key, or a bearer token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from zaffre.errors import Denied, Unauthenticated
from zaffre.gateway.app import bearer
from zaffre.gateway.call import Call
from zaffre.protocols.blob.address import Address
from zaffre.services import access, sas
from zaffre.services.access import Principal
from zaffre.services.blobs import Blobs
from zaffre.services.sas import Asked, Grant
from zaffre.services.tokens import MACHINE_LEARNING, STORAGE, Tokens
from zaffre.services.workspaces import STORAGE_SUFFIX, Workspace

T = TypeVar("T")
_STORAGE = frozenset({STORAGE})
_JOB = frozenset({MACHINE_LEARNING})
# Azure's letter of a permission -> the action that access.authorize knows
_ACTIONS = {
    "r": "workspaces/blobs/read",
    "l": "workspaces/blobs/read",
    "w": "workspaces/blobs/write",
    "c": "workspaces/blobs/write",
    "d": "workspaces/blobs/delete",
}


@dataclass(frozen=True)
class Caller:
    """A known caller. With a `grant` it bounds what they may, with a `principal` their role does; the key may all."""

    workspace: Workspace
    principal: Principal | None = None
    grant: Grant | None = None

    def check(self, resource: str, permissions: str) -> None:
        """Raise Denied unless one of `permissions` is theirs on `resource`: (s)ervice, (c)ontainer or (o)bject.

        Without a resource, being known is enough.
        """
        if not resource:
            return
        if self.grant is not None:
            listing_only = resource == "c" and self.grant.container is not None  # all that a service SAS may do there
            if resource not in self.grant.resources or (listing_only and "l" not in permissions):
                message = "The signature does not cover this kind of resource."
                raise Denied(message, code="AuthorizationResourceTypeMismatch")
            if self.grant.permissions.isdisjoint(permissions):
                message = f"The signature does not allow this; it would need one of the permissions '{permissions}'."
                raise Denied(message, code="AuthorizationPermissionMismatch")
        if self.principal is not None:
            access.authorize(self.principal, _ACTIONS[permissions[0]], self.workspace.id)

    def may(self, resource: str, permissions: str) -> bool:
        try:
            self.check(resource, permissions)
        except Denied:
            return False
        return True


class Door:
    """Finds out who a call is from."""

    def __init__(self, blobs: Blobs, tokens: Tokens, hosts: frozenset[str]) -> None:
        self._blobs = blobs
        self._tokens = tokens
        self._hosts = hosts

    async def caller(self, call: Call, address: Address, now: int) -> Caller:
        """Raises Unauthenticated (no or a bad token), Denied (a bad signature) or NotFound (no such account)."""
        if "sig" in call.query:
            return await self.of_signature(call, call.query, address, now)
        scheme = call.headers.get("authorization", "").partition(" ")[0].lower()
        if scheme == "sharedkey":
            workspace = await self._blobs.account(address.account)
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in call.headers.raw]
            query = call.scope["query_string"].decode("latin-1")
            names = self.names(address.account)
            _with_any(
                await self._blobs.accounts.keys(workspace),
                lambda key: sas.verify_shared_key(call.method, call.raw_path, query, headers, key, names, now),
            )
            return Caller(workspace)
        if scheme != "bearer":
            message = "The request carries neither a SAS, nor a Shared Key signature, nor a bearer token."
            raise Unauthenticated(message, code="NoAuthenticationInformation")
        call.principal = self._principal(bearer(call))
        return Caller(await self._blobs.account(address.account), principal=call.principal)

    async def of_token(self, token: str, address: Address) -> Caller:
        """Who holds the bearer token; it is not the call's own."""
        return Caller(await self._blobs.account(address.account), principal=self._principal(token))

    async def of_signature(self, call: Call, query: dict[str, str], address: Address, now: int) -> Caller:
        """Who holds the SAS in `query` for `address`."""
        workspace = await self._blobs.account(address.account)
        asked = Asked(
            names=self.names(address.account),
            container=address.container,
            blob=address.blob,
            now=now,
            client=_client(call),
            https=_scheme(call) == "https",
        )
        keys = await self._blobs.accounts.keys(workspace)
        return Caller(workspace, grant=_with_any(keys, lambda key: sas.verify_sas(query, key, asked)))

    def _principal(self, token: str) -> Principal:
        """A token for storage, or a job's own, which is for everything of its workspace."""
        try:
            try:
                return self._tokens.verify(token, _STORAGE)
            except Unauthenticated as error:
                if error.code != "InvalidAudience":
                    raise
                principal = self._tokens.verify(token, _JOB)
                if principal.run is None:
                    raise
                return principal
        except Unauthenticated as error:
            raise Unauthenticated(error.message, code="InvalidAuthenticationInfo") from None

    def names(self, account: str) -> tuple[str, ...]:
        """What a client may take for the account's name: ours, the first part of the path, or `host:port/account`."""
        return (account, account + STORAGE_SUFFIX, *(f"{host}/{account}" for host in sorted(self._hosts)))


def _with_any(keys: Sequence[str], verify: Callable[[str], T]) -> T:
    """What `verify` answers with the first key it takes; what it has against the first of them when it takes none."""
    problem: Denied | None = None
    for key in keys:
        try:
            return verify(key)
        except Denied as error:
            problem = problem or error
    assert problem is not None, "an account has a key"
    raise problem


def _client(call: Call) -> str:
    """The peer's address. Behind the edge there is none on the unix socket; the edge tells it, nobody else can."""
    return call.client.host if call.client else call.headers.get("x-forwarded-for", "")


def _scheme(call: Call) -> str:
    return call.url.scheme if call.client else call.headers.get("x-forwarded-proto", call.url.scheme)
