"""Evaluation by MLflow's own client: datasets with records of hands and of traces, and an agent measured by them. Prints `FOUND {…}`."""

from __future__ import annotations

import json
import sys
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.genai import datasets
from mlflow.genai.scorers import scorer

NAME = sys.argv[1]


def refused(work: Any, *args: Any, **kwargs: Any) -> list[str]:
    try:
        work(*args, **kwargs)
    except MlflowException as error:
        return [error.error_code, str(error)]
    raise AssertionError("it was not refused")


def answer(question: str) -> str:
    return {"2+2?": "4", "3+3?": "6"}.get(question, "no idea")


@mlflow.trace
def agent(question: str) -> str:
    return answer(question)


@scorer
def right(outputs: str, expectations: dict[str, Any]) -> bool:
    return outputs == expectations["answer"]


@scorer
def length(outputs: str) -> int:
    return len(outputs)


def records(dataset: Any) -> list[dict[str, Any]]:
    found = datasets.get_dataset(dataset_id=dataset.dataset_id).to_df()
    return [{name: row[name] for name in ("inputs", "outputs", "expectations", "tags")} for _, row in found.iterrows()]


def main() -> dict[str, Any]:
    experiment = mlflow.set_experiment(NAME).experiment_id
    other = mlflow.create_experiment(f"{NAME}-other")
    made = datasets.create_dataset(name=f"{NAME} sums", experiment_id=[experiment], tags={"team": "a", "v": "1"})
    first = [
        {"inputs": {"question": "2+2?"}, "expectations": {"answer": "4"}},
        {"inputs": {"question": "3+3?"}, "expectations": {"answer": "7"}, "tags": {"hard": "yes"}},
    ]
    made.merge_records(first)
    made.merge_records(pd.DataFrame([{"inputs": {"question": "3+3?"}, "expectations": {"why": "half"}}]))
    for question in ("4+4?", "2+2?"):
        agent(question)
    mlflow.flush_trace_async_logging()
    traces = mlflow.search_traces(locations=[experiment], return_type="list")
    made.merge_records(traces)
    held = records(made)
    told = datasets.get_dataset(dataset_id=made.dataset_id)
    schema, profile = json.loads(told.schema), json.loads(told.profile)
    frame = told.to_df()
    sources = sorted(one.source_type if one is not None else "" for one in frame["source"])

    mlflow.set_tracking_uri(mlflow.get_tracking_uri())
    datasets.set_dataset_tags(dataset_id=made.dataset_id, tags={"v": "2", "team": "b"})
    datasets.delete_dataset_tag(dataset_id=made.dataset_id, key="v")
    datasets.add_dataset_to_experiments(dataset_id=made.dataset_id, experiment_ids=[other])
    second = datasets.create_dataset(name=f"{NAME} empty", experiment_id=[other])
    searched = {
        "here": sorted(one.name for one in datasets.search_datasets(experiment_ids=[experiment])),
        "there": sorted(one.name for one in datasets.search_datasets(experiment_ids=[other])),
        "tag": [one.name for one in datasets.search_datasets(experiment_ids=[other], filter_string="tags.team = 'b'")],
        "like": [one.name for one in datasets.search_datasets(filter_string=f"name LIKE '{NAME} e%'")],
        "order": [
            one.name for one in datasets.search_datasets(experiment_ids=[other], order_by=["name DESC"], max_results=5)
        ],
        "tags": datasets.get_dataset(dataset_id=made.dataset_id).tags,
    }
    datasets.remove_dataset_from_experiments(dataset_id=made.dataset_id, experiment_ids=[other])
    left = datasets.get_dataset(dataset_id=made.dataset_id).experiment_ids

    measured = mlflow.genai.evaluate(data=first, predict_fn=answer, scorers=[right, length])
    run = mlflow.get_run(measured.run_id)
    measured_traces = mlflow.search_traces(locations=[experiment], run_id=measured.run_id, return_type="list")
    dataset = datasets.create_dataset(name=f"{NAME} measured", experiment_id=[experiment])
    dataset.merge_records(first)
    by_dataset = mlflow.genai.evaluate(data=dataset, predict_fn=answer, scorers=[right])
    inputs = mlflow.get_run(by_dataset.run_id).inputs.dataset_inputs

    deleted = made.delete_records(list(frame["dataset_record_id"])[:1])
    datasets.delete_dataset(dataset_id=second.dataset_id)
    return {
        "version": mlflow.__version__,
        "held": held,
        "schema": schema,
        "profile": profile,
        "sources": sources,
        "searched": searched,
        "left": left == [experiment],
        "metrics": run.data.metrics,
        "assessed": sorted(
            [one.name, one.value]
            for trace in measured_traces
            for one in trace.info.assessments
            if one.name in ("right", "length")
        ),
        "by_dataset": mlflow.get_run(by_dataset.run_id).data.metrics,
        "inputs": [one.dataset.name for one in inputs],
        "deleted": [deleted, len(records(made))],
        "missing": refused(datasets.get_dataset, dataset_id=second.dataset_id),
    }


if __name__ == "__main__":
    print("FOUND", json.dumps(main(), default=str))
