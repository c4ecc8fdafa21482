"""A minute of random requests: no 5xx, nothing stored by a request that was refused, no answer that shows our insides."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.fuzz.fuzzer import Fuzzer, routes_of
from tests.support.zaffre_server import Answer, ZaffreServer


def test_no_request_breaks_the_server(tmp_path: Path) -> None:
    seed = int(os.environ.get("ZAFFRE_FUZZ_SEED") or random.SystemRandom().randrange(2**32))
    server = ZaffreServer(tmp_path / "home").up()
    try:
        fuzzer = Fuzzer(server, routes_of(tmp_path / "routes"), seed)
        sees_what_is_wrong(fuzzer)
        fuzzer.run(float(os.environ.get("ZAFFRE_FUZZ_SECONDS") or 60))
        assert not fuzzer.failures, f"seed {seed}:\n" + "\n\n".join(fuzzer.failures)
        assert sum(fuzzer.asked.values()) >= len(fuzzer.asked) > 100
        assert server.request("GET", "/healthz", token=None).status == 200
    finally:
        server.destroy()


def sees_what_is_wrong(fuzzer: Fuzzer) -> None:
    """The instrument itself: what it must call a failure, and that it notices what is stored."""
    assert fuzzer.problem(Answer(500, {}, b""), 0.1) == "a 5xx"
    assert fuzzer.problem(Answer(400, {}, b"Traceback (most recent call last)"), 0.1)
    assert fuzzer.problem(Answer(200, {"content-type": "application/json"}, b"{"), 0.1) == "a body that is no JSON"
    assert fuzzer.problem(Answer(200, {}, b""), 100.0)
    assert fuzzer.problem(Answer(501, {}, b"{}"), 0.1) is None
    before = fuzzer.written()
    assert fuzzer.written() == before
    server = fuzzer.server
    create = f"/tracking{server.scope}/api/2.0/mlflow/experiments/create"
    assert server.request("POST", create, {"name": "seen"}).status == 200
    assert fuzzer.written() != before
