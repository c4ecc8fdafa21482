"""What an executor is asked to run: everything decided, nothing left to look up."""

from __future__ import annotations

import msgspec

from zaffre.execution.errors import PlanError


class FileRef(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a tree: where it lies in it ('/'-separated), and the object that is its content.

    An object of ours is known by its hash, one in a datastore outside by its path there, `key`.
    """

    path: str
    sha256: str = ""
    size: int
    key: str = ""

    def __post_init__(self) -> None:
        check_relative(self.path)


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """Files that are staged under the job's folder at `dest`.

    `single` marks a uri_file: `dest` is then a folder that holds exactly that file. Only a `writable` tree (the code)
    may be changed by the job.
    """

    dest: str
    files: tuple[FileRef, ...]
    single: bool = False
    writable: bool = False

    def __post_init__(self) -> None:
        check_relative(self.dest)
        if self.single and len(self.files) != 1:
            raise PlanError(
                f"The single-file tree '{self.dest}' has {len(self.files)} files; it must have exactly one."
            )


class JobPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One command as a process. Paths are relative to the job's folder, times are seconds.

    `environment` is the job's whole environment. The launcher adds only PATH with the interpreter's folder in front,
    ZAFFRE_JOB_FOLDER and, where missing, HOME, TMPDIR, LANG, VIRTUAL_ENV and PYTHONUNBUFFERED. `bell` is the path of a
    unix datagram socket that gets the run's id after every event and, at most each 50 ms, after output.
    """

    run_id: str
    command: str
    cwd: str = "wd"
    interpreter: str | None = None
    environment: dict[str, str] = {}
    timeout_s: float | None = None
    grace_s: float = 10.0
    usage_s: float = 30.0
    outputs: tuple[str, ...] = ()
    trees: tuple[Tree, ...] = ()
    bell: str | None = None

    def __post_init__(self) -> None:
        for path in (self.cwd, *self.outputs):
            check_relative(path)


def check_relative(path: str) -> None:
    """Raise PlanError unless `path` stays inside the folder it is joined to, whatever that folder is."""
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise PlanError(
            f"The path {path!r} is not a plain relative path; it may not be absolute nor hold '.', '..' or NUL."
        )
