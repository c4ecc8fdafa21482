"""Which files an MLTable names, and what is said of one that names none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from zaffre.control.evaluated import Evaluation
from zaffre.errors import NotFound, ZaffreError
from zaffre.services.places import Place
from zaffre.services.workspaces import Workspace
from zaffre.store.blobs import BlobInfo

WORKSPACE = Workspace(id="1", subscription="s", resource_group="g", name="w", location="here")
NAMES = ("t/MLTable", "t/a.csv", "t/b.csv", "t/sub/c.csv", "t/sub/deep/d.csv", "t/sub/e.txt", "other/f.csv", "t2/g.csv")


class _Blobs:
    def __init__(self, table: str) -> None:
        self._table = table.encode()

    async def get_bytes(self, _account: str, _container: str, name: str, _limit: int) -> bytes:
        if name != "t/MLTable":
            raise NotFound("no such blob")
        return self._table

    async def tree(self, _account: str, _container: str, prefix: str) -> list[BlobInfo]:
        return [BlobInfo(name=name, sha256="0", size=1) for name in NAMES if name.startswith(prefix)]


class _Places:
    async def resolve(self, _workspace: Workspace, uri: str, _field: str) -> Place:
        return Place(account="a", container="c", path=uri.partition("/paths/")[2])


def files(table: str, **source: str) -> list[str]:
    evaluation = Evaluation(_Blobs(table), _Places(), WORKSPACE)  # type: ignore[arg-type]
    where: dict[str, Any] = {"account": "a", "container": "c", "path": "t/", **source}
    tree = asyncio.run(evaluation.tree(where, "inputs/x", "x", writable=False))
    return [file.path for file in tree.files]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("paths: [{file: ./a.csv}]", ["a.csv"]),
        ("paths: [{file: a.csv}, {file: sub/c.csv}]", ["a.csv", "sub/c.csv"]),
        ("paths: [{folder: sub/}]", ["c.csv", "deep/d.csv", "e.txt"]),
        ("paths: [{pattern: '*.csv'}]", ["a.csv", "b.csv"]),
        ("paths: [{pattern: '**/*.csv'}]", ["a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv"]),
        ("paths: [{pattern: 'sub/?.[!c]*'}]", ["e.txt"]),
        ("paths: [{file: ../other/f.csv}, {file: a.csv}]", ["other/f.csv", "t/a.csv"]),
        ("paths: [{file: 'azureml://datastores/d/paths/other/f.csv'}]", ["f.csv"]),
        ("paths: [{file: b.csv}, {pattern: '*.csv'}]", ["b.csv", "a.csv"]),
        ("paths: [{pattern: '*.csv'}]\ntransformations: [{skip: 1}]", ["b.csv"]),
        ("paths: [{pattern: '*.csv'}]\ntransformations: [{take: 1}]", ["a.csv"]),
    ],
)
def test_files(table: str, expected: list[str]) -> None:
    assert files(table) == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{", "not valid YAML"),
        ("a: b", "has no 'paths'"),
        ("paths: []", "has no 'paths'"),
        ("paths: [{url: x}]", "none of file, folder and pattern"),
        ("paths: [{file: a, folder: b}]", "none of file, folder and pattern"),
        ("paths: [{file: gone.csv}]", "where nothing lies"),
        ("paths: [{pattern: '[z-a].csv'}]", "a pattern that is none"),
        ("paths: [{file: a.csv}]\ntransformations: [read_delimited]", "'read_delimited', which is for records"),
        ("paths: [{file: a.csv}]\ntransformations: [{take: true}]", "'take', which is for records"),
        ("paths: [{file: a.csv}]\ntransformations: [{take: 0}]", "names no file"),
    ],
)
def test_what_is_no_table_of_files_is_said(table: str, message: str) -> None:
    with pytest.raises(ZaffreError, match="MLTable of input 'x'") as caught:
        files(table)
    assert message in caught.value.message


def test_only_our_own_storage_is_looked_into() -> None:
    with pytest.raises(ZaffreError, match="outside the workspace's own storage"):
        files("paths: [{file: a.csv}]", datastore="s3")
    with pytest.raises(ZaffreError, match="has no file 'MLTable'"):
        files("paths: [{file: a.csv}]", path="elsewhere/")
