"""How a job ended, in words a user can act on: exit code, last lines, and a hint where the cause is a known one."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

LINES = 20
_HINTS = (
    (
        re.compile(r"ModuleNotFoundError: No module named '([^']+)'"),
        "The environment has no package that provides '{0}'; add it to the conda file or the requirements.",
    ),
    (
        re.compile(r"can't open file '([^']+)'"),
        "'{0}' is not in the code folder of the job; check `code` and the command.",
    ),
    (
        re.compile(r"(\S+): command not found"),
        "'{0}' is not a program of the environment; check the command's first word.",
    ),
    (
        re.compile(r"FileNotFoundError: .*?'([^']+)'"),
        "'{0}' does not exist where the job runs; pass data as inputs of the job.",
    ),
    (
        re.compile(r"PermissionError: .*?'([^']+)'"),
        "'{0}' is read-only; inputs and environments cannot be changed by a job.",
    ),
    (re.compile(r"No space left on device"), "The disk of this machine is full."),
    (re.compile(r"\bMemoryError\b|CUDA out of memory"), "The process needed more memory than there is."),
)


def of_event(data: dict[str, Any], canceled: bool, timeout_s: float | None) -> dict[str, Any]:
    """The outcome of an `ended` event: `{"status", "error"}`."""
    reason = data.get("reason")
    lines = [str(line) for line in data.get("last_lines") or []][-LINES:]
    if reason == "canceled" or (canceled and data.get("exit_code") != 0):
        return {"status": "Canceled", "error": None}
    if reason == "timeout":
        return failed(
            "JobTimedOut", f"The job ran longer than its limit of {timeout_s:g} seconds and was ended.", lines
        )
    if reason == "failed_to_start":
        return failed(
            "LaunchFailed", f"The command could not be started: {data.get('error', 'no reason was given')}.", lines
        )
    code = data.get("exit_code")
    if code == 0:
        return {"status": "Completed", "error": None}
    if code is None:
        name = _signal_name(data.get("signal"))
        message = f"The command was ended by {name}."
        if name == "SIGKILL":
            message += " On a machine that is short of memory the system does that."
        return failed("UserError", message, lines)
    if code > 128:
        message = f"The command ended with exit code {code}, as after {_signal_name(code - 128)}."
    else:
        message = f"The command ended with exit code {code}."
    return failed("UserError", message, lines)


def last_lines(folder: Path) -> list[str]:
    """Of the log in a job's folder."""
    try:
        return (folder / "user_logs" / "std_log.txt").read_text(errors="replace").splitlines()[-LINES:]
    except FileNotFoundError:
        return []


def failed(code: str, message: str, lines: list[str] | None = None) -> dict[str, Any]:
    """A failed outcome. The last lines of the log stand in the message, since that is what every client shows."""
    lines = lines or []
    hint = _hint("\n".join(lines))
    if lines:
        message += " Last lines:\n" + "\n".join(lines)
    if hint:
        message += f"\nHint: {hint}"
    return {"status": "Failed", "error": {"code": code, "message": message, "hint": hint}}


def _hint(text: str) -> str | None:
    for pattern, hint in _HINTS:
        match = pattern.search(text)
        if match:
            return hint.format(*match.groups())
    return None


def _signal_name(number: object) -> str:
    try:
        return signal.Signals(int(str(number))).name
    except ValueError:
        return f"signal {number}"
