"""What to run, as the server wrote it into the job's folder."""

from __future__ import annotations

import os

from zaffre_launcher.codec import decode

TYPE_CHECKING = False  # `typing` is never imported: 20 ms
if TYPE_CHECKING:
    from typing import Any

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Plan:
    """One command with its folder, environment and limits. Seconds throughout; unknown fields are ignored."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.run_id: str = document["run_id"]
        self.command: str = document["command"]
        self.cwd: str = document.get("cwd") or "wd"
        self.interpreter: str | None = document.get("interpreter")
        self.environment: dict[str, str] = document.get("environment") or {}
        self.outputs: list[str] = document.get("outputs") or []
        self.timeout_s: float | None = document.get("timeout_s")
        self.grace_s: float = document.get("grace_s", 10.0)
        self.usage_s: float = document.get("usage_s", 30.0)
        self.bell: str | None = document.get("bell")


def read_plan(folder: str) -> Plan:
    """The plan in `folder`/plan.json."""
    with open(os.path.join(folder, "plan.json"), encoding="utf-8") as file:
        return Plan(decode(file.read()))


def make_folders(plan: Plan, folder: str) -> None:
    """The folders a job may count on; those that exist stay as they are."""
    for name in (plan.cwd, "user_logs", "tmp", "home", *plan.outputs):
        os.makedirs(os.path.join(folder, name), mode=0o700, exist_ok=True)


def job_environment(plan: Plan, folder: str) -> dict[str, str]:
    """The plan's variables and the few a process can't do without; nothing is inherited from the server.

    ZAFFRE_JOB_FOLDER marks every process of the job, so that left-over ones can be found when a launcher was killed.
    """
    environment = dict(plan.environment)
    path = environment.get("PATH") or _SYSTEM_PATH
    if plan.interpreter:
        scripts = os.path.dirname(plan.interpreter)
        environment.setdefault("VIRTUAL_ENV", os.path.dirname(scripts))
        path = scripts + os.pathsep + path
    environment["PATH"] = path
    environment.setdefault("HOME", os.path.join(folder, "home"))
    environment.setdefault("TMPDIR", os.path.join(folder, "tmp"))
    environment.setdefault("LANG", "C.UTF-8")
    environment.setdefault("PYTHONUNBUFFERED", "1")
    environment["ZAFFRE_JOB_FOLDER"] = folder
    return environment
