"""What a job's inputs and outputs become on this machine: trees to stage, and the text each stands for in the command."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec

from zaffre.control.evaluated import Evaluation
from zaffre.control.outside import Outside
from zaffre.errors import NotFound
from zaffre.execution.data.stage import copy_object, stage
from zaffre.execution.data.web import fetch, file_name
from zaffre.execution.plan import FileRef, Tree
from zaffre.services.blobs import Blobs
from zaffre.services.job_sources import WEB
from zaffre.services.kinds.job_data import DIRECT, EVALUATED, WRITABLE
from zaffre.services.places import Place
from zaffre.services.workspaces import ARTIFACT_CONTAINER, ARTIFACT_STORE, BLOB_STORE
from zaffre.store.jobs import JobRow

CODE = "wd"
OUT = "out"


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the web, and where it goes in the job's folder."""

    url: str
    dest: str


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """`inputs` and `outputs` are the values for the command's expressions; `paths` the same for environment variables.

    `outside` are trees from datastores outside this server, by datastore.
    """

    trees: tuple[Tree, ...]
    outside: dict[str, tuple[Tree, ...]]
    downloads: tuple[Download, ...]
    inputs: dict[str, str | None]
    outputs: dict[str, str]
    folders: tuple[str, ...]
    paths: dict[str, str]


async def layout(blobs: Blobs, outside: Outside, evaluation: Evaluation, job: JobRow, folder: Path) -> Layout:
    """Raises NotFound when an input names a place where nothing lies."""
    properties, resolved = job.body["properties"], job.server["resolved"]
    trees: list[Tree] = []
    foreign: dict[str, tuple[Tree, ...]] = {}
    downloads: list[Download] = []
    inputs: dict[str, str | None] = {}
    paths: dict[str, str] = {}
    if "code" in resolved:
        trees.append(await tree(blobs, place_of(resolved["code"]), CODE, "the code", writable=True))
    for name, value in properties["inputs"].items():
        if value["jobInputType"] == "literal":
            inputs[name] = value.get("value")
            continue
        source = resolved["inputs"][name]
        if value["mode"] == DIRECT:
            inputs[name] = source.get("uri") or source.get("url") or value["uri"]
        elif source.get("kind") == WEB:
            downloads.append(Download(url=source["url"], dest=f"{input_folder(name)}/{file_name(source['url'])}"))
            inputs[name] = str(folder / downloads[-1].dest)
        else:
            writable = value["mode"] in (
                WRITABLE,
                "Download",
                "EvalDownload",
            )  # a copy of its own, as on a disk it was downloaded to
            dest, what = input_folder(name), f"input '{name}'"
            if value["mode"] in EVALUATED:
                staged = await evaluation.tree(source, dest, name, writable=writable)
                trees.append(staged)
            elif datastore := source.get("datastore"):
                staged = await outside.tree(datastore, source["path"], dest, what, writable=writable)
                foreign[datastore] = (*foreign.get(datastore, ()), staged)
            else:
                staged = await tree(blobs, place_of(source), dest, what, writable=writable)
                trees.append(staged)
            inputs[name] = str(folder / staged.dest / (staged.files[0].path if staged.single else ""))
        paths[f"INPUT_{name}"] = str(inputs[name])
    outputs: dict[str, str] = {}
    folders = ["wd", "wd/outputs", "wd/logs"]
    for name, value in properties["outputs"].items():
        target = resolved["outputs"].get(name, {})
        if value["mode"] == DIRECT:
            outputs[name] = target["uri"]
        else:
            folders.append(output_folder(name))
            single = value["jobOutputType"] == "uri_file"
            outputs[name] = str(folder / output_folder(name) / (single_file(target, name) if single else ""))
        paths[f"OUTPUT_{name}"] = outputs[name]
    return Layout(
        trees=tuple(trees),
        outside=foreign,
        downloads=tuple(downloads),
        inputs=inputs,
        outputs=outputs,
        folders=tuple(folders),
        paths=paths,
    )


async def lay(laid: Layout, blobs: Blobs, outside: Outside, folder: Path, bundle: Path) -> None:
    """Bring everything into the job's folder; may be repeated."""
    await asyncio.to_thread(stage, laid.trees, folder, copy_object(blobs.objects.local_path))
    for datastore, trees in laid.outside.items():
        await asyncio.to_thread(stage, trees, folder, await outside.fetch(datastore))
    await _download(laid.downloads, folder, bundle)


async def _download(files: tuple[Download, ...], folder: Path, bundle: Path) -> None:
    """Fetch what comes from the web, one after the other; ends soon when it is cancelled."""
    stop = threading.Event()
    try:
        for file in files:
            await asyncio.to_thread(fetch, file.url, folder / file.dest, stop, bundle)
    finally:
        stop.set()


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
        raise NotFound(f"There is nothing at '{_address(place)}', where {what} should lie.", code="DataNotFound")
    return Tree(dest=dest, files=files, writable=writable)


def _address(place: Place) -> str:
    """As a user writes it: by the datastore, where the container is one of the workspace's own."""
    stores = {ARTIFACT_CONTAINER: ARTIFACT_STORE}
    own = BLOB_STORE if place.container.startswith("azureml-blobstore-") else place.container
    return f"azureml://datastores/{stores.get(place.container, own)}/paths/{place.path}"


def input_folder(name: str) -> str:
    return f"inputs/{name}"


def output_folder(name: str) -> str:
    return f"{OUT}/{name}"


def single_file(target: dict[str, str], name: str) -> str:
    """The name a uri_file output has on this machine: that of the file it becomes."""
    return target.get("path", name).rstrip("/").rpartition("/")[2] or name


def place_of(value: dict[str, str]) -> Place:
    return Place(account=value["account"], container=value["container"], path=value["path"])
