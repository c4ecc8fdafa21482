"""Online endpoints by the unmodified SDK: score.py deployments, keys, traffic, failures in words, replacement, deletion."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer

SCORE = """
import json, os

def init():
    global name
    print("loading from", os.listdir(os.environ["AZUREML_MODEL_DIR"]))
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "name.txt")) as file:
        name = file.read()

def run(raw):
    return {"model": name, "echo": json.loads(raw), "color": os.environ.get("COLOR")}
"""
CONDA = "dependencies:\n  - python=3.11\n  - pip:\n    - azureml-inference-server-http\n"
NAME = "colors"


@pytest.fixture(scope="module")
def deploy(ml: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make a deployment of the endpoint `colors`, which is made with the first one."""
    from azure.ai.ml.entities import (
        CodeConfiguration,
        Environment,
        ManagedOnlineDeployment,
        ManagedOnlineEndpoint,
        Model,
    )

    folder = tmp_path_factory.mktemp("serve")
    (folder / "model").mkdir()
    (folder / "model" / "name.txt").write_text("v1")
    (folder / "conda.yml").write_text(CONDA)
    model = ml.models.create_or_update(Model(name="colors", path=str(folder / "model"), type="custom_model"))
    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=NAME, auth_mode="key")).result()

    def make(name: str, score: str = SCORE, **more: Any) -> Any:
        code = folder / f"code-{name}"
        code.mkdir(exist_ok=True)
        (code / "score.py").write_text(score)
        return ml.online_deployments.begin_create_or_update(
            ManagedOnlineDeployment(
                name=name,
                endpoint_name=NAME,
                model=model,
                code_configuration=CodeConfiguration(code=str(code), scoring_script="score.py"),
                environment=Environment(image="python:3.11", conda_file=str(folder / "conda.yml")),
                instance_type="Standard_DS3_v2",
                instance_count=1,
                **more,
            )
        ).result()

    return make


@pytest.fixture(scope="module")
def two(ml: Any, deploy: Any) -> Any:
    """Blue and green, with 70 and 30 percent."""
    deploy("blue", environment_variables={"COLOR": "blue"})
    deploy("green", environment_variables={"COLOR": "green"})
    endpoint = ml.online_endpoints.get(NAME)
    endpoint.traffic = {"blue": 70, "green": 30}
    return ml.online_endpoints.begin_create_or_update(endpoint).result()


@pytest.mark.slow
def test_traffic_is_split_and_a_header_chooses(
    ml: Any, two: Any, client_environment: ZaffreServer, tmp_path: Path
) -> None:
    (tmp_path / "request.json").write_text(json.dumps({"x": [1, 2]}))
    chosen = json.loads(
        ml.online_endpoints.invoke(NAME, request_file=str(tmp_path / "request.json"), deployment_name="green")
    )
    assert chosen == {"model": "v1", "echo": {"x": [1, 2]}, "color": "green"}
    key = ml.online_endpoints.get_keys(NAME).primary_key
    path = two.scoring_uri.removeprefix(client_environment.address)
    colors = Counter(client_environment.request("POST", path, {}, token=key).json["color"] for _ in range(200))
    assert 100 < colors["blue"] < 180
    assert colors["blue"] + colors["green"] == 200


@pytest.mark.slow
def test_only_the_keys_open_it(ml: Any, two: Any, client_environment: ZaffreServer) -> None:
    server, path = client_environment, two.scoring_uri.removeprefix(client_environment.address)
    keys = ml.online_endpoints.get_keys(NAME)
    good = (keys.primary_key, keys.secondary_key)
    assert [server.request("POST", path, {}, token=key).status for key in good] == [200, 200]
    bad = (keys.primary_key.swapcase(), "", "wrong", server.credentials["api_key"], server.token())
    assert [server.request("POST", path, {}, token=key).status for key in bad] == [401] * len(bad)
    assert server.request("POST", path, {}, token=None).status == 401
    ml.online_endpoints.begin_regenerate_keys(NAME, key_type="secondary").result()
    fresh = ml.online_endpoints.get_keys(NAME)
    assert (fresh.primary_key == keys.primary_key, fresh.secondary_key == keys.secondary_key) == (True, False)
    assert server.request("POST", path, {}, token=keys.secondary_key).status == 401
    assert server.request("POST", path, {}, token=fresh.secondary_key).status == 200


@pytest.mark.slow
def test_a_failed_start_says_why(ml: Any, two: Any, deploy: Any) -> None:
    with pytest.raises(Exception, match="no such weights") as caught:
        deploy("red", score="def init():\n    raise RuntimeError('no such weights')\n\ndef run(raw):\n    return raw\n")
    assert "red" in str(caught.value)
    assert ml.online_deployments.get("red", NAME).provisioning_state == "Failed"
    assert "no such weights" in ml.online_deployments.get_logs("red", NAME, lines=100)
    ml.online_deployments.begin_delete("red", NAME).result()


@pytest.mark.slow
def test_a_deployment_is_replaced_in_place(ml: Any, two: Any, deploy: Any, client_environment: ZaffreServer) -> None:
    deploy("green", environment_variables={"COLOR": "dark green"})
    key = ml.online_endpoints.get_keys(NAME).primary_key
    path = two.scoring_uri.removeprefix(client_environment.address)
    answer = client_environment.request("POST", path, {}, token=key, headers={"azureml-model-deployment": "green"})
    assert answer.json["color"] == "dark green"


@pytest.mark.slow
def test_a_deployment_with_traffic_is_not_deleted(ml: Any, two: Any) -> None:
    with pytest.raises(Exception, match="gets 70 % of the traffic"):
        ml.online_deployments.begin_delete("blue", NAME).result()


@pytest.mark.slow
def test_deleting_the_endpoint_ends_everything(ml: Any, two: Any, client_environment: ZaffreServer) -> None:
    ml.online_endpoints.begin_delete(NAME).result()
    path = two.scoring_uri.removeprefix(client_environment.address)
    assert client_environment.request("POST", path, {}, token="x").status == 404
    assert list((client_environment.home / "deployments").glob("*/i*/server.json")) == []
