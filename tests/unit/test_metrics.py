"""`/metrics`: what Prometheus reads, who may read it, and that labels cannot be made up by a client."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from tests.support.bad_input import ARM
from tests.support.databases import database, postgres_url
from tests.support.zaffre_server import ZaffreServer, eventually
from zaffre.services.measures import SECONDS, Histogram, Measures
from zaffre.store import jobs, resources
from zaffre.store.database import Database
from zaffre.store.unit import PLATFORM

__all__ = ["database", "postgres_url"]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(server: ZaffreServer, token: str | None = "key") -> Samples:
    answer = server.request("GET", "/metrics", token=token)
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain"), answer.body
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


def test_requests_are_counted_by_operation(server: ZaffreServer) -> None:
    labels = {"protocol": "arm", "operation": "Workspaces_Get"}
    before = scrape(server)
    for _ in range(3):
        assert server.request("GET", server.scope).status == 200
    assert server.request("GET", server.scope, token="wrong").status == 401
    after = scrape(server)

    def grown(name: str, **more: str) -> float:
        return value(after, name, **labels, **more) - value(before, name, **labels, **more)

    assert (grown("zaffre_requests_total", status="200"), grown("zaffre_requests_total", status="401")) == (3, 1)
    assert grown("zaffre_request_seconds_count") == grown("zaffre_request_seconds_bucket", le="+Inf") == 4
    assert 0 < grown("zaffre_request_seconds_sum") < 60


def test_a_client_cannot_make_up_labels(server: ZaffreServer) -> None:
    for number in range(5):
        assert server.request("GET", f"/made-up-{number}").status == 404
        assert server.request("GET", f"{server.scope}/jobs/made-up-{number}?{ARM}").status == 404
        assert server.request("GET", f"/made-up-{number}/oauth2/v2.0/authorize", token=None).status == 501
    text = server.request("GET", "/metrics").body
    assert b"made-up" not in text and b'operation="none"' in text


def test_states_of_jobs_and_the_process(server: ZaffreServer) -> None:
    assert server.put_job("metrics-job", "true").status in (200, 201)
    assert server.wait_for_job("metrics-job") == "Completed"
    found = eventually(
        lambda: scrape(server),
        lambda one: value(one, "zaffre_jobs", state="Completed") >= 1,
        what="the job to be counted",
    )
    assert value(found, "process_resident_memory_bytes") > 10_000_000 and value(found, "process_open_fds") > 3
    assert value(found, "zaffre_writer_batch_units_count") >= 5 and value(found, "zaffre_writer_commit_seconds_sum") > 0
    assert value(found, "zaffre_event_loop_lag_seconds_count") >= 1
    assert ("zaffre_writer_waiting", ()) in found
    assert any(name == "zaffre_build" for name, _ in found)


def test_who_may_read_them(server: ZaffreServer) -> None:
    made = server.request("POST", "/zaffre/v1/principals", {"name": "prometheus", "role": "Reader"}).json
    assert scrape(server, token=made["secret"])
    assert server.request("GET", "/metrics", token=None).status == 401
    assert server.request("GET", "/metrics", token="zf_wrong").status == 401


def test_a_histogram_counts_as_prometheus_does() -> None:
    found = Histogram((1.0, 2.0))
    for one in (0.5, 1.0, 1.5, 9.0):
        found.add(one)
    assert found.read() == ([("1.0", 2.0), ("2.0", 3.0), ("+Inf", 4.0)], 12.0)


def test_a_loop_that_is_held_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zaffre.services.measures.LOOK_EVERY_S", 0.01)
    measures = Measures()

    async def hold() -> None:
        watching = asyncio.create_task(measures.watch_loop())
        await asyncio.sleep(0)  # it has begun to wait
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251  what must not happen, and is looked for
        async with asyncio.timeout(60):
            while measures.lag.read()[0][-1][1] < 1:  # noqa: ASYNC110  the watcher rings no bell
                await asyncio.sleep(0.01)
        watching.cancel()

    asyncio.run(hold())
    buckets = dict(measures.lag.read()[0])
    assert buckets["+Inf"] > buckets[str(SECONDS[6])], "something took longer than a tenth of a second"


def test_every_commit_is_told(database: Database) -> None:
    told: list[tuple[int, float]] = []
    database.on_batch = lambda units, seconds: told.append((units, seconds))

    def fail(_unit: Any) -> None:
        raise ValueError("this unit alone")

    database.write_now(lambda _unit: None)
    with pytest.raises(ValueError, match="this unit alone"):
        database.write_now(fail)
    database.write_now(lambda _unit: None)
    assert all(units == 1 and seconds >= 0 for units, seconds in told) and len(told) >= 2
    assert database.waiting == 0


def test_states_are_counted_in_both_databases(database: Database) -> None:
    def count(conn: sa.Connection) -> tuple[dict[str, int], dict[str, int]]:
        return jobs.state_counts(conn), resources.state_counts(conn, "workspaces")

    assert database.read_now(count) == ({}, {})
    for number, state in enumerate(("Succeeded", "Succeeded", "Failed")):
        database.write_now(
            lambda unit, n=number, s=state: resources.insert(  # type: ignore[misc]
                unit, PLATFORM, "s/g", "workspaces", f"w{n}", {}, {}, state=s
            )
        )
    assert database.read_now(count)[1] == {"Succeeded": 2, "Failed": 1}


def test_counting_costs_next_to_nothing() -> None:
    """A request takes hundreds of microseconds; counting it must not be seen beside that."""
    measures = Measures()
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(1000):
            measures.request(("mlflow", "logMetric"), 200, 0.0005)
        best = min(best, (time.perf_counter() - began) / 1000)
    assert best < 50e-6, f"{best * 1e6:.1f} µs a request"
