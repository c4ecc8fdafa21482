"""The run history's `$filter`: OData comparisons of a run's fields, joined by `and`, `or`, `not` and parentheses."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from zaffre.errors import InvalidInput
from zaffre.runtime import iso
from zaffre.store.tracking.records import Run

Wanted = Callable[[Run], bool]
LONGEST = 4096
_DEEPEST = 20
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<mark>[()])|(?P<word>[A-Za-z_][^\s()']*)|(?P<number>-?\d+(?:\.\d+)?)(?![\w.]))"
)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_FIELDS: dict[str, Callable[[Run], Any]] = {
    "runid": lambda run: run.head.id,
    "status": lambda run: run.head.status.lower(),
    "displayname": lambda run: run.head.display_name,
    "name": lambda run: run.head.display_name,
    "description": lambda run: run.head.description,
    "experimentname": lambda run: run.head.experiment_name,
    "experimentid": lambda run: run.head.experiment_id,
    "parentrunid": lambda run: run.head.parent,
    "rootrunid": lambda run: run.head.root,
    "userid": lambda run: run.head.user,
    "hidden": lambda run: run.head.archived,
    "runtype": lambda run: run_type(run),
    "createdutc": lambda run: iso(run.head.created_at),
    "starttimeutc": lambda run: None if run.head.started_at is None else iso(run.head.started_at),
    "endtimeutc": lambda run: None if run.head.ended_at is None else iso(run.head.ended_at),
}
_LOWER = ("status", "runtype")  # words of the contract, which clients spell as they like


def run_type(run: Run) -> str:
    """What made the run, in the history's words."""
    return "azureml.scriptrun" if run.head.origin == "job" else "mlflow.run"


def parse(text: str | None) -> Wanted:
    """Whether a run is asked for. Raises InvalidInput that says where the filter cannot be read."""
    if not text or not text.strip():
        return lambda _run: True
    if len(text) > LONGEST:
        raise _bad(f"it is {len(text)} characters long; at most {LONGEST} are read")
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise _bad(f"it cannot be read at '{text[position : position + 30].strip()}'")
            kind = match.lastgroup or ""
            self._tokens.append((kind, match[kind]))
            position = match.end()
        self._at = 0

    def whole(self) -> Wanted:
        found = self._either(0)
        if self._at < len(self._tokens):
            raise _bad(f"nothing was expected at '{self._tokens[self._at][1][:30]}'")
        return found

    def _either(self, depth: int) -> Wanted:
        parts = [self._both(depth)]
        while self._word("or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else lambda run: any(part(run) for part in parts)

    def _both(self, depth: int) -> Wanted:
        parts = [self._term(depth)]
        while self._word("and"):
            parts.append(self._term(depth))
        return parts[0] if len(parts) == 1 else lambda run: all(part(run) for part in parts)

    def _term(self, depth: int) -> Wanted:
        if depth > _DEEPEST:
            raise _bad("it is nested too deeply")
        if self._word("not"):
            inner = self._term(depth + 1)
            return lambda run: not inner(run)
        kind, text = self._next("a comparison")
        if (kind, text) == ("mark", "("):
            found = self._either(depth + 1)
            if self._next("')'") != ("mark", ")"):
                raise _bad("a ')' is missing")
            return found
        if kind != "word":
            raise _bad(f"expected a field, got '{text[:30]}'")
        return self._comparison(text)

    def _comparison(self, name: str) -> Wanted:
        field, lower = _field(name)
        kind, word = self._next("a comparison")
        compare = _COMPARISONS.get(word.lower()) if kind == "word" else None
        if compare is None:
            raise _bad(f"'{word[:30]}' is not one of {', '.join(_COMPARISONS)}")
        value = self._value()
        if lower and isinstance(value, str):
            value = value.lower()
        same = compare in (operator.eq, operator.ne)

        def holds(run: Run) -> bool:
            held = field(run)
            return compare(held, value) if same or type(held) is type(value) else False

        return holds

    def _value(self) -> str | float | bool | None:
        kind, text = self._next("a value")
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind == "number":
            return float(text)
        if kind == "word" and text.lower() in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text.lower()]
        raise _bad(f"expected a text in single quotes, a number, true, false or null, got '{text[:30]}'")

    def _word(self, word: str) -> bool:
        """Whether the next token is `word`; if so, it is taken."""
        kind, text = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        found = kind == "word" and text.lower() == word
        self._at += found
        return found

    def _next(self, what: str) -> tuple[str, str]:
        if self._at == len(self._tokens):
            raise _bad(f"it ends where {what} was expected")
        self._at += 1
        return self._tokens[self._at - 1]


def _field(name: str) -> tuple[Callable[[Run], Any], bool]:
    group, _, key = name.partition("/")
    if key and group.lower() in ("tags", "properties"):
        if group.lower() == "tags":
            return (lambda run: run.tags.get(key)), False
        return (lambda run: run.head.properties.get(key)), False
    if name.lower() not in _FIELDS:
        known = ", ".join((*_FIELDS, "tags/<key>", "properties/<key>"))
        raise _bad(f"there is no field '{name[:50]}'; there are {known}")
    return _FIELDS[name.lower()], name.lower() in _LOWER


def _bad(what: str) -> InvalidInput:
    return InvalidInput(f"Query '$filter': {what}.", code="InvalidField", target="$filter")
