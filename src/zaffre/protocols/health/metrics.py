"""`/metrics`, as Prometheus reads it. The library that knows the format is loaded by the first scrape, not by the start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from starlette.responses import Response

from zaffre import __version__
from zaffre.gateway.call import Call
from zaffre.services.endpoints import DEPLOYMENT
from zaffre.services.measures import Histogram, Measures
from zaffre.store import jobs, resources
from zaffre.store.database import Database

KEPT_S = 5.0
"""How long counts from the database are good: several scrapers cost no more than one."""

Counts = Mapping[str, int]


class Metrics:
    """Answers scrapes. Who may see which operations are used may read everything else, too, so it wants a reader."""

    def __init__(self, database: Database, measures: Measures) -> None:
        self._database = database
        self._measures = measures
        self._counted: tuple[float, Counts, Counts] | None = None
        self._one = asyncio.Lock()

    async def scrape(self, call: Call) -> Response:
        accept = call.headers.get("accept", "")
        async with self._one:
            states = await self._states()
        requests = dict(self._measures.requests)
        seconds = dict(self._measures.seconds)
        # Thousands of lines: more than the event loop may be held for.
        content, kind = await asyncio.to_thread(self._render, accept, requests, seconds, *states)
        return Response(content, headers={"content-type": kind, "cache-control": "no-store"})

    async def _states(self) -> tuple[Counts, Counts]:
        if self._counted is None or time.monotonic() - self._counted[0] > KEPT_S:
            found = await self._database.read(_count)
            self._counted = (time.monotonic(), *found)
        return self._counted[1:]

    def _render(
        self,
        accept: str,
        requests: dict[tuple[str, str, str], int],
        seconds: dict[tuple[str, str], Histogram],
        job_states: Counts,
        deployment_states: Counts,
    ) -> tuple[bytes, str]:
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
        from prometheus_client.exposition import choose_encoder

        measures, database = self._measures, self._database

        def gauge(name: str, words: str, label: str, counts: Counts) -> Any:
            family = GaugeMetricFamily(name, words, labels=[label])
            for value, count in sorted(counts.items()):
                family.add_metric([value], count)
            return family

        def histogram(name: str, words: str, found: Histogram) -> Any:
            buckets, total = found.read()
            return HistogramMetricFamily(name, words, buckets=buckets, sum_value=total)

        class Collector:
            def collect(self) -> Iterator[Any]:
                yield gauge("zaffre_build", "Always 1; the version is the label.", "version", {__version__: 1})
                counter = CounterMetricFamily(
                    "zaffre_requests", "Requests answered.", labels=["protocol", "operation", "status"]
                )
                for labels, count in sorted(requests.items()):
                    counter.add_metric(labels, count)
                yield counter
                times = HistogramMetricFamily(
                    "zaffre_request_seconds",
                    "From a request's arrival to the start of its answer.",
                    labels=["protocol", "operation"],
                )
                for operation, one in sorted(seconds.items(), key=lambda item: item[0]):
                    times.add_metric(operation, *one.read())
                yield times
                yield gauge("zaffre_jobs", "Jobs by state; Queued ones wait for their compute.", "state", job_states)
                yield gauge("zaffre_deployments", "Online deployments by state.", "state", deployment_states)
                yield GaugeMetricFamily(
                    "zaffre_writer_waiting", "Units of work that wait for the database's writer.", database.waiting
                )
                yield histogram("zaffre_writer_batch_units", "Units of work that shared a commit.", measures.batches)
                yield histogram(
                    "zaffre_writer_commit_seconds", "What a commit took, its units included.", measures.commits
                )
                yield histogram(
                    "zaffre_event_loop_lag_seconds",
                    "How long the event loop was held, looked at twice a second.",
                    measures.lag,
                )

        registry = CollectorRegistry()
        registry.register(Collector())
        ProcessCollector(registry=registry)  # memory, CPU, open files, start
        encode, kind = choose_encoder(accept)
        return encode(registry), kind


def _count(conn: sa.Connection) -> tuple[Counts, Counts]:
    return jobs.state_counts(conn), resources.state_counts(conn, DEPLOYMENT)
