"""`python -m benchmarks`: measures, and prints a table. `--write` puts it into benchmarks/RESULTS.md as well."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import (
    blob,
    edge,
    figures,
    gigabyte,
    job_start,
    lists,
    machine,
    ray_jobs,
    start,
    tracking,
    tracking_reads,
    tracking_size,
    tracking_writes,
)
from benchmarks.figures import Figure
from benchmarks.server import Server

RESULTS = Path(__file__).with_name("RESULTS.md")
ALONE = ("start", "mlflow-writes", "mlflow-size", "mlflow-reads", "growth")
ON_ONE_SERVER = ("job", "tracking", "lists", "gigabyte", "blob", "edge")
ALL = (*ALONE, *ON_ONE_SERVER)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    load_before = os.getloadavg()
    with _folder(options.folder) as folder:
        found = _measure(folder, set(options.what) or set(ALL), options.rounds, options.with_ray)
    text = f"{machine.describe(load_before)}\n\n{figures.table(found)}"
    print(text)
    if options.write:
        RESULTS.write_text(figures.replace_between(RESULTS.read_text(), text))
    return 0


def _measure(folder: Path, what: set[str], rounds: int, with_ray: bool) -> list[Figure]:
    found = _with_servers_of_their_own(folder, what & set(ALONE), rounds)
    if what & set(ON_ONE_SERVER):
        found += _on_one_server(folder, what, rounds, with_ray)
    return found


def _with_servers_of_their_own(folder: Path, what: set[str], rounds: int) -> list[Figure]:
    found: list[Figure] = []
    if "start" in what:
        _say("start, idle memory, help")
        empty = Server(folder / "empty-home")  # of its own: a model server started with it would be counted, too
        with empty:
            pass
        found += start.start_cpu(empty, rounds=rounds)
        found += start.idle_memory(empty)
        found += start.help_cpu(rounds=rounds)
    if "mlflow-writes" in what:
        _say("writing beside MLflow's server: installs it first")
        found += tracking_writes.measure(folder, rounds=rounds)
    if "mlflow-size" in what:
        _say("memory and starts beside MLflow's server: installs it first")
        found += tracking_size.measure(folder, rounds=rounds)
    if "mlflow-reads" in what:
        _say("reading beside MLflow's server: fills both databases first")
        found += tracking_reads.measure(folder, rounds=rounds)
    if "growth" in what:
        _say("growth: a million runs")
        found += tracking_reads.growth(folder)
    return found


def _on_one_server(folder: Path, what: set[str], rounds: int, with_ray: bool) -> list[Figure]:
    found: list[Figure] = []
    server = Server(folder / "home")
    with contextlib.ExitStack() as stack:
        stack.enter_context(server)
        if "job" in what:
            _say("job start" + (" beside Ray Jobs" if with_ray else ""))
            ray = stack.enter_context(ray_jobs.running(folder)) if with_ray else None
            found += job_start.measure(server, rounds=2 * rounds, ray=ray)
        if "tracking" in what:
            _say("tracking")
            found += tracking.measure(server, rounds=rounds, requests=4000)
        if "lists" in what:
            _say("lists: writes what is listed first")
            found += lists.measure(server, rounds=rounds)
        if "gigabyte" in what:
            _say("gigabyte: up and down, as a blob and as an artifact, beside a plain nginx")
            found += gigabyte.measure(server, rounds=rounds)
        if "blob" in what:
            _say("blob: five gigabytes in blocks, a list of a hundred thousand")
            found += blob.measure(server, rounds=rounds)
        if "edge" in what:
            _say("edge: deploys an endpoint first, which builds an environment")
            found += edge.measure(server, rounds=rounds, requests=8000, real_requests=800)
    return found


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", choices=[*ALL, []], help="what to measure; otherwise everything")
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds of each figure (job starts: twice)")
    parser.add_argument("--with-ray", action="store_true", help="install Ray beside it and measure its jobs too")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/RESULTS.md")
    parser.add_argument("--folder", type=Path, help="keep homes and Ray here, to be found again; otherwise nothing is")
    return parser.parse_args(arguments)


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="zaffre-bench-"))
    try:
        yield folder
    finally:
        for below, _, _ in os.walk(folder):
            Path(below).chmod(0o700)  # built environments are read-only
        shutil.rmtree(folder)


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
