"""Tokens: minted as RS256 JWTs with our own rotating keys, verified once and then remembered until they expire."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jwt

from zaffre.errors import InvalidInput, Unauthenticated
from zaffre.runtime import Runtime
from zaffre.services.access import RUN, Principal
from zaffre.services.signing import ALGORITHM, SigningKey, SigningKeys
from zaffre.settings import TENANT, Settings

ISSUER_PATH = f"/{TENANT}/v2.0"
LIFETIME_S = 3600
RUN_LIFETIME_S = 30 * 24 * 3600
CACHE_SIZE = 20_000
CLOCK_SKEW_S = 300
LOOK_AGAIN_S = 60
"""How long a run's token is remembered: a run that is no job is ended by whoever made it, and nobody tells."""

STORAGE = "https://storage.azure.com"
MACHINE_LEARNING = "https://ml.azure.com"
_FOREIGN = (MACHINE_LEARNING, STORAGE, "https://management.azure.com", "https://vault.azure.net")


class Tokens:
    """`mint` and `mint_run` make tokens; `verify` answers who a token speaks for, or raises Unauthenticated."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        is_live: Callable[[str, str, int | None], bool],
        is_good: Callable[[str], bool] = lambda _key: False,
    ) -> None:
        """`is_live` tells whether a run of a workspace, made at that time, has not ended; None is whatever run has that name.
        `is_good` tells whether the API key with an id is good.

        Both are asked when a token is not remembered; in between `end_run` and `end_key` tell.
        """
        self._is_live = is_live
        self._is_good = is_good
        self._runtime = runtime
        self._issuer = settings.address + ISSUER_PATH
        self._own = frozenset(f"https://{host}" for host in settings.own_hosts)
        self.audiences = self._own | frozenset(_FOREIGN)
        self._keys = SigningKeys(settings.keys, runtime.now, RUN_LIFETIME_S * 1000)
        self._cache: OrderedDict[bytes, tuple[int, str, Principal]] = OrderedDict()
        self._forgotten = 0
        self._ended: set[tuple[str, str, int | None]] = set()
        self._ended_keys: set[str] = set()
        self._lock = threading.Lock()

    def audience(self, resource: str) -> str:
        """The audience a token is asked for, as we write it. Raises InvalidInput for one that is not ours to speak for."""
        wanted = resource.removesuffix("/.default").rstrip("/")
        if wanted not in self.audiences:
            shown = resource[:200]
            raise InvalidInput(
                f"'{shown}' is not an audience of this server; it issues tokens for {', '.join(sorted(self.audiences))}.",
                code="invalid_resource",
                target="resource",
            )
        return wanted

    def mint(self, principal: Principal, audience: str) -> tuple[str, int]:
        """A token and its expiry in seconds since 1970. It ends with the API key it was got for, if not before."""
        now = self._runtime.now() // 1000
        expires = now + LIFETIME_S
        if principal.until is not None:
            expires = min(expires, principal.until // 1000)
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": expires,
            "tid": TENANT,
            "oid": principal.id,
            "sub": principal.id,
            "name": principal.name,
            "zf_kind": principal.kind,
            "zf_role": principal.role,
        }
        if principal.run is not None:
            claims |= {"zf_run": principal.run, "zf_scope": principal.scope, "zf_born": principal.born}
        if principal.key is not None:
            claims |= {"zf_key": principal.key}
        if principal.until is not None:
            claims |= {"zf_until": principal.until}  # what is got with this token ends then, too
        if principal.kind == "Application":
            claims |= {"appid": principal.id, "azp": principal.id, "idtyp": "app"}
        return self._keys.sign(claims), expires

    def mint_run(
        self, scope: str, run_id: str, user: str, born: int, asker: Principal | None = None
    ) -> tuple[str, int]:
        """The token of one run, which was made at `born`. It ends with the run, whatever its own expiry says.

        Plain mlflow never refreshes. What somebody asks for by means of an API key ends with that key as well.
        """
        now = self._runtime.now() // 1000
        expires = now + RUN_LIFETIME_S
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": MACHINE_LEARNING,
            "iat": now,
            "nbf": now,
            "tid": TENANT,
            "oid": run_id,
            "sub": run_id,
            "name": user,
            "zf_kind": "ManagedIdentity",
            "zf_role": RUN,
            "zf_run": run_id,
            "zf_scope": scope,
            "zf_born": born,
        }
        if asker is not None and asker.key is not None:
            claims |= {"zf_key": asker.key}
        if asker is not None and asker.until is not None:
            claims |= {"zf_until": asker.until}
            expires = min(expires, asker.until // 1000)
        self._ended.discard((scope, run_id, born))  # MLflow goes on with runs that were over
        return self._keys.sign({**claims, "exp": expires}), expires

    def verify(self, token: str, audiences: frozenset[str] | None = None) -> Principal:
        """Who `token` speaks for. Raises Unauthenticated when it is malformed, expired, ended or for somebody else."""
        key = hashlib.sha256(token.encode()).digest()
        now = self._runtime.now() // 1000
        with self._lock:
            known, forgotten = self._cache.get(key), self._forgotten
        if known is None or known[0] <= now:
            known = self._decode(token)
            with self._lock:
                if forgotten == self._forgotten:  # what a key verified that is gone meanwhile must not be remembered
                    self._cache[key] = known
                if len(self._cache) > CACHE_SIZE:
                    self._cache.popitem(last=False)
        _, audience, principal = known
        if principal.run is not None and (principal.scope or "", principal.run, principal.born) in self._ended:
            raise Unauthenticated(f"The token belongs to job '{principal.run}', which has ended.", code="ExpiredToken")
        if principal.key is not None and principal.key in self._ended_keys:
            raise Unauthenticated(
                "The token was got with an API key that is revoked; sign in again.", code="ExpiredToken"
            )
        if audience not in (audiences or self.audiences):
            raise Unauthenticated(f"The token is for '{audience}', not for this service.", code="InvalidAudience")
        return principal

    def end_run(self, scope: str, run_id: str, born: int | None) -> None:
        """From now on the tokens of this run are refused, also those of a version that did not say when it was made."""
        self._ended |= {(scope, run_id, born), (scope, run_id, None)}

    def end_key(self, id_: str) -> None:
        """From now on the tokens that were got with this API key are refused. Without one, all are looked at again."""
        if id_:
            self._ended_keys.add(id_)
        else:
            self._forget()

    def signing_keys(self) -> list[SigningKey]:
        return self._keys.listing()

    def rotate(self, *, forget: bool = False) -> SigningKey:
        """Sign with a new key from now on. `forget` ends every token signed before, those of running jobs too."""
        made = self._keys.rotate(forget=forget)
        if forget:
            self._forget()
        return made

    def tend(self) -> bool:
        """What has to be done now and then: another key when the newest is old, and old ones removed."""
        return self._keys.tend()

    def jwks(self) -> dict[str, Any]:
        return {"keys": self._keys.public()}

    def now(self) -> int:
        """The time by which tokens are judged, in milliseconds since 1970."""
        return self._runtime.now()

    @property
    def issuer(self) -> str:
        return self._issuer

    def _forget(self) -> None:
        with self._lock:
            self._cache.clear()
            self._forgotten += 1

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
            role=str(claims.get("zf_role", "")),
            scope=claims.get("zf_scope"),
            run=claims.get("zf_run"),
            born=claims.get("zf_born"),
            key=claims.get("zf_key"),
            until=claims.get("zf_until"),
        )
        if principal.key is not None and not self._is_good(principal.key):
            self.end_key(principal.key)
        until = int(claims["exp"])
        if principal.run is not None:
            until = min(until, self._runtime.now() // 1000 + LOOK_AGAIN_S)
            if not self._is_live(principal.scope or "", principal.run, principal.born):
                self.end_run(principal.scope or "", principal.run, principal.born)
        return until, str(claims["aud"]), principal
