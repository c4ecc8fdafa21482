"""nginx's binary and files, looked at from outside: which one to run, and whether it would take what lies there."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zaffre.supervisor.errors import NginxError
from zaffre.supervisor.files import read_json, write_json

COMMAND = ("-p", ".", "-c", "nginx.conf", "-e", "stderr")
"""Run in the edge's folder: relative paths then mean that folder, and no compiled-in path is tried."""

_TEST_SECONDS = 30.0


@dataclass(frozen=True)
class NginxBinary:
    """What `python -m zaffre.edge.binary` found. `safe`: False for a version with known holes, None if not known."""

    path: str
    version: str
    keepalive_min_timeout: bool
    safe: bool | None
    reason: str


async def find_binary(setting: str | None, note: Path) -> NginxBinary:
    """Ask the edge, in a process of its own (we import nothing of it); raises `NginxError` with what it said.

    `note` keeps the answer: that process is a tenth of what a start costs, and the same files give the same answer.
    """
    asked = {"setting": setting, "variable": os.environ.get("ZAFFRE_NGINX"), "path": os.environ.get("PATH")}
    kept = read_json(note)
    if kept is not None and kept.get("asked") == asked and _unchanged(kept["found"]["marks"]):
        return _binary(kept["found"])
    arguments = ["--nginx", setting] if setting else []
    code, output, errors = await _run([sys.executable, "-P", "-m", "zaffre.edge.binary", *arguments], None)
    if code != 0:
        raise NginxError(errors.strip() or f"Looking for nginx ended with code {code}.")
    found = json.loads(output)
    write_json(note, {"asked": asked, "found": found})
    return _binary(found)


async def check_files(binary: NginxBinary, folder: Path, addresses: Iterable[str]) -> None:
    """`nginx -t`; raises `NginxError` with its words. Files that listen elsewhere than our sockets are refused, too."""
    wanted, has = set(addresses), listens_on(folder)
    if has != wanted:
        raise NginxError(
            f"{folder / 'nginx.conf'} listens on {', '.join(sorted(has)) or 'nothing'}, "
            f"but the supervisor holds {', '.join(sorted(wanted))}."
        )
    code, _, errors = await _run([binary.path, *COMMAND, "-t"], folder)
    if code != 0:
        raise NginxError(f"nginx does not accept the files in {folder}: {_without_keys(errors).strip()}")


def listens_on(folder: Path) -> set[str]:
    """The addresses of the `listen` lines in nginx.conf; none when there is no such file yet."""
    try:
        text = (folder / "nginx.conf").read_text(encoding="utf-8")
    except FileNotFoundError:
        return set()
    return set(re.findall(r"^\s*listen\s+([^\s;]+)", text, flags=re.MULTILINE))


def _binary(found: dict[str, Any]) -> NginxBinary:
    return NginxBinary(**{name: found[name] for name in NginxBinary.__dataclass_fields__})


def _unchanged(marks: dict[str, list[int] | None]) -> bool:
    """Whether every file that decided an earlier answer is as it was, and those that were missing still are."""
    for name, mark in marks.items():
        try:
            facts = os.stat(name)  # noqa: PTH116  two dozen of them at each start
        except OSError:
            seen = None
        else:
            seen = [facts.st_mtime_ns, facts.st_size]
        if seen != mark:
            return False
    return True


def _without_keys(text: str) -> str:
    """nginx quotes what it cannot read; in the keys' file that is a key."""
    return "\n".join(re.sub(r'"[^"]*"', '"…"', line) if "keys.map" in line else line for line in text.splitlines())


async def _run(command: list[str], folder: Path | None) -> tuple[int, str, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise NginxError(f"{command[0]} could not be started: {error.strerror}.") from error
    try:
        async with asyncio.timeout(_TEST_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise NginxError(f"{' '.join(command)} gave no answer in {_TEST_SECONDS:.0f} s.") from None
    return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")
