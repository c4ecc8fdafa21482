"""The main flows of azure-ai-ml in one program; prints what came of them as one line of JSON. Run by a test with an old SDK."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import azure.ai.ml
from azure.ai.ml import Input, MLClient, Output, command
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import Data, Environment, ManagedOnlineDeployment, ManagedOnlineEndpoint, Model
from azure.ai.ml.operations._run_operations import RunOperations
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential

NAME = sys.argv[1]
SOURCE = """
import os, pathlib, sys, time
while not os.path.exists(os.environ["GATE"]):
    time.sleep(0.05)
given, made, outputs = sys.argv[1:]
text = pathlib.Path(given, "a.txt").read_text()
print("read", text)
pathlib.Path(made, "twice.txt").write_text(text * 2)
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs", "end.txt").write_text("end")
"""


def open_when_looked_at(gate: Path) -> None:
    """The SDK shows nothing of a job that is over when it first looks at it; so ours waits for that look."""
    look = RunOperations.get_run_details

    def looking(self, run_id: str):
        seen = look(self, run_id)
        gate.touch()
        return seen

    RunOperations.get_run_details = looking


def main(folder: Path) -> dict:
    names = [os.environ[name] for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE")]
    ml = MLClient(DefaultAzureCredential(), *names)
    found: dict = {"version": azure.ai.ml.__version__, "workspace": ml.workspaces.get(names[2]).name}

    (folder / "data").mkdir()
    (folder / "data" / "a.txt").write_text("ab")
    (folder / "src").mkdir()
    (folder / "src" / "run.py").write_text(SOURCE)
    data = ml.data.create_or_update(Data(name=NAME, path=str(folder / "data"), type=AssetTypes.URI_FOLDER))
    found["data"] = [data.version, ml.data.get(NAME, label="latest").version]
    environment = ml.environments.create_or_update(Environment(name=NAME, image="python:3.11"))
    found["environment"] = [environment.version, [one.version for one in ml.environments.list(name=NAME)]]

    registry = MLClient(DefaultAzureCredential(), registry_name="azureml")
    curated = [one.name for one in registry.environments.list() if one.name == "sklearn-1.5"]
    found["registry"] = [*curated, registry.environments.get("sklearn-1.5", label="latest").id]

    job = ml.jobs.create_or_update(
        command(
            command="python run.py ${{inputs.given}} ${{outputs.made}} outputs",
            code=str(folder / "src"),
            inputs={"given": Input(type=AssetTypes.URI_FOLDER, path=f"azureml:{NAME}:{data.version}")},
            outputs={"made": Output(type=AssetTypes.URI_FOLDER)},
            environment=f"{NAME}@latest",
            environment_variables={"GATE": str(folder / "gate")},
            experiment_name=NAME,
        )
    )
    open_when_looked_at(folder / "gate")
    ml.jobs.stream(job.name)
    found["status"] = ml.jobs.get(job.name).status
    ml.jobs.download(job.name, download_path=str(folder / "got"), all=True)
    found["downloaded"] = sorted(str(p.relative_to(folder / "got")) for p in (folder / "got").rglob("*.txt"))
    ml.jobs.archive(job.name)
    found["listed"] = [one.name for one in ml.jobs.list(max_results=50)].count(job.name)

    model = ml.models.create_or_update(
        Model(name=NAME, path=f"azureml://jobs/{job.name}/outputs/made", type=AssetTypes.CUSTOM_MODEL)
    )
    ml.models.download(NAME, model.version, download_path=str(folder / "model"))
    found["model"] = [model.version, [p.read_text() for p in (folder / "model").rglob("twice.txt")]]

    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=NAME, auth_mode="key")).result()
    endpoint = ml.online_endpoints.get(NAME)
    found["endpoint"] = [endpoint.provisioning_state, len(ml.online_endpoints.get_keys(NAME).primary_key) > 20]
    try:
        ml.online_deployments.begin_create_or_update(
            ManagedOnlineDeployment(
                name="blue",
                endpoint_name=NAME,
                model=f"{NAME}:{model.version}",
                instance_type="Standard_DS3_v2",
                instance_count=1,
            )
        ).result()
    except HttpResponseError as error:
        found["refused"] = str(error)
    ml.online_endpoints.begin_delete(NAME).result()
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print("FOUND " + json.dumps(main(Path(place))))
