"""Protobuf's enumerations in JSON: a name, or its number, where 0 is nothing that was said."""

from __future__ import annotations

from collections.abc import Sequence

from zaffre.errors import InvalidInput


def word(given: str | int, field: str, words: Sequence[str]) -> str:
    """The name meant; `words` are numbered from 1. Raises InvalidInput that names the field and them."""
    found = word_if_said(given, field, words)
    if found is None:
        raise _refused(given, field, words)
    return found


def word_if_said(given: str | int, field: str, words: Sequence[str]) -> str | None:
    """The same, and None for 0 or an `…_UNSPECIFIED`."""
    text = str(given)
    if text in words:
        return text
    if text == "0" or text.endswith("_UNSPECIFIED"):
        return None
    if text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= len(words):
        return words[int(text) - 1]
    raise _refused(given, field, words)


def _refused(given: str | int, field: str, words: Sequence[str]) -> InvalidInput:
    return InvalidInput(
        f"`{field}` must be one of {', '.join(words)}; got '{str(given)[:50]}'.", code="InvalidField", target=field
    )
