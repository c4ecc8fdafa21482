"""Backups: one moment of the whole, begun again after an interruption, and restored with every byte checked."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support import databases
from tests.support.blob_server import Services
from zaffre.backup import BackupError, Manifest, Target, back_up, restore, restoring, taking
from zaffre.backup.restoring import UNFINISHED
from zaffre.control.adoption import adopt
from zaffre.errors import ZaffreError
from zaffre.services.blocks import Pick
from zaffre.services.tracking import Tracking
from zaffre.settings import Settings
from zaffre.store import jobs, migrate, snapshots
from zaffre.store import resources as resource_rows
from zaffre.store.database import Database
from zaffre.store.migrations import HEAD
from zaffre.store.unit import PLATFORM, Unit

BOX = "azureml"
MB = 1024 * 1024


class Home:
    """A home with a key, a CA, credentials and services on a migrated database."""

    def __init__(self, path: Path, url: str | None = None) -> None:
        path.mkdir(parents=True, exist_ok=True)
        database = Database(url or f"sqlite:///{path / 'zaffre.db'}")
        migrate.upgrade(database.engine)
        database.close()
        self.url = url
        self.services = Services(path, url=url)
        self.settings = Settings(home=path, database_url=url)
        for name in ("ca/ca.pem", "ca/ca.key", "credentials", "run/address.json"):
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_text(f"{name} of this home")

    def put(self, name: str, data: bytes) -> None:
        asyncio.run(self.services.blobs.put_bytes(self.services.workspace.account, BOX, name, data))

    def big(self, name: str, *blocks: bytes) -> None:
        """A blob that is a list of parts."""

        async def work() -> None:
            at = (self.services.workspace.account, BOX, name)
            for number, data in enumerate(blocks):
                await self.services.blobs.stage_block(*at, str(number), _once(data))
            picks = [Pick(source="Latest", id=str(number)) for number in range(len(blocks))]
            await self.services.blobs.commit_blocks(*at, picks)

        asyncio.run(work())

    def read(self, name: str) -> bytes:
        account = self.services.workspace.account
        return asyncio.run(self.services.blobs.get_bytes(account, BOX, name, limit=10**9))


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    made.services.close()


def save(home: Home, target: Path, **how: Any) -> Manifest:
    return back_up(home.settings, target, say=lambda _text: None, **how)


def restored(target: Path, path: Path, **how: Any) -> Home:
    restore(Settings(home=path), target, say=lambda _text: None, **how)
    return _open(path)


def _open(path: Path, url: str | None = None) -> Home:
    made = Home.__new__(Home)
    made.url, made.services = url, Services(path, url=url)
    made.settings = Settings(home=path, database_url=url)
    return made


def tree(path: Path) -> set[str]:
    return {str(one.relative_to(path)) for one in path.rglob("*") if one.is_file()}


def test_everything_comes_back(home: Home, tmp_path: Path) -> None:
    home.put("a", b"one")
    home.put("b", b"one")
    blocks = [os.urandom(9 * MB), os.urandom(9 * MB)]
    home.big("big", *blocks)
    made = save(home, tmp_path / "target")
    assert (made.database, made.schema, made.objects, made.lost) == ("sqlite", HEAD, 4, [])
    for path in (tmp_path / "target" / "snapshots").rglob("*"):
        assert path.is_dir() or path.name in ("manifest.json", "objects.txt") or path.stat().st_mode & 0o077 == 0, path
    again = restored(tmp_path / "target", tmp_path / "other")
    try:
        assert (again.read("a"), again.read("b"), again.read("big")) == (b"one", b"one", b"".join(blocks))
        assert again.services.key == home.services.key, "the account's key, sealed by the vault's"
        for name in ("ca/ca.key", "credentials", "run/address.json", "keys/vault.key"):
            ours, theirs = tmp_path / "other" / name, home.settings.home / name
            assert ours.read_bytes() == theirs.read_bytes()
            assert ours.stat().st_mode & 0o777 == 0o600
            assert ours.stat().st_mtime_ns == theirs.stat().st_mtime_ns, "the newest signing key is known by its time"
        again.put("a", b"changed there")
        assert home.read("a") == b"one"
    finally:
        again.services.close()


def test_a_second_one_copies_only_what_is_new_and_the_first_stays(home: Home, tmp_path: Path) -> None:
    home.put("a", b"one")
    first = save(home, tmp_path / "target")
    home.put("a", b"two")
    said: list[str] = []
    second = back_up(home.settings, tmp_path / "target", say=said.append)
    assert "Copying 1 of 1 stored objects" in "".join(said)
    assert Target(tmp_path / "target").names() == [first.name, second.name]
    old = restored(tmp_path / "target", tmp_path / "old", snapshot=first.name)
    new = restored(tmp_path / "target", tmp_path / "new")
    assert (old.read("a"), new.read("a")) == (b"one", b"two")
    old.services.close()
    new.services.close()
    third = save(home, tmp_path / "target", keep=1)
    assert Target(tmp_path / "target").names() == [third.name]
    assert len(tree(tmp_path / "target" / "objects")) == 1


def test_an_older_snapshot_stands_though_the_home_has_joined_what_it_lists(home: Home, tmp_path: Path) -> None:
    blocks = [os.urandom(9 * MB), os.urandom(9 * MB)]
    home.big("big", *blocks)
    first = save(home, tmp_path / "target")
    name = asyncio.run(home.services.blobs.properties(home.services.workspace.account, BOX, "big")).sha256
    home.services.objects.local_path(name)
    save(home, tmp_path / "target")
    for number, snapshot in enumerate((first.name, None)):
        again = restored(tmp_path / "target", tmp_path / f"again-{number}", snapshot=snapshot)
        assert again.read("big") == b"".join(blocks)
        again.services.close()


def test_a_list_that_is_joined_while_it_is_copied(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [os.urandom(9 * MB), os.urandom(9 * MB)]
    home.big("big", *blocks)
    name = asyncio.run(home.services.blobs.properties(home.services.workspace.account, BOX, "big")).sha256
    copy = taking._copy_objects

    def joining(*args: Any) -> None:
        home.services.objects.local_path(name)  # as a job does that is staged just now
        copy(*args)

    monkeypatch.setattr(taking, "_copy_objects", joining)
    save(home, tmp_path / "target")
    again = restored(tmp_path / "target", tmp_path / "again")
    assert again.read("big") == b"".join(blocks)
    again.services.close()


def test_an_interrupted_one_never_counts_and_is_gone_on_with(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        home.put(str(number), b"x" * number)
    target, share, copied = tmp_path / "target", taking.share, 0

    def breaking(source: Path, place: Path) -> None:
        nonlocal copied
        if copied == 4:
            raise OSError("the power went")
        copied += 1
        share(source, place)

    monkeypatch.setattr(taking, "share", breaking)
    with pytest.raises(OSError, match="the power went"):
        save(home, target)
    assert Target(target).names() == []
    with pytest.raises(BackupError, match="no whole backup"):
        restored(target, tmp_path / "other")
    assert not (tmp_path / "other").exists() or not any((tmp_path / "other").iterdir())
    monkeypatch.setattr(taking, "share", share)
    said: list[str] = []
    back_up(home.settings, target, say=said.append)
    assert "Copying 6 of 10 stored objects" in "".join(said)
    assert [path.name for path in (target / "snapshots").iterdir()] == Target(target).names()
    again = restored(target, tmp_path / "other")
    assert again.read("9") == b"x" * 9
    again.services.close()


def test_a_backup_while_clients_write_is_one_moment(home: Home, tmp_path: Path) -> None:
    """Each writer puts `n` into `first`, then into `second`: at any moment `second` is at most one behind."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for name in ("first", "second"):
                home.put(name, str(number).encode())

    for name in ("first", "second"):
        home.put(name, b"0")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = [save(home, tmp_path / "target") for _ in range(4)]
    finally:
        stop.set()
        writer.join()
    for number, one in enumerate(made):
        assert one.lost == []
        again = restored(tmp_path / "target", tmp_path / f"again-{number}", snapshot=one.name)
        assert int(again.read("first")) - int(again.read("second")) in (0, 1)
        again.services.close()


def test_nothing_is_collected_while_one_is_taken(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.put("a", b"gone soon")
    share, seen = taking.share, []

    def collecting(source: Path, place: Path) -> None:
        seen.append(asyncio.run(home.services.collector.collect()).held)
        share(source, place)

    monkeypatch.setattr(taking, "share", collecting)
    save(home, tmp_path / "target")
    assert seen == [True]
    assert asyncio.run(home.services.collector.collect()).held is False


def test_where_a_backup_cannot_go(home: Home, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter").write_text("")
    for path, why in (
        (foreign, "not empty"),
        (home.settings.home / "inside", "one another"),
        (tmp_path, "one another"),
    ):
        with pytest.raises(BackupError, match=why):
            save(home, path)
    with pytest.raises(BackupError, match="no home of Zaffre"):
        back_up(Settings(home=tmp_path / "none"), tmp_path / "target")
    target = Target(tmp_path / "target")
    target.prepare()
    with target.alone(), pytest.raises(BackupError, match="Another backup"):
        save(home, tmp_path / "target")
    with pytest.raises(BackupError, match="no folder of backups"):
        restored(foreign, tmp_path / "other")


def test_bytes_the_home_has_lost_are_named(home: Home, tmp_path: Path) -> None:
    home.put("a", b"one")
    home.put("b", b"two")
    name = asyncio.run(home.services.blobs.properties(home.services.workspace.account, BOX, "a")).sha256
    home.services.objects.local_path(name).unlink()
    assert save(home, tmp_path / "target").lost == [name]
    again = restored(tmp_path / "target", tmp_path / "other")
    assert again.read("b") == b"two"
    again.services.close()


def test_a_damaged_backup_is_not_restored(home: Home, tmp_path: Path) -> None:
    home.put("a", b"one")
    made = save(home, tmp_path / "target")
    whole = tmp_path / "whole"
    shutil.copytree(tmp_path / "target", whole)

    def damaged(relative: str, data: bytes | None) -> str:
        copy = tmp_path / "damaged"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        (path,) = copy.glob(relative)
        path.chmod(0o600)
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)
        with pytest.raises(BackupError) as refused:
            restored(copy, tmp_path / "other")
        assert not (tmp_path / "other" / "zaffre.db").exists()
        return str(refused.value)

    snapshot = f"snapshots/{made.name}"
    assert "was damaged" in damaged(f"{snapshot}/database", b"x")
    assert "lacks its file" in damaged(f"{snapshot}/home/credentials", None)
    assert "was damaged" in damaged(f"{snapshot}/objects.txt", b"../../x 1\n")
    assert "missing or damaged" in damaged("objects/*/????????*", b"two")
    assert "missing or damaged" in damaged("objects/*/????????*", None)
    assert "is damaged" in damaged(f"{snapshot}/manifest.json", b"{}")
    assert "has no snapshot" in damaged(f"{snapshot}/manifest.json", None)
    manifest = json.loads((whole / snapshot / "manifest.json").read_bytes())
    newer = json.dumps({**manifest, "schema": "9999"}).encode()
    assert "has schema 9999" in damaged(f"{snapshot}/manifest.json", newer)
    other = json.dumps({**manifest, "database": "postgresql"}).encode()
    assert "set ZAFFRE_DATABASE_URL" in damaged(f"{snapshot}/manifest.json", other)


@pytest.mark.parametrize("name", ["home/{away}", "home//{away}", "{away}", "home/../../{away}", "home/./x"])
def test_a_backup_that_names_files_elsewhere_is_not_restored(home: Home, tmp_path: Path, name: str) -> None:
    """Whoever wrote it: nothing is read or written outside of its folder and the home."""
    made = save(home, tmp_path / "target")
    folder, away = tmp_path / "target" / "snapshots" / made.name, tmp_path / "away"
    path = folder / "manifest.json"
    given = name.format(away=away)
    laid = folder / given
    laid.parent.mkdir(parents=True, exist_ok=True)
    laid.write_text("x")
    manifest = json.loads(path.read_bytes())
    manifest["files"][given] = {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    path.chmod(0o600)
    path.write_text(json.dumps(manifest))
    before = tree(tmp_path)
    with pytest.raises(BackupError, match="no name of a file"):
        restored(tmp_path / "target", tmp_path / "other")
    assert tree(tmp_path) == before


def test_a_home_that_is_not_empty_is_refused_or_put_aside(home: Home, tmp_path: Path) -> None:
    home.put("a", b"one")
    save(home, tmp_path / "target")
    home.put("a", b"two")
    home.services.close()
    with pytest.raises(BackupError, match="is not empty"):
        restored(tmp_path / "target", home.settings.home)
    again = restored(tmp_path / "target", home.settings.home, force=True)
    assert again.read("a") == b"one"
    (aside,) = home.settings.home.glob("replaced-*")
    assert {"zaffre.db", "objects", "keys", "credentials"} <= {path.name for path in aside.iterdir()}
    again.services.close()


@pytest.mark.parametrize("step", ["copy_private", "_place"])
def test_an_interrupted_restore_goes_on(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    home.put("a", b"one")
    save(home, tmp_path / "target")
    real, calls = getattr(restoring, step), 0

    def breaking(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if step == "_place":  # in the middle of it
            for path in list(restoring._leaves(args[1]))[:2]:
                (args[0] / path.relative_to(args[1])).parent.mkdir(exist_ok=True)
                path.rename(args[0] / path.relative_to(args[1]))
            raise OSError("the power went")
        if calls == 3:
            raise OSError("the power went")
        real(*args)

    monkeypatch.setattr(restoring, step, breaking)
    with pytest.raises(OSError, match="the power went"):
        restored(tmp_path / "target", tmp_path / "other")
    assert (tmp_path / "other" / UNFINISHED).exists()
    monkeypatch.setattr(restoring, step, real)
    again = restored(tmp_path / "target", tmp_path / "other")
    assert again.read("a") == b"one"
    assert not (tmp_path / "other" / UNFINISHED).exists()
    again.services.close()


def test_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, other = databases.empty_database(), databases.empty_database()
    monkeypatch.setenv("PATH", f"{databases.programs()}{os.pathsep}{os.environ['PATH']}")
    home = Home(tmp_path / "home", url)
    home.put("a", b"one")
    made = save(home, tmp_path / "target")
    assert (made.database, made.objects) == ("postgresql", 1)
    home.services.close()
    settings = Settings(home=tmp_path / "other", database_url=other)
    restore(settings, tmp_path / "target", say=lambda _text: None)
    again = _open(tmp_path / "other", other)
    assert again.read("a") == b"one"
    again.put("a", b"two")
    again.services.close()
    with pytest.raises(ZaffreError, match="not empty"):
        restore(Settings(home=tmp_path / "third", database_url=other), tmp_path / "target", say=lambda _text: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ZaffreError, match="'pg_dump' is not installed"):
        snapshots.take(url, tmp_path / "dump")


# ---- the first start after a restore


def test_what_ran_on_the_old_machine_is_settled(home: Home) -> None:
    tracking, scope = Tracking(home.services.database), home.services.workspace.id
    states = {
        jobs.NOT_STARTED: jobs.NOT_STARTED,
        jobs.PREPARING: jobs.NOT_STARTED,
        jobs.QUEUED: jobs.NOT_STARTED,
        jobs.STARTING: jobs.FINALIZING,
        jobs.RUNNING: jobs.FINALIZING,
        jobs.CANCEL_REQUESTED: jobs.FINALIZING,
        jobs.FINALIZING: jobs.FINALIZING,
        jobs.COMPLETED: jobs.COMPLETED,
    }

    def make(unit: Unit) -> None:
        experiment = tracking.ensure_experiment(unit, scope, "tests")
        for status in states:
            head = tracking.create_run(
                unit, scope, status, experiment.pk, origin="job", status=status, display_name=status, user="ada"
            )
            jobs.insert(unit, PLATFORM, head.pk, scope, status, "old", {"properties": {"jobType": "Command"}}, {})
            jobs.update(unit, head.pk, plan={"command": "x"})

    home.services.database.write_now(make)
    home.services.database.write_now(lambda unit: _deployment(unit, scope))
    (home.settings.run / "restored").write_text("20260101T000000Z")
    assert asyncio.run(adopt(home.settings, home.services.database, "new"))
    assert not asyncio.run(adopt(home.settings, home.services.database, "new")), "once"
    for status, expected in states.items():
        job = home.services.database.read_now(lambda conn, id_=status: jobs.get(conn, scope, id_))
        assert job is not None
        assert (job.status, job.node) == (expected, "new")
        if expected == jobs.NOT_STARTED:
            assert job.plan is None
        if expected == jobs.FINALIZING:
            canceled = status == jobs.CANCEL_REQUESTED
            assert job.server["outcome"]["status"] == (jobs.CANCELED if canceled else jobs.FAILED)
            assert home.services.settings.jobs.joinpath(scope, status).is_dir()
    (row,) = home.services.database.read_now(
        lambda conn: resource_rows.in_states(conn, "workspaces/onlineEndpoints/deployments", ("Updating",))
    )
    assert row.server == {"slug": "s", "node": "new"}


def _deployment(unit: Unit, scope: str) -> None:
    table = sa.Table("resources", sa.MetaData(), autoload_with=unit.conn)
    values = {
        "scope": scope,
        "type": "workspaces/onlineEndpoints/deployments",
        "parent": "e",
        "name": "blue",
        "name_key": "blue",
        "state": "Succeeded",
        "archived": False,
        "generation": 1,
        "counter": 1,
        "fingerprint": "",
        "body": "{}",
        "server": '{"slug": "s", "current": "s-1", "release": {"plans": []}}',
        "created_at": 0,
        "created_by": "x",
        "created_by_type": "User",
        "modified_at": 0,
        "modified_by": "x",
        "modified_by_type": "User",
    }
    unit.conn.execute(sa.insert(table).values(values))
