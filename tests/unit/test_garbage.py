"""Garbage: what goes, what stays, and that a look removes nothing."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.blob_server import Services
from zaffre.cli import gc as command
from zaffre.control.garbage import DAY_MS, Garbage
from zaffre.control.maintenance import BODIES_KEPT_S, Maintenance
from zaffre.execution.environments import cleanup
from zaffre.execution.environments.builder import READY
from zaffre.execution.environments.overlay import overlay
from zaffre.execution.files import remove_tree
from zaffre.services.tracking import Tracking
from zaffre.store import jobs, tables
from zaffre.store.unit import PLATFORM, Unit

OLD = 40


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = Services(tmp_path)
    yield made
    made.close()


def garbage(services: Services) -> Garbage:
    return Garbage(services.settings, services.database, services.collector)


@pytest.mark.parametrize(
    ("status", "stored", "kept"),
    [(jobs.RUNNING, False, True), (jobs.COMPLETED, True, False), (jobs.FAILED, False, True)],
)
def test_job_folders(services: Services, status: str, stored: bool, kept: bool) -> None:
    tracking, scope = Tracking(services.database), services.workspace.id
    body: dict[str, Any] = {"properties": {"jobType": "Command"}}

    def make(unit: Unit) -> None:
        experiment = tracking.ensure_experiment(unit, scope, "tests")
        head = tracking.create_run(
            unit, scope, "job", experiment.pk, origin="job", status=status, display_name="job", user="ada"
        )
        jobs.insert(unit, PLATFORM, head.pk, scope, "job", "node", body, {})
        jobs.update(unit, head.pk, logs_stored=stored)

    services.database.write_now(make)
    for name in ("job", "deleted"):
        (services.settings.jobs / scope / name).mkdir(parents=True)
    look = asyncio.run(garbage(services).collect(dry_run=True))
    assert look.job_folders == [f"{scope}/{name}" for name in ("deleted", "job") if name == "deleted" or not kept]
    assert (services.settings.jobs / scope / "deleted").exists()
    assert asyncio.run(garbage(services).collect()).job_folders == look.job_folders
    assert (services.settings.jobs / scope / "job").exists() is kept
    assert not (services.settings.jobs / scope / "deleted").exists()


def test_no_failure_ends_the_chores(services: Services) -> None:
    done: list[str] = []

    async def fails() -> None:
        raise RuntimeError("a bug")

    fake: Any = SimpleNamespace(collect=fails, tend=lambda: bool(done.append("keys")))
    asyncio.run(Maintenance(services.settings, services.database, fake, fake).once())
    assert done == ["keys"]


def test_what_a_killed_nginx_left_of_uploads_goes(services: Services) -> None:
    folder = services.settings.kept_bodies
    assert folder is not None
    quiet: Any = SimpleNamespace(collect=_nothing, tend=lambda: False)
    chores = Maintenance(services.settings, services.database, quiet, quiet)
    asyncio.run(chores.once())  # nothing was ever uploaded
    folder.mkdir(parents=True)
    for name, age_s in (("0000000001", BODIES_KEPT_S + 60), ("0000000002", 60)):
        (folder / name).write_bytes(b"half of it")
        then = time.time() - age_s
        os.utime(folder / name, (then, then))
    asyncio.run(chores.once())
    assert [path.name for path in folder.iterdir()] == ["0000000002"]


async def _nothing() -> None:
    """Nothing is collected."""


def test_a_job_of_the_same_name_may_begin_meanwhile(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = services.settings.jobs / services.workspace.id / "again"
    folder.mkdir(parents=True)
    (folder / "old").write_text("of the job that is gone")

    def slow(path: Path) -> None:
        folder.mkdir(exist_ok=True)  # the new job's controller begins while the old folder is being removed
        (folder / "new").write_text("of the job that begins")
        remove_tree(path)

    monkeypatch.setattr("zaffre.control.garbage.remove_tree", slow)
    asyncio.run(garbage(services).remove_job_folders())
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [path.name for path in folder.parent.iterdir()] == ["again"]


def environment(home: Path, letter: str, days: int, *, ready: bool = True) -> Path:
    """A folder as the builder leaves it, last used so many days ago."""
    folder = home / "environments" / (letter * 64)
    site = folder / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to("/usr/bin/env")
    (folder / "pyvenv.cfg").write_text("")
    (site / "module.py").write_text("x = 1")
    if ready:
        (folder / READY).write_text("{}")
    for path in (folder / READY, folder) if ready else (folder,):
        at = path.stat().st_mtime - days * 86400
        os.utime(path, (at, at))
    for path in (site, folder):
        path.chmod(0o500)
    return folder


def test_environments_nobody_has_used_for_long(services: Services) -> None:
    home = services.settings.home
    folders = {letter: environment(home, letter, OLD, ready=letter != "e") for letter in "abcde"}
    fresh = environment(home, "f", 1)
    thin = overlay(folders["b"] / "bin" / "python", services.settings.jobs / "scope" / "job" / "venv")
    assert thin.exists()
    _deployment(services, f'{{"plan": {{"interpreter": "{folders["c"]}/bin/python"}}}}')

    assert cleanup.needed_by_jobs(services.settings.jobs) == {"b" * 64}
    work = garbage(services)

    async def collect(**how: Any) -> list[str]:
        return [one.key[0] for one in (await work.collect(**how)).environments]

    async def both() -> None:
        assert await collect() == [], "environments go only when somebody says after how many days"
        # The job is over, so its folder goes first, and with it what needed the environment.
        assert await collect(environments_days=OLD + 1) == []
        with (home / "environments" / f"{'d' * 64}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert await collect(dry_run=True, environments_days=30) == ["a", "b", "d", "e"]
            assert folders["a"].exists()
            assert await collect(environments_days=30) == ["a", "b", "e"], "the one that is being built stays"
        assert await collect(environments_days=30) == ["d"]

    asyncio.run(both())
    assert [letter for letter, folder in folders.items() if folder.exists()] == ["c"]
    assert fresh.exists()


def test_one_that_was_just_asked_for_stays(services: Services) -> None:
    home = services.settings.home
    folder = environment(home, "a", OLD)
    before = services.clock.now() - 30 * DAY_MS
    assert [one.key for one in cleanup.unused(home, before, set())] == ["a" * 64]
    os.utime(folder / READY)
    assert not cleanup.remove(home, "a" * 64, before)
    assert folder.exists()


def test_a_removal_that_was_cut_short_is_finished(services: Services) -> None:
    home = services.settings.home
    environment(home, "a", OLD)
    environment(home, "b", OLD)
    root = home / "environments"
    (root / ("b" * 64)).chmod(0o700)
    (root / ("b" * 64)).rename(root / f".removing-{'b' * 64}")
    assert cleanup.remove(home, "a" * 64, services.clock.now())
    assert [path.name for path in root.iterdir()] == [f"{'a' * 64}.lock"]


def _deployment(services: Services, server: str) -> None:
    values = {
        "scope": services.workspace.id,
        "type": "workspaces/onlineEndpoints/deployments",
        "parent": "e",
        "name": "blue",
        "name_key": "blue",
        "body": "{}",
        "server": server,
        "created_at": 0,
        "created_by": "x",
        "created_by_type": "User",
        "modified_at": 0,
        "modified_by": "x",
        "modified_by_type": "User",
    }
    services.database.write_now(lambda unit: unit.conn.execute(sa.insert(tables.resources).values(values)))


def test_the_report_for_people() -> None:
    report: dict[str, Any] = {
        "dryRun": False,
        "bytes": {
            "deleted": 1,
            "deletedBytes": 1500,
            "waiting": 2,
            "waitingBytes": 5,
            "expiredBlocks": 3,
            "held": False,
        },
        "jobFolders": ["w/j"],
        "environments": [{"key": "a" * 64, "size": 2_500_000_000, "used": 0}],
    }
    assert command.lines(report, 60) == [
        "Removed 1 stored object (1.5 kB).",
        "  2 objects (5 bytes) must wait: they go once nothing has referred to them for 60 minutes.",
        "Removed 3 blocks of uploads that nobody finished in a week.",
        "Removed 1 folder of jobs that are over or deleted:",
        "  w/j",
        "Removed 1 environment (2.5 GB):",
        "  aaaaaaaaaaaa  2.5 GB, last used on 1970-01-01",
    ]
    report["bytes"]["held"] = True
    assert "a backup runs" in command.lines(report, 60)[1]
