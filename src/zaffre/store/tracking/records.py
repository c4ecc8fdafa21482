"""What tracking's tables hold, as values the services pass around."""

from __future__ import annotations

from typing import Any

import msgspec


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """`artifact_location` is set only where the user gave one. `lifecycle` is `active` or `deleted`."""

    pk: int
    scope: str
    id: str
    name: str
    artifact_location: str | None
    lifecycle: str
    created_at: int
    modified_at: int
    tags: dict[str, str] = {}


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One logged value. `dataset` is (name, digest) where it was measured on a known one."""

    key: str
    value: float
    timestamp: int
    step: int = 0
    model_id: str = ""
    dataset: tuple[str, str] | None = None


class PlainPoint(msgspec.Struct, frozen=True, gc=False):
    """A point with nothing but a finite value: what nearly all of a history is. Its JSON is what MLflow's clients read."""

    key: str
    value: float
    timestamp: int
    step: int


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Something a run read (`input`) or made (`output`). `target` is a model's id or a dataset's `name@digest`.

    `step` is the step at which a model was made; for what was read, its place among that. A dataset's name, digest and
    context (what the run used it for) stand in `detail`, too.
    """

    direction: str
    kind: str
    target: str
    step: int = 0
    detail: dict[str, Any] = {}
    name: str | None = None
    digest: str | None = None
    context: str | None = None


class DatasetSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset that runs of an experiment read, and what for."""

    experiment_id: str
    name: str
    digest: str
    context: str | None


class RunHead(msgspec.Struct, frozen=True, kw_only=True):
    """One run without what was logged to it. `status` is in Azure ML's words; times are milliseconds."""

    pk: int
    scope: str
    id: str
    experiment: int
    experiment_id: str
    experiment_name: str
    experiment_location: str | None
    origin: str
    status: str
    display_name: str
    description: str | None
    hidden: bool
    lifecycle: str
    parent: str | None
    root: str
    user: str
    artifact_uri: str | None
    properties: dict[str, str]
    error: dict[str, Any] | None
    created_at: int
    started_at: int | None
    ended_at: int | None
    ordered_at: int
    modified_at: int

    @property
    def archived(self) -> bool:
        """Out of the lists: archived by ARM's clients, or deleted by MLflow's, which may be restored."""
        return self.hidden or self.lifecycle == "deleted"


class Found(msgspec.Struct, frozen=True):
    """What a write asks of a run first."""

    pk: int
    experiment: int
    lifecycle: str
    origin: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run with its tags, params, the newest value of each metric, and its links."""

    head: RunHead
    tags: dict[str, str]
    params: dict[str, str]
    metrics: list[Point]
    links: list[Link]


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to make a run. Its times follow from the transaction's own and `started_at`."""

    scope: str
    id: str
    experiment: int
    origin: str
    status: str
    display_name: str
    user: str
    description: str | None = None
    hidden: bool = False
    parent: str | None = None
    root: str | None = None
    artifact_uri: str | None = None
    properties: dict[str, str] = {}
    started_at: int | None = None
    tags: dict[str, str] = {}


class LoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as MLflow 3 logs it; `status` is MLflow's own word."""

    pk: int
    scope: str
    id: str
    experiment: int
    experiment_id: str
    experiment_location: str | None
    name: str
    status: str
    status_message: str | None
    model_type: str | None
    source_run: str | None
    lifecycle: str
    params: dict[str, str]
    tags: dict[str, str]
    created_at: int
    modified_at: int


class ModelPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of a logged model, with the run that measured it."""

    run_id: str
    point: Point
