"""The file MLmodel, which says what an MLflow model is."""

from __future__ import annotations

from typing import Any

import msgspec

from zaffre.errors import InvalidInput, NotFound
from zaffre.services.blobs import Blobs
from zaffre.services.places import Place

NAME = "MLmodel"
_LIMIT = 1 << 20


async def read(blobs: Blobs, place: Place) -> bytes | None:
    """The MLmodel file of what lies at `place`, if there is one."""
    try:
        return await blobs.get_bytes(place.account, place.container, f"{place.path.rstrip('/')}/{NAME}", _LIMIT)
    except NotFound:
        return None


def flavors(text: bytes) -> dict[str, Any]:
    """The flavors an MLmodel file names, as ARM carries them. Raises InvalidInput for what is none."""
    import yaml  # for models only: it would cost every start of the application 30 ms

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"The model's file '{NAME}' is not valid YAML: {error}.", target="source") from None
    found = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise InvalidInput(f"The model's file '{NAME}' names no flavors.", target="source")
    return {str(flavor): {"data": _texts(data)} for flavor, data in found.items()}


def _texts(data: Any) -> dict[str, str]:
    """A flavor's fields as ARM has them: texts only."""
    if not isinstance(data, dict):
        return {}
    return {
        str(key): value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for key, value in data.items()
    }
