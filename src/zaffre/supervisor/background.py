"""`--detach`: the supervisor goes to the background, and whoever started it waits until it is ready or has failed."""

import contextlib
import json
import os
import select
import sys
import time
from pathlib import Path

from zaffre.supervisor.files import open_log, tail

WAIT_SECONDS = 60.0


def detach(output: Path) -> int:
    """Go to the background. Returns, there, the handle to tell on how the start goes; the starter does not return.

    The new process leads a session without a terminal, reads nothing, and writes to `output`.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    size = output.stat().st_size if output.exists() else 0
    first = os.fork()
    if first != 0:
        os.close(writing)
        os.waitpid(first, 0)
        code = _wait(reading, output, size)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # this process began as the supervisor: it must not run what comes after
    os.close(reading)
    os.setsid()
    if os.fork() != 0:  # a session's leader could get a terminal again
        os._exit(0)
    null = os.open(os.devnull, os.O_RDONLY)
    log = open_log(output)
    for handle, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(handle, target)
    os.close(null)
    os.close(log)
    return writing


def _wait(reading: int, log: Path, size: int) -> int:
    """Print what the new supervisor says; 0 once it has started, 1 when it failed or took too long."""
    deadline = time.monotonic() + WAIT_SECONDS
    rest = b""
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return _fail(f"Zaffre was not ready after {WAIT_SECONDS:.0f} s; it goes on trying.", log, size)
        data = os.read(reading, 65536)
        if not data:
            return _fail("Zaffre ended while it started.", log, size)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "say" in message:
                with contextlib.suppress(BrokenPipeError):  # `zaffre up --detach | head -1`: it starts all the same
                    os.write(1, f"{message['say']}\n".encode())
            elif "failed" in message:
                sys.stderr.write(message["failed"] + "\n")
                return 1
            else:
                return 0


def _fail(text: str, log: Path, size: int) -> int:
    last = tail(log, start=size)
    sys.stderr.write(f"{text} The last lines of {log}:\n{last}\n" if last else f"{text} See {log}.\n")
    return 1
