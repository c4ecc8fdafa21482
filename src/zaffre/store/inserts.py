"""INSERT with ON CONFLICT, for whichever database it is."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


def insert(conn: sa.Connection, table: sa.Table) -> Any:
    """The dialect's own INSERT: both have `on_conflict_do_nothing` and the like, but share no base that does."""
    # Imported here: PostgreSQL's dialect alone is a tenth of what SQLAlchemy costs a start.
    if conn.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
