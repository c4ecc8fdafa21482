"""Computes of somebody else, attached by name: kept as they are described, with their secrets in the vault."""

from __future__ import annotations

from typing import Any

import msgspec

from zaffre.errors import InvalidInput
from zaffre.services.kinds.base import Document, check

ATTACHED = (
    "Kubernetes", "VirtualMachine", "SynapseSpark", "Databricks", "AKS", "HDInsight", "DataFactory", "DataLakeAnalytics",
)  # fmt: skip
_WITHOUT_RESOURCE = ("Databricks", "DataFactory", "DataLakeAnalytics")


class _Account(msgspec.Struct, rename="camel", kw_only=True):
    username: str | None = None
    password: str | None = None
    public_key_data: str | None = None
    private_key_data: str | None = None


class _Kubernetes(msgspec.Struct, rename="camel", kw_only=True):
    namespace: str | None = None
    default_instance_type: str | None = None
    instance_types: dict[str, Any] | None = None
    extension_principal_id: str | None = None
    extension_instance_release_train: str | None = None
    vc_name: str | None = None
    relay_connection_string: str | None = None
    service_bus_connection_string: str | None = None


class _Machine(msgspec.Struct, rename="camel", kw_only=True):
    address: str | None = None
    ssh_port: int | None = None
    virtual_machine_size: str | None = None
    administrator_account: _Account | None = None


class _Spark(msgspec.Struct, rename="camel", kw_only=True):
    node_count: int | None = None
    node_size: str | None = None
    node_size_family: str | None = None
    spark_version: str | None = None
    pool_name: str | None = None
    auto_scale_properties: dict[str, Any] | None = None
    auto_pause_properties: dict[str, Any] | None = None


class _Databricks(msgspec.Struct, rename="camel", kw_only=True):
    workspace_url: str | None = None
    databricks_access_token: str | None = None


class _Anything(msgspec.Struct, kw_only=True):
    pass


_FORMS: dict[str, type[msgspec.Struct]] = {
    "Kubernetes": _Kubernetes,
    "VirtualMachine": _Machine,
    "HDInsight": _Machine,
    "SynapseSpark": _Spark,
    "Databricks": _Databricks,
}

# Where secrets lie in the properties of a compute of whatever type.
_SECRETS = (
    ("userAccountCredentials", "adminUserPassword"),
    ("administratorAccount", "password"),
    ("administratorAccount", "privateKeyData"),
    ("databricksAccessToken",),
    ("relayConnectionString",),
    ("serviceBusConnectionString",),
    ("sslConfiguration", "key"),
)


def check_attached(kind: str, properties: Document, inner: Document) -> Document:
    """The compute's own properties, checked. Raises InvalidInput that names the field."""
    check(inner, _FORMS.get(kind, _Anything), "properties.properties")
    if kind not in _WITHOUT_RESOURCE and not properties.get("resourceId"):
        raise InvalidInput(
            f"Field 'properties.resourceId': the id of the {kind} that is attached is missing.",
            code="InvalidField",
            target="properties.resourceId",
        )
    return {name: value for name, value in inner.items() if value is not None}


def secret_paths(inner: Document) -> tuple[dict[str, str], Document]:
    """The secrets by the way to them (`administratorAccount.password`), and the properties without them."""
    found: dict[str, str] = {}
    for path in _SECRETS:
        inner = _without(inner, path, ".".join(path), found)
    return found, inner


def with_secrets(inner: Document, secrets: dict[str, str]) -> Document:
    """The properties with their secrets put back, for who may see them."""
    result = dict(inner)
    for path, value in secrets.items():
        *above, last = path.split(".")
        at = result
        for name in above:
            at[name] = dict(at.get(name) or {})
            at = at[name]
        at[last] = value
    return result


def _without(inner: Document, path: tuple[str, ...], name: str, found: dict[str, str]) -> Document:
    value = inner.get(path[0])
    if len(path) > 1:
        return {**inner, path[0]: _without(value, path[1:], name, found)} if isinstance(value, dict) else inner
    if not isinstance(value, str) or not value:
        return inner
    found[name] = value
    return {key: other for key, other in inner.items() if key != path[0]}
