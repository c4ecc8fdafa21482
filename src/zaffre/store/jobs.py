"""Jobs as rows: the submitted body and the plan, beside the run that everybody reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import crashpoint, filters, tables
from zaffre.store.filters import Pair
from zaffre.store.tracking import runs
from zaffre.store.tracking.sql import chunks
from zaffre.store.unit import Actor, Unit, decode, encode

_j, _r, _e, _tags = tables.jobs, tables.runs, tables.experiments, tables.run_tags

NOT_STARTED, PREPARING, QUEUED, STARTING, RUNNING = "NotStarted", "Preparing", "Queued", "Starting", "Running"
CANCEL_REQUESTED, FINALIZING = "CancelRequested", "Finalizing"
COMPLETED, FAILED, CANCELED = "Completed", "Failed", "Canceled"
ACTIVE = (NOT_STARTED, PREPARING, QUEUED, STARTING, RUNNING, CANCEL_REQUESTED, FINALIZING)
CANCELABLE = (NOT_STARTED, PREPARING, QUEUED, STARTING, RUNNING)
TERMINAL = (COMPLETED, FAILED, CANCELED)

# Every change of state there is; tests kill the server at each one and compare this list with what the code does.
TRANSITIONS = (
    (NOT_STARTED, PREPARING),
    (PREPARING, QUEUED),
    (QUEUED, STARTING),
    (STARTING, RUNNING),
    (RUNNING, FINALIZING),
    (FINALIZING, COMPLETED),
    (FINALIZING, FAILED),
    (FINALIZING, CANCELED),
    *((state, CANCEL_REQUESTED) for state in CANCELABLE),
    *((state, FINALIZING) for state in (NOT_STARTED, PREPARING, QUEUED, STARTING, CANCEL_REQUESTED)),
)
_ALLOWED = frozenset(TRANSITIONS)

_HIDDEN = sa.or_(_r.c.hidden, _r.c.lifecycle == "deleted")
"""What MLflow's clients have deleted, and may restore, is for ARM's what is archived."""


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A job joined with its run. `server` holds what we fill, `plan` what the executor was given."""

    run: int
    scope: str
    id: str
    status: str
    experiment_id: str
    experiment: str
    display_name: str
    description: str | None
    hidden: bool
    root: str
    properties: dict[str, str]
    body: dict[str, Any]
    server: dict[str, Any]
    plan: dict[str, Any] | None
    node: str
    events_applied: int
    logs_stored: bool
    error: dict[str, Any] | None
    created_at: int
    created_by: str
    created_by_type: str
    started_at: int | None
    ended_at: int | None
    modified_at: int


class ActiveJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a compute wants to know of a job that is not over; `compute` is the id that was submitted, or empty."""

    run: int
    id: str
    status: str
    compute: str
    since: int


def insert(
    unit: Unit, actor: Actor, run: int, scope: str, id_: str, node: str, body: dict[str, Any], server: dict[str, Any]
) -> None:
    unit.conn.execute(
        sa.insert(_j).values(
            run=run,
            scope=scope,
            id=id_,
            job_type=body["properties"]["jobType"],
            node=node,
            body=encode(body),
            server=encode(server),
            created_at=unit.now,
            created_by=actor.name,
            created_by_type=actor.kind,
        )
    )


def get(conn: sa.Connection, scope: str, id_: str, *, lock: bool = False) -> JobRow | None:
    """The job, or None. With `lock` no other transaction changes it before this one ends: whoever writes `server` needs that."""
    query = _select().where(_j.c.scope == scope, _j.c.id == id_)
    found = conn.execute(query.with_for_update(of=[_j, _r], key_share=True) if lock else query).mappings().one_or_none()
    return None if found is None else _row(found)


def of_runs(conn: sa.Connection, pks: Sequence[int]) -> list[JobRow]:
    """The jobs behind runs, by the runs' keys; runs that MLflow made have none."""
    return [
        _row(found) for piece in chunks(pks) for found in conn.execute(_select().where(_j.c.run.in_(piece))).mappings()
    ]


def active(conn: sa.Connection, node: str) -> list[JobRow]:
    """What this node has to bring to an end, oldest first."""
    query = _select().where(_j.c.node == node, _r.c.status.in_(ACTIVE)).order_by(_j.c.run)
    return [_row(found) for found in conn.execute(query).mappings()]


def active_in(conn: sa.Connection, scope: str) -> list[ActiveJob]:
    """What is not over in one workspace, on whatever node, oldest first."""
    compute_id = filters.text_at(conn, _j.c.body, "properties", "computeId")
    query = (
        sa.select(_j.c.run, _j.c.id, _r.c.status, compute_id, _r.c.started_at, _j.c.created_at)
        .join(_r, _r.c.pk == _j.c.run)
        .where(_r.c.scope == scope, _r.c.status.in_(ACTIVE))
        .order_by(_j.c.run)
    )  # fmt: skip
    return [
        ActiveJob(run=run, id=id_, status=status, compute=compute or "", since=started or created)
        for run, id_, status, compute, started, created in conn.execute(query)
    ]


class JobSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs a list answers; `tags` and `properties` must all be there. `after` is the key of the last one before."""

    hidden: bool | None = None
    job_type: str | None = None
    created_by: str | None = None
    tags: tuple[Pair, ...] = ()
    properties: tuple[Pair, ...] = ()
    scheduled: bool | None = None
    schedule: str | None = None
    asset: str | None = None
    descending: bool = True
    after: int | None = None
    offset: int = 0
    limit: int


def listing(conn: sa.Connection, scope: str, wanted: JobSelection) -> list[JobRow]:
    """Jobs in the order they were made, from behind `after` on: a page costs the same wherever it lies."""
    query = _select().where(_j.c.scope == scope, *_conditions(conn, wanted))
    if wanted.after is not None:
        query = query.where(_j.c.run < wanted.after if wanted.descending else _j.c.run > wanted.after)
    order = _j.c.run.desc() if wanted.descending else _j.c.run
    query = query.order_by(order).offset(wanted.offset).limit(wanted.limit)
    return [_row(found) for found in conn.execute(query).mappings()]


def _conditions(conn: sa.Connection, wanted: JobSelection) -> list[sa.ColumnElement[bool]]:
    made: list[sa.ColumnElement[bool]] = []
    if wanted.hidden is not None:
        made.append(_HIDDEN if wanted.hidden else sa.not_(_HIDDEN))
    if wanted.job_type is not None:
        made.append(sa.func.lower(_j.c.job_type) == wanted.job_type.lower())
    if wanted.created_by is not None:
        made.append(_j.c.created_by == wanted.created_by)
    for pair in wanted.tags:
        tag = sa.select(sa.literal(1)).where(_tags.c.run == _j.c.run, _tags.c.key == pair.key)
        made.append(sa.exists(tag if pair.value is None else tag.where(_tags.c.value == pair.value)))
    made.extend(filters.holds(conn, _r.c.properties, (), pair) for pair in wanted.properties)
    schedule = filters.text_at(conn, _j.c.server, "schedule")
    if wanted.scheduled is not None:
        made.append(schedule.is_not(None) if wanted.scheduled else schedule.is_(None))
    if wanted.schedule is not None:
        made.append(schedule == wanted.schedule)
    if wanted.asset is not None:  # bodies are kept as `encode` writes them
        made.append(_j.c.body.contains(f'"assetName":{encode(wanted.asset)}', autoescape=True))
    return made


def stranded(conn: sa.Connection) -> list[tuple[str, str]]:
    """Scope and id of jobs that are over and whose logs are nowhere but in their folders."""
    query = sa.select(_j.c.scope, _j.c.id).join(_r, _r.c.pk == _j.c.run)
    found = conn.execute(query.where(_j.c.logs_stored == sa.false(), _r.c.status.in_(TERMINAL)).order_by(_j.c.run))
    return [(scope, id_) for scope, id_ in found]


def every_active(conn: sa.Connection) -> list[JobRow]:
    """What is not over, on whatever node, oldest first."""
    return [
        _row(found) for found in conn.execute(_select().where(_r.c.status.in_(ACTIVE)).order_by(_j.c.run)).mappings()
    ]


def begin_anew(unit: Unit, job: JobRow, node: str) -> None:
    """A job that had not started yet is this node's from the beginning, as if it had just been submitted.

    No state changes that way by itself: only a restore does this, when what had been prepared is gone.
    """
    unit.transition(_r, _r.c.pk == job.run, "status", (NOT_STARTED, PREPARING, QUEUED), NOT_STARTED)
    update(unit, job.run, node=node, plan=None, events_applied=0)


def state_counts(conn: sa.Connection) -> dict[str, int]:
    """How many jobs are in each state, over all workspaces."""
    query = sa.select(_r.c.status, sa.func.count()).where(_r.c.origin == "job").group_by(_r.c.status)
    return dict(conn.execute(query).tuples().all())


def update(unit: Unit, run: int, **values: Any) -> None:
    for document in ("body", "server", "plan"):
        if document in values and values[document] is not None:
            values[document] = encode(values[document])
    unit.conn.execute(sa.update(_j).where(_j.c.run == run).values(values))


def move(unit: Unit, job: JobRow, expected: tuple[str, ...], new: str, **run_values: Any) -> bool:
    """The one way a job changes its state: guarded, with its event, in the caller's transaction."""
    for state in expected:
        if (state, new) not in _ALLOWED:
            raise ValueError(f"A job never goes from {state} to {new}; TRANSITIONS names every change there is.")
    moved = runs.transition(unit, job.scope, job.id, expected, new, **run_values)
    if moved:
        unit.emit(job.scope, "jobs", f"{job.scope}/{job.id}", {"status": new})
        crashpoint.reach(unit, f"jobs/{job.id}/{job.status}>{new}")
    return moved


def _select() -> sa.Select[Any]:
    return (
        sa.select(
            _j.c.run, _j.c.scope, _j.c.id, _j.c.body, _j.c.server, _j.c.plan, _j.c.node, _j.c.events_applied, _j.c.logs_stored,
            _j.c.created_at, _j.c.created_by, _j.c.created_by_type,
            _r.c.status, _r.c.display_name, _r.c.description, _HIDDEN.label("hidden"), _r.c.root, _r.c.properties, _r.c.error,
            _r.c.started_at, _r.c.ended_at, _r.c.modified_at, _e.c.id.label("experiment_id"), _e.c.name.label("experiment"),
        )
        .join(_r, _r.c.pk == _j.c.run)
        .join(_e, _e.c.pk == _r.c.experiment)
    )  # fmt: skip


def _row(found: sa.RowMapping) -> JobRow:
    values = {name: found[name] for name in JobRow.__struct_fields__}
    for document in ("body", "server", "plan", "error", "properties"):
        if values[document] is not None:
            values[document] = decode(values[document])
    return JobRow(**values)
