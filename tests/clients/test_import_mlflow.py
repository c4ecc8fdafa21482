"""`zaffre import mlflow`: what a store of MLflow's holds is here afterwards, once, whatever interrupts it."""

from __future__ import annotations

import contextlib
import http.server
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookEvent
from mlflow.exceptions import MlflowException

from tests.support import mlflow_peer, mlflow_store
from tests.support.zaffre_server import ZaffreServer
from zaffre.importing.served import ServedFiles, trace_document

DOCS = Path(__file__).parents[2] / "docs" / "import-mlflow.md"
NOTHING_NEW = "There was nothing new; nothing was changed."


@pytest.fixture(autouse=True)
def file_stores(client_environment: ZaffreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


@pytest.fixture
def files(tmp_path: Path) -> str:
    """A file store with some of everything."""
    uri = (tmp_path / "mlruns").as_uri()
    mlflow_store.fill(uri)
    return uri


def command(server: ZaffreServer, uri: str, workspace: str, *more: str) -> list[str]:
    start = [sys.executable, "-P", "-m", "zaffre.cli.main", "import", "mlflow", uri]
    return [*start, "--home", str(server.home), "--workspace", workspace, *more]


def bring(server: ZaffreServer, uri: str, workspace: str, *more: str, code: int = 0) -> str:
    """What the command says."""
    done = subprocess.run(
        command(server, uri, workspace, *more), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def tracking(server: ZaffreServer, workspace: str) -> str:
    return f"{server.variables['MLFLOW_TRACKING_URI'].rpartition('/')[0]}/{workspace}"


def test_a_file_store_with_everything_in_it_twice(client_environment: ZaffreServer, files: str) -> None:
    lying = {path: path.stat().st_mtime_ns for path in Path(files.removeprefix("file://")).rglob("*")}
    said = bring(client_environment, files.removeprefix("file://"), "from-files")
    assert {path: path.stat().st_mtime_ns for path in Path(files.removeprefix("file://")).rglob("*")} == lying
    assert "6 new" in said and "8 files" in said
    there = mlflow_store.content(files)
    here = mlflow_store.content(tracking(client_environment, "from-files"))
    assert here == there
    assert len(there["train"]["runs"]) == 4 and there["old one"]["state"] == "deleted"
    assert NOTHING_NEW in bring(client_environment, files, "from-files")
    assert mlflow_store.content(tracking(client_environment, "from-files")) == there
    models = mlflow_store.models(files)
    assert mlflow_store.models(tracking(client_environment, "from-files")) == models
    assert set(models["forest"][2]) == {"1", "3"} and models["forest"][2]["3"][0][2] == "Production"


def test_a_database_and_what_is_new_in_it_since(client_environment: ZaffreServer, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "MLmodel").write_text("flavors: {}")
    with contextlib.chdir(tmp_path):  # where MLflow puts the files of a database's runs
        client = mlflow_store.fill(uri)
        client.create_webhook("ci", "https://8.8.8.8/x", [WebhookEvent("registered_model", "created")], secret="s")
        assert "make them anew: ci" in bring(client_environment, uri, "from-database")
        here = tracking(client_environment, "from-database")
        assert mlflow_store.content(here) == mlflow_store.content(uri)
        assert mlflow_store.models(here) == mlflow_store.models(uri)
        client.set_registered_model_alias("forest", "champion", "1")
        client.set_prompt_alias("greeting", "live", 2)
        traces = mlflow_store.content(uri)["train"]["traces"]
        assert sorted(len(runs) for *_, runs in traces.values()) == [0, 0, 1], "one is linked to a run"
        client.set_trace_tag(next(iter(traces)), "later", "yes")
        client.create_model_version("forest", (tmp_path / "elsewhere").as_uri())
        changed = mlflow_store.add_runs(client, "train", 1)[0]
        client.set_tag(changed, "kind", "later")
        run = client.search_runs(["0"])[0].info.run_id
        client.log_metric(run, "m", 7.0, step=3)
        client.log_text(run, "new", "added.txt")
        said = bring(client_environment, uri, "from-database")
    assert "1 new, 1 changed, 5 same" in said and "3 files" in said
    assert "traces:             1 changed, 2 same" in said
    assert mlflow_store.content(here) == mlflow_store.content(uri)
    assert mlflow_store.models(here) == mlflow_store.models(uri)


def test_a_server_of_mlflows_own(
    client_environment: ZaffreServer, newest_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlflow_peer.serving(newest_mlflow, tmp_path) as uri:
        client = mlflow_store.fill(uri)
        with (tmp_path / "big").open("wb") as big:
            big.truncate(20_000_000)
        run = client.search_runs(["0"])[0].info.run_id
        client.log_artifact(run, str(tmp_path / "big"))
        said = bring(client_environment, uri, "from-server")
        assert "9 files (20," in said
        here = tracking(client_environment, "from-server")
        assert mlflow_store.content(here) == mlflow_store.content(uri)
        assert mlflow_store.models(here) == mlflow_store.models(uri)
        assert NOTHING_NEW in bring(client_environment, uri, "from-server")
        # Where files lie on the server's own disk, it gives them out itself.
        served = ServedFiles(client._tracking_client.store, run)
        assert [(one.path, one.is_dir, one.file_size) for one in served.list_artifacts()] == [
            ("big", False, 20_000_000)
        ]
        assert Path(served.download_artifacts("big", str(tmp_path))).stat().st_size == 20_000_000
        with pytest.raises(MlflowException, match=run):
            served.download_artifacts("nothing", str(tmp_path))
        whole = next(one for one in client.search_traces(locations=["1"]) if one.data.spans)
        told = trace_document(client._tracking_client.store, whole.info.trace_id)
        assert [one["name"] for one in told["spans"]] == [span.name for span in whole.data.spans]
        with pytest.raises(MlflowException, match="tr-nothing"):
            trace_document(client._tracking_client.store, "tr-nothing")
    # Its database, which this Python's MLflow may be too old for: it is read by the version that made it. Nothing is new there.
    asked = [str(newest_mlflow), "-c", "import mlflow; print(mlflow.__version__)"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = (tmp_path / "mlflow.db").read_bytes()
    more = ("--mlflow", version, "--no-artifacts")
    said = bring(client_environment, f"sqlite:///{tmp_path}/mlflow.db", "from-server", *more)
    assert NOTHING_NEW in said
    assert (tmp_path / "mlflow.db").read_bytes() == before, "what is imported from was written to"
    assert "is no version" in bring(client_environment, "./x", "from-server", "--mlflow", "../x", code=1)


def test_killed_again_and_again_it_goes_on(client_environment: ZaffreServer, tmp_path: Path) -> None:
    uri = (tmp_path / "mlruns").as_uri()
    client = mlflow_store.fill(uri)
    mlflow_store.add_runs(client, "many", 20)
    some = client.search_runs(["0"])[0]
    mlflow_store.fill_traces(client, some.info.experiment_id, some.info.run_id, 20)
    there = mlflow_store.content(uri)
    runs = {run for experiment in there.values() for run in experiment["runs"]}
    seen: list[int] = []
    for wanted in (1, 15, len(runs) + 4):
        process = subprocess.Popen(
            command(client_environment, uri, "killed", "--parallel", "2"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(6000):
            if process.poll() is not None or _arrived(client_environment, "killed") >= wanted:
                break
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        seen.append(_arrived(client_environment, "killed"))
    assert seen[0] < len(runs) and seen[-1] < len(runs) + 26, "it was never interrupted"
    said = bring(client_environment, uri, "killed")
    assert "Done." in said or NOTHING_NEW in said
    assert mlflow_store.content(tracking(client_environment, "killed")) == there
    assert NOTHING_NEW in bring(client_environment, uri, "killed")


def test_the_commands_of_the_docs(client_environment: ZaffreServer, files: str, tmp_path: Path) -> None:
    """Those that import from a folder: a dry run, only some experiments, all of them without files, and with them."""
    shown = [
        line.partition("#")[0]
        for line in DOCS.read_text().splitlines()
        if line.startswith("zaffre import mlflow ./mlruns")
    ]
    assert len(shown) == 4
    mlflow_store.add_runs(MlflowClient(files), "tune", 1)
    there = mlflow_store.content(files)
    uri = tracking(client_environment, "docs")
    first = next(iter(run for run, found in there["train"]["runs"].items() if found["files"]))
    for line in shown:
        run = command(client_environment, "./mlruns", "docs", *shlex.split(line)[4:])
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        if "--dry-run" in line:
            assert "7 new" in done.stdout and "Nothing was written." in done.stdout
            assert (
                client_environment.request("GET", f"{uri.removeprefix(client_environment.address)}/version").status
                == 404
            )
        elif "--experiment" in line:
            here = mlflow_store.content(uri)
            assert set(here) == {"train", "tune", "Default"} and here["Default"]["runs"] == {}
            logged = [name for name in mlflow_store.models(files, files=False) if name.startswith("m-")]
            assert list(mlflow_store.models(uri, files=False)) == logged != []
            assert here["train"] == there["train"]
        elif "--no-artifacts" in line:
            MlflowClient(files).log_text(first, "later", "later.txt")
            assert len(mlflow_store.content(uri)["old one"]["runs"]) == 1
            assert "later.txt" not in mlflow_store.content(uri)["train"]["runs"][first]["files"]
    assert mlflow_store.content(uri) == mlflow_store.content(files)
    assert mlflow_store.models(uri) == mlflow_store.models(files)


def test_what_cannot_be_imported_is_named_and_the_rest_goes_on(client_environment: ZaffreServer, files: str) -> None:
    bring(client_environment, files, "partly")
    there = mlflow_store.content(files)
    child = next(run for run, found in there["train"]["runs"].items() if found["info"][0] == "child")
    before = tracking(client_environment, "partly")
    # The same param with another value: here it never changes.
    MlflowClient(before).log_param(child, "clash", "here")
    client = MlflowClient(files)
    client.log_param(child, "clash", "there")
    mlflow_store.add_runs(client, "train", 1)
    said = bring(client_environment, files, "partly", code=1)
    assert f"run {child}: Param 'clash'" in said and "1 could not be imported" in said and "1 new" in said


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("./nowhere", "There is no folder"),
        ("sqlite:////nowhere/mlflow.db", "There is no database /nowhere/mlflow.db"),
        ("sqlite:////dev/null", "There is no database /dev/null"),
        (
            "postgresql+psycopg://me:secret@127.0.0.1:9/x",
            "The database postgresql+psycopg://127.0.0.1:9/x cannot be read",
        ),
        ("http://127.0.0.1:9", "cannot be reached"),
        ("ftp://user:secret@host/x", "'ftp://host/x' is no tracking server"),
        (str(Path(__file__).parent), "holds no runs of MLflow's"),
    ],
)
def test_an_address_with_nothing_behind_it(client_environment: ZaffreServer, uri: str, words: str) -> None:
    said = bring(client_environment, uri, "nothing", code=1)
    assert words in said and len(said.splitlines()) <= 2 and "secret" not in said


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        (["CREATE TABLE mine (a)"], "holds no experiments of MLflow's"),
        (
            [
                "CREATE TABLE experiments (a)",
                "CREATE TABLE alembic_version (version_num TEXT)",
                "INSERT INTO alembic_version VALUES ('an older one')",
            ],
            "was written by another MLflow than",
        ),
    ],
)
def test_a_database_that_mlflow_would_change_stays_as_it_is(
    client_environment: ZaffreServer, tmp_path: Path, tables: list[str], words: str
) -> None:
    file = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(file)) as other:
        for statement in tables:
            other.execute(statement)
        other.commit()
    before = file.read_bytes()
    said = bring(client_environment, f"sqlite:///{file}", "nothing", code=1)
    assert words in said and file.read_bytes() == before


def test_the_key_of_this_server_goes_to_no_other(
    client_environment: ZaffreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shell that `zaffre env` was evaluated in, MLflow's client would send it wherever it is pointed."""
    seen: list[str | None] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_error(404)

        do_POST = do_GET

    for name, value in client_environment.variables.items():
        monkeypatch.setenv(name, value)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bring(client_environment, f"http://127.0.0.1:{server.server_port}", "nothing", code=1)
        server.shutdown()
    assert seen and set(seen) == {None}


def test_without_mlflow_it_says_what_to_install(client_environment: ZaffreServer, tmp_path: Path) -> None:
    (tmp_path / "mlflow.py").write_text("raise ImportError('No module named mlflow')")
    (tmp_path / "mlruns" / "models").mkdir(parents=True)
    run = command(client_environment, str(tmp_path / "mlruns"), "nothing")
    run.remove("-P")
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "pip install mlflow" in done.stderr, done.stderr


def _arrived(server: ZaffreServer, workspace: str) -> int:
    """How many runs and traces of the store are here, whole or not."""
    scope = f"{server.scope.rpartition('/')[0]}/{workspace}"
    base = f"/tracking{scope}/api/2.0/mlflow"
    found = server.request("POST", f"{base}/experiments/search", {"view_type": "ALL", "max_results": 100})
    if found.status != 200:
        return 0
    ids = [one["experiment_id"] for one in found.json.get("experiments", [])]
    wish = {"experiment_ids": ids, "run_view_type": "ALL", "max_results": 1000}
    runs = server.request("POST", f"{base}/runs/search", wish).json.get("runs", [])
    asked = "&".join(f"experiment_ids={id_}" for id_ in ids)
    traces = server.request("GET", f"{base}/traces?{asked}&max_results=500").json.get("traces", []) if ids else []
    return len(runs) + len(traces)
