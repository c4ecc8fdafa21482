"""Runs that are made and logged to, many at a time: what tracking's hot paths do inside one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput, NotFound, ZaffreError
from zaffre.runtime import Runtime
from zaffre.services.tracking.experiments import ACTIVE, Experiments
from zaffre.services.tracking.names import two_words
from zaffre.store.tracking import metrics
from zaffre.store.tracking import runs as store
from zaffre.store.tracking.records import Experiment, Found, NewRun, Point, Run, RunHead
from zaffre.store.unit import Actor, Unit

RUN_NAME, NOTE, PARENT = "mlflow.runName", "mlflow.note.content", "mlflow.parentRunId"

Logged = tuple[str, str, Sequence[Point]]
"""Workspace, run and points."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A run somebody starts in the experiment with that id; that of `run` follows from it."""

    actor: Actor
    experiment_id: str
    run: NewRun


def make(unit: Unit, runtime: Runtime, news: Sequence[NewRun]) -> list[tuple[NewRun, int | ZaffreError]]:
    """Make runs; each as it was made, and its key or why it was not.

    Three of MLflow's tags are columns of ours and are taken from `tags`.
    """
    named = [_named(unit, runtime, new) for new in news]
    made: list[tuple[NewRun, int | ZaffreError]] = []
    for new, pk in zip(named, store.insert(unit, named), strict=True):
        if pk is None:
            text = f"A run with the id '{new.id}' exists already."
            made.append((new, Conflict(text, code="RESOURCE_ALREADY_EXISTS", target="run_id")))
            continue
        unit.emit(new.scope, "runs", new.id, {"status": new.status})
        made.append((new, pk))
    return made


def start(unit: Unit, runtime: Runtime, experiments: Experiments, starts: Sequence[Start]) -> list[Run | ZaffreError]:
    """Runs of MLflow's making, running at once."""
    found: dict[tuple[str, str], Experiment | ZaffreError] = {}
    for one in starts:
        key = (one.run.scope, one.experiment_id)
        if key not in found:
            found[key] = _experiment(unit, experiments, *key)
    wanted = [(one, found[one.run.scope, one.experiment_id]) for one in starts]
    ready = [
        msgspec.structs.replace(
            one.run,
            experiment=experiment.pk,
            started_at=unit.now if one.run.started_at is None else one.run.started_at,
        )
        for one, experiment in wanted
        if isinstance(experiment, Experiment)
    ]
    made = iter(make(unit, runtime, ready))
    results: list[Run | ZaffreError] = []
    for one, experiment in wanted:
        if isinstance(experiment, ZaffreError):
            results.append(experiment)
            continue
        new, pk = next(made)
        if isinstance(pk, ZaffreError):
            results.append(pk)
            continue
        unit.audit(one.actor, "workspaces/experiments/runs/write", f"{new.scope}/runs/{new.id}")
        results.append(Run(head=_head(pk, new, experiment, unit.now), tags=new.tags, params={}, metrics=[], links=[]))
    return results


def log_points(unit: Unit, logged: Sequence[Logged]) -> list[ZaffreError | None]:
    """Points of many runs at once."""
    found = store.find_many(unit.conn, [(scope, run_id) for scope, run_id, _ in logged])
    results: list[ZaffreError | None] = []
    wanted: list[tuple[int, int, Sequence[Point]]] = []
    for scope, run_id, points in logged:
        run = as_active(run_id, found.get((scope, run_id)))
        if isinstance(run, ZaffreError):
            results.append(run)
            continue
        wanted.append((run.pk, run.experiment, points))
        results.append(None)
    metrics.log(unit, wanted)
    return results


def as_active(run_id: str, found: Found | None) -> Found | ZaffreError:
    """A run that may be written to, or why it may not."""
    if found is None:
        return missing(run_id)
    if found.lifecycle != ACTIVE:
        return InvalidInput(
            f"The run {run_id} must be in the 'active' state. Current state is {found.lifecycle}; restore it first.",
            target="run_id",
        )
    return found


def root(conn: sa.Connection, scope: str, parent: str) -> str:
    """The outermost run above one with that parent."""
    found = store.head(conn, scope, parent)
    return found.root if found else parent


def missing(run_id: str) -> NotFound:
    return NotFound(f"Run with id={run_id} not found in this workspace.", target="run_id")


def _experiment(unit: Unit, experiments: Experiments, scope: str, id_: str) -> Experiment | ZaffreError:
    try:
        return experiments.active(unit, scope, id_)
    except ZaffreError as error:
        return error


def _named(unit: Unit, runtime: Runtime, new: NewRun) -> NewRun:
    tags = dict(new.tags)
    name = tags.pop(RUN_NAME, None)
    note = tags.pop(NOTE, None)
    parent = tags.pop(PARENT, None) or new.parent
    return msgspec.structs.replace(
        new,
        display_name=new.display_name or name or two_words(runtime),
        description=new.description if new.description is not None else note,
        parent=parent,
        root=new.root or (root(unit.conn, new.scope, parent) if parent else new.id),
        tags=tags,
    )


def _head(pk: int, new: NewRun, experiment: Experiment, now: int) -> RunHead:
    """What the row of a run that was just made holds."""
    return RunHead(
        pk=pk,
        scope=new.scope,
        id=new.id,
        experiment=new.experiment,
        experiment_id=experiment.id,
        experiment_name=experiment.name,
        experiment_location=experiment.artifact_location,
        origin=new.origin,
        status=new.status,
        display_name=new.display_name,
        description=new.description,
        hidden=new.hidden,
        lifecycle=ACTIVE,
        parent=new.parent,
        root=new.root or new.id,
        user=new.user,
        artifact_uri=new.artifact_uri,
        properties=new.properties,
        error=None,
        created_at=now,
        started_at=new.started_at,
        ended_at=None,
        ordered_at=now if new.started_at is None else new.started_at,
        modified_at=now,
    )
