"""Migrations say what `tables.py` says, on both databases; an older file is backed up, a newer one refused."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from zaffre.store import migrate, tables
from zaffre.store.database import Database
from zaffre.store.migrations import HEAD
from zaffre.store.tracking import metrics, runs
from zaffre.store.tracking.records import NewRun, Point
from zaffre.store.unit import Unit


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    url = f"sqlite:///{tmp_path / 'z.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = Database(url)
    request.addfinalizer(database.close)
    return database


def test_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_migrations_and_tables_agree(empty: Database) -> None:
    migrate.upgrade(empty.engine)
    migrate.upgrade(empty.engine)
    with empty.engine.connect() as conn:
        found = compare_metadata(MigrationContext.configure(conn), tables.metadata)
    # On PostgreSQL a trigger stands for that one; see migration 0011.
    left = [(what, constraint.name) for what, constraint in found]
    assert left == ([] if empty.is_sqlite else [("add_fk", "fk_metrics_run")])


def test_points_go_with_their_run_and_nobody_logs_to_one_that_has_gone(empty: Database) -> None:
    migrate.upgrade(empty.engine)

    first, second = _two_runs(empty)
    empty.write_now(lambda unit: runs.delete(unit, [first]))
    with empty.engine.connect() as conn:
        left = set(conn.execute(sa.select(tables.metrics.c.run, sa.func.count()).group_by(tables.metrics.c.run)))
    assert left == {(second, 200)}
    with pytest.raises(sa.exc.IntegrityError if not empty.is_sqlite else sqlite3.IntegrityError):
        empty.write_now(lambda unit: metrics.log(unit, [(first, 1, POINTS)]))
    with empty.engine.connect() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(tables.metrics)).scalar() == 200


def test_a_newer_schema_is_refused(empty: Database) -> None:
    migrate.upgrade(empty.engine)
    with empty.engine.connect() as conn:
        conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        if not empty.is_sqlite:
            conn.commit()
    with pytest.raises(migrate.SchemaError, match="9999"):
        migrate.upgrade(empty.engine)


def test_a_backup_is_whole_and_private(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'z.db'}")
    migrate.upgrade(database.engine)
    copy = migrate.back_up(tmp_path / "z.db", "test")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert migrate.current_revision(Database(f"sqlite:///{copy}").engine) == HEAD
    database.close()


def test_links_of_older_rows_are_found(empty: Database) -> None:
    """An upload that was named before links were kept must not be taken for nobody's."""
    _upgrade_to(empty, "0003")
    made = {"created_at": 1, "created_by": "x", "created_by_type": "User", "modified_at": 1, "modified_by": "x",
            "modified_by_type": "User", "server": "{}", "state": "Succeeded", "archived": False, "generation": 1,
            "counter": 1, "fingerprint": ""}  # fmt: skip
    data = '{"properties":{"dataUri":"azureml://datastores/workspaceblobstore/paths/LocalUpload/ab12/x/","tags":{"a":"/LocalUpload/no/"}}}'
    ids = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
    deployment = f'{{"properties":{{"model":"{ids}/models/M/versions/2"}}}}'
    job = f'{{"properties":{{"codeId":"{ids}/codes/C/versions/1","inputs":{{"tags":{{"uri":"{ids}/data/D/versions/3"}}}}}}}}'
    rows = [
        {"scope": "s", "type": "workspaces/data/versions", "parent": "d", "name": "3", "name_key": "3", "body": data},
        {"scope": "s", "type": "workspaces/onlineEndpoints/deployments", "parent": "e", "name": "B", "name_key": "b",
         "body": deployment},
    ]  # fmt: skip

    def fill(conn: sa.Connection) -> None:
        conn.execute(sa.insert(tables.resources), [{**made, **row} for row in rows])
        conn.execute(
            sa.insert(tables.experiments).values(
                pk=1, scope="s", id="e", name="e", lifecycle="active", created_at=1, modified_at=1
            )
        )
        conn.execute(
            sa.insert(tables.runs).values(
                pk=1, scope="s", id="J", experiment=1, origin="job", status="Completed", display_name="J", root="J",
                user="x", created_at=1, ordered_at=1, modified_at=1, lifecycle="active", hidden=False, properties="{}",
            )
        )  # fmt: skip
        conn.execute(
            sa.insert(tables.jobs).values(
                run=1, scope="s", id="J", job_type="Command", body=job, created_at=1, created_by="x",
                created_by_type="User", node="", server="{}", events_applied=0, cancel_requested=False,
                logs_stored=False,
            )
        )  # fmt: skip

    empty.write_now(lambda unit: fill(unit.conn))
    migrate.upgrade(empty.engine)
    with empty.engine.connect() as conn:
        found = conn.execute(sa.select(tables.links)).all()
    assert {tuple(row) for row in found} == {
        ("s", "workspaces/data/versions", "d/3", "used", "dataUri", "upload/ab12"),
        ("s", "workspaces/onlineEndpoints/deployments", "e/b", "used", "model", "models/m/2"),
        ("s", "workspaces/jobs", "J", "used", "codeId", "codes/c/1"),
        ("s", "workspaces/jobs", "J", "used", "inputs.tags.uri", "data/d/3"),
    }


def test_datasets_that_runs_read_before_are_searched_too(empty: Database) -> None:
    _upgrade_to(empty, "0005")
    detail = '{"dataset":{"name":"iris","digest":"%d"},"tags":[%s]}'
    context = '{"key":"other","value":"x"},{"key":"mlflow.data.context","value":"training"}'

    def fill(conn: sa.Connection) -> None:
        conn.execute(
            sa.insert(tables.experiments).values(
                pk=1, scope="s", id="e", name="e", lifecycle="active", created_at=1, modified_at=1
            )
        )
        conn.execute(
            sa.insert(tables.runs).values(
                pk=1, scope="s", id="J", experiment=1, origin="mlflow", status="Completed", display_name="J", root="J",
                user="x", created_at=1, ordered_at=1, modified_at=1, lifecycle="active", hidden=False, properties="{}",
            )
        )  # fmt: skip
        read = [
            {"run": 1, "direction": "input", "kind": "dataset", "target": f"iris@{number}", "step": 0,
             "detail": detail % (number, context if number % 2 else "")}
            for number in range(1203)
        ]  # fmt: skip
        conn.execute(sa.insert(tables.run_links), read)
        model = {"run": 1, "direction": "output", "kind": "model", "target": "m-1", "step": 3, "detail": "{}"}
        conn.execute(sa.insert(tables.run_links).values(**model))

    empty.write_now(lambda unit: fill(unit.conn))
    migrate.upgrade(empty.engine)
    columns = tables.run_links.c
    with empty.engine.connect() as conn:
        found = conn.execute(sa.select(columns.target, columns.name, columns.digest, columns.context)).all()
    expected = {(f"iris@{number}", "iris", str(number), "training" if number % 2 else None) for number in range(1203)}
    assert {tuple(row) for row in found} == {*expected, ("m-1", None, None, None)}


def test_traces_of_older_rows_are_counted_and_searched(empty: Database) -> None:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    _upgrade_to(empty, "0014")
    message = Span(name="call", trace_id=b"t" * 16, span_id=b"s" * 8)
    message.attributes.add(key="mlflow.llm.model").value.string_value = "m-1"
    message.attributes.add(key="mlflow.llm.cost").value.string_value = '{"total_cost": 0.5}'
    message.attributes.add(key="said").value.string_value = "nul \0 caf\u00e9"

    def fill(conn: sa.Connection) -> None:
        def insert(table: str, **values: object) -> None:
            conn.execute(sa.insert(sa.table(table, *map(sa.column, values))).values(values))

        insert("experiments", pk=1, scope="s", id="e", name="e", lifecycle="active", created_at=1, modified_at=1)
        for pk, used in ((1, '{"input_tokens": 5, "total_tokens": 7.5}'), (2, "nothing"), (3, "[1]")):
            insert("traces", pk=pk, scope="s", id=f"t{pk}", experiment=1, state="OK", requested_at=1, finalized=True)
            insert("trace_labels", trace=pk, kind="metadata", key="mlflow.trace.tokenUsage", value=used)
        for number in range(501):
            insert("spans", trace=1, id=f"{number:03}", name="call", type="LLM", status="OK", started_ns=1,
                   content=message.SerializeToString())  # fmt: skip
        for number, kind, told in (
            (1, "feedback", '{"value":true}'),
            (2, "feedback", '{"value":"7"}'),
            (3, "expectation", '{"serialized_value":{"value":"{\\"n\\": 4}"}}'),
            (4, "feedback", "null"),
        ):
            insert("assessments", trace=1, id=f"a{number}", name="n", kind=kind, valid=True, created_at=1,
                   modified_at=1, body=f'{{"{kind}":{told}}}')  # fmt: skip

    empty.write_now(lambda unit: fill(unit.conn))
    migrate.upgrade(empty.engine)
    with empty.engine.connect() as conn:
        t, s, a = tables.traces.c, tables.spans.c, tables.assessments.c
        used = conn.execute(sa.select(t.input_tokens, t.output_tokens, t.total_tokens).order_by(t.pk)).all()
        spans = conn.execute(
            sa.select(s.model, s.provider, s.total_cost, sa.func.count()).group_by(s.model, s.provider, s.total_cost)
        )
        judged = conn.execute(sa.select(a.json, a.number).order_by(a.pk)).all()
        contents = conn.execute(sa.select(tables.span_contents.c.message, tables.span_contents.c.text)).all()
    assert [tuple(row) for row in used] == [(5.0, None, 7.5), (None, None, None), (None, None, None)]
    assert [tuple(row) for row in spans] == [("m-1", None, 0.5, 501)]
    assert [tuple(row) for row in judged] == [("true", 1.0), ('"7"', None), ('{"n": 4}', None), (None, None)]
    assert len(contents) == 501 and {row.message for row in contents} == {message.SerializeToString()}
    said = {json.loads(row.text)["attributes"]["said"] for row in contents}
    assert said == {"nul \N{REPLACEMENT CHARACTER} caf\u00e9"}


@pytest.mark.parametrize("first", ["logs", "deletes"])
def test_a_run_that_goes_while_it_is_logged_to_leaves_no_points(postgres_url: str, first: str) -> None:
    database = Database(postgres_url)
    migrate.upgrade(database.engine)
    run, _ = _two_runs(database)

    def log(unit: Unit) -> None:
        metrics.log(unit, [(run, 1, [msgspec.structs.replace(one, step=one.step + 1000) for one in POINTS])])

    def delete(unit: Unit) -> None:
        runs.delete(unit, [run])

    mine, other = (log, delete) if first == "logs" else (delete, log)
    waits = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()")
    with ThreadPoolExecutor(1) as pool, database.engine.connect() as watcher:
        with database.engine.begin() as conn:
            mine(Unit(conn, 1))
            later = pool.submit(database.write_now, other)
            while not later.done() and not watcher.execute(waits).scalar():
                watcher.rollback()
            assert not later.done(), "it waits for the first of the two"
        refused = later.exception()
        watcher.rollback()
        held = sa.select(sa.func.count()).select_from(tables.metrics).where(tables.metrics.c.run == run)
        assert watcher.execute(held).scalar() == 0
    assert refused is None if first == "logs" else isinstance(refused, sa.exc.IntegrityError)
    database.close()


POINTS = [Point(key="loss", value=float(step), timestamp=1, step=step) for step in range(200)]


def _two_runs(database: Database) -> list[int]:
    """Their keys; 200 points were logged to each."""

    def fill(unit: Unit) -> list[int]:
        conn = unit.conn
        conn.execute(
            sa.insert(tables.experiments).values(
                pk=1, scope="s", id="e", name="e", lifecycle="active", created_at=1, modified_at=1
            )
        )
        news = [
            NewRun(scope="s", id=id_, experiment=1, origin="mlflow", status="Running", display_name=id_, user="x")
            for id_ in "ab"
        ]
        made = [pk for pk in runs.insert(unit, news) if pk is not None]
        for pk in made:
            metrics.log(unit, [(pk, 1, POINTS)])
        return made

    return database.write_now(fill)


def _upgrade_to(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with database.engine.connect() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, revision)
        conn.commit()
