"""What a start costs, what the idle tree weighs, and what `zaffre --help` costs."""

from __future__ import annotations

import sys
import time

from benchmarks import load, processes
from benchmarks.figures import Figure
from benchmarks.samples import Sample, ratios
from benchmarks.server import ARM, ZAFFRE, Server

REQUESTS = 1000
CLIENTS = 8
REST_S = 3.0
"""For what a burst leaves to settle: timers, idle threads, nginx's kept connections."""

FLOOR = "import asyncio, ssl, sqlalchemy, cryptography.x509, jwt, uvicorn, uvloop, starlette.responses, msgspec"


def start_cpu(server: Server, *, rounds: int) -> list[Figure]:
    """CPU of everything from `zaffre up` to a workspace read through the edge. The home exists; the server is down."""
    ours, floor = [], []
    for _ in range(rounds):
        floor.append(processes.cpu_of_command([sys.executable, "-P", "-c", FLOOR]))
        with server, server.client() as client:
            client.arm("GET", server.scope)
            ours.append(processes.cpu_s(processes.tree(server.pid)))
    measured, bare = Sample.of(ours), Sample.of(floor)
    return [
        Figure(
            "`zaffre up` to an authenticated workspace GET: CPU of the whole tree",
            measured.text("s", digits=2),
            measured.median,
            1.5,
            "≤ 1.5 s",
        ),
        Figure("only importing the libraries of the application, beside it", bare.text("s", digits=2)),
        Figure("… the start as a multiple of that", ratios(measured, bare).text("×", digits=2)),
    ]


def idle_memory(server: Server) -> list[Figure]:
    """PSS of a fresh tree after 1,000 requests. The server is down before and after."""
    with server:
        request = load.message("GET", f"{server.scope}?{ARM}", headers=server.authorization)
        target = load.Target(port=server.port, context=server.context())
        load.between(target, request, clients=CLIENTS, requests=REQUESTS, look=lambda: None)
        time.sleep(REST_S)
        parts = {
            "supervisor": processes.pss_mb(server.pid),
            "application": processes.pss_mb(server.application),
            "nginx": sum(processes.pss_mb(pid) for pid in server.nginx),
        }
    total = sum(parts.values())
    detail = ", ".join(f"{name} {value:.0f}" for name, value in parts.items())
    text = f"{total:.0f} MB ({detail})"
    return [Figure("idle tree after 1,000 requests: PSS", text, total, 120.0, "≤ 120 MB")]


def help_cpu(*, rounds: int) -> list[Figure]:
    ours, bare = [], []
    for _ in range(rounds):
        bare.append(processes.cpu_of_command([sys.executable, "-P", "-c", "import click"]))
        ours.append(processes.cpu_of_command([str(ZAFFRE), "--help"]))
    measured = Sample.of(ours)
    return [
        Figure("`zaffre --help`: CPU", measured.text("ms", scale=1000), measured.median, 0.2, "≤ 200 ms"),
        Figure("only importing click, beside it", Sample.of(bare).text("ms", scale=1000)),
    ]
