"""The job controller: brings every job of this node to its end, whatever happens to the server meanwhile.

Each state is one function that acts and then moves the job on; a move is guarded, so one that comes too late changes nothing
and the loop looks again. All truth about a running process is in its events (zaffre.execution.events), applied by number.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any

import msgspec

from zaffre.control import outcomes
from zaffre.control.environments import ReadyEnvironments
from zaffre.control.evaluated import Evaluation
from zaffre.control.finish import clear, store_outputs
from zaffre.control.inputs import Layout, lay, layout
from zaffre.control.job_environment import variables
from zaffre.control.outside import Outside
from zaffre.control.slots import MEDIUM, Slots
from zaffre.errors import NotFound, StorageFull, ZaffreError
from zaffre.execution.data.expressions import bind, section_inputs
from zaffre.execution.environments.overlay import overlay
from zaffre.execution.events import Event
from zaffre.execution.executors.base import Executor
from zaffre.execution.files import remove_tree
from zaffre.execution.plan import JobPlan
from zaffre.runtime import from_iso
from zaffre.services import job_assets
from zaffre.services.blobs import Blobs
from zaffre.services.computes import target
from zaffre.services.datastores import Datastores
from zaffre.services.durations import seconds
from zaffre.services.job_removal import remove
from zaffre.services.jobs import DELETE
from zaffre.services.kinds.base import Document
from zaffre.services.kinds.computes import TYPE as COMPUTE
from zaffre.services.kinds.computes import room
from zaffre.services.logs import Logs
from zaffre.services.places import Places
from zaffre.services.resources import Resources
from zaffre.services.tokens import Tokens
from zaffre.services.workspaces import Workspace, Workspaces
from zaffre.settings import Settings
from zaffre.store import jobs, operations, resources
from zaffre.store.database import Database
from zaffre.store.jobs import JobRow
from zaffre.store.unit import Unit

BUILD_LOG = "azureml-logs/20_image_build_log.txt"
LAUNCH_ATTEMPTS = 3
CORES = max(2, os.cpu_count() or 1)
BACK_OFF_S = (0.2, 1, 5, 15, 30)

_log = logging.getLogger("zaffre.jobs")
Step = Callable[[JobRow, Workspace], Awaitable[None]]


class JobController:
    def __init__(
        self,
        settings: Settings,
        database: Database,
        workspaces: Workspaces,
        resources: Resources,
        blobs: Blobs,
        datastores: Datastores,
        environments: ReadyEnvironments,
        logs: Logs,
        tokens: Tokens,
        executor: Executor,
        node: str,
        bell: Path | None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._workspaces = workspaces
        self._resources = resources
        self._blobs = blobs
        self._datastores = datastores
        self._environments = environments
        self._logs = logs
        self._tokens = tokens
        self._executor = executor
        self._node = node
        self._bell = bell
        self._slots = Slots()
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._fitting: asyncio.Task[None] | None = None
        self._news: dict[tuple[str, str], asyncio.Event] = {}
        self._steps: dict[str, Step] = {
            jobs.NOT_STARTED: self._begin,
            jobs.PREPARING: self._prepare,
            jobs.QUEUED: self._queue,
            jobs.STARTING: self._start,
            jobs.RUNNING: self._watch,
            jobs.CANCEL_REQUESTED: self._cancel,
            jobs.FINALIZING: self._finalize,
        }

    async def start(self) -> None:
        """Take up every job of this node that is not over, then listen for new ones."""
        loop = asyncio.get_running_loop()
        self._database.bells.listen("jobs", self._listener(loop))
        self._database.bells.listen(COMPUTE, self._compute_listener(loop))
        for job in await self._database.read(lambda conn: jobs.active(conn, self._node)):
            if job.status in (jobs.STARTING, jobs.RUNNING, jobs.CANCEL_REQUESTED, jobs.FINALIZING):
                self._slots.take(_compute(job), job.run)
            self._hear(f"{job.scope}/{job.id}")

    async def stop(self) -> list[str]:
        """Leave all jobs to themselves; the names of those whose processes go on."""
        tasks = [*self._tasks.values(), *filter(None, [self._fitting])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        rows = await self._database.read(lambda conn: jobs.active(conn, self._node))
        return [job.id for job in rows if self._executor.alive(self._folder(job))]

    async def idle(self) -> None:
        """Wait until no job of this node is active."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def ring(self, run_id: str) -> None:
        """A launcher has news of a run; the id may be one of several workspaces."""
        for (_, id_), news in self._news.items():
            if id_ == run_id:
                news.set()

    def _listener(self, loop: asyncio.AbstractEventLoop) -> Callable[[str], None]:
        def hear(key: str) -> None:
            loop.call_soon_threadsafe(self._hear, key)

        return hear

    def _hear(self, key: str) -> None:
        if not key:  # bells of other servers may have been missed
            for news in self._news.values():
                news.set()
            return
        scope, _, id_ = key.partition("/")
        task = self._tasks.get((scope, id_))
        if task is None or task.done():
            self._news[scope, id_] = asyncio.Event()
            self._tasks[scope, id_] = asyncio.create_task(self._drive(scope, id_))
        else:
            self._news[scope, id_].set()

    def _compute_listener(self, loop: asyncio.AbstractEventLoop) -> Callable[[str], None]:
        def hear(_key: str) -> None:
            loop.call_soon_threadsafe(self._hear_of_computes)

        return hear

    def _hear_of_computes(self) -> None:
        if self._fitting is None or self._fitting.done():
            self._fitting = asyncio.create_task(self._fit())

    async def _fit(self) -> None:
        """Computes that jobs wait for may have become larger or smaller."""
        for compute in self._slots.awaited():
            scope, _, name = compute.partition("/")
            row = await self._database.read(lambda conn, s=scope, n=name: resources.get(conn, s, COMPUTE, n))  # type: ignore[misc]
            if row is not None:
                await self._slots.resize(compute, room(row, CORES))

    async def _drive(self, scope: str, id_: str) -> None:
        """One job, state after state, until it is over or belongs to another node."""
        failures = 0
        while True:
            try:
                job = await self._load(scope, id_)
            except ZaffreError as error:  # a database that is away for a while must not leave a job that nobody watches
                _log.error("job cannot be looked at", extra={"run": id_, "error": error.message})
                await asyncio.sleep(BACK_OFF_S[1])
                continue
            if job is None or job.status in jobs.TERMINAL or job.node != self._node:
                if self._news[scope, id_].is_set():  # a deleted job's name may be another job's by now
                    self._news[scope, id_].clear()
                    continue
                break
            try:
                workspace = await self._workspaces.by_id(scope)
                await self._steps[job.status](job, workspace)
                failures = 0
            except ZaffreError as error:
                outcome = outcomes.failed(error.code, error.message)
                failures = _waiting_for_room(job, error, failures)
                failures = await self._step_failed(job, outcome, len(BACK_OFF_S) if error.status < 500 else failures)
            except OSError as error:
                outcome = outcomes.failed("MachineError", f"This machine failed the job: {error}.")
                failures = await self._step_failed(job, outcome, _waiting_for_room(job, error, failures))
            except Exception:  # noqa: BLE001  a bug of ours must end the job with a word, not leave it where it stands
                _log.exception("job step failed", extra={"run": id_, "state": job.status})
                message = f"Zaffre failed in the state {job.status}; this is a bug. The server's log has the details."
                failures = await self._step_failed(job, outcomes.failed("InternalError", message), failures)
        self._tasks.pop((scope, id_), None)
        self._news.pop((scope, id_), None)

    async def _step_failed(self, job: JobRow, outcome: dict[str, Any], failures: int) -> int:
        """Let the step be repeated after a while, or give the job up with `outcome`; the failures to count on with."""
        if failures < len(BACK_OFF_S):
            return await self._back_off(job, failures)
        try:
            await (self._end_without_outputs if job.status == jobs.FINALIZING else self._give_up)(job, outcome)
        except ZaffreError as error:  # the database itself: its disk is full, or another program holds it
            _log.error("job cannot be ended", extra={"run": job.id, "state": job.status, "error": error.message})
            await asyncio.sleep(BACK_OFF_S[-1])
            return failures
        return 0

    async def _back_off(self, job: JobRow, failures: int) -> int:
        _log.warning("job step repeated", extra={"run": job.id, "state": job.status, "failures": failures + 1})
        await asyncio.sleep(BACK_OFF_S[failures])
        return failures + 1

    # ---- the states

    async def _begin(self, job: JobRow, workspace: Workspace) -> None:
        """Nothing was started yet, so what lies in the folder is of a deleted job of the same name."""
        await asyncio.to_thread(remove_tree, self._folder(job))
        await self._move(job, (jobs.NOT_STARTED,), jobs.PREPARING)

    async def _prepare(self, job: JobRow, workspace: Workspace) -> None:
        """Environment, code and inputs; given up at once when somebody cancels."""
        work = asyncio.create_task(self._make_plan(job, workspace))
        try:
            await self._while_in(job, work)
        finally:
            if not work.done():
                work.cancel()
        if not work.done():
            return
        plan = msgspec.to_builtins(await work)

        def apply(unit: Unit) -> None:
            if jobs.move(unit, job, (jobs.PREPARING,), jobs.QUEUED):
                jobs.update(unit, job.run, plan=plan)

        await self._database.write(apply)

    async def _queue(self, job: JobRow, workspace: Workspace) -> None:
        """Wait for room on the compute."""
        capacity = await self._capacity(workspace, job)
        waiting = asyncio.create_task(self._slots.acquire(_compute(job), job.run, capacity, _priority(job)))
        try:
            await self._while_in(job, waiting)
        finally:
            if not waiting.done():
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await waiting
        if waiting.done() and not waiting.cancelled() and not await self._move(job, (jobs.QUEUED,), jobs.STARTING):
            await self._slots.release(_compute(job), job.run)

    async def _start(self, job: JobRow, workspace: Workspace) -> None:
        """Start the launcher; the executor sees to it that the command never starts twice."""
        folder = self._folder(job)
        plan = msgspec.convert(job.plan, JobPlan)
        token, _ = self._tokens.mint_run(job.scope, job.id, job.created_by, job.created_at)
        plan = msgspec.structs.replace(
            plan,
            # What the user says comes last, and so wins.
            environment={**variables(self._settings, workspace, job, folder, token), **plan.environment},
            bell=str(self._bell) if self._bell else None,
        )
        for _ in range(LAUNCH_ATTEMPTS):
            await asyncio.to_thread(self._executor.start, plan, folder)
            while True:
                seen = self._executor.observe(folder)
                started = next((event for event in seen.events if event.kind in ("started", "ended")), None)
                if started is not None:
                    if started.kind == "ended":
                        await self._ended(job, started)
                    else:
                        await self._move(job, (jobs.STARTING,), jobs.RUNNING, started_at=from_iso(started.t))
                    return
                if seen.died:
                    break
                await self._wait(job, 0)
                if (await self._status(job)) != jobs.STARTING:
                    return
        last = (folder / "launcher.log").read_text(errors="replace").splitlines()[-10:]
        await self._give_up(
            job, outcomes.failed("LaunchFailed", "The job's launcher ended before it could start the command.", last)
        )

    async def _watch(self, job: JobRow, workspace: Workspace) -> None:
        """Wait for the end of the command; a launcher that was killed leaves its processes to us."""
        folder = self._folder(job)
        seen = await asyncio.to_thread(self._executor.observe, folder)
        ended = next((event for event in seen.events if event.kind == "ended"), None)
        if ended is not None:
            await self._ended(job, ended)
        elif seen.died:
            await asyncio.to_thread(self._executor.kill, folder)
            message = "The launcher beside the command was killed from outside; the command was ended with it."
            await self._give_up(job, outcomes.failed("LauncherDied", message, outcomes.last_lines(folder)))
        else:
            await self._wait(job, seen.events[-1].n if seen.events else 0)

    async def _cancel(self, job: JobRow, workspace: Workspace) -> None:
        """End what runs; where nothing was started, nothing has to end."""
        folder = self._folder(job)
        await asyncio.to_thread(self._executor.cancel, folder)
        seen = await asyncio.to_thread(self._executor.observe, folder)
        if seen.died and not seen.events:
            await self._give_up(job, {"status": jobs.CANCELED, "error": None})
            return
        await self._watch(job, workspace)

    async def _finalize(self, job: JobRow, workspace: Workspace) -> None:
        """Keep what the job left, then say how it ended, in one transaction with whoever waits for that."""
        outcome = job.server["outcome"]
        folder = self._folder(job)
        made: dict[str, Document] = {}
        whole = True
        if not job.server.get(DELETE):
            stored = await store_outputs(self._blobs, self._outside(workspace), workspace, job, folder, outcome)
            outcome, whole = stored.outcome, stored.whole
            if outcome["status"] == jobs.COMPLETED:
                try:
                    made = job_assets.bodies(self._resources.kinds, job, stored.left)
                except job_assets.NotRegistered as error:
                    outcome = outcomes.failed(error.code, error.message)
        await self._database.write(lambda unit: self._end(unit, workspace, job, outcome, made, whole))
        self._tokens.end_run(job.scope, job.id, job.created_at)
        await self._slots.release(_compute(job), job.run)
        if whole:
            await clear(folder)

    def _end(
        self,
        unit: Unit,
        workspace: Workspace,
        job: JobRow,
        outcome: dict[str, Any],
        made: dict[str, Document],
        whole: bool,
    ) -> None:
        """The last change: the state, the assets the outputs became, the operations that wait; or the job's deletion."""
        fresh = jobs.get(unit.conn, job.scope, job.id, lock=True)
        if fresh is None or fresh.status != jobs.FINALIZING:
            return
        registered: dict[str, str] = {}
        try:
            registered = job_assets.register(unit, self._resources.kinds, workspace, fresh, made)
        except job_assets.NotRegistered as error:
            outcome = outcomes.failed(error.code, error.message)
        values = {"ended_at": outcome.get("ended_at") or unit.now, "error": outcome.get("error")}
        if jobs.move(unit, fresh, (jobs.FINALIZING,), outcome["status"], **values):
            jobs.update(unit, fresh.run, logs_stored=whole, server={**fresh.server, "registered": registered})
            operations.end_all(unit, job.scope, f"jobs/{job.id}", operations.SUCCEEDED)
            if fresh.server.get(DELETE):
                remove(unit, workspace, fresh)

    async def _end_without_outputs(self, job: JobRow, outcome: dict[str, Any]) -> None:
        """What the job left cannot be stored; it stays in the job's folder, from where its logs are served."""

        def apply(unit: Unit) -> None:
            values = {"ended_at": self._database.runtime.now(), "error": outcome["error"]}
            if jobs.move(unit, job, (jobs.FINALIZING,), jobs.FAILED, **values):
                operations.end_all(unit, job.scope, f"jobs/{job.id}", operations.SUCCEEDED)

        await self._database.write(apply)
        self._tokens.end_run(job.scope, job.id, job.created_at)
        await self._slots.release(_compute(job), job.run)

    # ---- what the states share

    async def _make_plan(self, job: JobRow, workspace: Workspace) -> JobPlan:
        folder = self._folder(job)
        await asyncio.to_thread(folder.mkdir, 0o700, True, True)
        definition = job.server["resolved"]["environment"]
        environment = await self._environments.get(workspace, definition, folder, folder / BUILD_LOG)
        outside = self._outside(workspace)
        evaluation = Evaluation(self._blobs, Places(self._resources), workspace)
        laid = await layout(self._blobs, outside, evaluation, job, folder)
        await lay(laid, self._blobs, outside, folder, self._settings.bundle)
        properties = job.body["properties"]
        limit = (properties.get("limits") or {}).get("timeout")
        return JobPlan(
            run_id=job.id,
            command=_bound(properties["command"], laid),
            interpreter=str(await asyncio.to_thread(overlay, environment.python, folder / "venv")),
            timeout_s=seconds(limit, "properties.limits.timeout") if limit else None,
            outputs=laid.folders,
            # The rest is added at the start: it holds the run's token, which the database must not.
            environment={
                **environment.variables,
                **{f"AZURE_ML_{name}": path for name, path in laid.paths.items()},
                **{name: _bound(text, laid) for name, text in properties["environmentVariables"].items()},
            },
        )

    async def _ended(self, job: JobRow, event: Event) -> None:
        canceled = (await self._status(job)) == jobs.CANCEL_REQUESTED
        limit = job.plan.get("timeout_s") if job.plan else None
        outcome = outcomes.of_event(event.data, canceled, limit)
        await self._give_up(job, {**outcome, "ended_at": from_iso(event.t)}, events_applied=event.n)

    async def _give_up(self, job: JobRow, outcome: dict[str, Any], **values: Any) -> None:
        """On to Finalizing with this outcome, from whatever state the job is in; a wish to cancel wins over a failure before the start."""

        def apply(unit: Unit) -> None:
            fresh = jobs.get(unit.conn, job.scope, job.id, lock=True)
            if fresh is None or fresh.status in (*jobs.TERMINAL, jobs.FINALIZING):
                return
            final = (
                {"status": jobs.CANCELED, "error": None}
                if fresh.status == jobs.CANCEL_REQUESTED and not fresh.started_at
                else outcome
            )
            if jobs.move(unit, fresh, (fresh.status,), jobs.FINALIZING):
                jobs.update(unit, fresh.run, server={**fresh.server, "outcome": final}, **values)

        await self._database.write(apply)

    async def _move(self, job: JobRow, expected: tuple[str, ...], new: str, **values: Any) -> bool:
        return await self._database.write(lambda unit: jobs.move(unit, job, expected, new, **values))

    async def _while_in(self, job: JobRow, work: asyncio.Task[Any]) -> None:
        """Wait for `work` as long as the job stays in its state."""
        news = self._news[job.scope, job.id]
        while not work.done():
            heard = asyncio.create_task(news.wait())
            await asyncio.wait({work, heard}, return_when=asyncio.FIRST_COMPLETED)
            heard.cancel()
            if news.is_set():
                news.clear()
                if (await self._status(job)) != job.status:
                    return

    async def _wait(self, job: JobRow, after: int) -> None:
        """Until the launcher or the store has news."""
        news = self._news[job.scope, job.id]
        heard = asyncio.create_task(news.wait())
        told = asyncio.create_task(self._executor.wait(self._folder(job), after))
        try:
            await asyncio.wait({heard, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.clear()
            for task in (heard, told):
                task.cancel()

    async def _status(self, job: JobRow) -> str | None:
        fresh = await self._load(job.scope, job.id)
        return fresh.status if fresh else None

    async def _load(self, scope: str, id_: str) -> JobRow | None:
        return await self._database.read(lambda conn: jobs.get(conn, scope, id_))

    async def _capacity(self, workspace: Workspace, job: JobRow) -> int:
        """Jobs at once: what the compute has room for, or the machine."""
        name = _compute(job).rpartition("/")[2]
        if name:
            with contextlib.suppress(NotFound):
                row = await self._resources.get(workspace, self._resources.kinds["workspaces/computes"], "", name)
                return room(row, CORES)
        return CORES

    def _outside(self, workspace: Workspace) -> Outside:
        return Outside(self._datastores, workspace, self._settings.bundle)

    def _folder(self, job: JobRow) -> Path:
        return self._logs.folder(job.scope, job.id)


def _waiting_for_room(job: JobRow, error: Exception, failures: int) -> int:
    """A job that has done its work is not failed by a full disk: what it made is stored once there is room again."""
    full = isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT))
    return min(failures, len(BACK_OFF_S) - 1) if full and job.status == jobs.FINALIZING else failures


def _compute(job: JobRow) -> str:
    """Whose slots the job takes: a compute's own, else the machine's."""
    name = target(job.body["properties"].get("computeId"))
    return f"{job.scope}/{name}" if name else ""


def _priority(job: JobRow) -> int:
    found: int = (job.body["properties"].get("queueSettings") or {}).get("priority") or MEDIUM
    return found


def _bound(text: str, laid: Layout) -> str:
    absent = {name: None for name in section_inputs(text) if name not in laid.inputs}
    return bind(text, {**laid.inputs, **absent}, laid.outputs)
