"""The main job, with unmodified clients: train, follow the log, read the metrics, register, deploy, score.

`make demo` runs it against a server of its own. It knows nothing of Zaffre: with the same variables it runs on Azure.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from pathlib import Path

import mlflow
from azure.ai.ml import MLClient, Output, command
from azure.ai.ml.entities import Environment, Job, ManagedOnlineDeployment, ManagedOnlineEndpoint, Model
from azure.identity import DefaultAzureCredential
from sklearn.datasets import load_breast_cancer

CODE = Path(__file__).parent / "breast_cancer" / "src"
NAME = "breast-cancer"
PACKAGES = ["azureml-mlflow", "mlflow-skinny", "pandas<3", "scikit-learn"]
ROWS = slice(17, 22)  # some of either kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the endpoint")
    keep = parser.parse_args().keep
    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)  # it announces each experimental class it loads
    names = (os.environ[name] for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE"))
    ml = MLClient(DefaultAzureCredential(), *names)

    heading("train")
    job = train(ml)

    heading("metrics")
    for name, value in sorted(mlflow.get_run(job.name).data.metrics.items()):
        print(f"{name:10} {value:.4f}")

    heading("model")
    source = f"azureml://jobs/{job.name}/outputs/model"
    model = ml.models.create_or_update(Model(name=NAME, type="mlflow_model", path=source))
    print(f"{model.name}, version {model.version}")

    heading("deploy")
    endpoint = deploy(ml, model)

    heading("score")
    score(ml)

    heading("addresses")
    print(f"workspace  {ml.workspaces.get().id}")
    print(f"tracking   {mlflow.get_tracking_uri()}")
    print(f"scoring    {endpoint.scoring_uri}")
    if not keep:
        ml.online_endpoints.begin_delete(NAME).result()


def train(ml: MLClient) -> Job:
    """Submit the job and print its log while it runs; a job that fails raises here."""
    image = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
    conda = {"channels": ["conda-forge"], "dependencies": ["python=3.11", "pip", {"pip": PACKAGES}]}
    job = ml.jobs.create_or_update(
        command(
            code=str(CODE),
            command="python train.py ${{outputs.model}}",
            outputs={"model": Output(type="mlflow_model")},
            environment=Environment(image=image, conda_file=conda),
        ),
        experiment_name=NAME,
    )
    ml.jobs.stream(job.name)
    return job


def deploy(ml: MLClient, model: Model) -> ManagedOnlineEndpoint:
    """An MLflow model needs no scoring script. All traffic goes to the new deployment once it is ready."""
    began = time.monotonic()
    endpoint = ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=NAME, auth_mode="key")).result()
    blue = ManagedOnlineDeployment(
        name="blue",
        endpoint_name=NAME,
        model=f"azureml:{model.name}:{model.version}",
        instance_type="Standard_DS3_v2",
        instance_count=1,
    )
    ml.online_deployments.begin_create_or_update(blue).result()
    endpoint.traffic = {"blue": 100}
    endpoint = ml.online_endpoints.begin_create_or_update(endpoint).result()
    print(f"{endpoint.name} is ready after {time.monotonic() - began:.1f} s")
    return endpoint


def score(ml: MLClient) -> None:
    """Ask for a few rows and print the answers beside the truth."""
    data = load_breast_cancer(as_frame=True)
    rows = json.loads(data.data[ROWS].to_json(orient="split"))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as request:
        json.dump({"input_data": rows}, request)
        request.flush()
        answers = json.loads(ml.online_endpoints.invoke(NAME, request_file=request.name))
    for number, answer, truth in zip(rows["index"], answers, data.target[ROWS], strict=True):
        print(f"tumour {number}: predicted {_word(answer)}, in truth {_word(truth)}")


def _word(benign: bool | int) -> str:
    return "benign" if benign else "malignant"


def heading(text: str) -> None:
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    main()
