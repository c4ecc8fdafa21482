"""Prompts by MLflow's own client: they are registered models to MLflow, and no models to anybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.support.mlflow_server import MlflowServer
from zaffre.errors import Conflict
from zaffre.services import assets
from zaffre.store import resources
from zaffre.store.unit import PLATFORM


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path)
    yield made
    made.close()


@pytest.fixture
def client(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", server.token)
    return MlflowClient(server.uri, server.uri)


def test_a_prompt_lives(client: MlflowClient) -> None:
    client.register_prompt("greeting", "Hello {{name}}!", commit_message="first", tags={"team": "blue"})
    second = client.register_prompt("greeting", [{"role": "user", "content": "Hi {{name}}"}])
    assert second.version == 2
    assert client.load_prompt("prompts:/greeting/1").format(name="Ada") == "Hello Ada!"
    client.set_prompt_alias("greeting", "live", 1)
    assert client.load_prompt("prompts:/greeting@live").version == 1
    assert client.load_prompt("prompts:/greeting@latest").version == 2
    client.set_prompt_tag("greeting", "use", "mail")
    client.set_prompt_version_tag("greeting", 1, "score", "5")
    found = client.get_prompt("greeting")
    assert found is not None and found.tags["use"] == "mail"
    assert [one.name for one in client.search_prompts()] == ["greeting"]
    client.delete_prompt_alias("greeting", "live")
    client.delete_prompt_version("greeting", "1")
    with pytest.raises(MlflowException):
        client.load_prompt("prompts:/greeting/1")
    client.delete_prompt_version("greeting", "2")
    client.delete_prompt("greeting")
    assert client.search_prompts() == []


def test_prompts_are_no_models(server: MlflowServer, client: MlflowClient) -> None:
    client.register_prompt("greeting", "Hello")
    client.create_registered_model("wine")
    client.create_model_version("wine", "s3://bucket/wine")
    assert [one.name for one in client.search_registered_models()] == ["wine"]
    assert [one.name for one in client.search_model_versions()] == ["wine"]
    assert [one.name for one in client.search_prompts()] == ["greeting"]
    models = server.database.read_now(lambda conn: resources.listing(conn, server.workspace.id, "workspaces/models"))
    assert [row.name for row in models] == ["wine"]  # what ARM serves
    with pytest.raises(MlflowException, match="already taken by a prompt"):
        client.create_registered_model("greeting")
    body = {"properties": {"modelUri": "https://e.com/m", "tags": {}}}
    with pytest.raises(Conflict, match="a prompt"):  # as ARM makes a model with its first version
        put = assets.put_version
        scope = server.workspace.id
        asyncio.run(
            server.database.write(
                lambda unit: put(unit, PLATFORM, scope, "workspaces/models", "greeting", "1", body, {}, "f")
            )
        )
    with pytest.raises(MlflowException, match="same name as an existing model"):
        client.register_prompt("wine", "text")
    tag = {"name": "wine", "key": "mlflow.prompt.is_prompt", "value": "true"}
    assert server.ask("POST", "mlflow/registered-models/set-tag", tag)[0] == 400
