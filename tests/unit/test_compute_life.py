"""Compute instances below the wire: their triggers, what a schedule or idleness does, and the end of what runs on them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from tests.support.databases import Clock, database, postgres_url
from zaffre.control.computes import ComputeController
from zaffre.control.slots import Slots
from zaffre.errors import Conflict, InvalidInput
from zaffre.services import kinds, triggers
from zaffre.services.computes import Computes
from zaffre.services.kinds import vm_sizes
from zaffre.services.kinds import workspaces as workspace_kind
from zaffre.services.kinds.computes import TYPE, state
from zaffre.services.tracking import Tracking
from zaffre.services.triggers import Trigger
from zaffre.services.workspaces import Workspace, Workspaces
from zaffre.store import jobs, operations, tables
from zaffre.store.database import Database
from zaffre.store.resources import Row
from zaffre.store.seal import Vault
from zaffre.store.unit import PLATFORM

__all__ = ["database", "postgres_url"]

HOUR = 3_600_000
DAY = 24 * HOUR
BERLIN = ZoneInfo("Europe/Berlin")


def ms(text: str, zone: ZoneInfo = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def shown(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at / 1000, BERLIN).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 18 * * *", "2026-03-10 18:00"),
        ("0 18 * * 1-5", "2026-03-10 18:00"),
        ("0 18 * * SUN", "2026-03-08 18:00"),
        ("0 18 * * 7", "2026-03-08 18:00"),
        ("*/20 * * * *", "2026-03-11 09:20"),
        ("5-15/5 9 * * *", "2026-03-11 09:15"),
        ("0 0 1 * *", "2026-03-01 00:00"),
        ("0 0 1 jan *", None),
        ("0 0 9 * 3", "2026-03-11 00:00"),
        ("30 2 29 3 *", None),
    ],
)
def test_cron_fires(expression: str, expected: str | None) -> None:
    trigger = triggers.cron(expression, "W. Europe Standard Time", None, "f")
    assert shown(trigger.last(ms("2026-02-20T00:00"), ms("2026-03-11T09:30"))) == expected


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "0 parts; expected 5: minute"),
        ("* * * *", "4 parts; expected 5"),
        ("0 * * * * *", "6 parts; expected 5"),
        ("60 * * * *", "Bad minute; expected minute (0-59)"),
        ("* * 0 * *", "Bad day-of-month"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("*/0 * * * *", "Bad minute"),
        ("5-1 * * * *", "Bad minute"),
        ("* a * * *", "Bad hour"),
        ("* * * * FOO", "Bad day-of-week"),
        ("-1 * * * *", "Bad minute"),
        ("9" * 5000 + " * * * *", "expected minute (0-59)"),
    ],
)
def test_what_is_no_cron_expression(expression: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=r"f\.expression") as refused:
        triggers.cron(expression, None, None, "f")
    assert said in refused.value.message and len(refused.value.message) < 500


def fired(trigger: Trigger, day: str) -> list[str]:
    """All that fires on a day in Berlin, as it is found by one who looks every ten minutes, in Berlin and in UTC."""
    begin, end = ms(f"{day}T00:00"), ms(f"{day}T23:59")
    found = (trigger.last(at - 600_000, at) for at in range(begin, end, 600_000))
    return [f"{str(shown(at))[11:]} {datetime.fromtimestamp(at / 1000, UTC):%H:%M}" for at in found if at is not None]


DAILY = {"frequency": "Day", "schedule": {"hours": [2], "minutes": [30]}}


@pytest.mark.parametrize(
    ("given", "spring", "autumn"),
    [
        ("30 2 * * *", ["03:00 01:00"], ["02:30 00:30"]),
        ("30 2,3 * * *", ["03:00 01:00", "03:30 01:30"], ["02:30 00:30", "03:30 02:30"]),
        ("50 1-2 * * *", ["01:50 00:50", "03:00 01:00"], ["01:50 23:50", "02:50 00:50"]),
        ("*/30 2 * * *", [], ["02:00 00:00", "02:30 00:30", "02:00 01:00", "02:30 01:30"]),
        (DAILY, ["03:30 01:30"], ["02:30 00:30"]),
        ({**DAILY, "frequency": "Week", "interval": 3}, ["03:30 01:30"], ["02:30 00:30"]),
        ({**DAILY, "frequency": "Month", "schedule": {**DAILY["schedule"], "monthDays": [25, 29]}}, ["03:30 01:30"], ["02:30 00:30"]),
        ({"frequency": "Hour", "interval": 12}, ["00:00 23:00", "13:00 11:00"], ["01:00 23:00", "12:00 11:00"]),
    ],
)  # fmt: skip
def test_daylight_saving_loses_nothing_and_repeats_nothing(given: Any, spring: list[str], autumn: list[str]) -> None:
    for day, expected in (("2026-03-29", spring), ("2026-10-25", autumn)):
        if isinstance(given, str):
            trigger = triggers.cron(given, "Europe/Berlin", None, "f")
        else:
            trigger = triggers.recurrence(
                {"startTime": "2026-03-08T00:00", "timeZone": "Europe/Berlin", **given}, 0, "f"
            )
        assert fired(trigger, day) == expected


@pytest.mark.parametrize("given", ["30 2 * * *", DAILY])
def test_what_was_missed_is_found_in_the_hour_that_comes_again(given: Any) -> None:
    again = int(datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1).timestamp() * 1000)
    if isinstance(given, str):
        trigger = triggers.cron(given, "Europe/Berlin", None, "f")
    else:
        trigger = triggers.recurrence({"timeZone": "Europe/Berlin", **given}, 0, "f")
    assert trigger.last(again - DAY, again) == again - HOUR // 3 * 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"frequency": "Minute", "interval": 7}, "2026-03-11 09:34"),
        ({"frequency": "Hour", "interval": 5}, "2026-03-11 05:00"),
        ({"frequency": "Day", "interval": 3, "schedule": {"hours": [8, 12], "minutes": [30]}}, "2026-03-11 08:30"),
        ({"frequency": "Week", "schedule": {"hours": [7], "weekDays": ["Monday", "Friday"]}}, "2026-03-09 07:00"),
        ({"frequency": "Week", "interval": 2, "schedule": {"hours": [7], "weekDays": ["Monday"]}}, "2026-03-09 07:00"),
        ({"frequency": "Month", "schedule": {"monthDays": [5], "hours": [0], "minutes": [0]}}, "2026-03-05 00:00"),
        ({"frequency": "Month", "interval": 2}, "2026-03-01 00:00"),
        ({"frequency": "Month", "interval": 2, "startTime": "1926-02-28T00:00:00"}, "2026-02-28 00:00"),
        ({"frequency": "Month", "schedule": {"monthDays": [30, 31], "hours": [0], "minutes": [0]}}, None),
        ({"frequency": "Day", "interval": 3, "startTime": "0001-01-01T05:00:00"}, "2026-03-09 05:00"),
        ({"frequency": "Day", "startTime": "2027-01-01T00:00:00"}, None),
    ],
)
def test_recurrences_fire(given: dict[str, Any], expected: str | None) -> None:
    begin = {"startTime": "2026-01-01T00:00:00", "timeZone": "Europe/Berlin", **given}
    if given["frequency"] in ("Minute", "Hour"):
        begin["startTime"] = "2026-03-11T00:00:00"
    trigger: Trigger = triggers.recurrence(begin, 0, "f")
    assert shown(trigger.last(ms("2026-02-20T00:00"), ms("2026-03-11T09:34"))) == expected


def test_a_month_without_such_a_day_is_refused() -> None:
    given = {"frequency": "Month", "interval": 12, "startTime": "2026-02-01T00:00:00", "schedule": {"monthDays": [30]}}
    with pytest.raises(InvalidInput, match=r"f\.schedule\.monthDays.*expected a day of month 2"):
        triggers.recurrence(given, 0, "f")


@pytest.mark.parametrize("start", ["yesterday", "0001-01-01T00:00:00+12:00", "0001-01-01T00:00:00Z"])
def test_what_is_no_start(start: str) -> None:
    given = {"frequency": "Day", "startTime": start, "timeZone": "America/New_York"}
    with pytest.raises(InvalidInput, match=r"f\.startTime.*ISO 8601"):
        triggers.recurrence(given, 0, "f")


def test_every_zone_of_windows_is_known() -> None:
    for name in triggers._windows():
        assert triggers.zone_of(name, "f").key
    with pytest.raises(InvalidInput, match="no time zone"):
        triggers.zone_of("../../etc/passwd", "f")


class Place:
    """A workspace with an instance `ci`, and the controller that looks after it."""

    def __init__(self, store: Database, folder: Path) -> None:
        vault = Vault(folder / "vault.key")
        self.database = store
        self.kinds = kinds.load()
        self.workspaces = Workspaces(store, vault, "local")
        self.computes = Computes(store, vault, self.kinds, vm_sizes.machine(4, 8, 0))
        self.asked: list[str] = []
        self.controller = ComputeController(self.computes, self.workspaces, self._cancel)
        self.workspace: Workspace

    @property
    def clock(self) -> Clock:
        assert isinstance(self.database.runtime, Clock)
        return self.database.runtime

    async def instance(self, **inner: Any) -> None:
        body = workspace_kind.accept(self.kinds["workspaces"], {})
        self.workspace = await self.workspaces.create(PLATFORM, "s", "g", "ws", body)
        wanted = {"properties": {"computeType": "ComputeInstance", "properties": inner}}
        await self.computes.put(PLATFORM, self.workspace, self.kinds[TYPE], "", "ci", wanted)

    async def row(self) -> Row:
        return await self.computes.get(self.workspace, self.kinds[TYPE], "", "ci")

    async def job(self, name: str, status: str) -> None:
        tracking = Tracking(self.database)

        def work(unit: Any) -> None:
            experiment = tracking.ensure_experiment(unit, self.workspace.id, "e")
            run = tracking.create_run(
                unit, self.workspace.id, name, experiment.pk, origin="job", status=status, display_name="r",
                description=None, user="u", properties={}, tags={},
            )  # fmt: skip
            body = {"properties": {"jobType": "Command", "computeId": f"{self.workspace.path}/computes/CI"}}
            jobs.insert(unit, PLATFORM, run.pk, self.workspace.id, name, "node", body, {})

        await self.database.write(work)

    async def over(self) -> None:
        await self.database.write(lambda unit: unit.conn.execute(sa.update(tables.runs).values(status=jobs.CANCELED)))

    async def _cancel(self, _workspace: Workspace, name: str) -> None:
        self.asked.append(name)


@pytest.fixture
def place(database: Database, tmp_path: Path) -> Place:
    return Place(database, tmp_path)


def test_stopping_ends_what_runs(place: Place) -> None:
    async def go() -> None:
        await place.instance()
        await place.job("one", jobs.RUNNING)
        assert (await place.row()).server["live"]["running"] == 1
        operation = await place.computes.power(PLATFORM, place.workspace, "ci", "stop")
        with pytest.raises(Conflict, match="Stopping"):
            await place.computes.power(PLATFORM, place.workspace, "ci", "start")
        assert await place.controller.once() is not None and place.asked == ["one"]
        assert state(await place.row()) == "Stopping"
        # The server dies here; another one looks at the row and goes on.
        await place.over()
        again = ComputeController(place.computes, place.workspaces, place._cancel)
        assert await again.once() is None and state(await place.row()) == "Stopped"
        found = await place.database.read(lambda conn: operations.get(conn, place.workspace.id, operation))
        assert found is not None and found.status == operations.SUCCEEDED
        await place.computes.power(PLATFORM, place.workspace, "ci", "start")
        assert state(await place.row()) == "Running"
        await place.computes.power(PLATFORM, place.workspace, "ci", "restart")
        assert state(await place.row()) == "Restarting"
        await again.once()
        assert state(await place.row()) == "Running"

    asyncio.run(go())


def test_an_idle_instance_stops_and_a_busy_one_does_not(place: Place) -> None:
    async def go() -> None:
        await place.instance(idleTimeBeforeShutdown="PT30M")
        await place.job("one", jobs.RUNNING)
        place.clock.time += HOUR
        await place.controller.once()
        assert state(await place.row()) == "Running"
        await place.over()
        place.clock.time += HOUR // 4
        await place.controller.once()
        assert state(await place.row()) == "Running"
        place.clock.time += HOUR // 2
        await place.controller.once()
        await place.controller.once()
        row = await place.row()
        assert state(row) == "Stopped" and row.server["last"]["trigger"] == "IdleShutdown"
        await place.computes.power(PLATFORM, place.workspace, "ci", "start")
        await place.controller.once()
        assert state(await place.row()) == "Running"

    asyncio.run(go())


def test_schedules_stop_and_start_and_are_made_up_for(place: Place) -> None:
    at = {"timeZone": "UTC"}
    stop = {"action": "Stop", "triggerType": "Cron", "cron": {"expression": "0 18 * * *", **at}}
    start = {"action": "Start", "triggerType": "Cron", "cron": {"expression": "0 8 * * *", **at}}
    off = {"action": "Stop", "triggerType": "Cron", "status": "Disabled", "cron": {"expression": "* * * * *"}}

    async def look() -> str:
        await place.controller.once()
        await place.controller.once()
        return state(await place.row())

    async def go() -> None:
        place.clock.time = ms("2026-03-10T20:00", ZoneInfo("UTC"))
        await place.instance(schedules={"computeStartStop": [stop, start, off]})
        assert await look() == "Running"  # what was due before it was there is not made up for
        place.clock.time += 22 * HOUR + 60_000
        assert await look() == "Stopped"
        assert (await place.row()).server["last"]["trigger"] == "Schedule"
        await place.computes.power(PLATFORM, place.workspace, "ci", "start")
        assert await look() == "Running"  # who starts it by hand after that is not overruled
        place.clock.time += 2 * DAY  # the server was away; the last of what it missed counts
        assert await look() == "Stopped"
        place.clock.time += 14 * HOUR
        assert await look() == "Running"

    asyncio.run(go())


def test_a_cluster_that_grows_takes_who_waits() -> None:
    async def go() -> None:
        slots = Slots()
        await slots.acquire("c", 1, 1)
        waiting = asyncio.create_task(slots.acquire("c", 2, 1))
        await asyncio.sleep(0)
        assert not waiting.done() and slots.awaited() == ["c"]
        await slots.resize("c", 2)
        await asyncio.wait_for(waiting, 10)
        assert slots.awaited() == []

    asyncio.run(go())


def test_sizes_are_told_as_they_are() -> None:
    here = vm_sizes.machine(4, 16, 0)
    assert vm_sizes.note("Standard_DS3_v2", here) is None and vm_sizes.note("zaffre_machine", here) is None
    assert "not known" in str(vm_sizes.note("My_Size", here)) and "1 GPUs" in str(vm_sizes.note("standard_nc6", here))
    for size in vm_sizes.table().values():
        assert size.vcpus > 0 and size.memory_gb > 0 and size.family and bool(size.gpu) == (size.gpus > 0)
