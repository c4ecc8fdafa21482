"""Semantic versions (semver.org, 2.0.0), and a text that sorts as they do in any database."""

from __future__ import annotations

import semver

from zaffre.errors import refused

LONGEST = 128
_LARGEST = 2**31 - 1
_RELEASE = "2"


def precedence(version: str, field: str) -> str:
    """Digits only, so that no collation sorts them in its own way; what has the same precedence has the same text.

    Major, minor and patch have ten digits each. A release follows its pre-releases; of their identifiers, numbers come before
    words and are as long as their first three digits say, words are three digits a letter and end with what no letter is.
    Raises InvalidInput that names `field` for what is no semantic version.
    """
    # The library takes the digits of every script.
    if not version.isascii() or len(version) > LONGEST:
        raise _bad(version, field)
    try:
        parsed = semver.Version.parse(version)
    except ValueError:
        raise _bad(version, field) from None
    core = (parsed.major, parsed.minor, parsed.patch)
    if max(core) > _LARGEST:
        raise _bad(version, field)
    behind = _RELEASE if parsed.prerelease is None else "".join(map(_identifier, parsed.prerelease.split(".")))
    return "".join(f"{number:010d}" for number in core) + behind


def _identifier(text: str) -> str:
    if text.isdigit():
        return f"0{len(text):03d}{text}"
    return "1" + "".join(f"{ord(letter):03d}" for letter in text) + "000"


def _bad(version: str, field: str) -> Exception:
    return refused(field, f"Invalid semantic version for {field}: '{version[:LONGEST]}'")
