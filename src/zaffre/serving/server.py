"""Model servers: start one from a plan, wait until it answers, tell whether it lives, stop it, read what it printed.

A server is detached: it outlives the application, and the next one finds it again by `server.json` in its folder.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from zaffre.processes import Identity
from zaffre.serving import console, diagnosis, mlflow_swagger, process, sockets
from zaffre.serving.errors import DeploymentFailed, ServerConflict
from zaffre.serving.mlflow_model import model_folder
from zaffre.serving.plan import DeploymentPlan, Probe
from zaffre.serving.probes import Health, ask
from zaffre.serving.variables import server_environment

INSTANCE = "i"
"""What the name of an instance's folder begins with; its number follows."""

_HERE = Path(__file__).parent
_RECORD = "server.json"
_CONSOLE_LINES = 30
_READ_LINES = 2000
_RETRY_S = 0.25


class _Server(msgspec.Struct, frozen=True, kw_only=True):
    """What `server.json` holds. `mark` tells our socket from the one of a later server at the same path."""

    identity: Identity
    plan: str
    socket: str
    mark: str
    console_start: int


def start(plan: DeploymentPlan) -> Identity:
    """Start the server, or find it running. It listens beside `plan.socket` until `ready` has seen it answer.

    Blocks for some milliseconds. Raises DeploymentFailed when a part of the plan is missing, ServerConflict when
    another plan's server lives in the folder.
    """
    folder = Path(plan.folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(folder):
        server = _read(folder)
        if server is not None and process.alive(server.identity):
            if server.plan != _digest(plan):
                raise ServerConflict(f"{folder} holds the living server of another plan; stop it or use a new folder.")
            if _socket(server) is not None:
                return server.identity
        if server is not None:
            # Workers outlive a killed master for a while; a server whose socket another took gets no request any more
            process.end_session(server.identity, 0)
        if (missing := diagnosis.missing_part(plan)) is not None:
            raise DeploymentFailed(plan.deployment, missing.reason, hint=missing.hint)
        return _spawn(plan, folder)


def alive(folder: str | Path) -> bool:
    """Whether the server of this folder runs, whoever started it."""
    return identity(folder) is not None


def identity(folder: str | Path) -> Identity | None:
    """The living server of this folder, or None; `process.ended` waits for its end."""
    server = _read(Path(folder))
    return server.identity if server is not None and process.alive(server.identity) else None


def in_place(plan: DeploymentPlan) -> bool:
    """Whether the socket the edge knows is that of this folder's server."""
    server = _read(Path(plan.folder))
    return server is not None and sockets.mark(Path(plan.socket)) == server.mark


def stop(folder: str | Path, grace_s: float) -> None:
    """End the server: SIGTERM lets running requests end, after `grace_s` seconds SIGKILL. Blocks until all are gone.

    The socket goes too, unless a later server has taken its place. Stopping what does not run is no error.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return
    with _locked(folder):
        server = _read(folder)
        if server is None:
            return
        process.end_session(server.identity, grace_s)
        if (path := _socket(server)) is not None:
            path.unlink(missing_ok=True)
        (folder / _RECORD).unlink(missing_ok=True)


def folders(deployments: Path) -> list[Path]:
    """The folder of every server below that of all deployments: one in each instance's folder of each release."""
    found = [*deployments.glob("*/server.json"), *deployments.glob(f"*/{INSTANCE}[0-9]*/server.json")]
    return sorted(path.parent for path in found)


async def ready(plan: DeploymentPlan) -> None:
    """Wait until the server answers, then put its socket in the place the edge knows. Raises as `answering` does."""
    await answering(plan)
    take_place(plan)


async def answering(plan: DeploymentPlan) -> None:
    """Wait until the server answers 200 to `GET /`, as often in a row as its readiness probe wants.

    Raises DeploymentFailed when the server ends or does not answer within `plan.startup_timeout_s`. The server of a
    failed deployment is not stopped here.
    """
    folder = Path(plan.folder)
    server = _read(folder)
    if server is None:
        raise DeploymentFailed(plan.deployment, "no server was started.")
    seen: list[Health] = []
    ended = asyncio.create_task(process.ended(server.identity))
    answered = asyncio.create_task(_answers(plan, server, seen))
    try:
        await asyncio.wait({ended, answered}, timeout=plan.startup_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if answered.done():
            answered.result()
        elif ended.done():
            raise _failed(plan, diagnosis.explain(plan, _output(server, folder)), server)
        else:
            detail = seen[-1].detail if seen else ""
            raise _failed(plan, diagnosis.never_ready(plan, detail), server)
    finally:
        ended.cancel()
        answered.cancel()
        await asyncio.gather(ended, answered, return_exceptions=True)


def take_place(plan: DeploymentPlan) -> None:
    """Put the server's socket in the place the edge knows; whoever had it keeps the requests it has, and gets no more.

    Raises DeploymentFailed where the server's socket is gone.
    """
    server = _read(Path(plan.folder))
    path = _socket(server) if server is not None else None
    if path is None:
        raise DeploymentFailed(plan.deployment, "a later server has taken its socket; this one is superseded.")
    if path != Path(plan.socket):
        path.replace(plan.socket)


def logs(folder: str | Path, tail: int) -> str:
    """The last `tail` lines of what the server printed, over restarts; empty when it never ran."""
    return console.tail(Path(folder), tail)


def trim_logs(folder: str | Path, limit: int = 64 * 1024 * 1024) -> bool:
    """Move a log longer than `limit` bytes aside; to be called now and then, since every request is a line."""
    return console.trim(Path(folder), limit)


def _spawn(plan: DeploymentPlan, folder: Path) -> Identity:
    app_root, script = _application(plan, folder)
    environment = server_environment(plan, app_root, script, os.environ)
    socket = Path(plan.socket)
    coming = sockets.coming(socket)
    output = os.open(folder / console.NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    gate, opener = os.pipe()  # boot.py waits at it until server.json is written, and ends when we end before
    try:
        console_start = console.size(folder)
        with sockets.listen(coming) as listener:
            mark = sockets.mark(coming)
            assert mark is not None, f"{coming} was removed while it was bound"
            identity = process.spawn(
                [plan.interpreter, str(_HERE / "boot.py"), str(app_root), "--entry_script", str(script)],
                environment=environment,
                stdin=gate,
                output=output,
                listener=listener.fileno(),
            )
        record = _Server(
            identity=identity, plan=_digest(plan), socket=plan.socket, mark=mark, console_start=console_start
        )
        _write(folder, record)
        os.write(opener, b"\n")
    finally:
        for descriptor in (gate, opener, output):
            os.close(descriptor)
    return identity


def _application(plan: DeploymentPlan, folder: Path) -> tuple[Path, Path]:
    """The folder that is AML_APP_ROOT and the script in it. Ours is copied: workers started later must get the same."""
    if plan.kind == "script":
        assert plan.code_dir is not None and plan.entry_script is not None, "checked by the plan"
        return Path(plan.code_dir), Path(plan.code_dir) / plan.entry_script
    app_root = folder / "app"
    app_root.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(_HERE / "mlflow_score" / "score.py", app_root / "score.py")
    for name, text in mlflow_swagger.documents(model_folder(Path(plan.model_dir)), plan.endpoint).items():
        (app_root / name).write_text(text, encoding="utf-8")
    return app_root, app_root / "score.py"


async def _answers(plan: DeploymentPlan, server: _Server, seen: list[Health]) -> None:
    """Ask until the readiness probe is content. One question waits in the backlog while the worker starts."""
    in_a_row = 0
    while in_a_row < plan.readiness.success_threshold:
        path = _socket(server)
        if path is None:
            return  # superseded; whoever wants to take the place is told
        answer = await ask(path, None)
        seen.append(answer)
        in_a_row = in_a_row + 1 if answer.ok else 0
        if in_a_row < plan.readiness.success_threshold:
            await asyncio.sleep(plan.readiness.period_s if answer.ok else _RETRY_S)


def _socket(server: _Server) -> Path | None:
    """Where this server's socket lies now: waiting, in its place, or nowhere since another one took it."""
    place = Path(server.socket)
    return next((path for path in (sockets.coming(place), place) if sockets.mark(path) == server.mark), None)


def _failed(plan: DeploymentPlan, found: diagnosis.Diagnosis, server: _Server) -> DeploymentFailed:
    lines = diagnosis.excerpt(_output(server, Path(plan.folder)), _CONSOLE_LINES)
    return DeploymentFailed(plan.deployment, found.reason, hint=found.hint, console=lines)


def _output(server: _Server, folder: Path) -> str:
    return console.tail(folder, _READ_LINES, since=server.console_start)


def _digest(plan: DeploymentPlan) -> str:
    """Of what the server is started with. How it is watched may change while it runs."""
    bare = msgspec.structs.replace(plan, liveness=Probe(), readiness=Probe(), startup_timeout_s=1.0)
    return hashlib.sha256(msgspec.json.encode(bare, order="deterministic")).hexdigest()


def _read(folder: Path) -> _Server | None:
    try:
        return msgspec.json.decode((folder / _RECORD).read_bytes(), type=_Server)
    except FileNotFoundError:
        return None


def _write(folder: Path, server: _Server) -> None:
    temporary = folder / (_RECORD + ".new")
    temporary.write_bytes(msgspec.json.encode(server))
    temporary.chmod(0o600)
    temporary.replace(folder / _RECORD)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One start or stop at a time for a folder."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
