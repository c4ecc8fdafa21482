"""One server for all tests of a session that do not kill it, and none for those that need none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.databases import database, empty_schema, postgres_url
from tests.support.zaffre_server import ZaffreServer

__all__ = ["database", "postgres_url"]

# A busy machine is no failure: no test here measures time.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("here")

ROOT = Path(__file__).parent.parent
TESTED = ROOT / "docs" / "coverage_tested.csv"
RECORD = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZaffreServer]:
    """A running server. Tests share it, so each uses names of its own and leaves others' things alone.

    With ZAFFRE_TEST_DATABASE=postgres in the environment it keeps its records in PostgreSQL.
    """
    folder = tmp_path_factory.mktemp("zaffre")
    request.config.stash[RECORD] = folder / "operations.csv"
    (folder / "data").mkdir()
    given = {"ZAFFRE_RECORD": str(folder / "operations.csv"), "ZAFFRE_DATA_FOLDERS": str(folder / "data")}
    if os.environ.get("ZAFFRE_TEST_DATABASE") == "postgres":
        given["ZAFFRE_DATABASE_URL"] = empty_schema()
    running = ZaffreServer(folder / "home", environment=given).up()
    yield running
    running.destroy()


@pytest.fixture(scope="session")
def client_environment(server: ZaffreServer) -> Iterator[ZaffreServer]:
    """The process's own variables set as after `eval "$(zaffre env)"`; import clients only inside of it."""
    before = dict(os.environ)
    os.environ.update(server.variables)
    yield server
    os.environ.clear()
    os.environ.update(before)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What real clients were answered goes to docs/coverage_tested.csv when asked; a claim in it that no full run shows fails."""
    path = session.config.stash.get(RECORD, None)
    if path is None or not path.exists():
        return
    seen = set(path.read_text().splitlines())
    claimed = set(TESTED.read_text().splitlines()) if TESTED.exists() else set()
    if os.environ.get("ZAFFRE_UPDATE_COVERAGE"):
        TESTED.write_text("".join(f"{line}\n" for line in sorted(seen | claimed)))
    elif session.config.args == [str(ROOT / "tests")] or session.config.args == ["tests"]:
        lost = sorted(claimed - seen)
        if lost and exitstatus == 0:
            print("docs/coverage.md claims what no client did in this run:", *lost, sep="\n  ")
            session.exitstatus = 1
