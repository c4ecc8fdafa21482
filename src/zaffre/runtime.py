"""Clock, ids and random numbers, as one object that `application.py` passes down; tests pass their own."""

from __future__ import annotations

import base64
import random
import secrets
import time
import uuid
from datetime import UTC, datetime


class Runtime:
    """The world outside the program. All times inside Zaffre are whole milliseconds since 1970, UTC."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def guid(self) -> str:
        return str(uuid.uuid4())

    def hex_id(self) -> str:
        """32 hexadecimal digits, the form of MLflow's own run ids."""
        return uuid.uuid4().hex

    def fraction(self) -> float:
        """Any number from 0 up to 1, for choices that follow weights."""
        return random.random()

    def secret(self, bytes_: int = 32) -> str:
        """URL-safe random text of `bytes_` bytes of entropy."""
        return secrets.token_urlsafe(bytes_)

    def storage_key(self) -> str:
        """A storage account's key as Azure's clients decode it: 64 random bytes in standard base64."""
        return base64.b64encode(secrets.token_bytes(64)).decode()


def iso(ms: int) -> str:
    """A time as ARM writes it: `2026-01-31T12:34:56.789000Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_iso(text: str) -> int:
    """Milliseconds of an ISO 8601 time; one without a zone is taken as UTC. Raises ValueError."""
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return int(when.timestamp() * 1000)
