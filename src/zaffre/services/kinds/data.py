"""Data assets: a file, a folder or an MLTable, by the place where it lies."""

from __future__ import annotations

from typing import Literal

from zaffre.errors import InvalidInput
from zaffre.services.kinds.base import VERSION, Document, Kind
from zaffre.services.kinds.containers import Version, container, version_defaults
from zaffre.services.urls import inward


class DataVersion(Version, rename="camel", kw_only=True):
    data_type: Literal["uri_file", "uri_folder", "mltable"] = "uri_folder"
    data_uri: str
    referenced_uris: list[str] | None = None


def _complete(properties: Document) -> Document:
    kind = properties.get("dataType", "uri_folder")
    uri = inward(properties["dataUri"].strip())
    if not uri:
        raise InvalidInput(
            "Field 'properties.dataUri': expected the place of the data, got an empty text.",
            target="properties.dataUri",
        )
    if kind != "uri_file" and not uri.endswith("/"):
        uri += "/"  # Azure answers folders and tables with a closing slash
    return {**version_defaults(properties), "dataType": kind, "dataUri": uri}


KINDS = (
    container("workspaces/data", stated=False),
    Kind(
        type="workspaces/data/versions",
        properties=DataVersion,
        name=VERSION,
        complete=_complete,
        identity=lambda properties: [properties["dataType"], properties["dataUri"]],
    ),
)
