"""What MLflow's clients ask about scorers and issues, as structs. Words and lengths are looked at by the services."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from zaffre.protocols.mlflow.requests import Limit

Version = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class OfExperiment(Struct, frozen=True):
    experiment_id: str = ""


class OfScorer(Struct, frozen=True):
    """`version`: the newest, or all of them, where it is not there."""

    experiment_id: str = ""
    name: str = ""
    version: Version | None = None


class RegisterScorer(Struct, frozen=True):
    experiment_id: str = ""
    name: str = ""
    serialized_scorer: str = ""


class OnlineConfig(Struct, frozen=True):
    experiment_id: str = ""
    name: str = ""
    sample_rate: float | None = None
    filter_string: str | None = None


class OnlineConfigs(Struct, frozen=True):
    scorer_ids: list[str] = []


class CreateIssue(Struct, frozen=True):
    experiment_id: str = ""
    name: str = ""
    description: str = ""
    status: str | None = None
    severity: str | None = None
    root_causes: list[str] = []
    source_run_id: str = ""
    created_by: str = ""
    categories: list[str] = []


class UpdateIssue(Struct, frozen=True):
    """Which one, the path says. A name or a description that is empty stays as it was."""

    name: str = ""
    description: str = ""
    status: str | None = None
    severity: str | None = None


class SearchIssues(Struct, frozen=True):
    experiment_id: str = ""
    filter_string: str | None = None
    max_results: Limit = 100
    page_token: str | None = None
    include_trace_count: bool = False
