"""Large artifacts on their way up: nginx keeps them as files, and the application adopts those. What is refused is refused before it
is sent, whoever gives up leaves nothing, and no client's word makes another file of this machine its upload."""

from __future__ import annotations

import hashlib
import os
import shutil

import pytest

from tests.support.uploads import answer, kept, upload
from tests.support.zaffre_server import ZaffreServer, eventually
from zaffre.gateway import bodies

SIZE = 12_000_000
BODY = os.urandom(SIZE)
HALF = SIZE // 2


@pytest.fixture
def place(server: ZaffreServer) -> str:
    """The path of an artifact that is not there yet."""
    return f"/tracking{server.scope}/api/2.0/mlflow-artifacts/artifacts/uploads/{os.urandom(8).hex()}"


def stored(server: ZaffreServer, path: str) -> bytes | None:
    found = server.request("GET", path)
    return found.body if found.status == 200 else None


def test_the_edge_keeps_it_and_the_file_itself_is_adopted(server: ZaffreServer, place: str) -> None:
    key = server.credentials["api_key"]
    with upload(server, place, SIZE, token=key) as connection:
        connection.send(BODY[:HALF])
        (file,) = eventually(lambda: kept(server), bool, what="a file of nginx's")
        number = file.stat().st_ino
        connection.send(BODY[HALF:])
        status, _, arrived = answer(connection)
    digest = hashlib.sha256(BODY).hexdigest()
    assert (status, arrived) == (200, digest)
    there = server.home / "objects" / digest[:2] / digest
    eventually(lambda: kept(server), lambda found: not found, what="nginx has removed its name")
    assert (there.stat().st_ino, there.stat().st_nlink, there.stat().st_mode & 0o777) == (number, 1, 0o400)
    assert stored(server, place) == BODY
    # The same bytes again, under another name: one object.
    with upload(server, place + "-too", SIZE, token=key) as connection:
        connection.send(BODY)
        assert answer(connection)[0] == 200
    assert there.stat().st_ino == number and stored(server, place + "-too") == BODY


@pytest.mark.parametrize(
    ("size", "mine", "code"), [(SIZE, False, 401), (10**15, True, 507), (SIZE, True, 404)], ids=["who", "full", "where"]
)
def test_what_is_refused_is_refused_before_it_is_sent(
    server: ZaffreServer, place: str, size: int, mine: bool, code: int
) -> None:
    token = server.credentials["api_key"] if mine else None
    path = place if code != 404 else place.replace("/workspaces/", "/workspaces/no-")
    with upload(server, path, size, token=token) as connection:
        status, body, _ = answer(connection)
    assert status == code and body["error_code"] and body["message"]
    assert not kept(server)


@pytest.mark.parametrize("size", [SIZE, 7])
def test_no_client_names_the_file(server: ZaffreServer, place: str, size: int) -> None:
    for told in ("./tmp/body/0000000001", "0000000001", "/etc/passwd"):
        with upload(
            server, place, size, token=server.credentials["api_key"], headers={"X-Zf-Body": told}
        ) as connection:
            connection.send(BODY[:size])
            assert answer(connection)[::2] == (200, hashlib.sha256(BODY[:size]).hexdigest())
    assert stored(server, place) == BODY[:size]


def test_with_a_token_that_may_end_meanwhile_it_goes_on_as_it_comes(server: ZaffreServer, place: str) -> None:
    with upload(server, place, SIZE, token=server.token()) as connection:
        connection.send(BODY[:HALF])
        eventually(
            lambda: list((server.home / "objects" / "drafts").iterdir()), bool, what="the application's own file"
        )
        assert not kept(server)
        connection.send(BODY[HALF:])
        assert answer(connection)[0] == 200
    assert stored(server, place) == BODY


def test_what_would_be_hashed_for_minutes_is_hashed_as_it_comes(server: ZaffreServer, place: str) -> None:
    size = 2 * bodies.LARGEST
    if shutil.disk_usage(server.home).free < size:
        pytest.skip("the disk would be full before")
    with upload(server, place, size, token=server.credentials["api_key"]) as connection:
        connection.send(BODY)
        eventually(
            lambda: list((server.home / "objects" / "drafts").iterdir()), bool, what="the application's own file"
        )
        assert not kept(server)
    eventually(lambda: list((server.home / "objects" / "drafts").iterdir()), lambda found: not found, what="it is gone")


def test_whoever_gives_up_leaves_nothing(server: ZaffreServer, place: str) -> None:
    with upload(server, place, SIZE, token=server.credentials["api_key"]) as connection:
        connection.send(BODY[:HALF])
        eventually(lambda: kept(server), bool, what="a file of nginx's")
    eventually(lambda: kept(server), lambda found: not found, what="the file is gone")
    assert stored(server, place) is None


def test_an_address_that_only_looks_like_an_artifacts_is_no_place(server: ZaffreServer) -> None:
    found = server.request("PUT", "/tracking/x/mlflow-artifacts/artifacts/y", BODY)
    assert found.status == 404 and not kept(server)
