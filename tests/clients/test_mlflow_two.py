"""mlflow 2, newest and without the plugin first, then with it; the same flow as for mlflow 3."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support import venvs
from tests.support.mlflow_flow import check, flow
from tests.support.zaffre_server import ZaffreServer


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with mlflow 2 and nothing of Azure."""
    folder = tmp_path_factory.mktemp("mlflow") / "two"
    return venvs.make(folder, "mlflow-skinny==2.22.*", "pandas<3", "numpy")


@pytest.fixture(scope="module")
def with_plugin(plain: Path) -> Path:
    venvs.add(plain, "azureml-mlflow", "mlflow-skinny==2.22.*")
    return plain


def test_without_the_plugin(client_environment: ZaffreServer, plain: Path) -> None:
    found = flow(plain, client_environment, "two-plain", client_environment.variables["MLFLOW_TRACKING_URI"])
    assert found["version"].startswith("2.22.") and not found["plugin"]
    check(found)


def test_with_the_plugin_by_the_workspaces_own_uri(
    client_environment: ZaffreServer, with_plugin: Path, tracking_uri: str
) -> None:
    found = flow(with_plugin, client_environment, "two-plugin", tracking_uri)
    assert found["version"].startswith("2.22.") and found["plugin"]
    check(found)
    assert found["source"].startswith("azureml://")
    assert found["endpoint"] == ["two-plugin", True, []]


def test_mlflow_three_with_the_plugin_there_but_not_asked(
    client_environment: ZaffreServer, uploaded_model: str
) -> None:
    uri = client_environment.variables["MLFLOW_TRACKING_URI"]
    check(flow(Path(sys.executable), client_environment, "three-beside", uri, uploaded_model))
