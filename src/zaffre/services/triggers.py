"""When a trigger fires: cron expressions and recurrences of Azure ML, on the wall clock of their time zone.

A minute either fits a trigger or not. So an hour that daylight saving skips never fires, and one that it repeats fires
twice; what is done at a time must bear that.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from zaffre.errors import InvalidInput

MINUTE_MS = 60_000
FREQUENCIES = ("Minute", "Hour", "Day", "Week", "Month")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CRON_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

Fits = Callable[[datetime], bool]


class Trigger(msgspec.Struct, frozen=True):
    """`fits` is asked with a time of `zone`, whole minutes; nothing fires before `start` (milliseconds)."""

    zone: ZoneInfo
    fits: Fits
    start: int | None = None

    def last(self, after: int, until: int) -> int | None:
        """The last time it fired behind `after` and not behind `until`, in milliseconds."""
        first = max(after + 1, self.start or 0)
        at = until - until % MINUTE_MS
        while at >= first:
            if self.fits(datetime.fromtimestamp(at / 1000, self.zone)):
                return at
            at -= MINUTE_MS
        return None


def cron(expression: str, zone: str | None, start: str | None, field: str) -> Trigger:
    """Five parts: minute, hour, day of the month, month, day of the week. Raises InvalidInput that names `field`."""
    parts = expression.split()
    if len(parts) != 5:
        raise invalid(f"{field}.expression", f"'{expression[:100]}' has {len(parts)} parts; expected 5")
    try:
        minutes, hours = _part(parts[0], 0, 59), _part(parts[1], 0, 23)
        days, months = _part(parts[2], 1, 31), _part(parts[3], 1, 12, _MONTHS, 1)
        weekdays = {day % 7 for day in _part(parts[4], 0, 7, _CRON_DAYS)}
    except ValueError as error:
        raise invalid(f"{field}.expression", f"'{expression[:100]}': {error}") from None
    either = parts[2] != "*" and parts[4] != "*"  # cron's own rule: with both given, one of them is enough

    def fits(at: datetime) -> bool:
        if at.minute not in minutes or at.hour not in hours or at.month not in months:
            return False
        day, weekday = at.day in days, (at.weekday() + 1) % 7 in weekdays
        return day or weekday if either else day and weekday

    found = zone_of(zone, f"{field}.timeZone")
    return Trigger(found, fits, _moment(start, found, f"{field}.startTime"))


def recurrence(given: dict[str, Any], created: int, field: str) -> Trigger:
    """Every `interval` of `frequency` from the start on (`created` where none is given), at the times of `schedule`."""
    zone = zone_of(given.get("timeZone"), f"{field}.timeZone")
    began = _moment(given.get("startTime"), zone, f"{field}.startTime")
    origin = datetime.fromtimestamp((created if began is None else began) / 1000, zone).replace(second=0, microsecond=0)
    every, frequency = int(given.get("interval") or 1), given["frequency"]
    schedule = given.get("schedule") or {}
    hours = schedule.get("hours") or [origin.hour]
    minutes = schedule.get("minutes") or [origin.minute]
    weekdays = [WEEKDAYS.index(day) for day in schedule.get("weekDays") or ()] or [origin.weekday()]
    days = schedule.get("monthDays") or [origin.day]

    def fits(at: datetime) -> bool:
        if frequency in ("Minute", "Hour"):
            passed = int((at - origin).total_seconds() // 60)
            return passed >= 0 and passed % (every * (60 if frequency == "Hour" else 1)) == 0
        if at.minute not in minutes or at.hour not in hours:
            return False
        if frequency == "Day":
            return (at.date() - origin.date()).days % every == 0
        if frequency == "Week":
            monday, first = (one.date() - timedelta(days=one.weekday()) for one in (at, origin))
            return at.weekday() in weekdays and (monday - first).days // 7 % every == 0
        return at.day in days and ((at.year - origin.year) * 12 + at.month - origin.month) % every == 0

    return Trigger(zone, fits, began)


def zone_of(name: str | None, field: str) -> ZoneInfo:
    """The zone by its name in the IANA database or in Windows. Raises InvalidInput for one that is in neither."""
    given = name or "UTC"
    try:
        return ZoneInfo(_windows().get(given.lower(), given))
    except (KeyError, ValueError, OSError):
        raise invalid(field, f"'{given[:100]}' is the name of no time zone, neither IANA's nor Windows'") from None


@functools.cache
def _windows() -> dict[str, str]:
    text = resources.files(__package__).joinpath("windows_zones.csv").read_text()
    return {row["windows"].lower(): row["iana"] for row in csv.DictReader(text.splitlines())}


def _part(text: str, least: int, most: int, names: tuple[str, ...] = (), offset: int = 0) -> set[int]:
    """The values that one part of an expression names. Raises ValueError."""
    found: set[int] = set()
    for piece in text.split(","):
        span, slash, step = piece.partition("/")
        low, dash, high = span.partition("-")
        if slash and (not _number(step) or int(step) < 1):
            raise ValueError(f"'{piece}' has no step")
        first = least if span == "*" else _value(low, names, offset)
        last = most if span == "*" or (slash and not dash) else _value(high if dash else low, names, offset)
        if not least <= first <= last <= most:
            raise ValueError(f"'{piece}' is not within {least} to {most}")
        found.update(range(first, last + 1, int(step) if slash else 1))
    return found


def _value(text: str, names: tuple[str, ...], offset: int) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + offset
    if not _number(text):
        raise ValueError(f"'{text}' is no number")
    return int(text)


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 4


def _moment(text: str | None, zone: ZoneInfo, field: str) -> int | None:
    """Milliseconds of a time; one without an offset is one of the zone."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise invalid(field, f"'{text[:100]}' is not an ISO 8601 time") from None


def invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"Field '{field}': {message}.", code="InvalidField", target=field)
