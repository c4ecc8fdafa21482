"""What scikit-learn, XGBoost, LightGBM and MLflow itself log without being told, from the oldest and the newest client that count.

`make matrix` runs every client and tracking URI, and PyTorch with them: it is too large for each run of the tests.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support import mlflow_flow, venvs
from tests.support.zaffre_server import ZaffreServer

SCRIPT = Path(__file__).parent / "scripts" / "mlflow_autolog.py"
LIBRARIES = ("numpy", "pandas<3", "scikit-learn", "xgboost-cpu", "lightgbm", "matplotlib", "pillow", "psutil")
CLIENTS = {
    "newest": ("mlflow-skinny",),
    "2.22": ("mlflow-skinny==2.22.*",),
    "2.22 and the plugin": ("mlflow-skinny==2.22.*", "azureml-mlflow"),
    "newest with the plugin": ("azureml-mlflow",),  # which says how new mlflow may be
}
WHOLE = os.environ.get("ZAFFRE_MATRIX", "") not in ("", "0")
ALWAYS = [("newest", False), ("2.22 and the plugin", True)]
MATRIX = [(client, asked) for client in CLIENTS for asked in (False, True) if "plugin" in client or not asked]


@pytest.mark.parametrize(("client", "by_plugin"), MATRIX if WHOLE else ALWAYS)
def test_what_is_logged_by_itself_is_here(
    client_environment: ZaffreServer,
    newest_mlflow: Path,
    tmp_path: Path,
    tracking_uri: str,
    client: str,
    by_plugin: bool,
) -> None:
    packages = (*CLIENTS[client], *LIBRARIES, *(("torch", "pytorch-lightning") if WHOLE else ()))
    if client == "newest" and not WHOLE:
        python = newest_mlflow
        venvs.add(python, *LIBRARIES)
    else:
        python = venvs.make(tmp_path / "python", *packages)
    uri = tracking_uri if by_plugin else client_environment.variables["MLFLOW_TRACKING_URI"]
    found = mlflow_flow.flow(python, client_environment, f"autolog {client} {by_plugin}", uri, script=SCRIPT)
    assert found["plugin"] == ("plugin" in client) and found["version"].startswith(
        "2.22." if "2.22" in client else "3."
    )
    check(found)
    assert ("torch" in found) == WHOLE


def check(found: dict[str, Any]) -> None:
    old = found["version"].startswith("2.")
    for library in ("sklearn", "xgboost", "lightgbm", "torch"):
        one = found.get(library)
        if one is None:
            assert library == "torch"
            continue
        assert one["status"] == "FINISHED" and one["loaded"] is True, one
        assert ("model" in one["files"]) == old, "mlflow 3 logs a model beside the run, not in it"
        assert one["params"] >= 4
        if library != "torch":
            assert "train" in one["datasets"]
    assert found["sklearn"]["tries"] == ["0.1", "1.0", "10.0"]
    assert "training_accuracy_score" in found["sklearn"]["metrics"]
    assert "training_confusion_matrix.png" in found["sklearn"]["files"]
    assert found["xgboost"]["points"] == found["lightgbm"]["points"] == 5
    assert "feature_importance_weight.json" in found["xgboost"]["files"]
    if "torch" in found:
        assert found["torch"]["points"] == 5 and "model_summary.txt" in found["torch"]["files"]
    rich = found["rich"]
    assert rich["images"] == 4 and rich["figure"] == ["figures/plot.png"]
    assert rich["depth"] == ["one", True]
    assert rich["system"] == ["system/cpu_utilization_percentage", "system/disk_available_megabytes"]
    assert rich["table"] == [1, 2] and rich["document"] == {"a": [1, 2]}
    assert rich["dataset"] == [["made", "code"]]
    assert rich["files"] == ["documents", "figures", "images", "plain.png", "table.json"]
