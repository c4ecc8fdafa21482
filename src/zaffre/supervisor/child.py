"""The application as our child: started, heard, started again when it dies, and stopped.

Its listening sockets are ours, so requests wait in their backlog while it is away.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

from zaffre.supervisor.console import Console
from zaffre.supervisor.control import Channel, Message
from zaffre.supervisor.errors import ApplicationError
from zaffre.supervisor.files import Home, open_log, read_json, tail, write_json
from zaffre.supervisor.identity import Identity, Watched

STOP_SECONDS = 90.0
"""How long the application may take to end what a stop ends (model servers get their grace time)."""

TERM_SECONDS = 10.0
_FIRST_DELAY = 0.1
_STEADY_SECONDS = 30.0
_LOG_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Launch:
    """How the application is started: module, arguments, additions to the environment, and inherited sockets."""

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    sockets: Mapping[str, socket.socket | Sequence[socket.socket]]
    longest_delay: float


class Application:
    """Keeps one application process running; `on_edge_changed(channel, id)` is called when it wrote nginx's files."""

    def __init__(
        self, home: Home, console: Console, launch: Launch, on_edge_changed: Callable[[Channel, Any], None]
    ) -> None:
        self.ready = asyncio.Event()
        self.restarts = 0
        self.running_jobs: list[str] = []
        self._home = home
        self._console = console
        self._launch = launch
        self._on_edge_changed = on_edge_changed
        self._process: Watched | None = None
        self._channel: Channel | None = None
        self._stopped = asyncio.Event()
        self._stopping = False
        self._was_ready = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def keep(self) -> None:
        """Run the application until it is stopped.

        Raises `ApplicationError` when it ends by itself before it ever was ready.
        """
        await self._end_leftover()
        delay = _FIRST_DELAY
        while True:
            began = time.monotonic()
            try:
                start = _rotate(self._home.application_log)
                code = await self._run_once()
            except OSError as error:  # a full disk, no memory for a process: what served once is tried again
                if self._stopping:
                    return
                if not self._was_ready:
                    raise
                how = f"before it could run: {error}"
            else:
                if self._stopping:
                    return
                how = f"by signal {-code}" if code < 0 else f"with code {code}"
                if code >= 0 and not self._was_ready:
                    last = tail(self._home.application_log, start=start)
                    raise ApplicationError(
                        f"The application ended {how} before it was ready. "
                        f"The last lines of {self._home.application_log}:\n{last}"
                    )
            delay = (
                _FIRST_DELAY
                if time.monotonic() - began > _STEADY_SECONDS
                else min(2 * delay, self._launch.longest_delay)
            )
            self.restarts += 1
            self._console.log("ERROR", f"The application ended {how}; another starts in {delay:.1f} s.")
            await asyncio.sleep(delay)

    async def stop(self, *, cancel_jobs: bool, hurry: asyncio.Event) -> None:
        """Have the application end what it holds, then end it. `hurry` cuts the waiting short."""
        self._stopping = True
        process, channel = self._process, self._channel
        if process is None:
            return
        if channel is not None and self.ready.is_set():
            channel.send({"type": "stop", "models": True, "cancel_jobs": cancel_jobs})
            waits = [asyncio.ensure_future(wait) for wait in (self._stopped.wait(), process.exited(), hurry.wait())]
            await asyncio.wait(waits, timeout=STOP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if not await process.end((SIGTERM, 2.0 if hurry.is_set() else TERM_SECONDS), (SIGKILL, 5.0)):
            self._console.say(f"The application (pid {process.pid}) does not end, not even by SIGKILL.")

    async def _run_once(self) -> int:
        ours, theirs = socket.socketpair()
        process = self._spawn(theirs)
        theirs.close()
        self._process = watched = Watched.child(process.pid)
        try:
            write_json(self._home.application, watched.identity.to_json())
        except OSError:  # never one of which the next supervisor would not know
            process.kill()
            process.wait()
            self._process = None
            watched.close()
            ours.close()
            raise
        self._channel = channel = await Channel.open(ours)
        listening = asyncio.create_task(self._listen(channel))
        try:
            await watched.exited()
        finally:
            self.ready.clear()
            self._process = self._channel = None
            await asyncio.wait([listening], timeout=1.0)  # what it said last is still in the socket
            listening.cancel()
            channel.close()
            watched.close()
        return process.wait()

    def _spawn(self, control: socket.socket) -> subprocess.Popen[bytes]:
        handles: dict[str, Any] = {"control": control.fileno()}
        for name, value in self._launch.sockets.items():
            handles[name] = value.fileno() if isinstance(value, socket.socket) else [one.fileno() for one in value]
        inherited = [h for value in handles.values() for h in (value if isinstance(value, list) else [value])]
        log = open_log(self._home.application_log)
        try:
            return subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "zaffre.supervisor.entry", str(os.getpid())),
                    *(self._launch.module, *self._launch.arguments),
                ],
                env={**os.environ, **self._launch.environment, "ZAFFRE_FDS": json.dumps(handles)},
                cwd=self._home.path,
                pass_fds=inherited,
                process_group=0,  # Ctrl-C on the terminal is for us; we tell the application
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        finally:
            os.close(log)

    async def _listen(self, channel: Channel) -> None:
        async for message in channel.messages():
            self._hear(channel, message)

    def _hear(self, channel: Channel, message: Message) -> None:
        match message["type"]:
            case "ready":
                self._was_ready = True
                self.ready.set()
            case "edge-changed":
                self._on_edge_changed(channel, message.get("id"))
            case "stopped":
                self.running_jobs = [str(name) for name in message.get("running_jobs") or []]
                self._stopped.set()
            case unknown:
                self._console.log("WARNING", f"The application sent {unknown!r}, which this supervisor does not know.")

    async def _end_leftover(self) -> None:
        """Never two applications on one home: one of a supervisor that was killed may still be on its way out."""
        identity = Identity.from_json(read_json(self._home.application))
        process = Watched.open(identity) if identity else None
        if process is not None:
            self._console.log("WARNING", f"An application of an earlier supervisor (pid {process.pid}) is ended first.")
            await process.end((SIGTERM, TERM_SECONDS), (SIGKILL, 5.0))
            process.close()


def _rotate(log: Path) -> int:
    """Put a log that has grown large aside; where the next line will be written."""
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return 0
    if size < _LOG_BYTES:
        return size
    log.rename(log.with_name(f"{log.name}.1"))
    return 0
