"""How one thing names another inside a document: versions of assets, and uploads that belong to nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

ARM = re.compile(
    r"(?:azureml:)?/subscriptions/(?P<s>[^/]+)/resourceGroups/(?P<g>[^/]+)/providers/Microsoft\.MachineLearningServices"
    r"/workspaces/(?P<w>[^/]+)/(?P<kind>data|models|environments|components|codes)/(?P<n>[^/]+)"
    r"/(?P<by>versions|labels)/(?P<v>[^/]+)",
    re.IGNORECASE,
)
SHORT = re.compile(r"azureml:(?P<n>[A-Za-z0-9][A-Za-z0-9._-]*)(?:(?P<by>[:@])(?P<v>[A-Za-z0-9._-]+))?")

# The SDK uploads what lies on the user's machine under the hash of its content; code versions have containers of their own.
UPLOADS = "LocalUpload"
CODE_CONTAINER = "code-"
ANY_UPLOAD = "*"  # a place that holds all uploads
_UPLOAD = re.compile(rf"/(?:{UPLOADS}/(?P<id>[^/]+)|(?P<code>{CODE_CONTAINER}[0-9a-f]{{32}}))(?=/|$)")
_ALL_UPLOADS = re.compile(
    rf"(?:.*/datastores/workspaceblobstore/paths|.*/azureml-blobstore-[0-9a-f-]{{36}})(?:/{UPLOADS})?/?", re.DOTALL
)
# What describes a thing names nothing it needs. Below inputs, outputs and jobs the words are the author's own names.
_ASIDE = frozenset(
    {"tags", "properties", "description", "displayName", "display_name", "services", "condaFile", "command"}
)
_NAMED = ("inputs", "outputs", "jobs")
_ROLE_LIMIT = 200


def texts(document: Any, role: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a document that may name something, with its place there, such as `inputs.train.uri`."""
    if isinstance(document, str):
        yield role[:_ROLE_LIMIT], document
    elif isinstance(document, dict):
        own_names = role.rpartition(".")[2] in _NAMED
        for name, value in document.items():
            if own_names or name not in _ASIDE:
                yield from texts(value, f"{role}.{name}" if role else str(name))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from texts(value, f"{role}.{number}")


def upload(text: str) -> str | None:
    """The upload a text names: its hash, or its container if it is code; `*` for a place that holds all of them."""
    match = _UPLOAD.search(text)
    if match is not None:
        return match["id"] or match["code"]
    return ANY_UPLOAD if _ALL_UPLOADS.fullmatch(text) else None
