"""A job that logs metrics through a minute without a server ends Completed, with all of them."""

from __future__ import annotations

from tests.chaos.clients import Tracking
from tests.chaos.outage import STEPS, Outage


def test_metrics_through_a_minute_without_a_server(outage: Outage) -> None:
    assert outage.result() >= 60
    assert outage.server.status("metrics") == "Completed"
    lines = outage.server.job_log("metrics").splitlines()
    # mlflow adds two lines of its own when the program ends.
    assert [line for line in lines if line.startswith("step")] == [f"step {i}" for i in range(STEPS)]
    found = Tracking(outage.server).history("metrics", "m")
    assert [(point["step"], point["value"]) for point in found] == [(i, i / 4) for i in range(STEPS)]
