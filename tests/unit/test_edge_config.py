"""nginx's files: what depends on its version, who may read them, and that nginx takes them."""

import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from zaffre.edge import certificates
from zaffre.edge.binary import SETTING, NginxBinary, find_nginx, judge
from zaffre.edge.config import MAIN_FILE, render, write_edge
from zaffre.edge.errors import NginxMissingError
from zaffre.edge.plan import Deployment, EdgePlan, Endpoint, upstream_name

OLD = NginxBinary(path=Path("/usr/sbin/nginx"), version=(1, 22, 1), source="system", package="1.22.1-9+deb12u11")


def plan(count: int = 2) -> EdgePlan:
    endpoints = []
    for number in range(count):
        name = f"ep{number}"
        deployments = tuple(
            Deployment(
                name=color,
                upstream=upstream_name(name, color),
                sockets=(f"d/{name}-{color}.sock",),
                max_held=number % 3,
            )
            for color in ("blue", "green")
        )
        weights = (("blue", 90), ("green", 10))
        keys = (f"primary{number}", f"secondary{number}")
        endpoints.append(
            Endpoint(
                name=name, auth="key" if number % 2 else "token", keys=keys, weights=weights, deployments=deployments
            )
        )
    return EdgePlan(objects="/srv/objects", listen=("127.0.0.1:18443",), endpoints=tuple(endpoints))


def accepted(folder: Path) -> bool:
    command = [find_nginx().path, "-p", ".", "-c", "nginx.conf", "-e", "stderr", "-t"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    print(done.stderr)
    return done.returncode == 0


@pytest.mark.parametrize("count", [0, 1, 50])
def test_nginx_takes_what_is_written(tmp_path: Path, count: int) -> None:
    certificates.make_certificates(tmp_path)
    write_edge(tmp_path / "edge", plan(count), find_nginx())
    assert accepted(tmp_path / "edge")


def test_words_of_nginx_may_be_names(tmp_path: Path) -> None:
    names = ("default", "include", "volatile", "hostnames")
    endpoints = tuple(
        Endpoint(
            name=name,
            auth="key",
            keys=("default", name),
            weights=(("default", 1),),
            deployments=(Deployment(name="default", upstream=upstream_name(name, "default"), sockets=("d/x.sock",)),),
        )
        for name in names
    )
    files = render(EdgePlan(objects="/srv/objects", listen=("127.0.0.1:18443",), endpoints=endpoints), find_nginx())
    write_edge(
        tmp_path / "edge",
        EdgePlan(objects="/srv/objects", listen=("127.0.0.1:18443",), endpoints=endpoints),
        find_nginx(),
    )
    assert accepted(tmp_path / "edge")
    assert "\n  default key;" not in files["endpoints.conf"]


def test_only_what_changed_is_written_and_only_for_us(tmp_path: Path) -> None:
    folder = tmp_path / "edge"
    assert write_edge(folder, plan(), find_nginx())
    before = (folder / MAIN_FILE).stat()
    assert not write_edge(folder, plan(), find_nginx())
    assert write_edge(folder, plan(3), find_nginx())
    assert (folder / MAIN_FILE).stat().st_ino == before.st_ino
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir() if path.is_file())
    assert "primary1" in (folder / "keys.map").read_text()
    others = [path for path in folder.iterdir() if path.is_file() and path.name != "keys.map"]
    assert not any("primary1" in path.read_text() for path in others)
    assert not list(folder.glob(".*"))


def test_directives_follow_the_version() -> None:
    new = replace(OLD, version=(1, 27, 4), package=None)
    assert "keepalive_min_timeout 5s;" in render(plan(), new)[MAIN_FILE]
    assert "http2 on;" in render(plan(), new)[MAIN_FILE]
    old = render(plan(), OLD)[MAIN_FILE]
    assert "keepalive_min_timeout 5s;" not in old
    assert "listen 127.0.0.1:18443 ssl http2 backlog=4096;" in old and "http2 on;" not in old


def test_only_root_names_a_user() -> None:
    assert "\nuser root;" in render(plan(), OLD, as_root=True)[MAIN_FILE]
    assert "user root;" not in render(plan(), OLD, as_root=False)[MAIN_FILE]


def test_the_applications_503_has_no_retry_after() -> None:
    line = next(line for line in render(plan(), OLD)[MAIN_FILE].splitlines() if "/_zf/e/503 {" in line)
    assert "Retry-After" not in line


def test_a_setting_that_does_not_run_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SETTING, str(tmp_path / "none"))
    with pytest.raises(NginxMissingError, match="does not run"):
        find_nginx()


def test_a_setting_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "nginx"
    shutil.copy(find_nginx().path, copy)
    monkeypatch.setenv(SETTING, str(copy))
    assert (find_nginx().path, find_nginx().source) == (copy, "setting")


@pytest.mark.parametrize(
    ("version", "package", "safe"),
    [
        ((1, 31, 3), None, False),
        ((1, 31, 9), None, True),
        ((1, 30, 6), None, False),
        ((1, 30, 7), None, True),
        ((1, 22, 1), None, False),
        ((1, 33, 0), None, True),
        ((1, 26, 3), "1.26.3-3+deb13u1", None),
    ],
)
def test_the_table_of_safe_versions(version: tuple[int, int, int], package: str | None, safe: bool | None) -> None:
    assert judge(replace(OLD, version=version, package=package)).safe is safe
