"""nginx's logs: errors are passed on to the server's log, and neither log grows for ever.

What is passed on has no queries: those hold signatures (SAS `sig=`). The error log itself is a 0600 file, because nginx
outlives whoever would read its stderr from a pipe.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

_INTERVAL = 2.0
_LARGEST = 8 * 1024 * 1024
_LARGEST_ACCESS = 64 * 1024 * 1024
_LINES_A_ROUND = 100
_PASSED_ON = ("warn", "error", "crit", "alert", "emerg")


async def follow(errors: Path, access: Path, log: Callable[[str, str], None], reopen: Callable[[], None]) -> None:
    """Pass on new errors and look at the logs' sizes, for ever. `reopen` has nginx open its access log by name again."""
    offset = errors.stat().st_size if errors.exists() else 0
    while True:
        await asyncio.sleep(_INTERVAL)
        offset = pass_on(errors, offset, log)
        if put_aside(access):
            reopen()


def put_aside(access: Path, largest: int = _LARGEST_ACCESS) -> bool:
    """Rename an access log that has grown large to `….1`, in place of the one before; whether it had."""
    try:
        if access.stat().st_size <= largest:
            return False
    except FileNotFoundError:
        return False
    access.rename(access.with_name(f"{access.name}.1"))
    return True


def pass_on(path: Path, offset: int, log: Callable[[str, str], None]) -> int:
    """Pass on the whole lines of a warning or worse written from `offset` on; where to go on next time.

    The file is emptied when it has grown large.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    if size < offset:
        offset = 0
    if size == offset:
        return offset
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(_LARGEST)
    whole = data[: data.rfind(b"\n") + 1]
    lines = list(_worth_telling(whole.decode(errors="replace")))
    for line in lines[:_LINES_A_ROUND]:
        log("WARNING", f"nginx: {line}")
    if len(lines) > _LINES_A_ROUND:
        log("WARNING", f"nginx: … and {len(lines) - _LINES_A_ROUND} more lines in {path}")
    offset += len(whole)
    if offset > _LARGEST:
        with path.open("r+b") as file:
            file.truncate(0)  # nginx appends, so its next line begins the file anew
        return 0
    return offset


def redacted(line: str) -> str:
    """The line without what stands behind a question mark in any address."""
    return re.sub(r"\?[^\s\",]*", "?…", line)


def _worth_telling(text: str) -> Iterator[str]:
    for line in text.splitlines():
        level = re.search(r"\[(\w+)\]", line)
        if level is None or level[1] in _PASSED_ON:
            yield redacted(line)
