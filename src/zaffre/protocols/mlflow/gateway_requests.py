"""What MLflow's clients ask about its AI gateway, as structs. Who made or changed something is never the client's word."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Word = str | int
"""Of an enumeration: its name or, as protobuf allows it, its number."""
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class CreateSecret(Struct, frozen=True):
    secret_name: str = ""
    secret_value: dict[str, str] = {}
    provider: str = ""
    auth_config: dict[str, str] = {}


class SecretId(Struct, frozen=True):
    secret_id: str = ""


class UpdateSecret(Struct, frozen=True):
    """Maps that are empty leave what is there."""

    secret_id: str = ""
    secret_value: dict[str, str] = {}
    auth_config: dict[str, str] = {}


class OfProvider(Struct, frozen=True):
    provider: str = ""
    secret_id: str = ""


class CreateModel(Struct, frozen=True):
    name: str = ""
    secret_id: str = ""
    provider: str = ""
    model_name: str = ""


class ModelId(Struct, frozen=True):
    model_definition_id: str = ""


class UpdateModel(Struct, frozen=True):
    model_definition_id: str = ""
    name: str = ""
    secret_id: str = ""
    provider: str = ""
    model_name: str = ""


class ModelConfig(Struct, frozen=True):
    model_definition_id: str = ""
    linkage_type: Word = 0
    weight: float = 1.0
    fallback_order: Int32 | None = None


class FallbackConfig(Struct, frozen=True):
    strategy: Word = 0
    max_attempts: Int32 | None = None


class EndpointFields(Struct, frozen=True):
    """Of a new endpoint, and of one that is to be changed, which has an id already."""

    endpoint_id: str = ""
    name: str = ""
    model_configs: list[ModelConfig] = []
    routing_strategy: Word = 0
    fallback_config: FallbackConfig | None = None
    experiment_id: str = ""
    usage_tracking: bool | None = None


class EndpointName(Struct, frozen=True):
    endpoint_id: str = ""
    name: str = ""


class Attach(Struct, frozen=True):
    endpoint_id: str = ""
    model_config: ModelConfig | None = None


class Detach(Struct, frozen=True):
    endpoint_id: str = ""
    model_definition_id: str = ""


class Tag(Struct, frozen=True):
    endpoint_id: str = ""
    key: str = ""
    value: str = ""


class Binding(Struct, frozen=True):
    endpoint_id: str = ""
    resource_type: str = ""
    resource_id: str = ""
