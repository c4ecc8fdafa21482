"""Fill a home by real clients and pack it, to be kept under tests/upgrade/ as what a user of this version has on disk.

`python -m scripts.make_upgrade_home tests/upgrade/homes/schema-0001.tar.gz`, once before a release changes the schema. Packed are the
database, the objects and the keys; environments are left out: they are built anew wherever they are missing.
"""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.support.zaffre_server import ZaffreServer

LEFT_OUT = {"environments", "run", "edge", "launchers", "logs", "bundle.pem"}
SCORE = """
import json, os

def init():
    global name
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "name.txt")) as file:
        name = file.read()

def run(raw):
    return {"model": name, "echo": json.loads(raw)}
"""
CONDA = "dependencies:\n  - python=3.11\n  - pip:\n    - azureml-inference-server-http\n"


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = ZaffreServer(Path(folder) / "home").up()
        os.environ.update(server.variables)
        try:
            fill(server, Path(folder))
        finally:
            server.down()
        target.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(target, "w:gz") as packed:
            packed.add(server.home, "home", filter=_kept)
        server.destroy()
    print(f"{target}: {target.stat().st_size / 1024:.0f} KiB")


def fill(server: ZaffreServer, folder: Path) -> None:
    """A workspace as somebody would leave it: data, a job with logs and outputs, runs, a model, an endpoint that scores."""
    from azure.ai.ml import Input, MLClient, Output, command
    from azure.ai.ml.entities import (
        CodeConfiguration,
        Data,
        Environment,
        ManagedOnlineDeployment,
        ManagedOnlineEndpoint,
        Model,
    )
    from azure.identity import DefaultAzureCredential

    names = server.credentials
    ml = MLClient(DefaultAzureCredential(), names["subscription"], names["resource_group"], names["workspace"])
    (folder / "data.csv").write_text("a,b\n1,2\n")
    ml.data.create_or_update(
        Data(name="table", version="1", type="uri_file", path=str(folder / "data.csv"), tags={"kept": "yes"})
    )
    (folder / "src").mkdir()
    (folder / "src" / "main.py").write_text(
        "import pathlib, sys\nprint('read', pathlib.Path(sys.argv[1]).read_text().split())\n"
        "pathlib.Path(sys.argv[2], 'weights.txt').write_text('42')\n"
    )
    job = command(
        name="trained",
        code=str(folder / "src"),
        command="python main.py ${{inputs.table}} ${{outputs.model}}",
        environment=Environment(image="python:3.11"),
        inputs={"table": Input(type="uri_file", path="azureml:table:1")},
        outputs={"model": Output(type="uri_folder")},
        experiment_name="before",
        tags={"team": "blue"},
    )
    ml.jobs.create_or_update(job)
    assert server.wait_for_job("trained") == "Completed", server.job_log("trained")
    _runs()
    (folder / "model").mkdir()
    (folder / "model" / "name.txt").write_text("v1")
    model = ml.models.create_or_update(Model(name="named", path=str(folder / "model"), type="custom_model"))
    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="before-upgrade", auth_mode="key")).result()
    (folder / "score").mkdir()
    (folder / "score" / "score.py").write_text(SCORE)
    (folder / "conda.yml").write_text(CONDA)
    ml.online_deployments.begin_create_or_update(
        ManagedOnlineDeployment(
            name="blue",
            endpoint_name="before-upgrade",
            model=model,
            code_configuration=CodeConfiguration(code=str(folder / "score"), scoring_script="score.py"),
            environment=Environment(image="python:3.11", conda_file=str(folder / "conda.yml")),
            instance_type="Standard_DS3_v2",
            instance_count=1,
        )
    ).result()
    endpoint = ml.online_endpoints.get("before-upgrade")
    endpoint.traffic = {"blue": 100}
    ml.online_endpoints.begin_create_or_update(endpoint).result()


def _runs() -> None:
    import mlflow

    mlflow.set_experiment("notebook")
    with mlflow.start_run(run_name="by hand", tags={"k": "v"}) as run:
        mlflow.log_param("depth", 3)
        for step in range(10):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_text("hello", "notes/hello.txt")
    client = mlflow.MlflowClient()
    client.create_registered_model("by-mlflow")
    client.create_model_version("by-mlflow", f"{run.info.artifact_uri}/notes", run.info.run_id)
    client.set_registered_model_alias("by-mlflow", "champion", "1")


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(entry.name).parts
    if (len(parts) > 1 and parts[1] in LEFT_OUT) or not (entry.isfile() or entry.isdir()):
        return None
    entry.uname = entry.gname = ""
    entry.uid = entry.gid = 0
    return entry


if __name__ == "__main__":
    main(Path(sys.argv[1]))
