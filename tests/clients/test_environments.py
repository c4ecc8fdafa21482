"""Environments by the SDK that take more than an image and a conda file: build contexts and private package indexes."""

from __future__ import annotations

import base64
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer

PAT = "private-index-token-7261"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A package index that answers only who knows the token; it has one package, `zaffre-private`."""
    wheel = _wheel(tmp_path)
    expected = "Basic " + base64.b64encode(f"token:{PAT}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
                body = b""
            elif self.path.startswith("/simple/zaffre-private"):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                body = f'<a href="/files/{wheel.name}">{wheel.name}</a>'.encode()
            elif self.path == f"/files/{wheel.name}":
                self.send_response(200)
                body = wheel.read_bytes()
            else:
                self.send_response(404)
                body = b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            """Not on the tests' own output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_build_context_is_followed_without_a_container_engine(ml: Any, server: ZaffreServer, tmp_path: Path) -> None:
    from azure.ai.ml import command
    from azure.ai.ml.entities import BuildContext, Environment

    folder = tmp_path / "context"
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "requirements.txt").write_text("six==1.17.0\n")
    (folder / "Dockerfile").write_text(
        "FROM python:3.11-slim\nENV FLAVOUR=context\nCOPY conf /tmp/conf\n"
        "RUN pip install --no-cache-dir -r /tmp/conf/requirements.txt\nWORKDIR /app\n"
    )
    made = ml.environments.create_or_update(Environment(name="built", build=BuildContext(path=str(folder))))
    job = ml.jobs.create_or_update(
        command(
            command="python -c \"import os, six; print('six', six.__version__, os.environ['FLAVOUR'])\"",
            environment=f"{made.name}:{made.version}",
        )
    )
    assert server.wait_for_job(job.name, seconds=120) == "Completed", server.job(job.name)
    assert "six 1.17.0 context" in server.job_log(job.name)


def test_a_step_that_needs_a_container_engine_fails_the_job_in_words(
    ml: Any, server: ZaffreServer, tmp_path: Path
) -> None:
    from azure.ai.ml import command
    from azure.ai.ml.entities import BuildContext, Environment

    (tmp_path / "Dockerfile").write_text("FROM python:3.11\nRUN apt-get update\n")
    made = ml.environments.create_or_update(Environment(name="needs-docker", build=BuildContext(path=str(tmp_path))))
    job = ml.jobs.create_or_update(command(command="true", environment=f"{made.name}:{made.version}"))
    assert server.wait_for_job(job.name, seconds=120) == "Failed"
    error = server.request("GET", f"/history/v1.0{server.scope}/runs/{job.name}/details").json["error"]
    assert "Line 2 of the Dockerfile, 'RUN apt-get update'" in str(error)


def test_a_private_index_is_signed_in_to_by_a_connection(
    ml: Any, server: ZaffreServer, index: str, tmp_path: Path
) -> None:
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment, PatTokenConfiguration, WorkspaceConnection

    conda = tmp_path / "conda.yml"
    conda.write_text(
        f"dependencies:\n  - python=3.11\n  - pip:\n    - --extra-index-url {index}\n    - zaffre-private==1.0\n"
    )
    environment = Environment(image="python:3.11", conda_file=str(conda))
    say = "python -c 'import zaffre_private; print(zaffre_private.WORD)'"
    refused = ml.jobs.create_or_update(command(command=say, environment=environment))
    assert server.wait_for_job(refused.name, seconds=120) == "Failed"

    ml.connections.create_or_update(
        WorkspaceConnection(name="feed", type="python_feed", target=index, credentials=PatTokenConfiguration(pat=PAT))
    )
    try:
        job = ml.jobs.create_or_update(command(command=say, environment=environment))
        assert server.wait_for_job(job.name, seconds=120) == "Completed", server.job_log(
            job.name, "azureml-logs/20_image_build_log.txt"
        )
        assert "from the private index" in server.job_log(job.name)
    finally:
        ml.connections.delete("feed")
    told = [path for path in (server.home / "jobs").rglob("*") if path.is_file() and PAT in path.read_text("latin-1")]
    assert told == []
    assert PAT not in server.log()


def _wheel(folder: Path) -> Path:
    """As small as a wheel can be."""
    path = folder / "zaffre_private-1.0-py3-none-any.whl"
    files = {
        "zaffre_private.py": b"WORD = 'from the private index'\n",
        "zaffre_private-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: zaffre-private\nVersion: 1.0\n",
        "zaffre_private-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for name, data in files.items()
    )
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
        wheel.writestr("zaffre_private-1.0.dist-info/RECORD", record + "zaffre_private-1.0.dist-info/RECORD,,\n")
    return path
