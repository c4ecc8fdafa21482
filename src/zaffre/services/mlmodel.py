"""The file MLmodel, which says what an MLflow model is."""

from __future__ import annotations

from typing import Any

import msgspec

from zaffre.errors import InvalidInput, NotFound
from zaffre.services.blobs import Blobs
from zaffre.services.places import Place

_LIMIT = 1 << 20


async def flavors(blobs: Blobs, place: Place) -> dict[str, Any]:
    """The flavors the MLmodel file at `place` names, as ARM carries them; none when there is no such file."""
    name = f"{place.path.rstrip('/')}/MLmodel"
    try:
        text = await blobs.get_bytes(place.account, place.container, name, _LIMIT)
    except NotFound:
        return {}
    import yaml  # for models only: it would cost every start of the application 30 ms

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"The model's file '{name}' is not valid YAML: {error}.", target="source") from None
    found = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise InvalidInput(f"The model's file '{name}' names no flavors.", target="source")
    return {str(flavor): {"data": _texts(data)} for flavor, data in found.items()}


def _texts(data: Any) -> dict[str, str]:
    """A flavor's fields as ARM has them: texts only."""
    if not isinstance(data, dict):
        return {}
    return {
        str(key): value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for key, value in data.items()
    }
