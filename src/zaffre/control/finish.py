"""What is kept of a job when it is over: its logs, `./outputs`, its named outputs, and inputs it was allowed to change."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from pathlib import Path
from typing import Any, NamedTuple

from zaffre.control import outcomes
from zaffre.control.inputs import input_folder, output_folder, place_of, single_file
from zaffre.control.outside import Outside
from zaffre.errors import InvalidInput
from zaffre.execution.data.capture import OutputFile, capture
from zaffre.execution.files import remove_tree
from zaffre.services import mlmodel, workspaces
from zaffre.services.blobs import Blobs
from zaffre.services.job_assets import Left
from zaffre.services.job_sources import target_of
from zaffre.services.kinds.job_data import DIRECT, WRITABLE
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
CLEAR_AGAIN_S = (0.05, 0.2, 1, 3)

_log = logging.getLogger("zaffre.jobs")


class Kept(NamedTuple):
    """A file, and where it goes: a container of ours, or a datastore outside."""

    container: str
    name: str
    file: Path
    datastore: str = ""


class Stored(NamedTuple):
    """The outcome, which fails when something cannot be kept; what there is of each named output; whether all is stored.

    If not, the job's folder has the only copy.
    """

    outcome: dict[str, Any]
    left: dict[str, Left]
    whole: bool


async def store_outputs(
    blobs: Blobs, outside: Outside, workspace: Workspace, job: JobRow, folder: Path, outcome: dict[str, Any]
) -> Stored:
    """Store everything; may be repeated after a crash."""
    left_out: list[str] = []
    files = await _artifacts(job, folder, left_out)
    outputs, left = await _outputs(blobs, workspace, job, folder, left_out)
    files += outputs
    files += await _changed_inputs(blobs, job, folder, left_out)
    gate = asyncio.Semaphore(PARALLEL)
    errors: list[str] = []

    async def keep(kept: Kept) -> None:
        async with gate:
            try:
                if kept.datastore:
                    await outside.put(kept.datastore, kept.name, kept.file)
                else:
                    await blobs.put_file(workspace.account, kept.container, kept.name, kept.file)
            except FileNotFoundError as error:
                errors.append(f"{kept.name}: {error}")
            except InvalidInput as error:  # a name that no blob may have; a datastore that refuses
                errors.append(f"{kept.name[:200]!r}: {error.message}")

    await asyncio.gather(*(keep(file) for file in files))
    lost = left_out + errors
    if lost and outcome["status"] == "Completed":
        outcome = outcomes.failed(
            "OutputsNotStored",
            f"The command succeeded, but not all it left could be stored: {'; '.join(lost).rstrip('.')}. It is in the job's folder "
            "on the server until the job is deleted.",
        )
    return Stored(outcome, left, not lost)


async def clear(folder: Path) -> None:
    """Remove the folder of a job that is over. Its launcher may still be about to leave, and tidies up itself meanwhile."""
    for pause in CLEAR_AGAIN_S:
        try:
            await asyncio.to_thread(remove_tree, folder)
        except OSError:
            await asyncio.sleep(pause)
        else:
            return
    _log.warning("a job's folder is left to maintenance", extra={"folder": str(folder)})


async def _artifacts(job: JobRow, folder: Path, left_out: list[str]) -> list[Kept]:
    files: list[Kept] = []
    for source, name in _ARTIFACTS:
        for found in await _captured(folder / source, left_out):
            files.append(Kept(ARTIFACT_CONTAINER, f"{workspaces.run_folder(job.id)}/{name}/{found.path}", found.source))
    return files


async def _outputs(
    blobs: Blobs, workspace: Workspace, job: JobRow, folder: Path, left_out: list[str]
) -> tuple[list[Kept], dict[str, Left]]:
    files: list[Kept] = []
    left: dict[str, Left] = {}
    for name, value in job.body["properties"]["outputs"].items():
        target = target_of(workspace, job, name)
        datastore = target.get("datastore", "")
        if value["mode"] == DIRECT:
            left[name] = Left(
                any=bool(datastore) or await _anything(blobs, target), mlmodel=await _mlmodel(blobs, target)
            )
            continue
        single = single_file(target, name) if value["jobOutputType"] == "uri_file" else None
        captured = await _captured(folder / output_folder(name), left_out)
        for found in captured:
            if single is None:
                path = f"{target['path'].rstrip('/')}/{found.path}".lstrip("/")
                files.append(Kept(target["container"], path, found.source, datastore))
            elif found.path == single:
                path = target["path"] + (single if target["path"].endswith("/") else "")
                files.append(Kept(target["container"], path, found.source, datastore))
            else:
                left_out.append(f"{found.path}: output '{name}' is one file, '{single}'")
        top = next((found.source for found in captured if found.path == mlmodel.NAME), None)
        left[name] = Left(any=bool(captured), mlmodel=await asyncio.to_thread(top.read_bytes) if top else None)
    return files, left


async def _anything(blobs: Blobs, target: dict[str, str]) -> bool:
    return bool(await blobs.tree(target["account"], target["container"], target["path"]))


async def _mlmodel(blobs: Blobs, target: dict[str, str]) -> bytes | None:
    if target.get("datastore"):
        return None
    return await mlmodel.read(blobs, place_of(target))


async def _changed_inputs(blobs: Blobs, job: JobRow, folder: Path, left_out: list[str]) -> list[Kept]:
    """What the job changed in inputs mounted for writing. A file it removed stays where it was."""
    files: list[Kept] = []
    for name, value in job.body["properties"]["inputs"].items():
        if value.get("mode") != WRITABLE:
            continue
        place = place_of(job.server["resolved"]["inputs"][name])
        path = place.path.rstrip("/")
        there = {blob.name: blob.sha256 for blob in await blobs.tree(place.account, place.container, path)}
        single = path in there and not place.path.endswith("/")
        base = path.rpartition("/")[0] if single else path
        for found in await _captured(folder / input_folder(name), left_out):
            target = f"{base}/{found.path}" if base else found.path
            now = await asyncio.to_thread(_sha256, found.source)
            if target not in there or await asyncio.to_thread(blobs.objects.digest, there[target]) != now:
                files.append(Kept(place.container, target, found.source))
    return files


async def _captured(folder: Path, left_out: list[str]) -> list[OutputFile]:
    return await asyncio.to_thread(capture, folder, lambda path, why: left_out.append(f"{path}: {why}"))


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
