"""Lineage: which job made an asset, who uses it; and so, which uploaded bytes nobody names any more.

Everything here is part of a caller's transaction, so what is known of a thing is never older or newer than the thing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput
from zaffre.services import references
from zaffre.services.references import ANY_UPLOAD, ARM, CODE_CONTAINER, SHORT, UPLOADS
from zaffre.services.urls import account_of
from zaffre.services.workspaces import ARTIFACT_CONTAINER
from zaffre.store import blobs, jobs, links, resources
from zaffre.store.blobs import Container
from zaffre.store.links import MADE, USED, Link
from zaffre.store.resources import Row, Selection, subject_of
from zaffre.store.tracking import runs
from zaffre.store.tracking.sql import chunks
from zaffre.store.unit import Actor, Unit

JOBS = "workspaces/jobs"
RUNS = "workspaces/runs"  # what MLflow made without a job
# In what we fill of a version: the job that made it, and the part of the job it was.
MADE_BY, MADE_OF = "madeBy", "madeOf"
_PATH_LIMIT = 400  # an index takes no endless text; longer places are known by their hash
_OUTPUT = re.compile(
    r".*/(?:workspaceblobstore/paths|azureml-blobstore-[0-9a-f-]{36})/azureml/(?P<job>[^/]+)/(?P<name>[^/]+)(?:/.*)?",
    re.DOTALL,
)
_ARTIFACT = re.compile(
    r".*/(?:workspaceartifactstore/paths|azureml)/ExperimentRun/dcid\.(?P<job>[^/]+)(?:/.*)?", re.DOTALL
)
_BY_NAME = re.compile(r"(?:azureml://jobs/|runs:/)(?P<run>[^/]+)")
_STORE_PATH = re.compile(r".*/datastores/(?P<store>[^/]+)/paths/(?P<path>.*)", re.DOTALL)


class Related(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a relation as a reader sees it: a resource type such as `jobs`, a name, and the part it plays."""

    type: str
    name: str
    role: str


def note(unit: Unit, scope: str, type_: str, subject: str, document: Any) -> None:
    """Keep what a resource or a job names, in the place of what it named before."""
    found = {
        (role, target) for role, text in references.texts(document) for target in _targets(unit.conn, scope, role, text)
    }
    links.replace(unit, scope, type_, subject, USED, sorted(found))


def note_outputs(unit: Unit, scope: str, job: str, outputs: dict[str, Any]) -> None:
    """Keep where a job's outputs go, so that an asset made of one is known as the job's; `outputs` are places by name."""
    found = [
        (f"outputs.{name}", _place(place["container"], place["path"]))
        for name, place in outputs.items()
        if place["path"].strip("/")
    ]
    links.replace(unit, scope, JOBS, job, MADE, found)


def note_version(
    unit: Unit, scope: str, type_: str, name: str, version: str, properties: dict[str, Any], server: dict[str, Any]
) -> dict[str, Any]:
    """Keep what a new version names, and which job made it. What we fill of it (`server`), with that job if there is one."""
    subject = subject_of(name, version)
    found = _uses(unit.conn, scope, properties)
    links.add(
        unit,
        scope,
        [Link(subject_type=type_, subject=subject, direction=USED, role=role, target=target) for role, target in found],
    )
    if server.get(MADE_BY):
        maker = (JOBS, str(server[MADE_BY]), str(server.get(MADE_OF, "artifacts")))
    else:
        known = _maker(unit.conn, scope, properties)
        if known is None:
            return server
        maker = known
    kind, run, role = maker
    target = target_of(type_, name, version)
    links.add(unit, scope, [Link(subject_type=kind, subject=run, direction=MADE, role=role, target=target)])
    return {**server, MADE_BY: run, MADE_OF: role}


def forget(unit: Unit, scope: str, type_: str, subject: str) -> None:
    """A job or a resource is gone: so is what it named, and the uploads that only it named."""
    named = [link.target for link in links.of(unit.conn, scope, type_, subject)]
    links.forget(unit, scope, type_, subject)
    _reclaim(unit, scope, named)


def refuse_if_needed(
    conn: sa.Connection, scope: str, type_: str, name: str, versions: Iterable[str], *, all_go: bool = False
) -> None:
    """Raise Conflict when something that may still read one of the versions would miss it. Jobs that are over need nothing.

    With `all_go` every version of the asset is about to go, so they may name one another.
    """
    targets = {target_of(type_, name, version): version for version in versions}
    for some in chunks(targets):
        for link in links.to(conn, scope, some):
            own = link.subject_type == type_ and link.subject.startswith(f"{resources.key(name)}/")
            if link.direction != USED or (all_go and own):
                continue
            if link.subject_type == JOBS:
                job = jobs.get(conn, scope, link.subject)
                if job is None or job.status in jobs.TERMINAL:
                    continue
            kind = link.subject_type.removeprefix("workspaces/")
            raise Conflict(
                f"Version '{targets[link.target]}' of '{name}' is used by {kind} '{link.subject}' ({link.role}). "
                "Delete or change that first."
            )


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a document names and is there: uploads, and the run whose files it is about."""

    uploads: tuple[str, ...] = ()
    run: str | None = None


def seen(conn: sa.Connection, scope: str, properties: dict[str, Any]) -> Seen:
    """What `refuse_if_lost` looks for again when a new version is written."""
    named = {references.upload(text) for _, text in references.texts(properties)} - {None}
    there = (
        upload
        for upload in sorted(map(str, named))
        if any(blobs.walk(conn, box.pk, prefix=prefix, limit=1)[0] for box, prefix in _places_of(conn, scope, upload))
    )
    uri = str(properties.get("modelUri") or properties.get("dataUri") or "")
    if match := _BY_NAME.match(uri):
        run = match["run"] if runs.find(conn, scope, match["run"]) else None
    else:
        maker = _maker(conn, scope, properties)
        run = maker[1] if maker else None
    return Seen(uploads=tuple(there), run=run)


def refuse_if_lost(unit: Unit, scope: str, seen: Seen) -> None:
    """Raise InvalidInput when what was there a moment ago is gone: its last asset, or its run, was deleted and took it along."""
    for upload in seen.uploads:
        if not _held(unit.conn, _places_of(unit.conn, scope, upload)):
            raise InvalidInput(
                f"There is nothing in '{UPLOADS}/{upload}' any more: what named it was deleted at this moment. Upload it again "
                "and repeat the request."
            )
    if seen.run is not None and not runs.hold(unit.conn, scope, seen.run):
        raise InvalidInput(f"The job or run '{seen.run}' was deleted at this moment, with the files that are named.")


def delete_version(unit: Unit, scope: str, row: Row) -> None:
    """Delete a version with all that is known of it and the uploaded bytes that nothing else names."""
    links.forget_target(unit, scope, target_of(row.type, row.parent, row.name))
    forget(unit, scope, row.type, subject_of(row.parent, row.name))
    resources.delete(unit, row.pk)


def rename_version(unit: Unit, actor: Actor, scope: str, row: Row, name: str) -> None:
    """The version's asset is called `name` from now on."""
    subjects = subject_of(row.parent, row.name), subject_of(name, row.name)
    targets = target_of(row.type, row.parent, row.name), target_of(row.type, name, row.name)
    links.rename(unit, scope, row.type, subjects, targets)
    resources.rename(unit, actor, row.pk, parent=name)


def about_version(conn: sa.Connection, scope: str, type_: str, name: str, version: str) -> dict[str, list[Related]]:
    """Who made a version, who uses it, and what it uses itself."""
    found = links.to(conn, scope, [target_of(type_, name, version)])
    return {
        "madeBy": _subjects(found, MADE),
        "usedBy": _subjects(found, USED),
        "uses": _assets(links.of(conn, scope, type_, subject_of(name, version)), USED),
    }


def about_job(conn: sa.Connection, scope: str, job: str) -> dict[str, list[Related]]:
    """The assets a job or a run uses and those made of its outputs."""
    found = [link for type_ in (JOBS, RUNS) for link in links.of(conn, scope, type_, job)]
    return {"uses": _assets(found, USED), "makes": _assets(found, MADE)}


def target_of(type_: str, name: str, version: str) -> str:
    """`workspaces/data/versions` and two names as `data/name/version`."""
    return f"{type_.split('/')[1]}/{resources.key(name)}/{resources.key(version)}"


def _uses(conn: sa.Connection, scope: str, document: Any) -> list[tuple[str, str]]:
    """What a document names, as (role, target)."""
    found = (
        (role, target) for role, text in references.texts(document) for target in _targets(conn, scope, role, text)
    )
    return sorted(set(found))


def _targets(conn: sa.Connection, scope: str, role: str, text: str) -> Iterator[str]:
    upload = references.upload(text)
    if upload is not None:
        yield f"upload/{upload}"
    if match := ARM.fullmatch(text):
        kind = match["kind"].lower()
        version = match["v"] if match["by"].lower() == "versions" else _newest(conn, scope, kind, match["n"])
        if version is not None:
            yield target_of(f"workspaces/{kind}/versions", match["n"], version)
    elif match := SHORT.fullmatch(text):
        for kind in _kinds_at(role):
            version = match["v"] if match["by"] == ":" else _newest(conn, scope, kind, match["n"])
            type_ = f"workspaces/{kind}/versions"
            if version is not None and resources.get(conn, scope, type_, version, match["n"]) is not None:
                yield target_of(type_, match["n"], version)
                break


def _kinds_at(role: str) -> tuple[str, ...]:
    """What a short name can mean where it stands."""
    last = role.rpartition(".")[2].lower()
    for word, kind in (
        ("environment", "environments"),
        ("code", "codes"),
        ("component", "components"),
        ("model", "models"),
    ):
        if last.startswith(word):
            return (kind,)
    return ("data", "models")


def _newest(conn: sa.Connection, scope: str, kind: str, name: str) -> str | None:
    wanted = Selection(parent=name, archived=False, limit=1)
    found = resources.select(conn, scope, f"workspaces/{kind}/versions", wanted)
    return found[0].name if found else None


def _maker(conn: sa.Connection, scope: str, properties: dict[str, Any]) -> tuple[str, str, str] | None:
    """Who made what a version names, as type, name and the output it is: a job, or a run that MLflow made."""
    uri = str(properties.get("modelUri") or properties.get("dataUri") or "")
    for run, role in _makers(conn, scope, uri, properties.get("jobName")):
        found = runs.find(conn, scope, run)
        if found is not None:
            return JOBS if found.origin == "job" else RUNS, run, role
    return None


def _makers(conn: sa.Connection, scope: str, uri: str, given: Any) -> Iterator[tuple[str, str]]:
    """Whoever may have made it, the likeliest first. A folder of artifacts may be a logged model's, which is no run."""
    if match := _OUTPUT.fullmatch(uri):
        yield match["job"], f"outputs.{match['name']}"
    if match := _ARTIFACT.fullmatch(uri):
        yield match["job"], "artifacts"
    if given:
        yield str(given), "artifacts"
    if f"/{UPLOADS}/" not in uri:
        for link in reversed(links.to(conn, scope, _places_above(conn, scope, uri))):
            if link.direction == MADE:
                yield link.subject, link.role


def _places_above(conn: sa.Connection, scope: str, uri: str) -> list[str]:
    """The place a datastore address names, and all that it lies in."""
    match = _STORE_PATH.fullmatch(uri)
    if match is None:
        return []
    store = resources.get(conn, scope, "workspaces/datastores", match["store"])
    container = store.body["properties"].get("containerName") if store else None
    parts = match["path"].strip("/").split("/")
    return [_place(str(container), "/".join(parts[:length])) for length in range(1, len(parts) + 1)][-100:]


def _place(container: str, path: str) -> str:
    path = path.strip("/")
    if len(path) > _PATH_LIMIT:
        path = "#" + hashlib.sha256(path.encode()).hexdigest()
    return f"place/{container}/{path}"


def _reclaim(unit: Unit, scope: str, targets: Iterable[str]) -> None:
    """Delete the blobs of uploads that nobody names any more; their bytes go with the next collection."""
    for target in sorted({target for target in targets if target.startswith("upload/")}):
        upload = target.removeprefix("upload/")
        places = list(_places_of(unit.conn, scope, upload))
        _held(unit.conn, places)  # so whoever writes a version of it at this moment has done so, or will miss it
        if upload == ANY_UPLOAD or links.to(unit.conn, scope, [target, f"upload/{ANY_UPLOAD}"]):
            continue
        for container, prefix in places:
            blobs.delete_tree(unit, container.pk, prefix)
            if container.name.startswith(CODE_CONTAINER):
                blobs.delete_container(unit, container.pk)


def _places_of(conn: sa.Connection, scope: str, upload: str) -> Iterator[tuple[Container, str]]:
    """Where an upload can lie: containers, and what its blobs' names begin with there."""
    own = (f"azureml-blobstore-{scope}", ARTIFACT_CONTAINER)  # MLflow's clients upload to the second
    names = (upload,) if upload.startswith(CODE_CONTAINER) else () if upload == ANY_UPLOAD else own
    for name in names:
        container = blobs.container(conn, account_of(scope), name)
        if container is not None:
            yield container, "" if name == upload else f"{UPLOADS}/{upload}/"


def _held(conn: sa.Connection, places: Iterable[tuple[Container, str]]) -> bool:
    """Whether anything is there, and if so the lock on it: see `blobs.hold`."""
    return any(blobs.hold(conn, container.pk, prefix) for container, prefix in places)


def _subjects(found: list[Link], direction: str) -> list[Related]:
    return [
        Related(type=link.subject_type.removeprefix("workspaces/"), name=link.subject, role=link.role)
        for link in found
        if link.direction == direction
    ]


def _assets(found: list[Link], direction: str) -> list[Related]:
    made = []
    for link in found:
        kind, _, name = link.target.partition("/")
        if link.direction == direction and kind not in ("upload", "place"):
            made.append(Related(type=f"{kind}/versions", name=name, role=link.role))
    return made
