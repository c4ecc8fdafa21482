"""What an import writes past the ordinary repositories: the times and states that things had where they come from."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.unit import Unit


def set_run(unit: Unit, pk: int, **values: Any) -> None:
    """Columns of one run, its times as well; they count as no change made now."""
    unit.conn.execute(sa.update(tables.runs).where(tables.runs.c.pk == pk).values(values))


def set_experiment(unit: Unit, pk: int, **values: Any) -> None:
    unit.conn.execute(sa.update(tables.experiments).where(tables.experiments.c.pk == pk).values(values))


def set_logged_model(unit: Unit, pk: int, **values: Any) -> None:
    unit.conn.execute(sa.update(tables.logged_models).where(tables.logged_models.c.pk == pk).values(values))


def set_resource(unit: Unit, pk: int, **values: Any) -> None:
    """Times and maker of a registered model or of a version."""
    unit.conn.execute(sa.update(tables.resources).where(tables.resources.c.pk == pk).values(values))
