"""Which Host headers are ours: what links are written for, and what tokens may be asked for; which folders may be opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from zaffre.settings import Settings, load

POSTGRES = {"ZAFFRE_DATABASE_URL": "postgresql://host/name"}


def hosts(port: int, *names: str) -> frozenset[str]:
    return Settings(home=Path("/h"), port=port, names=names).own_hosts


def test_every_name_with_our_port() -> None:
    found = hosts(8443, "ML.example.org", "[fd00::1]")
    assert found >= {"localhost:8443", "127.0.0.1:8443", "[::1]:8443", "ml.example.org:8443", "[fd00::1]:8443"}
    assert "localhost" not in found and "ml.example.org" not in found


def test_a_name_may_have_a_port_of_its_own() -> None:
    found = hosts(8443, "ml.example.org:443", "localhost:9443", "[fd00::1]:9443")
    assert found >= {"ml.example.org", "ml.example.org:443", "localhost:9443", "localhost:8443", "[fd00::1]:9443"}
    assert "ml.example.org:8443" not in found and "[fd00::1]:8443" not in found


def test_port_443_may_be_left_out() -> None:
    assert hosts(443, "ml.example.org") >= {"localhost", "localhost:443", "ml.example.org", "ml.example.org:443"}


@pytest.mark.parametrize("folder", ["", "/..", "/keys", "/../link"])
def test_no_datastore_may_lie_where_the_keys_do(tmp_path: Path, folder: str) -> None:
    """`ZAFFRE_DATA_FOLDERS=$HOME` would hand out the home below it, keys and all, to whoever may make a datastore."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=f"Zaffre's own home, {home}"):
        load(home, {"ZAFFRE_DATA_FOLDERS": f"{tmp_path / 'data'}:{home}{folder}"})
    beside = load(home, {"ZAFFRE_DATA_FOLDERS": f"{tmp_path / 'data'}:{tmp_path / 'homeless'}"})
    with pytest.raises(ValueError, match="Zaffre's own home"):
        load(home, {"ZAFFRE_DATA_FOLDERS": f"{tmp_path}/common", "ZAFFRE_SHARED": f"{tmp_path}/common", **POSTGRES})
    assert beside.data_folders == (tmp_path / "data", tmp_path / "homeless")


def test_what_several_servers_share_is_bytes_and_keys(tmp_path: Path) -> None:
    shared = load(tmp_path / "home", {"ZAFFRE_SHARED": str(tmp_path / "common"), **POSTGRES})
    assert (shared.objects, shared.keys) == (tmp_path / "common" / "objects", tmp_path / "common" / "keys")
    assert shared.jobs == tmp_path / "home" / "jobs"
    with pytest.raises(ValueError, match="ZAFFRE_DATABASE_URL"):
        load(tmp_path / "home", {"ZAFFRE_SHARED": str(tmp_path / "common")})
    with pytest.raises(ValueError, match="absolute"):
        load(tmp_path / "home", {"ZAFFRE_SHARED": "common", **POSTGRES})
