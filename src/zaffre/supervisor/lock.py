"""One home has one supervisor: a `flock` that ends with the process, however it ends."""

import fcntl
import json
import os
from pathlib import Path

from zaffre.supervisor.errors import AlreadyRunningError
from zaffre.supervisor.identity import Identity


class HomeLock:
    """The held lock. The file stays when it is let go: removing it would let two hold it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    def take(cls, path: Path) -> "HomeLock":
        """Take the lock at once, or raise `AlreadyRunningError` naming who holds it."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(handle)
            os.close(handle)
            raise AlreadyRunningError(
                f"Zaffre is already running on {path.parent.parent}{holder}. Use that one, or end it first."
            ) from None
        lock = cls(handle)
        lock.sign()
        return lock

    def sign(self) -> None:
        """Write this process's identity inside; again after it went to the background, which changes its pid."""
        data = json.dumps(Identity.own().to_json()).encode()
        os.pwrite(self._handle, data, 0)
        os.ftruncate(self._handle, len(data))

    def release(self) -> None:
        os.close(self._handle)


def _holder(handle: int) -> str:
    try:
        identity = Identity.from_json(json.loads(os.pread(handle, 4096, 0)))
    except ValueError:  # it holds the lock and has not signed yet
        return ""
    return f" (pid {identity.pid})" if identity else ""
