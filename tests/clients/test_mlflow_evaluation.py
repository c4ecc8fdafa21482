"""Evaluation datasets and `mlflow.genai.evaluate` by MLflow's own client, and what is refused when they are asked otherwise."""

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

SCRIPT = Path(__file__).parent / "scripts" / "mlflow_evaluation.py"


@pytest.mark.parametrize("which", ["installed", "newest"])
def test_an_agent_is_measured(client_environment: ZaffreServer, request: pytest.FixtureRequest, which: str) -> None:
    python = Path(sys.executable) if which == "installed" else request.getfixturevalue("newest_mlflow")
    name = f"evaluation-{which}"
    found = flow(python, client_environment, name, client_environment.variables["MLFLOW_TRACKING_URI"], script=SCRIPT)
    users = [one["tags"].pop("mlflow.user") for one in found["held"]]
    assert len(users) == 3
    assert found["held"] == [
        {"inputs": {"question": "2+2?"}, "outputs": "4", "expectations": {"answer": "4"}, "tags": {}},
        {
            "inputs": {"question": "3+3?"},
            "outputs": {},
            "expectations": {"answer": "7", "why": "half"},
            "tags": {"hard": "yes"},
        },
        {"inputs": {"question": "4+4?"}, "outputs": "no idea", "expectations": {}, "tags": {}},
    ]
    assert found["schema"] == {
        "inputs": {"question": "string"},
        "outputs": "string",
        "expectations": {"answer": "string", "why": "string"},
        "version": "1.0",
    }
    assert found["profile"] == {"num_records": 3} and found["sources"] == ["HUMAN", "HUMAN", "TRACE"]
    searched = found["searched"]
    assert searched["here"] == searched["tag"] == [f"{name} sums"]
    assert searched["there"] == [f"{name} empty", f"{name} sums"] == searched["order"][::-1]
    assert searched["like"] == [f"{name} empty"] and searched["tags"]["team"] == "b" and "v" not in searched["tags"]
    assert found["left"]
    assert found["metrics"] == {"right/mean": 0.5, "length/mean": 1.0} and found["by_dataset"] == {"right/mean": 0.5}
    assert found["assessed"] == [["length", 1], ["length", 1], ["right", False], ["right", True]]
    assert found["inputs"] == [f"{name} measured"] and found["deleted"] == [1, 2]
    assert found["missing"][0] == "RESOURCE_DOES_NOT_EXIST" and "not found" in found["missing"][1]


# ---- what no client library sends
@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def dataset(house: MlflowServer) -> str:
    status, answer = house.ask("POST", "mlflow/datasets/create", {"name": "d"}, version="3.0")
    assert status == 200
    return str(answer["dataset"]["dataset_id"])


@pytest.mark.parametrize(
    ("records", "field"),
    [
        ("", "records"),
        ("{", "records"),
        ("{}", "records"),
        ("[1]", "records[0]"),
        ('[{"inputs": {}}, {"inputs": []}]', "records[1].inputs"),
        ('[{"expectations": "x"}]', "records[0].expectations"),
        ('[{"tags": {"a": {}}}]', "records[0].tags"),
        ('[{"source": {"source_type": "GUESS"}}]', "records[0].source.source_type"),
        ('[{"source": {"source_type": "HUMAN", "source_data": [1]}}]', "records[0].source.source_data"),
        (r'[{"inputs": {"a": "\u0000"}}]', "NUL"),
        (r'[{"inputs": {"a": "\ud800"}}]', "half a character"),
        ("[" * 100_000, "records"),
    ],
)
def test_a_wrong_record_is_named_and_none_is_kept(house: MlflowServer, dataset: str, records: str, field: str) -> None:
    status, answer = house.ask("POST", f"mlflow/datasets/{dataset}/records", {"records": records}, version="3.0")
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert field in answer["message"], answer["message"]
    status, answer = house.ask("GET", f"mlflow/datasets/{dataset}/records", version="3.0")
    assert (status, answer) == (200, {"records": "[]"})


def test_numbers_that_json_has_not(house: MlflowServer) -> None:
    """A table of pandas has NaN where it has nothing; MLflow's client writes it as Python does."""
    _, made = house.ask("POST", "mlflow/datasets/create", {"name": "nan"}, version="3.0")
    path = f"mlflow/datasets/{made['dataset']['dataset_id']}/records"
    sent = json.dumps([{"inputs": {"a": float("nan"), "b": float("inf")}, "outputs": [1, "é"]}])
    assert house.ask("POST", path, {"records": sent}, version="3.0") == (200, {"inserted_count": 1, "updated_count": 0})
    _, answer = house.ask("GET", path, version="3.0")
    (record,) = json.loads(answer["records"])
    assert str(record["inputs"]) == "{'a': nan, 'b': inf}" and record["outputs"] == [1, "é"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "create", {"name": ""}, 400),
        ("POST", "create", {"name": "x" * 256}, 400),
        ("POST", "create", {"name": "x", "tags": "[]"}, 400),
        ("POST", "create", {"name": "x", "tags": "nonsense"}, 400),
        ("POST", "create", {"name": "x", "experiment_ids": ["none"]}, 404),
        ("POST", "search", {"max_results": 0}, 400),
        ("POST", "search", {"page_token": "x"}, 400),
        ("GET", "d-none", None, 404),
        ("GET", "d-none/records", None, 404),
        ("GET", "d-none/experiment-ids", None, 404),
        ("PATCH", "d-none/tags", {"tags": "{}"}, 404),
        ("DELETE", "d-none", None, 200),
        ("DELETE", "d-none/tags/a", None, 200),
    ],
)
def test_odd_requests(house: MlflowServer, method: str, path: str, body: dict[str, Any] | None, status: int) -> None:
    assert house.ask(method, f"mlflow/datasets/{path}", body, version="3.0")[0] == status
