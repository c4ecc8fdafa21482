"""The home's folders as the supervisor knows them, and small JSON files written by rename."""

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Home:
    """Paths below `<home>`. Only those the supervisor itself reads or writes."""

    path: Path

    @property
    def edge(self) -> Path:
        return self.path / "edge"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def unfinished_restore(self) -> Path:
        """There while `zaffre restore` has not finished."""
        return self.path / ".restoring"

    @property
    def address(self) -> Path:
        return self.run / "address.json"

    @property
    def supervisor(self) -> Path:
        return self.run / "supervisor.json"

    @property
    def command_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def application(self) -> Path:
        return self.run / "application.json"

    @property
    def nginx(self) -> Path:
        return self.run / "nginx.json"

    @property
    def nginx_found(self) -> Path:
        return self.run / "nginx-found.json"

    @property
    def server_log(self) -> Path:
        return self.logs / "server.log"

    @property
    def application_log(self) -> Path:
        return self.logs / "application.log"

    @property
    def nginx_errors(self) -> Path:
        return self.logs / "nginx.err"

    def make(self) -> None:
        """Make the folders, for their owner only."""
        for folder in (
            self.path,
            self.edge,
            self.edge / "tmp",
            self.edge / "d",
            self.edge / "tls",
            self.run,
            self.logs,
        ):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)  # it may have been there before


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, or None when there is none or it is not one of ours."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace `path` by rename; 0600.

    On a full disk it is written over in place, since its one block is there already: a process nobody has a record of
    would be worse than a record that is torn when the machine dies just then, which `read_json` takes for none.
    """
    data = json.dumps(value).encode()
    temporary = path.with_name(f".{path.name}.new")
    try:
        _write_whole(temporary, data, os.O_CREAT | os.O_TRUNC)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not path.exists():
            raise
        _write_whole(path, data, 0)
        return
    temporary.rename(path)


def _write_whole(path: Path, data: bytes, flags: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
    try:
        if os.write(handle, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.ftruncate(handle, len(data))
    finally:
        os.close(handle)


def open_log(path: Path) -> int:
    """A handle that appends to a log only its owner may read."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def tail(path: Path, lines: int = 20, *, start: int = 0) -> str:
    """The last lines of a log written from byte `start` on; empty when there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - 16_384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
