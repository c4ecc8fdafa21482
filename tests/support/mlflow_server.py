"""A gateway with nothing but MLflow's protocol, in this process, on a port of its own; it writes down what it is asked."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import threading
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from zaffre.gateway.app import Gateway
from zaffre.protocols import mlflow
from zaffre.runtime import Runtime
from zaffre.services import kinds
from zaffre.services.access import Principal
from zaffre.services.blobs import Blobs
from zaffre.services.direct_artifacts import DirectArtifacts
from zaffre.services.keys import ApiKeys
from zaffre.services.model_gateway import ModelGateway
from zaffre.services.model_gateway.asking import Asker
from zaffre.services.model_sources import ModelSources
from zaffre.services.places import Places
from zaffre.services.registered_models import RegisteredModels
from zaffre.services.resources import Resources
from zaffre.services.tokens import MACHINE_LEARNING, Tokens
from zaffre.services.tracking import Tracking
from zaffre.services.webhook_sending import Sender
from zaffre.services.webhooks import Webhooks
from zaffre.services.workspaces import Workspaces
from zaffre.settings import Settings
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.objects import Objects
from zaffre.store.seal import Vault
from zaffre.store.unit import PLATFORM

OWNER = Principal(id="0", name="owner@example.org")
_IDS = re.compile(r"m-[0-9a-f]{32}|[0-9a-f]{32}")


class MlflowServer:
    """`uri` is what MLFLOW_TRACKING_URI is set to, `token` goes with it; `asked` holds (method, path, status)."""

    def __init__(self, home: Path, webhook_hosts: tuple[str, ...] = (), gateway_hosts: tuple[str, ...] = ()) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        runtime = Runtime()
        self.settings = Settings(home=home, port=self.port, webhook_hosts=webhook_hosts)
        self.database = Database(f"sqlite:///{home / 'zaffre.db'}", runtime)
        tables.metadata.create_all(self.database.engine)
        self.vault = vault = Vault(self.settings.keys / "vault.key")
        self.objects = Objects(self.settings.objects, runtime)
        self.workspaces = Workspaces(self.database, vault, "local")
        self.blobs = Blobs(self.database, self.objects, self.workspaces)
        self.tokens = Tokens(self.settings, runtime, lambda *_: True)
        self.workspace = asyncio.run(self.workspaces.create(PLATFORM, "sub", "group", "one", {}))
        self.other = asyncio.run(self.workspaces.create(PLATFORM, "sub", "group", "two", {}))
        self.resources = Resources(self.database, vault, kinds.load())
        self.tracking = Tracking(self.database)
        sources = ModelSources(self.database, Places(self.resources), self.tracking)
        self.models = RegisteredModels(self.resources, sources, self.blobs)
        self.sender = Sender(webhook_hosts, self.settings.bundle)
        webhooks = Webhooks(self.database, vault, self.sender)
        self.asked: list[tuple[str, str, int]] = []
        gateway = Gateway(
            mlflow.routes(
                self.settings,
                self.tracking,
                self.models,
                self.blobs,
                DirectArtifacts(runtime, self.workspaces, self.blobs),
                webhooks,
                ModelGateway(self.database, vault, self.tracking, Asker(gateway_hosts, self.settings.bundle)),
            ),
            [],
            {"mlflow": mlflow.error_form},
            self.tokens,
            ApiKeys(self.database),
            self.workspaces,
            self.database,
        )
        config = uvicorn.Config(
            _Recording(gateway, self.asked), log_level="warning", lifespan="off", proxy_headers=False
        )
        self._server = _Announcing(config)
        self._thread = threading.Thread(target=self._server.run, args=([self.socket],), daemon=True)
        self._thread.start()
        assert self._server.ready.wait(20), "the server did not start"

    @property
    def path(self) -> str:
        return f"/tracking{self.workspace.path}"

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    @property
    def token(self) -> str:
        return self.tokens.mint(OWNER, MACHINE_LEARNING)[0]

    def run_token(self, run: str) -> str:
        return self.tokens.mint_run(self.workspace.id, run, OWNER.name, 1)[0]

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, version: str = "2.0"
    ) -> tuple[int, Any]:
        """One request below `/api/<version>/`, as no client library has tidied it; a dict goes as JSON.

        A path that begins with a slash stands below the tracking URI itself.
        """
        where = path if path.startswith("/") else f"/api/{version}/{path}"
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        return self.send(method, where, data, {}, token=token)

    def send(
        self, method: str, where: str, data: bytes | None, headers: dict[str, str], *, token: str | None = None
    ) -> tuple[int, Any]:
        """The same with headers of its own."""
        headers = {"authorization": f"Bearer {token or self.token}", **headers}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, f"{self.path}{where}", data, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(text) if is_json else text

    def operations_asked(self) -> set[tuple[str, str, int]]:
        """What was asked, without ids and without the workspace."""
        return {(method, _IDS.sub("<id>", path), status) for method, path, status in self.asked}

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self.socket.close()
        self.objects.close()
        self.database.close()


class _Recording:
    def __init__(self, app: Gateway, asked: list[tuple[str, str, int]]) -> None:
        self._app = app
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Any) -> None:
            if message["type"] == "http.response.start":
                _, _, path = scope["path"].partition("/workspaces/one")
                self._asked.append((scope["method"], path, message["status"]))
            await send(message)

        await self._app(scope, receive, noting)


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()
