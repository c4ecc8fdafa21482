"""Online endpoints by the unmodified SDK: score.py deployments, keys, traffic, failures in words, replacement, deletion."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoints import OnlineEndpoint
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
NAME = "colors"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def colors(ml: Any, client_environment: ZaffreServer, tmp_path_factory: pytest.TempPathFactory) -> OnlineEndpoint:
    """Blue and green, with 70 and 30 percent."""
    endpoint = OnlineEndpoint(ml, client_environment, tmp_path_factory.mktemp("serve"), NAME)
    endpoint.deploy("blue", SCORE, environment_variables={"COLOR": "blue"})
    endpoint.deploy("green", SCORE, environment_variables={"COLOR": "green"})
    endpoint.share(blue=70, green=30)
    return endpoint


def test_traffic_is_split_and_a_header_chooses(ml: Any, colors: OnlineEndpoint, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(json.dumps({"x": [1, 2]}))
    chosen = json.loads(
        ml.online_endpoints.invoke(NAME, request_file=str(tmp_path / "request.json"), deployment_name="green")
    )
    assert chosen == {"model": "v1", "echo": {"x": [1, 2]}, "color": "green"}
    key = ml.online_endpoints.get_keys(NAME).primary_key
    seen = Counter(colors.score(token=key).json["color"] for _ in range(200))
    assert 100 < seen["blue"] < 180
    assert seen["blue"] + seen["green"] == 200


def test_only_the_keys_open_it(ml: Any, colors: OnlineEndpoint) -> None:
    server, path = colors.server, f"/endpoints/{NAME}/score"
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
    ml.online_endpoints.begin_regenerate_keys(NAME, key_type="primary").result()
    newest = ml.online_endpoints.get_keys(NAME)
    assert (newest.primary_key == keys.primary_key, newest.secondary_key == fresh.secondary_key) == (False, True)
    assert server.request("POST", path, {}, token=keys.primary_key).status == 401
    assert server.request("POST", path, {}, token=newest.primary_key).status == 200


def test_a_failed_start_says_why(ml: Any, colors: OnlineEndpoint) -> None:
    with pytest.raises(Exception, match="no such weights") as caught:
        colors.deploy(
            "red", score="def init():\n    raise RuntimeError('no such weights')\n\ndef run(raw):\n    return raw\n"
        )
    assert "red" in str(caught.value)
    assert ml.online_deployments.get("red", NAME).provisioning_state == "Failed"
    assert "no such weights" in ml.online_deployments.get_logs("red", NAME, lines=100)
    ml.online_deployments.begin_delete("red", NAME).result()


def test_a_deployment_is_replaced_in_place(colors: OnlineEndpoint) -> None:
    colors.deploy("green", SCORE, environment_variables={"COLOR": "dark green"})
    assert colors.score(deployment="green").json["color"] == "dark green"


def test_a_deployment_with_traffic_is_not_deleted(ml: Any, colors: OnlineEndpoint) -> None:
    with pytest.raises(Exception, match="gets 70 % of the traffic"):
        ml.online_deployments.begin_delete("blue", NAME).result()


def test_the_model_of_a_deployment_is_not_deleted(ml: Any, colors: OnlineEndpoint) -> None:
    model = str(ml.online_deployments.get("blue", NAME).model)
    path, version = model[model.index("/subscriptions/") :], "api-version=2023-08-01-preview"
    answer = colors.server.request("DELETE", f"{path}?{version}")
    assert answer.status == 409 and f"deployments '{NAME}/blue'" in answer.json["error"]["message"], answer.body
    used = colors.server.request("GET", f"{path}/lineage?{version}").json["usedBy"]
    assert f"{NAME}/blue" in [one["name"] for one in used]


def test_deleting_the_endpoint_ends_everything(ml: Any, colors: OnlineEndpoint) -> None:
    deployments = colors.server.home / "deployments"
    before = len(list(deployments.glob("*/i*/server.json")))
    ml.online_endpoints.begin_delete(NAME).result()
    assert colors.score(token="x").status == 404
    assert len(list(deployments.glob("*/i*/server.json"))) <= before - 2
