"""Scorers and issues by MLflow's own client, and what is refused when they are asked otherwise."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mlflow_flow import flow
from tests.support.mlflow_server import MlflowServer
from tests.support.zaffre_server import ZaffreServer

SCRIPT = Path(__file__).parent / "scripts" / "mlflow_quality.py"
POLITE, VERY = "Is {{ outputs }} polite?", "Is {{ outputs }} polite? Very?"


@pytest.mark.parametrize("which", ["installed", "newest"])
def test_scorers_and_issues(client_environment: ZaffreServer, request: pytest.FixtureRequest, which: str) -> None:
    python = Path(sys.executable) if which == "installed" else request.getfixturevalue("newest_mlflow")
    uri = client_environment.variables["MLFLOW_TRACKING_URI"]
    found = flow(python, client_environment, f"quality-{which}", uri, script=SCRIPT)
    _check_scorers(found["scorers"])
    _check_issues(found["issues"])


def _check_scorers(found: dict[str, Any]) -> None:
    assert found["status"] == ["STOPPED", "STOPPED", "STOPPED"]
    assert found["listed"] == {"polite": "InstructionsJudge", "relevant": "RelevanceToQuery", "short": "Guidelines"}
    assert found["guidelines"] == ["be short"]
    assert found["versions"] == [[1, POLITE], [2, VERY]]
    assert (found["newest"], found["first"], found["then"]) == (VERY, POLITE, POLITE)
    assert found["left"] == ["relevant"]
    _refused(found["started"], "NOT_IMPLEMENTED", "no judges by itself")
    _refused(found["gateway"], "RESOURCE_DOES_NOT_EXIST", "GatewayEndpoint not found (name='mine')")
    _refused(found["code"], "INVALID_PARAMETER_VALUE", "arbitrary code execution")
    _refused(found["no version"], "RESOURCE_DOES_NOT_EXIST", "Scorer with name 'polite' and version 7 not found")
    _refused(found["none"], "RESOURCE_DOES_NOT_EXIST", "Scorer with name 'none' not found")
    _refused(found["gone"], "RESOURCE_DOES_NOT_EXIST", "Scorer with name 'polite' not found")


def _check_issues(found: dict[str, Any]) -> None:
    slow, plain = found["slow"], found["plain"]
    assert slow["severity"] == "high" and slow["status"] == "pending" and slow["source_run_id"] == found["run"]
    assert slow["root_causes"] == ["network", "größe"] and slow["categories"] == ["latency"]
    assert slow["created_by"] == "watch" and slow["last_updated_timestamp"] == slow["created_timestamp"] > 0
    optional = ("severity", "root_causes", "categories", "source_run_id", "created_by", "trace_count")
    assert {plain[field] for field in optional} == {None}
    assert found["same"]
    assert found["changed"] == ["resolved", "wrong answer", "it is wrong", None]
    assert found["counted"] == [["slow", 1], ["wrong answer", 2]]
    assert found["pages"] == [["slow"], ["wrong answer"], None]
    assert found["resolved"] == ["wrong answer"] and found["by run"] == ["slow"] and found["traces"] == 2
    _refused(found["none"], "RESOURCE_DOES_NOT_EXIST", "Issue with ID 'iss-none' not found")
    _refused(found["no run"], "RESOURCE_DOES_NOT_EXIST", "none")
    _refused(found["no field"], "INVALID_PARAMETER_VALUE", "name")


def _refused(found: list[str], code: str, words: str) -> None:
    assert found[0] == code and words in found[1], found


# ---- what no client library sends
@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


def ask(house: MlflowServer, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    return house.ask(method, f"mlflow/{path}", body, version="3.0")


NEW_SCORER = {"experiment_id": "0", "name": "s", "serialized_scorer": "{}"}
NEW_CONFIG = {"experiment_id": "0", "name": "s", "sample_rate": 0}
NEW_ISSUE = {"experiment_id": "0", "name": "i", "description": "d"}


@pytest.mark.parametrize(
    ("method", "path", "whole", "change", "words"),
    [
        ("POST", "scorers/register", NEW_SCORER, {"experiment_id": ""}, "required parameter 'experiment_id'"),
        ("POST", "scorers/register", NEW_SCORER, {"name": None}, "required parameter 'name'"),
        ("POST", "scorers/register", NEW_SCORER, {"name": " "}, "whitespace"),
        ("POST", "scorers/register", NEW_SCORER, {"serialized_scorer": {}}, "serialized_scorer"),
        ("POST", "scorers/register", NEW_SCORER, {"serialized_scorer": "nothing"}, "must be valid JSON"),
        ("POST", "scorers/register", NEW_SCORER, {"serialized_scorer": '{"call_source": "1"}'}, "Custom scorer"),
        ("PUT", "scorers/online-config", NEW_CONFIG, {"sample_rate": None}, "required parameter 'sample_rate'"),
        ("PUT", "scorers/online-config", NEW_CONFIG, {"sample_rate": "much"}, "sample_rate"),
        ("PUT", "scorers/online-config", NEW_CONFIG, {"sample_rate": "NaN"}, "sample_rate"),
        ("PUT", "scorers/online-config", NEW_CONFIG, {"sample_rate": 2}, "between 0.0 and 1.0"),
        ("PUT", "scorers/online-config", NEW_CONFIG, {"filter_string": 5}, "filter_string"),
        ("PUT", "scorers/online-config", NEW_CONFIG, {"filter_string": "what?"}, "filter"),
        ("DELETE", "scorers/delete", NEW_SCORER, {"version": 2**31}, "version"),
        ("POST", "issues", NEW_ISSUE, {"name": ""}, "required parameter 'name'"),
        ("POST", "issues", NEW_ISSUE, {"description": ""}, "required parameter 'description'"),
        ("POST", "issues", NEW_ISSUE, {"name": "n" * 251}, "maximum length of 250"),
        ("POST", "issues", NEW_ISSUE, {"created_by": "c" * 256}, "maximum length of 255"),
        ("POST", "issues", NEW_ISSUE, {"status": "open"}, "`status` must be one of pending, rejected, resolved"),
        (
            "POST",
            "issues",
            NEW_ISSUE,
            {"severity": "HIGH"},
            "`severity` must be one of not_an_issue, low, medium, high",
        ),
        ("POST", "issues", NEW_ISSUE, {"root_causes": [1]}, "root_causes[0]"),
        ("POST", "issues", NEW_ISSUE, {"categories": "c"}, "categories"),
        ("POST", "issues/search", {}, {"max_results": 0}, "max_results"),
        ("POST", "issues/search", {}, {"max_results": 50_001}, "max_results"),
        ("POST", "issues/search", {}, {"page_token": "none"}, "page_token"),
        ("POST", "issues/search", {}, {"filter_string": "status LIKE resolved"}, "filter"),
    ],
)
def test_what_cannot_be(
    house: MlflowServer, method: str, path: str, whole: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    status, told = ask(house, method, path, {**whole, **change})
    assert status == 400 and told["error_code"] == "INVALID_PARAMETER_VALUE" and words in told["message"], told
    assert ask(house, "POST", "issues/search", {})[1] == {"issues": [], "next_page_token": ""}
    assert ask(house, "GET", "scorers/list?experiment_id=0")[1] == {"scorers": []}


def test_what_is_not_there(house: MlflowServer) -> None:
    for method, path, body in (
        ("GET", "scorers/list?experiment_id=none", None),
        ("GET", "scorers/versions?experiment_id=0&name=none", None),
        ("GET", "scorers/get?experiment_id=0&name=none&version=1", None),
        ("DELETE", "scorers/delete", {"experiment_id": "0", "name": "none"}),
        ("PUT", "scorers/online-config", {**NEW_CONFIG, "name": "none", "sample_rate": 0.5}),
        ("POST", "issues", {**NEW_ISSUE, "experiment_id": "none"}),
        ("POST", "issues", {**NEW_ISSUE, "source_run_id": "none"}),
        ("GET", "issues/iss-none", None),
        ("PATCH", "issues/iss-none", {"issue_id": "iss-none", "status": "resolved"}),
    ):
        status, told = ask(house, method, path, body)
        assert (status, told["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST"), path
    assert ask(house, "GET", "scorers/online-configs")[0] == 400
    assert ask(house, "GET", "scorers/online-configs?scorer_ids=a&scorer_ids=b")[1] == {"configs": []}


def test_a_scorer_as_it_is_told(house: MlflowServer) -> None:
    """MLflow's message has a number for the experiment, which names it as well as its id does; a config has the id."""
    guid = house.ask("POST", "mlflow/experiments/create", {"name": "scorers"})[1]["experiment_id"]
    text = json.dumps({"name": "ü", "instructions_judge_pydantic_data": {"model": "openai:/m", "x": 1e400}})
    for experiment in ("0", guid):
        asked = {**NEW_SCORER, "experiment_id": experiment, "serialized_scorer": text}
        _, made = ask(house, "POST", "scorers/register", asked)
        assert (made["version"], made["experiment_id"], made["serialized_scorer"]) == (1, experiment, text)
        _, found = ask(house, "GET", f"scorers/get?experiment_id={experiment}&name=s")
        number = found["scorer"].pop("experiment_id")
        assert number == 0 if experiment == "0" else -(2**31) <= number < 0
        assert found["scorer"] == {
            "scorer_name": "s",
            "scorer_version": 1,
            "serialized_scorer": text,
            "creation_time": made["creation_time"],
            "scorer_id": made["scorer_id"],
        }
        config = {"experiment_id": str(number), "name": "s"}
        asked = {**config, "sample_rate": "0.0", "filter_string": "status = 'OK'"}
        _, kept = ask(house, "PUT", "scorers/online-config", asked)
        _, told = ask(house, "GET", f"scorers/online-configs?scorer_ids={made['scorer_id']}")
        assert told["configs"] == [kept["config"]]
        assert kept["config"]["experiment_id"] == experiment and kept["config"]["filter_string"] == "status = 'OK'"
        status, refusal = ask(house, "PUT", "scorers/online-config", {**config, "sample_rate": 0.5})
        assert (status, refusal["error_code"]) == (501, "NOT_IMPLEMENTED")
        assert ask(house, "GET", f"scorers/list?experiment_id={number}")[1]["scorers"][0]["experiment_id"] == number
        assert ask(house, "DELETE", "scorers/delete", config) == (200, {})
