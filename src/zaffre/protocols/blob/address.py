"""Where a request to storage points: account, container and blob, all in the path, since we have one host name.

Two forms: `/<account>.blob.core.windows.net/<container>/<blob>`, and `/azureml-blobstore-<workspace id>/<blob>`, which
is what the SDK makes of the first when it joins a relative path to it and loses the account (wire.md §7.2).
"""

from __future__ import annotations

import re

import msgspec

from zaffre.gateway.routes import decode_part
from zaffre.services.workspaces import STORAGE_SUFFIX

_ACCOUNT = re.compile(rf"([a-z0-9-]+){re.escape(STORAGE_SUFFIX)}", re.IGNORECASE)
_SHORT = re.compile(r"azureml-blobstore-([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """`container` and `blob` are empty where the path ends before them. Each was decoded once, no more."""

    account: str
    container: str
    blob: str


def owns(first: str) -> bool:
    """Whether a path whose first part is this, still encoded, is for storage."""
    return _ACCOUNT.fullmatch(first) is not None or _SHORT.fullmatch(first) is not None


def parse(raw_path: str) -> Address:
    """Raises InvalidInput for what is not UTF-8 or holds a NUL."""
    first, _, rest = raw_path.removeprefix("/").partition("/")
    short = _SHORT.fullmatch(first)
    if short is not None:
        return Address(account=account_of(short[1]), container=first, blob=decode_part(rest))
    container, _, blob = rest.partition("/")
    account = first[: -len(STORAGE_SUFFIX)].lower()
    return Address(account=account, container=decode_part(container), blob=decode_part(blob))


def account_of(workspace_id: str) -> str:
    """The account of a workspace, as `Workspace.account` makes it."""
    return "zf" + workspace_id.replace("-", "")[:20]
