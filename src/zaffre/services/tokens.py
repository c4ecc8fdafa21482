"""Tokens: minted as RS256 JWTs with our own rotating keys, verified once and then remembered until they expire."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from zaffre.errors import InvalidInput, Unauthenticated
from zaffre.runtime import Runtime
from zaffre.services.access import OWNER, RUN, Principal
from zaffre.settings import TENANT, Settings

ALGORITHM = "RS256"
ISSUER_PATH = f"/{TENANT}/v2.0"
LIFETIME_S = 3600
RUN_LIFETIME_S = 30 * 24 * 3600
CACHE_SIZE = 20_000
CLOCK_SKEW_S = 300

STORAGE = "https://storage.azure.com"
MACHINE_LEARNING = "https://ml.azure.com"
_FOREIGN = (MACHINE_LEARNING, STORAGE, "https://management.azure.com", "https://vault.azure.net")


class Tokens:
    """`mint` and `mint_run` make tokens; `verify` answers who a token speaks for, or raises Unauthenticated."""

    def __init__(self, settings: Settings, runtime: Runtime, is_live: Callable[[str, str], bool]) -> None:
        """`is_live` tells whether a run of a workspace has not ended; it is asked once a token, then `end_run` tells."""
        self._is_live = is_live
        self._runtime = runtime
        self._issuer = settings.address + ISSUER_PATH
        self._own = frozenset(f"https://{host}" for host in settings.own_hosts)
        self.audiences = self._own | frozenset(_FOREIGN)
        self._keys = _SigningKeys(settings.keys)
        self._cache: OrderedDict[bytes, tuple[int, str, Principal]] = OrderedDict()
        self._ended: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def audience(self, resource: str) -> str:
        """The audience a token is asked for, as we write it. Raises InvalidInput for one that is not ours to speak for."""
        wanted = resource.removesuffix("/.default").rstrip("/")
        if wanted not in self.audiences:
            raise InvalidInput(
                f"'{resource}' is not an audience of this server; it issues tokens for {', '.join(sorted(self.audiences))}.",
                code="invalid_resource",
                target="resource",
            )
        return wanted

    def mint(self, principal: Principal, audience: str) -> tuple[str, int]:
        """A token and its expiry in seconds since 1970."""
        now = self._runtime.now() // 1000
        claims = {
            "iss": self._issuer,
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_S,
            "tid": TENANT,
            "oid": principal.id,
            "sub": principal.id,
            "name": principal.name,
            "zf_kind": principal.kind,
            "zf_role": principal.role,
        }
        if principal.run is not None:
            claims |= {"zf_run": principal.run, "zf_scope": principal.scope}
        return self._keys.sign(claims), now + LIFETIME_S

    def mint_run(self, scope: str, run_id: str, user: str) -> tuple[str, int]:
        """The token of one job. It ends with the job, whatever its own expiry says: plain mlflow never refreshes."""
        now = self._runtime.now() // 1000
        claims = {
            "iss": self._issuer,
            "aud": MACHINE_LEARNING,
            "iat": now,
            "nbf": now,
            "exp": now + RUN_LIFETIME_S,
            "tid": TENANT,
            "oid": run_id,
            "sub": run_id,
            "name": user,
            "zf_kind": "ManagedIdentity",
            "zf_role": RUN,
            "zf_run": run_id,
            "zf_scope": scope,
        }
        return self._keys.sign(claims), claims["exp"]  # type: ignore[return-value]

    def verify(self, token: str, audiences: frozenset[str] | None = None) -> Principal:
        """Who `token` speaks for. Raises Unauthenticated when it is malformed, expired, ended or for somebody else."""
        key = hashlib.sha256(token.encode()).digest()
        now = self._runtime.now() // 1000
        with self._lock:
            known = self._cache.get(key)
        if known is None or known[0] <= now:
            known = self._decode(token)
            with self._lock:
                self._cache[key] = known
                if len(self._cache) > CACHE_SIZE:
                    self._cache.popitem(last=False)
        _, audience, principal = known
        if principal.run is not None and (principal.scope or "", principal.run) in self._ended:
            raise Unauthenticated(f"The token belongs to job '{principal.run}', which has ended.", code="ExpiredToken")
        if audience not in (audiences or self.audiences):
            raise Unauthenticated(f"The token is for '{audience}', not for this service.", code="InvalidAudience")
        return principal

    def end_run(self, scope: str, run_id: str) -> None:
        """From now on the tokens of this run are refused."""
        self._ended.add((scope, run_id))

    def jwks(self) -> dict[str, Any]:
        return {"keys": self._keys.public()}

    def openid_configuration(self, address: str, tenant: str) -> dict[str, Any]:
        return {
            "issuer": self._issuer,
            "authorization_endpoint": f"{address}/{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{address}/{tenant}/oauth2/v2.0/token",
            "jwks_uri": f"{address}/discovery/keys",
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }

    def _decode(self, token: str) -> tuple[int, str, Principal]:
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(
                token,
                self._keys.verifying(str(header.get("kid", ""))),
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                # Audience and time are checked below: one by the caller's list, the other by our own clock.
                options={
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "require": ["exp", "iat", "aud", "oid"],
                },
            )
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(f"The token is not valid: {error}.", code="InvalidToken") from None
        if not isinstance(claims["exp"], int) or claims["exp"] <= self._runtime.now() // 1000:
            raise Unauthenticated("The token has expired; sign in again.", code="ExpiredToken")
        if claims.get("nbf", 0) > self._runtime.now() // 1000 + CLOCK_SKEW_S:
            raise Unauthenticated("The token is not valid yet; is a clock wrong?", code="InvalidToken")
        principal = Principal(
            id=str(claims["oid"]),
            name=str(claims.get("name", claims["oid"])),
            kind=str(claims.get("zf_kind", "User")),
            role=str(claims.get("zf_role", "")) or OWNER,
            scope=claims.get("zf_scope"),
            run=claims.get("zf_run"),
        )
        if principal.run is not None and not self._is_live(principal.scope or "", principal.run):
            self.end_run(principal.scope or "", principal.run)
        return int(claims["exp"]), str(claims["aud"]), principal


class _SigningKeys:
    """RSA keys in a folder, one file a key; the newest signs, all verify."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not list(folder.glob("signing-*.pem")):
            self._make()
        self._keys: dict[str, rsa.RSAPrivateKey] = {}
        for path in sorted(folder.glob("signing-*.pem"), key=lambda p: p.stat().st_mtime_ns):
            # Made here and readable by nobody else: proving again that its factors are primes takes 100 ms of CPU.
            key = serialization.load_pem_private_key(path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
            if isinstance(key, rsa.RSAPrivateKey):
                self._keys[path.stem.removeprefix("signing-")] = key
        self._newest = next(reversed(self._keys))

    def sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self._keys[self._newest], algorithm=ALGORITHM, headers={"kid": self._newest})

    def verifying(self, kid: str) -> rsa.RSAPublicKey:
        key = self._keys.get(kid)
        if key is None:
            raise jwt.InvalidTokenError("it is signed with an unknown key")
        return key.public_key()

    def public(self) -> list[dict[str, Any]]:
        found = []
        for kid, key in self._keys.items():
            entry = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
            found.append({**entry, "kid": kid, "use": "sig", "alg": ALGORITHM})
        return found

    def _make(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        kid = hashlib.sha256(der).hexdigest()[:16]
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        new = self._folder / f".{kid}.new"
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._folder / f"signing-{kid}.pem")
