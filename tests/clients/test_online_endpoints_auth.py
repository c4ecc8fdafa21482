"""Who may score: an endpoint's own tokens, and sign-ins of this server, by the unmodified SDK."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoints import OnlineEndpoint
from tests.support.zaffre_server import ZaffreServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokens(ml: Any, client_environment: ZaffreServer, tmp_path_factory: pytest.TempPathFactory) -> OnlineEndpoint:
    endpoint = OnlineEndpoint(ml, client_environment, tmp_path_factory.mktemp("tokens"), "tokens", "aml_token")
    endpoint.deploy("blue")
    endpoint.share(blue=100)
    return endpoint


@pytest.fixture
def request_file(tmp_path: Path) -> str:
    (tmp_path / "request.json").write_text(json.dumps({"x": 1}))
    return str(tmp_path / "request.json")


def invoke(ml: Any, endpoint: OnlineEndpoint, request_file: str) -> str:
    """The deployment is named: the SDK keeps the name it was last given, and sends it to any other endpoint too."""
    answer: str = ml.online_endpoints.invoke(endpoint.name, request_file=request_file, deployment_name="blue")
    return answer


def test_an_endpoints_own_token(ml: Any, tokens: OnlineEndpoint, request_file: str) -> None:
    assert json.loads(invoke(ml, tokens, request_file))["echo"] == {"x": 1}
    token = ml.online_endpoints.get_keys(tokens.name)
    now = time.time()
    assert token.token_type == "Bearer"
    assert now < token.refresh_after_time_utc < token.expiry_time_utc <= now + 3700
    assert tokens.score({"x": 2}, token=token.access_token).json["echo"] == {"x": 2}
    answer = tokens.server.request("POST", f"/endpoints/{tokens.name}/score", {}, token=None)
    assert (answer.status, answer.json["error"]["code"]) == (401, "Unauthorized")


def test_nothing_else_opens_it(ml: Any, tokens: OnlineEndpoint) -> None:
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    server = tokens.server
    for wrong in ("wrong", server.credentials["api_key"], server.token(), server.token("https://storage.azure.com")):
        assert tokens.score(token=wrong).status == 401
    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="others", auth_mode="aml_token")).result()
    assert tokens.score(token=ml.online_endpoints.get_keys("others").access_token).status == 401
    # and it opens nothing but its endpoint
    own = ml.online_endpoints.get_keys(tokens.name).access_token
    assert server.request("GET", f"{server.scope}?api-version=2024-04-01", token=own).status == 401


def test_there_are_no_keys(ml: Any, tokens: OnlineEndpoint) -> None:
    path = f"{tokens.server.scope}/onlineEndpoints/{tokens.name}"
    for action, body in (("listKeys", None), ("regenerateKeys", {"keyType": "Primary"})):
        answer = tokens.server.request("POST", f"{path}/{action}?api-version=2022-10-01", body)
        assert answer.status == 400 and "AMLToken" in answer.json["error"]["message"]
    with pytest.raises(Exception, match="does not use keys"):
        ml.online_endpoints.begin_regenerate_keys(tokens.name)


def test_a_sign_in_of_this_server(ml: Any, tokens: OnlineEndpoint, request_file: str) -> None:
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    own = ml.online_endpoints.get_keys(tokens.name).access_token
    assert tokens.score(token=own).status == 200
    endpoint = ManagedOnlineEndpoint(name=tokens.name, auth_mode="aad_token", traffic={"blue": 100})
    made = ml.online_endpoints.begin_create_or_update(endpoint).result()
    assert made.auth_mode == "aad_token"
    assert json.loads(invoke(ml, tokens, request_file))["echo"] == {"x": 1}
    server = tokens.server
    assert tokens.score({"x": 3}, token=server.token("https://ml.azure.com")).status == 200
    for wrong in ("wrong", own, server.token("https://storage.azure.com"), server.token(server.address)):
        assert tokens.score(token=wrong).status == 401
    answer = server.request("POST", f"{server.scope}/onlineEndpoints/{tokens.name}/token?api-version=2022-10-01")
    assert answer.status == 400 and "https://ml.azure.com" in answer.json["error"]["message"]


def test_a_reader_may_not_score_and_a_job_may(tokens: OnlineEndpoint) -> None:
    """The endpoint takes sign-ins since the test before."""
    from azure.identity import ClientSecretCredential

    server = tokens.server
    made = server.request("POST", "/zaffre/v1/principals", {"name": "only-reads", "role": "Reader"}).json
    reader = ClientSecretCredential(
        "any", made["id"], made["secret"], authority=server.address, disable_instance_discovery=True
    )
    answer = tokens.score(token=reader.get_token("https://ml.azure.com/.default").token)
    assert (answer.status, answer.json["error"]["code"]) == (403, "Forbidden")
    script = (
        "import os, urllib.request as web; print(web.urlopen(web.Request("
        f"'{server.address}/endpoints/{tokens.name}/score', b'{{}}', "
        "{'Authorization': 'Bearer ' + os.environ['AZUREML_RUN_TOKEN'], 'Content-Type': 'application/json'})).read())"
    )
    assert server.put_job("scores-by-itself", f'python -c "{script}"').status == 201
    assert server.wait_for_job("scores-by-itself", seconds=120) == "Completed", server.job_log("scores-by-itself")
    assert '"pid"' in server.job_log("scores-by-itself")


def test_it_goes(ml: Any, tokens: OnlineEndpoint) -> None:
    ml.online_endpoints.begin_delete(tokens.name).result()
    assert tokens.score(token=tokens.server.token("https://ml.azure.com")).status == 404
