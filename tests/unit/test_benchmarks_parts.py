"""The benchmarks' own arithmetic: what they print must be what was measured."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks import figures, load, processes, samples, stand_in
from benchmarks.samples import Sample


def test_a_sample_says_median_and_quartiles() -> None:
    sample = Sample.of([0.004, 0.001, 0.003, 0.002, 0.1])
    assert sample.text("ms", scale=1000) == "3 ms (2–4)"
    assert Sample.of([3.0, 1.0]).text("s", digits=1) == "2.0 s (1.0–3.0)"
    with pytest.raises(ValueError, match="at least one"):
        Sample.of([])


def test_rounds_are_compared_pairwise() -> None:
    ours, peers = Sample.of([10.0, 30.0, 20.0]), Sample.of([1.0, 3.0, 4.0])
    assert samples.ratios(ours, peers).values == (10.0, 10.0, 5.0)
    assert samples.differences(ours, peers).values == (9.0, 27.0, 16.0)
    assert samples.sums(ours, peers).values == (11.0, 33.0, 24.0)
    with pytest.raises(ValueError, match="3 rounds against 1"):
        samples.ratios(ours, Sample.of([1.0]))


def test_a_figure_is_met_up_to_its_limit() -> None:
    met = figures.Figure("a", "1.5 s", 1.5, 1.5, "≤ 1.5 s")
    missed = figures.Figure("b", "1.6 s", 1.6, 1.5, "≤ 1.5 s")
    assert (met.verdict, missed.verdict) == ("met", "**missed**")
    assert figures.table([met, missed]).splitlines()[2:] == [
        "| a | ≤ 1.5 s | 1.5 s | met |",
        "| b | ≤ 1.5 s | 1.6 s | **missed** |",
    ]
    assert figures.Figure("c", "3").verdict == "–"


def test_results_replace_only_what_is_between_the_marks() -> None:
    document = f"before\n{figures.START}\nold\n{figures.END}\nafter\n"
    again = figures.replace_between(figures.replace_between(document, "new"), "newer")
    assert again == f"before\n{figures.START}\nnewer\n{figures.END}\nafter\n"
    with pytest.raises(ValueError, match="no place"):
        figures.replace_between("nothing here", "new")


def test_the_cpu_of_a_tree_counts_children_that_have_ended() -> None:
    burn = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print('done', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"done\n"
        tree = processes.tree(process.pid)
        used = processes.cpu_s(tree)
        memory = processes.pss_mb(process.pid)
        process.communicate(b"")
    assert tree == [process.pid]
    assert 0.2 <= used < 2.0
    assert 1.0 < memory < 100.0
    assert process.pid not in processes.tree(os.getpid())
    assert processes.cpu_of_command([sys.executable, "-c", burn]) >= 0.2


def test_load_is_answered_by_the_stand_in_and_counts_nothing_before(tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    with subprocess.Popen([sys.executable, stand_in.__file__, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"listening\n"
        looks = iter(range(10))
        request = load.message("POST", "/score", b"{}")
        target = load.Target(socket=path)
        before, after, outcome = load.between(target, request, clients=3, requests=50, look=lambda: next(looks))
        process.terminate()
    assert (before, after, outcome.requests) == (0, 1, 50)
    assert outcome.rate > 0


def test_an_answer_that_is_no_success_ends_the_load(tmp_path: Path) -> None:
    path = tmp_path / "refusing.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
                connection.recv(1)

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(load.LoadError, match="401 Unauthorized"):
            load.between(load.Target(socket=path), load.message("GET", "/"), clients=1, requests=1, look=lambda: None)
        thread.join(10)


def test_a_head_without_a_length_is_refused() -> None:
    assert load.content_length(b"http/1.1 200 ok\r\ncontent-length: 12\r\n\r\n") == 12
    with pytest.raises(load.LoadError):
        load.content_length(b"http/1.1 200 ok\r\ntransfer-encoding: chunked\r\n\r\n")
