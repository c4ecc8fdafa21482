"""What `zaffre import` puts here: as it was elsewhere, once, on both databases; and what it refuses."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
import pytest

from tests.support.databases import database, postgres_url
from zaffre.errors import Conflict, InvalidInput
from zaffre.importing import journal, otlp, spans, traces
from zaffre.importing.files import local_folder
from zaffre.importing.importer import _by_depth
from zaffre.importing.source import SourceError, without_password
from zaffre.protocols.imports import requests
from zaffre.services import kinds
from zaffre.services.blobs import Blobs
from zaffre.services.imports import (
    ImportedExperiment,
    ImportedLoggedModel,
    ImportedModel,
    ImportedRun,
    ImportedVersion,
    Imports,
)
from zaffre.services.model_sources import ModelSources
from zaffre.services.places import Places
from zaffre.services.registered_models import RegisteredModels, aliases, stage_of
from zaffre.services.resources import Resources
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.otlp import as_document, decode
from zaffre.services.workspaces import Workspace, Workspaces
from zaffre.store.database import Database
from zaffre.store.objects import Objects
from zaffre.store.seal import Vault
from zaffre.store.unit import PLATFORM, Actor

__all__ = ["database", "postgres_url"]
ME = Actor(name="me")
RUN, MODEL = "a" * 32, f"m-{'b' * 32}"
T = TypeVar("T")


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


class House:
    """The services an import goes to, and a workspace."""

    def __init__(self, database: Database, folder: Path) -> None:
        vault = Vault(folder / "vault.key")
        self.database = database
        self.objects = Objects(folder / "objects")
        workspaces = Workspaces(database, vault, "local")
        blobs = Blobs(database, self.objects, workspaces)
        self.workspace: Workspace = do(workspaces.create(PLATFORM, "sub", "group", "one", {}))
        resources = Resources(database, vault, kinds.load())
        self.tracking = Tracking(database)
        self.models = RegisteredModels(resources, ModelSources(database, Places(resources), self.tracking), blobs)
        self.imports = Imports(database, self.tracking, self.models)

    @property
    def scope(self) -> str:
        return self.workspace.id

    def experiment(self, **given: Any) -> tuple[str, bool]:
        values = {"id": "7", "name": "train", "tags": {}, "created_at": 5, "modified_at": 6, **given}
        found, made = do(self.imports.experiment(ME, self.scope, ImportedExperiment(**values)))
        return found.id, made

    def run(self, **given: Any) -> bool:
        values = {
            "id": RUN, "experiment_id": "7", "name": "first", "user": "ada", "status": "FINISHED",
            "started_at": 10, "ended_at": 20, "tags": {"a": "b"}, "params": {"p": "1"}, **given,
        }  # fmt: skip
        return do(self.imports.run(ME, self.scope, ImportedRun(**values)))

    def logged_model(self, **given: Any) -> tuple[str, bool]:
        values = {
            "id": MODEL, "experiment_id": "7", "name": "forest", "status": "LOGGED_MODEL_READY", "status_message": None,
            "model_type": "tree", "source_run": RUN, "created_at": 30, "modified_at": 40, "tags": {"t": "u"}, "params": {}, **given,
        }  # fmt: skip
        return do(self.imports.logged_model(ME, self.scope, ImportedLoggedModel(**values)))

    def registered(self, **given: Any) -> bool:
        values = {
            "name": "trees", "description": "all", "created_at": 50, "modified_at": 60, "tags": {}, "aliases": {}, **given,
        }  # fmt: skip
        return do(self.imports.registered_model(ME, self.workspace, ImportedModel(**values)))

    def version(self, **given: Any) -> None:
        values = {
            "name": "trees", "version": "3", "source": f"runs:/{RUN}/model", "run_id": RUN, "run_link": None, "model_id": None,
            "description": "third", "stage": "Production", "user": "ada", "created_at": 70, "modified_at": 80, "tags": {"x": "y"},
            **given,
        }  # fmt: skip
        do(self.imports.model_version(ME, self.workspace, ImportedVersion(**values)))


@pytest.fixture
def house(database: Database, tmp_path: Path) -> Iterator[House]:
    made = House(database, tmp_path)
    yield made
    made.objects.close()


def test_an_experiment_keeps_its_id_and_times_where_it_can(house: House) -> None:
    assert house.experiment(tags={"k": "v"}) == ("7", True)
    assert house.experiment(tags={"k": "w"}, created_at=99) == ("7", False)
    found = do(house.tracking.experiments.get(house.scope, "7"))
    assert (found.created_at, found.modified_at, found.tags) == (5, 6, {"k": "w"})
    other, made = house.experiment(name="other")
    assert made and other != "7"
    renamed, _ = house.experiment(id="0", name="was the default")
    assert renamed != "0", "what names no experiment goes to 0"
    assert house.experiment(id="0", name="Default")[0] == "0"


def test_a_run_is_as_it_was_and_twice_is_once(house: House) -> None:
    house.experiment()
    assert house.run() is True
    assert (
        house.run(status="KILLED", ended_at=25, tags={"c": "d", "mlflow.note.content": "n"}, params={"q": "2"}) is False
    )
    run = do(house.tracking.runs.get(house.scope, RUN))
    head = run.head
    assert (head.status, head.user, head.started_at, head.ended_at, head.ordered_at) == ("Canceled", "ada", 10, 25, 10)
    assert (head.display_name, head.description) == ("first", "n")
    assert run.tags == {"a": "b", "c": "d"} and run.params == {"p": "1", "q": "2"}
    with pytest.raises(InvalidInput, match=r"Param 'p' .* params never change"):
        house.run(params={"p": "2"})
    with pytest.raises(InvalidInput, match="'DONE' is not one of"):
        house.run(status="DONE")


def test_a_run_goes_into_a_deleted_experiment_but_not_over_a_job(house: House) -> None:
    house.experiment()
    do(house.tracking.experiments.set_lifecycle(ME, house.scope, "7", "deleted"))
    assert house.run() is True

    def job(unit: Any) -> None:
        experiment = house.tracking.ensure_experiment(unit, house.scope, "jobs")
        about = {"origin": "job", "status": "Running", "display_name": "job", "user": "me"}
        house.tracking.create_run(unit, house.scope, "job-1", experiment.pk, **about)

    house.database.write_now(job)
    with pytest.raises(Conflict, match="'job-1' is the name of a job"):
        house.run(id="job-1")


def test_a_logged_model_that_was_deleted_here_stays_so(house: House) -> None:
    house.experiment()
    assert house.logged_model() == ("active", True)
    assert house.logged_model(tags={"more": "1"}, status="LOGGED_MODEL_UPLOAD_FAILED") == ("active", False)
    model = do(house.tracking.models.get(house.scope, MODEL)).model
    assert (model.status, model.tags) == ("LOGGED_MODEL_UPLOAD_FAILED", {"t": "u", "more": "1"})
    assert (model.created_at, model.modified_at, model.source_run) == (30, 40, RUN)
    do(house.tracking.models.delete(ME, house.scope, MODEL))
    assert house.logged_model() == ("deleted", False)
    with pytest.raises(InvalidInput, match="'READY' is not one of"):
        house.logged_model(status="READY")


def test_versions_keep_their_numbers_and_are_never_another(house: House) -> None:
    house.experiment()
    house.run()
    house.run(id="c" * 32)
    assert house.registered() is True and house.registered() is False
    house.version()
    house.version(description="still the third", stage="Archived")
    assert house.registered(aliases={"champion": "3"}, tags={"k": "v"}) is False
    model = do(house.models.get(house.workspace, "trees"))
    (row,) = model.versions
    assert (row.name, row.created_at, row.modified_at, row.created_by) == ("3", 70, 80, "ada")
    assert stage_of(row) == "Archived" and row.body["properties"]["description"] == "still the third"
    assert (model.row.created_at, model.row.modified_at, aliases(model.row)) == (50, 60, {"champion": "3"})
    with pytest.raises(Conflict, match="exists with other content"):
        house.version(source=f"runs:/{'c' * 32}/model", run_id="c" * 32)
    with pytest.raises(InvalidInput, match="names version 9, which is not here"):
        house.registered(aliases={"champion": "9"})
    with pytest.raises(InvalidInput, match="'Live' is not one of"):
        house.version(stage="Live")
    with pytest.raises(Conflict, match="differs in case only"):
        house.registered(name="Trees")
    # The next one that is registered here goes on behind them.
    made = do(
        house.models.create_version(
            ME,
            house.workspace,
            "trees",
            f"runs:/{RUN}/model",
            run_id=RUN,
            run_link=None,
            model_id=None,
            description=None,
            tags={},
        )
    )
    assert made[1].name == "4"


def test_a_prompt_is_imported_as_one_and_is_never_a_model(house: House) -> None:
    is_prompt = {"mlflow.prompt.is_prompt": "true"}
    text = {**is_prompt, "mlflow.prompt.text": "Hello"}
    told = {"name": "greeting", "source": "prompt-template", "run_id": None}
    assert house.registered(name="greeting", tags=is_prompt) is True
    house.version(**told, tags=text)
    assert house.registered(name="greeting", tags=is_prompt, aliases={"live": "3"}) is False
    found = do(house.models.get(house.workspace, "greeting"))
    assert (found.row.type, found.versions[0].name, aliases(found.row)) == ("workspaces/prompts", "3", {"live": "3"})
    assert found.row.created_at == 50 and found.versions[0].created_at == 70
    with pytest.raises(Conflict, match="is a prompt"):
        house.version(**told, tags={})
    with pytest.raises(Conflict, match="is taken"):
        house.registered(name="greeting")
    house.registered(name="trees")
    with pytest.raises(Conflict, match="is no prompt"):
        house.version(**{**told, "name": "trees"}, tags=text)


def test_a_trace_of_mlflow_2_is_told_as_one_of_3() -> None:
    old = SimpleNamespace(
        request_id="9" * 32, timestamp_ms=7, execution_time_ms=8, status=SimpleNamespace(value="OK"),
        request_metadata={"mlflow.traceInputs": "1", "mlflow.sourceRun": "r"}, tags={"a": "b", journal.STATE: "x"},
    )  # fmt: skip
    found = traces.head(old)
    assert (found.here, found.requested_at, found.duration, found.state) == (f"tr-{'9' * 32}", 7, 8, "OK")
    assert (found.request_preview, found.tags, found.assessments) == ("1", {"a": "b"}, [])
    assert found.linked(["s", "r"]) == ["s"] and found.digest(["r"]) == found.digest([]) != found.digest(["s"])
    odd = msgspec.structs.replace(found, there="what MLflow never gave")
    assert re.fullmatch("tr-[0-9a-f]{32}", odd.here) and odd.here != found.here


def test_spans_of_mlflow_2_are_in_a_file(tmp_path: Path) -> None:
    class There:
        """A server whose files lie on its own disk or on this one; `code` is what it answers of a file that is not there."""

        code = "NOT_FOUND"

        def artifacts(self, uri: str) -> SimpleNamespace:
            return SimpleNamespace(download_trace_data=self.nothing)

        def served_trace(self, trace_id: str) -> Callable[[], dict[str, Any]]:
            return lambda: {"spans": []} if trace_id == "known" else self.nothing()

        def asked(self, ask: Callable[[], Any]) -> Any:
            return ask()

        def nothing(self) -> dict[str, Any]:
            raise SourceError("it has none", self.code)

    there: Any = There()
    far, near = {spans.ARTIFACTS: "/no/such/folder"}, {spans.ARTIFACTS: str(tmp_path)}
    assert spans.read(there, "known", far, ended=True) == []
    assert spans.read(there, "begun", near, ended=False) == [], "they may come yet"
    with pytest.raises(SourceError):
        spans.read(there, "lost", near, ended=True)
    there.code = "INTERNAL_ERROR"
    with pytest.raises(SourceError):
        spans.read(there, "begun", far, ended=False)


def test_spans_arrive_as_they_were() -> None:
    said = {"none": None, "nan": float("nan"), "big": 2**70, "deep": {"a": [1, True, {}, [], 1.5]}, "text": "ü"}
    status = SimpleNamespace(status_code=SimpleNamespace(value="ERROR"), description="bad")
    event = SimpleNamespace(name="seen", timestamp=5, attributes={"k": [1, 2]})

    def span(id_: str, parent: str | None, **more: str) -> SimpleNamespace:
        held = SimpleNamespace(attributes={key: json.dumps(value) for key, value in said.items()} | more)
        return SimpleNamespace(
            _span=held, span_id=id_, parent_id=parent, name="n", start_time_ns=3, end_time_ns=None, status=status, events=[event]
        )  # fmt: skip

    given = [span("1" * 16, None), *(span(f"{one:016x}", "1" * 16, long="x" * 1_500_000) for one in range(2, 5))]
    bodies = list(otlp.requests(given, "c" * 32))
    assert len(bodies) == 2, "not more than some megabytes at once"
    arrived = [span for body in bodies for one in decode(body, "application/json") for span in one.spans]
    assert [(one.id, one.parent) for one in arrived[:2]] == [("1" * 16, None), (f"{2:016x}", "1" * 16)]
    document = as_document(arrived[0].message)
    assert json.loads(document["attributes"]["deep"]) == said["deep"]
    assert (document["attributes"]["nan"], document["attributes"]["big"]) == ("NaN", f'"{2**70}"')
    assert document["status"] == {"code": "STATUS_CODE_ERROR", "message": "bad"}
    assert document["events"] == [{"name": "seen", "time_unix_nano": 5, "attributes": {"k": [1, 2]}}]


@pytest.mark.parametrize(
    ("struct", "body"),
    [
        (requests.Experiment, {"id": "../1", "name": "x"}),
        (requests.Experiment, {"id": "1", "name": ""}),
        (requests.Run, {"id": "a", "experiment_id": "1", "status": "RUNNING", "start_time": -1}),
        (requests.Run, {"id": "a", "experiment_id": "1", "status": "RUNNING", "unknown": 1}),
        (requests.LoggedModel, {"model_id": "m-1", "experiment_id": "1", "name": "x", "status": "y"}),
        (requests.ModelVersion, {"name": "m", "version": "01", "source": "s"}),
        (requests.ModelVersion, {"name": "m", "version": "1" * 19, "source": "s"}),
        (requests.RegisteredModel, {"name": "m", "aliases": {"a b": "1"}}),
    ],
)
def test_what_does_not_fit_is_refused_at_the_door(struct: type, body: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(body), type=struct)


def test_an_id_that_cannot_be_kept_is_always_the_same_other_one() -> None:
    assert journal.run_id(RUN) == RUN
    other = journal.run_id("a run/with a name")
    assert other == journal.run_id("a run/with a name") and other != journal.run_id("another/run") and len(other) == 32
    assert journal.tags({"k": "v", journal.STATE: "old"}, "there", "a run/with a name", other) == {
        "k": "v",
        journal.SOURCE: "there",
        journal.ID: "a run/with a name",
    }


def test_parents_come_before_their_children() -> None:
    def run(id_: str, parent: str | None = None) -> Any:
        tags = {"mlflow.parentRunId": parent} if parent else {}
        return SimpleNamespace(info=SimpleNamespace(run_id=id_), data=SimpleNamespace(tags=tags))

    runs = [run("c", "b"), run("b", "a"), run("a"), run("x", "elsewhere"), run("y", "z"), run("z", "y"), run("s", "s")]
    levels = [[one.info.run_id for one in level] for level in _by_depth(runs)]
    assert levels == [["a", "x", "s"], ["b"], ["c"], ["y", "z"]]


def test_addresses_are_read_and_told_without_secrets() -> None:
    assert without_password("postgresql://me:secret@host:5432/db") == "postgresql://host:5432/db"
    assert without_password("sqlite:////a/b.db") == "sqlite:////a/b.db"
    assert without_password("postgresql://me:@/db?host=/run") == "postgresql:///db?host=/run"
    assert local_folder("file:///a%20b/c") == Path("/a b/c") and local_folder("/a/b") == Path("/a/b")
    assert local_folder("s3://bucket/a") is None and local_folder("file://host/a") is None
