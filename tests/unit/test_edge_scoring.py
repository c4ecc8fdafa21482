"""Scoring through a real nginx: keys, tokens, weights, limits, and what a client sees when something is not there."""

import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from edge_support.harness import Up, deployment, model_servers

PRIMARY, SECONDARY = "PrimaryKeyAbCdEf0123456789", "secondaryKEYxyz987654321+/=="

ENDPOINTS = (
    {
        "name": "ep1",
        "auth": "key",
        "keys": [PRIMARY, SECONDARY],
        "weights": [["blue", 80], ["green", 20]],
        "deployments": [deployment("ep1", "blue", "blue", "blue2"), deployment("ep1", "green")],
    },
    {
        "name": "default",  # a word of nginx's own
        "auth": "key",
        "keys": ["OtherKey"],
        "weights": [["blue", 100]],
        "deployments": [
            deployment("default", "blue"),
            deployment("default", "slow", "nobody", timeout_ms=5000),
            {**deployment("default", "away"), "sockets": []},
        ],
    },
    {
        "name": "epj",
        "auth": "token",
        "weights": [["blue", 100]],
        "deployments": [deployment("epj", "blue")],
    },
    {"name": "ep0", "auth": "key", "keys": ["ZeroKey"], "deployments": [deployment("ep0", "blue")]},
)


@contextmanager
def _silent(path: Path) -> Iterator[tuple[threading.Event, threading.Event]]:
    """A model server that takes one request, tells that it has it, and closes without a word when it is let go."""
    arrived, let_go = threading.Event(), threading.Event()
    handle = os.open(path.parent, os.O_PATH)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"/proc/self/fd/{handle}/{path.name}")
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            arrived.set()
            let_go.wait(30)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield arrived, let_go
    finally:
        let_go.set()
        thread.join()
        listener.close()
        os.close(handle)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    found = Up(tmp_path_factory.mktemp("scoring") / "home")
    with model_servers(found.home, "blue", "blue2", "green"):
        try:
            assert found.start().plan(*ENDPOINTS) is None
            yield found
        finally:
            found.clean()


def test_both_keys_pass_and_the_model_sees_no_key(up: Up) -> None:
    for key in (PRIMARY, SECONDARY):
        status, value, headers = up.score("ep1", key, {"X-Request-Id": "mine-1", "X-Own": "y"})
        assert status == 200
        assert value["target"] == "/score"
        assert "authorization" not in value["headers"] and value["headers"]["x-own"] == "y"
        assert headers["x-request-id"] == value["headers"]["x-request-id"] == "mine-1"
        assert headers["azureml-model-deployment"] in ("blue", "green")


@pytest.mark.parametrize("key", ["", PRIMARY.lower(), PRIMARY.swapcase(), PRIMARY + "x", "OtherKey", " ", "$zf_key"])
def test_wrong_keys_do_not(up: Up, key: str) -> None:
    status, value, headers = up.score("ep1", key)
    assert (status, value["error"]["code"]) == (401, "Unauthorized")
    assert headers["www-authenticate"] == "Bearer" and headers["x-request-id"] == value["error"]["requestId"]


def test_the_raw_rest_and_query_reach_the_model(up: Up) -> None:
    target = "/endpoints/ep1/a%2Fb//c%20d?x=%2F&y"
    status, value, _ = up.request("POST", target, b"[1]", {"Authorization": f"Bearer {PRIMARY}"})
    assert (status, value["target"], value["body"]) == (200, "/a%2Fb//c%20d?x=%2F&y", "[1]")


def test_weights(up: Up) -> None:
    counts = Counter(up.score("ep1", PRIMARY)[2]["azureml-model-deployment"] for _ in range(200))
    assert counts["blue"] > 120 and counts["green"] > 10  # 160 and 40 are expected


def test_a_named_deployment_wins_and_an_unknown_one_is_404(up: Up) -> None:
    names = {up.score("ep1", PRIMARY, {"azureml-model-deployment": "green"})[1]["name"] for _ in range(10)}
    assert names == {"green"}
    assert up.score("ep1", PRIMARY, {"azureml-model-deployment": "none"})[0] == 404


def test_an_endpoint_called_default_is_one_like_any_other(up: Up) -> None:
    assert up.score("default", "OtherKey")[0] == 200
    status, value, _ = up.score("nosuch", "OtherKey")
    assert (status, value["error"]["code"]) == (404, "NotFound")


def test_no_traffic_is_404_and_no_server_503_in_our_form(up: Up) -> None:
    status, value, headers = up.score("ep0", "ZeroKey")
    assert (status, value["error"]["code"]) == (404, "NotFound") and "positive share" in value["error"]["message"]
    assert headers["x-request-id"] == value["error"]["requestId"]
    for asked in ("slow", "away"):
        status, value, headers = up.score("default", "OtherKey", {"azureml-model-deployment": asked})
        assert (status, value["error"]["code"]) == (503, "ServiceUnavailable") and "retry-after" not in headers
    assert up.score("ep0", "ZeroKey", {"azureml-model-deployment": "blue"})[0] == 200


def test_tokens_are_checked_by_the_application_and_cached(up: Up) -> None:
    assert up.score("epj")[0] == 401
    assert up.score("epj", "bad")[0] == 401
    assert up.score("epj", "good-ep1")[0] == 401  # good elsewhere is not good here
    before = up.request("GET", "/")[1]["auths"]
    assert {up.score("epj", "good-epj")[0] for _ in range(5)} == {200}
    assert up.request("GET", "/")[1]["auths"] == before + 1


@pytest.mark.parametrize("target", ["/_zf/authz", "//_zf/auth", "/%2F_zf/auth", "/_zf/c/t60000c0", "/_zf/e/503"])
def test_internal_routes_are_not_reached_from_outside(up: Up, target: str) -> None:
    before = up.request("GET", "/")[1]["auths"]
    up.request("GET", target, headers={"Authorization": "Bearer good-"})
    assert up.request("GET", "/")[1]["auths"] == before


def test_a_model_that_takes_too_long_is_408(up: Up) -> None:
    slow = {
        "name": "slow",
        "auth": "key",
        "keys": ["SlowKey"],
        "weights": [["blue", 1]],
        "deployments": [deployment("slow", "blue", "mute", timeout_ms=200)],
    }
    assert up.plan(*ENDPOINTS, slow) is None
    with _silent(up.home / "edge" / "d" / "mute.sock"):
        status, value, headers = up.score("slow", "SlowKey")
    assert (status, value["error"]["code"]) == (408, "RequestTimeout")
    assert "ms-azureml-model-error-statuscode" not in headers
    assert up.plan(*ENDPOINTS) is None


def test_the_models_own_failure_goes_on_and_is_marked(up: Up) -> None:
    status, value, headers = up.score("ep1", PRIMARY, {"X-Fail": "422"})
    assert (status, headers["ms-azureml-model-error-statuscode"], value["target"]) == (422, "422", "/score")
    assert "ms-azureml-model-error-statuscode" not in up.score("ep1", PRIMARY)[2]


def test_copies_go_to_the_relay_and_the_client_sees_nothing(up: Up) -> None:
    mirrored = {
        "name": "mirrored",
        "auth": "key",
        "keys": ["MirrorKey"],
        "weights": [["blue", 100]],
        "mirror": ["green", 50],
        "deployments": [deployment("mirrored", "blue"), deployment("mirrored", "green")],
    }
    both = [
        mirrored,
        {
            **mirrored,
            "name": "tokens",
            "auth": "token",
            "deployments": [deployment("tokens", "blue"), deployment("tokens", "green")],
        },
    ]
    assert up.plan(*ENDPOINTS, *both) is None
    for endpoint, key in (("mirrored", "MirrorKey"), ("tokens", "good-tokens")):
        before = len(up.request("GET", "/")[1]["copies"])
        names = {up.score(endpoint, key)[2]["azureml-model-deployment"] for _ in range(60)}
        copies = up.request("GET", "/")[1]["copies"][before:]
        assert names == {"blue"} and 10 < len(copies) < 50
        assert {(one["shadow"], one["target"], one["body"]) for one in copies} == {
            (f"{endpoint}/green", "/score", "{}")
        }
        assert not any(one["authorized"] for one in copies)
        # what names the shadow itself is no copy
        assert up.score(endpoint, key, {"azureml-model-deployment": "green"})[0] == 200
    assert up.plan(*ENDPOINTS) is None


def test_a_limit_answers_429_at_once_and_a_new_plan_takes_effect(up: Up) -> None:
    held = {
        "name": "held",
        "auth": "key",
        "keys": ["HeldKey"],
        "weights": [["blue", 1]],
        "deployments": [deployment("held", "blue", "hung", max_held=1, timeout_ms=20_000)],
    }
    assert up.plan(*ENDPOINTS, held) is None
    with _silent(up.home / "edge" / "d" / "hung.sock") as (arrived, let_go):
        first: list[int] = []
        thread = threading.Thread(target=lambda: first.append(up.score("held", "HeldKey")[0]))
        thread.start()
        assert arrived.wait(20)
        status, value, headers = up.score("held", "HeldKey")
        assert (status, value["error"]["code"], headers["retry-after"]) == (429, "TooManyRequests", "1")
        let_go.set()
        thread.join()
    assert first == [503]  # it closed without an answer
    assert up.plan(*ENDPOINTS) is None
    assert up.score("held", "HeldKey")[0] == 404
