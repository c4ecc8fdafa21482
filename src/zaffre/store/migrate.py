"""Bring a database to the newest schema. Alembic is imported only when there is something to do: it costs 0.3 s of CPU."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from zaffre.errors import ZaffreError
from zaffre.store.migrations import HEAD
from zaffre.store.snapshots import copy_sqlite

_UPGRADE = 0x7A61
"""What an upgrade locks on PostgreSQL; any number that nothing else of ours locks."""


class SchemaError(ZaffreError):
    """The database was written by a newer Zaffre."""

    code = "SchemaTooNew"


def upgrade(engine: sa.Engine) -> None:
    """Create or upgrade the schema. A SQLite file is backed up beside itself first. Raises SchemaError for a newer one."""
    current = current_revision(engine)
    if current == HEAD:
        return
    if current is not None and current > HEAD:
        raise SchemaError(
            f"The database has schema {current}; this Zaffre knows schemas up to {HEAD}. Install the version that wrote it, or newer."
        )
    if current is not None and engine.dialect.name == "sqlite":
        back_up(Path(str(engine.url.database)), f"schema-{current}")
    _run_alembic(engine)


def current_revision(engine: sa.Engine) -> str | None:
    with engine.connect() as conn:
        if not sa.inspect(conn).has_table("alembic_version"):
            return None
        found: str | None = conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        return found


def back_up(database: Path, label: str) -> Path:
    """A consistent copy of a SQLite database, made while others may write, beside the original and as private."""
    copy = database.with_name(f"{database.name}.{label}.backup")
    new = copy.with_name(copy.name + ".new")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    copy_sqlite(database, new)
    new.rename(copy)
    return copy


def _run_alembic(engine: sa.Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.connect() as conn:
        if engine.dialect.name == "sqlite":
            conn.exec_driver_sql("BEGIN IMMEDIATE")
        else:  # of several servers that start at once, one does it and the others find it done
            conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE}, hashtext(current_schema()))")
        config.attributes["connection"] = conn
        command.upgrade(config, "head")
        if engine.dialect.name == "sqlite":
            conn.exec_driver_sql("COMMIT")
        else:
            conn.commit()
