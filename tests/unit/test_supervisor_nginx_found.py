"""Which nginx was found is kept, so that a start need not look again; any change that could alter the answer is seen."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from zaffre.supervisor.nginx_files import NginxBinary, find_binary


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders at the front of PATH; the second one holds an nginx."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    _nginx(second, "1.31.9")
    monkeypatch.setenv("PATH", os.pathsep.join([str(first), str(second), os.environ["PATH"]]))
    monkeypatch.delenv("ZAFFRE_NGINX", raising=False)
    return first, second


def test_the_second_start_does_not_look_again(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "nginx-found.json"
    found = _find(note)
    assert found.path == str(folders[1] / "nginx")
    assert note.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr("sys.executable", "/no/python/here")  # asking would fail
    assert _find(note) == found


@pytest.mark.parametrize(
    "change", ["a newer one", "one found earlier", "it is gone", "another is set", "a broken note"]
)
def test_whatever_could_change_the_answer_is_noticed(
    change: str, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = folders
    note = tmp_path / "nginx-found.json"
    assert _find(note).version == "1.31.9"
    if change == "a newer one":
        _nginx(second, "1.31.10")
    elif change == "one found earlier":
        _nginx(first, "1.31.10")
    elif change == "it is gone":
        (second / "nginx").rename(first / "nginx")
    elif change == "another is set":
        _nginx(tmp_path, "1.31.10")
        monkeypatch.setenv("ZAFFRE_NGINX", str(tmp_path / "nginx"))
    else:
        note.write_text("{")
    found = _find(note)
    expected = {"it is gone": "1.31.9", "a broken note": "1.31.9"}.get(change, "1.31.10")
    assert found.version == expected
    assert json.loads(note.read_bytes())["found"]["path"] == found.path


def _find(note: Path) -> NginxBinary:
    return asyncio.run(find_binary(None, note))


def _nginx(folder: Path, version: str) -> None:
    program = folder / "nginx"
    program.write_text(f"#!/bin/sh\necho 'nginx version: nginx/{version}' >&2\n")
    program.chmod(0o700)
