"""What MLflow's client says too slowly, or not at all, of a database: read from its tables, which have kept their columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

ROWS_A_FETCH = 10_000


class Point(NamedTuple):
    """A metric's value, in the fields of MLflow's own."""

    key: str
    value: float
    timestamp: int
    step: int


class Database:
    """`engine` is SQLAlchemy's, opened by MLflow's client, which has looked at the schema. Raises SQLAlchemy's own errors."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def points(self, run_id: str) -> Iterator[Point]:
        """Every value of a run. The client makes an object of every row."""
        for row in self._rows("metrics", (*Point._fields, "is_nan"), run_uuid=run_id):
            yield Point(row[0], float("nan") if row[4] else row[1], row[2], row[3])

    def webhooks(self) -> list[str]:
        """Their names. The client would open their secrets, for which it has no key."""
        if not self._has("webhooks"):
            return []
        return [name for (name,) in self._rows("webhooks", ("name",), deleted_timestamp=None)]

    def links(self) -> Iterator[tuple[str, str]]:
        """The traces that were linked to runs, each with the run; the client tells them of one run only."""
        if not self._has("entity_associations"):
            return
        wanted = {"source_type": "trace", "destination_type": "run"}
        yield from self._rows("entity_associations", ("source_id", "destination_id"), **wanted)

    def _has(self, table: str) -> bool:
        """Older versions have fewer of them."""
        import sqlalchemy as sa

        return bool(sa.inspect(self._engine).has_table(table))

    def _rows(self, table: str, columns: tuple[str, ...], **wanted: Any) -> Iterator[Any]:
        import sqlalchemy as sa

        shown: list[Any] = [sa.column(name) for name in columns]
        query = sa.select(*shown).select_from(sa.table(table))
        query = query.where(*(sa.column(name) == value for name, value in wanted.items()))
        with self._engine.connect().execution_options(yield_per=ROWS_A_FETCH) as conn:
            yield from conn.execute(query)
