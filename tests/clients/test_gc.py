"""`zaffre gc` against a running server."""

from __future__ import annotations

import json
import os

from click.testing import CliRunner

from tests.support.zaffre_server import ZaffreServer
from zaffre.cli.main import cli


def test_gc_says_what_goes_and_removes_it(server: ZaffreServer) -> None:
    """An environment is what maintenance leaves alone, so nothing but the command removes it."""
    key = "0" * 64
    left = server.home / "environments" / key
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    home = ["gc", "--home", str(server.home)]
    look = CliRunner().invoke(cli, [*home, "--dry-run"], catch_exceptions=False)
    assert (look.exit_code, key[:12] in look.output) == (0, True), look.output
    assert left.exists()
    done = CliRunner().invoke(cli, [*home, "--json"], catch_exceptions=False)
    report = json.loads(done.output)
    assert (report["dryRun"], [one["key"] for one in report["environments"]]) == (False, [key])
    assert not left.exists()


def test_the_door_checks_the_wish(server: ZaffreServer) -> None:
    for body, field in (
        ({"graceMinutes": 9}, "graceMinutes"),
        ({"environmentsDays": 0}, "environmentsDays"),
        ({"dryRun": "yes"}, "dryRun"),
        ({"everything": True}, "everything"),
    ):
        answer = server.request("POST", "/zaffre/v1/collect", body)
        assert answer.status == 400
        assert field in answer.json["error"]["message"]
    assert server.request("POST", "/zaffre/v1/collect", {}, token=None).status == 401
