"""A job that is deleted: its rows, its logs, artifacts and outputs, and those of the runs below it, in one transaction.

What a resource still names stays: a model that was registered from a job outlives it. Bytes nobody names any more are
freed by `Blobs.collect`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from zaffre.errors import Conflict
from zaffre.services import lineage
from zaffre.services.places import ARTIFACTS
from zaffre.services.workspaces import ARTIFACT_CONTAINER, Workspace, output_folder, run_folder
from zaffre.store import blobs, resources
from zaffre.store.jobs import JobRow
from zaffre.store.tracking import models, runs
from zaffre.store.unit import Unit

_WILD = re.compile(r"[*?\[]")


def remove(unit: Unit, workspace: Workspace, job: JobRow) -> None:
    """Take the job away; its processes must have ended. Runs below it that are jobs themselves stay."""
    below = [run for run in runs.below(unit.conn, workspace.id, job.id) if run.origin != "job"]
    run_ids = [job.id, *(run.id for run in below)]
    for id_ in run_ids:  # whoever makes a version of their files at this moment has done so, or will miss them
        runs.hold(unit.conn, workspace.id, id_)
    logged = models.of_runs(unit.conn, workspace.id, run_ids)
    ids = [*run_ids, *(model.id for model in logged)]
    kept = _kept(_naming(unit.conn, workspace, ids), ids)
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


def refuse_if_kept(conn: sa.Connection, workspace: Workspace, id_: str, outputs: Collection[Mapping[str, str]]) -> None:
    """Raise Conflict when a new job of that name would write over what assets of a deleted one stand on.

    `outputs` are the places that its own go to.
    """
    folder = output_folder(id_, "")
    outside = any(place.get("datastore") and place["path"].startswith(folder) for place in outputs)
    own = {workspace.container, *(place["container"] for place in outputs if place.get("container"))}
    places = [*((container, folder) for container in sorted(own)), (ARTIFACT_CONTAINER, f"{run_folder(id_)}/")]
    # Who names the folders is a search through all resources, so first whether there is anything in them.
    if not outside and not any(_lies_in(conn, workspace, container, prefix) for container, prefix in places):
        return
    kept = _kept(_naming(conn, workspace, [id_]), [id_])
    if kept:
        raise Conflict(
            f"A job '{id_}' was deleted, and what it left in '{kept[0]}' is kept, since an asset names it. Submit this job under "
            "another name, or delete that asset first."
        )


def _lies_in(conn: sa.Connection, workspace: Workspace, container: str, prefix: str) -> bool:
    found = blobs.container(conn, workspace.account, container)
    return found is not None and bool(blobs.walk(conn, found.pk, prefix=prefix, limit=1)[0])


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


def _kept(texts: Sequence[str], ids: Sequence[str]) -> list[str]:
    """What the addresses name below the folders of the job and its runs, as paths in their containers."""
    return [path for text in texts for id_ in ids for path in _paths(text, id_)]


def _paths(text: str, id_: str) -> Iterator[str]:
    for form, folder in (
        (f"{run_folder(id_)}/", run_folder(id_)),
        (f"runs:/{id_}/", run_folder(id_)),
        (output_folder(id_, ""), output_folder(id_, "").rstrip("/")),
    ):
        _, found, rest = text.partition(form)
        if found:
            yield _fixed(f"{folder}/{rest}")
    _, found, rest = text.partition(f"azureml://jobs/{id_}/outputs/")
    if found:
        output, _, rest = rest.partition("/")
        folder = run_folder(id_) if output in ARTIFACTS else output_folder(id_, output)
        yield _fixed(f"{folder}/{rest.removeprefix('paths').lstrip('/')}")


def _fixed(path: str) -> str:
    """The path; of a pattern, as tables have them, the folder that all it means lies in."""
    wild = _WILD.search(path)
    return (path[: wild.start()].rpartition("/")[0] if wild else path).rstrip("/")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
