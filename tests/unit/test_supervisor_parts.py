"""The supervisor's parts, each alone."""

import asyncio
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from edge_support.harness import eventually

from zaffre.supervisor import listeners, nginx_log, platform_linux
from zaffre.supervisor.console import Console
from zaffre.supervisor.errors import AlreadyRunningError, ListenError
from zaffre.supervisor.files import read_json, tail, write_json
from zaffre.supervisor.identity import Identity, Watched
from zaffre.supervisor.lock import HomeLock
from zaffre.supervisor.nginx_files import listens_on
from zaffre.supervisor.options import parse, split_port


def child() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def test_an_identity_is_one_process_only() -> None:
    process = child()
    identity = Identity.of(process.pid)
    assert identity is not None and identity.alive()
    assert Identity.from_json(identity.to_json()) == identity
    assert Watched.open(Identity(identity.pid, identity.start_time + 1, identity.boot_id)) is None
    assert Watched.open(Identity(identity.pid, identity.start_time, "another run of the machine")) is None
    process.kill()
    eventually(lambda: not identity.alive(), "it ended")  # a zombie is no living process
    assert Watched.open(identity) is None
    process.communicate()
    assert Identity.of(process.pid) is None
    assert Identity.from_json({"pid": "x"}) is None and Identity.from_json(None) is None


def test_a_watched_process_is_seen_to_end_by_all_who_wait() -> None:
    async def watch() -> None:
        process = child()
        watched = Watched.child(process.pid)
        assert not await watched.exited(0.01)
        waits = [asyncio.create_task(watched.exited()) for _ in range(3)]
        assert await watched.end((signal.SIGTERM, 10.0))
        assert await asyncio.gather(*waits) == [True, True, True]
        process.communicate()
        assert not watched.send(signal.SIGTERM)
        watched.close()
        watched.close()
        assert not watched.send(signal.SIGTERM) and await watched.exited()

    asyncio.run(watch())


def test_the_lock_is_held_once_and_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "home" / "run" / "lock"
    path.parent.mkdir(parents=True)
    lock = HomeLock.take(path)
    with pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()}"):
        HomeLock.take(path)
    lock.release()
    HomeLock.take(path).release()


def test_any_port_is_free_on_all_hosts_and_remembered(tmp_path: Path) -> None:
    hosts = listeners.default_hosts()
    first = listeners.bind(hosts, 0)
    assert {one.getsockname()[1] for one in first.sockets} == {first.port}
    assert not any(one.getblocking() or one.get_inheritable() for one in first.sockets)
    other = listeners.bind(hosts, 0, preferred=first.port)  # taken: another will do
    assert other.port != first.port
    with pytest.raises(ListenError, match=f"Port {first.port} .* is taken by process {os.getpid()}"):
        listeners.bind(hosts, first.port)
    first.close()
    again = listeners.bind(hosts, 0, preferred=first.port)
    assert again.port == first.port
    for one in (again, other):
        one.close()


def test_a_unix_socket_is_replaced_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    old, new = listeners.bind_unix(Path("a.sock")), listeners.bind_unix(Path("a.sock"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("a.sock")
        new.accept()[0].close()
        with pytest.raises(BlockingIOError):
            old.accept()
    assert [path.name for path in tmp_path.iterdir()] == ["a.sock"]
    old.close()
    new.close()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ('request: "GET /a?sv=1&sig=SECRET HTTP/1.1", host: "h"', 'request: "GET /a?… HTTP/1.1", host: "h"'),
        ('upstream: "http://unix:app.sock:/b?sig=SECRET", host', 'upstream: "http://unix:app.sock:/b?…", host'),
        ('referrer: "https://h/x?sig=SECRET"', 'referrer: "https://h/x?…"'),
        ("no address here", "no address here"),
    ],
)
def test_queries_are_cut(line: str, wanted: str) -> None:
    assert nginx_log.redacted(line) == wanted


def test_whole_lines_of_a_warning_or_worse_are_passed_on_once(tmp_path: Path) -> None:
    log = tmp_path / "nginx.err"
    log.write_text('2026 [notice] 1#1: signal\n2026 [error] 1#1: bad "GET /a?sig=x HTTP/1.1"\n2026 [warn] hal')
    said: list[str] = []
    offset = nginx_log.pass_on(log, 0, lambda _, text: said.append(text))
    with log.open("a") as file:
        file.write("f a line\n")
    offset = nginx_log.pass_on(log, offset, lambda _, text: said.append(text))
    assert nginx_log.pass_on(log, offset, lambda _, text: said.append(text)) == offset
    assert said == ['nginx: 2026 [error] 1#1: bad "GET /a?… HTTP/1.1"', "nginx: 2026 [warn] half a line"]


def test_a_large_access_log_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    assert not nginx_log.put_aside(log, largest=5)
    log.write_text("12345")
    assert not nginx_log.put_aside(log, largest=5)
    log.write_text("123456")
    assert nginx_log.put_aside(log, largest=5)
    assert [path.name for path in tmp_path.iterdir()] == ["access.log.1"]


def test_a_console_outlives_its_terminal(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    console = Console(tmp_path / "log", terminal=writing)
    os.close(reading)
    console.say("one")
    console.say("two")
    os.close(writing)
    assert [line.split(" ", 3)[3] for line in (tmp_path / "log").read_text().splitlines()] == ["one", "two"]


def test_files_that_are_not_ours_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert read_json(path) is None
    for text in ("", "[1]", '{"a": '):
        path.write_text(text)
        assert read_json(path) is None
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1} and path.stat().st_mode & 0o777 == 0o600
    path.write_text("".join(f"{number}\n" for number in range(100)))
    assert tail(path, 2) == "98\n99" and tail(path, 5, start=path.stat().st_size) == ""


def test_listen_lines_are_found(tmp_path: Path) -> None:
    assert listens_on(tmp_path) == set()
    (tmp_path / "nginx.conf").write_text("  listen 127.0.0.1:1 ssl;\n#listen 9;\n\tlisten [::1]:1;\nx listen 5;\n")
    assert listens_on(tmp_path) == {"127.0.0.1:1", "[::1]:1"}


def test_options() -> None:
    given = parse(["--home", "/h", "--host", "[::1]", "--host", "10.0.0.1", "--name", "zaffre.example"])
    assert set(given.hosts) == {"127.0.0.1", "::1", "10.0.0.1"} and given.open_hosts == ("10.0.0.1",)
    assert "zaffre.example" in given.own_names
    loopbacks = set(listeners.default_hosts())
    assert set(parse(["--home", "/h", "--host", "10.0.0.1"]).hosts) == {*loopbacks, "10.0.0.1"}
    assert set(parse(["--home", "/h", "--host", "0.0.0.0"]).hosts) == {*loopbacks, "0.0.0.0"} - {"127.0.0.1"}
    assert "0.0.0.0" not in parse(["--home", "/h", "--host", "0.0.0.0"]).own_names
    everywhere = parse(["--home", "/h", "--listen", "0.0.0.0", "--listen", "::"])
    own = {*platform_linux.own_addresses(4), *platform_linux.own_addresses(6)}
    assert set(everywhere.reached_by) == own and own <= set(everywhere.own_names)
    assert parse(["--home", "/h"]).reached_by == () and parse(["--home", "/h"]).open_hosts == ()
    assert parse(["--home", "/h"]).port is None
    for wrong in (["--port", "70000"], ["--port", "x"], ["--host", "name"]):
        with pytest.raises(SystemExit):
            parse(["--home", "/h", *wrong])


def test_a_name_may_have_a_port_of_its_own() -> None:
    """That of a proxy in front, or of the host a container runs on."""
    given = parse(["--home", "/h", "--name", "ML.example.org:443", "--name", "fd00::1", "--name", "[fd00::2]:9000"])
    assert set(given.own_names) >= {"ml.example.org", "fd00::1", "fd00::2"}
    assert not any(split_port(name)[1] for name in given.own_names)
    assert set(given.addressed_as) >= {"ml.example.org", "ml.example.org:443", "[fd00::1]", "[fd00::2]:9000", "[::1]"}
    for wrong in ("https://x", "x:0", "x:70000", "a b", ""):
        with pytest.raises(SystemExit):
            parse(["--home", "/h", "--name", wrong])


def test_own_addresses_are_what_others_may_use() -> None:
    for version in (4, 6):
        for text in platform_linux.own_addresses(version):
            address = ipaddress.ip_address(text)
            assert address.version == version and not address.is_loopback and not address.is_link_local


def test_facts_of_a_process_with_a_name_full_of_brackets() -> None:
    facts = platform_linux.stat(os.getpid())
    assert facts is not None and facts.parent == os.getppid() and facts.session == os.getsid(0)
    assert platform_linux.stat(2**22 + 1) is None and platform_linux.command_line(2**22 + 1) == ""


def test_standard_library_only() -> None:
    """No import of the supervisor loads another part of zaffre or a package that is installed."""
    code = (
        "import sys; from zaffre.supervisor import main, client, entry\n"
        "print([m for m in sys.modules if m.partition('.')[0] not in sys.stdlib_module_names"
        " and not m.startswith(('zaffre.supervisor', '__', '_virtualenv', '_editable')) and m != 'zaffre'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
