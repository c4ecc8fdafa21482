"""When a trigger fires: cron expressions and recurrences of Azure ML, on the wall clock of their time zone.

cronsim and dateutil count; both are loaded by the first trigger. Around daylight saving no time is lost and none fires
twice: one that the clock skips fires after the gap, one that it shows twice fires the first time. Only what comes every
so many minutes or hours goes on by the time that passes (in cron: a `*` at the minute or the hour).
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from zaffre.errors import InvalidInput

FREQUENCIES = ("Minute", "Hour", "Day", "Week", "Month")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_CRON_PARTS = "minute (0-59), hour (0-23), day of month (1-31), month (1-12, JAN-DEC), day of week (0-7, SUN-SAT)"
_DAY = timedelta(days=1)
"""More than any clock is put forward or back."""

Times = Callable[[datetime, datetime], Iterable[datetime]]


class Trigger(msgspec.Struct, frozen=True):
    """`times` gives those between two times of `zone`, latest first, and may give some before and behind them; nothing
    fires before `start` (milliseconds)."""

    zone: ZoneInfo
    times: Times
    start: int | None = None

    def last(self, after: int, until: int) -> int | None:
        """The last time it fired behind `after` and not behind `until`, in milliseconds."""
        first = after + 1 if self.start is None else max(after + 1, self.start)
        if first > until:
            return None
        for time in self.times(*(datetime.fromtimestamp(at / 1000, self.zone) for at in (first, until))):
            at = int(time.timestamp()) * 1000
            if at <= until:
                return at if at >= first else None
        return None


def cron(expression: str, zone: str | None, start: str | None, field: str) -> Trigger:
    """Five parts, read as Debian's cron reads them. Raises InvalidInput that names `field`."""
    from cronsim import CronSim, CronSimError

    shown, parts = expression[:100], len(expression.split())
    if parts != 5:
        raise invalid(f"{field}.expression", f"'{shown}' has {parts} parts; expected 5: {_CRON_PARTS}")
    try:
        CronSim(expression, datetime.now(UTC))
    except (CronSimError, ValueError) as error:
        raise invalid(f"{field}.expression", f"'{shown}': {error}; expected {_CRON_PARTS}") from None

    def times(_first: datetime, until: datetime) -> Iterator[datetime]:
        # It counts back on the wall clock. In an hour that the clock shows for the second time, that misses what fired
        # in the first one behind the present minute; so begin where the hour is over.
        again = _offset(until.replace(fold=0)) - _offset(until)
        return CronSim(expression, until + again + timedelta.resolution, reverse=True)

    found = zone_of(zone, f"{field}.timeZone")
    return Trigger(found, times, _moment(start, found, f"{field}.startTime"))


def recurrence(given: dict[str, Any], created: int, field: str) -> Trigger:
    """Every `interval` of `frequency` from the start on (`created` where none is given), at the times of `schedule`."""
    zone = zone_of(given.get("timeZone"), f"{field}.timeZone")
    began = _moment(given.get("startTime"), zone, f"{field}.startTime")
    start = created if began is None else began
    origin = datetime.fromtimestamp(start / 1000, zone).replace(second=0, microsecond=0)
    every, frequency = int(given.get("interval") or 1), given["frequency"]
    if frequency in ("Minute", "Hour"):
        step = timedelta(minutes=every) if frequency == "Minute" else timedelta(hours=every)
        return Trigger(zone, functools.partial(_steps, origin.astimezone(UTC), step), start)
    times = _calendar(origin.replace(tzinfo=None), frequency, every, given.get("schedule") or {}, f"{field}.schedule")
    return Trigger(zone, times, start)


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


def _steps(origin: datetime, step: timedelta, _first: datetime, until: datetime) -> Iterable[datetime]:
    """What comes by the time that passes, whatever a clock shows."""
    return [origin + (until - origin) // step * step]


def _calendar(origin: datetime, frequency: str, every: int, schedule: dict[str, Any], field: str) -> Times:
    """The days of a calendar and their times, counted without a zone. A time that the zone skips is put forward by as
    much as the clock is (RFC 5545)."""
    from dateutil.relativedelta import relativedelta
    from dateutil.rrule import DAILY, MONTHLY, WEEKLY, rrule

    base = origin.replace(hour=0, minute=0)
    weekdays = days = None
    if frequency == "Week":
        base -= _DAY * base.weekday()
        weekdays = [WEEKDAYS.index(day) for day in schedule.get("weekDays") or ()] or [origin.weekday()]
    elif frequency == "Month":
        base = base.replace(day=1)
        days = schedule.get("monthDays") or [origin.day]
    rule = rrule(
        MONTHLY if frequency == "Month" else WEEKLY if frequency == "Week" else DAILY,
        dtstart=base,
        interval=every,
        byhour=schedule.get("hours") or [origin.hour],
        byminute=schedule.get("minutes") or [origin.minute],
        bysecond=0,
        byweekday=weekdays,
        bymonthday=days,
    )
    if days and next(iter(rule), None) is None:
        raise invalid(f"{field}.monthDays", f"{days} is in no month it comes to; expected a day of month {base.month}")

    def times(first: datetime, until: datetime) -> Iterable[datetime]:
        begin = first.replace(tzinfo=None) - _DAY
        if frequency == "Month":  # whole intervals are skipped, for the rule would count from its start on each time
            months = (begin.year - base.year) * 12 + begin.month - base.month
            since = base + relativedelta(months=months // every * every)
        else:
            step = every * (_DAY if frequency == "Day" else 7 * _DAY)
            since = base + (begin - base) // step * step
        found = rule.replace(dtstart=since, until=until.replace(tzinfo=None) + _DAY)
        return sorted((at.replace(tzinfo=first.tzinfo) for at in found), key=datetime.timestamp, reverse=True)

    return times


def _offset(at: datetime) -> timedelta:
    return at.utcoffset() or timedelta()


def _moment(text: str | None, zone: ZoneInfo, field: str) -> int | None:
    """Milliseconds of a time; one without an offset is one of the zone."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
        return int(at.astimezone(zone).timestamp() * 1000)  # the zone may have no such year
    except (ValueError, OverflowError):
        raise invalid(field, f"'{text[:100]}' is not an ISO 8601 time") from None


def invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"Field '{field}': {message}.", code="InvalidField", target=field)
