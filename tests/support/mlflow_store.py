"""A tracking store with some of everything, made by MLflow's own client, and what two stores say of the same things."""

from __future__ import annotations

import math
import tempfile
import uuid
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
    SpanEvent,
    TraceInfo,
    TraceLocation,
    TraceState,
    ViewType,
)
from mlflow.tracing.attachments import Attachment

POINTS = 2500  # of one metric: more than goes into two requests
OURS = "zaffre.import."
PROMPT = "tags.`mlflow.prompt.is_prompt` = 'true'"


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
    fill_models(client, train, run)
    fill_prompts(client)
    fill_traces(client, train, run)
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


def fill_models(client: MlflowClient, experiment: str, run: str) -> None:
    """A logged model with what was measured on it, and registered models with gaps, stages and aliases."""
    logged = client.create_logged_model(
        experiment, "forest", source_run_id=run, tags={"t": "u"}, params={"depth": "3"}, model_type="tree"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "MLmodel").write_text("flavors: {python_function: {loader_module: x}}\n")
        Path(folder, "data").mkdir()
        Path(folder, "data", "model.bin").write_bytes(bytes(range(256)) * 1000)
        client.log_model_artifacts(logged.model_id, folder)
        client.log_artifacts(run, folder, "plain")
    client.log_metric(run, "acc", 0.75, 17, 0, model_id=logged.model_id, dataset_name="wine", dataset_digest="d1")
    client.log_outputs(run, [LoggedModelOutput(logged.model_id, 4)])
    client.finalize_logged_model(logged.model_id, "READY")
    root = client.get_run(run).info.artifact_uri
    client.create_registered_model("forest", {"owner": "ada"}, "all the trees")
    client.create_model_version("forest", f"{root}/plain", run, {"n": "1"}, description="the first")
    client.create_model_version("forest", f"{root}/plain", run)
    client.delete_model_version("forest", "2")
    with pytest.MonkeyPatch.context() as patch:  # where MLflow looks the logged model up
        patch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
        client.create_model_version("forest", f"models:/{logged.model_id}", run, model_id=logged.model_id)
    client.transition_model_version_stage("forest", "3", "Production")
    client.set_registered_model_alias("forest", "champion", "3")
    client.create_registered_model("empty")


def fill_prompts(client: MlflowClient) -> None:
    client.register_prompt("greeting", "Hello {{name}}!", commit_message="first", tags={"team": "blue"})
    client.register_prompt("greeting", [{"role": "user", "content": "Hi {{name}}"}])
    client.set_prompt_tag("greeting", "use", "mail")
    client.set_prompt_version_tag("greeting", "1", "score", "5")
    client.set_prompt_alias("greeting", "live", 1)


def fill_traces(client: MlflowClient, experiment: str, run: str, number: int = 0) -> None:
    """A trace with nested spans, one that failed and was assessed, one without spans, and `number` more; one is linked to a run."""
    with pytest.MonkeyPatch.context() as patch:  # traces go where the process says, not the client
        patch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
        patch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
        patch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
        mlflow.tracing.reset()
        made = [_trace(client, experiment, one) for one in range(2 + number)]
        good, bad = made[:2]
        client.set_trace_tag(good, "topic", "life")
        mlflow.log_feedback(trace_id=bad, name="right", value=False, rationale="no", metadata={"k": "v"})
        mlflow.log_expectation(trace_id=bad, name="wanted", value={"a": [1]})
        store = client._tracking_client.store
        at = TraceLocation.from_experiment_id(experiment)
        store.start_trace(TraceInfo(f"tr-{uuid.uuid4().hex}", at, 7, TraceState.IN_PROGRESS))
        if not client.tracking_uri.startswith("file:"):
            client.link_traces_to_run([bad], run)
            client.link_prompt_versions_to_trace([client.load_prompt("prompts:/greeting/1")], good)
        mlflow.tracing.reset()


def _trace(client: MlflowClient, experiment: str, number: int) -> str:
    inputs: dict[str, Any] = {"question": number, "odd": [None, True, 1.5, {}, []]}
    if number == 0:
        inputs["image"] = Attachment(content_type="image/png", content_bytes=b"no image" * 1000)
    begun = 1_700_000_000_000_000_000 + number
    root = client.start_trace(
        f"answer {number}",
        inputs=inputs,
        attributes={"k": "v"},
        tags={"n": "1"},
        experiment_id=experiment,
        start_time_ns=begun,
    )
    child = client.start_span("look up", root.trace_id, root.span_id, span_type="RETRIEVER", start_time_ns=begun + 1)
    child.add_event(SpanEvent("seen", begun + 2, {"what": "ü", "much": 3}))
    client.end_span(
        root.trace_id, child.span_id, outputs="x" * 5000, status="ERROR" if number == 1 else "OK", end_time_ns=begun + 9
    )
    client.end_trace(root.trace_id, outputs=42, status="ERROR" if number == 1 else "OK", end_time_ns=begun + 7_000_000)
    return str(root.trace_id)


def models(uri: str, *, files: bool = True) -> dict[str, Any]:
    """What a store holds of logged and registered models, without the places of their files, but with these."""
    client = MlflowClient(uri, uri)
    ids = [one.experiment_id for one in client.search_experiments(view_type=ViewType.ALL)]
    found: dict[str, Any] = {}
    for one in client.search_logged_models(ids):
        head = [
            one.name,
            one.model_type,
            one.status,
            one.source_run_id,
            one.creation_timestamp,
            one.last_updated_timestamp,
        ]
        points = sorted(
            (p.key, p.value, p.timestamp, p.step, p.run_id, p.dataset_name, p.dataset_digest) for p in one.metrics or ()
        )
        found[one.model_id] = [head, _tags(one.tags), one.params, points]
        found[one.model_id].append(_files_at(client, one.artifact_location) if files else None)
    prompts = client.search_registered_models(PROMPT)
    for model in [*client.search_registered_models(), *prompts]:
        aliases = {alias: str(version) for alias, version in model.aliases.items()}
        head = [model.description or "", model.creation_timestamp, model.last_updated_timestamp, aliases]
        quoted = model.name.replace("'", "''")
        found[model.name] = [head, _tags(model.tags), {}]
        is_prompt = model.name in {one.name for one in prompts}
        for one in client.search_model_versions(f"name='{quoted}'" + (f" AND {PROMPT}" if is_prompt else "")):
            place = one.source if is_prompt else client.get_model_version_download_uri(one.name, one.version)
            found[model.name][2][str(one.version)] = [
                [
                    one.description or "",
                    one.run_id or "",
                    one.current_stage,
                    one.creation_timestamp,
                    one.last_updated_timestamp,
                ],
                one.status,
                _tags(one.tags),
                place if is_prompt else _files_at(client, place) if files else None,
            ]
    return found


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
            "traces": _traces(client, experiment.experiment_id, [run.info.run_id for run in runs]),
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
        "outputs": [(one.model_id, one.step) for one in run.outputs.model_outputs] if run.outputs else [],
        "inputs": sorted(
            [one.dataset.to_dictionary(), sorted((tag.key, tag.value) for tag in one.tags)]
            for one in run.inputs.dataset_inputs
        ),
        "files": _files(client, info.run_id) if files and info.lifecycle_stage == "active" else None,
    }


def _traces(client: MlflowClient, experiment: str, runs: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for bare in client.search_traces(locations=[experiment], max_results=500, include_spans=False):
        trace = bare if bare.info.state == "IN_PROGRESS" else client.get_trace(bare.info.trace_id, display=False)
        info = trace.info.to_dict()
        hidden = ("mlflow.artifactLocation", "mlflow.trace.spansLocation")
        tags = {key: value for key, value in _tags(trace.info.tags).items() if key not in hidden}
        assessed = sorted(info.pop("assessments", ()), key=lambda one: str(one["assessment_name"]))
        for one in assessed:
            one.setdefault("valid", True)  # as MLflow's client reads it from a database, but not from a server
        spans = [_span(span) for span in sorted(trace.data.spans, key=lambda span: span.start_time_ns)]
        info |= {"tags": tags, "trace_location": None}
        if any("image" in (span.inputs or {}) for span in trace.data.spans):
            files = _files_at(client, trace.info.tags["mlflow.artifactLocation"])
            info["attached"] = sorted(data for name, data in files.items() if name != "traces.json")
        found[trace.info.trace_id] = [info, assessed, spans, []]
    for run in runs if found else ():
        for trace in client.search_traces(locations=[experiment], run_id=run, include_spans=False):
            found[trace.info.trace_id][3].append(run)
    return found


def _span(span: Any) -> dict[str, Any]:
    return {
        "who": [span.name, span.span_id, span.parent_id, span.span_type, span.start_time_ns, span.end_time_ns],
        "status": [span.status.status_code, span.status.description],
        "attributes": span.attributes,
        "events": [(one.name, one.timestamp, one.attributes) for one in span.events],
    }


def _files(client: MlflowClient, run_id: str) -> dict[str, bytes]:
    if not client.list_artifacts(run_id):
        return {}
    return _files_at(client, client.get_run(run_id).info.artifact_uri)


def _files_at(client: MlflowClient, uri: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(download_artifacts(uri, dst_path=folder, tracking_uri=client.tracking_uri))
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
