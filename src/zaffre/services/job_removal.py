"""A job that is deleted: its rows, its logs, artifacts and outputs, and those of the runs below it, in one transaction.

What a resource still names stays: a model that was registered from a job outlives it. Bytes nobody names any more are
freed by `Blobs.collect`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from zaffre.services import lineage
from zaffre.services.workspaces import ARTIFACT_CONTAINER, Workspace, output_folder, run_folder
from zaffre.store import blobs, resources
from zaffre.store.jobs import JobRow
from zaffre.store.tracking import models, runs
from zaffre.store.unit import Unit


def remove(unit: Unit, workspace: Workspace, job: JobRow) -> None:
    """Take the job away; its processes must have ended. Runs below it that are jobs themselves stay."""
    below = [run for run in runs.below(unit.conn, workspace.id, job.id) if run.origin != "job"]
    run_ids = [job.id, *(run.id for run in below)]
    logged = models.of_runs(unit.conn, workspace.id, run_ids)
    ids = [*run_ids, *(model.id for model in logged)]
    kept = _kept(_naming(unit.conn, workspace, ids), job, ids)
    for container in _output_containers(workspace, job):
        _delete(unit, workspace, container, output_folder(job.id, ""), kept)
    for id_ in ids:
        _delete(unit, workspace, ARTIFACT_CONTAINER, f"{run_folder(id_)}/", kept)
    for model in logged:
        if not any(f"{path}/".startswith(f"{run_folder(model.id)}/") for path in kept):
            models.delete(unit, model.pk)
    runs.delete(unit, [job.run, *(run.pk for run in below)])
    lineage.forget(unit, workspace.id, lineage.JOBS, job.id)
    for run in below:
        lineage.forget(unit, workspace.id, lineage.RUNS, run.id)
    unit.emit(workspace.id, "jobs", f"{workspace.id}/{job.id}", {"status": "Deleted"})


def _output_containers(workspace: Workspace, job: JobRow) -> set[str]:
    """Where outputs without a path of their own lie: in the datastore that was the default when the job came."""
    given = job.server["resolved"].get("outputs", {})
    unnamed = [name for name, output in job.body["properties"]["outputs"].items() if not output.get("uri")]
    return {workspace.container} | {
        given[name]["container"] for name in unnamed if given.get(name, {}).get("container")
    }


def _delete(unit: Unit, workspace: Workspace, container: str, prefix: str, kept: Sequence[str]) -> None:
    found = blobs.container(unit.conn, workspace.account, container)
    if found is not None:
        blobs.delete_tree(unit, found.pk, prefix, [path for path in kept if f"{path}/".startswith(prefix)])


def _naming(conn: sa.Connection, workspace: Workspace, ids: Sequence[str]) -> list[str]:
    """Every text in a resource of the workspace that holds one of the ids."""
    return [
        text
        for row in resources.mentioning(conn, workspace.id, ids)
        for text in _texts(row.body)
        if any(id_ in text for id_ in ids)
    ]


def _kept(texts: Sequence[str], job: JobRow, ids: Sequence[str]) -> list[str]:
    """What the addresses name below the folders of the job, as paths in their containers."""
    folders = {f"azureml://jobs/{job.id}/outputs/artifacts/paths/": f"{run_folder(job.id)}/"}
    for id_ in ids:
        folders |= {f"{run_folder(id_)}/": f"{run_folder(id_)}/", f"runs:/{id_}/": f"{run_folder(id_)}/"}
    folders[output_folder(job.id, "")] = output_folder(job.id, "")
    for name in job.body["properties"]["outputs"]:
        folders[f"azureml://jobs/{job.id}/outputs/{name}"] = output_folder(job.id, name)
    found = []
    for text in texts:
        for form, folder in folders.items():
            _, mark, rest = text.partition(form)
            if mark:
                found.append(f"{folder}{rest.removeprefix('/paths')}".rstrip("/"))
                break
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
