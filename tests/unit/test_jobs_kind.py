"""What a command job may say: every field checked at the door, spelled as the contract spells it, or refused by name."""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zaffre.errors import InvalidInput, NotServed
from zaffre.services import kinds
from zaffre.services.job_assets import Left, NotRegistered, bodies
from zaffre.services.job_sources import target_of
from zaffre.services.kinds.jobs import Command
from zaffre.services.workspaces import Workspace
from zaffre.store.jobs import JobRow

KINDS = kinds.load()
JOB: dict[str, Any] = {"jobType": "command", "command": "true", "environmentId": "azureml:e:1"}
WORKSPACE = Workspace(id="1", subscription="s", resource_group="g", name="w", location="here")


def accept(**properties: Any) -> dict[str, Any]:
    found: dict[str, Any] = KINDS["workspaces/jobs"].accept({"properties": {**JOB, **properties}})["properties"]
    return found


@pytest.mark.parametrize(
    ("properties", "field"),
    [
        ({"identity": {"identityType": "Nobody"}}, "identity.identityType"),
        ({"identity": {}}, "identity"),
        ({"queueSettings": {"jobTier": "Gold"}}, "queueSettings.jobTier"),
        ({"queueSettings": {"priority": 4}}, "queueSettings.priority"),
        ({"queueSettings": {"priority": 0}}, "queueSettings.priority"),
        ({"resources": {"instanceCount": 0}}, "resources.instanceCount"),
        ({"resources": {"instanceCount": -1}}, "resources.instanceCount"),
        ({"resources": {"shmSize": "much"}}, "resources.shmSize"),
        ({"resources": {"shmSize": "0g"}}, "resources.shmSize"),
        ({"limits": {"timeout": "PT0S"}}, "limits.timeout"),
        ({"limits": {"jobLimitsType": "Sweep"}}, "limits.jobLimitsType"),
        ({"services": {"a": {"jobServiceType": "Fax"}}}, "services.a.jobServiceType"),
        ({"services": {"a": {"port": 70000}}}, "services.a.port"),
        ({"services": {"a": {"nodes": {"nodesValueType": "Some"}}}}, "services.a.nodes"),
        ({"outputs": {"x": {"jobOutputType": "uri_file", "assetName": "a b"}}}, "outputs.x.assetName"),
        ({"outputs": {"x": {"jobOutputType": "uri_file", "assetVersion": "1"}}}, "outputs.x.assetVersion"),
        ({"outputs": {"x": {"jobOutputType": "uri_file", "assetName": "a", "assetVersion": "/"}}}, "assetVersion"),
        ({"autologgerSettings": {"mlflowAutologger": "Perhaps"}}, "autologgerSettings"),
        ({"inputs": {"x": {"jobInputType": "uri_file", "uri": "u", "mode": "EvalMount"}}}, "inputs.x.mode"),
    ],
)
def test_what_is_wrong_is_named(properties: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        accept(**properties)
    assert field in caught.value.message


@pytest.mark.parametrize(
    ("properties", "field"),
    [
        ({"notificationSetting": {"emailOn": ["JobCompleted"], "emails": ["a@b"]}}, "notificationSetting"),
        ({"secretsConfiguration": {"A": {"uri": "x"}}}, "secretsConfiguration"),
        ({"autologgerSettings": {"mlflowAutologger": "enabled"}}, "autologgerSettings"),
        ({"inputs": {"x": {"jobInputType": "uri_file", "uri": "u", "pathOnCompute": "/x"}}}, "inputs.x.pathOnCompute"),
        ({"distribution": {"distributionType": "PyTorch"}}, "distribution"),
        ({"resources": {"instanceCount": 2}}, "resources.instanceCount"),
    ],
)
def test_what_is_not_served_is_said_by_name(properties: dict[str, Any], field: str) -> None:
    with pytest.raises(NotServed) as caught:
        accept(**properties)
    assert caught.value.target == f"properties.{field}"


def test_words_are_spelled_and_defaults_filled() -> None:
    found = accept(
        identity={"identityType": "amlToken"},
        queueSettings={"jobTier": "spot", "priority": None},
        limits={"timeout": "PT1M"},
        services={
            "board": {"jobServiceType": "tensor_board", "status": "Running"},
            "Studio": {"endpoint": "x"},
            "n": None,
        },
        inputs={
            "n": {"jobInputType": "Literal", "value": 0.5},
            "absent": {"jobInputType": "literal", "value": None},
            "none": None,
            "model": {"jobInputType": "MLFlow_Model", "uri": " u ", "mode": "download"},
        },
        outputs={"x": {"jobOutputType": "triton_model", "mode": "upload"}},
        notificationSetting={"emailOn": None},
        environmentVariables={"TEXT": "a", "NUMBER": 1, "FLAG": True},
        resources={"shmSize": "512M", "dockerArgs": "--cpus 1", "properties": {"IsLocal": {"IsLocal": True}}},
    )
    assert found["identity"]["identityType"] == "AMLToken"
    assert found["queueSettings"] == {"jobTier": "Spot"}
    assert found["limits"] == {"timeout": "PT1M", "jobLimitsType": "Command"}
    assert found["services"] == {"board": {"jobServiceType": "TensorBoard"}}
    assert found["inputs"]["n"]["value"] == "0.5"
    assert set(found["inputs"]) == {"n", "model"}, "an optional input without a value is none"
    assert found["inputs"]["model"] == {"jobInputType": "mlflow_model", "uri": "u", "mode": "Download"}
    assert found["outputs"]["x"]["mode"] == "Upload"
    assert found["resources"]["instanceCount"] == 1
    assert found["experimentName"] == "Default"
    assert found["environmentVariables"] == {"TEXT": "a", "NUMBER": "1", "FLAG": "true"}


def row(**output: Any) -> JobRow:
    resolved = {"outputs": {"x": {"uri": "azureml://u/x/"}}}
    return JobRow(
        run=1, scope="1", id="job", status="Finalizing", experiment_id="0", experiment="e", display_name="", description=None,
        hidden=False, root="job", properties={}, body={"properties": {"outputs": {"x": {"assetName": "a", **output}}}},
        server={"resolved": resolved}, plan=None, node="n", events_applied=0, logs_stored=False, error=None, created_at=0,
        created_by="me", created_by_type="User", started_at=None, ended_at=None, modified_at=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pinned", "given", "uri"),
    [
        ({"uri": "azureml://long", "path": "p"}, None, "azureml://long"),
        (None, None, f"azureml://{WORKSPACE.uri}/datastores/workspaceblobstore/paths/azureml/job/x/"),
        (
            {"account": "a", "container": "c", "path": "p"},
            "azureml://datastores/d/paths/p",
            f"azureml://{WORKSPACE.uri}/datastores/d/paths/p",
        ),
    ],
)
def test_outputs_of_jobs_from_older_servers_are_found(
    pinned: dict[str, str] | None, given: str | None, uri: str
) -> None:
    job = msgspec.structs.replace(
        row(uri=given), server={"resolved": {"outputs": {} if pinned is None else {"x": pinned}}}
    )
    assert target_of(WORKSPACE, job, "x")["uri"] == uri


def test_an_output_becomes_the_asset_its_type_says() -> None:
    data = bodies(KINDS, row(jobOutputType="mltable"), {"x": Left(any=True)})["x"]["properties"]
    assert (data["dataType"], data["dataUri"]) == ("mltable", "azureml://u/x/")
    text = b"flavors:\n  sklearn:\n    pickled_model: model.pkl\n"
    model = bodies(KINDS, row(jobOutputType="mlflow_model"), {"x": Left(any=True, mlmodel=text)})["x"]["properties"]
    assert (model["modelType"], model["jobName"]) == ("mlflow_model", "job")
    assert model["flavors"] == {"sklearn": {"data": {"pickled_model": "model.pkl"}}}


@pytest.mark.parametrize(
    ("kind", "left", "message"),
    [
        ("uri_file", Left(any=False), "wrote nothing"),
        ("mlflow_model", Left(any=True), "no file 'MLmodel'"),
        ("custom_model", Left(any=True, mlmodel=b"{"), "not valid YAML"),
        ("mlflow_model", Left(any=True, mlmodel=b"a: b"), "names no flavors"),
    ],
)
def test_an_output_that_is_no_such_asset_is_not_registered(kind: str, left: Left, message: str) -> None:
    with pytest.raises(NotRegistered, match=message):
        bodies(KINDS, row(jobOutputType=kind), {"x": left})


_TEXTS = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.sampled_from(
        ["uri_file", "literal", "MLTABLE", "ReadOnlyMount", "upload", "PT1S", "AMLToken", "Spot", "2g", "All"]
    ),
)
_NAMES = st.one_of(st.text(max_size=3), st.sampled_from(["a", "b_1", "Studio"]))
# Right types with any content; every field now and then of a wrong type, or not there.
_ANY = st.one_of(_TEXTS, st.booleans(), st.integers(-2, 2**65), st.floats(), st.lists(_TEXTS, max_size=2))


def _of(hint: Any) -> st.SearchStrategy[Any]:
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    made: list[st.SearchStrategy[Any]] = [_ANY]
    for part in parts:
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            made += [_body(part)] * 15
        elif typing.get_origin(part) is dict:
            made += [st.dictionaries(_NAMES, _of(typing.get_args(part)[1]), max_size=2)] * 15
        elif part is str:
            made += [_TEXTS] * 15
        elif part is int:
            made += [st.integers(0, 4)] * 15
    return st.one_of(made)


def _body(struct: type[msgspec.Struct], most: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    hints = typing.get_type_hints(struct)
    fields = {field.encode_name: _of(hints[field.name]) for field in msgspec.structs.fields(struct)}
    some = st.lists(st.sampled_from(sorted(fields)), max_size=most, unique=True)
    return some.flatmap(lambda names: st.fixed_dictionaries({name: fields[name] for name in names}))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_body(Command))
def test_whatever_comes_is_kept_or_refused_by_name(body: dict[str, Any]) -> None:
    """No body makes the kind fail in another way, and what is kept is accepted again as it is."""
    for name, value in JOB.items():
        body.pop(name, value)
    try:
        kept = accept(**body)
    except (InvalidInput, NotServed) as refusal:
        assert refusal.target
        assert refusal.target.startswith("properties")
        return
    again = KINDS["workspaces/jobs"].accept({"properties": kept})["properties"]
    assert again == kept


def test_a_command_that_no_process_could_be_given_is_refused_at_the_door() -> None:
    assert accept(command="x" * 100_000)
    with pytest.raises(InvalidInput, match=r"at most 100,000 bytes"):
        accept(command="x" * 100_001)
