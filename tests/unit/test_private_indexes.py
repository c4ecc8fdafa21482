"""Package indexes that want a sign-in: what one workspace's credentials brought is no other workspace's."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from tests.support.blob_server import Services
from zaffre.control.environments import ReadyEnvironments
from zaffre.execution.errors import EnvironmentBuildError
from zaffre.services.connections import PythonFeed
from zaffre.services.workspaces import Workspace

SIGN_IN = "Basic " + base64.b64encode(b"token:secret").decode()


def wheel() -> bytes:
    made = BytesIO()
    info = "only_mine-1.0.dist-info"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("only_mine.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: only-mine\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return made.getvalue()


@contextlib.contextmanager
def index() -> Iterator[str]:
    """An index with one package, whose pages may be kept for a while, as most say."""
    name, content = "only_mine-1.0-py3-none-any.whl", wheel()
    link = f'<a href="/files/{name}#sha256={hashlib.sha256(content).hexdigest()}">{name}</a>'.encode()
    pages = {"/simple/only-mine/": (link, "text/html"), f"/files/{name}": (content, "application/octet-stream")}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, kind = pages.get(self.path, (b"", "text/plain"))
            status = 401 if self.headers.get("authorization") != SIGN_IN else 200 if body else 404
            self.send_response(status)
            if status == 200:
                self.send_header("content-type", kind)
                self.send_header("cache-control", "max-age=600")
            body = body if status == 200 else b""
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    finally:
        server.shutdown()
        server.server_close()


def test_what_was_fetched_with_credentials_is_that_workspaces_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    services = Services(tmp_path)
    try:
        with index() as url:

            async def feeds(workspace: Workspace) -> Sequence[PythonFeed]:
                return [PythonFeed(url, "token", "secret")] if workspace == services.workspace else []

            ready = ReadyEnvironments(tmp_path, services.blobs, feeds)
            conda = f"dependencies: [pip: ['--index-url={url}', 'only-mine==1.0']]"
            definition = {"image": None, "conda": conda}

            async def build(workspace: Workspace) -> Path:
                return (await ready.get(workspace, definition, tmp_path / "folder", tmp_path / "log")).python

            python = asyncio.run(build(services.workspace))
            assert list(python.parents[1].glob("lib/*/site-packages/only_mine.py"))
            with pytest.raises(EnvironmentBuildError):
                asyncio.run(build(services.other))
        assert "secret" not in (tmp_path / "log").read_text()
    finally:
        services.close()
