"""From a deployment's row to a plan of its model server: environment built, model and code staged."""

from __future__ import annotations

import asyncio
import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from zaffre.control.environments import ReadyEnvironments
from zaffre.control.inputs import place_of, tree
from zaffre.control.whole import whole
from zaffre.errors import InvalidInput
from zaffre.execution.data.stage import copy_object, stage
from zaffre.execution.plan import Tree
from zaffre.services.blobs import Blobs
from zaffre.services.durations import seconds
from zaffre.services.workspaces import Workspaces
from zaffre.serving.mlflow_requirements import requirements_for
from zaffre.serving.plan import DeploymentPlan, Probe
from zaffre.serving.release import INITIALIZER, Release, instances, watched
from zaffre.settings import Settings
from zaffre.store.resources import Row


class ServingPlans:
    """`make` does the work and may take minutes; what it made is kept in the row, where `recall` finds it."""

    def __init__(
        self, settings: Settings, workspaces: Workspaces, blobs: Blobs, environments: ReadyEnvironments
    ) -> None:
        self._settings = settings
        self._workspaces = workspaces
        self._blobs = blobs
        self._environments = environments

    async def make(self, row: Row) -> Release:
        """The release the row asks for: the one that runs with more or fewer instances, or a new one, staged and built.

        Raises InvalidInput, NotFound or an environment's build error, each in words for the user.
        """
        properties = row.body["properties"]
        mark, current = fingerprint(row), recall(row)
        if current is not None and current.fingerprint == mark and await asyncio.to_thread(_is_there, current):
            folder, base = self._settings.deployments / current.id, current.plans[0]
        else:
            folder = self._settings.deployments / release_name(row)
            base = await self._prepare(row, folder)
        base = watched(base, _probe(properties["livenessProbe"]), _probe(properties["readinessProbe"]))
        requests = properties["requestSettings"]
        held_s = sum(seconds(requests[name], name) for name in ("requestTimeout", "maxQueueWait"))
        sockets, count = self._settings.edge_folder / "d", int((row.body.get("sku") or {}).get("capacity") or 1)
        return Release(
            id=folder.name,
            fingerprint=mark,
            timeout_ms=max(1, round(held_s * 1000)),
            held=requests["maxConcurrentRequestsPerInstance"],
            plans=instances(base, folder, sockets, row.server["slug"], count),
        )

    async def _prepare(self, row: Row, folder: Path) -> DeploymentPlan:
        """Stage model and code, build the environment; the plan of a server among them."""
        properties, resolved = row.body["properties"], row.server["resolved"]
        await asyncio.to_thread(folder.mkdir, 0o700, True, True)
        log = _Log(folder / INITIALIZER)
        trees: list[Tree] = []
        model_dir = folder / "model"
        model = resolved.get("model")
        if model:
            trees.append(await self._model_tree(model))
            model_dir = folder / "model" / model["name"] / model["version"]
            log.tree(f"model {model['name']}:{model['version']}", trees[-1])
        script = (properties.get("codeConfiguration") or {}).get("scoringScript")
        if resolved.get("code"):
            trees.append(await tree(self._blobs, place_of(resolved["code"]), "code", "the scoring code", writable=True))
            log.tree("code", trees[-1])
            if script not in {file.path for file in trees[-1].files}:
                raise InvalidInput(
                    f"The scoring script '{script}' is not in the code of the deployment.",
                    target="properties.codeConfiguration.scoringScript",
                )
        await whole(stage, trees, folder, copy_object(self._blobs.objects.local_path))
        await asyncio.to_thread(model_dir.mkdir, 0o700, True, True)
        no_code = not resolved.get("code")
        definition = resolved.get("environment") or {"conda": await asyncio.to_thread(requirements_for, model_dir)}
        log.line("the environment is made ready")
        workspace = await self._workspaces.by_id(row.scope)
        environment = await self._environments.get(workspace, definition, folder, folder / INITIALIZER)
        log.line("the environment is ready")
        variables = {**environment.variables, **properties["environmentVariables"]}
        return DeploymentPlan(
            id=folder.name,
            endpoint=row.parent,
            deployment=row.name,
            folder=str(folder),
            interpreter=str(environment.python),
            socket=str(folder),
            kind="mlflow" if no_code else "script",
            model_dir=str(model_dir),
            code_dir=None if no_code else str(folder / "code"),
            entry_script=script,
            environment=variables,
            workers=_workers(variables),
            request_timeout_s=seconds(properties["requestSettings"]["requestTimeout"], "requestTimeout"),
        )

    async def _model_tree(self, model: dict[str, str]) -> Tree:
        """As Azure lays it: `<name>/<version>/` and in it the file, or the folder under its own name."""
        place = place_of(model)
        base = f"model/{model['name']}/{model['version']}"
        found = await tree(self._blobs, place, base, f"model '{model['name']}'")
        if found.single:
            return found
        last = place.path.rstrip("/").rpartition("/")[2]
        return msgspec.structs.replace(found, dest=f"{base}/{last}" if last else base)


def release_name(row: Row) -> str:
    """Of the release this generation of the row gets, if it needs one of its own."""
    return f"{row.server['slug']}-{row.generation}"


def recall(row: Row) -> Release | None:
    """The release that serves, or did when it was last heard of."""
    if row.server.get("release"):
        return msgspec.convert(row.server["release"], Release)
    if not row.server.get("current"):
        return None
    # As it was kept before a deployment could have several instances
    plan = msgspec.convert(row.server["plan"], DeploymentPlan)
    milliseconds = round(plan.request_timeout_s * 1000)
    return Release(id=plan.id, fingerprint="", timeout_ms=milliseconds, held=1, plans=(plan,))


def fingerprint(row: Row) -> str:
    """Of everything that a running server could not be told: when it changes, others take its place."""
    properties = row.body["properties"]
    parts = {
        "resolved": row.server["resolved"],
        "script": (properties.get("codeConfiguration") or {}).get("scoringScript"),
        "variables": properties["environmentVariables"],
        "timeout": properties["requestSettings"]["requestTimeout"],
    }
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


class _Log:
    """What the storage initializer tells on Azure; the environment's build goes on in the same file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def line(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")

    def tree(self, what: str, staged: Tree) -> None:
        size = sum(file.size for file in staged.files)
        self.line(f"{what}: {len(staged.files)} files, {size} bytes, to {staged.dest}")


def _is_there(release: Release) -> bool:
    """Whether its files still are; an environment may have been collected, a folder removed by hand."""
    plan = release.plans[0]
    parts = (plan.interpreter, plan.model_dir, *([plan.code_dir] if plan.code_dir else []))
    return all(Path(part).exists() for part in parts)


def _workers(variables: dict[str, str]) -> int:
    """`WORKER_COUNT` is how Azure's inference server is told; one worker answers one request at a time."""
    text = variables.get("WORKER_COUNT", "1")
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= 64:
        raise InvalidInput(
            f"Environment variable WORKER_COUNT is '{text}'; expected a number from 1 to 64.",
            target="properties.environmentVariables",
        )
    return int(text)


def _probe(given: dict[str, Any]) -> Probe:
    return Probe(
        initial_delay_s=seconds(given["initialDelay"], "initialDelay"),
        period_s=seconds(given["period"], "period"),
        timeout_s=seconds(given["timeout"], "timeout"),
        success_threshold=given["successThreshold"],
        failure_threshold=given["failureThreshold"],
    )
