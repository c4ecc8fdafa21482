"""nginx as a process: started on our sockets, adopted from an earlier supervisor, watched, reloaded, replaced, stopped.

It leads a session of its own and outlives us: scoring goes on while no supervisor runs. `run/nginx.json` tells the
next one which process it is. An adopted nginx holds the TCP sockets and we do not; we get them back when it has to be
replaced.
"""

import asyncio
import os
import subprocess
import time
from signal import SIGHUP, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1, Signals

from zaffre.supervisor import listeners, platform_linux
from zaffre.supervisor.console import Console
from zaffre.supervisor.errors import ListenError, NginxError
from zaffre.supervisor.files import Home, open_log, tail
from zaffre.supervisor.identity import Identity, Watched
from zaffre.supervisor.nginx_files import COMMAND, NginxBinary, check_files, listens_on
from zaffre.supervisor.nginx_record import NginxRecord

_WORKER_SECONDS = 15.0
_LET_GO_SECONDS = 10.0
_LONGEST_DELAY = 10.0
_STEADY_SECONDS = 30.0
_QUIT_SECONDS = 5.0


class Nginx:
    """The nginx of this home. `claim` first; `use` once the binary is known; `apply` after each change of its files."""

    def __init__(self, home: Home, console: Console, hosts: tuple[str, ...]) -> None:
        self.running = asyncio.Event()
        self.adopted = False
        self.binary: NginxBinary | None = None
        self.version: str | None = None  # of the running one
        self._home = home
        self._console = console
        self._hosts = hosts
        self._port = 0
        self._listeners: listeners.Listeners | None = None
        self._process: Watched | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._busy = asyncio.Lock()  # one start, reload or replacement at a time
        self._stopping = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self.running.is_set() else None

    @property
    def addresses(self) -> tuple[str, ...]:
        return listeners.addresses(self._hosts, self._port)

    def claim(self, port: int, *, preferred: int | None) -> int:
        """Adopt the living nginx of this home if it listens where we are asked to, else bind. Returns the port.

        Port 0 is `preferred`, or any that is free. Raises `ListenError`.
        """
        record = NginxRecord.read(self._home)
        wanted = port or preferred or 0
        if record is not None and record.addresses == listeners.addresses(self._hosts, wanted):
            process = Watched.open(record.identity)
            if process is not None:
                self._process, self._port, self.adopted = process, wanted, True
                self.version = record.version
                self._console.log("INFO", f"nginx (pid {process.pid}) of an earlier supervisor is adopted.")
                self.running.set()
                return wanted
        self._listeners = self.take_over(port, preferred=preferred)
        self._port = self._listeners.port
        return self._port

    def take_over(self, port: int, *, preferred: int | None) -> listeners.Listeners:
        """Bind, after whatever is left of an earlier nginx of this home was told to quit. Raises `ListenError`."""
        record = NginxRecord.read(self._home)
        if record is not None:
            had = _quit(record.identity)
            self._home.nginx.unlink(missing_ok=True)
            if had and (port or preferred):  # it lets go of the port in a moment
                return listeners.bind_soon(self._hosts, port or preferred or 0, seconds=_LET_GO_SECONDS)
        return listeners.bind(self._hosts, port, preferred=preferred)

    async def use(self, binary: NginxBinary) -> None:
        """Run this binary from now on: an adopted one of another version is replaced, earlier files are used."""
        self.binary = binary
        if not binary.keepalive_min_timeout:
            self._console.log(
                "WARNING",
                f"nginx {binary.version} resets some busy connections at each change of weights, keys or endpoints; "
                "from 1.27.4 on it drops none.",
            )
        record = NginxRecord.read(self._home)
        if self.adopted and record is not None and record.version != binary.version:
            self._console.log("INFO", f"nginx {record.version} is replaced by {binary.version} ({binary.path}).")
            async with self._busy:
                _quit(record.identity)
                await self._take_back()
                await self._start()
        elif listens_on(self._home.edge) == set(self.addresses):
            error = await self.apply()
            if error is not None:
                self._console.log("ERROR", f"nginx's files of an earlier run are not usable: {error}")

    async def apply(self) -> str | None:
        """Test the files; reload a running nginx or start one. The error's text, or None when nginx runs with them."""
        try:
            async with self._busy:
                if self.binary is None or self._stopping:
                    return "The supervisor has no nginx to run, or is stopping."
                await check_files(self.binary, self._home.edge, self.addresses)
                if self.running.is_set():
                    await self._reload()
                else:
                    await self._start()
        except (NginxError, ListenError) as error:
            return str(error)
        return None

    def reopen_logs(self) -> None:
        """Have nginx open its access log by name again, after it was renamed."""
        if self._process is not None:
            self._process.send(SIGUSR1)

    async def keep(self) -> None:
        """Start another nginx whenever the running one ends."""
        delay = 0.0
        while True:
            await self.running.wait()
            began = time.monotonic()
            process = self._process
            assert process is not None  # set before `running` is
            await process.exited()
            if self._stopping:
                return
            async with self._busy:
                if self._process is not process:  # it was replaced
                    process.close()
                    continue
                self.running.clear()
                self._console.log("ERROR", f"nginx (pid {process.pid}) ended unasked; another is started.")
                self._reap()
                process.close()
                delay = 0.0 if time.monotonic() - began > _STEADY_SECONDS else min(delay + 0.5, _LONGEST_DELAY)
                await self._restart(process.pid, delay)

    async def stop(self, *, hurry: asyncio.Event) -> None:
        """End nginx: quit (answers are finished), then harder. The addresses are free afterwards."""
        self._stopping = True
        async with self._busy:
            process = self._process
            if process is not None:
                seconds = 0.5 if hurry.is_set() else _QUIT_SECONDS
                await process.end((SIGQUIT, seconds), (SIGTERM, 2.0), (SIGKILL, 2.0))
                self._reap()
                for pid in platform_linux.session_members(process.pid):
                    _signal(pid, SIGKILL)  # workers of a master that had to be killed
            if self._listeners is not None:
                self._listeners.close()
            self._home.nginx.unlink(missing_ok=True)

    async def _restart(self, dead: int, delay: float) -> None:
        """Start masters until one runs. The dead one's workers quit after that, or first where they hold the port."""
        while not self._stopping:
            await asyncio.sleep(delay)
            try:
                if self._listeners is None:
                    _quit_workers(dead)  # they hold the port
                    await self._take_back()
                await self._start()
            except (NginxError, ListenError) as error:
                delay = min(delay + 0.5, _LONGEST_DELAY)
                self._console.log("ERROR", f"{error} Tried again in {delay:.1f} s.")
            else:
                _quit_workers(dead)
                return

    async def _take_back(self) -> None:
        """Bind the addresses an nginx we hold no sockets of is letting go."""
        deadline = time.monotonic() + _LET_GO_SECONDS
        while self._listeners is None:
            try:
                self._listeners = listeners.bind(self._hosts, self._port)
            except ListenError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.02)
        self.adopted = False

    async def _start(self) -> None:
        assert self.binary is not None and self._listeners is not None
        size = self._home.nginx_errors.stat().st_size if self._home.nginx_errors.exists() else 0
        popen = _spawn(self.binary, self._home, self._listeners)
        process = Watched.child(popen.pid)
        self._process, self._popen, self.adopted = process, popen, False
        self.version = self.binary.version
        NginxRecord(process.identity, self.addresses, self.binary.version).write(self._home)
        if not await self._taken_over(process, frozenset()):
            await process.end((SIGKILL, 2.0))
            self._reap()
            raise NginxError(f"nginx did not start: {tail(self._home.nginx_errors, 3, start=size)}")
        self._console.log("INFO", f"nginx {self.binary.version} (pid {process.pid}) runs.")
        self.running.set()

    async def _reload(self) -> None:
        process = self._process
        assert process is not None
        size = self._home.nginx_errors.stat().st_size if self._home.nginx_errors.exists() else 0
        old = frozenset(platform_linux.children(process.pid))
        if not process.send(SIGHUP) or not await self._taken_over(process, old):
            last = tail(self._home.nginx_errors, 3, start=size)
            raise NginxError(f"nginx did not take the new files over and stays with the old ones: {last}")

    async def _taken_over(self, process: Watched, old: frozenset[int]) -> bool:
        """Wait until a new worker runs and every old one has closed its listening sockets.

        Both are needed: for the 100 ms between the two, old workers still take new connections and serve the old files.
        """
        deadline = time.monotonic() + _WORKER_SECONDS
        while time.monotonic() < deadline:
            workers = [pid for pid in platform_linux.children(process.pid) if _is_accepting(pid)]
            if workers and old.isdisjoint(workers):
                return True
            if await process.exited(0.01):
                return False
        return False

    def _reap(self) -> None:
        if self._popen is not None:
            self._popen.poll()
            self._popen = None


def _spawn(binary: NginxBinary, home: Home, sockets: listeners.Listeners) -> subprocess.Popen[bytes]:
    handles = [one.fileno() for one in sockets.sockets]
    errors = open_log(home.nginx_errors)  # a file: it outlives us, and a pipe without a reader would kill it
    try:
        return subprocess.Popen(
            [binary.path, *COMMAND],
            env={"PATH": os.environ.get("PATH", os.defpath), "NGINX": "".join(f"{handle};" for handle in handles)},
            cwd=home.edge,
            pass_fds=handles,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
        )
    except OSError as error:
        raise NginxError(f"nginx ({binary.path}) could not be started: {error.strerror}.") from error
    finally:
        os.close(errors)


def _quit(master: Identity) -> bool:
    """Tell an nginx, or the workers its killed master left, to quit; whether there was anything."""
    if master.boot_id != platform_linux.boot_id():
        return False
    return _signal(master.pid, SIGQUIT, expected=master) or _quit_workers(master.pid)


def _quit_workers(master: int) -> bool:
    """Tell the workers of a killed master to finish and leave. They are what is left of the session it led."""
    members = platform_linux.session_members(master)
    workers = [pid for pid in members if platform_linux.command_line(pid).startswith("nginx: ")]
    return sum(_signal(pid, SIGQUIT) for pid in workers) > 0


def _signal(pid: int, number: Signals, expected: Identity | None = None) -> bool:
    identity = expected or Identity.of(pid)
    process = Watched.open(identity) if identity else None
    if process is None:
        return False
    try:
        return process.send(number)
    finally:
        process.close()


def _is_accepting(pid: int) -> bool:
    """Whether it is a worker that takes connections; one that is leaving says so in its title."""
    title = platform_linux.command_line(pid)
    return title.startswith("nginx: worker process") and not title.endswith("is shutting down")
