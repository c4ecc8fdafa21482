"""What a search asks for, as parsed: conditions that must all hold, and an order. One meaning, in SQL and in Python."""

from __future__ import annotations

import operator
import re
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
    """`entity` is attribute, metric, param or tag; `op` is in capitals. IN has a tuple as value, IS NULL has None."""

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
    parts = ({"%": ".*", "_": "."}.get(letter, re.escape(letter)) for letter in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL | (re.IGNORECASE if ignore_case else 0)) is not None
