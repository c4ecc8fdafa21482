"""MLflow's search language: comparisons joined by AND, and what to order by. Parsed here, whatever is searched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from zaffre.errors import InvalidInput, NotServed
from zaffre.store.tracking.conditions import Condition, Order, holds

T = TypeVar("T")

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>'[^']*'|"[^"]*")
    |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])
    |(?P<op>!=|>=|<=|=|<|>)
    |(?P<mark>[(),])
    |(?P<word>(?:[^\s'"`=!<>(),]|`[^`]*`|(?<=\.)"[^"]*")+)
    )""",
    re.VERBOSE,
)
_ENTITIES = {
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("parameter", "parameters", "param", "params"), "param"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("dataset", "datasets"), "dataset"),
}
_NUMBERS = frozenset({"=", "!=", "<", "<=", ">", ">="})
_WORD_OPERATORS = frozenset({"LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"})
_TEXTS = frozenset({"=", "!=", "LIKE", "ILIKE"})
_Token = tuple[str, str]


@dataclass(frozen=True)
class Grammar:
    """What can be searched: the attributes by every name they go by, which are numbers, and the other entities."""

    attributes: dict[str, str]
    numbers: frozenset[str]
    entities: frozenset[str]
    orders: frozenset[str] = field(default=frozenset())


RUNS = Grammar(
    attributes={
        **{name: name for name in ("run_id", "run_name", "status", "start_time", "end_time", "user_id")},
        **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name"),
        **dict.fromkeys(("created", "Created"), "start_time"),
    },
    numbers=frozenset({"start_time", "end_time"}),
    entities=frozenset({"metric", "param", "tag"}),
)
EXPERIMENTS = Grammar(
    attributes={name: name for name in ("name", "experiment_id", "creation_time", "last_update_time")},
    numbers=frozenset({"creation_time", "last_update_time"}),
    entities=frozenset({"tag"}),
)
LOGGED_MODELS = Grammar(
    attributes={
        **{name: name for name in ("name", "model_id", "model_type", "status", "source_run_id")},
        **dict.fromkeys(("creation_timestamp", "creation_time", "creation_timestamp_ms"), "creation_timestamp"),
        **dict.fromkeys(
            ("last_updated_timestamp", "last_updated_time", "last_updated_timestamp_ms"), "last_updated_timestamp"
        ),
    },
    numbers=frozenset({"creation_timestamp", "last_updated_timestamp"}),
    entities=frozenset({"metric", "param", "tag"}),
)
REGISTERED_MODELS = Grammar(
    attributes={
        **{name: name for name in ("name", "creation_timestamp", "last_updated_timestamp")},
        "timestamp": "last_updated_timestamp",
    },
    numbers=frozenset({"creation_timestamp", "last_updated_timestamp"}),
    entities=frozenset({"tag"}),
)
MODEL_VERSIONS = Grammar(
    attributes={
        name: name
        for name in (
            "name", "version_number", "run_id", "source_path", "creation_timestamp", "last_updated_timestamp",
        )
    },
    numbers=frozenset({"version_number", "creation_timestamp", "last_updated_timestamp"}),
    entities=frozenset({"tag"}),
)  # fmt: skip


def parse(text: str | None, grammar: Grammar) -> list[Condition]:
    """The conditions of a filter. Raises InvalidInput that names what was not understood, and where."""
    tokens = _tokens(text or "", "filter")
    if not tokens:
        return []
    found = [_comparison(tokens, grammar)]
    while tokens:
        if tokens.pop(0)[1].upper() != "AND" or not tokens:
            _fail("filter", f"'{text}': one comparison follows another only with AND between them")
        found.append(_comparison(tokens, grammar))
    return found


def parse_order(orders: Iterable[str], grammar: Grammar) -> list[Order]:
    """What to order by, most important first. Raises InvalidInput that names what was not understood."""
    found: list[Order] = []
    for text in orders:
        match = re.fullmatch(r"\s*(.+?)(?:\s+(ASC|DESC))?\s*", text, re.IGNORECASE | re.DOTALL)
        if match is None:
            _fail("order_by", "an empty text names nothing to order by")
        entity, key = _identifier(match[1], grammar, "order_by")
        found.append(Order(entity, key, descending=(match[2] or "").upper() == "DESC"))
    return found


def select(
    rows: Iterable[T], conditions: Sequence[Condition], orders: Sequence[Order], value: Callable[[T, str, str], Any]
) -> list[T]:
    """Filter and sort in Python; `value` answers (row, entity, key). Absent values come last, whichever way."""
    found = [row for row in rows if all(holds(one, value(row, one.entity, one.key)) for one in conditions)]
    for order in reversed(orders):
        present = [row for row in found if value(row, order.entity, order.key) is not None]
        absent = [row for row in found if value(row, order.entity, order.key) is None]
        present.sort(key=lambda row, by=order: value(row, by.entity, by.key), reverse=order.descending)  # type: ignore[misc]
        found = present + absent
    return found


def _comparison(tokens: list[_Token], grammar: Grammar) -> Condition:
    kind, text = tokens.pop(0)
    if kind not in ("word", "string"):
        _fail("filter", f"expected the name of something to compare, found '{text}'")
    entity, key = _identifier(text, grammar, "filter")
    op = _operator(tokens, text)
    numeric = entity == "metric" or (entity == "attribute" and key in grammar.numbers)
    if op in ("IS NULL", "IS NOT NULL"):
        if entity not in ("param", "tag"):
            _fail("filter", f"'{text}': {op} can only be asked of params and tags")
        return Condition(entity, key, op, None)
    if op in ("IN", "NOT IN"):
        if entity != "attribute" or numeric:
            _fail("filter", f"'{text}': {op} can only be asked of attributes that are texts")
        return Condition(entity, key, op, _list(tokens, text))
    if op not in (_NUMBERS if numeric else _TEXTS):
        _fail("filter", f"'{text}' cannot be compared by {op}")
    return Condition(entity, key, op, _value(tokens, text, numeric=numeric))


def _operator(tokens: list[_Token], name: str) -> str:
    if tokens and tokens[0][0] == "op":
        return tokens.pop(0)[1]
    for length in (1, 2, 3):
        words = " ".join(text.upper() for kind, text in tokens[:length] if kind == "word")
        if words in _WORD_OPERATORS:
            del tokens[:length]
            return words
    return _fail("filter", f"'{name}' is not followed by a comparison")


def _value(tokens: list[_Token], name: str, *, numeric: bool) -> str | float | int:
    kind, text = tokens.pop(0) if tokens else ("", "nothing")
    if numeric:
        if kind != "number":
            _fail("filter", f"'{name}' is a number and can't be compared with {text}")
        return int(text) if re.fullmatch(r"[-+]?\d{1,18}", text) else float(text)
    if kind != "string":
        _fail("filter", f"'{name}' is a text; put quotes around {text}")
    return text[1:-1]


def _list(tokens: list[_Token], name: str) -> tuple[str, ...]:
    values: list[str] = []
    if not tokens or tokens.pop(0)[1] != "(":
        _fail("filter", f"'{name}': IN wants a list in parentheses")
    while True:
        values.append(str(_value(tokens, name, numeric=False)))
        mark = tokens.pop(0)[1] if tokens else ""
        if mark == ")":
            return tuple(values)
        if mark != ",":
            _fail("filter", f"'{name}': the list is not closed by a parenthesis")


def _identifier(text: str, grammar: Grammar, where: str) -> tuple[str, str]:
    head, dot, rest = text.partition(".")
    if dot and _bare(head) in _ENTITIES:
        entity, key = _ENTITIES[_bare(head)], _bare(rest)
    else:
        entity, key = "attribute", _bare(text)
    if entity == "dataset":
        raise NotServed(f"Field '{where}': searching by datasets is not served yet.", target=where)
    if entity == "attribute":
        if key not in grammar.attributes:
            _fail(where, f"'{key[:100]}' is not one of {', '.join(sorted(set(grammar.attributes)))}")
        return entity, grammar.attributes[key]
    if entity not in grammar.entities or not key:
        _fail(where, f"'{text[:100]}' cannot be searched here")
    return entity, key


def _bare(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "`\"'" else text


def _tokens(text: str, where: str) -> list[_Token]:
    found: list[_Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            _fail(where, f"'{text[at : at + 40].strip()}' was not understood")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _fail(where: str, what: str) -> NoReturn:
    raise InvalidInput(f"Field '{where}': {what}.", code="InvalidField", target=where)
