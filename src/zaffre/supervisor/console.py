"""Where the supervisor's words go: the terminal, the server's log, and, while it starts in the background, its starter.

A terminal may be closed at any moment, and from then on every write to it fails (EIO); a pipe may lose its reader.
Neither may keep the supervisor from stopping, so the first failure ends the use of that place.
"""

import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zaffre.supervisor.files import open_log


class Console:
    """`say` is for people and is logged, too; `log` is for the log alone."""

    def __init__(self, log: Path, *, terminal: int | None = 1, starter: int | None = None) -> None:
        self._log = open_log(log)
        self._terminal = terminal
        self._starter = starter
        self.followers: list[Callable[[str], None]] = []

    def say(self, text: str) -> None:
        self.log("INFO", text)
        if self._terminal is not None and not _write(self._terminal, f"{text}\n"):
            self._terminal = None
        self._report({"say": text})
        for follower in self.followers:
            follower(text)

    def log(self, level: str, text: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lines = "".join(f"{now} {level} supervisor {line}\n" for line in text.splitlines() if line.strip())
        _write(self._log, lines)

    def started(self) -> None:
        """Tell the starter in the foreground that all is well; it leaves."""
        self._finish({"started": True})

    def failed(self, text: str) -> None:
        """Tell why nothing runs; the starter leaves with 1."""
        self.log("ERROR", text)
        if self._terminal is not None:
            _write(2, f"{text}\n")
        self._finish({"failed": text})

    def _finish(self, message: dict[str, Any]) -> None:
        self._report(message)
        if self._starter is not None:
            os.close(self._starter)
            self._starter = None

    def _report(self, message: dict[str, Any]) -> None:
        if self._starter is not None and not _write(self._starter, json.dumps(message) + "\n"):
            os.close(self._starter)
            self._starter = None


def _write(handle: int, text: str) -> bool:
    data = text.encode(errors="replace")
    try:
        while data:
            data = data[os.write(handle, data) :]
    except OSError:
        return False
    return True
