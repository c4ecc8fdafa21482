"""The controllers' small parts: slots, outcomes, places, merge patch."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from zaffre.control import jobs as control_jobs
from zaffre.control.outcomes import of_event
from zaffre.control.slots import Slots
from zaffre.errors import Unavailable
from zaffre.protocols.arm.provider import merged
from zaffre.protocols.arm.table import load, operation
from zaffre.services.urls import inward, outward


def test_slots_are_given_in_order_and_never_twice() -> None:
    async def work() -> list[int]:
        slots, order = Slots(), []
        slots.take("", 1)

        async def job(number: int) -> None:
            await slots.acquire("", number, 1)
            order.append(number)
            await slots.release("", number)

        tasks = [asyncio.create_task(job(number)) for number in (4, 2, 3)]
        await asyncio.sleep(0)
        assert order == []
        await slots.release("", 1)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(work()) == [2, 3, 4]


def test_a_job_is_watched_on_when_the_database_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    async def load(_scope: str, id_: str) -> None:
        looks.append(id_)
        if len(looks) < 3:
            raise Unavailable("The database cannot be reached.")

    monkeypatch.setattr(control_jobs, "BACK_OFF_S", (0.0, 0.0))

    async def work() -> None:
        news = {("scope", "job"): asyncio.Event()}
        controller: Any = SimpleNamespace(_load=load, _news=news, _tasks={}, _node="here")
        await control_jobs.JobController._drive(controller, "scope", "job")

    asyncio.run(work())
    assert looks == ["job"] * 3


def test_urgent_jobs_go_first() -> None:
    async def work() -> list[int]:
        slots, order = Slots(), []
        slots.take("", 1)

        async def job(number: int, priority: int) -> None:
            await slots.acquire("", number, 1, priority)
            order.append(number)
            await slots.release("", number)

        tasks = [asyncio.create_task(job(*one)) for one in ((2, 1), (3, 2), (4, 3), (5, 2), (6, 3))]
        await asyncio.sleep(0)
        await slots.release("", 1)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(work()) == [4, 6, 3, 5, 2]


def test_a_waiter_that_gives_up_holds_nobody_up() -> None:
    async def work() -> None:
        slots = Slots()
        slots.take("", 1)
        first = asyncio.create_task(slots.acquire("", 2, 1))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await slots.release("", 1)
        await asyncio.wait_for(slots.acquire("", 3, 1), 5)

    asyncio.run(work())


@pytest.mark.parametrize(
    ("data", "canceled", "status", "words"),
    [
        ({"reason": "exited", "exit_code": 0}, False, "Completed", ""),
        ({"reason": "exited", "exit_code": 0}, True, "Completed", ""),
        (
            {"reason": "exited", "exit_code": 3, "last_lines": ["boom"]},
            False,
            "Failed",
            "exit code 3. Last lines:\nboom",
        ),
        (
            {"reason": "exited", "exit_code": 127, "last_lines": ["bash: line 1: pyton: command not found"]},
            False,
            "Failed",
            "'pyton:' is not a program",
        ),
        ({"reason": "exited", "exit_code": 137}, False, "Failed", "as after SIGKILL"),
        ({"reason": "exited", "signal": 9}, False, "Failed", "short of memory"),
        ({"reason": "timeout", "signal": 15}, False, "Failed", "limit of 5 seconds"),
        ({"reason": "canceled", "signal": 15}, True, "Canceled", ""),
        ({"reason": "exited", "exit_code": 1}, True, "Canceled", ""),
        ({"reason": "failed_to_start", "error": "no memory"}, False, "Failed", "no memory"),
    ],
)
def test_outcomes(data: dict[str, object], canceled: bool, status: str, words: str) -> None:
    outcome = of_event(data, canceled, 5.0)
    assert outcome["status"] == status
    assert words.replace("'pyton:'", "'pyton'") in (outcome["error"] or {"message": ""})["message"]


def test_addresses_of_ours_are_kept_without_host() -> None:
    url = "https://localhost:8443/zf0123456789abcdef.blob.core.windows.net/c/p%20q?sig=secret"
    assert inward(url) == "/zf0123456789abcdef.blob.core.windows.net/c/p%20q"
    assert outward(inward(url), "https://other:1") == "https://other:1/zf0123456789abcdef.blob.core.windows.net/c/p%20q"
    assert inward("https://example.org/x") == "https://example.org/x"


def test_merge_patch_is_rfc_7396() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None, "e": {"f": 1}}, "d": [1]}) == {
        "a": {"c": 2, "e": {"f": 1}},
        "d": [1],
    }


@pytest.mark.parametrize(
    ("method", "tail", "type_", "verb"),
    [
        ("GET", "workspaces/{w}/data/{n}/versions/{v}", "workspaces/data/versions", "get"),
        ("GET", "workspaces/{w}/data/{n}/versions", "workspaces/data/versions", "list"),
        ("POST", "workspaces/{w}/jobs/{n}/cancel", "workspaces/jobs", "cancel"),
        ("DELETE", "workspaces/{w}", "workspaces", "delete"),
    ],
)
def test_the_table_reads_types_from_paths(method: str, tail: str, type_: str, verb: str) -> None:
    found = operation(
        "x", method, "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.MachineLearningServices/" + tail
    )
    assert (found.type, found.verb) == (type_, verb)


def test_the_table_has_every_operation_once() -> None:
    seen = [(one.method, one.path.lower()) for one in load()]
    assert len(seen) == len(set(seen)) > 200
