"""Data outside: the same rules for a folder, a bucket and a container, each against a real server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.blob_server import BlobServer
from tests.support.s3_server import KEY_ID, SECRET, S3Server, s3_server
from zaffre.execution.data.sources import AzureSource, BucketSource, FolderSource, Source
from zaffre.execution.data.stores import Store, open_store
from zaffre.execution.errors import StoreError, StoreUnavailable
from zaffre.services import sas
from zaffre.store.unit import PLATFORM

KINDS = ("folder", "bucket", "azure_key", "azure_sas")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        running.bucket("outside")
        yield running


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobServer]:
    running = BlobServer(tmp_path_factory.mktemp("azure"))
    asyncio.run(running.blobs.create_container(running.workspace.account, "outside", PLATFORM))
    yield running
    running.close()


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server, azure: BlobServer) -> Source:
    """An empty place of each kind, by a prefix of its own where the store is shared."""
    kind, own = str(request.param), tmp_path.name
    if kind == "folder":
        (tmp_path / "root" / "data").mkdir(parents=True)
        return FolderSource(root=str(tmp_path / "root"), path=str(tmp_path / "root" / "data"))
    if kind == "bucket":
        return BucketSource(
            bucket="outside", prefix=own, endpoint=s3.address, access_key_id=KEY_ID, secret_access_key=SECRET
        )
    account = azure.workspace.account
    given = {"key": azure.key}
    if kind == "azure_sas":
        expiry = azure.clock.now() + 3_600_000
        given = {"sas": sas.account_sas(account, azure.key, permissions="racwdl", expiry=expiry)}
    return AzureSource(account=account, container="outside", endpoint=azure.url, prefix=own, **given)


def put(store: Store, folder: Path, path: str, content: bytes) -> None:
    file = folder / "source"
    file.write_bytes(content)
    store.put(path, file)


def listed(store: Store, prefix: str = "") -> list[tuple[str, int]]:
    return [(found.path, found.size) for found in store.list(prefix)]


def children(store: Store, folder: str) -> tuple[list[str], list[str]]:
    folders, files = store.children(folder)
    return sorted(folders), sorted(found.path for found in files)


def test_what_is_put_is_listed_and_read(source: Source, tmp_path: Path) -> None:
    store = open_store(source, "outside")
    put(store, tmp_path, "a/b c.txt", b"spaces")
    put(store, tmp_path, "a/ü%41#?.txt", b"odd")
    put(store, tmp_path, "ab", b"a sibling")
    put(store, tmp_path, "a/b c.txt", b"again")
    assert listed(store) == [("a/b c.txt", 5), ("a/ü%41#?.txt", 3), ("ab", 9)]
    assert [found.path for found in store.list("a")] == ["a/b c.txt", "a/ü%41#?.txt"], "'ab' does not lie below 'a'"
    assert listed(store, "ab") == [("ab", 9)], "one file by its name"
    assert store.list("nothing/here") == []
    assert children(store, "") == (["a"], ["ab"])
    assert children(store, "a") == ([], ["a/b c.txt", "a/ü%41#?.txt"])
    assert children(store, "nothing") == ([], [])
    assert b"".join(store.read("a/ü%41#?.txt")) == b"odd"
    assert b"".join(store.read("a/b c.txt", 1, 3)) == b"ga"
    assert b"".join(store.read("a/b c.txt", 2)) == b"ain"
    store.fetch("a/b c.txt", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"again"
    found = store.head("ab")
    assert found is not None
    assert found == store.list("ab")[0]
    assert abs(found.modified / 1000 - time.time()) < 600
    assert (store.head("nothing"), store.head("a")) == (None, None)


def test_what_is_deleted_is_gone(source: Source, tmp_path: Path) -> None:
    if isinstance(source, AzureSource):
        pytest.skip("the protocol deletes in Azure Storage by batches, and nothing here asks for it")
    store = open_store(source, "outside")
    put(store, tmp_path, "a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    assert store.list("") == []


def test_a_file_of_many_parts(source: Source, tmp_path: Path) -> None:
    store = open_store(source, "outside")
    content = bytes(range(256)) * (40 << 12)  # 40 MiB: three parts of 16
    put(store, tmp_path, "big", content)
    assert listed(store) == [("big", len(content))]
    store.fetch("big", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == content


def test_what_is_not_there_is_told_by_name(source: Source, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"'gone/x\.txt'.*'outside'"):
        open_store(source, "outside").fetch("gone/x.txt", tmp_path / "x")


def test_a_wrong_credential_is_said_and_not_shown(azure: BlobServer) -> None:
    wrong = AzureSource(
        account=azure.workspace.account, container="outside", endpoint=azure.url, sas="sv=2021-08-06&sig=c2VjcmV0"
    )
    with pytest.raises(StoreError, match="credential") as raised:
        open_store(wrong, "outside").list("")
    assert "c2VjcmV0" not in raised.value.message


def test_a_store_that_is_down_may_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from zaffre.execution.data import stores

    monkeypatch.setitem(stores._RETRY, "max_retries", 0)
    source = BucketSource(bucket="b", endpoint="http://127.0.0.1:1", access_key_id="k", secret_access_key="s")
    with pytest.raises(StoreUnavailable, match="'outside' could not be reached"):
        open_store(source, "outside").list("")


def test_the_servers_own_credentials_are_never_used(azure: BlobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", azure.key)
    source = AzureSource(account=azure.workspace.account, container="outside", endpoint=azure.url)
    with pytest.raises(StoreError, match="credential"):
        open_store(source, "outside").list("")


@pytest.fixture
def folder(tmp_path: Path) -> FolderSource:
    (tmp_path / "root" / "data").mkdir(parents=True)
    (tmp_path / "secret").write_text("not yours")
    (tmp_path / "root" / "beside").mkdir()
    return FolderSource(root=str(tmp_path / "root"), path=str(tmp_path / "root" / "data"))


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a//b", "./a", "a/../../secret", "a\0b"])
def test_a_path_cannot_climb(source: Source, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("not yours")
    store = open_store(source, "outside")
    for act in (lambda: b"".join(store.read(path)), lambda: put(store, tmp_path, path, b"x")):
        with pytest.raises(StoreError):
            act()
    assert (tmp_path / "secret").read_text() == "not yours"


def test_a_link_that_leads_out_is_not_followed(folder: FolderSource, tmp_path: Path) -> None:
    base = Path(folder.path)
    (base / "file").symlink_to(tmp_path / "secret")
    (base / "dir").symlink_to(tmp_path / "root" / "beside")
    store = open_store(folder, "local")
    with pytest.raises(StoreError, match="leads out"):
        store.list("")
    with pytest.raises(StoreError, match="leads out"):
        store.children("")
    with pytest.raises(StoreError, match="leads out"):
        store.children("dir")
    with pytest.raises(StoreError, match="leads out"):
        store.list("file")
    with pytest.raises(StoreError, match="leads out"):
        b"".join(store.read("file"))
    with pytest.raises(StoreError, match="leads out"):
        put(store, tmp_path, "dir/x", b"x")
    assert list((tmp_path / "root" / "beside").iterdir()) == []
    put(store, tmp_path, "file", b"replaced")  # the link itself gives way; what it named stays
    assert (tmp_path / "secret").read_text() == "not yours"


def test_a_link_inside_is_what_it_names(folder: FolderSource) -> None:
    base = Path(folder.path)
    (base / "real").write_text("here")
    (base / "link").symlink_to("real")
    assert listed(open_store(folder, "local")) == [("link", 4), ("real", 4)]


def test_what_is_put_is_for_those_the_folder_is_for(folder: FolderSource, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        Path(folder.path).chmod(0o2775)
        put(open_store(folder, "local"), tmp_path, "new/deep/file", b"x")
    finally:
        os.umask(before)
    made = Path(folder.path) / "new" / "deep"
    assert (made.stat().st_mode & 0o777, (made / "file").stat().st_mode & 0o777) == (0o775, 0o664)


def test_a_folder_outside_its_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="allowed"):
        open_store(FolderSource(root=str(tmp_path / "root"), path=str(tmp_path / "root" / "out")), "local")
