"""What the edge is asked to serve: addresses, endpoints, deployments, keys and weights.

The control side writes a plan from the store; `zaffre.edge.config` turns it into files. Names and keys come from
users, so `check_plan` looks at every one again here: nothing that passes it can break out of the place it is written
to.
"""

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from zaffre.edge.errors import PlanError

MAX_TIMEOUT_MS = 7_200_000
"""Two hours: longer than any deployment may let a request wait and run."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment of an endpoint, as nginx sees it.

    `sockets` are paths below the edge's folder (`d/….sock`), one an instance; none means it cannot answer now (503).
    `max_held` is how many requests may be held at once, running and queued together; 0 is no limit.
    """

    name: str
    upstream: str
    sockets: tuple[str, ...] = ()
    timeout_ms: int = 60_000
    max_held: int = 0


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An online endpoint: who may call it, and how its traffic is split.

    `weights` are (deployment, share); shares are scaled to their sum, and no share at all means that only requests
    which name a deployment are served (404 for the rest). `mirror` is (deployment, percent): so many of the requests
    that others answer are copied to it. `mark` tells this endpoint, as it knows its callers now, from any other of its
    name: what was found out about a token is remembered under it.
    """

    name: str
    auth: Literal["key", "token"]
    keys: tuple[str, ...] = ()
    weights: tuple[tuple[str, int], ...] = ()
    mirror: tuple[str, int] | None = None
    mark: str = "-"
    deployments: tuple[Deployment, ...] = ()


class EdgePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything nginx's files are made of. `listen` holds the supervisor's addresses, as `127.0.0.1:8443` or
    `[::1]:8443`; `objects` is the folder of stored bytes, which nginx sends where the application says so.
    """

    listen: tuple[str, ...]
    objects: str
    endpoints: tuple[Endpoint, ...] = ()
    workers: int = 1


def upstream_name(endpoint: str, deployment: str) -> str:
    """The name of a deployment's upstream. It begins with a hash, so that nginx's walk over all names is one byte a
    step.
    """
    digest = hashlib.sha256(f"{endpoint}/{deployment}".casefold().encode()).hexdigest()
    return f"{digest[:8]}-{endpoint}--{deployment}"


def check_plan(plan: EdgePlan) -> None:
    """Raise `PlanError` unless every value is of the one form nginx's files can hold."""
    if not plan.listen:
        raise PlanError("The edge's plan names no address to listen on; give at least one, such as 127.0.0.1:8443.")
    for address in plan.listen:
        _check_address(address)
    if not 1 <= plan.workers <= 64:
        raise PlanError(f"The edge cannot run {plan.workers} workers; ask for 1 to 64.")
    _check_unique("endpoint", (endpoint.name for endpoint in plan.endpoints))
    for endpoint in plan.endpoints:
        _check_endpoint(endpoint)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_DEPLOYMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_KEY = re.compile(r"[A-Za-z0-9+/=._~-]{1,512}")
_MARK = re.compile(r"[A-Za-z0-9.-]{1,128}")
_SOCKET = re.compile(r"d/[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_ADDRESS = re.compile(r"(?P<v4>[0-9.]+):(?P<port4>[0-9]{1,5})|\[(?P<v6>[0-9A-Fa-f:.]+)\]:(?P<port6>[0-9]{1,5})")


def _check_address(address: str) -> None:
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise PlanError(f"{address!r} is not an address nginx can listen on; write 127.0.0.1:8443 or [::1]:8443.")
    try:
        ipaddress.ip_address(match["v4"] or match["v6"])
    except ValueError as error:
        raise PlanError(f"{address!r} is not an address nginx can listen on: {error}.") from error
    if not 1 <= int(match["port4"] or match["port6"]) <= 65535:
        raise PlanError(f"{address!r} has no valid port; ports are 1 to 65535.")


def _check_endpoint(endpoint: Endpoint) -> None:
    where = f"endpoint {endpoint.name!r}"
    if not _NAME.fullmatch(endpoint.name):
        raise PlanError(f"The {where} cannot be served: names are letters, digits and '-', at most 64.")
    if endpoint.auth not in ("key", "token"):
        raise PlanError(f"The {where} asks for authentication by {endpoint.auth!r}; it is by 'key' or by 'token'.")
    if not _MARK.fullmatch(endpoint.mark):
        raise PlanError(f"The {where} has the mark {endpoint.mark!r}; marks are letters, digits, '.' and '-'.")
    for key in endpoint.keys:
        if not _KEY.fullmatch(key):  # the key itself is never shown
            raise PlanError(
                f"A key of {where} holds a character it may not; keys are 1 to 512 of A-Z a-z 0-9 + / = . _ ~ -"
            )
    if len({key.casefold() for key in endpoint.keys}) != len(set(endpoint.keys)):
        raise PlanError(f"Two keys of {where} differ only in the case of their letters; nginx's map cannot hold both.")
    _check_unique(f"deployment of {where}", (deployment.name for deployment in endpoint.deployments))
    for deployment in endpoint.deployments:
        _check_deployment(endpoint.name, deployment)
    _check_weights(endpoint)


def _check_deployment(endpoint: str, deployment: Deployment) -> None:
    where = f"deployment {deployment.name!r} of endpoint {endpoint!r}"
    if not _DEPLOYMENT_NAME.fullmatch(deployment.name):
        raise PlanError(f"The {where} cannot be served: names are letters, digits, '-' and '_', at most 64.")
    if deployment.upstream != upstream_name(endpoint, deployment.name):
        raise PlanError(f"The {where} has the upstream {deployment.upstream!r}; take it from upstream_name().")
    for path in deployment.sockets:
        if not _SOCKET.fullmatch(path):
            raise PlanError(
                f"The {where} has a socket {path!r}; sockets are 'd/<name>', relative to the edge's folder."
            )
    if not 1 <= deployment.timeout_ms <= MAX_TIMEOUT_MS:
        raise PlanError(f"The {where} asks for a timeout of {deployment.timeout_ms} ms; give 1 to {MAX_TIMEOUT_MS}.")
    if not 0 <= deployment.max_held <= 65535:
        raise PlanError(f"The {where} wants to hold {deployment.max_held} requests; give 0 (no limit) to 65535.")


def _check_weights(endpoint: Endpoint) -> None:
    known = {deployment.name for deployment in endpoint.deployments}
    _check_unique(f"weight of endpoint {endpoint.name!r}", (name for name, _ in endpoint.weights))
    for name, share in endpoint.weights:
        if name not in known:
            raise PlanError(f"Endpoint {endpoint.name!r} sends traffic to {name!r}, which is none of its deployments.")
        if not 0 <= share <= 10_000:
            raise PlanError(f"Endpoint {endpoint.name!r} gives {name!r} a share of {share}; shares are 0 to 10000.")
    if endpoint.mirror is not None:
        name, share = endpoint.mirror
        if name not in known:
            raise PlanError(f"Endpoint {endpoint.name!r} sends copies to {name!r}, which is none of its deployments.")
        if not 1 <= share <= 100:
            raise PlanError(f"Endpoint {endpoint.name!r} sends copies of {share} % to {name!r}; give 1 to 100.")


def _check_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:  # nginx's maps and upstreams ignore case
            raise PlanError(f"The {what} {name!r} is there twice (names are compared without regard to case).")
        seen.add(name.casefold())
