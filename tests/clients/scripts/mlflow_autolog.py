"""What libraries and MLflow log by themselves, and the richer things a user logs; prints what came of it as one line of JSON.

Run by a test, with whichever mlflow, libraries and tracking URI it is about; a library that is not installed is passed over.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.util import find_spec

os.environ["MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"] = "0.2"
os.environ["MPLBACKEND"] = "Agg"

import mlflow
import numpy
import pandas
from mlflow import MlflowClient

NAME = sys.argv[1]
ROUNDS = 5
RANDOM = numpy.random.default_rng(0)
X = pandas.DataFrame(RANDOM.normal(size=(200, 4)), columns=list("abcd"))
Y = (X["a"] + X["b"] > 0).astype(int)


def main() -> dict:
    mlflow.set_experiment(NAME)
    found = {"version": mlflow.__version__, "plugin": find_spec("azureml") is not None}
    for library, run in {"sklearn": sklearn, "xgboost": xgboost, "lightgbm": lightgbm, "torch": torch}.items():
        if find_spec(library) is not None:
            found[library] = run()
            getattr(mlflow, {"torch": "pytorch"}.get(library, library)).autolog(disable=True)
    found["rich"] = rich()
    return found


def sklearn() -> dict:
    """A fit, and a search, whose tries are nested runs."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    mlflow.sklearn.autolog()
    with mlflow.start_run(run_name="sklearn") as run:
        model = LogisticRegression(C=0.5).fit(X, Y)
        model.score(X, Y)
    mlflow.sklearn.autolog(max_tuning_runs=3, log_models=False)
    with mlflow.start_run(run_name="search") as search:
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=2).fit(X, Y)
    children = mlflow.search_runs(
        experiment_names=[NAME],
        filter_string=f"tags.mlflow.parentRunId = '{search.info.run_id}'",
        order_by=["metrics.mean_test_score DESC"],
        output_format="list",
    )
    return {**told(run.info.run_id, model.predict), "tries": sorted(one.data.params["C"] for one in children)}


def xgboost() -> dict:
    import xgboost

    mlflow.xgboost.autolog()
    with mlflow.start_run(run_name="xgboost") as run:
        data = xgboost.DMatrix(X, label=Y)
        model = xgboost.train(
            {"objective": "binary:logistic"}, data, ROUNDS, evals=[(data, "train")], verbose_eval=False
        )
    return told(run.info.run_id, lambda frame: model.predict(xgboost.DMatrix(frame)))


def lightgbm() -> dict:
    import lightgbm

    mlflow.lightgbm.autolog()
    with mlflow.start_run(run_name="lightgbm") as run:
        data = lightgbm.Dataset(X, label=Y)
        options = {"objective": "binary", "verbose": -1}
        model = lightgbm.train(options, data, ROUNDS, valid_sets=[data], valid_names=["train"])
    return told(run.info.run_id, model.predict)


def torch() -> dict:
    """By Lightning, which is what MLflow's autologging of PyTorch listens to."""
    import pytorch_lightning
    import torch

    class Network(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def forward(self, inputs):
            return self.layer(inputs)[:, 0]

        def training_step(self, batch, _number):
            inputs, wanted = batch
            loss = torch.nn.functional.binary_cross_entropy_with_logits(self(inputs), wanted)
            self.log("train_loss", loss, on_epoch=True, on_step=False)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    inputs, wanted = torch.tensor(X.to_numpy(), dtype=torch.float32), torch.tensor(Y.to_numpy(), dtype=torch.float32)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, wanted), batch_size=50)
    mlflow.pytorch.autolog()
    network = Network()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    with mlflow.start_run(run_name="torch") as run:
        pytorch_lightning.Trainer(max_epochs=ROUNDS, **quiet).fit(network, data)
    loaded = mlflow.pytorch.load_model(f"runs:/{run.info.run_id}/model")
    return {**told(run.info.run_id), "loaded": bool(torch.allclose(loaded(inputs), network(inputs)))}


def told(run_id: str, predict=None) -> dict:
    """What the server knows of a run that was logged by itself."""
    client = MlflowClient()
    run = client.get_run(run_id)
    series = next((key for key in sorted(run.data.metrics) if key.startswith(("train-", "train_"))), None)
    found = {
        "status": run.info.status,
        "params": len(run.data.params),
        "metrics": sorted(run.data.metrics),
        "points": len(client.get_metric_history(run_id, series)) if series else 0,
        "files": sorted(one.path for one in client.list_artifacts(run_id)),
        "datasets": sorted(
            tag.value for one in run.inputs.dataset_inputs for tag in one.tags if tag.key == "mlflow.data.context"
        ),
    }
    if predict is not None:
        logged = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
        found["loaded"] = bool(numpy.allclose(logged.predict(X), predict(X)))
    return found


def rich() -> dict:
    """Images, figures, tables, documents, datasets, and what the machine did meanwhile."""
    client = MlflowClient()
    found: dict = {}
    with mlflow.start_run(run_name="rich", log_system_metrics=find_spec("psutil") is not None) as run:
        run_id = run.info.run_id
        mlflow.log_dict({"a": [1, 2]}, "documents/one.json")
        mlflow.log_text("<b>bold</b>", "documents/page.html")
        mlflow.log_table({"question": ["x"], "answer": [1]}, "table.json")
        mlflow.log_table({"question": ["y"], "answer": [2]}, "table.json")
        mlflow.log_input(mlflow.data.from_pandas(X, name="made", targets="a"), context="validation", tags={"t": "u"})
        if find_spec("PIL") is not None:
            pixels = RANDOM.integers(0, 255, size=(8, 8, 3), dtype=numpy.uint8)
            mlflow.log_image(pixels, "plain.png")
            for step in range(2):
                mlflow.log_image(pixels, key="sample", step=step)
        if find_spec("matplotlib") is not None:
            from matplotlib import pyplot

            figure, axes = pyplot.subplots()
            axes.plot([1, 2, 3])
            mlflow.log_figure(figure, "figures/plot.png")
            found["figure"] = [one.path for one in client.list_artifacts(run_id, "figures")]
        with mlflow.start_run(run_name="one", nested=True), mlflow.start_run(run_name="two", nested=True) as deepest:
            mlflow.log_metric("deep", 1)
        for _ in range(100):
            mlflow.log_metric("waiting", time.time())
            if "system/cpu_utilization_percentage" in client.get_run(run_id).data.metrics:
                break
            time.sleep(0.1)
    for _ in range(100):  # images go in the background
        found["images"] = len(client.list_artifacts(run_id, "images"))
        if found["images"] == 4 or find_spec("PIL") is None:
            break
        time.sleep(0.1)
    ended = client.get_run(run_id)
    parent = client.get_run(deepest.info.run_id).data.tags["mlflow.parentRunId"]
    found["depth"] = [
        client.get_run(parent).info.run_name,
        client.get_run(parent).data.tags["mlflow.parentRunId"] == run_id,
    ]
    found["system"] = sorted(key for key in ended.data.metrics if key.startswith("system/"))[:2]
    found["table"] = mlflow.load_table("table.json", run_ids=[run_id])["answer"].tolist()
    found["document"] = mlflow.artifacts.load_dict(f"{ended.info.artifact_uri}/documents/one.json")
    found["dataset"] = [[one.dataset.name, one.dataset.source_type] for one in ended.inputs.dataset_inputs]
    found["files"] = sorted(one.path for one in client.list_artifacts(run_id))
    return found


if __name__ == "__main__":
    print("FOUND " + json.dumps(main()))
