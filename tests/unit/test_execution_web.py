"""Inputs from the web: whole or not at all, never a redirect into the machine, no signature in a message."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from zaffre.execution.data.web import fetch, file_name
from zaffre.execution.errors import StagingError, WebError
from zaffre.execution.files import remove_tree


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind = self.path.partition("?")[0]
        if kind == "/file":
            self._answer(200, b"whole")
        elif kind == "/short":
            self._answer(200, b"sho", length=5)
        elif kind == "/busy":
            self._answer(503, b"")
        elif kind == "/odd":
            self._answer(200, b"whole", length="many")
        elif kind == "/moved":
            self._answer(302, b"", location="/file")
        elif kind == "/inside":
            self._answer(302, b"", location="file:///etc/passwd")
        else:
            self._answer(404, b"")

    def _answer(self, status: int, body: bytes, length: int | str | None = None, location: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def dest(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "inputs" / "x" / "file"
    remove_tree(tmp_path / "inputs")


@pytest.mark.parametrize("path", ["/file", "/moved"])
def test_a_file_is_fetched_once(site: str, dest: Path, path: str) -> None:
    fetch(f"{site}{path}", dest, threading.Event())
    assert dest.read_bytes() == b"whole"
    assert dest.stat().st_mode & 0o222 == 0
    fetch("http://127.0.0.1:1/never-asked", dest, threading.Event())
    assert [path.name for path in dest.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/gone?sig=secret", WebError, "/gone' answered 404"),
        ("/inside", WebError, "answered 302 Found\\."),
        ("/busy?sig=secret", StagingError, "answered 503"),
        ("/short?sig=secret", StagingError, "/short"),
        ("/odd?sig=secret", StagingError, "/odd"),
        ("/ü?sig=secret", WebError, "/ü' answered 404"),
        ("/a b?sig=secret of mine", WebError, "/a b' answered 404"),
        ("/%41%2f?sig=secret", WebError, "/%41%2f' answered 404"),
    ],
)
def test_what_goes_wrong_is_said_without_the_query(
    site: str, dest: Path, path: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        fetch(f"{site}{path}", dest, threading.Event())
    assert "secret" not in str(caught.value)
    assert not dest.exists()


def test_nobody_there_may_pass(dest: Path) -> None:
    with pytest.raises(StagingError, match="could not be fetched"):
        fetch("http://127.0.0.1:1/x?sig=secret", dest, threading.Event())


def test_a_wish_to_stop_leaves_nothing(site: str, dest: Path) -> None:
    stop = threading.Event()
    stop.set()
    fetch(f"{site}/file", dest, stop)
    assert not dest.exists()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/b.csv?x=y", "b.csv"),
        ("https://h/a%20b.csv", "a b.csv"),
        ("https://h/a/", "a"),
        ("https://h", "data"),
        ("https://h/..", "data"),
        ("https://h/a%2Fb", "b"),
        ("https://h/" + "x" * 300, "data"),
    ],
)
def test_file_names(url: str, name: str) -> None:
    assert file_name(url) == name
