"""JSON for the few small documents the launcher reads and writes.

The standard `json` module imports `re` and `enum`, which doubles the start of the interpreter (30 of 60 ms measured).
Its own scanner and string encoder in C need neither; where a Python has no such parts, `json` itself is used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is never imported: 20 ms
if TYPE_CHECKING:
    from typing import Any


class _Strict:
    """What the C scanner asks of its decoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner's own contract


def decode(text: str) -> Any:
    """The value of a JSON text; ValueError where it is not one."""
    text = text.strip()
    try:
        from _json import make_scanner

        value, end = make_scanner(_Strict)(text, 0)  # type: ignore[arg-type,unused-ignore]
    except StopIteration:
        raise ValueError("not JSON: " + text[:80]) from None
    except (ImportError, AttributeError, TypeError):
        import json

        return json.loads(text)
    if end != len(text):
        raise ValueError("not one JSON value: " + text[:80])
    return value


def encode(value: Any) -> str:
    """A value of dicts, lists, strings, numbers, booleans and None as JSON on one line."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ",".join(_string(str(k)) + ":" + encode(v) for k, v in value.items()) + "}"
    return "[" + ",".join(encode(item) for item in value) + "]"


def _string(value: str) -> str:
    try:
        from _json import encode_basestring_ascii
    except ImportError:
        from json.encoder import encode_basestring_ascii
    encoded: str = encode_basestring_ascii(value)
    return encoded
