"""Zaffre's own part of signing in, which Azure does in other products: who am I, API keys, service principals, signing keys."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.responses import Response

from zaffre.errors import InvalidInput
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Handler, Route
from zaffre.runtime import from_iso, iso
from zaffre.services.access import OWNER
from zaffre.services.keys import ApiKeys
from zaffre.services.principals import Principals
from zaffre.services.tokens import Tokens
from zaffre.settings import TENANT, Settings

PREFIX = "/zaffre/v1"
NO_STORE = {"cache-control": "no-store"}
_TIMES = ("createdAt", "expiresAt", "madeAt", "endsAt")


class NewKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """`principal_id` is whom it is for, otherwise the caller."""

    name: str
    expires_at: str | None = None
    principal_id: str | None = None


class NewPrincipal(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    name: str
    role: str = OWNER
    expires_at: str | None = None


class Rotation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`forget` ends every token that was signed before."""

    forget: bool = False


def routes(settings: Settings, tokens: Tokens, keys: ApiKeys, principals: Principals) -> list[Route]:
    """Only owners may do more than ask who they are."""

    async def me(call: Call) -> Response:
        who = call.principal
        return json_answer(
            {
                "id": who.id,
                "name": who.name,
                "kind": who.kind,
                "role": who.role,
                "keyId": who.key,
                "tenantId": TENANT,
                "subscription": settings.subscription,
                "resourceGroup": settings.resource_group,
                "workspace": settings.workspace,
            }
        )

    async def list_keys(_call: Call) -> Response:
        return json_answer({"value": [_shown(one) for one in await keys.listing()]})

    async def create_key(call: Call) -> Response:
        asked = await call.parse(NewKey)
        info, key = await keys.create(
            call.actor, asked.principal_id or call.principal.id, asked.name, _time(asked.expires_at)
        )
        return json_answer({**_shown(info), "key": key}, 201, NO_STORE)

    async def revoke_key(call: Call) -> Response:
        return json_answer(_shown(await keys.revoke(call.actor, call.params["key"])))

    async def list_principals(_call: Call) -> Response:
        return json_answer({"value": [_shown(one) for one in await principals.listing()]})

    async def create_principal(call: Call) -> Response:
        asked = await call.parse(NewPrincipal)
        info, secret = await principals.create(call.actor, asked.name, asked.role, _time(asked.expires_at))
        return json_answer({**_shown(info), "tenantId": TENANT, "secret": secret}, 201, NO_STORE)

    async def delete_principal(call: Call) -> Response:
        return json_answer(_shown(await principals.delete(call.actor, call.params["principal"])))

    async def list_signing_keys(_call: Call) -> Response:
        return json_answer({"value": [_shown(one) for one in tokens.signing_keys()]})

    async def rotate(call: Call) -> Response:
        asked = await call.parse(Rotation)
        await keys.note_rotation(call.actor, forget=asked.forget)
        return json_answer(_shown(await asyncio.to_thread(tokens.rotate, forget=asked.forget)))

    def route(method: str, path: str, handler: Handler, operation: str, action: str) -> Route:
        return Route(
            protocol="manage",
            method=method,
            template=PREFIX + path,
            handler=handler,
            operation=operation,
            action=action,
        )

    # `manage`, not `read`: who has a key is no reader's business.
    return [
        route("GET", "/me", me, "Me_Get", "me/read"),
        route("GET", "/keys", list_keys, "Keys_List", "keys/manage"),
        route("POST", "/keys", create_key, "Keys_Create", "keys/manage"),
        route("DELETE", "/keys/{key}", revoke_key, "Keys_Revoke", "keys/manage"),
        route("GET", "/principals", list_principals, "Principals_List", "principals/manage"),
        route("POST", "/principals", create_principal, "Principals_Create", "principals/manage"),
        route("DELETE", "/principals/{principal}", delete_principal, "Principals_Delete", "principals/manage"),
        route("GET", "/signing-keys", list_signing_keys, "SigningKeys_List", "signingKeys/manage"),
        route("POST", "/signing-keys/rotate", rotate, "SigningKeys_Rotate", "signingKeys/manage"),
    ]


def _shown(info: msgspec.Struct) -> dict[str, Any]:
    """As JSON, with times as ARM writes them."""
    found: dict[str, Any] = msgspec.to_builtins(info)
    return {name: iso(value) if name in _TIMES and value is not None else value for name, value in found.items()}


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return from_iso(text)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"Field 'expiresAt': '{text[:100]}' is no ISO 8601 time, such as 2027-01-31T00:00:00Z.",
            code="InvalidField",
            target="expiresAt",
        ) from None
