"""Data assets: a file, a folder or an MLTable, by the place where it lies."""

from __future__ import annotations

import re

import msgspec

from zaffre.services.kinds.base import VERSION, Document, Kind, refused, spelled
from zaffre.services.kinds.containers import Version, container, container_numbers, version_defaults
from zaffre.services.urls import inward

TYPES = ("uri_file", "uri_folder", "mltable")
AUTO_DELETE = ("CreatedGreaterThan", "LastAccessedGreaterThan")


class AutoDelete(msgspec.Struct, rename="camel", kw_only=True):
    condition: str | None = None
    value: str | None = None


class DataVersion(Version, rename="camel", kw_only=True):
    data_type: str = "uri_folder"
    data_uri: str
    referenced_uris: list[str] | None = None
    auto_delete_setting: AutoDelete | None = None


def _complete(properties: Document) -> Document:
    kind = spelled(properties.get("dataType") or "uri_folder", TYPES, "properties.dataType")
    uri = inward(properties["dataUri"].strip())
    if not uri:
        raise refused("properties.dataUri", "expected the place of the data, got an empty text.")
    completed = version_defaults(properties)
    if properties.get("autoDeleteSetting"):
        completed["autoDeleteSetting"] = _auto_delete(properties["autoDeleteSetting"])
    if kind != "uri_file" and not uri.endswith("/"):
        uri += "/"  # Azure answers folders and tables with a closing slash
    return {**completed, "dataType": kind, "dataUri": uri}


def _auto_delete(given: Document) -> Document:
    """Kept and answered; nothing is deleted by it yet."""
    field = "properties.autoDeleteSetting"
    if given.get("value") is not None and not re.fullmatch(r"[1-9][0-9]{0,5}d", given["value"]):
        raise refused(f"{field}.value", f"'{given['value'][:50]}'; expected days, such as '30d'.")
    if given.get("condition") is None:
        return given
    return {**given, "condition": spelled(given["condition"], AUTO_DELETE, f"{field}.condition")}


KINDS = (
    container("workspaces/data", container_numbers),
    Kind(
        type="workspaces/data/versions",
        properties=DataVersion,
        name=VERSION,
        complete=_complete,
        identity=lambda properties: [properties["dataType"], properties["dataUri"]],
    ),
)
