"""The real clients against one running server; what they asked is recorded for docs/coverage.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import arm_contract, mlflow_peer, venvs
from tests.support.zaffre_server import ZaffreServer

FOUND: list[str] = []
CONDA = """name: job
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip:
    - scikit-learn
    - skops
    - pandas<3
    - mlflow-skinny==3.15.0
"""


@pytest.fixture(scope="session", autouse=True)
def watched() -> Iterator[None]:
    """All that the control plane answers to any client of these tests is compared with ARM's published types."""
    with arm_contract.watch(FOUND):
        yield


@pytest.fixture(autouse=True)
def answers_keep_the_contract(watched: None) -> Iterator[None]:
    """A test fails when an answer that it saw does not."""
    yield
    found = sorted(FOUND)
    FOUND.clear()
    if found:
        pytest.fail("answers that ARM's types do not allow:\n  " + "\n  ".join(found), pytrace=False)


@pytest.fixture(scope="session")
def ml(client_environment: ZaffreServer) -> Iterator[Any]:
    """The unmodified MLClient, signed in by DefaultAzureCredential from variables alone."""
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    names = client_environment.credentials
    yield MLClient(DefaultAzureCredential(), names["subscription"], names["resource_group"], names["workspace"])


@pytest.fixture
def code(tmp_path: Path) -> Callable[..., Path]:
    """A folder of source files, by name and content."""

    def make(**files: str) -> Path:
        folder = tmp_path / "src"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_text(content)
        return folder

    return make


@pytest.fixture(scope="session")
def bare() -> Any:
    """The cheapest environment there is: a Python and nothing more."""
    from azure.ai.ml.entities import Environment

    return Environment(image="python:3.11")


@pytest.fixture(scope="session")
def tracking_uri(ml: Any, client_environment: ZaffreServer) -> str:
    """As the SDK tells it."""
    return str(ml.workspaces.get(client_environment.credentials["workspace"]).mlflow_tracking_uri)


@pytest.fixture(scope="session")
def newest_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the newest mlflow there is, its server included, and nothing of Azure."""
    folder = tmp_path_factory.mktemp("mlflow") / "newest"
    return venvs.make(folder, "mlflow-skinny", *mlflow_peer.PARTS)


@pytest.fixture(scope="session")
def uploaded_model(ml: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MLflow model that the SDK uploaded from this machine, so one that lies in no run."""
    import mlflow.pyfunc
    from azure.ai.ml.entities import Model

    class Doubled(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> list[Any]:
            return [2 * value for value in model_input]

    folder = tmp_path_factory.mktemp("model") / "doubled"
    mlflow.pyfunc.save_model(str(folder), python_model=Doubled(), pip_requirements=[])
    made = ml.models.create_or_update(Model(name="uploaded-doubled", path=str(folder), type="mlflow_model"))
    return str(made.name)
