"""Regular expressions of clients. RE2 matches them in a time that grows with the text alone, whatever the expression.

SQLite has no engine of its own and calls this one (`SQL_NAME`). PostgreSQL uses its own, with what RE2 has taken only: no
references back, which is what an engine can be kept busy with. Loaded by the first expression.
"""

from __future__ import annotations

import functools
from typing import Any

LONGEST = 1000  # letters
SQL_NAME = "zf_matches"
_MEMORY = 1 << 20  # bytes, for an expression and its automaton
_IN_POSTGRES = {"b": "y", "B": "Y", "z": "Z"}


def check(pattern: str) -> None:
    """Raises ValueError that says what is wrong with it."""
    if len(pattern) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    _compiled(pattern)


def matches(pattern: str, text: object) -> bool | None:
    """Whether the expression is found anywhere in the text. A point is any character, an end of line too."""
    return None if text is None else _compiled(pattern).search(str(text)) is not None


def for_postgres(pattern: str) -> str:
    """The same in PostgreSQL's words, where they differ: the edges of a word and the end of a text."""
    made, at, listed = "", 0, False
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\" and at + 1 < len(pattern):
            following = pattern[at + 1]
            made += letter + (following if listed else _IN_POSTGRES.get(following, following))
            at += 2
            continue
        listed = letter == "[" or (listed and letter != "]")
        made += letter
        at += 1
    return made


@functools.lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.max_mem, options.dot_nl, options.log_errors = _MEMORY, True, False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        told = error.args[0]
        raise ValueError(told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)) from None
