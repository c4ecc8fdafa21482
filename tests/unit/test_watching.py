"""What the SDK's stream is told of a run that was over before it looked."""

from __future__ import annotations

from zaffre.protocols.history.watching import Watchers

SDK = "azure-ai-ml/1.35.2 azsdk-python-core/1.41.0"


def test_the_first_look_at_a_finished_run_shows_it_under_way_and_the_next_the_truth() -> None:
    watchers = Watchers(lambda: 0.0)
    for _stream in range(2):
        assert [watchers.told("w/a", "Failed", SDK) for _ in range(2)] == ["Finalizing", "Failed"]


def test_a_run_that_was_seen_under_way_ends_at_once() -> None:
    watchers = Watchers(lambda: 0.0)
    assert [watchers.told("w/a", status, SDK) for status in ("Running", "Completed")] == ["Running", "Completed"]


def test_a_stream_that_was_left_does_not_count() -> None:
    now = [0.0]
    watchers = Watchers(lambda: now[0])
    watchers.told("w/a", "Running", SDK)
    now[0] = 301.0
    assert watchers.told("w/a", "Completed", SDK) == "Finalizing"


def test_other_programs_are_told_the_truth() -> None:
    watchers = Watchers(lambda: 0.0)
    assert watchers.told("w/a", "Completed", "python-requests/2.32") == "Completed"


def test_what_is_remembered_is_bounded() -> None:
    watchers = Watchers(lambda: 0.0)
    for number in range(1025):
        watchers.told(f"w/{number}", "Running", SDK)
    assert watchers.told("w/0", "Completed", SDK) == "Finalizing"
    assert watchers.told("w/1024", "Completed", SDK) == "Completed"
