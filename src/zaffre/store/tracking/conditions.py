"""What a search asks for, as parsed: conditions that must all hold, and an order. One meaning, in SQL and in Python."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import msgspec

Value = str | int | float | tuple[str, ...] | None

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Condition(msgspec.Struct, frozen=True):
    """`entity` is attribute, metric, param, tag or dataset; of traces also metadata, span, span_attribute, an assessment's kind.

    `op` is in capitals. IN has a tuple as value, IS NULL has None.
    """

    entity: str
    key: str
    op: str
    value: Value


class Order(msgspec.Struct, frozen=True):
    entity: str
    key: str
    descending: bool = False


def holds(condition: Condition, value: Any) -> bool:
    """Whether the condition is true of a value; an absent one satisfies IS NULL only, as in SQL."""
    if condition.op == "IS NULL":
        return value is None
    if condition.op == "IS NOT NULL":
        return value is not None
    if value is None:
        return False
    wanted: Any = condition.value
    if condition.op in ("IN", "NOT IN"):
        return (value in wanted) is (condition.op == "IN")
    if condition.op in ("LIKE", "ILIKE"):
        return like(wanted, str(value), ignore_case=condition.op == "ILIKE")
    return bool(COMPARE[condition.op](value, wanted))


def like(pattern: str, text: str, *, ignore_case: bool) -> bool:
    """SQL's LIKE. The time it takes grows with the lengths only, whatever the pattern."""
    if ignore_case:
        pattern, text = pattern.lower(), text.lower()
    first, *rest = pattern.split("%")
    if not rest:
        return len(first) == len(text) and _fits(first, text, 0)
    *middle, last = rest
    if not _fits(first, text, 0):
        return False
    at = len(first)
    for part in middle:
        found = _find(part, text, at)
        if found is None:
            return False
        at = found + len(part)
    end = len(text) - len(last)
    return end >= at and _fits(last, text, end)


def _find(part: str, text: str, start: int) -> int | None:
    if "_" not in part:
        found = text.find(part, start)
        return None if found < 0 else found
    return next((at for at in range(start, len(text) - len(part) + 1) if _fits(part, text, at)), None)


def _fits(part: str, text: str, at: int) -> bool:
    """Whether the letters of `part` stand at that place; `_` is any letter."""
    if "_" not in part:
        return text.startswith(part, at)
    return at + len(part) <= len(text) and all(one in ("_", text[at + index]) for index, one in enumerate(part))
