"""A pytest plugin for MLflow's tests: where they would start a server of their own, they get a new workspace of a running Zaffre.

Loaded into the process that runs MLflow's tests (its Python has mlflow and no zaffre), so it imports only what that process has.
In: ZAFFRE_ADDRESS, ZAFFRE_LEFT_OUT (tests, one a line), ZAFFRE_RECEIVER_PORT (where webhooks may go) and the variables that
`zaffre env` prints. See run.py.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import requests

ADDRESS = os.environ["ZAFFRE_ADDRESS"]
GROUP = (
    f"/subscriptions/{os.environ['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{os.environ['AZURE_RESOURCE_GROUP']}"
    "/providers/Microsoft.MachineLearningServices/workspaces"
)
VARIABLES = {
    name: os.environ[name]
    for name in ("MLFLOW_TRACKING_TOKEN", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "OTEL_EXPORTER_OTLP_CERTIFICATE")
}
LEFT_OUT = set(filter(None, os.environ.get("ZAFFRE_LEFT_OUT", "").split("\n")))
plain_request = requests.sessions.Session.request


def new_workspace() -> str:
    """The tracking address of a workspace that nobody has used."""
    name = f"yardstick-{uuid.uuid4().hex[:12]}"
    answer = requests.put(
        f"{ADDRESS}{GROUP}/{name}?api-version=2024-10-01",
        json={"location": "local", "properties": {"friendlyName": name}},
        headers={"Authorization": f"Bearer {_token()}"},
        timeout=60,
    )
    answer.raise_for_status()
    return f"{ADDRESS}/tracking{GROUP}/{name}"


def _token() -> str:
    answer = plain_request(
        requests.Session(),
        "GET",
        os.environ["IDENTITY_ENDPOINT"],
        params={"api-version": "2019-08-01", "resource": "https://management.azure.com"},
        headers={"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]},
        timeout=60,
    )
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def request_with_token(session: requests.Session, method: str, url: str, **given: Any) -> requests.Response:
    """`requests` as the tests call it, with the token that MLflow's open server does not ask for."""
    headers = dict(given.pop("headers", None) or {})
    if str(url).startswith(ADDRESS) and not given.get("auth"):
        headers.setdefault("Authorization", f"Bearer {VARIABLES['MLFLOW_TRACKING_TOKEN']}")
    return plain_request(session, method, url, headers=headers, **given)


class TheTest:
    """The one that runs. What it starts and what it logs to by default is one store, as with MLflow: its `db_uri`."""

    address = ""

    @classmethod
    def workspace(cls) -> str:
        cls.address = cls.address or new_workspace()
        return cls.address


def local_path(uri: str) -> str:
    """In the place of `local_file_uri_to_path` in tests that look at a run's files where MLflow's server put them."""
    if not uri.startswith("mlflow-artifacts:"):
        from mlflow.utils.file_utils import local_file_uri_to_path

        return str(local_file_uri_to_path(uri))
    from mlflow.artifacts import download_artifacts

    return str(download_artifacts(os.path.normpath(uri)))


class OurServer:
    """In the place of the tests' `ServerThread(app, port)`."""

    def __init__(self, app: object, port: int) -> None:
        del app, port

    def __enter__(self) -> str:
        import mlflow

        # MLflow's own handlers, made ready before, have set this process's default to the store that they serve.
        mlflow.set_tracking_uri(TheTest.workspace())
        return TheTest.workspace()

    def __exit__(self, *gone: object) -> None:
        """The workspace goes with the server's home."""


@contextmanager
def our_server(*given: object, **more: object) -> Iterator[str]:
    """In the place of the tests' `_init_server(backend_uri, root_artifact_uri, …)`."""
    del given, more
    yield TheTest.workspace()


def receiver_port() -> int:
    """In the place of `get_safe_port` for what webhooks are sent to: Zaffre sends only where its operator said when it started."""
    return int(os.environ["ZAFFRE_RECEIVER_PORT"])


def pytest_configure(config: pytest.Config) -> None:
    del config
    requests.sessions.Session.request = request_with_token  # type: ignore[method-assign]
    from tests.tracking import integration_test_utils

    integration_test_utils.ServerThread = OurServer
    integration_test_utils._init_server = our_server


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what left_out.csv names, with all its parameters; a name that is no test any more is a mistake there."""
    tests = {item: item.nodeid.partition("[")[0] for item in items}
    files = {test.partition("::")[0] for test in tests.values()}
    if not any("::" in argument for argument in config.args):
        gone = {test for test in LEFT_OUT if test.partition("::")[0] in files} - set(tests.values())
        if gone:
            raise pytest.UsageError(f"left_out.csv names what is no test: {', '.join(sorted(gone))}")
    for item in items:
        if hasattr(item.module, "local_file_uri_to_path"):  # type: ignore[attr-defined]
            item.module.local_file_uri_to_path = local_path  # type: ignore[attr-defined]
        if hasattr(item.module, "_run_mlflow_server"):  # type: ignore[attr-defined]
            item.module._run_mlflow_server = our_server  # type: ignore[attr-defined]
            item.module.get_safe_port = receiver_port  # type: ignore[attr-defined]
    left = [item for item in items if tests[item] in LEFT_OUT]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if tests[item] not in LEFT_OUT]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    del item
    TheTest.address = ""


@pytest.fixture(autouse=True)
def our_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of their fixtures clear the environment of what they take for a developer's own."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


def tracking(request: pytest.FixtureRequest) -> Callable[..., Iterator[str]]:
    """In the place of their fixtures that name a store in this process."""

    def address(**_requested: object) -> Iterator[str]:
        import mlflow

        if getattr(request, "param", None) == "file":
            pytest.skip("MLflow skips its file store itself")
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(TheTest.workspace())
        yield TheTest.workspace()
        mlflow.set_tracking_uri(before)

    return address


def store(sends_spans: bool) -> Callable[..., Iterator[Any]]:
    """In the place of the SQL store that MLflow's store tests open: MLflow's REST store, with us behind it.

    Of these only the file on figures over traces is part of FILES: half of the other tests look into tables, the rest says in
    detail how MLflow searches, sorts and pages.
    """

    def over_rest(**_requested: object) -> Iterator[Any]:
        from mlflow.entities import Span
        from mlflow.store.tracking.rest_store import RestStore
        from mlflow.utils.rest_utils import MlflowHostCreds

        if os.environ.pop("MLFLOW_ENABLE_WORKSPACES", "") == "true":
            pytest.skip("MLflow's own workspaces are something else")
        named: dict[str, str] = {}  # a test's id of a trace, by the one the server knows

        def sent(id_: str) -> str:
            """OpenTelemetry's messages carry ids of 16 bytes only: a trace whose spans are sent has such a one."""
            if not sends_spans or re.fullmatch("tr-[0-9a-f]{32}", id_):
                return id_
            made = f"tr-{hashlib.md5(id_.encode()).hexdigest()}"
            named[made] = id_
            return made

        class Store(RestStore):  # type: ignore[misc]
            def create_run(self, experiment_id: str, user_id: str, start_time: int, tags: Any, run_name: str) -> Any:
                return super().create_run(experiment_id, user_id, start_time, tags or [], run_name)

            def start_trace(self, trace_info: Any) -> Any:
                trace_info.trace_id = sent(trace_info.trace_id)
                return super().start_trace(trace_info)

            def log_spans(self, location: str, spans: list[Any], tracking_uri: str | None = None) -> Any:
                told = [one.to_dict() for one in spans]
                for one, span in zip(told, spans, strict=True):
                    id_ = sent(span.trace_id)
                    one["trace_id"] = base64.b64encode(bytes.fromhex(id_.removeprefix("tr-"))).decode()
                    one["attributes"]["mlflow.traceRequestId"] = json.dumps(id_)
                super().log_spans(location, [Span.from_dict(one) for one in told], tracking_uri)
                return spans

            async def log_spans_async(self, location: str, spans: list[Any]) -> Any:
                return self.log_spans(location, spans)

            def create_assessment(self, assessment: Any) -> Any:
                assessment.trace_id = sent(assessment.trace_id)
                return super().create_assessment(assessment)

            def search_traces(self, *given: Any, **more: Any) -> Any:
                found, following = super().search_traces(*given, **more)
                for one in found:
                    one.trace_id = named.get(one.trace_id, one.trace_id)
                return found, following

            def query_trace_metrics(self, *given: Any, **more: Any) -> Any:
                """A share that was asked for as 99 comes as `P99.0`: protobuf's numbers have a point."""
                found = super().query_trace_metrics(*given, **more)
                asked = {
                    f"P{float(one.percentile_value)}": str(one) for one in more["aggregations"] if one.percentile_value
                }
                for one in found:
                    one.values = {asked.get(name, name): value for name, value in one.values.items()}
                return found

        token = VARIABLES["MLFLOW_TRACKING_TOKEN"]
        yield Store(lambda: MlflowHostCreds(TheTest.workspace(), token=token))

    return over_rest


def artifacts_server() -> Iterator[SimpleNamespace]:
    """In the place of the server with a proxy to a folder of artifacts."""
    url = new_workspace()
    yield SimpleNamespace(url=url, default_artifact_root=f"{url}/api/2.0/mlflow-artifacts/artifacts")


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: Any, request: pytest.FixtureRequest) -> None:
    if fixturedef.argname == "store" and "sqlalchemy_store" in request.node.nodeid:
        fixturedef.func = store("log_spans" in inspect.getsource(request.function))
    if fixturedef.argname == "artifacts_server":
        fixturedef.func = artifacts_server
    if fixturedef.argname in ("tracking_uri", "tracking_uri_mock") and "notrackingurimock" not in request.keywords:
        fixturedef.func = tracking(request)
