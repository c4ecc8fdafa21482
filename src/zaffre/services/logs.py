"""The logs of a job: the local files while it runs, the stored objects once they are safe."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from zaffre.errors import Denied, NotFound
from zaffre.runtime import Runtime
from zaffre.services.blobs import Blobs
from zaffre.services.workspaces import ARTIFACT_CONTAINER, Workspace, run_folder
from zaffre.store import keyfile
from zaffre.store.jobs import JobRow

FOLDERS = ("user_logs", "logs", "azureml-logs", "system_logs")
LIFETIME_MS = 24 * 3_600_000
CHUNK = 256 * 1024


class Logs:
    """Names and bytes of log files, and the signatures that let a client fetch them without a credential (wire.md §8.2)."""

    def __init__(self, jobs_folder: Path, keys: Path, blobs: Blobs, runtime: Runtime) -> None:
        self._jobs = jobs_folder
        self._blobs = blobs
        self._runtime = runtime
        self._key = keyfile.load(keys / "logs.key")

    def folder(self, scope: str, run_id: str) -> Path:
        """The folder of one job on this machine."""
        return self._jobs / scope / run_id

    async def names(self, workspace: Workspace, job: JobRow) -> list[str]:
        """Paths like `user_logs/std_log.txt`, in order."""
        if job.logs_stored:
            prefix = f"{run_folder(job.id)}/"
            stored = await self._blobs.tree(workspace.account, ARTIFACT_CONTAINER, prefix)
            found = [blob.name.removeprefix(prefix) for blob in stored]
            return sorted(name for name in found if name.split("/")[0] in FOLDERS)
        return await asyncio.to_thread(_local_names, self.folder(job.scope, job.id))

    def address(self, workspace: Workspace, run_id: str, name: str) -> str:
        """A signed path, without host, good for a day."""
        expires = self._runtime.now() + LIFETIME_MS
        signature = self._sign(workspace.id, run_id, name, expires)
        return f"/logs/{workspace.id}/{quote(run_id, safe='')}/{quote(name)}?se={expires}&sig={signature}"

    def check(self, scope: str, run_id: str, name: str, expires: str, signature: str) -> None:
        """Raise Denied unless the signature is ours, for this file, and not expired."""
        if not re.fullmatch(r"[0-9]{1,18}", expires) or int(expires) <= self._runtime.now():
            raise Denied(
                "The address of this log has expired; ask for the run's details again.", code="AuthenticationFailed"
            )
        if not hmac.compare_digest(self._sign(scope, run_id, name, int(expires)).encode(), signature.encode()):
            raise Denied("The signature of this log's address is wrong.", code="AuthenticationFailed")

    async def read(self, workspace: Workspace, job: JobRow, name: str) -> AsyncIterator[bytes]:
        """The file's bytes; while the job runs, up to its last line end, so that no line is ever seen half."""
        parts = name.split("/")
        if parts[0] not in FOLDERS or any(part in ("", ".", "..") for part in parts):
            raise NotFound(f"'{name}' is not a log of job '{job.id}'.")
        if job.logs_stored:
            _, chunks = await self._blobs.read(workspace.account, ARTIFACT_CONTAINER, f"{run_folder(job.id)}/{name}")
            return chunks
        folder = self.folder(job.scope, job.id)
        path = folder / name
        size = await asyncio.to_thread(_whole_lines, path, folder, job.ended_at is not None)
        if size is None:
            raise NotFound(f"Job '{job.id}' has no log '{name}' yet.")
        return _read(path, size)

    def _sign(self, scope: str, run_id: str, name: str, expires: int) -> str:
        return hmac.new(self._key, f"{scope}\0{run_id}\0{name}\0{expires}".encode(), hashlib.sha256).hexdigest()


def _local_names(folder: Path) -> list[str]:
    found = []
    for top in FOLDERS:
        base = folder / top
        found += [str(path.relative_to(folder)) for path in base.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(found)


def _whole_lines(path: Path, folder: Path, ended: bool) -> int | None:
    """Bytes up to the last line end, or all of them when nobody writes any more; None when there is no file.

    A link that leads out of the job's folder counts as none: its author could have any file of the server shown as a log.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        return None
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            end = size
            while end > 0 and not ended:
                start = max(0, end - CHUNK)
                file.seek(start)
                chunk = file.read(end - start)
                last = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
                if last >= 0:
                    return start + last + 1
                end = start
            return size if ended else 0
    except FileNotFoundError:
        return None


async def _read(path: Path, size: int) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(open, path, "rb")
    try:
        left = size
        while left > 0:
            chunk = await asyncio.to_thread(file.read, min(CHUNK, left))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk
    finally:
        file.close()
