"""The composition root: settings, store, gateway and controllers put together. The supervisor starts it as a process.

`python -m zaffre.application --home H` with the sockets and the control channel named in `ZAFFRE_FDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
import uvloop

from zaffre import logs as server_log
from zaffre import settings as settings_module
from zaffre.control import probes
from zaffre.control.adoption import adopt, name_of_home
from zaffre.control.computes import ComputeController
from zaffre.control.edge import EdgeController
from zaffre.control.endpoints import EndpointController
from zaffre.control.environments import ReadyEnvironments
from zaffre.control.garbage import Garbage
from zaffre.control.jobs import JobController
from zaffre.control.link import SupervisorLink
from zaffre.control.maintenance import Maintenance
from zaffre.control.serving_plan import ServingPlans
from zaffre.control.webhooks import WebhookController
from zaffre.control.workspaces import WorkspaceController
from zaffre.edge.binary import find_nginx
from zaffre.errors import Conflict, StorageFull, ZaffreError
from zaffre.execution import machine
from zaffre.execution.bell import BellSocket
from zaffre.execution.data.expressions import check as check_command
from zaffre.execution.data.expressions import section_inputs
from zaffre.execution.data.sources import Source
from zaffre.execution.data.stores import open_store, probe
from zaffre.execution.environments.spec import EnvironmentSpec, curated_names, curated_version, resolve
from zaffre.execution.executors.local import LocalExecutor
from zaffre.gateway import bodies, no_edge, no_studio
from zaffre.gateway.answers import arm_error
from zaffre.gateway.app import Gateway
from zaffre.gateway.call import Call
from zaffre.gateway.connection import Connection
from zaffre.gateway.internal import Internal
from zaffre.gateway.recorder import Recorder
from zaffre.protocols import arm, blob, health, history, imports, login, mlflow, upkeep
from zaffre.protocols.arm import lineage
from zaffre.protocols.arm.actions import Actions
from zaffre.protocols.arm.computes import ComputeProvider
from zaffre.protocols.arm.groups import Groups
from zaffre.protocols.arm.registries import RegistryRecords
from zaffre.protocols.arm.workspaces import WorkspaceProvider
from zaffre.protocols.registries import routes as registry_routes
from zaffre.runtime import Runtime
from zaffre.services import kinds as kinds_module
from zaffre.services.blobs import Blobs
from zaffre.services.collection import Collector
from zaffre.services.computes import Computes
from zaffre.services.connections import Connections
from zaffre.services.curated import Environments
from zaffre.services.datastores import Datastores
from zaffre.services.diagnosis import Diagnosis
from zaffre.services.direct_artifacts import DirectArtifacts
from zaffre.services.endpoints import ENDPOINT, Endpoints
from zaffre.services.groups import ResourceGroups
from zaffre.services.history import History
from zaffre.services.imports import Imports
from zaffre.services.job_sources import Checks
from zaffre.services.jobs import Jobs
from zaffre.services.keys import TOPIC as KEYS
from zaffre.services.keys import ApiKeys
from zaffre.services.kinds import vm_sizes
from zaffre.services.kinds import workspaces as workspace_kind
from zaffre.services.logs import Logs
from zaffre.services.measures import Measures
from zaffre.services.model_gateway import ModelGateway
from zaffre.services.model_gateway.asking import Asker
from zaffre.services.model_sources import ModelSources
from zaffre.services.outside_blobs import OutsideAccounts
from zaffre.services.places import Places
from zaffre.services.principals import Principals
from zaffre.services.registered_models import RegisteredModels
from zaffre.services.registries import Curated, Registries
from zaffre.services.resources import Resources
from zaffre.services.run_artifacts import RunArtifacts
from zaffre.services.scoring import ScoringAccess
from zaffre.services.tokens import Tokens
from zaffre.services.tracking import Tracking
from zaffre.services.versions import Versions
from zaffre.services.webhook_sending import Sender
from zaffre.services.webhooks import Webhooks
from zaffre.services.workspace_changes import WorkspaceChanges
from zaffre.services.workspaces import Workspace, Workspaces
from zaffre.serving import release as model_releases
from zaffre.serving.shadow import Copy, Shadows
from zaffre.settings import Settings
from zaffre.store import crashpoint, migrate
from zaffre.store import jobs as job_rows
from zaffre.store.database import Database
from zaffre.store.objects import Objects
from zaffre.store.seal import Vault
from zaffre.store.tracking import runs
from zaffre.store.unit import PLATFORM

VERSIONED = tuple(f"workspaces/{kind}/versions" for kind in ("data", "models", "environments", "components", "codes"))
GARBAGE = (20_000, 10, 10)
"""When Python looks for cycles: by default several times within a batch of 1,000 metrics, whose thousands of objects hold none."""
_log = logging.getLogger("zaffre.application")


class Application:
    """Everything that lives as long as one application process."""

    def __init__(self, settings: Settings, runtime: Runtime, link: SupervisorLink, listen: tuple[str, ...]) -> None:
        self.settings = settings
        self.link = link
        for folder in (settings.home, settings.jobs, settings.deployments, settings.run, settings.keys):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.database = database = Database(settings.database, runtime)
        self.measures = measures = Measures()
        database.on_batch = measures.batch
        self._watching: asyncio.Task[None] | None = None
        migrate.upgrade(database.engine)
        crashpoint.arm(settings.run / "crashpoints", database.bells)
        self._vault = vault = Vault(settings.keys / "vault.key")
        self._objects = objects = Objects(settings.objects, runtime)
        self.workspaces = workspaces = Workspaces(database, vault, settings.location)
        self.keys = keys = ApiKeys(database)
        tokens = Tokens(settings, runtime, lambda *run: _is_live(database, *run), keys.is_good)
        database.bells.listen(KEYS, tokens.end_key)
        blobs = Blobs(database, objects, workspaces)
        garbage = Garbage(settings, database, Collector(database, objects))
        self._kinds = kinds = kinds_module.load()
        resources = Resources(database, vault, kinds)
        places = Places(resources)
        tracking = Tracking(database)
        node = name_of_home(settings.home)
        checks = Checks(command=_check_command, environment=_check_environment)
        jobs = Jobs(database, resources, places, tracking, checks, node)
        scoring = ScoringAccess(database, tokens)
        endpoints = Endpoints(
            resources,
            places,
            scoring,
            lambda slug, tail, container: model_releases.read_logs(settings.deployments, slug, tail, container),
            _check_environment,
            node,
            None if settings.edge else no_edge.SCORING,
        )
        registries = Registries(_curated())
        sources = ModelSources(database, places, tracking)
        versions = Versions(resources, places, sources, blobs)
        environments = Environments(versions, registries)
        models = RegisteredModels(resources, sources, blobs)
        sender = Sender(settings.webhook_hosts, settings.bundle)
        self.webhooks = WebhookController(database, vault, sender)
        run_logs = Logs(settings.jobs, settings.keys, blobs, runtime)
        datastores = Datastores(
            resources,
            workspaces,
            blobs,
            settings.data_folders,
            lambda name, source: probe(msgspec.convert(source, Source), name, settings.bundle),
        )
        outside = OutsideAccounts(
            database,
            datastores,
            blobs,
            lambda name, source: open_store(msgspec.convert(source, Source), name, settings.bundle),
        )
        connections = Connections(resources)
        data = history.DataHandlers(settings, resources, datastores)
        here = vm_sizes.machine(machine.cores(), machine.memory_gb(), machine.gpus())
        computes = Computes(database, vault, kinds, here)
        actions = Actions(settings, database, datastores, jobs, endpoints)
        changes = WorkspaceChanges(database, kinds["workspaces"], workspaces)
        looks = (lambda: probes.edge(settings), probes.environments)
        diagnosis = Diagnosis(database, vault, workspaces, blobs, settings.home, datastores.trouble, looks)
        self.gateway = Gateway(
            [
                *health.routes(database, measures),
                *([] if settings.edge else no_edge.routes()),
                *no_studio.routes(),
                *login.routes(settings, tokens, keys, Principals(database, keys), workspaces),
                *arm.routes(
                    settings,
                    kinds,
                    WorkspaceProvider(settings, workspaces, changes, diagnosis),
                    Groups(settings, ResourceGroups(database, settings.location), changes),
                    ComputeProvider(settings, runtime, kinds["workspaces/computes"], computes, workspaces),
                    RegistryRecords(settings),
                    runtime,
                    resources,
                    {
                        "workspaces/connections": connections,
                        "workspaces/datastores": datastores,
                        "workspaces/jobs": jobs,
                        **dict.fromkeys(VERSIONED, versions),
                        "workspaces/environments": environments,
                        "workspaces/environments/versions": environments,
                        "workspaces/onlineEndpoints": endpoints,
                        "workspaces/onlineEndpoints/deployments": endpoints,
                    },
                    actions,
                ),
                *data.routes(),
                *lineage.routes(resources, kinds),
                *history.routes(
                    settings,
                    History(database, places),
                    run_logs,
                    tokens,
                    workspaces,
                    history.ArtifactHandlers(settings, RunArtifacts(database, workspaces, blobs), blobs),
                    data,
                ),
                *mlflow.routes(
                    settings,
                    tracking,
                    models,
                    blobs,
                    DirectArtifacts(runtime, workspaces, blobs),
                    Webhooks(database, vault, sender),
                    ModelGateway(database, vault, tracking, Asker(settings.gateway_hosts, settings.bundle)),
                ),
                *registry_routes(settings, registries),
                *upkeep.routes(garbage.collect),
                *imports.routes(Imports(database, tracking, models)),
            ],
            [blob.mount(blobs, tokens, settings, runtime, outside)],
            {"arm": arm_error, "history": arm_error, "login": login.error_form, "mlflow": mlflow.error_form},
            tokens,
            keys,
            workspaces,
            database,
            measures,
            Recorder(Path(os.environ["ZAFFRE_RECORD"])) if "ZAFFRE_RECORD" in os.environ else None,
        )
        ready = ReadyEnvironments(settings.home, blobs, connections.python_feeds)
        bell = settings.run / "bell.sock"
        self.jobs = JobController(
            settings,
            database,
            workspaces,
            resources,
            blobs,
            datastores,
            ready,
            run_logs,
            tokens,
            LocalExecutor(settings.home),
            node,
            bell,
        )
        self.job_service = jobs
        self.maintenance = Maintenance(settings, database, garbage, tokens)
        self.bell = BellSocket(bell, self.jobs.ring)
        nginx = find_nginx(os.environ.get("ZAFFRE_NGINX")) if settings.edge else None
        edge = EdgeController(
            database, vault, settings.edge_folder, listen, settings.objects, nginx, link.edge_changed, node
        )
        self.endpoints = EndpointController(
            database, edge, ServingPlans(settings, workspaces, blobs, ready), settings.deployments, node
        )
        self._shadows = Shadows(edge.shadow)
        self.internal = Internal(scoring.check, self._keeps, self._copy)

        def cancel(workspace: Workspace, name: str) -> Awaitable[object]:
            return jobs.cancel(PLATFORM, workspace, name)

        self.computes = ComputeController(computes, workspaces, cancel)
        self.homes = WorkspaceController(
            database,
            settings.jobs,
            cancel,
            lambda workspace, name: endpoints.delete(PLATFORM, workspace, kinds[ENDPOINT], "", name),
        )

    async def start(self) -> None:
        """Make what the first start makes, then take up all work that is not over."""
        await self.database.write(self._vault.check)
        await self._first_user()
        home = workspace_kind.accept(self._kinds["workspaces"], {})
        names = (self.settings.subscription, self.settings.resource_group, self.settings.workspace)
        with contextlib.suppress(Conflict):  # it is being deleted, and that goes on first; the next start makes it anew
            await self.workspaces.create(PLATFORM, *names, home)
        self.bell.open()
        if self.database.others is not None:
            self.database.others.listen()
        await adopt(self.settings, self.database, self.job_service.node)
        await self.jobs.start()
        await self.endpoints.start()
        self.computes.start()
        self.homes.start()
        self.webhooks.start()
        self.maintenance.start()
        self._watching = asyncio.create_task(self.measures.watch_loop())

    async def stop(self, *, models: bool, cancel_jobs: bool) -> list[str]:
        """End what a stop ends; the names of the jobs that go on."""
        if cancel_jobs:
            await self._cancel_all()
        await self._shadows.close()
        if self._watching is not None:
            self._watching.cancel()
        await self.maintenance.stop()
        await self.webhooks.stop()
        await self.homes.stop()
        await self.computes.stop()
        running = await self.jobs.stop()
        await self.endpoints.stop(servers=models)
        return running

    async def _first_user(self) -> None:
        """The owner's key lies in `<home>/credentials`; the database keeps its hash."""
        path = self.settings.credentials
        known: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            known = dict(json.loads(path.read_bytes()))
        key = await self.keys.ensure_owner(known.get("api_key"))
        content = {
            "address": self.settings.address,
            "api_key": key,
            "subscription": self.settings.subscription,
            "resource_group": self.settings.resource_group,
            "workspace": self.settings.workspace,
        }
        if known == content:
            return  # nothing to write, and perhaps no room to
        new = path.with_name("credentials.new")
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)

    async def _keeps(self, call: Call, size: int) -> bool:
        """Whether the edge keeps the body of an upload as a file: not where that could not be adopted, or would not fit."""
        if size > bodies.LARGEST:
            return False
        try:
            one_disk = self.settings.edge_folder.stat().st_dev == self.settings.objects.stat().st_dev
            await asyncio.to_thread(self._objects.ensure_space, size)
        except StorageFull:
            return False
        return one_disk and await self.gateway.keeps(call)

    def _copy(self, shadow: str, call: Call, target: str, body: bytes) -> bool:
        headers = tuple((name, value) for name, value in call.headers.items() if not name.startswith("x-zf-"))
        return self._shadows.offer(shadow, Copy(method=call.method, target=target, headers=headers, body=body))

    async def _cancel_all(self) -> None:
        for row in await self.database.read(lambda conn: job_rows.active(conn, self.job_service.node)):
            workspace = await self.workspaces.by_id(row.scope)
            await self.job_service.cancel(PLATFORM, workspace, row.id)
        await self.jobs.idle()

    def close(self) -> None:
        self.bell.close()
        self.database.close()


def main(arguments: list[str]) -> int:
    os.umask(0o077)  # whatever is made here is for its owner only
    settings = settings_module.load(Path(arguments[arguments.index("--home") + 1]))
    server_log.set_up(settings.logs)
    try:
        uvloop.run(_serve(settings, json.loads(os.environ["ZAFFRE_FDS"])))
    except ZaffreError as error:  # a reason not to start, in words for the operator
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


async def _serve(settings: Settings, handles: dict[str, Any]) -> None:
    link = await SupervisorLink.open(socket.socket(fileno=handles["control"]))
    listen = tuple(json.loads(os.environ.get("ZAFFRE_LISTEN", "[]")))
    application = Application(settings, Runtime(), link, listen)
    sockets = [socket.socket(fileno=handle) for handle in ([handles["app"]] if settings.edge else handles["tcp"])]
    server = uvicorn.Server(_configuration(application.gateway, settings))
    internal = uvicorn.Server(_configuration(application.internal, settings))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    # Answering comes first: nginx is told to start only when somebody is behind it.
    serving = asyncio.create_task(_answer(server, sockets))
    inside = [socket.socket(fileno=handles["internal"])] if settings.edge else []
    asked_by_nginx = asyncio.create_task(_answer(internal, inside) if inside else asyncio.sleep(0))
    starting = asyncio.create_task(application.start())
    asked = asyncio.create_task(link.stop_asked())
    told = asyncio.create_task(stopping.wait())
    ends = {asked, told, serving}
    await asyncio.wait({starting, *ends}, return_when=asyncio.FIRST_COMPLETED)
    if not any(end.done() for end in ends):
        starting.result()
        gc.freeze()  # what is there now stays; looking at it again would cost each full collection 100 ms
        gc.set_threshold(*GARBAGE)
        gc.enable()  # zaffre.supervisor.entry has turned it off
        link.send({"type": "ready"})
        _log.info("ready", extra={"address": settings.address, "pid": os.getpid()})
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    else:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    wish = asked.result() if asked.done() else {"models": False, "cancel_jobs": False}
    running = await application.stop(models=bool(wish.get("models")), cancel_jobs=bool(wish.get("cancel_jobs")))
    link.send({"type": "stopped", "running_jobs": running})
    server.should_exit = internal.should_exit = True
    await asyncio.wait({serving, asked_by_nginx})
    application.close()
    await link.close()


async def _answer(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
    """uvicorn without its own signal handlers: how we stop is ours to say."""
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server._serve(sockets)


def _configuration(application: Gateway | Internal, settings: Settings) -> uvicorn.Config:
    options: dict[str, Any] = {}
    if not settings.edge:
        pem = str(settings.edge_folder / "tls" / "server.pem")
        options = {"ssl_certfile": pem, "ssl_keyfile": pem}
    return uvicorn.Config(
        application,
        http=Connection,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=settings.edge,
        forwarded_allow_ips="*" if settings.edge else None,
        timeout_keep_alive=75 if not settings.edge else 5,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=None,
        **options,
    )


def _is_live(database: Database, scope: str, run_id: str, born: int | None) -> bool:
    head = database.read_now(lambda conn: runs.head(conn, scope, run_id))
    return head is not None and head.status not in job_rows.TERMINAL and born in (None, head.created_at)


def _check_command(command: str, inputs: Any, outputs: Any) -> None:
    optional = section_inputs(command) - set(inputs)
    check_command(command, inputs, outputs, optional)


def _check_environment(image: str | None, conda: str | None, curated: str | None) -> None:
    resolve(EnvironmentSpec(image=image, conda=conda, curated=curated))


def _curated() -> list[Curated]:
    """The curated environments as the registry tells of them."""
    found = [(name, resolve(EnvironmentSpec(curated=name))) for name in curated_names()]
    return [
        Curated(name=name, version=curated_version(name), python=recipe.python, requirements=recipe.requirements)
        for name, recipe in found
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
