"""What a job's inputs and outputs become on this machine: trees to stage, and the text each stands for in the command."""

from __future__ import annotations

from pathlib import Path

import msgspec

from zaffre.errors import NotFound
from zaffre.execution.plan import FileRef, Tree
from zaffre.services.blobs import Blobs
from zaffre.services.places import Place
from zaffre.services.workspaces import Workspace
from zaffre.store.jobs import JobRow

CODE = "wd"


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """`inputs` and `outputs` are the values for the command's expressions; `paths` the same for environment variables."""

    trees: tuple[Tree, ...]
    inputs: dict[str, str | None]
    outputs: dict[str, str]
    folders: tuple[str, ...]
    paths: dict[str, str]


async def layout(blobs: Blobs, workspace: Workspace, job: JobRow, folder: Path) -> Layout:
    """Raises NotFound when an input names a place where nothing lies."""
    properties, resolved = job.body["properties"], job.server["resolved"]
    trees: list[Tree] = []
    inputs: dict[str, str | None] = {}
    paths: dict[str, str] = {}
    if "code" in resolved:
        trees.append(await tree(blobs, place_of(resolved["code"]), CODE, "the code", writable=True))
    for name, value in properties["inputs"].items():
        if value["jobInputType"] == "literal":
            inputs[name] = str(value.get("value") or "")
            continue
        if value["mode"] == "Direct":
            inputs[name] = value["uri"]
            continue
        staged = await tree(blobs, place_of(resolved["inputs"][name]), f"inputs/{name}", f"input '{name}'")
        trees.append(staged)
        inputs[name] = str(folder / staged.dest / staged.files[0].path) if staged.single else str(folder / staged.dest)
        paths[f"INPUT_{name}"] = str(inputs[name])
    outputs: dict[str, str] = {}
    folders = ["wd", "wd/outputs", "wd/logs"]
    for name, value in properties["outputs"].items():
        place = output_folder(name)
        folders.append(place)
        outputs[name] = str(folder / place / name) if value["jobOutputType"] == "uri_file" else str(folder / place)
        paths[f"OUTPUT_{name}"] = outputs[name]
    return Layout(trees=tuple(trees), inputs=inputs, outputs=outputs, folders=tuple(folders), paths=paths)


async def tree(blobs: Blobs, place: Place, dest: str, what: str, *, writable: bool = False) -> Tree:
    """What lies at `place`: one blob of exactly that name, or all below it."""
    path = place.path.rstrip("/")
    found = await blobs.tree(place.account, place.container, path)
    if not place.path.endswith("/"):
        for blob in found:
            if blob.name == path:
                name = path.rpartition("/")[2]
                return Tree(
                    dest=dest,
                    files=(FileRef(path=name, sha256=blob.sha256, size=blob.size),),
                    single=True,
                    writable=writable,
                )
    prefix = f"{path}/" if path else ""
    files = tuple(
        FileRef(path=blob.name.removeprefix(prefix), sha256=blob.sha256, size=blob.size)
        for blob in found
        if blob.name.startswith(prefix) and not blob.name.endswith("/")
    )
    if not files:
        raise NotFound(
            f"There is nothing at '{place.container}/{place.path}', where {what} should lie.", code="DataNotFound"
        )
    return Tree(dest=dest, files=files, writable=writable)


def output_folder(name: str) -> str:
    return f"out/{name}"


def place_of(value: dict[str, str]) -> Place:
    return Place(account=value["account"], container=value["container"], path=value["path"])
