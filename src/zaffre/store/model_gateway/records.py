"""What is read of the gateway's tables, as structs. Times are milliseconds."""

from __future__ import annotations

import msgspec


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """`masked` is what may be shown of its values; those lie in the vault."""

    pk: int
    id: str
    name: str
    provider: str | None
    masked: dict[str, str]
    auth: dict[str, str]
    created_by: str
    created_at: int
    modified_by: str
    modified_at: int


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a provider; `secret_id` is None where its secret was deleted."""

    pk: int
    id: str
    name: str
    secret_id: str | None
    secret_name: str | None
    provider: str
    model: str
    created_by: str
    created_at: int
    modified_by: str
    modified_at: int


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """A model behind an endpoint. `position` orders those that are fallen back to."""

    id: str
    endpoint_id: str
    model: Model
    linkage: str
    weight: float
    position: int | None
    created_by: str
    created_at: int


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """`max_attempts` is how many models are fallen back to at most; all, where nothing is said."""

    strategy: str | None = None
    max_attempts: int | None = None


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`experiment_id` is where the traces of what it was asked go."""

    pk: int
    id: str
    name: str
    routing: str | None
    fallback: Fallback | None
    experiment_id: str | None
    usage_tracking: bool
    mappings: list[Mapping]
    tags: dict[str, str]
    created_by: str
    created_at: int
    modified_by: str
    modified_at: int


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """Something of MLflow's that asks an endpoint. `display_name` is what a scorer is called."""

    endpoint_id: str
    resource_type: str
    resource_id: str
    display_name: str | None
    created_by: str
    created_at: int
    modified_by: str
    modified_at: int
