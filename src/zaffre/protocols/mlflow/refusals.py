"""What MLflow's clients read when a request is refused at the door: MLflow's own words, with the field and what it held.

Requests are decoded in one step that knows nothing of words. Only when it fails, the request is looked at again, here.
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import Any, TypeVar

import msgspec

from zaffre.errors import InvalidInput
from zaffre.protocols.mlflow.requests import NAME_PATTERN

T = TypeVar("T")

_SEE = "See the API docs for more information about request parameters."
_NAME_CHARACTERS = "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/)."
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_MISSING = re.compile(r"Object missing required field `(.+)`")
_TOO_SHORT = re.compile(r"Expected `\w+` of length >= 1")
_TOO_LONG = re.compile(r"Expected `(\w+)` of length <= (\d+)")
_BOUND = re.compile(r"Expected `\w+` (<=|>=) (\S+)")
_NAME_REFUSED = f"Expected `str` matching regex {NAME_PATTERN!r}"
_SECRET = re.compile("secret|password", re.IGNORECASE)
# Each null takes another look at the whole request.
_MOST_NULLS, _MOST_NULLS_OF_LARGE, _SMALL = 100, 4, 64 * 1024
_MOST_SHOWN = 300  # letters of a value, which may be megabytes
_ABSENT = object()


def second_look(document: Any, type_: type[T], size: int = 0) -> T:
    """Decode what was refused as protobuf's JSON would: a field that is null is not there. Raises InvalidInput.

    `document` is the request as plain JSON, of `size` bytes; very old clients sent it as a text that holds JSON.
    """
    if isinstance(document, str):
        try:
            document = msgspec.json.decode(document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidInput("The body is a text that holds no JSON object.") from None
    most = _MOST_NULLS if size <= _SMALL else _MOST_NULLS_OF_LARGE
    for _ in range(most):
        try:
            return msgspec.convert(document, type_, strict=False)
        except msgspec.ValidationError as error:
            if not _drop_null(document, _where(error)):
                raise refusal(error, document) from None
    raise InvalidInput(f"The request holds {most} fields that are null, or more; leave them out.")


def missing(field: str) -> InvalidInput:
    return InvalidInput(f"Missing value for required parameter '{field}'. {_SEE}", code="InvalidField", target=field)


def invalid(field: str, value: object, why: str = "") -> InvalidInput:
    """`value` is shown, but for the values of secrets."""
    shown = "" if _SECRET.search(field) else f"{_shown(value)} "
    return InvalidInput(
        f"Invalid value {shown}for parameter '{field}' supplied{': ' if why else '.'}{why}",
        code="InvalidField",
        target=field,
    )


def refusal(error: msgspec.ValidationError, document: Any) -> InvalidInput:
    """msgspec's complaint about `document` in MLflow's words."""
    text = str(error).rpartition(" - at `$")[0] or str(error)
    steps = _where(error)
    field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
    if match := _MISSING.fullmatch(text):
        return missing(f"{field}.{match[1]}" if field else match[1])
    value = _value(document, steps)
    if not field or value is _ABSENT:
        return InvalidInput(f"The request: {text.replace('`', chr(39))}.", code="InvalidField", target=field or None)
    if value is None or _TOO_SHORT.fullmatch(text):
        return missing(field)
    if match := _TOO_LONG.fullmatch(text):
        return _too_long(field, match[1], int(match[2]), value)
    if match := _BOUND.fullmatch(text):
        return invalid(field, value, f"It must be at {'most' if match[1] == '<=' else 'least'} {match[2]}")
    if text == _NAME_REFUSED:
        metric = "timestamp" in _value(document, steps[:-1])  # whose key MLflow calls its name here
        return invalid(f"{field.removesuffix('key')}name" if metric else field, value, _bad_name(value))
    return invalid(field, value, f"{_hint(value)} {_SEE}")


def _bad_name(name: str) -> str:
    if not re.fullmatch(r"[/\w.\- :]+", name):
        return _NAME_CHARACTERS
    return (
        "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. "
        f"This name would resolve to {posixpath.normpath(name)!r}"
    )


def _too_long(field: str, what: str, limit: int, value: Any) -> InvalidInput:
    text = f"'{field}' exceeds the maximum length of {limit} characters"
    if what == "array":
        text = f"'{field}' takes at most {limit} entries. Got {len(value)}."
    return InvalidInput(text, code="InvalidField", target=field)


def _hint(value: object) -> str:
    return f"Hint: Value was of type '{type(value).__name__}'."


def _shown(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _where(error: msgspec.ValidationError) -> list[str | int]:
    """The steps from the top of the document to where the complaint is; empty where msgspec does not say."""
    path = str(error).rpartition(" - at `$")[2].rstrip("`") if " - at `$" in str(error) else ""
    return [int(index) if index else name for name, index in _STEP.findall(path)]


def _value(document: Any, steps: list[str | int]) -> Any:
    for step in steps:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return document


def _drop_null(document: Any, steps: list[str | int]) -> bool:
    if not steps or _value(document, steps) is not None:
        return False
    holder = _value(document, steps[:-1])
    if not isinstance(holder, dict):
        return False
    del holder[steps[-1]]
    return True
