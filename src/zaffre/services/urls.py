"""Addresses that point to ourselves are kept without scheme and host, so that a server may move."""

from __future__ import annotations

import re

_OURS = re.compile(
    r"https?://[^/]+(?P<path>/(?:[a-z0-9]{3,24}\.blob\.core\.windows\.net|azureml-blobstore-[0-9a-f-]{36})/.*)",
    re.DOTALL,
)


def inward(url: str) -> str:
    """`https://host:port/zf….blob.core.windows.net/c/p` as `/zf….blob.core.windows.net/c/p`; any other text as it is."""
    match = _OURS.fullmatch(url)
    return match["path"].partition("?")[0] if match else url


def outward(text: str, address: str) -> str:
    """The reverse of `inward`, under the address the client uses."""
    return f"{address}{text}" if text.startswith("/") else text
