"""Bad input in tracking: every operation of MLflow and of the history with values that do not fit, and random ones."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.bad_input import SIGNS_OF_A_TRACE, VALID, Raw, path_of, refused
from tests.support.zaffre_server import Answer, ZaffreServer
from zaffre.protocols.mlflow import requests

WRONG: list[Any] = [
    [1, [2]],
    {"a": {"b": 1}},
    17,
    -1,
    2**63,
    2**70,
    -(2**63) - 1,
    1e300,
    1.5,
    True,
    None,
    "",
    "a text",
    "x" * 120_000,
    "../../etc/passwd",
    "a\0b",
    "\x7f",
    "NaN",
    "Infinity",
    "9" * 400,
    "9" * 5000,
    [None],
    [{}],
    [{"key": None}],
    {"key": "x"},
    ["x"] * 1500,
    "é" * 300,
    "'; DROP TABLE runs; --",
]
FIELDS = sorted(
    {
        field.encode_name
        for struct in vars(requests).values()
        if isinstance(struct, type) and issubclass(struct, msgspec.Struct) and struct is not msgspec.Struct
        for field in msgspec.structs.fields(struct)
    }
)
OPERATIONS = [
    (row["operation"], row["verb"], row["path"])
    for row in csv.DictReader(
        resources.files("zaffre.protocols.mlflow").joinpath("operations.csv").read_text().splitlines()
    )
]
HISTORY = [
    (row["operation"], row["verb"], row["path"])
    for row in csv.DictReader(
        resources.files("zaffre.protocols.history").joinpath("operations.csv").read_text().splitlines()
    )
]
SPOILED_PER_OPERATION = 40


@pytest.fixture(scope="module")
def raw(server: ZaffreServer) -> Iterator[Raw]:
    made = Raw(server)
    yield made
    made.close()


@pytest.fixture(scope="module")
def good(server: ZaffreServer) -> dict[str, Any]:
    """Values that fit, so that only the spoiled one does not."""
    base = f"/tracking{server.scope}/api/2.0/mlflow"
    experiment = server.request("POST", f"{base}/experiments/create", {"name": "bad input"}).json["experiment_id"]
    run = server.request("POST", f"{base}/runs/create", {"experiment_id": experiment}).json["run"]["info"]["run_id"]
    server.request("POST", f"{base}/registered-models/create", {"name": "bad-input"})
    server.request("POST", f"{base}/model-versions/create", {"name": "bad-input", "source": f"runs:/{run}/m"})
    return {
        "run_id": run,
        "experiment_id": experiment,
        "key": "k",
        "value": 1,
        "timestamp": 1,
        "step": 1,
        "name": "bad-input",
        "version": "1",
        "experiment_ids": [experiment],
        "run_ids": [run],
        "metric_key": "m",
        "path": "p",
        "alias": "al",
        "stage": "Staging",
        "status": "FINISHED",
        "source": f"runs:/{run}/m",
        "new_name": "bad-input-2",
        "filter": "metrics.a > 1",
        "order_by": ["metrics.m DESC"],
        "max_results": 10,
        "metrics": [{"key": "k", "value": 1, "timestamp": 1}],
        "params": [{"key": "p", "value": "1"}],
        "tags": [{"key": "t", "value": "1"}],
    }


@pytest.mark.parametrize(("operation", "verb", "path"), OPERATIONS)
def test_mlflow_operations(
    server: ZaffreServer, raw: Raw, good: dict[str, Any], operation: str, verb: str, path: str
) -> None:
    chance = random.Random(f"{operation} {path}")
    for field, value in chance.sample([(field, value) for field in FIELDS for value in WRONG], SPOILED_PER_OPERATION):
        answer = ask(server, raw, verb, path, {**good, field: value})
        if answer.status == 501:
            return
        never_ours(answer, f"{operation} with {field}={str(value)[:50]}")


@pytest.mark.parametrize(("operation", "verb", "path"), [one for one in OPERATIONS if one[1] != "GET"])
@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'"x"', b"null", b"\xff", b'{"a":' * 50_000, b'{"key":"\\ud800"}', b"17"],
    ids=lambda body: str(body[:8]),
)
def test_mlflow_bodies_that_are_no_object(
    server: ZaffreServer, raw: Raw, operation: str, verb: str, path: str, body: bytes
) -> None:
    if "artifacts/{" in path or "mlflow-artifacts" in path:
        return  # its body is a file's bytes
    answer = raw.ask(verb, address(server, path), body)
    if operation == "exportSpans":  # it misses its header first, and says so as MLflow's server does
        assert answer.status == 422, answer.body
        return
    assert answer.status in (400, 404, 501), answer.body
    never_ours(answer, operation)


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        ("runs/log-metric", {"run_id": "RUN", "key": "m", "value": "much", "timestamp": 1}, "value"),
        ("runs/log-metric", {"run_id": "RUN", "key": "m", "value": 1, "timestamp": -1}, "timestamp"),
        ("runs/log-metric", {"run_id": "RUN", "key": "m", "value": 1, "timestamp": 2**63}, "timestamp"),
        ("runs/log-metric", {"run_id": "RUN", "key": "m", "value": 1, "timestamp": 1, "step": 2**63}, "step"),
        ("runs/log-metric", {"run_id": "RUN", "key": "a\nb", "value": 1, "timestamp": 1}, "name"),
        ("runs/log-metric", {"run_id": "RUN", "key": "x" * 251, "value": 1, "timestamp": 1}, "key"),
        ("runs/log-metric", {"run_id": [], "key": "m", "value": 1, "timestamp": 1}, "run_id"),
        ("runs/log-metric", {"run_id": "nobody", "key": "m", "value": 1, "timestamp": 1}, "nobody"),
        ("runs/log-batch", {"run_id": "RUN", "metrics": [{"key": "m"}]}, "metrics"),
        ("runs/log-batch", {"run_id": "RUN", "metrics": {"m": 1}}, "metrics"),
        ("runs/log-batch", {"run_id": "RUN", "params": [{"key": "p", "value": 7}]}, "params[0].value"),
        ("runs/log-parameter", {"run_id": "RUN", "key": "p", "value": []}, "value"),
        ("runs/log-parameter", {"run_id": "RUN", "key": "", "value": "x"}, "key"),
        ("runs/set-tag", {"run_id": "RUN", "key": "t", "value": {}}, "value"),
        ("runs/update", {"run_id": "RUN", "status": "ASLEEP"}, "status"),
        ("runs/update", {"run_id": "RUN", "end_time": 2**63}, "end_time"),
        ("runs/create", {"experiment_id": "nobody"}, "nobody"),
        ("runs/search", {"experiment_ids": "x"}, "experiment_ids"),
        ("runs/search", {"experiment_ids": [], "max_results": 0}, "max_results"),
        ("runs/search", {"experiment_ids": [], "max_results": 10**9}, "max_results"),
        ("runs/search", {"experiment_ids": ["0"], "filter": "metrics.m >"}, "filter"),
        ("runs/search", {"experiment_ids": ["0"], "filter": "1; DROP TABLE runs"}, "filter"),
        ("runs/search", {"experiment_ids": ["0"], "order_by": ["nonsense.m"]}, "order_by"),
        ("runs/search", {"experiment_ids": ["0"], "page_token": "mine"}, "page_token"),
        ("runs/search", {"experiment_ids": ["0"], "run_view_type": "NONE"}, "view_type"),
        ("experiments/create", {"name": ""}, "name"),
        ("experiments/create", {"name": 5}, "name"),
        ("experiments/create", {"name": "x" * 501}, "name"),
        ("registered-models/create", {"name": ""}, "name"),
        ("registered-models/create", {"name": "a/../b"}, "name"),
        ("registered-models/create", {"name": "a\0b"}, "NUL"),
        ("model-versions/create", {"name": "bad-input", "source": "/etc/passwd"}, "source"),
        ("model-versions/create", {"name": "bad-input", "source": "file:///etc"}, "source"),
        ("model-versions/create", {"name": "bad-input", "source": "runs:/x/../../y"}, "source"),
        ("model-versions/create", {"name": "bad-input", "source": "mlflow-artifacts:/../../x"}, "path"),
        ("registered-models/alias", {"name": "bad-input", "alias": "latest", "version": "1"}, "alias"),
        ("registered-models/alias", {"name": "bad-input", "alias": "a b", "version": "1"}, "alias"),
    ],
)
def test_mlflow_names_the_field(
    server: ZaffreServer, raw: Raw, good: dict[str, Any], path: str, body: dict[str, Any], names: str
) -> None:
    data = json.dumps(body).replace('"RUN"', json.dumps(good["run_id"])).encode()
    answer = raw.ask("POST", f"/tracking{server.scope}/api/2.0/mlflow/{path}", data)
    refused(answer, 400, 404, names=names)
    assert answer.json["error_code"] in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize(("operation", "verb", "path"), HISTORY)
def test_history_operations(
    server: ZaffreServer, raw: Raw, good: dict[str, Any], operation: str, verb: str, path: str
) -> None:
    where = address(server, path, prefix="").replace("/runs/x", f"/runs/{good['run_id']}")
    for body in (
        {"hidden": "yes"},
        {"tags": ["x"]},
        {"tags": {"a": 1}},
        {"properties": "x"},
        {"displayName": 5},
        {"displayName": " "},
        {"description": []},
        [],
        "x",
        None,
        {"runIds": 5},
        {"selectRunMetadata": "x"},
        {"top": 2**70},
    ):
        answer = raw.ask(verb, where, json.dumps(body).encode() if verb != "GET" else None)
        if answer.status == 501:
            return
        never_ours(answer, f"{operation} with {body}")
    for body_bytes in (b"{", b"\xff", b'{"a":' * 50_000):
        never_ours(raw.ask(verb, where, body_bytes if verb != "GET" else None), operation)


_KEYS = st.sampled_from(
    [
        "properties",
        "tags",
        "command",
        "jobType",
        "environmentId",
        "inputs",
        "traffic",
        "keys",
        "scaleSettings",
        "modelUri",
        "dataUri",
        "image",
        "authMode",
        "limits",
        "x",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS | st.text(max_size=8), inner, max_size=5),
    max_leaves=12,
)


@pytest.mark.parametrize("kind", VALID)
def test_random_bodies(server: ZaffreServer, raw: Raw, kind: str) -> None:
    """Whatever JSON it is: a resource or a refusal, never a failure of ours."""

    @settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(properties=st.dictionaries(_KEYS | st.text(max_size=8), _JSON, max_size=4), body=_JSON, mixed=st.booleans())
    def put(properties: dict[str, Any], body: Any, mixed: bool) -> None:
        sent = {"properties": {**VALID[kind], **properties}} if mixed else body
        name = "fuzz1" if kind != "workspaces" else "fuzz"
        answer = raw.ask("PUT", path_of(server, kind, name, "fuzz1"), json.dumps(sent).encode("utf-8", "surrogatepass"))
        assert answer.status < 500 or answer.status == 501, f"{sent!r}: {answer.status} {answer.body!r}"

    put()


def ask(server: ZaffreServer, raw: Raw, verb: str, path: str, values: dict[str, Any]) -> Answer:
    if verb != "GET":
        return raw.ask(verb, address(server, path), json.dumps(values).encode())
    flat = {
        name: value if isinstance(value, (str, int, float)) else json.dumps(value) for name, value in values.items()
    }
    return raw.ask(
        "GET", f"{address(server, path)}?{urlencode({name: str(value)[:1500] for name, value in flat.items()})}"
    )


def address(server: ZaffreServer, path: str, prefix: str | None = None) -> str:
    """The operation's path, with `x` for what it takes."""
    parts = server.scope.split("/")
    values = {
        "subscriptionId": parts[2],
        "resourceGroupName": parts[4],
        "workspaceName": parts[8],
        "model_id": f"m-{'0' * 32}",
    }
    filled = re.sub(r"\{(\w+)\*?\}", lambda match: values.get(match[1], "x"), path)
    return filled if prefix is not None else f"/tracking{server.scope}{filled}"


def never_ours(answer: Answer, what: str) -> None:
    """It may be answered or refused, but it is no failure of ours and shows nothing of our insides."""
    assert answer.status < 500 or answer.status == 501, f"{what}: {answer.status} {answer.body!r}"
    if answer.status >= 400:
        assert [sign for sign in SIGNS_OF_A_TRACE if sign in answer.body] == [], f"{what}: {answer.body!r}"
