"""Migrations say what `tables.py` says, on both databases; an older file is backed up, a newer one refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from zaffre.store import migrate, tables
from zaffre.store.database import Database
from zaffre.store.migrations import HEAD


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
    assert found == []


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
