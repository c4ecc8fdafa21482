"""Scorers and issues by MLflow's own client: what judges traces, and what was found wrong. Prints `FOUND {…}`; any mlflow from 3.11 on."""

from __future__ import annotations

import json
import sys
from typing import Any

import mlflow
from mlflow.entities.issue import IssueSeverity, IssueStatus
from mlflow.exceptions import MlflowException
from mlflow.genai import delete_scorer, get_scorer, list_scorers, make_judge, scorer
from mlflow.genai.scorers import Guidelines, RelevanceToQuery, ScorerSamplingConfig
from mlflow.genai.scorers.registry import list_scorer_versions
from mlflow.tracing.assessment import log_issue


def refused(work: Any, *args: Any, **kwargs: Any) -> list[str]:
    try:
        work(*args, **kwargs)
    except MlflowException as error:
        return [error.error_code, str(error)]
    raise AssertionError("it was not refused")


def polite(more: str = "", model: str = "openai:/gpt-4o-mini") -> Any:
    return make_judge(name="polite", instructions=f"Is {{{{ outputs }}}} polite?{more}", model=model)


def scorers() -> dict[str, Any]:
    first = polite().register()
    polite(" Very?").register()
    RelevanceToQuery().register(name="relevant")
    Guidelines(name="short", guidelines=["be short"]).register()

    @scorer
    def mine(outputs: str) -> bool:
        return bool(outputs)

    named = {one.name: one for one in list_scorers()}
    versions = list_scorer_versions(name="polite")
    stopped = get_scorer(name="polite").stop()
    started = refused(get_scorer(name="polite").start, sampling_config=ScorerSamplingConfig(sample_rate=0.5))
    found = {
        "status": [first.status.value, stopped.status.value, get_scorer(name="polite").status.value],
        "listed": {name: type(one).__name__ for name, one in named.items()},
        "guidelines": named["short"].guidelines,
        "versions": [[number, one.instructions] for one, number in versions],
        "newest": get_scorer(name="polite").instructions,
        "first": get_scorer(name="polite", version=1).instructions,
        "started": started,
        "gateway": refused(polite(model="gateway:/mine").register),
        "code": refused(mine.register),
        "no version": refused(get_scorer, name="polite", version=7),
        "none": refused(get_scorer, name="none"),
    }
    delete_scorer(name="polite", version=2)
    found["then"] = get_scorer(name="polite").instructions
    delete_scorer(name="polite", version="all")
    delete_scorer(name="short", version=1)
    found["left"] = [one.name for one in list_scorers()]
    found["gone"] = refused(delete_scorer, name="polite", version="all")
    return found


def issues(experiment: str) -> dict[str, Any]:
    client = mlflow.MlflowClient()
    store = client._tracking_client.store
    create = client._tracing_client._create_issue
    with mlflow.start_run() as run:
        slow = create(
            experiment,
            "slow",
            "it takes long",
            severity=IssueSeverity.HIGH,
            root_causes=["network", "größe"],
            source_run_id=run.info.run_id,
            categories=["latency"],
            created_by="watch",
        )
    wrong = create(experiment, "wrong", "it is wrong")
    for number in range(3):
        with mlflow.start_span("call") as span:
            trace = span.trace_id
        mlflow.flush_trace_async_logging()
        log_issue(trace_id=trace, issue_id=(wrong if number else slow).issue_id, rationale="seen")
    changed = store.update_issue(wrong.issue_id, status=IssueStatus.RESOLVED, name="wrong answer")
    counted = store.search_issues(experiment_id=experiment, include_trace_count=True)
    page = store.search_issues(experiment_id=experiment, max_results=1)
    rest = store.search_issues(experiment_id=experiment, max_results=1, page_token=page.token)
    shown = client.search_traces(locations=[experiment], filter_string=f"issue.id = '{wrong.issue_id}'")
    return {
        "slow": slow.to_dictionary(),
        "run": run.info.run_id,
        "same": client._tracing_client._get_issue(slow.issue_id) == slow,
        "plain": wrong.to_dictionary(),
        "changed": [str(changed.status), changed.name, changed.description, changed.severity],
        "counted": [[one.name, one.trace_count] for one in counted],
        "pages": [[one.name for one in page], [one.name for one in rest], rest.token],
        "resolved": [one.name for one in store.search_issues(experiment, "status = 'resolved'")],
        "by run": [one.name for one in store.search_issues(filter_string=f"source_run_id = '{run.info.run_id}'")],
        "traces": len(shown),
        "none": refused(store.get_issue, "iss-none"),
        "no run": refused(create, experiment, "x", "x", source_run_id="none"),
        "no field": refused(store.search_issues, filter_string="name = 'slow'"),
    }


def main(name: str) -> None:
    experiment = mlflow.set_experiment(name).experiment_id
    print("FOUND", json.dumps({"version": mlflow.__version__, "scorers": scorers(), "issues": issues(experiment)}))


if __name__ == "__main__":
    main(sys.argv[1])
