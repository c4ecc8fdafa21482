"""The RSA keys that sign tokens: files in a folder, of which the newest signs and all verify.

A new key signs from the moment its file has its name. The one before it goes on verifying until the last token it can have
signed is over, so a change of keys logs nobody out; the JWKS shows both for as long.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ALGORITHM = "RS256"
DAY_MS = 24 * 3_600_000
AGE_MS = 90 * DAY_MS
"""How old a signing key becomes before another takes its place by itself."""


class SigningKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What may be said of a key. Times are milliseconds since 1970; `ends_at` is when an old one stops verifying."""

    kid: str
    made_at: int
    signs: bool
    ends_at: int | None


class SigningKeys:
    """Good for threads. `lifetime_ms` is that of the longest token that is ever signed."""

    def __init__(self, folder: Path, now: Callable[[], int], lifetime_ms: int) -> None:
        self._folder = folder
        self._now = now
        self._lifetime_ms = lifetime_ms
        self._lock = threading.RLock()
        self._keys: dict[str, _Key] = {}
        self._seen = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in folder.glob(".signing-*.new"):  # a start or a change of keys that was cut short
            left.unlink(missing_ok=True)
        self._load()
        if not self._keys:
            self.rotate()

    def sign(self, claims: dict[str, Any]) -> str:
        newest = self._newest()
        return jwt.encode(claims, newest.private, algorithm=ALGORITHM, headers={"kid": newest.kid})

    def verifying(self, kid: str) -> rsa.RSAPublicKey:
        """The key of that name; one whose file has appeared since is found, too. Raises jwt.InvalidTokenError."""
        key = self._keys.get(kid)
        if key is None and self._folder.stat().st_mtime_ns != self._seen:
            self._load()
            key = self._keys.get(kid)
        if key is None:
            raise jwt.InvalidTokenError("it is signed with an unknown key")
        return key.public

    def public(self) -> list[dict[str, Any]]:
        """The JWKS' entries, the signing key first."""
        found = []
        for key in reversed(list(self._keys.values())):
            entry = jwt.algorithms.RSAAlgorithm.to_jwk(key.public, as_dict=True)
            found.append({**entry, "kid": key.kid, "use": "sig", "alg": ALGORITHM})
        return found

    def listing(self) -> list[SigningKey]:
        """The newest first."""
        keys = list(self._keys.values())
        ends = [*(self._ends(after) for after in keys[1:]), None]
        return [
            SigningKey(kid=key.kid, made_at=key.made_at, signs=end is None, ends_at=end)
            for key, end in reversed(list(zip(keys, ends, strict=True)))
        ]

    def rotate(self, *, forget: bool = False) -> SigningKey:
        """Make a key that signs from now on; takes about 100 ms of CPU. With `forget` the older ones end at once."""
        private = rsa.generate_private_key(65537, 2048)
        with self._lock:
            # The files' order is that of their times, so a clock that was put back must not make the new one the older.
            made_at = max(self._now(), self._newest().made_at + 1 if self._keys else 0)
            _write(self._folder, private, made_at)
            if forget:
                for key in self._keys.values():
                    key.path.unlink(missing_ok=True)
            self._load()
            return self.listing()[0]

    def tend(self) -> bool:
        """Remove the keys whose tokens are over, and make another when the newest is old; whether one was made."""
        with self._lock:
            self._load()
            for known, shown in zip(list(self._keys.values()), reversed(self.listing()), strict=True):
                if shown.ends_at is not None and shown.ends_at <= self._now():
                    known.path.unlink(missing_ok=True)
            self._load()
            old = self._newest().made_at + AGE_MS <= self._now()
        if old:
            self.rotate()
        return old

    def _ends(self, after: _Key) -> int:
        """When a key ends that `after` took over from. The day more is for clocks, and for a process that saw it late."""
        return after.made_at + self._lifetime_ms + DAY_MS

    def _newest(self) -> _Key:
        return next(reversed(self._keys.values()))

    def _load(self) -> None:
        with self._lock:
            seen = self._folder.stat().st_mtime_ns
            found = [
                self._keys.get(name[1]) or _read(path, *name)
                for path, name in ((path, _name(path)) for path in self._folder.glob("signing-*.pem"))
            ]
            self._keys = {key.kid: key for key in sorted(found, key=lambda key: (key.made_at, key.kid))}
            self._seen = seen


class _Key(msgspec.Struct, frozen=True, kw_only=True):
    kid: str
    made_at: int
    path: Path
    private: rsa.RSAPrivateKey
    public: rsa.RSAPublicKey


def _name(path: Path) -> tuple[int, str]:
    """`signing-<made>-<kid>.pem`; the first version's had no time in their name, which the file's own stands in for."""
    made_at, _, kid = path.stem.removeprefix("signing-").rpartition("-")
    return (int(made_at) if made_at.isdecimal() else path.stat().st_mtime_ns // 1_000_000), kid


def _read(path: Path, made_at: int, kid: str) -> _Key:
    # Made here and readable by nobody else: proving again that its factors are primes takes 100 ms of CPU.
    private = serialization.load_pem_private_key(path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ValueError(f"{path} is no RSA key; remove it, or restore it from a backup.")
    return _Key(kid=kid, made_at=made_at, path=path, private=private, public=private.public_key())


def _write(folder: Path, private: rsa.RSAPrivateKey, made_at: int) -> None:
    """Whole or not at all: the rename is what makes it a key."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    der = private.public_key().public_bytes(serialization.Encoding.DER, form)
    kid = hashlib.sha256(der).hexdigest()[:16]
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    new = folder / f".signing-{kid}.new"
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    new.rename(folder / f"signing-{made_at}-{kid}.pem")
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
