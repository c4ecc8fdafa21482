"""Objects made of others: what a committed block list becomes without a byte being copied.

A list of parts is a small file in a folder of its own, named by the BLAKE2 of its text: nobody can upload bytes whose
SHA-256 is such a name, so the two kinds of names never meet. A part is a range of an object of bytes, never of another
list. A list may be replaced by a shorter one of the same name once its parts have been joined to one object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from zaffre.errors import ZaffreError

JOINED_BELOW = 16 * 1024 * 1024
"""What is smaller as a whole is copied to one object: it costs less than a list does for ever."""
SMALLEST_MEAN = 256 * 1024
"""Parts that are smaller than this on average are copied, too: each costs a reader an open file."""


class Part(msgspec.Struct, frozen=True, array_like=True):
    """`size` bytes of an object, from `start` on."""

    sha256: str
    start: int
    size: int


def name_of(parts: Sequence[Part]) -> str:
    """64 hexadecimal digits, as a SHA-256 has."""
    return hashlib.blake2s(encode(parts), digest_size=32, person=b"zfparts1").hexdigest()


def encode(parts: Sequence[Part]) -> bytes:
    return msgspec.json.encode(parts)


def decode(text: bytes) -> list[Part]:
    return msgspec.json.decode(text, type=list[Part])


def read(path: Path) -> list[Part] | None:
    """The list in a file; None when there is no such file."""
    try:
        return decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ZaffreError(f"The list of parts {path} is damaged: {error}. Restore it from a backup.") from None


def merged(parts: Iterable[Part]) -> list[Part]:
    """The same bytes in as few parts as possible; empty ones are left out."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if last is not None and last.sha256 == part.sha256 and last.start + last.size == part.start:
            found[-1] = Part(last.sha256, last.start, last.size + part.size)
        elif part.size:
            found.append(part)
    return found


def within(parts: Iterable[Part], start: int, end: int | None) -> list[Part]:
    """The ranges that make up the bytes from `start` up to but not including `end` of all the parts together."""
    found: list[Part] = []
    position = 0
    for part in parts:
        first = max(start - position, 0)
        last = part.size if end is None else min(end - position, part.size)
        if first < last:
            found.append(Part(part.sha256, part.start + first, last - first))
        position += part.size
    return found


def total(parts: Iterable[Part]) -> int:
    return sum(part.size for part in parts)


def worth_a_list(parts: Sequence[Part]) -> bool:
    """Whether to keep these as a list instead of copying their bytes to one object."""
    size = total(parts)
    return size >= JOINED_BELOW and size >= SMALLEST_MEAN * len(parts)
