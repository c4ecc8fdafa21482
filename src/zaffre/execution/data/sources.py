"""Where data outside this server lies and with which credential, decided and typed. Lives in memory only: it holds secrets."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from zaffre.execution.errors import StoreError


class FolderSource(msgspec.Struct, frozen=True, kw_only=True, tag="folder"):
    """A folder of this machine: `path`, which must stay below `root`, one of those the operator named."""

    root: str
    path: str


class BucketSource(msgspec.Struct, frozen=True, kw_only=True, tag="bucket"):
    """A bucket of S3 or of a server that speaks it. `endpoint` is a whole address, None for AWS itself.

    Without a secret the requests are unsigned.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: str | None = None


class AzureSource(msgspec.Struct, frozen=True, kw_only=True, tag="azure"):
    """A container of Azure Storage (Blob, Gen2 or OneLake). `endpoint` is the account's whole address.

    At most one of key, SAS and client secret is set; without one the requests are anonymous. `prefix` is the part of the
    container the datastore stands for.
    """

    account: str
    container: str
    endpoint: str
    prefix: str = ""
    key: str | None = None
    sas: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    tenant_id: str | None = None
    authority: str | None = None


Source = FolderSource | BucketSource | AzureSource


class Found(NamedTuple):
    """One file of a store: its path in it, '/'-separated, and its bytes; when it changed, in milliseconds since 1970."""

    path: str
    size: int
    modified: int = 0
    etag: str = ""


def check_path(path: str, name: str) -> None:
    """Raise StoreError for a path that could lead out of the datastore `name`, or that not every store can keep."""
    if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path:
        raise StoreError(
            f"'{path[:200]}' is no plain path below datastore '{name}': it has an empty part, '.' or '..'."
        )
