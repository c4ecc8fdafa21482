"""A tracking store with some of everything, made by MLflow's own client, and what two stores say of the same things."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType

POINTS = 2500  # of one metric: more than goes into two requests
OURS = "zaffre.import."


def fill(uri: str) -> MlflowClient:
    """Experiments with runs, nested and deleted ones among them, of which the first has some of everything."""
    client = MlflowClient(uri, uri)
    train = client.create_experiment("train", tags={"team": "blue", "mlflow.note.content": "what we train"})
    first = client.create_run(train, start_time=1_700_000_000_000, tags={"mlflow.user": "ada"}, run_name="first")
    run = first.info.run_id
    client.log_batch(
        run,
        metrics=[
            Metric("loss", math.nan, 1_700_000_000_001, 0),
            Metric("loss", 0.5, 1_700_000_000_002, 1),
            Metric("loss", 0.5, 1_700_000_000_003, 1),
            Metric("loss", 0.25, 1_700_000_000_004, -7),
            Metric("up", math.inf, 1, 3),
            Metric("down", -math.inf, 2, 3),
            Metric("tiny/ü w.x-y", 5e-324, 3, 2**62),
        ],
        params=[Param("lr", "0.1"), Param("empty", ""), Param("long", "x" * 6000)],
        tags=[RunTag("kind", "first"), RunTag("mlflow.note.content", "a *note*")],
    )
    for begin in range(0, POINTS, 1000):
        client.log_batch(
            run,
            metrics=[
                Metric("many", step / 7, 1_700_000_000_000 + step, step)
                for step in range(begin, min(begin + 1000, POINTS))
            ],
        )
    data = Dataset("wine", "d1", "local", '{"uri": "/data/wine.csv"}', schema='{"a": 1}', profile='{"rows": 3}')
    client.log_inputs(run, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    _log_files(client, run, {"notes.txt": "hello", "deep/er/ü b.bin": "x" * 300_000, "deep/empty": ""})
    client.set_terminated(run, "FINISHED", 1_700_000_009_000)
    child = client.create_run(
        train, start_time=1_700_000_001_000, tags={"mlflow.parentRunId": run}, run_name="child"
    ).info.run_id
    client.log_metric(child, "loss", 1.0, 5, 0)
    client.create_run(train, tags={"mlflow.parentRunId": child}, run_name="grandchild")
    client.set_terminated(child, "FAILED", 1_700_000_002_000)
    gone = client.create_run(train, run_name="gone").info.run_id
    client.log_param(gone, "p", "1")
    client.delete_run(gone)
    nobody = client.create_run("0")
    client.log_metric(nobody.info.run_id, "m", 2.0)
    old = client.create_experiment("old one")
    client.log_metric(client.create_run(old).info.run_id, "m", 3.0)
    client.delete_experiment(old)
    return client


def add_runs(client: MlflowClient, experiment: str, number: int) -> list[str]:
    """Small runs, each with two metrics of 600 values and a file."""
    found = client.get_experiment_by_name(experiment)
    id_ = found.experiment_id if found else client.create_experiment(experiment)
    made = []
    for count in range(number):
        run = client.create_run(id_, run_name=f"{experiment}-{count}").info.run_id
        client.log_batch(
            run, metrics=[Metric(key, step * count, step, step) for step in range(500) for key in ("a", "b")]
        )
        _log_files(client, run, {"file.txt": f"{count}" * 1000})
        client.set_terminated(run)
        made.append(run)
    return made


def content(uri: str, *, files: bool = True) -> dict[str, Any]:
    """All that a store holds, in one shape for every store. What only an import notes, and where files lie, is left out."""
    client = MlflowClient(uri, uri)
    found: dict[str, Any] = {}
    for experiment in client.search_experiments(view_type=ViewType.ALL):
        runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=1000)
        found[experiment.name] = {
            "state": experiment.lifecycle_stage,
            "tags": _tags(experiment.tags),
            "created": experiment.creation_time if experiment.name != "Default" else None,
            "runs": {run.info.run_id: _run(client, run, files) for run in runs},
        }
    return found


def _run(client: MlflowClient, run: Any, files: bool) -> dict[str, Any]:
    info = run.info
    history = {
        key: sorted((one.step, one.timestamp, _value(one.value)) for one in client.get_metric_history(info.run_id, key))
        for key in run.data.metrics
    }
    return {
        "info": [info.run_name, info.user_id, info.status, info.start_time, info.end_time, info.lifecycle_stage],
        "tags": _tags(run.data.tags),
        "params": run.data.params,
        "metrics": {key: _value(value) for key, value in run.data.metrics.items()},
        "history": history,
        "inputs": sorted(
            [one.dataset.to_dictionary(), sorted((tag.key, tag.value) for tag in one.tags)]
            for one in run.inputs.dataset_inputs
        ),
        "files": _files(client, info.run_id) if files and info.lifecycle_stage == "active" else None,
    }


def _files(client: MlflowClient, run_id: str) -> dict[str, bytes]:
    if not client.list_artifacts(run_id):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(download_artifacts(run_id=run_id, dst_path=folder, tracking_uri=client.tracking_uri))
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _log_files(client: MlflowClient, run: str, files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        client.log_artifacts(run, folder)


def _value(value: float) -> str:
    return repr(value)


def _tags(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith(OURS)}
