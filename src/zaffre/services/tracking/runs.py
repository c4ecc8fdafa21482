"""Runs: made, moved, logged to, found.

A run that is a job belongs to the platform: what is logged to it counts, what is said of its status does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import InvalidInput, NotFound, ZaffreError
from zaffre.services.tracking import filters, making, paging, words
from zaffre.services.tracking.experiments import DELETED, Experiments
from zaffre.store.database import Database
from zaffre.store.together import Together
from zaffre.store.tracking import experiments as experiment_store
from zaffre.store.tracking import metrics, sampling, search
from zaffre.store.tracking import runs as store
from zaffre.store.tracking.conditions import Condition, holds
from zaffre.store.tracking.records import DatasetSummary, Found, Link, NewRun, PlainPoint, Point, Run, RunHead
from zaffre.store.unit import Actor, Unit, decode, encode

JOB, MLFLOW = "job", "mlflow"
RUN_NAME, NOTE, PARENT = "mlflow.runName", "mlflow.note.content", "mlflow.parentRunId"
LOGGED_MODELS = "mlflow.log-model.history"


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged to a run in one go: all of it or, on any fault, nothing."""

    metrics: Sequence[Point] = ()
    params: Sequence[tuple[str, str]] = ()
    tags: Mapping[str, str] = {}


class Runs:
    def __init__(self, database: Database, experiments: Experiments) -> None:
        self._database = database
        self._experiments = experiments
        self._starts: Together[making.Start, Run] = Together(
            database, lambda unit, starts: making.start(unit, database.runtime, experiments, starts)
        )
        self._points: Together[making.Logged, None] = Together(database, making.log_points)

    # ---- inside somebody's transaction
    def create(self, unit: Unit, new: NewRun) -> Run:
        """Make the run. Three of MLflow's tags are columns of ours and are taken from `tags`. Raises Conflict."""
        ((_, pk),) = making.make(unit, self._database.runtime, [new])
        if isinstance(pk, ZaffreError):
            raise pk
        return _present(store.get(unit.conn, new.scope, new.id), new.id)

    def set_status(
        self,
        unit: Unit,
        scope: str,
        run_id: str,
        expected: tuple[str, ...],
        new: str,
        *,
        error: Mapping[str, Any] | None = None,
        started: int | None = None,
        ended: int | None = None,
    ) -> bool:
        """The guarded change of a run's status, with its event; False when it was in none of `expected`."""
        values: dict[str, Any] = {}
        if error is not None:
            values["error"] = dict(error)
        if started is not None:
            values["started_at"] = started
        if ended is not None:
            values["ended_at"] = ended
        moved = store.transition(unit, scope, run_id, expected, new, **values)
        if moved:
            unit.emit(scope, "runs", run_id, {"status": new})
        return moved

    # ---- requests
    async def start(
        self,
        actor: Actor,
        scope: str,
        experiment_id: str,
        *,
        name: str,
        user: str,
        started_at: int | None,
        tags: dict[str, str],
    ) -> Run:
        """A run of MLflow's own making; it is Running at once. Raises InvalidInput when it is given two names."""
        other = tags.get(RUN_NAME)
        if name and other and name != other:
            raise InvalidInput(
                "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
                f"(run_name='{name}', mlflow.runName='{other}').",
                target="run_name",
            )
        return await self._starts.write(
            making.Start(
                actor=actor,
                experiment_id=experiment_id,
                run=NewRun(
                    scope=scope,
                    id=self._database.runtime.hex_id(),
                    experiment=0,
                    origin=MLFLOW,
                    status="Running",
                    display_name=name,
                    user=user,
                    started_at=started_at,
                    tags=tags,
                ),
            )
        )

    async def get(self, scope: str, run_id: str) -> Run:
        return _present(await self._database.read(lambda conn: store.get(conn, scope, run_id)), run_id)

    async def head(self, scope: str, run_id: str) -> RunHead:
        """The run without what was logged to it."""
        found = await self._database.read(lambda conn: store.head(conn, scope, run_id))
        if found is None:
            raise making.missing(run_id)
        return found

    async def update(
        self, scope: str, run_id: str, *, status: str | None, ended_at: int | None, name: str | None
    ) -> RunHead:
        """MLflow's update. The status of a job is the platform's: one that is sent for it is passed over."""
        wanted = words.from_mlflow(status) if status else None

        def work(unit: Unit) -> RunHead:
            run = self._active(unit, scope, run_id)
            pk, origin = run.pk, run.origin
            if name:
                store.update(unit, pk, display_name=name)
            if wanted and origin != JOB:
                # MLflow may take any run up again, so every status may follow every other here.
                self.set_status(unit, scope, run_id, words.ALL, wanted)
                store.update(unit, pk, ended_at=unit.now if wanted in words.TERMINAL else None)
            if ended_at is not None and origin != JOB:
                store.update(unit, pk, ended_at=ended_at)
            found = store.head(unit.conn, scope, run_id)
            assert found is not None, "the run was found in this transaction"
            return found

        return await self._database.write(work)

    async def set_lifecycle(self, actor: Actor, scope: str, run_id: str, lifecycle: str) -> None:
        """Delete (softly) or restore."""

        def work(unit: Unit) -> None:
            found = store.find(unit.conn, scope, run_id)
            if found is None:
                raise making.missing(run_id)
            if found.lifecycle == lifecycle:
                return
            store.update(unit, found.pk, lifecycle=lifecycle)
            verb = "delete" if lifecycle == DELETED else "write"
            unit.audit(actor, f"workspaces/experiments/runs/{verb}", f"{scope}/runs/{run_id}")
            unit.emit(scope, "runs", run_id)

        await self._database.write(work)

    async def log(self, scope: str, run_id: str, batch: Batch) -> None:
        """Log all of the batch or nothing. Raises InvalidInput when a param is there with another value."""
        if not batch.params and not batch.tags:
            await self._points.write((scope, run_id, batch.metrics))
            return

        def work(unit: Unit) -> None:
            run = self._active(unit, scope, run_id)
            clash = store.put_params(unit, run.pk, batch.params)
            if clash is not None:
                key, kept, other = clash
                raise InvalidInput(
                    f"Changing param values is not allowed. Param with key='{key}' was already logged with "
                    f"value='{_short(kept)}' for run ID='{run_id}'. Attempted logging new value '{_short(other)}'.",
                    target=key,
                )
            metrics.log(unit, [(run.pk, run.experiment, batch.metrics)])
            apply_tags(unit, scope, run.pk, batch.tags)

        await self._database.write(work)

    async def delete_tag(self, scope: str, run_id: str, key: str) -> None:
        def work(unit: Unit) -> None:
            pk = self._active(unit, scope, run_id).pk
            if key == RUN_NAME:
                raise InvalidInput(f"'{RUN_NAME}' is the name of the run; give it another one instead.", target="key")
            if key == NOTE:
                store.update(unit, pk, description=None)
            elif key == PARENT:
                store.update(unit, pk, parent=None, root=run_id)
            elif not store.delete_tag(unit, pk, key):
                raise NotFound(f"No tag with name: {key} in run with id {run_id}", target="key")

        await self._database.write(work)

    async def link(self, scope: str, run_id: str, links: Sequence[Link]) -> None:
        """Record what the run read or made."""
        await self._database.write(lambda unit: store.put_links(unit, self._active(unit, scope, run_id).pk, links))

    async def datasets(self, scope: str, experiment_ids: Sequence[str], limit: int) -> list[DatasetSummary]:
        """What the runs of those experiments read, at most `limit` of them."""
        return await self._database.read(lambda conn: store.datasets(conn, scope, experiment_ids, limit))

    async def record_model(self, scope: str, run_id: str, description: dict[str, Any]) -> None:
        """MLflow 2's way to say that a run logged a model: a tag that grows."""

        def work(unit: Unit) -> None:
            pk = self._active(unit, scope, run_id).pk
            held = store.get_tag(unit.conn, pk, LOGGED_MODELS)
            store.set_tags(unit, pk, {LOGGED_MODELS: encode([*(decode(held) if held else []), description])})

        await self._database.write(work)

    async def history(
        self, scope: str, run_id: str, key: str, token: str | None, limit: int | None
    ) -> tuple[Sequence[Point | PlainPoint], str | None]:
        """Every point of a metric, by step; a page of them when `limit` is given. All of them are of one sort."""
        after = _history_place(token) if token else None

        def work(conn: sa.Connection) -> tuple[Sequence[Point | PlainPoint], str | None]:
            found = store.find(conn, scope, run_id)
            if found is None:
                raise making.missing(run_id)
            most = None if limit is None else limit + 1
            points: Sequence[Point | PlainPoint] | None
            points = metrics.plain_history(conn, found.pk, key, after=after, limit=most)
            if points is None:
                points = metrics.history(conn, found.pk, key, after=after, limit=most)
            if limit is None or len(points) <= limit:
                return points, None
            return points[:limit], paging.token(metrics.place(points[limit - 1]))

        return await self._database.read(work)

    async def histories(
        self, scope: str, run_ids: Sequence[str], key: str, steps: tuple[int, int] | None, most: int
    ) -> list[tuple[str, Point]]:
        """One metric of several runs at about `most` steps, evenly picked of all they have, and where each begins and ends."""

        def work(conn: sa.Connection) -> list[tuple[str, Point]]:
            pks = {run_id: _pk(conn, scope, run_id) for run_id in run_ids}
            found: dict[int, list[Point]] = {pk: [] for pk in pks.values()}
            for pk, point in sampling.sample(conn, list(found), key, steps, most):
                found[pk].append(point)
            return [(run_id, point) for run_id in run_ids for point in found[pks[run_id]]]

        return await self._database.read(work)

    async def whole_histories(self, scope: str, run_ids: Sequence[str], key: str, most: int) -> list[tuple[str, Point]]:
        """One metric of several runs, by run and step, the first `most` points. Runs that are not there have none."""

        def work(conn: sa.Connection) -> list[tuple[str, Point]]:
            points: list[tuple[str, Point]] = []
            for run_id in run_ids:
                found = store.find(conn, scope, run_id)
                if found is not None and len(points) < most:
                    own = metrics.history(conn, found.pk, key, limit=most - len(points))
                    points.extend((run_id, point) for point in own)
            return points

        return await self._database.read(work)

    async def search(
        self,
        scope: str,
        experiment_ids: Sequence[str],
        filter_: str | None,
        lifecycles: tuple[str, ...],
        order_by: Sequence[str],
        token: str | None,
        limit: int,
    ) -> tuple[list[Run], str | None]:
        """A page of runs with what was logged to them; the newest first where nothing else is asked."""
        conditions = [_in_our_words(one) for one in filters.parse(filter_, filters.RUNS)]
        orders = filters.parse_order(order_by, filters.RUNS)

        def work(conn: sa.Connection) -> tuple[list[Run], str | None]:
            found = [experiment_store.find(conn, scope, id_) for id_ in dict.fromkeys(experiment_ids)]
            keys = [one.pk for one in found if one is not None]
            heads, following = paging.found(
                token,
                limit,
                lambda after, most: search.search(conn, scope, keys, lifecycles, conditions, orders, after, most),
            )
            return store.with_data(conn, heads), following

        return await self._database.read(work)

    @staticmethod
    def _active(unit: Unit, scope: str, run_id: str) -> Found:
        found = making.as_active(run_id, store.find(unit.conn, scope, run_id))
        if isinstance(found, ZaffreError):
            raise found
        return found


def apply_tags(unit: Unit, scope: str, pk: int, tags: Mapping[str, str]) -> None:
    """Set tags of the run with the key `pk`; the three that are columns of ours go there."""
    if not tags:
        return
    plain = dict(tags)
    columns: dict[str, Any] = {}
    if name := plain.pop(RUN_NAME, None):
        columns["display_name"] = name
    if (note := plain.pop(NOTE, None)) is not None:
        columns["description"] = note
    if parent := plain.pop(PARENT, None):
        columns |= {"parent": parent, "root": making.root(unit.conn, scope, parent)}
    if columns:
        store.update(unit, pk, **columns)
    store.set_tags(unit, pk, plain)


def _in_our_words(condition: Condition) -> Condition:
    """A condition on MLflow's status as one on Azure ML's, which is what the rows hold."""
    if condition.entity != "attribute" or condition.key != "status":
        return condition
    return Condition(
        "attribute", "status", "IN", words.meaning(tuple(one for one in words.MLFLOW if holds(condition, one)))
    )


def _history_place(token: str) -> metrics.Place:
    try:
        found: metrics.Place = msgspec.convert(paging.place(token), metrics.Place)
    except msgspec.ValidationError:
        raise paging.bad_token(token) from None
    return found


def _short(text: str) -> str:
    return text if len(text) <= 250 else f"{text[:250]}…"


def _pk(conn: sa.Connection, scope: str, run_id: str) -> int:
    found = store.find(conn, scope, run_id)
    if found is None:
        raise making.missing(run_id)
    return found.pk


def _present(run: Run | None, run_id: str) -> Run:
    if run is None:
        raise making.missing(run_id)
    return run
