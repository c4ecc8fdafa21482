"""A gateway with nothing but the Blob protocol, in this process, on a port of its own: what blob tests talk to."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from zaffre.gateway.app import Gateway
from zaffre.protocols.blob import mount
from zaffre.protocols.blob.documents import error_answer
from zaffre.runtime import Runtime
from zaffre.services.access import Principal
from zaffre.services.blobs import Blobs
from zaffre.services.collection import Collector
from zaffre.services.keys import ApiKeys
from zaffre.services.tokens import MACHINE_LEARNING, STORAGE, Tokens
from zaffre.services.workspaces import Workspace, Workspaces
from zaffre.settings import Settings
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.objects import Objects
from zaffre.store.seal import Vault
from zaffre.store.unit import PLATFORM

OWNER = Principal(id="0", name="owner@example.org")


class Clock(Runtime):
    """The real time plus what a test adds to it."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now(self) -> int:
        return super().now() + self.ahead_ms


class Services:
    """Database, objects and services in a folder; `workspace` is one of two that exist."""

    def __init__(self, home: Path, port: int = 0, url: str | None = None) -> None:
        self.clock = Clock()
        self.settings = Settings(home=home, port=port)
        self.database = Database(url or f"sqlite:///{home / 'zaffre.db'}", self.clock)
        tables.metadata.create_all(self.database.engine)
        self.objects = Objects(self.settings.objects, self.clock)
        self.workspaces = Workspaces(self.database, Vault(self.settings.keys / "vault.key"), "local")
        self.blobs = Blobs(self.database, self.objects, self.workspaces)
        self.collector = Collector(self.database, self.objects)
        self.tokens = Tokens(self.settings, self.clock, lambda *_: True)
        self.workspace = asyncio.run(self.workspaces.create(PLATFORM, "sub", "group", "one", {}))
        self.other = asyncio.run(self.workspaces.create(PLATFORM, "sub", "group", "two", {}))
        self.key = self.key_of(self.workspace)

    def key_of(self, workspace: Workspace) -> str:
        return asyncio.run(self.workspaces.account_key(workspace))

    def token(self, audience: str = STORAGE, principal: Principal = OWNER) -> str:
        return self.tokens.mint(principal, audience)[0]

    def run_token(self, workspace: Workspace, run: str = "job1") -> str:
        assert MACHINE_LEARNING in self.tokens.audiences
        return self.tokens.mint_run(workspace.id, run, "owner@example.org", 1)[0]

    def close(self) -> None:
        self.objects.close()
        self.database.close()


class BlobServer(Services):
    """The same behind HTTP. `url` is the account's address in path style, as the SDK composes it."""

    def __init__(self, home: Path) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        super().__init__(home, self.port)
        blob = mount(self.blobs, self.tokens, self.settings, self.clock)
        api_keys = ApiKeys(self.database)
        gateway = Gateway([], [blob], {"blob": error_answer}, self.tokens, api_keys, self.workspaces, self.database)
        config = uvicorn.Config(gateway, log_level="warning", lifespan="off", proxy_headers=False)
        self._server = _Announcing(config)
        self._thread = threading.Thread(target=self._server.run, args=([self.socket],), daemon=True)
        self._thread.start()
        assert self._server.ready.wait(20), "the server did not start"

    @property
    def url(self) -> str:
        return self.url_of(self.workspace)

    def url_of(self, workspace: Workspace) -> str:
        return f"http://127.0.0.1:{self.port}/{workspace.account}.blob.core.windows.net"

    def path(self, container: str = "", name: str = "", workspace: Workspace | None = None) -> str:
        """A request's path; `name` goes as it is, encoded or not."""
        first = f"/{(workspace or self.workspace).account}.blob.core.windows.net"
        return first + (f"/{container}" if container else "") + (f"/{name}" if name else "")

    def request(
        self, method: str, path: str, body: bytes | None = None, *, token: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request that no client library has tidied; `_` in a header's name stands for `-`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            given["authorization"] = f"Bearer {token}"
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in given.items():
                connection.putheader(name, value)
            if body is not None and "content-length" not in given:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self.socket.close()
        super().close()


Answer = tuple[int, dict[str, str], bytes]


def code_of(answer: Answer) -> tuple[int, str]:
    """Status and error code; that the body names the same code is checked."""
    status, headers, body = answer
    code = headers.get("x-ms-error-code", "")
    if status >= 400 and body:
        assert ET.fromstring(body).findtext("Code") == code
    return status, code


def upload(server: BlobServer, name: str, data: bytes = b"data", box: str = "azureml", **headers: str) -> Answer:
    """Put a blob with the owner's token."""
    path = server.path(box, name)
    return server.request("PUT", path, data, token=server.token(), x_ms_blob_type="BlockBlob", **headers)


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        self.ready.set()


@contextlib.contextmanager
def blob_server(home: Path) -> Iterator[BlobServer]:
    server = BlobServer(home)
    try:
        yield server
    finally:
        server.close()
