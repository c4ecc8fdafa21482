"""What a user of mlflow does, from the first run to a loaded model; prints what came of it as one line of JSON.

Run by a test, with whichever mlflow and tracking URI it is about; no model library is needed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import mlflow
import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.deployments import get_deploy_client

NAME, OTHERS = sys.argv[1], sys.argv[2:]
OLD = mlflow.__version__.startswith("2.")


class Doubled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [2 * value for value in model_input]


def main() -> dict:
    found: dict = {"version": mlflow.__version__, "plugin": find_spec("azureml") is not None}
    mlflow.set_experiment(NAME)
    client = MlflowClient()
    with mlflow.start_run(run_name="parent", tags={"k": "v"}) as run:
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_metrics({"loss": 0.25, "acc": 0.75}, step=2)
        mlflow.log_param("p", 1)
        mlflow.log_params({"q": "two"})
        mlflow.set_tag("t", "u")
        mlflow.log_text("first", "notes/a.txt")
        mlflow.log_text("second", "notes/a.txt")  # again: what is logged later counts
        mlflow.log_dict({"a": 1}, "ü b.json")
        with tempfile.TemporaryDirectory() as folder:
            for name in ("one.txt", "sub/two.txt"):
                path = Path(folder, "tree", name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(name)
            mlflow.log_artifacts(str(Path(folder, "tree")), "tree")
        mlflow.log_metric("later", 1.5, step=7, synchronous=False)
        mlflow.log_params({"r": "3"}, synchronous=False)
        mlflow.flush_async_logging()
        with mlflow.start_run(run_name="child", nested=True) as child:
            mlflow.log_metric("loss", 7)
        where = {"artifact_path": "model"} if OLD else {"name": "model"}
        info = mlflow.pyfunc.log_model(python_model=Doubled(), pip_requirements=[], **where)
    run_id = run.info.run_id
    found["run"] = run_id
    found["artifact_uri"] = run.info.artifact_uri
    ended = client.get_run(run_id)
    found["status"] = ended.info.status
    found["metrics"] = dict(ended.data.metrics)
    found["params"] = ended.data.params
    found["parent"] = client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"]
    found["history"] = [point.value for point in client.get_metric_history(run_id, "loss")]
    found["root"] = sorted(one.path for one in client.list_artifacts(run_id))
    found["tree"] = sorted(one.path for one in client.list_artifacts(run_id, "tree"))
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=folder))
        found["copied"] = {
            str(path.relative_to(copied)): path.read_text()
            for path in sorted(copied.rglob("*"))
            if path.suffix in (".txt", ".json") and "model" not in path.parts and path.name != "requirements.txt"
        }
    found["text"] = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/tree/sub/two.txt")
    rows = mlflow.search_runs(experiment_names=[NAME], filter_string="metrics.acc > 0.7", output_format="list")
    found["searched"] = [one.info.run_id for one in rows]
    registered = mlflow.register_model(f"runs:/{run_id}/model", NAME)
    found["registered"] = [str(registered.version), registered.run_id]
    found["source"] = registered.source
    client.set_registered_model_alias(NAME, "champion", registered.version)
    uris = [info.model_uri, f"runs:/{run_id}/model", f"models:/{NAME}/1", f"models:/{NAME}@champion"]
    found["loaded"] = [mlflow.pyfunc.load_model(uri).predict([1, 2]) for uri in uris]
    found["others"] = [mlflow.pyfunc.load_model(f"models:/{name}/1").predict([1, 2]) for name in OTHERS]
    if mlflow.get_tracking_uri().startswith("azureml:"):
        # Only the plugin takes a folder of this machine as a model's source.
        with tempfile.TemporaryDirectory() as folder:
            mlflow.pyfunc.save_model(folder + "/local", python_model=Doubled(), pip_requirements=[])
            second = client.create_model_version(NAME, f"file://{folder}/local")
        found["second"] = second.source
        deployments = get_deploy_client(mlflow.get_tracking_uri())
        deployments.create_endpoint(NAME)
        listed = [one["name"] for one in deployments.list_endpoints()]
        found["endpoint"] = [deployments.get_endpoint(NAME)["name"], NAME in listed, deployments.list_deployments(NAME)]
        deployments.delete_endpoint(NAME)
        found["loaded"].append(mlflow.pyfunc.load_model(f"models:/{NAME}/2").predict([1, 2]))
    return found


if __name__ == "__main__":
    print("FOUND " + json.dumps(main()))
