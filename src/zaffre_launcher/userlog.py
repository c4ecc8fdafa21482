"""What the user's processes print, copied into the job's log as it comes."""

from __future__ import annotations

import os

_CHUNK = 1 << 16
_TAIL_BYTES = 8192
_TAIL_LINES = 20


class UserLog:
    """One pipe for stdout and stderr, so their order is kept, and one file. A full disk loses output, never the job."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.closed = False
        self.lost_bytes = 0
        self.error: str | None = None
        self._tail = b""

    def close_writer(self) -> None:
        """Our copy of the writing end: once it is closed, the end of all writers is the end of the pipe."""
        os.close(self.writer)

    def copy_some(self) -> bool:
        """Copy what is there, at most one pipe full; False when there was nothing."""
        try:
            chunk = os.read(self.reader, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self.closed = True
            return False
        self._tail = (self._tail + chunk)[-_TAIL_BYTES:]
        self._write(chunk)
        return True

    def drain(self) -> None:
        """Copy all that is left in the pipe, without waiting for writers that may still hold it open."""
        while self.copy_some():
            pass

    def last_lines(self) -> list[str]:
        """The end of the output, for the message of a failed job."""
        return self._tail.decode("utf-8", "replace").replace("\r\n", "\n").splitlines()[-_TAIL_LINES:]

    def _write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            try:
                rest = rest[os.write(self._file, rest) :]
            except OSError as error:
                self.error = error.strerror or str(error)
                self.lost_bytes += len(rest)
                return
