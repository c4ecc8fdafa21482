"""The containers of versioned assets: what is common to data, models, environments, components and code."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from zaffre.services.kinds.base import ASSET_NAME, Document, Kind, Show, Texts, texts
from zaffre.store.resources import Row


class Container(msgspec.Struct, rename="camel", kw_only=True):
    description: str | None = None
    tags: Texts | None = None
    properties: Texts | None = None
    is_archived: bool | None = None
    data_type: str | None = None


def _complete(properties: Document) -> Document:
    return {
        **properties,
        "description": properties.get("description"),
        "tags": texts(properties.get("tags")),
        "properties": texts(properties.get("properties")),
        "isArchived": bool(properties.get("isArchived")),
    }


def container_numbers(row: Row, show: Show) -> Document:
    return {"latestVersion": show.latest, "nextVersion": str(row.counter)}


def container_state(row: Row, show: Show) -> Document:
    return {**container_numbers(row, show), "provisioningState": row.state}


def container(
    type_: str, extra: Callable[[Row, Show], Document] = container_state, unlisted: tuple[str, ...] = ()
) -> Kind:
    """The container kind of an asset type, e.g. `workspaces/data`. All but data tell a provisioning state."""
    return Kind(
        type=type_,
        properties=Container,
        name=ASSET_NAME,
        complete=_complete,
        extra=extra,
        versioned=True,
        kept=("dataType",),
        unlisted=unlisted,
    )


def version_defaults(properties: Document) -> Document:
    """What every version carries, filled in as Azure ML fills it."""
    return {
        **properties,
        "description": properties.get("description"),
        "tags": texts(properties.get("tags")),
        "properties": texts(properties.get("properties")),
        "isArchived": bool(properties.get("isArchived")),
        "isAnonymous": bool(properties.get("isAnonymous")),
    }


class Version(msgspec.Struct, rename="camel", kw_only=True):
    """The fields every version body may carry."""

    description: str | None = None
    tags: Texts | None = None
    properties: Texts | None = None
    is_archived: bool | None = None
    is_anonymous: bool | None = None


def version_state(row: Row, _show: Show) -> Document:
    return {"provisioningState": row.state}
