"""Who may score by a token: an endpoint's own tokens (`AMLToken`), and sign-ins of this server (`AADToken`).

Keys are not here: the edge compares them itself.
"""

from __future__ import annotations

import msgspec

from zaffre.errors import Denied, InvalidInput, Unauthenticated
from zaffre.services import access
from zaffre.services.access import Principal
from zaffre.services.tokens import LIFETIME_S, MACHINE_LEARNING, Tokens
from zaffre.store import resources
from zaffre.store.database import Database
from zaffre.store.resources import Row

ENDPOINT = "workspaces/onlineEndpoints"
SCORE = f"{ENDPOINT}/score"


class ScoringToken(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds since 1970."""

    token: str
    expires: int
    refresh_after: int


class ScoringAccess:
    """`mint` makes a token that is good for one endpoint and nothing else; `check` is what the edge asks of every token."""

    def __init__(self, database: Database, tokens: Tokens) -> None:
        self._database = database
        self._tokens = tokens

    def mint(self, principal: Principal, endpoint: Row) -> ScoringToken:
        """Raises InvalidInput where the endpoint's keys or a sign-in are what it takes."""
        mode = endpoint.body["properties"]["authMode"]
        if mode != "AMLToken":
            other = "its keys; ask listKeys" if mode == "Key" else f"a token of this server for {MACHINE_LEARNING}"
            raise InvalidInput(f"Endpoint '{endpoint.name}' has no tokens of its own: it takes {other}.")
        token, expires = self._tokens.mint(principal, _audience(endpoint))
        return ScoringToken(token=token, expires=expires, refresh_after=expires - LIFETIME_S // 2)

    async def check(self, name: str, token: str) -> None:
        """Raises Unauthenticated for a token that is not good here, Denied for a caller who may not score."""
        rows = await self._database.read(lambda conn: resources.named(conn, ENDPOINT, name))
        row = next((row for row in rows if row.state != "Deleting"), None)
        if row is None:
            raise Denied(f"There is no endpoint '{name}'.")
        mode = row.body["properties"]["authMode"]
        if mode == "AMLToken":
            self._tokens.verify(token, frozenset({_audience(row)}))
        elif mode == "AADToken":
            access.authorize(self._tokens.verify(token, frozenset({MACHINE_LEARNING})), SCORE, row.scope)
        else:
            raise Unauthenticated(f"Endpoint '{name}' takes its keys only.")


def _audience(endpoint: Row) -> str:
    """One of its own for each endpoint that ever was: a token does not outlive the endpoint it was made for."""
    return f"urn:zaffre:endpoint:{endpoint.scope}:{endpoint.pk}:{endpoint.created_at}"
