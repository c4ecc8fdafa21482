"""MLflow models served without code: every form of Azure ML's request, through the real inference server."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uv
import yaml
from serving_kit import environment, make_plan, score

from zaffre.serving import server
from zaffre.serving.errors import DeploymentFailed, ModelUnreadable
from zaffre.serving.mlflow_requirements import requirements_for
from zaffre.serving.plan import DeploymentPlan

# Made in the model's own environment, as a user's training job would
MAKE_MODELS = """
import sys
import mlflow, numpy as np, pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

root = sys.argv[1]
table = pd.DataFrame({"size": [1.0, 2.0, 3.0], "rooms": [1, 2, 3], "town": ["x", "y", "z"]})
encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]), remainder="passthrough")
houses = make_pipeline(encode, LinearRegression()).fit(table, [10.0, 20.0, 30.0])
signature = infer_signature(table, houses.predict(table))
mlflow.sklearn.save_model(houses, root + "/houses", signature=signature, input_example=table[:1])

rows = np.arange(12.0).reshape(4, 3)
plane = LinearRegression().fit(rows, [1.0, 2.0, 3.0, 4.0])
mlflow.sklearn.save_model(plane, root + "/plane/model", signature=infer_signature(rows, plane.predict(rows)),
    pip_requirements=["mlflow", "scikit-learn", "skops"])
mlflow.sklearn.save_model(plane, root + "/unsigned", pip_requirements=["mlflow"])


class Report(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if params["fail"]:
            raise RuntimeError("the model broke")
        frame = pd.DataFrame({"bytes": [len(b) for b in model_input["blob"]]})
        frame["when"] = pd.Timestamp("2026-01-02 03:04:05")
        frame["gap"] = np.array([np.nan] * len(frame))
        frame["scaled"] = frame["bytes"] * params["scale"]
        frame["parts"] = [np.array([1, 2])] * len(frame)
        return frame


signature = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "blob")]),
    params=ParamSchema([ParamSpec("scale", DataType.double, 1.0), ParamSpec("fail", DataType.boolean, False)]),
)
mlflow.pyfunc.save_model(root + "/report", python_model=Report(), signature=signature, pip_requirements=["mlflow"])


class Sum(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return {"sum": model_input["left"] + model_input["right"], "type": str(model_input["left"].dtype)}


pair = Schema([TensorSpec(np.dtype("float32"), (-1,), "left"), TensorSpec(np.dtype("float32"), (-1,), "right")])
mlflow.pyfunc.save_model(root + "/sum", python_model=Sum(), signature=ModelSignature(inputs=pair),
    pip_requirements=["mlflow"])


class Chat(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[dict[str, list[str]]], params=None):
        return [{"said": turn["words"][-1]} for turn in model_input]


mlflow.pyfunc.save_model(root + "/chat", python_model=Chat(), input_example=[{"words": ["a", "b"]}],
    pip_requirements=["mlflow"])
"""

HOUSES = {"columns": ["size", "rooms", "town"], "index": [0, 1], "data": [[1.0, 1, "x"], [3, 3, "z"]]}


pytestmark = pytest.mark.slow  # a real environment is made, and servers started in it


@functools.cache
def models() -> Path:
    root = Path(tempfile.mkdtemp(prefix="models-", dir=environment().parent))
    subprocess.run([environment(), "-c", MAKE_MODELS, root], check=True, timeout=300, capture_output=True)
    return root


class Served:
    """One running server for each model, kept for the whole module."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._plans: dict[str, DeploymentPlan] = {}

    def __call__(self, model: str, payload: Any, **options: Any) -> Any:
        if model not in self._plans:
            socket = str(self._root / "d" / f"{model}.sock")
            plan = make_plan(self._root, model, model_dir=str(models() / model), socket=socket)
            self._plans[model] = plan
            server.start(plan)
            asyncio.run(server.ready(plan))
        return score(self._plans[model].socket, payload, **options)

    def close(self) -> None:
        for plan in self._plans.values():
            server.stop(plan.folder, 0)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    servers = Served(tmp_path_factory.mktemp("mlflow"))
    yield servers
    servers.close()


@pytest.mark.parametrize(
    "data",
    [
        HOUSES,
        {name: HOUSES[name] for name in ("columns", "data")},
        [dict(zip(HOUSES["columns"], row, strict=True)) for row in HOUSES["data"]],  # type: ignore[arg-type]
        HOUSES["data"],
        '{"columns": ["size", "rooms", "town"], "data": [[1, 1, "x"], [3.0, 3, "z"]]}',
    ],
    ids=["split", "split without index", "records", "rows", "text"],
)
def test_a_table_in_every_form(served: Served, data: Any) -> None:
    answer = served("houses", {"input_data": data})
    assert answer.status == 200, answer.body
    assert answer.json() == pytest.approx([10.0, 30.0])


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("plane", [[0, 1, 2], [9, 10, 11]]),
        ("plane", {"columns": [0, 1, 2], "data": [[0, 1, 2], [9, 10, 11]]}),
        ("unsigned", [[0, 1, 2], [9, 10, 11]]),
        ("unsigned", "[[0, 1, 2], [9, 10, 11]]"),
        ("unsigned", {"columns": ["a", "b", "c"], "index": [5, 6], "data": [[0, 1, 2], [9, 10, 11]]}),
    ],
)
def test_arrays_for_models_with_a_tensor_signature_or_none(served: Served, model: str, data: Any) -> None:
    answer = served(model, {"input_data": data})
    assert answer.status == 200, answer.body
    assert answer.json() == pytest.approx([1.0, 4.0])


def test_named_tensors(served: Served) -> None:
    answer = served("sum", {"input_data": {"left": [1, 2], "right": [3, 4]}})
    assert answer.json() == {"sum": [4.0, 6.0], "type": "float32"}


def test_what_holds_lists_goes_to_the_model_as_it_is(served: Served) -> None:
    answer = served("chat", {"input_data": [{"words": ["one", "two"]}, {"words": ["three"]}]})
    assert answer.json() == [{"said": "two"}, {"said": "three"}]


def test_a_frame_comes_back_as_records_with_parameters_applied(served: Served) -> None:
    request = {"input_data": {"columns": ["blob"], "data": [["aGVsbG8="], ["aA=="]]}, "params": {"scale": 2.0}}
    answer = served("report", request)
    assert answer.json() == [
        {"bytes": 5, "when": "2026-01-02T03:04:05", "gap": None, "scaled": 10.0, "parts": [1, 2]},
        {"bytes": 1, "when": "2026-01-02T03:04:05", "gap": None, "scaled": 2.0, "parts": [1, 2]},
    ]


@pytest.mark.parametrize(
    ("model", "body", "said"),
    [
        ("houses", b"{", "not JSON"),
        ("houses", b"[1]", '"input_data"'),
        ("houses", b'{"inputs": [[1]]}', '"input_data"'),
        ("houses", b'{"input_data": 3}', "not a number"),
        ("houses", b'{"input_data": null}', "not null"),
        ("houses", b'{"input_data": "hello"}', "text but not JSON"),
        ("houses", b'{"input_data": [], "params": 3}', '"params" must be an object'),
        ("houses", b'{"input_data": {"columns": ["size"]}}', '"data" (a list of rows)'),
        ("houses", b'{"input_data": {"columns": ["size"], "data": [[1], [1, 2]]}}', "Row 1"),
        ("houses", b'{"input_data": {"columns": ["size"], "index": [1, 2], "data": [[1]]}}', '"index"'),
        ("houses", b'{"input_data": {"columns": ["size", "rooms"], "data": [[1, 2]]}}', "missing inputs ['town']"),
        ("houses", b'{"input_data": {"columns": ["size", "rooms", "town"], "data": [["q", 2, "x"]]}}', "column size"),
        ("plane", b'{"input_data": [[1, 2], [3]]}', "differ in length"),
        ("plane", b'{"input_data": [["a", "b", "c"]]}', "cannot be read as float64"),
        ("plane", b'{"input_data": [[1, 2]]}', "Shape"),
        ("report", b'{"input_data": {"columns": ["blob"], "data": [["not base64!"]]}}', "base64"),
    ],
)
def test_malformed_input_is_a_400_that_says_what_is_wrong(served: Served, model: str, body: bytes, said: str) -> None:
    answer = served(model, None, raw=body)
    assert answer.status == 400, answer.body
    assert said in answer.json()["message"]


def test_a_model_that_breaks_is_a_500(served: Served) -> None:
    request = {"input_data": {"columns": ["blob"], "data": [["aA=="]]}, "params": {"fail": True}}
    assert served("report", request).status == 500


def test_a_folder_without_a_model_fails_with_its_reason(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    with pytest.raises(DeploymentFailed, match="must be an MLflow model"):
        server.start(plan)
    (Path(plan.model_dir) / "MLmodel").write_text("[not, a, mapping]")
    with pytest.raises(DeploymentFailed, match="should hold a mapping"):
        server.start(plan)


def test_a_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    (Path(plan.model_dir) / "MLmodel").write_text("flavors: {python_function: {loader_module: lacking_flavor}}\n")
    server.start(plan)
    try:
        with pytest.raises(DeploymentFailed) as failure:
            asyncio.run(server.ready(plan))
    finally:
        server.stop(plan.folder, 0)
    assert "lacking_flavor" in failure.value.reason


def test_swagger_tells_the_form_of_the_input(served: Served) -> None:
    two = served("houses", None, route="/swagger.json").json()
    body = two["paths"]["/score"]["post"]["parameters"][0]["schema"]
    assert body["properties"]["input_data"]["properties"]["columns"]["items"]["enum"] == HOUSES["columns"]
    assert served("houses", body["example"]).status == 200
    three = served("sum", None, route="/swagger.json?version=3").json()
    data = three["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert data["input_data"]["properties"]["left"] == {"type": "array", "items": {"type": "number"}}
    params = served("report", None, route="/swagger.json").json()["paths"]["/score"]["post"]["parameters"][0]["schema"]
    assert params["properties"]["params"]["properties"]["scale"] == {
        "type": "number",
        "format": "double",
        "default": 1.0,
    }


@pytest.mark.parametrize("name", ["houses", "plane"])
def test_the_requirements_of_a_model_resolve(name: str) -> None:
    conda = yaml.safe_load(requirements_for(models() / name))
    assert conda["dependencies"][0].startswith("python=3.")
    pip = conda["dependencies"][-1]["pip"]
    names = [requirement.partition("==")[0] for requirement in pip]
    assert {"mlflow-skinny", "scikit-learn", "skops"} <= set(names)
    assert "mlflow" not in names
    command = [uv.find_uv_bin(), "pip", "install", "--dry-run", "--reinstall", "-p", environment(), *pip]
    subprocess.run(command, check=True, timeout=120, capture_output=True)


def test_requirements_from_pip_files_keep_what_they_name(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("mlflow_version: 2.16.0\nflavors: {python_function: {python_version: 3.10.4}}\n")
    with pytest.raises(ModelUnreadable, match="environment is not"):
        requirements_for(tmp_path)
    (tmp_path / "own.whl").write_bytes(b"")
    (tmp_path / "requirements.txt").write_text(
        "MLflow[genai]==2.16.0\nnumpy<2  # old\n# note\nown.whl\npkg @ https://x/y#egg\nAzureML_Inference.Server-http==1.4\n"
    )
    (tmp_path / "python_env.yaml").write_text("python: 3.9.18\ndependencies: [-r requirements.txt]\n")
    conda = yaml.safe_load(requirements_for(tmp_path))
    assert conda["dependencies"][:2] == ["python=3.9.18", "pip"]
    assert conda["dependencies"][2]["pip"] == [
        "MLflow[genai]==2.16.0",
        "numpy<2",
        str(tmp_path / "own.whl"),
        "pkg @ https://x/y#egg",
        "AzureML_Inference.Server-http==1.4",
        "pandas",
    ]


def test_requirements_keep_the_conda_part_of_a_model(tmp_path: Path) -> None:
    model = tmp_path / "artifact"
    model.mkdir()
    (model / "MLmodel").write_text("mlflow_version: 2.16.0\n")
    (model / "conda.yaml").write_text(
        "channels: [defaults]\ndependencies: [python=3.10, conda-forge::pandas=2.2, {pip: [mlflow<3]}]\n"
    )
    conda = yaml.safe_load(requirements_for(tmp_path))
    assert conda["channels"] == ["defaults"]
    assert conda["dependencies"] == [
        "python=3.10",
        "conda-forge::pandas=2.2",
        "pip",
        {"pip": ["mlflow-skinny<3", "numpy", "azureml-inference-server-http>=1.0"]},
    ]


def test_a_folder_that_is_no_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable, match="code_configuration"):
        requirements_for(tmp_path)
