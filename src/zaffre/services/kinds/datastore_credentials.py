"""The credentials of a datastore: what each type holds, which type opens which datastore, and their secret taken apart."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import urlsplit

import msgspec

from zaffre.errors import InvalidInput
from zaffre.services.kinds.base import Document, check, spelled

S3, FILE = "s3", "file"
_SECRET = {
    "AccountKey": "key",
    "Sas": "sasToken",
    "ServicePrincipal": "clientSecret",
    "Certificate": "certificate",
}
_CREDENTIALS = ("None", *_SECRET)
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_TAKES = {
    "AzureBlob": _CREDENTIALS,
    "AzureFile": ("AccountKey", "Sas", "None"),
    "AzureDataLakeGen1": ("ServicePrincipal", "Certificate", "None"),
    "AzureDataLakeGen2": _CREDENTIALS,
    "OneLake": ("ServicePrincipal", "Certificate", "None"),
}


class Principal(msgspec.Struct, rename="camel", kw_only=True):
    credentials_type: str
    client_id: str
    tenant_id: str
    authority_url: str | None = None
    resource_url: str | None = None


class Certificate(Principal, rename="camel", kw_only=True):
    thumbprint: str


def secret_field(properties: Document) -> str | None:
    """The name of the one secret these credentials have."""
    return _SECRET.get(properties["credentials"]["credentialsType"])


def check_credentials(given: Document, kind: str) -> Document:
    """The credentials as they are kept, without their secret; `kind` is the type, or `s3`, or `file`. Raises InvalidInput."""
    credentials = dict(given.get("credentials") or {"credentialsType": "None"})
    where = "properties.credentials"
    type_ = credentials.get("credentialsType")
    if not isinstance(type_, str):
        raise wrong("credentials.credentialsType", f"expected one of {', '.join(_CREDENTIALS)}")
    credentials["credentialsType"] = type_ = spelled(type_, _CREDENTIALS, f"{where}.credentialsType")
    taken = {S3: ("AccountKey", "None"), FILE: ("None",)}.get(kind) or _TAKES[kind]
    if type_ not in taken:
        what = {S3: "S3 bucket", FILE: "local folder"}.get(kind, kind)
        raise wrong(
            "credentials.credentialsType", f"a datastore of type {what} takes {' or '.join(taken)}, not {type_}"
        )
    if type_ in ("ServicePrincipal", "Certificate"):
        check(credentials, Certificate if type_ == "Certificate" else Principal, where)
        for field in ("clientId", "tenantId"):
            if not _GUID.fullmatch(credentials[field]):
                raise wrong(f"credentials.{field}", f"'{credentials[field][:50]}'; expected a GUID")
        check_address(credentials.get("authorityUrl"), "credentials.authorityUrl")
    return credentials


def take_secrets(body: Document) -> tuple[dict[str, str], Document]:
    """The one secret that fits the credentials' type. Null is none: the SDK sends back what it got, which had none."""
    properties = body.get("properties")
    credentials = properties.get("credentials") if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(credentials, dict) or "secrets" not in credentials:
        return {}, body
    secrets = credentials["secrets"]
    rest = {name: value for name, value in credentials.items() if name != "secrets"}
    kept = {**body, "properties": {**properties, "credentials": rest}}
    if secrets is None:
        return {}, kept
    if not isinstance(secrets, dict):
        raise wrong("credentials.secrets", "expected an object")
    type_ = credentials.get("credentialsType")
    given = {
        name: value
        for name, value in secrets.items()
        if name not in ("secretsType", "expiresOn") and value not in (None, "")
    }
    expected = next((field for word, field in _SECRET.items() if str(type_).lower() == word.lower()), None)
    for name, value in given.items():
        if name != expected or not isinstance(value, str) or "\0" in value:
            raise wrong(
                f"credentials.secrets.{name}",
                f"credentials of type {str(type_)[:50]} take {expected or 'no secret'}, a text",
            )
    if (
        expected == "key"
        and str(properties.get("protocol") or "").lower() != S3
        and properties.get("datastoreType") != "S3"
    ):
        _check_key(given.get("key"))
    return given and {"secrets": msgspec.json.encode(given).decode()}, kept


def check_address(text: str | None, field: str) -> None:
    """A host, with a port or not, or a whole address without a user in it."""
    if not text:
        return
    if "://" in text:
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
            good = good and parts.port != 0
        except ValueError:
            good = False
    else:
        good = _HOST.fullmatch(text.partition("?")[0]) is not None
    if not good or "\0" in text:
        raise wrong(field, f"'{text[:100]}'; expected a host, or an address that begins with https://")


def wrong(field: str, text: str) -> InvalidInput:
    """The refusal of a field of the properties."""
    field = f"properties.{field}"
    return InvalidInput(f"Field '{field}': {text}.", code="InvalidField", target=field)


def _check_key(key: str | None) -> None:
    try:
        base64.b64decode(key or "", validate=True)
    except binascii.Error:
        raise wrong("credentials.secrets.key", "the key of a storage account is base64") from None
