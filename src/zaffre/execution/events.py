"""What a launcher told: reading the job's diary. The writing side is `zaffre_launcher.events`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

FILE = "events.jsonl"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the diary. `n` counts from 1 within a job, so applying an event is idempotent by (job, n).

    kind and data:
    - `started` {pid, launcher_pid}
    - `usage` {cpu_s, rss, processes}: seconds of CPU so far, bytes resident now; also serves as a heartbeat
    - `ended` {exit_code, signal, reason: exited|timeout|canceled|failed_to_start, last_lines, cpu_s, rss}; exactly one
      of exit_code and signal is set, none when the job was canceled before it started. With them `error` (why it could
      not start), `log_error` and `log_lost_bytes` (output lost to a full disk), `left` (pids that could not be killed).
    """

    n: int
    kind: str
    v: int = 1
    t: str = ""
    data: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(Event)


def read_events(folder: Path, after: int = 0) -> list[Event]:
    """The events numbered above `after`, in order; none where there is no diary yet.

    The launcher may be writing at this moment: a last line without its end is left for the next time.
    """
    try:
        content = (folder / FILE).read_bytes()
    except FileNotFoundError:
        return []
    whole = content[: content.rfind(b"\n") + 1]
    events = [_decoder.decode(line) for line in whole.splitlines()]
    return [event for event in events if event.n > after]
