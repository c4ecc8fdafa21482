"""What was to be told when the application was killed is told by the next one."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.clients.test_mlflow_webhooks import Receiver, events
from tests.support.zaffre_server import ZaffreServer, eventually


def test_a_kill_forgets_no_webhook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver()
    receiver.answers = [503, 503]
    server = ZaffreServer(
        tmp_path / "home", environment={"ZAFFRE_WEBHOOK_HOSTS": f"http://localhost:{receiver.port}"}
    ).up()
    try:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        client = MlflowClient()
        client.create_webhook("hook", receiver.url, events("registered_model.created"), secret="s")
        client.create_registered_model("wine")
        wait_for(receiver, 1)
        server.kill("application")
        wait_for(receiver, 3)
        assert len({headers["X-MLflow-Delivery-Id"] for headers, _ in receiver.got}) == 1
        assert receiver.told()[-1]["data"]["name"] == "wine"
    finally:
        server.destroy()
        receiver.close()


def wait_for(receiver: Receiver, count: int) -> None:
    eventually(lambda: len(receiver.got), lambda got: got >= count, seconds=90, what=f"{count} deliveries")
