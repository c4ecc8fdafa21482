"""The server's log: JSON lines, rotated, without secrets."""

from __future__ import annotations

import logging
import os
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import msgspec

from zaffre.runtime import iso

SIZE = 16 * 1024 * 1024
KEPT = 4
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, whatever `extra` brings, and the trace of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "t": iso(int(record.created * 1000)),
            "level": record.levelname,
            "log": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def set_up(folder: Path) -> None:
    """Send everything from level INFO on to `<folder>/server.log`, readable by its owner only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = _Private(folder / "server.log", maxBytes=SIZE, backupCount=KEPT)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # uvicorn names each request with its query, and so with the signature of a SAS; nginx and the gateway log them without.
    logging.getLogger("uvicorn.access").disabled = True


class _Private(RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return TextIOWrapper(os.fdopen(handle, "ab"), encoding="utf-8", write_through=True)
