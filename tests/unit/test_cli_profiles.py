"""Which server is meant: homes, profiles, variables, and the file a profile is kept in."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from zaffre import profiles
from zaffre.profiles import ClientError, Profile
from zaffre.supervisor import client

REMOTE = Profile(address="https://ml.example.org:8443", bundle="/b.pem", api_key="zf_r")


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home folder with nothing in it."""
    for name in ("ZAFFRE_HOME", "ZAFFRE_PROFILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def make_home(folder: Path, key: str, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"address": "https://localhost:1", "api_key": key, "subscription": "s", "resource_group": "g"}
    (folder / "credentials").write_text(json.dumps(content | {"workspace": "w"} | more))
    return folder


def test_a_home_wins_over_a_name_and_both_over_variables(
    tmp_path: Path, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles.save("lab", REMOTE)
    home = make_home(tmp_path / "one", "zf_one")
    monkeypatch.setenv("ZAFFRE_HOME", str(make_home(tmp_path / "two", "zf_two")))
    monkeypatch.setenv("ZAFFRE_PROFILE", "lab")
    assert profiles.resolve(home, "lab").api_key == "zf_one"
    assert profiles.resolve(None, "lab") == REMOTE
    assert profiles.resolve().api_key == "zf_two"
    monkeypatch.delenv("ZAFFRE_HOME")
    assert profiles.resolve() == REMOTE
    monkeypatch.delenv("ZAFFRE_PROFILE")
    make_home(user / ".zaffre", "zf_default")
    assert profiles.resolve().api_key == "zf_default"


def test_the_default_profile_serves_where_there_is_no_default_home() -> None:
    with pytest.raises(ClientError, match=r"start one with `zaffre up`\."):
        profiles.resolve()
    profiles.save("default", REMOTE)
    assert profiles.resolve() == REMOTE


def test_a_profile_is_its_owners_alone(user: Path) -> None:
    path = profiles.save("lab", REMOTE)
    assert path == user / ".config" / "zaffre" / "lab"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    assert stat.S_IMODE(profiles.save("lab", REMOTE).stat().st_mode) == 0o600


def test_the_home_of_a_profile_knows_better_than_the_profile(tmp_path: Path) -> None:
    home = make_home(tmp_path / "one", "zf_old")
    profiles.save("one", profiles.of_home(home))
    make_home(home, "zf_new")
    assert profiles.load("one").api_key == "zf_new"
    (home / "credentials").unlink()
    assert profiles.load("one").api_key == "zf_old"


def test_a_server_about_to_start_for_the_first_time_is_remembered(tmp_path: Path) -> None:
    home = tmp_path / "new"
    profiles.announce("new", home)
    with pytest.raises(ClientError, match=f"No Zaffre has run on {home}"):
        profiles.load("new")
    make_home(home, "zf_first")
    assert profiles.load("new").api_key == "zf_first"
    path = profiles.save("new", profiles.load("new"))
    kept = path.read_bytes()
    assert profiles.announce("new", home).read_bytes() == kept
    assert json.loads(profiles.announce("new", tmp_path / "other").read_bytes()) == {"home": str(tmp_path / "other")}


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 65])
def test_a_name_is_a_plain_file_name(name: str) -> None:
    with pytest.raises(ClientError, match="is no profile name"):
        profiles.path_of(name)


def test_what_is_damaged_or_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="There is no profile 'none'"):
        profiles.load("none")
    for content in ("not json", "[]", '{"address": 1}'):
        path = profiles.path_of("bad")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        with pytest.raises(ClientError, match="damaged"):
            profiles.load("bad")
    home = make_home(tmp_path / "one", "k", address=3)
    with pytest.raises(ClientError, match="damaged"):
        profiles.of_home(home)


def test_running_means_ready_and_gives_the_address_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = profiles.of_home(make_home(tmp_path / "one", "k"))
    with pytest.raises(ClientError, match="No Zaffre runs on"):
        profiles.require_running(profile)
    status = {"address": "https://localhost:2", "application": {"ready": False}}
    monkeypatch.setattr(client, "status", lambda home: status)
    with pytest.raises(ClientError, match="still starting"):
        profiles.require_running(profile)
    status["application"] = {"ready": True}
    assert profiles.require_running(profile).address == "https://localhost:2"
    assert profiles.require_running(REMOTE) is REMOTE


def test_only_the_default_home_has_a_name_of_its_own(user: Path, tmp_path: Path) -> None:
    assert profiles.name_for(user / ".zaffre") == "default"
    assert profiles.name_for(Path("~/.zaffre")) == "default"
    assert profiles.name_for(tmp_path) is None


def test_the_scope_is_the_arm_id() -> None:
    assert REMOTE.at("s", "g", "w").scope == (
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
    )
    assert REMOTE.at() == REMOTE
