"""What `zaffre import` sends: MLflow's entities, each whole, under MLflow's own names."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=500)]
Key = Annotated[str, Meta(min_length=1, max_length=255)]
Value = Annotated[str, Meta(max_length=100_000)]
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
