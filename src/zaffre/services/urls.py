"""Addresses that point to ourselves are kept without scheme and host, so that a server may move."""

from __future__ import annotations

import re

_OURS = re.compile(
    r"(?:https?://[^/]+)?/(?:(?P<account>[a-z0-9]{3,24})\.blob\.core\.windows\.net/)?"
    r"(?P<container>[^/?#]+)(?P<path>/[^?#]*)?(?:[?#].*)?",
    re.DOTALL,
)
_BLOB_STORE = re.compile(r"azureml-blobstore-(?P<id>[0-9a-f-]{36})")
STORAGE_SUFFIX = ".blob.core.windows.net"


def inward(url: str) -> str:
    """`https://host:port/zf….blob.core.windows.net/c/p` as `/zf….blob.core.windows.net/c/p`; any other text as it is.

    The SDK's join of an address loses the account (wire.md §7.2); the workspace's own container tells it again.
    """
    match = _OURS.fullmatch(url)
    if match is None:
        return url
    account, store = match["account"], _BLOB_STORE.fullmatch(match["container"])
    if account is None and store is not None:
        account = account_of(store["id"])
    if account is None:
        return url
    return f"/{account}{STORAGE_SUFFIX}/{match['container']}{match['path'] or ''}"


def outward(text: str, address: str) -> str:
    """The reverse of `inward`, under the address the client uses."""
    return f"{address}{text}" if text.startswith("/") else text


def account_of(workspace: str) -> str:
    """The storage account of the workspace with that id, one a workspace."""
    return "zf" + workspace.replace("-", "")[:20]
