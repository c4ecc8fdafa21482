"""Signed addresses of single blobs, at which whoever holds one fetches or writes the bytes by the Blob protocol."""

from __future__ import annotations

from urllib.parse import quote

from zaffre.services import sas
from zaffre.services.places import Place
from zaffre.services.workspaces import STORAGE_SUFFIX

READ, WRITE = "r", "rcw"


def signed_address(place: Place, key: str, *, permissions: str, expiry: int) -> str:
    """Path and query, without a host. `key` is the storage account's; `expiry` in milliseconds since 1970."""
    query = sas.service_sas(place.account, key, place.container, place.path, permissions=permissions, expiry=expiry)
    return f"/{place.account}{STORAGE_SUFFIX}/{place.container}/{quote(place.path)}?{query}"
