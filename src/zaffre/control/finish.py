"""What is kept of a job when it is over: its logs, `./outputs`, and its named outputs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from zaffre.control import outcomes
from zaffre.control.inputs import output_folder
from zaffre.errors import InvalidInput
from zaffre.execution.data.capture import capture
from zaffre.services import workspaces
from zaffre.services.blobs import Blobs
from zaffre.services.workspaces import ARTIFACT_CONTAINER, Workspace
from zaffre.store.jobs import JobRow

# Folder of the job → its name in the run's artifacts.
_ARTIFACTS = (
    ("user_logs", "user_logs"),
    ("azureml-logs", "azureml-logs"),
    ("wd/logs", "logs"),
    ("wd/outputs", "outputs"),
)
PARALLEL = 4


async def store_outputs(
    blobs: Blobs, workspace: Workspace, job: JobRow, folder: Path, outcome: dict[str, Any]
) -> dict[str, Any]:
    """Store everything; may be repeated after a crash. The outcome, which fails when a named output cannot be kept."""
    files: list[tuple[str, str, Path]] = []
    left_out: list[str] = []
    for source, name in _ARTIFACTS:
        for found in await asyncio.to_thread(
            capture, folder / source, lambda path, why: left_out.append(f"{path}: {why}")
        ):
            files.append((ARTIFACT_CONTAINER, f"{workspaces.run_folder(job.id)}/{name}/{found.path}", found.source))
    for name in job.body["properties"]["outputs"]:
        place = job.server["resolved"]["outputs"].get(name)
        container = place["container"] if place else workspace.container
        prefix = place["path"].rstrip("/") if place else workspaces.output_folder(job.id, name)
        for found in await asyncio.to_thread(
            capture, folder / output_folder(name), lambda path, why: left_out.append(f"{path}: {why}")
        ):
            files.append((container, f"{prefix}/{found.path}", found.source))
    gate = asyncio.Semaphore(PARALLEL)
    errors: list[str] = []

    async def keep(container: str, name: str, source: Path) -> None:
        async with gate:
            try:
                await blobs.put_file(workspace.account, container, name, source)
            except FileNotFoundError as error:
                errors.append(f"{name}: {error}")
            except InvalidInput as error:  # a name that no blob may have
                errors.append(f"{name[:200]!r}: {error.message}")

    await asyncio.gather(*(keep(*file) for file in files))
    if (left_out or errors) and outcome["status"] == "Completed":
        return outcomes.failed(
            "OutputsNotStored",
            "The command succeeded, but not all it left could be stored: " + "; ".join(left_out + errors),
        )
    return outcome
