"""A Zaffre to measure: started by `zaffre up` in the foreground, so that its whole process tree is ours to count."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks import processes

START_S = 120.0
ARM = "api-version=2025-01-01-preview"
ZAFFRE = Path(sys.executable).with_name("zaffre")


def environment() -> dict[str, str]:
    """Ours, without what would have each start compile its modules anew or point it at another home."""
    dropped = ("PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME", "ZAFFRE_HOME", "ZAFFRE_PORT")
    return {name: value for name, value in os.environ.items() if name not in dropped}


class ServerError(Exception):
    """The server did not start, or answered what was not expected."""


class Server:
    """One home. `up` and `down` as often as wished; a context manager that leaves it down."""

    def __init__(self, home: Path, variables: dict[str, str] | None = None) -> None:
        """`variables` are settings of the server, as an operator gives them."""
        self.home = home
        self._variables = variables or {}
        self._process: subprocess.Popen[str] | None = None
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115  lives as long as this object

    def __enter__(self) -> Server:
        return self.up()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> Server:
        self._process = process = subprocess.Popen(
            [ZAFFRE, "up", "--home", self.home, "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._output,
            env={**environment(), **self._variables},
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if "is ready at" in line:
                return self
        self._output.seek(0)
        raise ServerError(f"zaffre up ended with {process.wait()}:\n{self._output.read()}")

    def down(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=START_S)
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "it is up"
        return self._process.pid

    @property
    def application(self) -> int:
        return int(json.loads((self.home / "run" / "application.json").read_bytes())["pid"])

    @property
    def nginx(self) -> list[int]:
        """The master and its workers."""
        return processes.tree(int(json.loads((self.home / "run" / "nginx.json").read_bytes())["pid"]))

    @property
    def credentials(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.home / "credentials").read_bytes())
        return found

    @property
    def port(self) -> int:
        return int(self.credentials["address"].rpartition(":")[2])

    @property
    def scope(self) -> str:
        """The ARM id of the default workspace."""
        names = self.credentials
        return (
            f"/subscriptions/{names['subscription']}/resourceGroups/{names['resource_group']}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{names['workspace']}"
        )

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.credentials['api_key']}"}

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.home / "bundle.pem"))

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        connection = http.client.HTTPSConnection("localhost", self.port, context=self.context(), timeout=60)
        try:
            yield Client(connection, self.authorization)
        finally:
            connection.close()


RESTED_S = 60.0
"""nginx closes a connection that was not used for 75 seconds; a peer's round may take longer."""


class Client:
    """Requests over one connection that stays open, or is opened again after a long rest."""

    def __init__(self, connection: http.client.HTTPConnection, headers: dict[str, str]) -> None:
        self._connection = connection
        self._headers = headers
        self._used = time.monotonic()

    def raw(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body. The owner's key is sent unless `headers` are given."""
        if time.monotonic() - self._used > RESTED_S:
            self._connection.close()
        self._connection.request(method, path, body, self._headers if headers is None else headers)
        self._used = time.monotonic()
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's document. Raises ServerError when it is no success."""
        data = None if body is None else json.dumps(body).encode()
        status, answer = self.raw(method, path, data, {**self._headers, "Content-Type": "application/json"})
        if status >= 300:
            raise ServerError(f"{method} {path}: {status}: {answer[:1000].decode(errors='replace')}")
        return json.loads(answer) if answer else None

    def arm(self, method: str, path: str, properties: dict[str, Any] | None = None, **more: Any) -> Any:
        body = None if properties is None else {"properties": properties, **more}
        return self.json(method, f"{path}?{ARM}", body)

    def wait(self, path: str, field: str, over: tuple[str, ...], *, seconds: float) -> str:
        """Ask until `properties.<field>` is one of `over`; which one."""
        deadline = time.monotonic() + seconds
        while True:
            found = str(self.arm("GET", path)["properties"].get(field))
            if found in over:
                return found
            if time.monotonic() > deadline:
                raise ServerError(f"{path} is {found} after {seconds:.0f} s, not {' or '.join(over)}")
            time.sleep(0.2)
