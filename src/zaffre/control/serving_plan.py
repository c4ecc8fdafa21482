"""From a deployment's row to a plan of its model server: environment built, model and code staged."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import msgspec

from zaffre.control.inputs import place_of, tree
from zaffre.errors import InvalidInput
from zaffre.execution.data.stage import copy_object, stage
from zaffre.execution.environments.builder import ensure_async
from zaffre.execution.environments.spec import EnvironmentSpec, resolve
from zaffre.execution.plan import Tree
from zaffre.services.blobs import Blobs
from zaffre.services.durations import seconds
from zaffre.services.workspaces import Workspaces
from zaffre.serving.mlflow_requirements import requirements_for
from zaffre.serving.plan import DeploymentPlan, Probe
from zaffre.settings import Settings
from zaffre.store.resources import Row

BUILD_LOG = "console.log"


class ServingPlans:
    """`make` does the work and may take minutes; `remember` and `recall` keep the plan of the server that runs."""

    def __init__(self, settings: Settings, workspaces: Workspaces, blobs: Blobs) -> None:
        self._settings = settings
        self._workspaces = workspaces
        self._blobs = blobs

    def folder(self, row: Row) -> Path:
        """The folder of this generation's server."""
        return self._settings.deployments / server_id(row)

    def all_folders(self, row: Row) -> list[Path]:
        """Those of every generation that left one."""
        return sorted(self._settings.deployments.glob(f"{row.server['slug']}-*"))

    def remember(self, plan: DeploymentPlan) -> dict[str, Any]:
        kept: dict[str, Any] = msgspec.to_builtins(plan)
        return kept

    def recall(self, row: Row) -> DeploymentPlan:
        return msgspec.convert(row.server["plan"], DeploymentPlan)

    async def make(self, row: Row) -> DeploymentPlan:
        """Raises InvalidInput, NotFound or an environment's build error, each in words for the user."""
        properties, resolved = row.body["properties"], row.server["resolved"]
        folder = self.folder(row)
        await asyncio.to_thread(folder.mkdir, 0o700, True, True)
        trees: list[Tree] = []
        model_dir = folder / "model"
        model = resolved.get("model")
        if model:
            trees.append(await self._model_tree(model))
            model_dir = folder / "model" / model["name"] / model["version"]
        script = (properties.get("codeConfiguration") or {}).get("scoringScript")
        if resolved.get("code"):
            trees.append(await tree(self._blobs, place_of(resolved["code"]), "code", "the scoring code", writable=True))
            if script not in {file.path for file in trees[-1].files}:
                raise InvalidInput(
                    f"The scoring script '{script}' is not in the code of the deployment.",
                    target="properties.codeConfiguration.scoringScript",
                )
        await asyncio.to_thread(stage, trees, folder, copy_object(self._blobs.objects.local_path))
        await asyncio.to_thread(model_dir.mkdir, 0o700, True, True)
        no_code = not resolved.get("code")
        definition = resolved.get("environment") or {"conda": await asyncio.to_thread(requirements_for, model_dir)}
        recipe = await asyncio.to_thread(resolve, EnvironmentSpec(**definition))
        python = await ensure_async(recipe, self._settings.home, folder / BUILD_LOG)
        variables = properties["environmentVariables"]
        return DeploymentPlan(
            id=server_id(row),
            endpoint=row.parent,
            deployment=row.name,
            folder=str(folder),
            interpreter=str(python),
            socket=str(self._settings.edge_folder / "d" / f"{row.server['slug']}-0.sock"),
            kind="mlflow" if no_code else "script",
            model_dir=str(model_dir),
            code_dir=None if no_code else str(folder / "code"),
            entry_script=script,
            environment=variables,
            workers=_workers(variables),
            request_timeout_s=seconds(properties["requestSettings"]["requestTimeout"], "requestTimeout"),
            liveness=_probe(properties["livenessProbe"]),
            readiness=_probe(properties["readinessProbe"]),
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


def server_id(row: Row) -> str:
    return f"{row.server['slug']}-{row.generation}"


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
