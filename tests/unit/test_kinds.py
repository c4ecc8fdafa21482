"""Kinds: bodies checked with the field's name, defaults and the contract's spelling filled in."""

from __future__ import annotations

from typing import Any

import pytest

from zaffre.errors import InvalidInput, ZaffreError
from zaffre.services import kinds
from zaffre.services.durations import seconds

KINDS = kinds.load()
JOB = {"jobType": "command", "command": "true", "environmentId": "azureml:e:1"}


def accept(type_: str, properties: Any, **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = KINDS[f"workspaces/{type_}"].accept({**body, "properties": properties})["properties"]
    return found


@pytest.mark.parametrize(
    ("type_", "properties", "field"),
    [
        ("data/versions", {}, "dataUri"),
        ("data/versions", {"dataUri": 1}, "properties.dataUri"),
        ("data/versions", {"dataUri": "x", "dataType": "table"}, "properties.dataType"),
        ("data/versions", {"dataUri": "x", "tags": []}, "properties.tags"),
        ("models/versions", {"modelUri": "x", "modelType": "onnx"}, "properties.modelType"),
        ("environments/versions", {}, "properties.image"),
        ("codes/versions", {}, "codeUri"),
        ("datastores", {"datastoreType": "Tape"}, "properties.datastoreType"),
        ("computes", {"computeType": "Abacus"}, "properties.computeType"),
        (
            "computes",
            {"computeType": "AmlCompute", "properties": {"scaleSettings": {"maxNodeCount": "2"}}},
            "properties.properties.scaleSettings",
        ),
        (
            "computes",
            {"computeType": "AmlCompute", "properties": {"scaleSettings": {"maxNodeCount": 1, "minNodeCount": 2}}},
            "scaleSettings",
        ),
        ("jobs", {}, "jobType"),
        ("jobs", {**JOB, "command": " "}, "properties.command"),
        ("jobs", {**JOB, "limits": {"timeout": "soon"}}, "properties.limits.timeout"),
        ("jobs", {**JOB, "environmentVariables": {"A B": "c"}}, "properties.environmentVariables"),
        ("jobs", {**JOB, "inputs": {"x": {"jobInputType": "uri_file"}}}, "properties.inputs.x.uri"),
        ("jobs", {**JOB, "inputs": {"x;y": {"jobInputType": "literal", "value": "1"}}}, "properties.inputs"),
        (
            "jobs",
            {**JOB, "inputs": {"x": {"jobInputType": "uri_file", "uri": "u", "mode": "Fax"}}},
            "properties.inputs.x.mode",
        ),
        ("onlineEndpoints", {"authMode": "Key", "traffic": {"blue": 50}}, "properties.traffic"),
        ("onlineEndpoints", {"authMode": "Trust"}, "properties.authMode"),
        ("onlineEndpoints/deployments", {}, "properties.model"),
        (
            "onlineEndpoints/deployments",
            {"model": "m", "requestSettings": {"requestTimeout": "5"}},
            "properties.requestSettings.requestTimeout",
        ),
    ],
)
def test_what_is_wrong_is_named(type_: str, properties: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        accept(type_, properties)
    assert field in caught.value.message


@pytest.mark.parametrize(
    "properties",
    [
        {"jobType": "Sweep"},
        {**JOB, "distribution": {"distributionType": "Mpi"}},
        {**JOB, "resources": {"instanceCount": 2}},
    ],
)
def test_what_is_not_served_is_501(properties: dict[str, Any]) -> None:
    with pytest.raises(ZaffreError) as caught:
        accept("jobs", properties)
    assert caught.value.status == 501


def test_defaults_and_spelling() -> None:
    job = accept(
        "jobs",
        {
            **JOB,
            "inputs": {"x": {"jobInputType": "uri_file", "uri": "u"}},
            "outputs": {"y": {"jobOutputType": "uri_folder"}},
        },
    )
    assert job["jobType"] == "Command"
    assert job["inputs"]["x"]["mode"] == "ReadOnlyMount"
    assert job["outputs"]["y"]["mode"] == "ReadWriteMount"
    assert accept("onlineEndpoints", {"authMode": "key"})["authMode"] == "Key"
    assert accept("onlineEndpoints/deployments", {"model": "m"})["scaleSettings"] == {"scaleType": "Default"}
    assert accept("data/versions", {"dataUri": "a/b", "dataType": "uri_folder"})["dataUri"] == "a/b/"
    assert accept("models/versions", {"modelUri": "u"})["flavors"] == {}


def test_unknown_fields_are_kept_and_texts_are_texts() -> None:
    found = accept(
        "data/versions", {"dataUri": "u", "later": {"x": 1}, "properties": {"hash_version": 202208, "ok": True}}
    )
    assert found["later"] == {"x": 1}
    assert found["properties"] == {"hash_version": "202208", "ok": "true"}


def test_the_same_content_has_the_same_fingerprint() -> None:
    kind = KINDS["workspaces/data/versions"]
    one = kind.accept({"properties": {"dataUri": "a", "description": "x"}})
    two = kind.accept({"properties": {"dataUri": "a/", "tags": {"b": "c"}}})
    assert kind.fingerprint(one) == kind.fingerprint(two)
    assert kind.fingerprint(one) != kind.fingerprint(kind.accept({"properties": {"dataUri": "b"}}))


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "..", "a\n", "ä", "a" * 300, 'a"b', "a{b}"])
def test_names_that_break_things(name: str) -> None:
    for kind in KINDS.values():
        with pytest.raises(InvalidInput, match="not a valid"):
            kind.check_name(name)


def test_secrets_never_reach_the_body() -> None:
    body = {
        "properties": {
            "datastoreType": "AzureBlob",
            "credentials": {"credentialsType": "AccountKey", "secrets": {"key": "czNjcmV0"}},
        }
    }
    secrets, rest = KINDS["workspaces/datastores"].take_secrets(body)
    assert "czNjcmV0" in secrets["secrets"]
    assert "czNjcmV0" not in str(rest)


@pytest.mark.parametrize(("text", "expected"), [("PT30S", 30), ("PT1M30S", 90), ("P1DT1H", 90000), ("PT0.5S", 0.5)])
def test_durations(text: str, expected: float) -> None:
    assert seconds(text, "f") == expected


@pytest.mark.parametrize("text", ["", "P", "PT", "5", "PT5", "-PT5S", None, 5])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(InvalidInput, match="'f'"):
        seconds(text, "f")
