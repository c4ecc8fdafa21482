"""MLflow's search language: comparisons joined by AND, and what to order by. Parsed here, whatever is searched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from zaffre.errors import InvalidInput
from zaffre.store import regex
from zaffre.store.tracking.conditions import Condition, Order, holds

T = TypeVar("T")

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>(?:'[^']*')+|(?:"[^"]*")+)
    |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])
    |(?P<op>[=!<>~]+)
    |(?P<mark>[(),])
    |(?P<word>(?:[^\s'"`=!<>~(),;]|`[^`]*`|(?<=\.)"[^"]*"|(?<=\.)'[^']*')+)
    )""",
    re.VERBOSE,
)
_ENTITIES = {
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("parameter", "parameters", "param", "params"), "param"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("dataset", "datasets"), "dataset"),
    **dict.fromkeys(("request_metadata", "metadata", "trace_metadata"), "metadata"),
    **{name: name for name in ("span", "feedback", "expectation", "issue")},
    "trace": "attribute",
}
_LABELS = ("param", "tag", "metadata", "feedback", "expectation")  # of which one may have none
_SPAN_KEYS = ("name", "type", "status", "content")
_SPAN_ATTRIBUTE = "attributes."
_JUDGED = ("feedback", "expectation")  # which may be numbers, and are compared as such where one is more or less
_ORDERED = ("<", "<=", ">", ">=")
_NUMBERS = ("=", "!=", *_ORDERED)
_WORD_OPERATORS = frozenset({"LIKE", "ILIKE", "RLIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"})
_TEXTS = ("=", "!=", "LIKE", "ILIKE")
_LISTS = ("IN", "NOT IN")
_NULLS = ("IS NULL", "IS NOT NULL")
_DATASET_KEYS = ("name", "digest", "context")
_Token = tuple[str, str]

# What a database takes in one statement is far more; what a person writes is far less.
MOST_CONDITIONS = 100
MOST_IN_PATTERN = 10_000  # letters


@dataclass(frozen=True)
class Grammar:
    """What can be searched: the attributes by every name they go by, which are numbers, and the other entities."""

    attributes: dict[str, str]
    numbers: frozenset[str]
    entities: frozenset[str]
    others: dict[str, tuple[str, str]] = field(default_factory=dict)  # what attributes are another name for
    regular: bool = False  # whether texts are compared with regular expressions
    ordered: frozenset[str] = frozenset()  # texts that may be more or less than another, and are no patterns


RUNS = Grammar(
    attributes={
        **{
            name: name for name in ("run_id", "run_name", "status", "start_time", "end_time", "user_id", "artifact_uri")
        },
        **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name"),
        **dict.fromkeys(("created", "Created"), "start_time"),
    },
    numbers=frozenset({"start_time", "end_time"}),
    entities=frozenset({"metric", "param", "tag", "dataset"}),
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
TRACES = Grammar(
    attributes={
        **dict.fromkeys(("request_id", "trace_id", "id"), "trace_id"),
        **dict.fromkeys(("timestamp", "timestamp_ms", "request_time"), "request_time"),
        **dict.fromkeys(("execution_time", "execution_time_ms", "execution_duration"), "execution_duration"),
        **dict.fromkeys(("end_time", "end_time_ms"), "end_time"),
        **dict.fromkeys(("status", "state"), "state"),
        **{name: name for name in ("client_request_id", "name", "run_id", "prompt", "experiment_id")},
    },
    numbers=frozenset({"request_time", "execution_duration", "end_time"}),
    entities=frozenset({"tag", "metadata", "span", "feedback", "expectation", "issue"}),
    others={"text": ("span", "content")},
    regular=True,
)
ISSUES = Grammar(
    attributes={name: name for name in ("status", "source_run_id")}, numbers=frozenset(), entities=frozenset()
)
_TIMES = {name: name for name in ("created_at", "last_updated_at")}
MCP_SERVERS = Grammar(
    attributes={**{name: name for name in ("name", "display_name", "status", "has_access_endpoints")}, **_TIMES},
    numbers=frozenset(_TIMES),
    entities=frozenset({"tag"}),
)
MCP_VERSIONS = Grammar(
    attributes={**{name: name for name in ("name", "version", "status")}, **_TIMES},
    numbers=frozenset(_TIMES),
    entities=frozenset(),
    ordered=frozenset({"version"}),
)
MCP_ENDPOINTS = Grammar(
    attributes={**{name: name for name in ("id", "server_name", "transport_type", "status")}, **_TIMES},
    numbers=frozenset(_TIMES),
    entities=frozenset(),
)
_ONLY_SEARCHED = frozenset({"span", "feedback", "expectation", "issue"})
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
        joint = tokens.pop(0)[1]
        if joint.upper() != "AND" or not tokens:
            _fail("filter", f"Invalid clause(s) in filter string: '{joint[:100]}'; comparisons are joined by AND")
        found.append(_comparison(tokens, grammar))
    if len(found) > MOST_CONDITIONS:
        _fail("filter", f"It has {len(found)} comparisons; at most {MOST_CONDITIONS} are taken")
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


def equality(text: str, where: str) -> tuple[str, str]:
    """The name and the text of one `name = 'text'`. Raises InvalidInput for anything else."""
    tokens = _tokens(text, where)
    if not tokens or tokens[0][0] != "word":
        _fail(where, f"Invalid comparison clause. Expected 'Identifier' found '{text[:100]}'")
    name = tokens.pop(0)[1]
    op = tokens.pop(0)[1] if tokens else "nothing"
    if op != "=":
        _fail(where, f"Invalid comparator: '{op[:100]}', only '=' operator is supported")
    value = _text(tokens, "filter", name, where)
    if tokens:
        _fail(where, f"Invalid filter: '{text[:100]}'. Expected one filter clause")
    return name, value


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
        _fail("filter", f"Invalid comparison clause. Expected 'Identifier' found '{text[:100]}'")
    if not tokens:
        _fail("filter", f"Invalid clause(s) in filter string: '{text[:100]}' is not followed by a comparison")
    entity, key = _identifier(text, grammar, "filter")
    op = _operator(tokens, text)
    numeric = entity == "metric" or (entity == "attribute" and key in grammar.numbers)
    if op in _NULLS:
        if entity not in _LABELS:
            _fail("filter", f"IS NULL / IS NOT NULL is only supported for tags and params, not for {entity} '{key}'")
        return Condition(entity, key, op, None)
    takes: tuple[str, ...] = _NUMBERS if numeric else _TEXTS
    if entity in ("attribute", "dataset", "span", "span_attribute") and not numeric:
        takes += _LISTS
    if entity == "attribute" and key in grammar.ordered:
        takes = _NUMBERS
    if grammar.regular and not numeric:
        takes += ("RLIKE",)
    if entity in _JUDGED:
        takes += _ORDERED
    if entity == "issue":
        takes = ("=",)
    if (entity, key) == ("span", "content"):
        takes = ("LIKE", "ILIKE")
    if op not in takes and entity == "span":
        _fail("filter", f"span.{key} comparator '{op}' not one of {', '.join(takes)}")
    if op not in takes:
        _fail("filter", f"Invalid comparator '{op}' for {entity} '{key[:100]}', not one of {', '.join(takes)}")
    if op in _LISTS:
        return Condition(entity, key, op, _list(tokens, entity, key))
    numeric = numeric or (entity in _JUDGED and op in _ORDERED)
    value = _number(tokens, entity, key) if numeric else _text(tokens, entity, key)
    if op == "RLIKE":
        try:
            regex.check(str(value))
        except ValueError as error:
            _fail("filter", f"The regular expression for {entity} '{key[:100]}' is not taken: {error}")
    if op in ("LIKE", "ILIKE") and len(str(value)) > MOST_IN_PATTERN:
        _fail("filter", f"The pattern for {entity} '{key[:100]}' is longer than {MOST_IN_PATTERN} characters")
    return Condition(entity, key, op, value)


def _operator(tokens: list[_Token], name: str) -> str:
    if tokens and tokens[0][0] == "op":
        return tokens.pop(0)[1]
    for length in (1, 2, 3):
        words = " ".join(text.upper() for kind, text in tokens[:length] if kind == "word")
        if words in _WORD_OPERATORS:
            del tokens[:length]
            return words
    return _fail("filter", f"Invalid clause(s) in filter string: '{name[:100]}' is not followed by a comparison")


def _number(tokens: list[_Token], entity: str, key: str) -> float | int:
    kind, text = tokens.pop(0) if tokens else ("", "nothing")
    if kind != "number":
        _fail("filter", f"Expected numeric value type for {_long(entity, key)}. Found {text[:100]}")
    return int(text) if re.fullmatch(r"[-+]?\d{1,18}", text) else float(text)


def _text(tokens: list[_Token], entity: str, key: str, where: str = "filter") -> str:
    kind, text = tokens.pop(0) if tokens else ("", "nothing")
    if kind == "word":
        _fail(
            where,
            f"The value for {entity} '{key[:100]}' is either not quoted or unidentified quote types used for string "
            f"value {text[:100]}. Use either single or double quotes",
        )
    if kind != "string":
        _fail(where, f"Expected a quoted string value for {_long(entity, key)} (e.g. 'my-value'). Got value {text}")
    return text[1:-1].replace(text[0] * 2, text[0])


def _long(entity: str, key: str) -> str:
    return f"attributes: '{key[:100]}'" if entity == "attribute" else f"{entity} '{key[:100]}'"


def _list(tokens: list[_Token], entity: str, key: str) -> tuple[str, ...]:
    values: list[str] = []
    if not tokens or tokens.pop(0)[1] != "(":
        _fail("filter", f"Expected a list in parentheses for {entity} '{key}'")
    while True:
        values.append(_text(tokens, entity, key))
        mark = tokens.pop(0)[1] if tokens else ""
        if mark == ")":
            return tuple(values)
        if mark != ",":
            _fail("filter", f"The list for {entity} '{key}' is not closed by a parenthesis")


def _identifier(text: str, grammar: Grammar, where: str) -> tuple[str, str]:
    head, dot, rest = text.partition(".")
    if text[0] in "'\"":  # quoted as a whole, as nothing but an attribute is
        head, dot, rest = "", "", text
    if not dot:
        entity, key = "attribute", bare(text)
    elif bare(head) in _ENTITIES:
        entity, key = _ENTITIES[bare(head)], bare(rest)
    else:
        valid = ", ".join(sorted({"attribute", *grammar.entities}))
        _fail(where, f"Invalid entity type '{bare(head)[:100]}'. Valid values are {valid}")
    if entity == "attribute" and key in grammar.others and where == "filter":
        return grammar.others[key]
    if entity == "attribute":
        if key not in grammar.attributes:
            _fail(where, f"Invalid attribute key '{key[:100]}' specified. Valid keys are {_names(grammar.attributes)}")
        return entity, grammar.attributes[key]
    if entity not in grammar.entities or (entity == "dataset" and where == "order_by"):
        _fail(where, f"Invalid entity type '{bare(head)[:100]}'; it cannot be searched here")
    if entity == "dataset" and key not in _DATASET_KEYS:
        _fail(where, f"Invalid dataset key '{key[:100]}' specified. Valid keys are {', '.join(_DATASET_KEYS)}")
    if entity == "span" and where == "filter" and key.startswith(_SPAN_ATTRIBUTE):
        name = bare(key.removeprefix(_SPAN_ATTRIBUTE))
        if not name or '"' in name or "\\" in name:
            _fail(where, f"'{text[:100]}' names no attribute that can be searched by")
        return "span_attribute", name
    if entity == "span" and key not in _SPAN_KEYS:
        _fail(
            where,
            f"Invalid span attribute '{key[:100]}'. Supported attributes: name, status, type, attributes.<attribute_name>",
        )
    if entity == "issue" and key != "id":
        _fail(where, f"Invalid issue attribute '{key[:100]}'. Supported attributes: id")
    if entity in _ONLY_SEARCHED and where == "order_by":
        _fail(where, f"Invalid entity type '{bare(head)[:100]}'; nothing is ordered by it")
    if not key:
        _fail(where, f"'{text[:100]}' names no {entity}")
    return entity, key


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))


def bare(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "`\"'" else text


def _tokens(text: str, where: str) -> list[_Token]:
    found: list[_Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            rest = text[at:].strip()
            if rest.startswith(";"):
                _fail(where, "Search filter contained multiple expression. Join them by AND")
            _fail(where, f"Invalid clause(s) in filter string: '{rest[:40]}' was not understood")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _fail(where: str, what: str) -> NoReturn:
    raise InvalidInput(f"Field '{where}': {what}.", code="InvalidField", target=where)
