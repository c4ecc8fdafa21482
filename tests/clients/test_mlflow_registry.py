"""MLflow's registry and logged models, as no client library has tidied the requests: renaming, and searching by datasets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.mlflow_server import MlflowServer
from zaffre.store import resources as rows


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


@pytest.fixture
def run(server: MlflowServer) -> str:
    _, answer = server.ask("POST", "mlflow/runs/create", {"experiment_id": "0"})
    return str(answer["run"]["info"]["run_id"])


def test_a_renamed_model_keeps_its_versions_and_everybody_sees_it(server: MlflowServer, run: str) -> None:
    for name in ("before", "taken"):
        assert server.ask("POST", "mlflow/registered-models/create", {"name": name})[0] == 200
    source = {"name": "before", "source": f"runs:/{run}/model", "run_id": run}
    assert server.ask("POST", "mlflow/model-versions/create", source)[0] == 200
    server.ask("POST", "mlflow/registered-models/alias", {"name": "before", "alias": "best", "version": "1"})

    def rename(new_name: str) -> tuple[int, Any]:
        return server.ask("POST", "mlflow/registered-models/rename", {"name": "before", "new_name": new_name})

    assert rename("taken")[0] == 400
    assert rename("no/path")[0] == 400
    assert rename("")[1]["message"].startswith("Missing value for required parameter 'new_name'")
    status, answer = rename("after")
    assert (status, answer["registered_model"]["name"]) == (200, "after")
    assert server.ask("GET", "mlflow/registered-models/get?name=before")[0] == 404
    _, answer = server.ask("GET", "mlflow/registered-models/alias?name=after&alias=best")
    assert (answer["model_version"]["name"], answer["model_version"]["source"]) == ("after", source["source"])
    versions = asyncio.run(_arm_versions(server, "after"))
    assert [row.name for row in versions] == ["1"]
    assert asyncio.run(_arm_versions(server, "before")) == []
    again = server.ask("POST", "mlflow/model-versions/create", {**source, "name": "after"})
    assert again[1]["model_version"]["version"] == "2", "numbers go on"


def test_logged_models_are_found_by_the_datasets_they_were_measured_on(server: MlflowServer, run: str) -> None:
    _, found = server.ask("GET", f"mlflow/runs/get?run_id={run}")
    experiment = found["run"]["info"]["experiment_id"]
    models = [
        server.ask("POST", "mlflow/logged-models", {"experiment_id": experiment, "name": name})[1]["model"]["info"][
            "model_id"
        ]
        for name in ("a", "b", "c")
    ]
    for model, dataset, digest, value in (
        (models[0], "train", "1", 0.1), (models[0], "test", "1", 0.9), (models[1], "train", "2", 0.5), (models[1], "test", "1", 0.2),
    ):  # fmt: skip
        point = {"run_id": run, "key": "acc", "value": value, "timestamp": 1, "model_id": model}
        assert (
            server.ask("POST", "mlflow/runs/log-metric", {**point, "dataset_name": dataset, "dataset_digest": digest})[
                0
            ]
            == 200
        )

    def names(**asked: Any) -> list[str]:
        status, answer = server.ask("POST", "mlflow/logged-models/search", {"experiment_ids": [experiment], **asked})
        assert status == 200, answer
        return [one["info"]["name"] for one in answer["models"]]

    train, test = {"dataset_name": "train"}, {"dataset_name": "test"}
    assert names() == ["c", "b", "a"]
    assert names(datasets=[train]) == ["b", "a"]
    assert names(datasets=[{**train, "dataset_digest": "1"}]) == ["a"]
    assert names(datasets=[{**train, "dataset_digest": "7"}]) == []
    assert names(filter="metrics.acc > 0.4", datasets=[test]) == ["a"]
    by_acc = {"field_name": "metrics.acc", "ascending": True}
    assert names(order_by=[{**by_acc, **test}]) == ["b", "a", "c"]
    assert names(order_by=[{**by_acc, **train}]) == ["a", "b", "c"]
    assert (
        server.ask("POST", "mlflow/logged-models/search", {"experiment_ids": [experiment], "datasets": [{}]})[0] == 400
    )


async def _arm_versions(server: MlflowServer, name: str) -> list[Any]:
    return await server.database.read(
        lambda conn: rows.listing(conn, server.workspace.id, "workspaces/models/versions", parent=name)
    )
