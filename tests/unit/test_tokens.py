"""Tokens: 401 for everything that is not exactly ours, never 200."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path

import jwt
import pytest

from zaffre.errors import InvalidInput, Unauthenticated
from zaffre.runtime import Runtime
from zaffre.services.access import OWNER, RUN, Principal
from zaffre.services.signing import AGE_MS, DAY_MS
from zaffre.services.tokens import LIFETIME_S, MACHINE_LEARNING, STORAGE, Tokens
from zaffre.settings import Settings

PERSON = Principal(id="1", name="ada")


class Clock(Runtime):
    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


@pytest.fixture
def ended() -> set[tuple[str, str]]:
    return set()


@pytest.fixture
def tokens(tmp_path: Path, ended: set[tuple[str, str]]) -> Tokens:
    return Tokens(Settings(home=tmp_path), Clock(), lambda scope, run, _born: (scope, run) not in ended)


def test_a_token_speaks_for_whom_it_was_minted(tokens: Tokens) -> None:
    token, _ = tokens.mint(PERSON, MACHINE_LEARNING)
    assert tokens.verify(token) == PERSON
    assert tokens.verify(token) == PERSON  # from the cache


def test_keys_survive_a_restart(tmp_path: Path, tokens: Tokens) -> None:
    token, _ = tokens.mint(PERSON, STORAGE)
    again = Tokens(Settings(home=tmp_path), Clock(), lambda *_: True)
    assert again.verify(token).role == OWNER
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()] == [0o600]


def test_wrong_audience(tokens: Tokens) -> None:
    token, _ = tokens.mint(PERSON, STORAGE)
    with pytest.raises(Unauthenticated, match="is for"):
        tokens.verify(token, frozenset({MACHINE_LEARNING}))


def test_expired_even_when_cached(tokens: Tokens) -> None:
    token, _ = tokens.mint(PERSON, STORAGE)
    tokens.verify(token)
    tokens._runtime.ahead = (LIFETIME_S + 1) * 1000  # type: ignore[attr-defined]
    with pytest.raises(Unauthenticated):
        tokens.verify(token)


def _forged(token: str, **header: object) -> str:
    _, claims, _ = token.split(".")
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    return f"{head}.{claims}."


@pytest.mark.parametrize("how", ["none", "empty", "other key", "cut", "hs256 with the public key", "no oid", "text"])
def test_forgeries(tokens: Tokens, how: str, tmp_path: Path) -> None:
    token, _ = tokens.mint(PERSON, MACHINE_LEARNING)
    claims = jwt.decode(token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(token)["kid"]
    if how == "none":
        bad = _forged(token, alg="none", kid=kid, typ="JWT")
    elif how == "empty":
        bad = ""
    elif how == "other key":
        other = Tokens(Settings(home=tmp_path / "other"), Clock(), lambda *_: True)
        bad, _ = other.mint(PERSON, MACHINE_LEARNING)
    elif how == "cut":
        bad = token[:-10]
    elif how == "hs256 with the public key":
        signed = _forged(token, alg="HS256", kid=kid, typ="JWT").rstrip(".")
        mac = hmac.new(json.dumps(tokens.jwks()).encode(), signed.encode(), hashlib.sha256).digest()
        bad = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    elif how == "no oid":
        del claims["oid"]
        bad = tokens._keys.sign(claims)
    else:
        bad = "not.a.token"
    with pytest.raises(Unauthenticated):
        tokens.verify(bad)


def test_another_key_logs_nobody_out(tokens: Tokens, tmp_path: Path) -> None:
    user, _ = tokens.mint(PERSON, MACHINE_LEARNING)
    job, _ = tokens.mint_run("scope", "job", "ada", 1)
    elsewhere = Tokens(Settings(home=tmp_path), Clock(), lambda *_: True)  # another process on the same home
    first = tokens.signing_keys()[0]
    second = tokens.rotate()
    new, _ = tokens.mint(PERSON, MACHINE_LEARNING)
    kids = [one["kid"] for one in tokens.jwks()["keys"]]
    assert kids == [second.kid, first.kid] and jwt.get_unverified_header(new)["kid"] == second.kid
    restarted = Tokens(Settings(home=tmp_path), Clock(), lambda *_: True)
    for one in (tokens, elsewhere, restarted):
        assert one.verify(user) == one.verify(new) == PERSON
        assert one.verify(job).run == "job"
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()] == [0o600, 0o600]


def test_an_old_key_ends_after_the_last_token_it_signed(tokens: Tokens) -> None:
    clock = tokens._runtime
    assert isinstance(clock, Clock)
    first = tokens.signing_keys()[0].kid
    assert tokens.tend() is False
    clock.ahead += AGE_MS
    job, expires = tokens.mint_run("scope", "job", "ada", 1)
    assert tokens.tend() is True
    shown = {one.kid: one for one in tokens.signing_keys()}
    assert len(shown) == 2 and not shown[first].signs
    assert (shown[first].ends_at or 0) > expires * 1000
    clock.ahead = expires * 1000 - Runtime.now(clock) - 60_000
    tokens.tend()
    assert tokens.verify(job).run == "job"
    clock.ahead += 2 * DAY_MS
    tokens.tend()
    assert first not in {one.kid for one in tokens.signing_keys()}


def test_a_key_that_is_forgotten_ends_what_it_signed(tokens: Tokens) -> None:
    before = [tokens.mint(PERSON, MACHINE_LEARNING)[0] for _ in range(2)]
    tokens.verify(before[0])  # remembered
    tokens.rotate(forget=True)
    for token in before:
        with pytest.raises(Unauthenticated, match="unknown key"):
            tokens.verify(token)
    assert len(tokens.jwks()["keys"]) == 1
    assert tokens.verify(tokens.mint(PERSON, MACHINE_LEARNING)[0]) == PERSON


def test_a_change_of_keys_that_was_cut_short(tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the file had its name: the old key goes on, and what is left is swept away."""
    token, _ = tokens.mint(PERSON, MACHINE_LEARNING)

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            tokens.rotate()
    assert len(list((tmp_path / "keys").iterdir())) == 2
    again = Tokens(Settings(home=tmp_path), Clock(), lambda *_: True)
    assert again.verify(token) == PERSON and len(again.signing_keys()) == 1
    assert len(list((tmp_path / "keys").iterdir())) == 1


def test_keys_of_the_first_version_are_read(tokens: Tokens, tmp_path: Path) -> None:
    """Their files' names hold no time."""
    token, _ = tokens.mint(PERSON, MACHINE_LEARNING)
    (path,) = (tmp_path / "keys").iterdir()
    path.rename(path.with_name(f"signing-{path.stem.rpartition('-')[2]}.pem"))
    again = Tokens(Settings(home=tmp_path), Clock(), lambda *_: True)
    assert again.verify(token) == PERSON
    again.rotate()
    assert again.verify(token) == PERSON and not again.signing_keys()[1].signs


def test_a_clock_that_was_put_back_does_not_bring_an_old_key_back(tokens: Tokens) -> None:
    clock = tokens._runtime
    assert isinstance(clock, Clock)
    clock.ahead = -DAY_MS
    made = tokens.rotate()
    assert made.signs and jwt.get_unverified_header(tokens.mint(PERSON, STORAGE)[0])["kid"] == made.kid


def test_a_runs_token_ends_with_its_run(tokens: Tokens) -> None:
    token, _ = tokens.mint_run("scope", "job", "ada", 1)
    found = tokens.verify(token)
    assert (found.role, found.run, found.scope) == (RUN, "job", "scope")
    tokens.end_run("scope", "job", 1)
    with pytest.raises(Unauthenticated, match="has ended"):
        tokens.verify(token)


def test_a_later_run_of_the_same_name_is_another(tmp_path: Path) -> None:
    """A job's name is free again when it is deleted: neither may the old token come back, nor the new one be refused."""
    settings, live = Settings(home=tmp_path), {("scope", "job"): 1}
    tokens = Tokens(settings, Clock(), lambda scope, run, born: live.get((scope, run)) == born)
    old, _ = tokens.mint_run("scope", "job", "ada", 1)
    tokens.verify(old)
    tokens.end_run("scope", "job", 1)
    live["scope", "job"] = 2
    new, _ = tokens.mint_run("scope", "job", "ada", 2)
    restarted = Tokens(settings, Clock(), lambda scope, run, born: live.get((scope, run)) == born)
    for one in (tokens, restarted):
        assert one.verify(new).run == "job"
        with pytest.raises(Unauthenticated, match="has ended"):
            one.verify(old)
        made_of_it, _ = one.mint(one.verify(new), STORAGE)
        assert one.verify(made_of_it).born == 2


def test_a_run_that_ended_without_a_word_is_noticed(tokens: Tokens, ended: set[tuple[str, str]]) -> None:
    """Runs that are no jobs are ended by whoever made them; nobody tells."""
    token, _ = tokens.mint_run("scope", "run", "ada", 1)
    tokens.verify(token)
    ended.add(("scope", "run"))
    tokens.verify(token)  # remembered
    tokens._runtime.ahead = 61_000  # type: ignore[attr-defined]
    with pytest.raises(Unauthenticated, match="has ended"):
        tokens.verify(token)
    ended.clear()  # MLflow goes on with it
    assert tokens.verify(tokens.mint_run("scope", "run", "ada", 1)[0]).run == "run"


def test_a_runs_token_ends_with_the_key_it_was_asked_with(tokens: Tokens, tmp_path: Path) -> None:
    keyed = Principal(id="1", name="ada", key="0123456789abcdef", until=tokens.now() + 60_000)
    good = Tokens(Settings(home=tmp_path), Clock(), lambda *_: True, lambda _key: True)
    token, expires = good.mint_run("scope", "job", "ada", 1, keyed)
    assert expires <= tokens.now() // 1000 + 60
    assert good.verify(token).run == "job"
    good.end_key("0123456789abcdef")
    with pytest.raises(Unauthenticated, match="revoked"):
        good.verify(token)


def test_a_run_that_ended_before_the_restart(tokens: Tokens, ended: set[tuple[str, str]]) -> None:
    token, _ = tokens.mint_run("scope", "job", "ada", 1)
    ended.add(("scope", "job"))
    with pytest.raises(Unauthenticated, match="has ended"):
        tokens.verify(token)


@pytest.mark.parametrize(
    ("asked", "audience"),
    [
        ("https://ml.azure.com", MACHINE_LEARNING),
        ("https://ml.azure.com/.default", MACHINE_LEARNING),
        ("https://storage.azure.com/", STORAGE),
    ],
)
def test_audiences(tokens: Tokens, asked: str, audience: str) -> None:
    assert tokens.audience(asked) == audience


def test_a_foreign_audience_is_refused(tokens: Tokens) -> None:
    with pytest.raises(InvalidInput, match="not an audience"):
        tokens.audience("https://graph.example.org")
