"""The job's diary: an append-only file of numbered lines, the only truth about a running process."""

from __future__ import annotations

import errno
import os
import time

from zaffre_launcher.codec import decode, encode

TYPE_CHECKING = False  # `typing` is never imported: 20 ms
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_RESERVE_BYTES = 65536


class EventLog:
    """Writes `events.jsonl` in a folder: {n, v, t, kind, data} a line, n strictly increasing over restarts.

    A small file is kept beside it and given up when the disk is full, so that the end of a job can still be told.
    Only the holder of the job's lock may make one.
    """

    def __init__(self, folder: str) -> None:
        self._reserve = os.path.join(folder, "launcher.reserve")
        self._file = os.open(os.path.join(folder, "events.jsonl"), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._number = 0
        self.kinds: set[str] = set()
        self._read_own_past()

    def reserve(self) -> None:
        """Set room aside for the last events; without it (a disk that is full already) the job still starts."""
        try:
            file = os.open(self._reserve, os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(file, 0, _RESERVE_BYTES)
        except OSError:
            os.unlink(self._reserve)
        finally:
            os.close(file)

    def release(self) -> None:
        """Give the room back."""
        try:
            os.unlink(self._reserve)
        except FileNotFoundError:
            return

    def add(self, kind: str, data: dict[str, Any], durable: bool = False, insist: bool = True) -> None:
        """Append one event; when `durable`, it is on the disk before this returns.

        While there is no room it is tried again each second: forgetting how a job ended would be worse than waiting.
        With `insist` False the event is dropped instead.
        """
        self._number += 1
        event = {"n": self._number, "v": VERSION, "t": _now(), "kind": kind, "data": data}
        line = encode(event).encode("utf-8") + b"\n"
        while True:
            end = os.fstat(self._file).st_size
            try:
                if os.write(self._file, line) == len(line):
                    break
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
            os.ftruncate(self._file, end)  # a torn line would swallow the next one
            if not insist:
                self._number -= 1
                return
            if os.path.exists(self._reserve):
                self.release()
            else:
                time.sleep(1.0)
        self.kinds.add(kind)
        if durable:
            os.fsync(self._file)

    def _read_own_past(self) -> None:
        with open(self._file, "rb", closefd=False) as file:
            file.seek(0)
            content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(self._file, whole)
        for line in content[:whole].splitlines():
            event = decode(line.decode("utf-8"))
            self._number = max(self._number, int(event["n"]))
            self.kinds.add(event["kind"])


def _now() -> str:
    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".%06dZ" % (seconds % 1 * 1e6)
