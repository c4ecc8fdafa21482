"""Where a request to storage points: account, container and blob.

Three forms: `/<account>.blob.core.windows.net/<container>/<blob>`; `/azureml-blobstore-<workspace id>/<blob>`, which is
what the SDK makes of the first when it joins a relative path to it and loses the account (wire.md §7.2); and, as Azure
itself has it, the account in the host's name: `<account>.blob.<anything>`, `/<container>/<blob>`.
"""

from __future__ import annotations

import re

import msgspec

from zaffre.gateway.routes import decode_part
from zaffre.services.workspaces import STORAGE_SUFFIX

_ACCOUNT = re.compile(rf"([a-z0-9-]+){re.escape(STORAGE_SUFFIX)}", re.IGNORECASE)
_SHORT = re.compile(r"azureml-blobstore-([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_HOST = re.compile(r"(zf[0-9a-f]{20})\.blob\.(.+)", re.IGNORECASE)


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """`container` and `blob` are empty where the path ends before them. Each was decoded once, no more.

    `in_host`: the account is in the host's name, so that the path begins with the container.
    """

    account: str
    container: str
    blob: str
    in_host: bool = False


def owns(first: str, host: str) -> bool:
    """Whether a request to this host, whose path's first part is this, still encoded, is for storage."""
    return _ACCOUNT.fullmatch(first) is not None or _SHORT.fullmatch(first) is not None or host_of(host) is not None


def host_of(host: str) -> str | None:
    """The account that a host's name begins with."""
    match = _HOST.fullmatch(host)
    return match[1].lower() if match else None


def base_host(host: str) -> str:
    """The host without the account: `zf….blob.localhost:8443` is `localhost:8443`."""
    match = _HOST.fullmatch(host)
    return match[2] if match else host


def parse(raw_path: str, host: str = "") -> Address:
    """Raises InvalidInput for what is not UTF-8 or holds a NUL."""
    first, _, rest = raw_path.removeprefix("/").partition("/")
    short = _SHORT.fullmatch(first)
    if _ACCOUNT.fullmatch(first):
        return within(first[: -len(STORAGE_SUFFIX)].lower(), rest)
    account = host_of(host)
    if account is not None:
        return msgspec.structs.replace(within(account, raw_path.removeprefix("/")), in_host=True)
    assert short is not None, "`owns` said so"
    return Address(account=account_of(short[1]), container=first, blob=decode_part(rest))


def within(account: str, raw_path: str) -> Address:
    """What a path below an account points to."""
    container, _, blob = raw_path.partition("/")
    return Address(account=account, container=decode_part(container), blob=decode_part(blob))


def account_of(workspace_id: str) -> str:
    """The account of a workspace, as `Workspace.account` makes it."""
    return "zf" + workspace_id.replace("-", "")[:20]
