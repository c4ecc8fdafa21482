"""All that belongs to a workspace, in whatever table: taken away bit by bit, so that nobody waits long for the writer."""

from __future__ import annotations

import sqlalchemy as sa

from zaffre.store import blobs, tables
from zaffre.store.unit import Unit

BATCH = 500
RUNS = 20
_KEPT = ("resources", "audit")
"""`resources` come last, since controllers go by them; the audit outlives what it tells of."""

_scoped = [table for table in reversed(tables.metadata.sorted_tables) if "scope" in table.c]


def purge(unit: Unit, scope: str, account: str) -> bool:
    """Delete one batch of what lies in `scope` and in its storage account; whether there was anything.

    Every table with a column `scope` is meant, those that will be added as well; what refers to a row goes with it.
    """
    return _purge_blobs(unit, account) or _purge_metrics(unit, scope) or _purge_scope(unit, scope)


def _purge_blobs(unit: Unit, account: str) -> bool:
    """The containers go for everybody at once, what is in them piece by piece."""
    containers = tables.blob_containers
    if unit.conn.execute(sa.select(containers.c.pk).where(containers.c.account == account).limit(1)).first() is None:
        return False
    blobs.discard_account(unit, account)
    blobs.purge(unit, BATCH)
    return True


def _purge_metrics(unit: Unit, scope: str) -> bool:
    """Points go before their runs: a run may have millions, and a cascade takes them all at once."""
    runs, metrics = tables.runs, tables.metrics
    first = sa.select(metrics.c.run).join(runs, runs.c.pk == metrics.c.run).where(runs.c.scope == scope).limit(1)
    run = unit.conn.execute(first).scalar_one_or_none()
    return run is not None and _delete(unit, metrics, metrics.c.run == run, 20 * BATCH)


def _purge_scope(unit: Unit, scope: str) -> bool:
    later = [tables.resources]
    for table in [*(table for table in _scoped if table.name not in _KEPT), *later]:
        if _delete(unit, table, table.c.scope == scope, RUNS if table is tables.runs else BATCH):
            return True
    return False


def _delete(unit: Unit, table: sa.Table, where: sa.ColumnElement[bool], limit: int) -> bool:
    key = list(table.primary_key.columns)
    chosen = sa.select(*key).where(where).limit(limit)
    within = key[0].in_(chosen) if len(key) == 1 else sa.tuple_(*key).in_(chosen)
    return unit.conn.execute(sa.delete(table).where(within)).rowcount > 0
