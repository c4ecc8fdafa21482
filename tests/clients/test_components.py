"""Components by the unmodified SDK: from YAML, without a version, anonymous, by label, downloaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer

STAMP = re.compile(r"\d{4}-\d{2}-\d{2}-\d{2}-\d{2}-\d{2}-\d{7}")
SPEC = """$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: {name}
display_name: Train a model
description: the first
tags: {{team: blue}}
inputs:
  data: {{type: uri_folder, description: where it lies}}
  rate: {{type: number, default: 0.1, optional: true}}
outputs:
  model: {{type: mlflow_model}}
code: ./src
environment: {{image: "python:3.11"}}
command: >-
  python train.py --data ${{{{inputs.data}}}} $[[--rate ${{{{inputs.rate}}}}]] --model ${{{{outputs.model}}}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Any:
    """A component file of that name beside its code."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text("print('training')")

    def make(name: str, **changed: str) -> Path:
        text = SPEC.format(name=name)
        for field, value in changed.items():
            text = re.sub(rf"^{field}:.*$", f"{field}: {value}", text, flags=re.MULTILINE)
        path = tmp_path / f"{name}.yml"
        path.write_text(text)
        return path

    return make


def test_a_component_comes_back_with_what_the_service_fills(ml: Any, spec: Any) -> None:
    from azure.ai.ml import load_component

    made = ml.components.create_or_update(load_component(spec("filled")))
    assert (made.name, made.version, made.description, made.tags) == ("filled", "1", "the first", {"team": "blue"})
    found = ml.components.get("filled", "1")
    assert found._to_dict() == made._to_dict()
    assert found.creation_context.created_at is not None
    assert (found.inputs["data"].optional, found.inputs["rate"].optional) == (False, True)
    assert found.resources.instance_count == 1
    assert "/codes/" in found.code and "/environments/" in found.environment
    assert "filled" in [one.name for one in ml.components.list()]
    assert next(one for one in ml.components.list() if one.name == "filled").latest_version == "1"


def test_versions_without_a_number_are_time_stamps_and_the_default_is_the_newest(ml: Any, spec: Any) -> None:
    from azure.ai.ml import load_component

    path = spec("stamped")
    first = ml.components.create_or_update(load_component(path))
    second = ml.components.create_or_update(load_component(spec("stamped", description="the second")))
    assert first.version == "1" and STAMP.fullmatch(second.version)
    assert [one.version for one in ml.components.list("stamped")] == [second.version, "1"]
    for default in (ml.components.get("stamped"), ml.components.get("stamped", label="default")):
        assert default.version == second.version
        assert default.id.endswith("/components/stamped/labels/default")
    assert ml.components.get("stamped", label="latest").id.endswith(f"/versions/{second.version}")
    ml.components.archive("stamped", version=second.version)
    assert ml.components.get("stamped").version == "1"
    assert [one.version for one in ml.components.list("stamped")] == ["1"]
    ml.components.restore("stamped", version=second.version)
    ml.components.archive("stamped")
    assert "stamped" not in [one.name for one in ml.components.list()]
    assert "stamped" in [one.name for one in ml.components.list(list_view_type="ArchivedOnly")]
    ml.components.restore("stamped")
    assert "stamped" in [one.name for one in ml.components.list()]


def test_the_same_version_may_be_described_anew_and_not_made_anew(ml: Any, spec: Any) -> None:
    from azure.ai.ml import load_component
    from azure.core.exceptions import ResourceExistsError

    ml.components.create_or_update(load_component(spec("fixed")), version="7")
    again = load_component(spec("fixed", description="told better", display_name="Better"))
    made = ml.components.create_or_update(again, version="7")
    assert (made.description, made.display_name) == ("told better", "Better")
    with pytest.raises(ResourceExistsError, match="other content"):
        ml.components.create_or_update(
            load_component(spec("fixed", type="command\nis_deterministic: false")), version="7"
        )


def test_an_unchanged_component_is_not_registered_twice(ml: Any, spec: Any) -> None:
    from azure.ai.ml import load_component

    first = ml.components.create_or_update(load_component(spec("unchanged")))
    second = ml.components.create_or_update(load_component(spec("unchanged")), skip_if_no_change=True)
    assert second.version == first.version


def test_an_anonymous_component_is_kept_once(ml: Any, spec: Any) -> None:
    from azure.ai.ml import load_component

    made = [ml.components.create_or_update(load_component(spec("own_name")), is_anonymous=True) for _ in range(2)]
    assert made[0].id == made[1].id and "/components/azureml_anonymous/versions/" in made[0].id
    assert made[0].name == "own_name"
    found = ml.components.get("azureml_anonymous", made[0].id.rpartition("/")[2])
    assert found.name == "own_name" and found._is_anonymous
    assert "azureml_anonymous" not in [one.name for one in ml.components.list()]
    assert "azureml_anonymous" in [one.name for one in ml.components.list(list_view_type="All")]


def test_a_component_is_downloaded_with_its_code_and_environment(ml: Any, spec: Any, tmp_path: Path) -> None:
    from azure.ai.ml import load_component

    made = ml.components.create_or_update(load_component(spec("taken")))
    ml.components.download("taken", tmp_path / "down", version=made.version)
    local = load_component(tmp_path / "down" / "component_spec.yaml")
    assert local.name == "taken" and local.command == made.command
    assert (tmp_path / "down" / "code" / "src" / "train.py").exists() or (
        tmp_path / "down" / "code" / "train.py"
    ).exists()
    assert local.environment.image == "python:3.11"


@pytest.mark.parametrize("kind", ["pipeline", "spark", "parallel"])
def test_other_types_are_records_for_now(ml: Any, spec: Any, tmp_path: Path, kind: str) -> None:
    from azure.ai.ml import load_component

    step = spec(f"{kind}_step")
    texts = {
        "pipeline": f"""type: pipeline
name: of_pipeline
inputs: {{start: {{type: uri_folder}}}}
outputs: {{end: {{type: mlflow_model}}}}
jobs:
  train:
    type: command
    component: ./{step.name}
    inputs: {{data: "${{{{parent.inputs.start}}}}"}}
    outputs: {{model: "${{{{parent.outputs.end}}}}"}}
""",
        "spark": """type: spark
name: of_spark
inputs: {data: {type: uri_file, mode: direct}}
outputs: {out: {type: uri_folder, mode: direct}}
code: ./src
entry: {file: train.py}
conf: {spark.driver.cores: 1, spark.driver.memory: 1g, spark.executor.cores: 1, spark.executor.memory: 1g, spark.executor.instances: 1}
args: --data ${{inputs.data}} --out ${{outputs.out}}
""",
        "parallel": """type: parallel
name: of_parallel
inputs: {data: {type: uri_folder}}
outputs: {out: {type: uri_folder}}
input_data: ${{inputs.data}}
mini_batch_size: "10"
task: {type: run_function, code: ./src, entry_script: train.py, environment: {image: "python:3.11"}}
""",
    }
    path = tmp_path / "other.yml"
    path.write_text(texts[kind])
    made = ml.components.create_or_update(load_component(path))
    assert (made.type, made.version) == (kind, "1")
    found = ml.components.get(f"of_{kind}", "1")
    assert found._to_dict() == made._to_dict()
    assert all(port.optional is False for port in found.inputs.values())


def test_components_that_use_one_another_go_together(server: ZaffreServer) -> None:
    version = "api-version=2024-01-01-preview"
    base = f"{server.scope}/components/family"
    step = {"type": "command", "componentId": f"azureml:{base}/versions/1"}
    for number, spec_ in (("1", {"command": "true"}), ("2", {"type": "pipeline", "jobs": {"step": step}})):
        made = server.request("PUT", f"{base}/versions/{number}?{version}", {"properties": {"componentSpec": spec_}})
        assert made.status == 201, made.body
    refused = server.request("DELETE", f"{base}/versions/1?{version}")
    assert refused.status == 409 and "'family/2'" in refused.json["error"]["message"], refused.body
    assert server.request("DELETE", f"{base}?{version}").status == 204
    assert server.request("GET", f"{base}/versions/2?{version}").status == 404


@pytest.mark.parametrize(
    ("spec_", "field"),
    [
        (None, "componentSpec"),
        ({"type": "dance"}, "properties.componentSpec.type"),
        ({"type": "command"}, "command"),
        ({"command": " "}, "properties.componentSpec.command"),
        ({"command": "x ${{inputs.none}}"}, "properties.componentSpec.command"),
        ({"command": "x", "inputs": {"a": {}}}, "properties.componentSpec.inputs"),
        ({"command": "x", "inputs": {"a b": {"type": "string"}}}, "properties.componentSpec.inputs"),
        ({"command": "x", "resources": {"instance_count": 0}}, "properties.componentSpec.resources.instance_count"),
        ({"command": "x", "code": "azureml:{ws}/codes/none/versions/1"}, "properties.componentSpec.code"),
        ({"type": "pipeline", "jobs": ["a"]}, "properties.componentSpec.jobs"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_by_field(server: ZaffreServer, spec_: Any, field: str) -> None:
    if spec_ and "code" in spec_:
        spec_ = {**spec_, "code": spec_["code"].replace("{ws}", server.scope)}
    path = f"{server.scope}/components/refused/versions/1?api-version=2024-01-01-preview"
    answer = server.request("PUT", path, {"properties": {} if spec_ is None else {"componentSpec": spec_}})
    assert answer.status in (400, 404) and field in answer.json["error"]["message"], answer.body
    assert server.request("GET", f"{server.scope}/components/refused?api-version=2024-01-01-preview").status == 404


def test_the_label_is_no_version(server: ZaffreServer) -> None:
    path = f"{server.scope}/components/labelled/versions/azureml_default?api-version=2024-01-01-preview"
    answer = server.request("PUT", path, {"properties": {"componentSpec": {"command": "true"}}})
    assert answer.status == 400 and "not a valid version" in answer.json["error"]["message"]
    assert server.request("GET", path).status == 404
