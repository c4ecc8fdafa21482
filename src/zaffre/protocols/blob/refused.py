"""What Azure Blob has and this server has not, by name, with what to do instead.

Ignoring such a header or parameter would promise what is not done.
"""

from __future__ import annotations

from zaffre.errors import NotServed
from zaffre.gateway.call import Call

_LEASES = "This server has no leases: every write is atomic, and If-Match with an etag tells of others' changes."
_SNAPSHOTS = "This server keeps no snapshots and no versions of blobs; copy the blob to another name instead."
_TAGS = "This server has no index tags of blobs; use metadata (x-ms-meta-*), or tags of the asset."
_BLOCKS_ONLY = "This server has block blobs only; {} are not served. Append by committing more blocks."
_TIERS = "This server has one access tier, Hot."
_IMMUTABILITY = "This server has no immutability policies and no legal holds."
_KEYS = "This server has no keys or encryption scopes of the client's."

_COMPS = {
    "lease": _LEASES,
    "snapshot": _SNAPSHOTS,
    "undelete": "Deleted blobs cannot be brought back: this server has no soft delete.",
    "tags": _TAGS,
    "blobs": _TAGS,
    "appendblock": _BLOCKS_ONLY.format("append blobs"),
    "seal": _BLOCKS_ONLY.format("append blobs"),
    "page": _BLOCKS_ONLY.format("page blobs"),
    "pagelist": _BLOCKS_ONLY.format("page blobs"),
    "incrementalcopy": _BLOCKS_ONLY.format("page blobs"),
    "tier": _TIERS,
    "expiry": "Blobs do not expire on this server; delete them.",
    "query": "This server runs no queries inside blobs; download the blob.",
    "immutabilitypolicies": _IMMUTABILITY,
    "legalhold": _IMMUTABILITY,
    "acl": "This server has no public containers and no stored access policies.",
    "rename": "Containers cannot be renamed.",
    "stats": "This server has no secondary location.",
    "userdelegationkey": "This server has no user delegation keys; sign with the account's key, or use a bearer token.",
}
"""By the parameter `comp`."""

_HEADERS = {
    "x-ms-lease-id": _LEASES,
    "x-ms-source-lease-id": _LEASES,
    "x-ms-proposed-lease-id": _LEASES,
    "x-ms-tags": _TAGS,
    "x-ms-if-tags": _TAGS,
    "x-ms-source-if-tags": _TAGS,
    "x-ms-encryption-key": _KEYS,
    "x-ms-encryption-key-sha256": _KEYS,
    "x-ms-encryption-algorithm": _KEYS,
    "x-ms-encryption-scope": _KEYS,
    "x-ms-default-encryption-scope": _KEYS,
    "x-ms-content-crc64": "This server checks MD5 (Content-MD5), not CRC-64.",
    "x-ms-source-content-crc64": "This server checks MD5 (x-ms-source-content-md5), not CRC-64.",
    "x-ms-structured-body": "This server takes bodies as they are, not structured ones.",
    "x-ms-immutability-policy-until-date": _IMMUTABILITY,
    "x-ms-immutability-policy-mode": _IMMUTABILITY,
    "x-ms-legal-hold": _IMMUTABILITY,
    "x-ms-seal-blob": _BLOCKS_ONLY.format("append blobs"),
}


def check(call: Call) -> None:
    """Raise NotServed for headers and parameters of features that are not here."""
    for name, why in _HEADERS.items():
        if name in call.headers:
            raise NotServed(f"{why} Leave the header '{name}' out.")
    for name in ("snapshot", "versionid"):
        if call.query.get(name):
            raise NotServed(f"{_SNAPSHOTS} Leave '{name}' out.")
    if call.headers.get("x-ms-access-tier", "Hot").lower() != "hot":
        raise NotServed(_TIERS)


def kind(name: str) -> NotServed:
    """For a blob of another kind than block blobs."""
    return NotServed(_BLOCKS_ONLY.format("append blobs" if name == "AppendBlob" else "page blobs"))


def operation(call: Call, what: str, restype: str, comp: str) -> NotServed:
    """For an operation that no table has."""
    if comp in _COMPS:
        return NotServed(_COMPS[comp])
    asked = " and ".join(f"{name}={value}" for name, value in (("restype", restype), ("comp", comp)) if value)
    return NotServed(f"This server does not serve {call.method} of {what}{f' with {asked[:100]}' if asked else ''}.")
