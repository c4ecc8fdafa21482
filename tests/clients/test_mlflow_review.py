"""Label schemas and review queues by MLflow's own client, and what is refused when they are asked otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mlflow_flow import flow
from tests.support.mlflow_server import OWNER, MlflowServer
from tests.support.zaffre_server import ZaffreServer

SCRIPT = Path(__file__).parent / "scripts" / "mlflow_review.py"


@pytest.mark.parametrize("which", ["installed", "newest"])
def test_reviews_from_the_question_to_the_answer(
    client_environment: ZaffreServer, request: pytest.FixtureRequest, which: str
) -> None:
    python = Path(sys.executable) if which == "installed" else request.getfixturevalue("newest_mlflow")
    uri = client_environment.variables["MLFLOW_TRACKING_URI"]
    found = flow(python, client_environment, f"review-{which}", uri, script=SCRIPT)
    assert which == "installed" or tuple(map(int, found["version"].split(".")[:2])) >= (3, 17)
    _check_questions(found["questions"])
    _check_queues(found["queues"])


def _check_questions(found: dict[str, Any]) -> None:
    assert found["schemas"] == ["Feedback", "kind", "right?", "score", "words"]
    assert found["types"] == {"right?": "feedback", "kind": "feedback", "score": "feedback", "words": "expectation"}
    assert found["default"] == ["Feedback", "feedback", "Share any feedback on this trace."]
    assert found["changed"] == ["kinds", True, ["a"], "about kind"]
    _refused(found["same"], "RESOURCE_ALREADY_EXISTS", "Label schema with name 'score' already exists")
    _refused(found["kept"], "INVALID_PARAMETER_VALUE", "existing: InputCategorical, got: InputText")
    _refused(found["protected"], "INVALID_PARAMETER_VALUE", "default question cannot be deleted")
    _refused(found["gone"], "RESOURCE_DOES_NOT_EXIST", "not found")


def _check_queues(found: dict[str, Any]) -> None:
    assert found["mine"] == ["ann@example.org", "user", ["ann@example.org"], [], "ann@example.org"]
    assert found["team"] == ["Team", "custom", ["ann@example.org", "bob"], True]
    assert found["owner"]
    assert found["added"] and found["again"] and found["pending"] and found["left"]
    assert found["done"] == ["complete", "bob", True]
    assert found["reopened"] == ["pending", None, None]
    assert found["changed"] == ["team B", ["cid"], True, "D"]
    assert found["listed"] == {"BOB": [], "cid": ["team B"], "ann@example.org": ["ann@example.org"]}
    assert found["all"] == ["team B"]
    _refused(found["locked"], "INVALID_PARAMETER_VALUE", "locked once items are assigned")
    _refused(found["missing"], "RESOURCE_DOES_NOT_EXIST", "Cannot attach trace(s) ['tr-none']")
    _refused(found["fixed"], "INVALID_PARAMETER_VALUE", "reserved queue name")
    _refused(found["gone"], "RESOURCE_DOES_NOT_EXIST", "not found")


def _refused(found: list[str], code: str, words: str) -> None:
    assert found[0] == code and words in found[1], found


# ---- what no client library sends
@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


def ask(house: MlflowServer, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    return house.ask(method, path, body, version="3.0")


NEW_SCHEMA = {"experiment_id": "0", "name": "q", "type": "FEEDBACK", "input": {"text": {}}}
NEW_QUEUE = {"experiment_id": "0", "name": "q", "queue_type": "CUSTOM"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "Missing value for required parameter 'name'"),
        ({"name": "n" * 251}, "at most 250"),
        ({"name": " feedBACK "}, "is reserved"),
        ({"type": 0}, "`type` must be one of FEEDBACK, EXPECTATION"),
        ({"type": "LABEL_SCHEMA_TYPE_UNSPECIFIED"}, "`type` must be one of FEEDBACK, EXPECTATION"),
        ({"type": 3}, "`type` must be one of FEEDBACK, EXPECTATION"),
        ({"instruction": "i" * 1001}, "at most 1000"),
        ({"enable_comment": "perhaps"}, "enable_comment"),
        ({"input": {}}, "empty oneof"),
        ({"input": {"text": {}, "numeric": {}}}, "exactly one of"),
        ({"input": {"text": {"max_length": 0}}}, "must be at least 1"),
        ({"input": {"text": {"max_length": 2**63}}}, "max_length"),
        ({"input": {"numeric": {"min_value": 2, "max_value": 2}}}, "strictly less than"),
        ({"input": {"numeric": {"min_value": "-Infinity"}}}, "finite"),
        ({"input": {"numeric": {"min_value": "NaN"}}}, "finite"),
        ({"input": {"numeric": {"min_value": "much"}}}, "input.numeric.min_value"),
        ({"input": {"pass_fail": {"positive_label": "a", "negative_label": "a"}}}, "must be distinct"),
        ({"input": {"pass_fail": {"positive_label": "a"}}}, "negative_label"),
        ({"input": {"categorical": {"options": []}}}, "non-empty list"),
        ({"input": {"categorical": {"options": ["a", "a"]}}}, "deduplicated"),
        ({"input": {"categorical": {"options": ["a", ""]}}}, "non-empty"),
        ({"input": {"categorical": {"options": ["a" * 65]}}}, "at most 64"),
        ({"input": {"categorical": {"options": list("abcdefghijk")}}}, "at most 10"),
    ],
)
def test_questions_that_cannot_be_asked(house: MlflowServer, change: dict[str, Any], words: str) -> None:
    status, told = ask(house, "POST", "mlflow/label-schemas/create", {**NEW_SCHEMA, **change})
    assert status == 400 and told["error_code"] == "INVALID_PARAMETER_VALUE" and words in told["message"], told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"experiment_id": ""}, "Missing value for required parameter 'experiment_id'"),
        ({"name": " "}, "non-empty"),
        ({"queue_type": "TEAM"}, "`queue_type` must be one of USER, CUSTOM"),
        ({"users": list("abcdefghijk")}, "at most 10 assigned users"),
        ({"users": ["u" * 251]}, "at most 250"),
        ({"users": "ann"}, "users"),
        ({"schema_ids": ["ls-none"]}, "Label schema id(s) ['ls-none'] not found for experiment '0'"),
        ({"queue_type": "USER", "users": ["other"]}, "exactly one assigned user equal to its name"),
        ({"queue_type": 1, "schema_ids": ["ls-none"]}, "cannot have explicitly-attached schemas"),
    ],
)
def test_queues_there_cannot_be(house: MlflowServer, change: dict[str, Any], words: str) -> None:
    status, told = ask(house, "POST", "mlflow/review-queues/create", {**NEW_QUEUE, **change})
    assert status == 400 and told["error_code"] == "INVALID_PARAMETER_VALUE" and words in told["message"], told
    assert ask(house, "GET", "mlflow/review-queues/list?experiment_id=0&user=other")[1]["review_queues"] == []


def test_what_is_not_there_or_not_meant(house: MlflowServer) -> None:
    for path in (
        "label-schemas/get?schema_id=ls-none",
        "label-schemas/get-by-name?experiment_id=0&name=none",
        "label-schemas/list?experiment_id=none",
        "review-queues/get?queue_id=rq-none",
        "review-queues/get-by-name?experiment_id=0&name=none",
        "review-queues/items/list?queue_id=rq-none",
    ):
        status, told = ask(house, "GET", f"mlflow/{path}")
        assert (status, told["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST"), path
    for path in (
        "label-schemas/list?experiment_id=0&max_results=0",
        "label-schemas/list?experiment_id=0&page_token=none",
        "review-queues/list?experiment_id=0&max_results=50001",
        "review-queues/list",
        "review-queues/items/list?queue_id=rq-none&status=LATER",
    ):
        status, told = ask(house, "GET", f"mlflow/{path}")
        assert (status, told["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), path


def test_whose_word_counts(house: MlflowServer) -> None:
    """Who owns a queue is who made it, whatever the client says; who has looked at an item is the caller, if nobody is named."""
    _, made = ask(house, "POST", "mlflow/review-queues/create", {**NEW_QUEUE, "name": "own", "created_by": "else"})
    queue = made["review_queue"]
    assert queue["created_by"] == OWNER.name
    info = {
        "trace_id": "tr-own",
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
        "state": "OK",
    }
    assert ask(house, "POST", "mlflow/traces", {"trace": {"trace_info": info}})[0] == 200
    named = {"queue_id": queue["queue_id"], "item_ids": [" tr-own ", "tr-own"]}
    _, added = ask(house, "POST", "mlflow/review-queues/items/add", {**named, "item_type": 1})
    assert [one["item_id"] for one in added["items"]] == ["tr-own"]

    def say(**words: Any) -> tuple[int, Any]:
        asked = {"queue_id": queue["queue_id"], "item_id": "tr-own", **words}
        return ask(house, "POST", "mlflow/review-queues/items/set-status", asked)

    assert say(status="COMPLETE")[1]["item"]["completed_by"] == OWNER.name
    assert say(status="COMPLETE", completed_by="late")[1]["item"]["completed_by"] == OWNER.name
    assert say(status=3, completed_by="Bob")[1]["item"]["completed_by"] == "bob"
    assert say(status="PENDING", completed_by="Bob")[0] == say(status="COMPLETE", completed_by=" ")[0] == 400
    assert say(status="REVIEW_STATUS_UNSPECIFIED")[0] == 400
    assert say(status="COMPLETE", item_id="tr-none")[1]["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert ask(house, "GET", "mlflow/review-queues/list?experiment_id=0&item_id=tr-own")[1]["review_queues"] == [queue]
