"""`kill -9` while a workspace is deleted: the deletion goes on where it was, and ends once."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.clients import ARM, PatientServer
from tests.support.zaffre_server import eventually
from zaffre.store import crashpoint

POINTS = ("Succeeded>Deleting/after", "Deleting>Deleted/before", "Deleting>Deleted/after")


def test_a_deletion_outlives_the_application(tmp_path: Path) -> None:
    crashes = ";".join(f"workspaces/doomed/{point}" for point in POINTS)
    server = PatientServer(tmp_path / "home", environment={crashpoint.VARIABLE: crashes}).up()
    try:
        scope = server.scope.replace("/default", "/doomed")
        assert server.request("PUT", f"{scope}?{ARM}", {"properties": {}}).status == 200
        environment = {"properties": {"image": "python:3.11"}}
        assert server.request("PUT", f"{scope}/environments/e/versions/1?{ARM}", environment).status == 201
        answer = server.request("DELETE", f"{scope}?{ARM}")
        # The application died before it could answer; the client asked again, and was told that it is being done.
        assert answer.status in (202, 404, 409), answer.body
        marks = server.home / "run" / "crashpoints"
        eventually(lambda: len(list(marks.glob("*"))), lambda n: n == len(POINTS), seconds=120, what="every death")
        eventually(
            lambda: server.request("GET", f"{scope}?{ARM}").status,
            lambda status: status == 404,
            seconds=60,
            what="the end of the workspace",
        )
        assert server.request("PUT", f"{scope}?{ARM}", {"properties": {}}).status == 200
        assert server.request("GET", f"{scope}/environments?{ARM}").json["value"] == []
    finally:
        server.destroy()
