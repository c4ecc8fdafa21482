"""Reviews of traces by MLflow's own client: what is asked, who is to answer, what waits. Prints `FOUND {…}`; any mlflow from 3.14 on."""

from __future__ import annotations

import json
import sys
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.genai import label_schemas as labels
from mlflow.genai import review_queues as reviews


def refused(work: Any, *args: Any, **kwargs: Any) -> list[str]:
    try:
        work(*args, **kwargs)
    except MlflowException as error:
        return [error.error_code, str(error)]
    raise AssertionError("it was not refused")


def traces(number: int) -> list[str]:
    found = []
    for _ in range(number):
        with mlflow.start_span("call") as span:
            found.append(span.trace_id)
    mlflow.flush_trace_async_logging()
    return found


def questions(experiment: str) -> dict[str, Any]:
    inputs = {
        "right?": labels.InputPassFail(positive_label="Right", negative_label="Wrong"),
        "kind": labels.InputCategorical(options=["bug", "idea"], multi_select=True),
        "score": labels.InputNumeric(min_value=1, max_value=5.5),
        "words": labels.InputText(max_length=40),
    }
    made = {
        name: labels.create_label_schema(
            name, type="expectation" if name == "words" else "feedback", input=input_, instruction=f"about {name}"
        )
        for name, input_ in inputs.items()
    }
    assert all(made[name].input == input_ for name, input_ in inputs.items()), made
    assert made["score"] == labels.get_label_schema(schema_id=made["score"].schema_id)
    assert made["score"] == labels.get_label_schema(name="score", experiment_id=experiment)
    seen, token = [], None
    while token is not None or not seen:
        page = labels.list_label_schemas(max_results=2, page_token=token)
        seen += page
        token = page.token
    default = next(one for one in seen if one.is_default)
    kind = made["kind"].schema_id
    changed = labels.update_label_schema(
        kind, name="kinds", enable_comment=True, input=labels.InputCategorical(options=["a"], multi_select=True)
    )
    labels.delete_label_schema(schema_id=made["words"].schema_id)
    labels.delete_label_schema(schema_id=made["words"].schema_id)
    return {
        "schemas": sorted(one.name for one in seen),
        "types": {name: str(one.type) for name, one in made.items()},
        "default": [default.name, str(default.type), default.instruction],
        "changed": [changed.name, changed.enable_comment, changed.input.options, changed.instruction],
        "same": refused(labels.create_label_schema, "score", type="feedback", input=labels.InputText()),
        "kept": refused(labels.update_label_schema, kind, input=labels.InputText()),
        "protected": refused(labels.delete_label_schema, schema_id=default.schema_id),
        "gone": refused(labels.get_label_schema, schema_id=made["words"].schema_id),
        "ids": [made["right?"].schema_id, made["score"].schema_id],
    }


def queues(experiment: str, ids: list[str]) -> dict[str, Any]:
    waiting = traces(3)
    mine = reviews.get_or_create_user_queue("Ann@Example.org")
    assert mine == reviews.get_or_create_user_queue("ann@example.org")
    team = reviews.create_review_queue("Team", queue_type="custom", users=["Bob", "ann@example.org"], schema_ids=ids)
    assert team == reviews.get_review_queue(team.queue_id)
    assert team == reviews.get_review_queue(name="TEAM", experiment_id=experiment)
    added = reviews.add_items_to_review_queue(team.queue_id, item_ids=waiting)
    reviews.add_items_to_review_queue(mine.queue_id, item_ids=waiting[:1])
    done = reviews.set_review_queue_item_status(
        team.queue_id, item_id=waiting[0], status="complete", completed_by="Bob"
    )
    again = reviews.add_items_to_review_queue(team.queue_id, item_ids=waiting[:1])
    pending = reviews.list_review_queue_items(team.queue_id, status="pending", max_results=1)
    rest = reviews.list_review_queue_items(team.queue_id, status="pending", page_token=pending.token)
    locked = refused(reviews.update_review_queue, team.queue_id, schema_ids=[])
    open_again = reviews.set_review_queue_item_status(team.queue_id, item_id=waiting[0], status="pending")
    mlflow.MlflowClient().delete_traces(experiment, trace_ids=waiting[2:])
    left = sorted(one.item_id for one in reviews.list_review_queue_items(team.queue_id))
    reviews.remove_items_from_review_queue(team.queue_id, item_ids=waiting)
    changed = reviews.update_review_queue(
        team.queue_id, name="team B", users=["Cid"], schema_ids=ids[:1], new_owner="D"
    )
    listed = {
        user: [one.name for one in reviews.list_review_queues(user=user)] for user in ("BOB", "cid", "ann@example.org")
    }
    reviews.delete_review_queue(mine.queue_id)
    reviews.delete_review_queue(mine.queue_id)
    return {
        "mine": [mine.name, str(mine.queue_type), mine.users, mine.schema_ids, mine.created_by],
        "team": [team.name, str(team.queue_type), team.users, sorted(team.schema_ids) == sorted(ids)],
        "owner": team.created_by,
        "added": [one.item_id for one in added] == waiting and {str(one.status) for one in added} == {"pending"},
        "done": [str(done.status), done.completed_by, done.completed_time_ms is not None],
        "again": again == [done],
        "pending": sorted(one.item_id for one in [*pending, *rest]) == sorted(waiting[1:]) and len(pending) == 1,
        "locked": locked,
        "reopened": [str(open_again.status), open_again.completed_by, open_again.completed_time_ms],
        "left": left == sorted(waiting[:2]),
        "changed": [changed.name, changed.users, changed.schema_ids == ids[:1], changed.created_by],
        "listed": listed,
        "missing": refused(reviews.add_items_to_review_queue, team.queue_id, item_ids=["tr-none"]),
        "fixed": refused(reviews.create_review_queue, "DEFAULT", queue_type="custom"),
        "gone": refused(reviews.get_review_queue, mine.queue_id),
        "all": [one.name for one in reviews.list_review_queues()],
    }


def main(name: str) -> None:
    experiment = mlflow.set_experiment(name).experiment_id
    asked = questions(experiment)
    found = {"version": mlflow.__version__, "questions": asked, "queues": queues(experiment, asked.pop("ids"))}
    print("FOUND", json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
