"""Connections: how to reach something outside, with the credentials for it. All of those are sealed, names and ids too."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zaffre.errors import InvalidInput, NotServed
from zaffre.runtime import from_iso
from zaffre.services.kinds.base import Document, Kind, Show, Texts, spelled, texts
from zaffre.services.kinds.connection_words import CALLED, CATEGORIES, SIGN_INS, UNSERVED_SIGN_INS, WITHOUT_TARGET
from zaffre.store.resources import Row

CREDENTIALS = "credentials"


class Properties(msgspec.Struct, rename="camel", kw_only=True):
    auth_type: str
    category: str
    target: str | None = None
    credentials: dict[str, Any] | None = None
    metadata: Texts | None = None
    is_shared_to_all: bool | None = None
    shared_user_list: list[str] | None = None
    use_workspace_managed_identity: bool | None = None
    expiry_time: str | None = None


def category_of(text: str) -> str | None:
    """A category in Azure's spelling, however a client writes it; None for one that does not exist."""
    bare = text.lower().replace("_", "")
    found = CATEGORIES.get(CALLED.get(bare, bare).lower())
    return found[0] if found else None


def auth_type_of(properties: Document) -> str:
    """The way to sign in, in Azure's spelling. Raises InvalidInput or NotServed."""
    given = properties.get("authType")
    if not isinstance(given, str):
        raise _wrong("authType", f"expected one of {', '.join(SIGN_INS)}")
    if given.lower() in (word.lower() for word in UNSERVED_SIGN_INS):
        raise NotServed(
            f"Connections of authType {given} belong to the agents of Azure AI Foundry and are not served; expected one of "
            f"{', '.join(SIGN_INS)}.",
            target="properties.authType",
        )
    return spelled(given, tuple(SIGN_INS), "properties.authType")


def sealed_part(properties: Document) -> dict[str, Any]:
    """What a client gave of the credentials, without nulls; an account's key under its own name. Raises InvalidInput."""
    credentials = properties.get("credentials")
    if credentials is None:
        return {}
    if not isinstance(credentials, dict):
        raise _wrong("credentials", "expected an object")
    type_ = auth_type_of(properties)
    given = {name: value for name, value in credentials.items() if value is not None}
    if type_ == "AccountKey" and "sas" in given:  # how the SDK spells the key of an account
        given["key"] = given.pop("sas")
    known = (*SIGN_INS[type_].needs, *SIGN_INS[type_].may)
    for name, value in given.items():
        if name not in known:
            raise _wrong(f"credentials.{name}", f"credentials of authType {type_} take {', '.join(known) or 'nothing'}")
        if name == "keys":
            if not isinstance(value, dict) or not value or not all(isinstance(one, str) for one in value.values()):
                raise _wrong("credentials.keys", "expected an object of texts with at least one key")
        elif not isinstance(value, str) or not value:
            raise _wrong(f"credentials.{name}", "expected a text that is not empty")
    return given


def check_whole(type_: str, credentials: dict[str, Any]) -> None:
    """Raise InvalidInput unless nothing is missing."""
    for name in SIGN_INS[type_].needs:
        if name not in credentials:
            raise _wrong(f"credentials.{name}", f"credentials of authType {type_} need it")


def _complete(properties: Document) -> Document:
    category = category_of(properties["category"])
    if category is None:
        raise _wrong("category", f"'{properties['category'][:100]}' is no category of connections")
    target = properties.get("target")
    if not target and category not in WITHOUT_TARGET:
        raise _wrong("target", f"a connection of category {category} needs the address or ARM id of what it reaches")
    if properties.get("expiryTime"):
        try:
            from_iso(properties["expiryTime"])
        except ValueError:
            raise _wrong(
                "expiryTime", f"'{properties['expiryTime'][:50]}' is no time such as 2030-01-31T00:00:00Z"
            ) from None
    metadata = {name: value for name, value in (properties.get("metadata") or {}).items() if value is not None}
    shared = properties.get("isSharedToAll")
    return {
        **properties,
        "authType": auth_type_of(properties),
        "category": category,
        "group": CATEGORIES[category.lower()][1],
        "target": target or "",
        "metadata": texts(metadata),
        "isSharedToAll": True if shared is None else shared,
        "sharedUserList": properties.get("sharedUserList") or [],
        "useWorkspaceManagedIdentity": bool(properties.get("useWorkspaceManagedIdentity")),
    }


def _take_secrets(body: Document) -> tuple[dict[str, str], Document]:
    properties = body.get("properties")
    if not isinstance(properties, dict) or CREDENTIALS not in properties:
        return {}, body
    given = sealed_part(properties)
    kept = {**body, "properties": {name: value for name, value in properties.items() if name != CREDENTIALS}}
    return {CREDENTIALS: msgspec.json.encode(given).decode()} if given else {}, kept


def _extra(_row: Row, show: Show) -> Document:
    return {
        "createdByWorkspaceArmId": show.workspace.path,
        "peRequirement": "NotRequired",
        "peStatus": "NotApplicable",
    }


def _wrong(field: str, text: str) -> InvalidInput:
    field = f"properties.{field}"
    return InvalidInput(f"Field '{field}': {text}.", code="InvalidField", target=field)


KINDS = (
    Kind(
        type="workspaces/connections",
        properties=Properties,
        name=re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"),
        complete=_complete,
        extra=_extra,
        take_secrets=_take_secrets,
        made_status=200,
    ),
)
