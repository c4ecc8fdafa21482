"""What runs beside all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.clients import PatientServer
from tests.chaos.outage import Outage


@pytest.fixture(scope="session", autouse=True)
def outage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outage | None]:
    """The minute without a server goes by beside the other tests, on a home of its own."""
    if not any(item.module.__name__.endswith("test_outage") for item in request.session.items):
        yield None
        return
    running = Outage(PatientServer(tmp_path_factory.mktemp("outage") / "home"))
    yield running
    running.server.destroy()
