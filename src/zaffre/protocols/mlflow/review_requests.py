"""What MLflow's clients ask about label schemas and review queues, as structs. Words and lengths are looked at by the services."""

from __future__ import annotations

from msgspec import Struct

from zaffre.protocols.mlflow.requests import Int64, Limit

Word = str | int
"""Of an enumeration: its name or, as protobuf allows it, its number."""


class PassFail(Struct, frozen=True):
    positive_label: str = ""
    negative_label: str = ""


class Categorical(Struct, frozen=True):
    options: list[str] = []
    multi_select: bool = False


class Numeric(Struct, frozen=True):
    min_value: float | None = None
    max_value: float | None = None


class Text(Struct, frozen=True):
    max_length: Int64 | None = None


class LabelInput(Struct, frozen=True):
    """Exactly one of them."""

    pass_fail: PassFail | None = None
    categorical: Categorical | None = None
    numeric: Numeric | None = None
    text: Text | None = None


class CreateLabelSchema(Struct, frozen=True):
    experiment_id: str = ""
    name: str = ""
    type: Word = 0
    input: LabelInput = LabelInput()
    instruction: str | None = None
    enable_comment: bool = False


class SchemaId(Struct, frozen=True):
    schema_id: str = ""


class NameIn(Struct, frozen=True):
    experiment_id: str = ""
    name: str = ""


class ListLabelSchemas(Struct, frozen=True):
    experiment_id: str = ""
    max_results: Limit = 100
    page_token: str | None = None


class UpdateLabelSchema(Struct, frozen=True):
    schema_id: str = ""
    name: str | None = None
    instruction: str | None = None
    enable_comment: bool | None = None
    input: LabelInput | None = None


class CreateReviewQueue(Struct, frozen=True):
    """Whose it is, is never the client's word: `created_by` is passed over, as MLflow does it."""

    experiment_id: str = ""
    name: str = ""
    queue_type: Word = 0
    users: list[str] = []
    schema_ids: list[str] = []


class UserQueue(Struct, frozen=True):
    experiment_id: str = ""
    user: str = ""


class QueueId(Struct, frozen=True):
    queue_id: str = ""


class ListReviewQueues(Struct, frozen=True):
    experiment_id: str = ""
    user: str | None = None
    item_id: str | None = None
    max_results: Limit = 1000
    page_token: str | None = None


class UpdateReviewQueue(Struct, frozen=True):
    """A list that is empty clears; whether it is meant at all is said beside it."""

    queue_id: str = ""
    update_users: bool = False
    users: list[str] = []
    update_schema_ids: bool = False
    schema_ids: list[str] = []
    name: str | None = None
    new_owner: str | None = None


class AddItems(Struct, frozen=True):
    queue_id: str = ""
    item_type: Word = 0
    item_ids: list[str] = []


class RemoveItems(Struct, frozen=True):
    queue_id: str = ""
    item_ids: list[str] = []


class ListItems(Struct, frozen=True):
    queue_id: str = ""
    status: Word = 0
    max_results: Limit = 1000
    page_token: str | None = None


class SetItemStatus(Struct, frozen=True):
    queue_id: str = ""
    item_id: str = ""
    status: Word = 0
    completed_by: str | None = None
