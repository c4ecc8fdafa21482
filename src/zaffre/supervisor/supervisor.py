"""The life of a supervisor: take the sockets, start everything, keep it running, and stop it in order."""

import asyncio
import datetime
import json
import os
import shlex
import signal
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from zaffre.supervisor import certificate, listeners, nginx_log, reaper
from zaffre.supervisor.child import Application, Launch
from zaffre.supervisor.commands import CommandServer
from zaffre.supervisor.console import Console
from zaffre.supervisor.errors import NginxError, SupervisorError
from zaffre.supervisor.files import Home, read_json, write_json
from zaffre.supervisor.identity import Identity
from zaffre.supervisor.nginx import Nginx
from zaffre.supervisor.nginx_files import NginxBinary, find_binary
from zaffre.supervisor.options import Options, split_port
from zaffre.supervisor.reload import Reloads

_EDGE_SECONDS = 30.0
"""How long after the application nginx may become ready, at a first start."""


class Supervisor:
    """One supervisor of one home, whose lock is held already. `run` returns when everything has been stopped."""

    def __init__(self, options: Options, home: Home, console: Console) -> None:
        self._options = options
        self._home = home
        self._console = console
        self._since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._edge_known = asyncio.Event()
        self._cancel_jobs = False
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._port = 0
        self._nginx = Nginx(home, console, options.hosts)
        self._reloads = Reloads(self._nginx.apply, console.log)
        self._application: Application | None = None
        self._sockets: list[socket.socket] = []

    async def run(self) -> int:
        """Start, serve until asked to stop, stop.

        Raises `SupervisorError` when it could not start or go on. What it started is stopped then; an nginx it only
        adopted goes on scoring.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` means it
                loop.add_signal_handler(number, self._on_signal, number)
        os.chdir(self._home.edge)  # sockets have short names from here
        commands = CommandServer(self, self._console)
        try:
            await self._serve(commands)
        finally:
            await self._shut_down(commands)
        return 0

    def status(self) -> dict[str, Any]:
        application, nginx = self._application, self._nginx
        return {
            "pid": os.getpid(),
            "port": self._port,
            "address": self.address,
            "application": {
                "pid": application.pid if application else None,
                "ready": bool(application and application.ready.is_set()),
                "restarts": application.restarts if application else 0,
            },
            "nginx": {
                "pid": nginx.pid,
                "version": nginx.version,
                "adopted": nginx.adopted,
            }
            if self._options.edge
            else None,
            "since": self._since,
            "listen": list(listeners.addresses(self._options.hosts, self._port)),
            "authority": certificate.fingerprint(self._home),
        }

    def request_stop(self, *, cancel_jobs: bool) -> None:
        self._cancel_jobs = self._cancel_jobs or cancel_jobs
        self._stop.set()

    @property
    def address(self) -> str:
        return f"https://localhost:{self._port}"

    async def _serve(self, commands: CommandServer) -> None:
        tcp = self._listen()
        await commands.start(listeners.bind_unix(Path("../run", self._home.command_socket.name)))
        write_json(self._home.supervisor, {**Identity.own().to_json(), "address": self.address, "since": self._since})
        names = self._options.own_names
        if certificate.is_due(self._home, names):
            await certificate.make(self._home, names)
        self._application = application = self._make_application(tcp)
        self._keep(application.keep())
        if self._options.edge:
            self._keep(self._run_edge())
        self._keep(certificate.renew(self._home, names, self._console.log))
        if reaper.needed():
            self._keep(reaper.run())
        if await self._until(self._ready(application)):
            self._greet()
            await self._until(None)

    def _listen(self) -> list[socket.socket]:
        """The TCP sockets, before anything else: another program on the port is the commonest reason not to start."""
        remembered = (read_json(self._home.address) or {}).get("port")
        port = self._options.port
        if port is None:
            port = remembered or listeners.DEFAULT_PORT
        if self._options.edge:
            self._port = self._nginx.claim(port, preferred=remembered)
            tcp: list[socket.socket] = []
        else:
            bound = self._nginx.take_over(port, preferred=remembered)
            self._port, tcp = bound.port, list(bound.sockets)
            self._sockets += tcp
        write_json(self._home.address, {"port": self._port, "hosts": self._options.hosts, "address": self.address})
        return tcp

    def _make_application(self, tcp: list[socket.socket]) -> Application:
        app, internal = (listeners.bind_unix(Path(name)) for name in ("app.sock", "internal.sock"))
        self._sockets += [app, internal]
        sockets: dict[str, socket.socket | list[socket.socket]] = {"app": app, "internal": internal}
        if tcp:
            sockets["tcp"] = list(tcp)
        environment = {
            "ZAFFRE_ADDRESS": self.address,
            "ZAFFRE_PORT": str(self._port),
            "ZAFFRE_EDGE": "1" if self._options.edge else "0",
            "ZAFFRE_LISTEN": json.dumps(listeners.addresses(self._options.hosts, self._port)),
            "ZAFFRE_NAMES": ",".join(self._options.addressed_as),
        }
        if self._options.nginx:
            environment["ZAFFRE_NGINX"] = self._options.nginx
        launch = Launch(
            self._options.application,
            ("--home", str(self._home.path)),
            environment,
            sockets,
            self._options.longest_delay,
        )
        return Application(self._home, self._console, launch, self._reloads.wish)

    async def _run_edge(self) -> None:
        binary = await find_binary(self._options.nginx, self._home.nginx_found)
        self._check_safe(binary)
        await self._nginx.use(binary)
        self._edge_known.set()
        access = self._home.logs / "access.log"
        self._keep(nginx_log.follow(self._home.nginx_errors, access, self._console.log, self._nginx.reopen_logs))
        self._keep(self._reloads.run())
        await self._nginx.keep()

    def _check_safe(self, binary: NginxBinary) -> None:
        open_hosts = self._options.open_hosts
        if binary.safe is False and open_hosts:
            if not self._options.allow_unsafe_nginx:
                raise NginxError(
                    f"nginx may not listen on {', '.join(open_hosts)}: {binary.reason}. Install a newer one, listen on "
                    "this machine only, or accept the risk: --allow-unsafe-nginx."
                )
            self._console.say(f"Other machines can reach an nginx with known holes: {binary.reason}.")

    async def _ready(self, application: Application) -> None:
        await application.ready.wait()
        if self._options.edge:
            try:
                async with asyncio.timeout(_EDGE_SECONDS):
                    await (
                        self._edge_known.wait()
                    )  # an adopted nginx runs all along, but may have to be replaced or refused
                    await self._nginx.running.wait()
            except TimeoutError:
                why = self._reloads.last_error or "the application did not say that it wrote nginx's files."
                raise NginxError(f"The application is ready, but nginx does not run: {why}") from None

    def _greet(self) -> None:
        home = self._home.path
        self._console.say(f"Zaffre is ready at {self.address}")
        self._console.say(f"  home  {home}")
        self._console.say(f'  use   eval "$(zaffre env --home {shlex.quote(str(home))})"')
        if not self._options.edge:
            self._console.say("  no edge: scoring and notebooks answer 501")
        if self._options.open_hosts:
            name = (*self._options.names, *self._options.reached_by, socket.gethostname().lower())[0]
            host, port = split_port(name)
            shown = f"[{host}]" if ":" in host else host
            self._console.say(f"  others  zaffre login https://{shown}:{port or self._port}")
            self._console.say(f"          authority SHA-256 {certificate.fingerprint(self._home)}")
        self._console.started()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside us. It never ends by itself; when it fails, so do we."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._on_end)
        self._tasks.append(task)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self._failure.done() and not self._closing:
            self._failure.set_exception(task.exception() or SupervisorError("A part of the supervisor ended early."))

    async def _until(self, work: Coroutine[Any, Any, None] | None) -> bool:
        """Wait for `work` (True), or for a stop (False)."""
        stop = asyncio.create_task(self._stop.wait())
        wanted = asyncio.create_task(work) if work is not None else None
        try:
            waits: list[asyncio.Future[Any]] = [stop, self._failure, *([wanted] if wanted else [])]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                return False
            if self._failure.done():
                self._failure.result()
            if wanted is not None:
                wanted.result()
            return True
        finally:
            stop.cancel()
            if wanted is not None:
                wanted.cancel()

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            self._hurry.set()  # asked twice
        self._console.log("INFO", f"{number.name} received.")
        self._stop.set()

    async def _shut_down(self, commands: CommandServer) -> None:
        self._closing = True
        application, jobs = self._application, list[str]()
        if application is not None:
            self._console.say("Zaffre stops …")
            await application.stop(cancel_jobs=self._cancel_jobs, hurry=self._hurry)
            jobs = application.running_jobs
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._options.edge and (self._stop.is_set() or not self._nginx.adopted):
            await self._nginx.stop(hurry=self._hurry)
        for one in self._sockets:
            one.close()
        if jobs:
            self._console.say(f"Still running, and found again by the next start: {', '.join(jobs)}")
        if application is not None:
            self._console.say("Zaffre has stopped.")
        for path in (self._home.supervisor, self._home.application, self._home.command_socket):
            path.unlink(missing_ok=True)
        await commands.finish({"stopped": True, "running_jobs": jobs, "pid": os.getpid()})
