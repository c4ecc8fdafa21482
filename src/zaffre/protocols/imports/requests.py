"""What `zaffre import` sends: MLflow's entities, each whole, under MLflow's own names."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=500)]
Key = Annotated[str, Meta(min_length=1, max_length=255)]
Value = Annotated[str, Meta(max_length=100_000)]
Words = Annotated[str, Meta(max_length=100_000)]
Version = Annotated[str, Meta(min_length=1, max_length=18, pattern=r"^[1-9][0-9]*\Z")]
ModelId = Annotated[str, Meta(max_length=64, pattern=r"^m-[0-9a-f]{32}\Z")]
Time = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Experiment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Id
    name: Name
    tags: dict[Key, Value] = {}
    creation_time: Time | None = None
    last_update_time: Time | None = None


class Run(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Id
    experiment_id: Id
    status: str
    name: Annotated[str, Meta(max_length=250)] = ""
    user: Annotated[str, Meta(max_length=256)] = ""
    start_time: Time | None = None
    end_time: Time | None = None
    tags: dict[Key, Value] = {}
    params: dict[Key, Value] = {}


class LoggedModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model_id: ModelId
    experiment_id: Id
    name: Name
    status: str
    status_message: Words | None = None
    model_type: Annotated[str, Meta(max_length=500)] | None = None
    source_run_id: Id | None = None
    creation_timestamp_ms: Time | None = None
    last_updated_timestamp_ms: Time | None = None
    tags: dict[Key, Value] = {}
    params: dict[Key, Value] = {}


class RegisteredModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    description: Words | None = None
    creation_timestamp: Time | None = None
    last_updated_timestamp: Time | None = None
    tags: dict[Key, Value] = {}
    aliases: dict[Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[\w\-]+\Z")], Version] = {}


class ModelVersion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    version: Version
    source: Annotated[str, Meta(min_length=1, max_length=2048)]
    run_id: Id | None = None
    run_link: Annotated[str, Meta(max_length=500)] | None = None
    model_id: ModelId | None = None
    description: Words | None = None
    current_stage: str = "None"
    user_id: Annotated[str, Meta(max_length=256)] = ""
    creation_timestamp: Time | None = None
    last_updated_timestamp: Time | None = None
    tags: dict[Key, Value] = {}
