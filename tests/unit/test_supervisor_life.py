"""Starting, serving and stopping, with a real nginx and an application that only echoes."""

import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_support.harness import DEADLINE, Up, deployment, eventually, model_servers

from zaffre.supervisor import client
from zaffre.supervisor.errors import NotRunningError
from zaffre.supervisor.identity import Identity


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    found = Up(tmp_path / ("a deep home " * 12))  # sockets below it have paths longer than 107 bytes, with blanks
    yield found
    found.clean()


def write_stub(up: Up, **settings: object) -> None:
    up.home.mkdir(parents=True, exist_ok=True)
    (up.home / "stub.json").write_text(json.dumps(settings))


def test_requests_reach_the_application_byte_for_byte(up: Up) -> None:
    up.start()
    for target in ("/a%2Fb//c/./d/../e;f?x=%2F&y=a+b", "/a/%2e%2e%2F%252F", "//x", "/", "/endpoints", "/a%3A?sig=a/b"):
        status, value, _ = up.request("PUT", target, b"abc", {"X_under": "1", "Authorization": "Bearer t"})
        assert (status, value["target"], value["length"]) == (200, target, 3)
        assert value["headers"]["x_under"] == "1" and value["headers"]["authorization"] == "Bearer t"
    spoofed = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "http"}
    sent = up.request("GET", "/", headers=spoofed)[1]["headers"]
    assert sent["x-forwarded-for"] in ("127.0.0.1", "::1") and sent["x-forwarded-proto"] == "https"


def test_both_loopbacks_answer_and_the_home_is_private(up: Up) -> None:
    up.start()
    families = [(socket.AF_INET, "127.0.0.1")]
    if "::1" in json.loads((up.home / "run" / "address.json").read_text())["hosts"]:
        families.append((socket.AF_INET6, "::1"))
    for family, host in families:
        with socket.socket(family, socket.SOCK_STREAM) as plain:
            plain.settimeout(DEADLINE)
            plain.connect((host, up.port))
            with up.trust.wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert connection.recv(12) == b"HTTP/1.1 200"
    assert stat.S_IMODE(up.home.stat().st_mode) == 0o700
    for path in ("edge/app.sock", "edge/internal.sock", "run/supervisor.sock", "logs/nginx.err", "run/nginx.json"):
        assert stat.S_IMODE((up.home / path).stat().st_mode) == 0o600, path


def test_the_application_inherits_no_more_than_it_should(up: Up) -> None:
    up.start()
    pid = up.status["application"]["pid"]
    held = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    assert not any(str(up.home / "run" / "lock") in target for target in held)
    assert os.getpgid(pid) == pid
    assert Path(f"/proc/{pid}/cwd").readlink() == up.home


def test_a_second_one_is_refused(up: Up) -> None:
    up.start()
    done = subprocess.run(up.command(), capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 1
    assert f"already running on {up.home} (pid {up.status['pid']})" in done.stderr
    assert up.request("GET", "/")[0] == 200


def test_a_taken_port_is_named_with_its_holder(up: Up) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            up.command("--port", str(port)), capture_output=True, text=True, timeout=DEADLINE, check=False
        )
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1 is taken by process {os.getpid()}" in done.stderr
    assert "stops" not in done.stdout
    assert client.status(up.home) is None


def test_stop_tells_what_goes_on_and_frees_the_port(up: Up) -> None:
    write_stub(up, jobs=["train-1", "train-2"])
    up.start()
    before, port = up.status, up.port
    said: list[str] = []
    assert client.stop(up.home, progress=said.append) == {"stopped": True, "running_jobs": ["train-1", "train-2"]}
    assert any("train-1, train-2" in line for line in said)
    assert up.process is not None and up.process.wait(DEADLINE) == 0
    assert not any(Identity.of(pid) for pid in (before["application"]["pid"], before["nginx"]["pid"]))
    socket.create_server(("127.0.0.1", port)).close()
    assert client.status(up.home) is None
    with pytest.raises(NotRunningError):
        client.stop(up.home)
    up.start()  # on the same port as before, as no other was asked for
    assert up.port == port and not up.status["nginx"]["adopted"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_stop_cleanly(up: Up, number: signal.Signals) -> None:
    up.start()
    assert up.process is not None
    nginx = up.status["nginx"]["pid"]
    up.process.send_signal(number)
    assert up.process.wait(DEADLINE) == 0
    assert "Zaffre has stopped." in up.output.read_text() and Identity.of(nginx) is None


def test_a_closed_terminal_ends_it(up: Up) -> None:
    terminal, inside = os.openpty()
    up.process = subprocess.Popen(
        up.command(),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent / "edge_support")},
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(inside)
    up.output.write_text("")
    up.wait_ready()
    os.close(terminal)  # the kernel sends SIGHUP, and every write fails from now on
    assert up.process.wait(DEADLINE) == 0
    assert "Zaffre has stopped." in (up.home / "logs" / "server.log").read_text()


def test_detached(up: Up) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent / "edge_support")}
    done = subprocess.run(
        up.command("--detach"), env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"Zaffre is ready at https://localhost:{up.port}" in done.stdout and "zaffre env" in done.stdout
    pid = up.status["pid"]
    assert os.getsid(pid) != os.getsid(0) and os.getsid(pid) != pid  # no session of a terminal, and leads none
    second = subprocess.run(up.command("--detach"), capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert second.returncode == 1 and f"(pid {pid})" in second.stderr
    client.stop(up.home)
    assert Identity.of(pid) is None


@pytest.mark.parametrize("arguments", [(), ("--detach",)])
def test_an_application_that_cannot_start_says_why(up: Up, arguments: tuple[str, ...]) -> None:
    write_stub(up, exit=3)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent / "edge_support")}
    done = subprocess.run(
        up.command(*arguments), env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 1
    assert "ended with code 3 before it was ready" in done.stderr
    assert "the schema of this home is newer" in done.stderr
    assert client.status(up.home) is None


def test_without_an_edge_the_application_gets_the_sockets(up: Up) -> None:
    up.start("--no-edge")
    assert up.status["nginx"] is None
    with socket.create_connection(("127.0.0.1", up.port), timeout=DEADLINE) as plain:  # the stub speaks no TLS
        plain.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert plain.recv(12) == b"HTTP/1.1 200"
    assert "scoring and notebooks answer 501" in up.output.read_text()


def test_an_nginx_with_known_holes_stays_on_this_machine(up: Up) -> None:
    done = subprocess.run(
        [*up.command("--host", "0.0.0.0", "--nginx", str(_nginx_saying(up, "1.31.3")))],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent / "edge_support")},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 1
    assert "nginx may not listen on 0.0.0.0" in done.stderr and "--allow-unsafe-nginx" in done.stderr


def test_a_bad_file_keeps_the_old_ones(up: Up) -> None:
    up.start()
    before = up.status["nginx"]["pid"]
    status, value, _ = up.request("POST", "/_stub/break")
    assert status == 200 and 'unknown directive "this"' in value["error"]
    assert up.request("GET", "/")[0] == 200
    good = {
        "name": "ep",
        "auth": "key",
        "keys": ["K1"],
        "weights": [["blue", 1]],
        "deployments": [deployment("ep", "blue")],
    }
    with model_servers(up.home, "blue"):
        assert up.plan(good) is None
        assert up.score("ep", "K1")[0] == 200
    assert up.status["nginx"]["pid"] == before


def test_changes_are_batched(up: Up) -> None:
    up.start()
    errors = up.home / "logs" / "nginx.err"
    before = errors.read_text().count("signal 1 (SIGHUP)")
    connections = [socket.create_connection(("127.0.0.1", up.port), timeout=DEADLINE) for _ in range(8)]
    secure = [up.trust.wrap_socket(one, server_hostname="localhost") for one in connections]
    for number, one in enumerate(secure):
        body = json.dumps({"endpoints": [{"name": f"ep{number}", "auth": "key"}]}).encode()
        one.sendall(b"POST /_stub/plan HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    for one in secure:
        assert one.recv(12) == b"HTTP/1.1 200"
        one.close()
    reloads = eventually(lambda: errors.read_text().count("signal 1 (SIGHUP)") - before, "nginx was reloaded")
    assert 1 <= reloads <= 3


def _nginx_saying(up: Up, version: str) -> Path:
    """A program that tells it is nginx of this version."""
    path = up.home.parent / "nginx-that-says"
    path.write_text(f"#!/bin/sh\necho 'nginx version: nginx/{version}' >&2\n")
    path.chmod(0o755)
    return path
