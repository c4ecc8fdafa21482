"""What MLflow's pages ask beside its clients: other addresses, whole histories, files by run, GraphQL; and refusals in MLflow's words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.mlflow_server import MlflowServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


@pytest.fixture
def run(server: MlflowServer) -> str:
    return make_run(server)


def make_run(server: MlflowServer, **fields: Any) -> str:
    status, answer = server.ask("POST", "mlflow/runs/create", {"experiment_id": "0", "run_name": "r", **fields})
    assert status == 200
    return str(answer["run"]["info"]["run_id"])


def log(server: MlflowServer, run: str, key: str, values: dict[int, Any]) -> None:
    points = [{"key": key, "value": value, "timestamp": 1, "step": step} for step, value in values.items()]
    assert server.ask("POST", "mlflow/runs/log-batch", {"run_id": run, "metrics": points}) == (200, {})


# ---- refusals
@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("experiments/create", {"name": 123}, "Invalid value 123 for parameter 'name' supplied"),
        ("experiments/create", {}, "Missing value for required parameter 'name'."),
        ("experiments/create", {"name": None}, "Missing value for required parameter 'name'."),
        ("experiments/create", {"name": "n", "tags": "5"}, "Invalid value \"5\" for parameter 'tags' supplied"),
        ("experiments/create", {"name": "x" * 501}, "'name' exceeds the maximum length of 500 characters"),
        ("experiments/get-by-name?experiment_name=none", None, "Could not find experiment with name 'none'"),
        ("experiments/get?experiment_id=none", None, "No Experiment with id=none exists"),
        ("runs/get?run_id=none", None, "Run with id=none not found"),
        ("runs/get", None, "Missing value for required parameter 'run_id'."),
        ("runs/log-metric", {"run_id": 31, "key": "m", "value": 1, "timestamp": 1}, "Invalid value 31 for parameter 'run_id'"),
        ("runs/log-metric", {"key": "m", "value": 1, "timestamp": "x"}, "Invalid value \"x\" for parameter 'timestamp'"),
        ("runs/log-metric", {"run_id": "r", "value": 1, "timestamp": 1}, "Missing value for required parameter 'key'"),
        ("runs/log-batch", {"metrics": [{"key": "a", "value": 2}]}, "required parameter 'metrics[0].timestamp'"),
        ("runs/log-batch", {"tags": [{"key": "a/../b"}]}, "This name would resolve to 'b'"),
        ("runs/log-batch", {"metrics": [{"key": "../m", "value": 1, "timestamp": 1}]}, "parameter 'metrics[0].name' supplied"),
        ("runs/log-batch", {"tags": [{"key": "a?b"}]}, "Names may only contain alphanumerics"),
        ("runs/log-batch", {"metrics": [{"key": "m", "value": 1, "timestamp": 1}] * 1001}, "at most 1000 metrics. Got 1001"),
        ("runs/log-batch", {"tags": [{"key": f"t{n}"} for n in range(101)]}, "at most 100 tags. Got 101 tags"),
        ("runs/search", {"max_results": 123456789}, "Invalid value 123456789 for parameter 'max_results' supplied"),
        ("runs/search", {"order_by": ["datasets.name"]}, "Invalid entity type 'datasets'"),
        ("runs/delete-tag", {"run_id": "RUN", "key": "none"}, "No tag with name: none in run with id RUN"),
        ("experiments/delete-experiment-tag", {"experiment_id": "0", "key": "t"}, "No tag with name: t in experiment with id 0"),
    ],
)  # fmt: skip
def test_refusals_in_mlflows_words(server: MlflowServer, run: str, path: str, body: Any, words: str) -> None:
    text = json.dumps(body).replace("RUN", run)
    _, answer = server.ask(
        "GET" if body is None else "POST", f"mlflow/{path}", None if body is None else json.loads(text)
    )
    assert words.replace("RUN", run) in answer["message"]


def test_long_values_are_cut_as_mlflow_cuts_them(server: MlflowServer, run: str) -> None:
    body = {"run_id": run, "params": [{"key": "p", "value": "é" * 6001}], "tags": [{"key": "t", "value": "x" * 8001}]}
    for _ in "ab":  # and is the same again
        assert server.ask("POST", "mlflow/runs/log-batch", body) == (200, {})
    assert server.ask("POST", "mlflow/runs/log-parameter", {"run_id": run, "key": "q", "value": "y" * 9000}) == (
        200,
        {},
    )
    assert server.ask("POST", "mlflow/runs/set-tag", {"run_id": run, "key": "u", "value": "y" * 9000}) == (200, {})
    _, answer = server.ask("GET", f"mlflow/runs/get?run_id={run}")
    found = {one["key"]: one["value"] for kind in ("params", "tags") for one in answer["run"]["data"][kind]}
    assert (found["p"], len(found["q"]), len(found["t"]), len(found["u"])) == ("é" * 6000, 6000, 8000, 8000)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[[[[", b'{"a":1}{"b":2}', b'{"key":5,', b'{"key":' + b"9" * 5000 + b"}", b"[" * 9000]
)
def test_what_is_no_json_or_not_whole(server: MlflowServer, body: bytes) -> None:
    for path in ("runs/log-metric", "runs/set-tag", "runs/search", "registered-models/set-tag"):
        status, answer = server.ask("POST", f"mlflow/{path}", body)
        assert status == 400 or (status == 200 and path == "runs/search"), answer


def test_a_field_that_is_null_is_not_there(server: MlflowServer) -> None:
    body = {"name": "with nulls", "artifact_location": None, "tags": [{"key": "a", "value": None}], "unknown": None}
    status, answer = server.ask("POST", "mlflow/experiments/create", body)
    assert status == 200
    _, answer = server.ask("GET", f"mlflow/experiments/get?experiment_id={answer['experiment_id']}")
    assert answer["experiment"]["tags"] == [{"key": "a", "value": ""}]


def test_many_nulls_are_not_looked_for_for_ever(server: MlflowServer, run: str) -> None:
    tags = [{"key": f"t{number}", "value": None} for number in range(100)]
    assert server.ask("POST", "mlflow/runs/log-batch", {"run_id": run, "tags": tags[:90]}) == (200, {})
    padding = {"unknown": "x" * 70_000}
    status, answer = server.ask("POST", "mlflow/runs/log-batch", {"run_id": run, "tags": tags, **padding})
    assert status == 400 and "that are null" in answer["message"]


def test_words_may_be_protobufs_numbers(server: MlflowServer, run: str) -> None:
    assert server.ask("POST", "mlflow/runs/update", {"run_id": run, "status": 3})[1]["run_info"]["status"] == "FINISHED"
    assert server.ask("POST", "mlflow/runs/delete", {"run_id": run}) == (200, {})
    for view, seen in ((1, False), ("2", True), (3, True), ("DELETED_ONLY", True)):
        _, answer = server.ask("POST", "mlflow/runs/search", {"experiment_ids": ["0"], "run_view_type": view})
        assert (run in {one["info"]["run_id"] for one in answer.get("runs", ())}) is seen
    assert server.ask("GET", "mlflow/experiments/search?view_type=3")[0] == 200
    for view in (0, 4, "SOME", ""):
        assert server.ask("POST", "mlflow/runs/search", {"run_view_type": view})[0] == 400


def test_very_old_clients_send_json_in_a_text(server: MlflowServer) -> None:
    body = json.dumps(json.dumps({"name": "twice"})).encode()
    assert server.ask("POST", "mlflow/experiments/create", body)[0] == 200


def test_the_default_experiment_is_in_every_list(server: MlflowServer) -> None:
    _, answer = server.ask("POST", "mlflow/experiments/search", {"filter": "name = 'Default'"})
    assert [one["experiment_id"] for one in answer["experiments"]] == ["0"]


def test_the_pages_own_addresses(server: MlflowServer, run: str) -> None:
    assert server.ask("GET", f"/ajax-api/2.0/mlflow/runs/get?run_id={run}") == server.ask(
        "GET", f"mlflow/runs/get?run_id={run}"
    )
    assert server.ask("GET", "/health") == (200, b"OK")
    assert server.ask("GET", "/version")[1].count(b".") == 2
    assert server.ask("GET", f"//get-artifact?run_id={run}&path=none")[0] == 404


# ---- histories
def test_whole_histories_of_several_runs(server: MlflowServer) -> None:
    ids = sorted(make_run(server) for _ in range(2))
    for run in ids:
        log(server, run, "m", {step: step / 2 for step in range(5)})
    path = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
    asked = "&".join(f"run_id={run}" for run in (*ids[::-1], "none"))
    _, answer = server.ask("GET", f"{path}?{asked}&metric_key=m")
    assert [(one["run_id"], one["step"]) for one in answer["metrics"]] == [
        (run, step) for run in ids for step in range(5)
    ]
    _, answer = server.ask("GET", f"{path}?{asked}&metric_key=m&max_results=7")
    assert len(answer["metrics"]) == 7
    for query, words in (
        ("metric_key=m", "at least one run_id"),
        (f"run_id={ids[0]}", "must specify a metric_key"),
        ("&".join(["run_id=a"] * 101) + "&metric_key=m", "cannot specify more than 100"),
    ):
        status, answer = server.ask("GET", f"{path}?{query}")
        assert (status, words in answer["message"]) == (400, True)


def test_sampled_histories_share_their_steps(server: MlflowServer) -> None:
    short, long = make_run(server), make_run(server)
    log(server, short, "m", dict.fromkeys(range(10), 1))
    log(server, long, "m", dict.fromkeys(range(20), 1))
    path = "mlflow/metrics/get-history-bulk-interval"
    _, answer = server.ask("GET", f"{path}?run_ids={short}&run_ids={long}&metric_key=m&max_results=5")
    steps = {run: [one["step"] for one in answer["metrics"] if one["run_id"] == run] for run in (short, long)}
    assert steps == {short: [0, 4, 8, 9], long: [0, 4, 8, 9, 12, 16, 19]}
    for query, words in (
        ("metric_key=m", "required parameter 'run_ids'"),
        ("run_ids=a", "required parameter 'metric_key'"),
        ("run_ids=a&metric_key=m&max_results=0", "between 1 and 2500"),
        ("run_ids=a&metric_key=m&start_step=1", "both must be specified"),
        ("run_ids=a&metric_key=m&start_step=1&end_step=0", "end_step must be greater than start_step"),
        ("&".join(["run_ids=a"] * 101) + "&metric_key=m", "at most 100 run_ids"),
    ):
        status, answer = server.ask("GET", f"{path}?{query}")
        assert (status, words in answer["message"]) == (400, True)


# ---- datasets
def test_datasets_are_summed_up_by_experiment(server: MlflowServer) -> None:
    _, answer = server.ask("POST", "mlflow/experiments/create", {"name": "datasets"})
    experiment = answer["experiment_id"]
    run = make_run(server, experiment_id=experiment)
    dataset = {"name": "iris", "digest": "1", "source_type": "local", "source": "{}"}
    tags = [{"key": "mlflow.data.context", "value": "training"}]
    body = {"run_id": run, "datasets": [{"dataset": dataset, "tags": tags}, {"dataset": dataset | {"digest": "2"}}]}
    assert server.ask("POST", "mlflow/runs/log-inputs", body) == (200, {})
    _, answer = server.ask("POST", "mlflow/experiments/search-datasets", {"experiment_ids": [experiment]})
    assert answer["dataset_summaries"] == [
        {"experiment_id": experiment, "name": "iris", "digest": "1", "context": "training"},
        {"experiment_id": experiment, "name": "iris", "digest": "2"},
    ]
    for ids, words in (([], "at least one experiment_id"), (["a"] * 21, "more than 20")):
        status, answer = server.ask("POST", "mlflow/experiments/search-datasets", {"experiment_ids": ids})
        assert (status, words in answer["message"]) == (400, True)


# ---- files
def test_a_small_file_is_sent_and_fetched_by_its_run(server: MlflowServer, run: str) -> None:
    send = f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}"
    assert server.ask("POST", f"{send}&path=notes/a%20b.txt", b"hello") == (200, {})
    assert server.ask("GET", f"/get-artifact?run_uuid={run}&path=notes/./a%20b.txt") == (200, b"hello")
    _, answer = server.ask("GET", f"mlflow/artifacts/list?run_id={run}&path=.")
    assert [one["path"] for one in answer["files"]] == ["notes"]
    for query, words in (("", "must specify path"), ("&path=../x", "Invalid path"), ("&path=a", "must specify data")):
        status, answer = server.ask("POST", send + query)
        assert (status, words in answer["message"]) == (400, True)


def test_a_file_may_be_empty(server: MlflowServer, run: str) -> None:
    address = f"mlflow-artifacts/artifacts/ExperimentRun/dcid.{run}/empty.bin"
    assert server.ask("PUT", address, b"") == (200, {})
    assert server.ask("GET", address) == (200, b"")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", ""])
def test_paths_that_lead_elsewhere(server: MlflowServer, run: str, path: str) -> None:
    for asked in (f"/get-artifact?run_id={run}", "/model-versions/get-artifact?name=m&version=1"):
        status, answer = server.ask("GET", f"{asked}&path={path}")
        assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_a_file_of_a_models_version(server: MlflowServer, run: str) -> None:
    server.ask("PUT", f"mlflow-artifacts/artifacts/ExperimentRun/dcid.{run}/model/MLmodel", b"flavors: {}\n")
    server.ask("POST", "mlflow/registered-models/create", {"name": "pages"})
    body = {"name": "pages", "source": f"runs:/{run}/model", "run_id": run}
    assert server.ask("POST", "mlflow/model-versions/create", body)[0] == 200
    asked = "/model-versions/get-artifact?name=pages&version=1&path=MLmodel"
    assert server.ask("GET", asked) == (200, b"flavors: {}\n")


# ---- GraphQL
def test_fragments_are_read(server: MlflowServer, run: str) -> None:
    text = (
        '{ mlflowGetRun(input: {runId: "RUN"}) { run { ...a } } } fragment a on MlflowRunExtension { info { runId } }'
    )
    answer = query(server, text.replace("RUN", run))
    assert answer == {"data": {"mlflowGetRun": {"run": {"info": {"runId": run}}}}, "errors": None}


def query(server: MlflowServer, text: str, **more: Any) -> Any:
    status, answer = server.ask("POST", "/graphql", {"query": text, **more})
    assert status == 200
    return answer


def test_graphql_asks_what_rest_answers(server: MlflowServer, run: str) -> None:
    log(server, run, "m", {0: 1.5})
    log(server, run, "none", {0: "NaN"})
    log(server, run, "much", {0: "Infinity"})
    text = """query One($id: String) { mlflowGetRun(input: {runId: $id}) { run {
        info { runId status startTime } data { metrics { key value step } } experiment { name } modelVersions { name }
        } } test(inputString: "x") { output } }"""
    answer = query(server, text, variables={"id": run}, operationName="One")
    assert answer["errors"] is None and answer["data"]["test"] == {"output": "x"}
    found = answer["data"]["mlflowGetRun"]["run"]
    assert (found["info"]["runId"], found["info"]["status"]) == (run, "RUNNING")
    assert found["info"]["startTime"].isdigit() and found["experiment"] == {"name": "Default"}
    values = {one["key"]: (one["value"], one["step"]) for one in found["data"]["metrics"]}
    assert values == {"m": (1.5, "0"), "none": (None, "0"), "much": (1.7976931348623157e308, "0")}
    assert found["modelVersions"] == []


def test_graphql_refuses_what_rest_refuses(server: MlflowServer) -> None:
    answer = query(server, '{ mlflowGetRun(input: {runId: "none"}) { run { info { runId } } } }')
    assert answer == {"data": {"mlflowGetRun": None}, "errors": ["Run with id=none not found in this workspace."]}
    answer = query(server, 'mutation { mlflowSearchRuns(input: {filter: "x"}) { runs { info { runId } } } }')
    assert "Invalid clause(s)" in answer["errors"][0] or "Invalid attribute key" in answer["errors"][0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Syntax Error"),
        ("{ nothing }", "Cannot query field 'nothing'"),
        ("{" + " ".join(f"k{n}: test {{ output }}" for n in range(11)) + "}", "at most 10 root fields"),
        ("{ test { " + " ".join(f"k{n}: output" for n in range(11)) + " } }", "at most 10 aliases"),
        ("{ test " + "{ a " * 11 + "}" * 12, "exceeds maximum depth of 10"),
        ("{ test { " + "output " * 1001 + "} }", "maximum total selections of 1000"),
        ("{ test " * 20_000, "too deeply"),
        ("{ ...a } fragment a on Query { ...a }", "exceeds maximum depth"),
        (
            "{ mlflowGetRun { run { ...a } } } "
            + "".join(
                f"fragment {name} on MlflowRunExtension {{ {' '.join(f'k{n}: data {{ ...{after} }}' for n in range(10))} }} "
                for name, after in zip("abc", "bcd", strict=True)
            )
            + "fragment d on MlflowRunExtension { info { runId } }",
            "maximum total selections of 1000",
        ),
    ],
)
def test_graphql_has_limits(server: MlflowServer, text: str, words: str) -> None:
    status, answer = server.ask("POST", "/graphql", {"query": text[:99_000]})
    assert status == 200 and any(words in error for error in answer["errors"]), answer


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(alphabet='{}()[]:!$@"test mlflowGetRun input runId ...on query fragment 1-_', max_size=120),
    st.one_of(st.none(), st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2)),
)
def test_no_query_breaks_the_server(server: MlflowServer, text: str, variables: Any) -> None:
    status, _ = server.ask("POST", "/graphql", {"query": text, "variables": variables})
    assert status in (200, 400)
