"""Model servers as processes: real environment, real azureml-inference-server-http, real unix sockets."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from serving_kit import environment, make_environment, make_plan, score, wait_until

from zaffre import processes
from zaffre.processes import Identity
from zaffre.serving import probes, process, server
from zaffre.serving.errors import DeploymentFailed, ServerConflict
from zaffre.serving.plan import DeploymentPlan

ECHO = """
import json, os, signal, time

def init():
    print("init of", os.environ.get("GREETING"))

def run(raw):
    data = json.loads(raw)
    if "sleep" in data:
        time.sleep(data["sleep"])
    if data.get("env"):
        return dict(os.environ)
    return {"pid": os.getpid(), "echo": data, "cwd": os.getcwd()}
"""


pytestmark = pytest.mark.slow  # a real environment is made, and servers started in it


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for folder in (tmp_path / "deployments").glob("*"):
        server.stop(folder, 0)


def up(plan: DeploymentPlan) -> process.Identity:
    identity = server.start(plan)
    asyncio.run(server.ready(plan))
    return identity


def test_a_script_scores_over_the_unix_socket(home: Path) -> None:
    plan = make_plan(home, script=ECHO, environment={"GREETING": "hello"})
    assert not server.alive(plan.folder)
    identity = up(plan)
    assert server.identity(plan.folder) == identity
    answer = score(plan.socket, {"x": 1})
    assert answer.status == 200
    assert answer.json()["echo"] == {"x": 1}
    assert answer.json()["cwd"] == plan.code_dir
    assert answer.headers["x-ms-run-function-failed"] == "False"
    assert score(plan.socket, None, route="/swagger.json").json()["swagger"] == "2.0"
    assert "init of hello" in server.logs(plan.folder, 100)
    assert Path(plan.socket).stat().st_mode & 0o777 == 0o600
    assert not Path(plan.socket + ".new").exists()
    assert asyncio.run(probes.ask(Path(plan.socket), 10)).ok


def test_starting_again_finds_the_same_server(home: Path) -> None:
    plan = make_plan(home, script=ECHO)
    identity = server.start(plan)
    assert not server.in_place(plan)
    asyncio.run(server.answering(plan))
    assert not server.in_place(plan), "answering alone takes nobody's place"
    asyncio.run(server.ready(plan))
    assert server.in_place(plan)
    assert server.start(plan) == identity
    with pytest.raises(ServerConflict):
        server.start(msgspec.structs.replace(plan, workers=2))


def test_the_environment_is_an_allow_list(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZAFFRE_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    model = str(home / "model")
    plan = make_plan(home, script=ECHO, environment={"MINE": "1", "AZUREML_MODEL_DIR": "/elsewhere"})
    up(plan)
    seen = score(plan.socket, {"env": True}).json()
    assert seen["MINE"] == "1"
    assert seen["AZUREML_MODEL_DIR"] == model
    assert seen["AML_APP_ROOT"] == plan.code_dir
    assert seen["AZUREML_ENTRY_SCRIPT"] == f"{plan.code_dir}/score.py"
    assert seen["SCORING_TIMEOUT_MS"] == "5000"
    assert seen["PATH"].startswith(str(environment().parent))
    assert not {"ZAFFRE_DATABASE_URL", "PYTHONPATH", "LISTEN_FDS"} & set(seen)


def test_gunicorn_leaves_no_administration_socket_in_the_home_folder(home: Path) -> None:
    plan = make_plan(home, script=ECHO, environment={"HOME": str(home / "user")})
    up(plan)
    score(plan.socket, {})
    assert not list(home.rglob("gunicorn.ctl"))


def test_a_path_longer_than_a_socket_address(home: Path) -> None:
    long = home / ("n" * 100) / "d" / "blue-0.sock"
    plan = make_plan(home, script=ECHO, socket=str(long))
    up(plan)
    assert score(long, {"x": 2}).json()["echo"] == {"x": 2}


def test_a_request_over_its_time_is_cut_off_and_the_worker_goes_on(home: Path) -> None:
    plan = make_plan(home, script=ECHO, request_timeout_s=0.3)
    up(plan)
    late = score(plan.socket, {"sleep": 30})
    assert (late.status, late.headers["x-ms-run-function-failed"]) == (408, "True")
    assert "timeout" in late.json()["message"].lower()
    assert score(plan.socket, {"x": 1}).status == 200


def test_one_worker_does_one_request_at_a_time_and_two_do_two(home: Path) -> None:
    plan = make_plan(home, script=ECHO, workers=2)
    up(plan)
    wait_until(lambda: server.logs(plan.folder, 1000).count("ready for serving traffic") == 2, "two workers")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        pids = {answer.json()["pid"] for answer in pool.map(lambda _: score(plan.socket, {"sleep": 0.5}), range(2))}
    assert len(pids) == 2


def test_init_that_raises(home: Path) -> None:
    script = "def init():\n    raise RuntimeError('no weights today')\n\ndef run(raw):\n    return raw\n"
    plan = make_plan(home, script=script)
    server.start(plan)
    with pytest.raises(DeploymentFailed) as failure:
        asyncio.run(server.ready(plan))
    assert failure.value.reason == "init() of score.py raised RuntimeError: no weights today"
    assert "line 2, in init" in failure.value.console
    assert failure.value.console.endswith("RuntimeError: no weights today")
    assert "no weights today" in str(failure.value)
    assert not server.alive(plan.folder)
    assert not Path(plan.socket).exists()


def test_a_failed_start_shows_its_own_lines_only_and_can_be_repeated(home: Path) -> None:
    script = "def init():\n    raise RuntimeError('first life')\n\ndef run(raw):\n    return raw\n"
    plan = make_plan(home, script=script)
    server.start(plan)
    with pytest.raises(DeploymentFailed):
        asyncio.run(server.ready(plan))
    (Path(plan.code_dir or "") / "score.py").write_text(script.replace("first", "second"))
    server.start(plan)
    with pytest.raises(DeploymentFailed) as failure:
        asyncio.run(server.ready(plan))
    assert "second life" in failure.value.console
    assert "first life" not in failure.value.console
    assert "first life" in server.logs(plan.folder, 1000)


@pytest.mark.parametrize(
    ("script", "reason", "hint"),
    [
        (
            "import lacking_one",
            "could not be imported: ModuleNotFoundError: No module named 'lacking_one'",
            "lacking_one",
        ),
        ("def run(raw): ...", "does not define init()", "init()"),
        ("def init(:", "score.py could not be imported: SyntaxError", ""),
        (
            "def init(): open(os.environ['AZUREML_MODEL_DIR'] + '/model.pkl')\ndef run(raw): ...",
            "FileNotFoundError",
            "weights/one.bin",
        ),
        ("def init(): os.environ['API_URL']\ndef run(raw): ...", "KeyError: 'API_URL'", "environment_variables"),
    ],
    ids=["import", "no init", "syntax", "model path", "variable"],
)
def test_what_is_wrong_with_a_script_is_said(home: Path, script: str, reason: str, hint: str) -> None:
    (home / "model" / "weights").mkdir(parents=True)
    (home / "model" / "weights" / "one.bin").write_bytes(b"1")
    plan = make_plan(home, script=f"import os\n{script}\n")
    server.start(plan)
    with pytest.raises(DeploymentFailed) as failure:
        asyncio.run(server.ready(plan))
    assert reason in failure.value.reason
    assert hint in failure.value.hint


def test_an_environment_without_the_inference_server(home: Path) -> None:
    make_environment(home / "bare")
    plan = make_plan(home, script=ECHO, interpreter=str(home / "bare" / "bin" / "python"))
    server.start(plan)
    with pytest.raises(DeploymentFailed) as failure:
        asyncio.run(server.ready(plan))
    assert "does not contain azureml-inference-server-http" in failure.value.reason
    assert "pip packages" in failure.value.hint


def test_parts_that_are_missing_are_named_before_anything_starts(home: Path) -> None:
    plan = make_plan(home, script=ECHO)
    for changes, reason in (
        ({"interpreter": str(home / "none" / "python")}, "interpreter"),
        ({"model_dir": str(home / "none")}, "model folder"),
        ({"entry_script": "sub/other.py"}, "score.py"),
    ):
        with pytest.raises(DeploymentFailed, match=reason):
            server.start(msgspec.structs.replace(plan, **changes))
    assert server.logs(plan.folder, 10) == ""


def test_a_start_that_takes_too_long(home: Path) -> None:
    script = "import time\ndef init():\n    time.sleep(600)\ndef run(raw):\n    return raw\n"
    plan = make_plan(home, script=script, startup_timeout_s=3.0)
    server.start(plan)
    with pytest.raises(DeploymentFailed) as failure:
        asyncio.run(server.ready(plan))
    assert "not ready after 3 s: init() of score.py is still running" in failure.value.reason
    assert server.alive(plan.folder)
    server.stop(plan.folder, 0)
    assert not server.alive(plan.folder)


def test_stop_ends_every_process_and_takes_the_socket_away(home: Path) -> None:
    script = ECHO.replace("def init():", "import subprocess\ndef init():\n    subprocess.Popen(['sleep', '1000'])")
    plan = make_plan(home, script=script, workers=2)
    identity = up(plan)
    wait_until(lambda: len(process.members(identity)) == 5, "master, two workers and a child of each")
    server.stop(plan.folder, 10)
    assert process.members(identity) == []
    assert not server.alive(plan.folder)
    assert not Path(plan.socket).exists()
    server.stop(plan.folder, 10)


def test_stop_lets_a_running_request_end(home: Path) -> None:
    script = ECHO.replace('    if "sleep"', "    print('began', flush=True)\n    if \"sleep\"")
    plan = make_plan(home, script=script)
    up(plan)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(score, plan.socket, {"sleep": 1.0})
        wait_until(lambda: "began" in server.logs(plan.folder, 10), "the request to begin")
        server.stop(plan.folder, 20)
        assert running.result().status == 200


def test_stop_kills_after_the_grace(home: Path) -> None:
    deaf = "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    print('deaf', flush=True)\n    time.sleep(600)\n"
    script = f"import signal, time\ndef init():\n{deaf}def run(raw):\n    return raw\n"
    plan = make_plan(home, script=script)
    identity = server.start(plan)
    wait_until(lambda: "deaf" in server.logs(plan.folder, 100), "init() to run")
    began = time.monotonic()
    server.stop(plan.folder, 0.5)
    assert 0.4 < time.monotonic() - began < 10
    assert process.members(identity) == []


def test_a_server_outlives_its_starter_and_is_adopted(home: Path) -> None:
    plan = make_plan(home, script=ECHO)
    code = (
        "import msgspec, sys; from zaffre.serving import server, plan;"
        "server.start(msgspec.json.decode(sys.stdin.buffer.read(), type=plan.DeploymentPlan))"
    )
    subprocess.run([sys.executable, "-c", code], input=msgspec.json.encode(plan), check=True, timeout=60)
    identity = server.identity(plan.folder)
    assert identity is not None
    assert server.start(plan) == identity
    asyncio.run(server.ready(plan))
    assert score(plan.socket, {"x": 3}).json()["echo"] == {"x": 3}
    server.stop(plan.folder, 10)
    assert not server.alive(plan.folder)


def test_a_server_nobody_wrote_down_does_not_run(home: Path) -> None:
    boot = Path(server.__file__).with_name("boot.py")
    result = subprocess.run([environment(), boot, home], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert result.returncode == 1
    assert b"not started" in result.stderr


def test_a_killed_worker_is_replaced(home: Path) -> None:
    plan = make_plan(home, script=ECHO)
    identity = up(plan)
    first = score(plan.socket, {}).json()["pid"]
    os.kill(first, signal.SIGKILL)
    second = score(plan.socket, {}).json()["pid"]
    assert second != first
    assert server.identity(plan.folder) == identity


def test_the_end_of_a_server_is_noticed(home: Path) -> None:
    plan = make_plan(home, script=ECHO)
    identity = up(plan)

    async def watch() -> None:
        waiting = asyncio.create_task(process.ended(identity))
        await asyncio.sleep(0)
        os.kill(identity.pid, signal.SIGKILL)
        await asyncio.wait_for(waiting, 10)

    asyncio.run(watch())
    assert not server.alive(plan.folder)
    assert process.members(identity), "gunicorn's worker goes on after its master"
    again = up(plan)
    assert again != identity
    assert process.members(identity) == []
    assert score(plan.socket, {"x": 4}).status == 200


def test_another_boot_or_a_used_pid_is_not_our_server() -> None:
    me = Identity(pid=os.getpid(), start=1, boot=processes.boot_id())
    assert not process.alive(me)
    process.end_session(me, 0)
    process.end_session(msgspec.structs.replace(me, boot="another"), 0)
    asyncio.run(process.ended(me))


def test_a_replacement_takes_the_socket_without_a_refused_request(home: Path) -> None:
    old = make_plan(home, "blue-1", script=ECHO.replace('"pid":', '"life": "old", "pid":'))
    new = make_plan(home, "blue-2", script=ECHO.replace('"pid":', '"life": "new", "pid":'))
    assert old.socket == new.socket
    up(old)
    lives: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            lives.append(score(old.socket, {}).json()["life"])

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            server.start(new)
            assert score(old.socket, {}).json()["life"] == "old"
            asyncio.run(server.ready(new))
            assert score(new.socket, {}).json()["life"] == "new"
            wait_until(lambda: lives[-1:] == ["new"], "the client to reach the new server")
            server.stop(old.folder, 10)
        finally:
            stop.set()
        asking.result(30)
    assert lives == sorted(lives, reverse=True), "no request went back to the old one"
    assert score(new.socket, {}).json()["life"] == "new"


def test_a_superseded_start_does_not_take_the_socket(home: Path) -> None:
    first = make_plan(home, "blue-1", script=ECHO)
    second = make_plan(home, "blue-2", script=ECHO)
    server.start(first)
    server.start(second)
    with pytest.raises(DeploymentFailed, match="superseded"):
        asyncio.run(server.ready(first))
    asyncio.run(server.ready(second))
    server.stop(first.folder, 0)
    assert score(second.socket, {"x": 5}).status == 200
