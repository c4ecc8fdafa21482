"""Webhooks by MLflow's own client: what happens in the registry is told once it is on disk, signed, until it is taken."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookEvent, WebhookStatus
from mlflow.exceptions import MlflowException

from tests.support.mlflow_server import MlflowServer
from zaffre.control.webhooks import WebhookController
from zaffre.errors import Conflict
from zaffre.store import tables
from zaffre.store.unit import PLATFORM

SECRET = "what only the two know"


class Receiver:
    """`answers` are the statuses it gives, one a request, 200 when they are used up; `got` what it was told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], str]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                receiver.got.append((dict(self.headers), text))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.send_header("Location", f"http://localhost:{receiver.port}/elsewhere")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_said: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/hook?from=zaffre"

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(text) for _, text in self.got]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def server(tmp_path: Path, receiver: Receiver) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path, (f"http://localhost:{receiver.port}", "*.example.com"))
    yield made
    made.close()


@pytest.fixture
def client(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", server.token)
    return MlflowClient(server.uri, server.uri)


def waiting(server: MlflowServer) -> int:
    count = sa.select(sa.func.count()).select_from(tables.webhook_deliveries)
    return int(server.database.read_now(lambda conn: conn.execute(count).scalar_one()))


def deliver(server: MlflowServer, *, all_due: bool = False) -> None:
    """What a server's controller does, until nothing more is due."""

    async def work() -> None:
        if all_due:
            await server.database.write(
                lambda unit: unit.conn.execute(sa.update(tables.webhook_deliveries).values(due_at=0))
            )
        controller = WebhookController(server.database, server.vault, server.sender)
        while True:
            await controller.once()
            if not controller.busy:
                return
            await asyncio.wait(controller.busy)

    asyncio.run(work())


def events(*names: str) -> list[WebhookEvent]:
    return [WebhookEvent(*name.split(".")) for name in names]


ALL = (
    "registered_model.created",
    "model_version.created",
    "model_version_tag.set",
    "model_version_tag.deleted",
    "model_version_alias.created",
    "model_version_alias.deleted",
)


def test_what_happens_is_told_signed_and_once(server: MlflowServer, client: MlflowClient, receiver: Receiver) -> None:
    hook = client.create_webhook("all", receiver.url, events(*ALL), secret=SECRET)
    client.create_webhook("off", receiver.url, events(*ALL), status=WebhookStatus.DISABLED)
    client.create_registered_model("wine", tags={"a": "b"}, description="red")
    client.create_model_version("wine", "s3://bucket/wine")
    client.set_model_version_tag("wine", "1", "k", "v")
    client.delete_model_version_tag("wine", "1", "k")
    client.set_registered_model_alias("wine", "best", "1")
    client.delete_registered_model_alias("wine", "best")
    with pytest.raises(MlflowException):
        client.create_registered_model("wine")  # what fails is not told
    deliver(server)
    told = receiver.told()
    assert [f"{one['entity']}.{one['action']}" for one in told] == list(ALL)
    assert [one["data"] for one in told[:2]] == [
        {"name": "wine", "tags": {"a": "b"}, "description": "red"},
        {
            "name": "wine",
            "version": "1",
            "source": "s3://bucket/wine",
            "run_id": None,
            "tags": {},
            "description": None,
        },
    ]
    assert told[2]["data"] == {"name": "wine", "version": "1", "key": "k", "value": "v"}
    assert told[5]["data"] == {"name": "wine", "alias": "best"}
    headers, text = receiver.got[0]
    signed = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.{text}".encode()
    mac = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["X-MLflow-Signature"] == f"v1,{mac}"
    assert waiting(server) == 0
    for path in Path(server.settings.home).glob("zaffre.db*"):
        assert SECRET.encode() not in path.read_bytes()
    assert client.get_webhook(hook.webhook_id).secret is None


PROMPTS = (
    "prompt.created",
    "prompt_version.created",
    "prompt_tag.set",
    "prompt_version_tag.set",
    "prompt_version_tag.deleted",
    "prompt_alias.created",
    "prompt_alias.deleted",
)


def test_what_happens_to_prompts_is_told_as_theirs(
    server: MlflowServer, client: MlflowClient, receiver: Receiver
) -> None:
    client.create_webhook("all", receiver.url, events(*ALL, *PROMPTS))
    client.register_prompt("greeting", "Hello {{name}}!", tags={"team": "blue"})
    client.set_prompt_tag("greeting", "use", "mail")
    client.set_prompt_version_tag("greeting", 1, "k", "v")
    client.delete_prompt_version_tag("greeting", 1, "k")
    client.set_prompt_alias("greeting", "live", 1)
    client.delete_prompt_alias("greeting", "live")
    deliver(server)
    told = {f"{one['entity']}.{one['action']}": one["data"] for one in receiver.told()}
    assert set(told) == set(PROMPTS)
    assert told["prompt_version.created"]["template"] == "Hello {{name}}!"
    assert "mlflow.prompt.is_prompt" not in told["prompt_version.created"]["tags"]
    assert told["prompt_version_tag.set"] == {"name": "greeting", "version": "1", "key": "k", "value": "v"}


def test_what_the_other_side_changes_is_told_alike(
    server: MlflowServer, client: MlflowClient, receiver: Receiver
) -> None:
    client.create_webhook("all", receiver.url, events(*ALL))
    client.create_registered_model("wine")
    client.create_model_version("wine", "s3://bucket/wine", tags={"kept": "1", "changed": "1", "gone": "1"})
    deliver(server)
    receiver.got.clear()
    kinds = server.resources.kinds

    def put(type_: str, parent: str, name: str, properties: dict[str, Any]) -> None:
        """As ARM's provider does it for PUT and PATCH."""
        body = {"properties": properties}
        asyncio.run(server.resources.put(PLATFORM, server.workspace, kinds[type_], parent, name, body))

    def properties() -> dict[str, Any]:
        kind = kinds["workspaces/models/versions"]
        row = asyncio.run(server.resources.get(server.workspace, kind, "wine", "1"))
        return dict(row.body["properties"])

    tags = {"kept": "1", "changed": "2", "new": "3"}
    for _ in range(2):  # the second changes nothing
        put("workspaces/models/versions", "wine", "1", {**properties(), "tags": tags})
    assert client.get_model_version("wine", "1").tags == tags
    put("workspaces/models/versions", "wine", "1", {**properties(), "description": "red"})
    client.set_model_version_tag("wine", "1", "new", "4")
    put("workspaces/models", "", "beer", {"description": "pale"})
    put("workspaces/models", "", "beer", {"description": "dark"})
    deliver(server)
    told = [(f"{one['entity']}.{one['action']}", one["data"]) for one in receiver.told()]
    version = {"name": "wine", "version": "1"}
    assert told == [
        ("model_version_tag.set", {**version, "key": "changed", "value": "2"}),
        ("model_version_tag.set", {**version, "key": "new", "value": "3"}),
        ("model_version_tag.deleted", {**version, "key": "gone"}),
        ("model_version_tag.set", {**version, "key": "new", "value": "4"}),
        ("registered_model.created", {"name": "beer", "tags": {}, "description": "pale"}),
    ]
    client.register_prompt("greeting", "Hello")
    with pytest.raises(Conflict, match="prompt"):
        put("workspaces/models", "", "greeting", {})


def test_what_is_not_taken_is_told_again(server: MlflowServer, client: MlflowClient, receiver: Receiver) -> None:
    client.create_webhook("hook", receiver.url, events("registered_model.created"))
    receiver.answers = [503, 429]
    client.create_registered_model("wine")
    deliver(server)
    assert (len(receiver.got), waiting(server)) == (1, 1)
    deliver(server)  # not yet
    assert len(receiver.got) == 1
    deliver(server, all_due=True)
    deliver(server, all_due=True)
    assert (len(receiver.got), waiting(server)) == (3, 0)
    assert len({(headers["X-MLflow-Delivery-Id"], text) for headers, text in receiver.got}) == 1
    receiver.answers = [302, 404]  # neither followed nor repeated
    client.create_registered_model("red")
    client.create_registered_model("white")
    deliver(server, all_due=True)
    assert (len(receiver.got), waiting(server)) == (5, 0)


def test_a_webhook_that_goes_takes_what_was_not_told(
    server: MlflowServer, client: MlflowClient, receiver: Receiver
) -> None:
    hook = client.create_webhook("hook", receiver.url, events("registered_model.created"))
    client.create_registered_model("wine")
    assert waiting(server) == 1
    client.delete_webhook(hook.webhook_id)
    deliver(server)
    assert (receiver.got, waiting(server)) == ([], 0)


def test_a_test_says_what_the_host_answered(server: MlflowServer, client: MlflowClient, receiver: Receiver) -> None:
    hook = client.create_webhook("hook", receiver.url, events("model_version.created"), secret=SECRET)
    receiver.answers = [200, 500]
    good = client.test_webhook(hook.webhook_id)
    assert (good.success, good.response_status, good.response_body) == (True, 200, "ok")
    bad = client.test_webhook(hook.webhook_id, WebhookEvent("model_version_alias", "deleted"))
    assert (bad.success, bad.response_status) == (False, 500)
    assert receiver.told()[1]["data"] == {"name": "example_model", "alias": "example_alias"}
    client.test_webhook(hook.webhook_id, WebhookEvent("prompt_tag", "deleted"))
    assert receiver.told()[2]["data"] == {"name": "example_prompt", "key": "example_key"}


def test_only_where_the_operator_allows(server: MlflowServer, client: MlflowClient, receiver: Receiver) -> None:
    for url in (
        "https://elsewhere.org/x",
        f"https://localhost:{receiver.port}",
        "http://localhost/",
        "https://a@b.example.com/",
    ):
        with pytest.raises(MlflowException, match=r"[Ww]ebhook URL"):
            client.create_webhook("hook", url, events("registered_model.created"))
    assert client.list_webhooks() == []
