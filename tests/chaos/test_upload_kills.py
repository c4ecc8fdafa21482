"""`kill -9` in the middle of a large upload: of the application, which the upload outlives, and of nginx, after which it is sent again."""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.clients import PatientServer, kill
from tests.support.uploads import answer, kept, upload
from tests.support.zaffre_server import eventually

BODY = os.urandom(16_000_000)
HALF = len(BODY) // 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PatientServer]:
    made = PatientServer(tmp_path_factory.mktemp("uploads") / "home")
    made.up()
    yield made
    made.destroy()


@contextlib.contextmanager
def _half_sent(server: PatientServer, path: str) -> Iterator[http.client.HTTPSConnection]:
    with upload(server, path, len(BODY), token=server.credentials["api_key"]) as connection:
        connection.send(BODY[:HALF])
        eventually(lambda: kept(server), bool, what="a file of nginx's")
        yield connection


def _address(server: PatientServer, name: str) -> str:
    return f"/tracking{server.scope}/api/2.0/mlflow-artifacts/artifacts/kills/{name}"


def _drafts(server: PatientServer) -> list[Path]:
    return list((server.home / "objects" / "drafts").iterdir())


def test_an_upload_outlives_the_application(server: PatientServer) -> None:
    path = _address(server, "outlives")
    with _half_sent(server, path) as connection:
        kill(server, "application")
        connection.send(BODY[HALF:])
        status, told, _ = answer(connection)
    assert status == 200, told
    assert server.request("GET", path).body == BODY
    assert not _drafts(server)


def test_an_upload_that_ended_with_nginx_is_sent_again(server: PatientServer) -> None:
    path = _address(server, "again")
    with _half_sent(server, path):
        kill(server, "nginx")
    assert server.request("GET", path).status == 404
    assert server.request("PUT", path, BODY).status == 200
    assert server.request("GET", path).body == BODY
    assert not _drafts(server)
