"""The times at which a compute instance is started and stopped by itself."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from zaffre.services import triggers
from zaffre.services.kinds.base import Document, check, spelled
from zaffre.services.triggers import FREQUENCIES, WEEKDAYS, Trigger


class Times(msgspec.Struct, rename="camel", kw_only=True):
    hours: list[int] | None = None
    minutes: list[int] | None = None
    week_days: list[str] | None = None
    month_days: list[int] | None = None


class Recurrence(msgspec.Struct, rename="camel", kw_only=True):
    frequency: str
    interval: int = 1
    start_time: str | None = None
    time_zone: str | None = None
    schedule: Times | None = None


class Cron(msgspec.Struct, rename="camel", kw_only=True):
    expression: str
    start_time: str | None = None
    time_zone: str | None = None


class StartStop(msgspec.Struct, rename="camel", kw_only=True):
    action: str
    trigger_type: str
    status: str | None = None
    recurrence: Recurrence | None = None
    cron: Cron | None = None


class Schedules(msgspec.Struct, rename="camel", kw_only=True):
    compute_start_stop: list[StartStop] | None = None


def complete(given: Document, field: str) -> Document:
    """As they are kept: spelled as in the contract, each with an id. Raises InvalidInput that names the field at fault."""
    check(given, Schedules, field)
    kept = []
    for number, one in enumerate(given.get("computeStartStop") or ()):
        where = f"{field}.computeStartStop[{number}]"
        made: Document = {
            "action": spelled(one["action"], ("Start", "Stop"), f"{where}.action"),
            "status": spelled(one.get("status") or "Enabled", ("Enabled", "Disabled"), f"{where}.status"),
            "triggerType": spelled(one["triggerType"], ("Recurrence", "Cron"), f"{where}.triggerType"),
        }
        part = "cron" if made["triggerType"] == "Cron" else "recurrence"
        made[part] = _complete(one.get(part), part, f"{where}.{part}")
        trigger(made, 0, f"{where}.{part}")
        digest = hashlib.sha256(msgspec.json.encode([number, made], order="deterministic")).hexdigest()
        kept.append({"id": digest[:16], "provisioningStatus": "Completed", **made})
    return {"computeStartStop": kept}


def enabled(properties: Document) -> list[Document]:
    """Those of an instance's schedules that shall fire."""
    found = (properties.get("schedules") or {}).get("computeStartStop") or []
    return [one for one in found if one["status"] == "Enabled"]


def trigger(schedule: Document, created: int, field: str = "schedule") -> Trigger:
    """When a kept schedule fires; `created` is its start where it names none."""
    if schedule["triggerType"] == "Cron":
        given = schedule["cron"]
        return triggers.cron(given["expression"], given.get("timeZone"), given.get("startTime"), field)
    return triggers.recurrence(schedule["recurrence"], created, field)


def _complete(given: Any, part: str, field: str) -> Document:
    # The SDK says the type of the trigger inside as well, where the contract has no place for it.
    kept = {name: value for name, value in (given or {}).items() if value is not None and name != "triggerType"}
    check(kept, Cron if part == "cron" else Recurrence, field)
    if part == "cron":
        return kept
    kept["frequency"] = spelled(kept["frequency"], FREQUENCIES, f"{field}.frequency")
    kept["interval"] = _within([kept.get("interval", 1)], 1, 1000, f"{field}.interval")[0]
    times = {name: value for name, value in (kept.get("schedule") or {}).items() if value is not None}
    for name, least, most in (("hours", 0, 23), ("minutes", 0, 59), ("monthDays", 1, 31)):
        if name in times:
            _within(times[name], least, most, f"{field}.schedule.{name}")
    if "weekDays" in times:
        times["weekDays"] = [spelled(day, WEEKDAYS, f"{field}.schedule.weekDays") for day in times["weekDays"]]
    if times:
        kept["schedule"] = times
    return kept


def _within(values: list[int], least: int, most: int, field: str) -> list[int]:
    for value in values:
        if not least <= value <= most:
            raise triggers.invalid(field, f"{value} is not within {least} to {most}")
    return values
