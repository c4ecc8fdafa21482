"""Maintenance: a job's folder goes when its files are stored, and not before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.blob_server import Services
from zaffre.control.maintenance import Maintenance
from zaffre.services.tracking import Tracking
from zaffre.store import jobs
from zaffre.store.unit import PLATFORM, Unit


@pytest.mark.parametrize(
    ("status", "stored", "kept"),
    [(jobs.RUNNING, False, True), (jobs.COMPLETED, True, False), (jobs.FAILED, False, True)],
)
def test_job_folders(tmp_path: Path, status: str, stored: bool, kept: bool) -> None:
    services = Services(tmp_path)
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
    asyncio.run(Maintenance(services.settings, services.database, services.blobs, services.tokens).remove_job_folders())
    assert (services.settings.jobs / scope / "job").exists() is kept
    assert not (services.settings.jobs / scope / "deleted").exists()
    services.close()
