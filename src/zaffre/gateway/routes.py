"""Routes: which handler answers which verb and path. Literal parts are compared without case, parameters keep theirs.

Paths are split while still percent-encoded and each part is decoded once, so `%2F` in a name stays in that name, and what
is authorised is exactly what is looked up.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from starlette.responses import Response

from zaffre.errors import InvalidInput, NotServed
from zaffre.gateway.call import Call

KNOWN, LONG = 1024, 512
"""So many paths are remembered, none longer than so many letters: MLflow's clients ask the same ones over and over."""
Handler = Callable[[Call], Awaitable[Response]]

WORKSPACE = (
    "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspaceName}"
)


def not_served(operation: str, why: str = "") -> Handler:
    """A handler for an operation of a real client that is not built yet, or never will be: a clear 501."""
    reason = f": {why}" if why else " yet"

    async def handler(_call: Call) -> Response:
        raise NotServed(
            f"Zaffre does not serve the operation {operation}{reason}; docs/coverage.md lists what it serves."
        )

    return handler


class Access(enum.Enum):
    """How a route knows its caller."""

    TOKEN = "token"  # a bearer token, checked before the handler
    SIGNED = "signed"  # the handler checks the signature in the address itself
    OPEN = "open"  # metadata, discovery, JWKS and health: nothing secret, no caller


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """`template` has `{name}` for one part and `{name*}` at its end for the rest of the path, still encoded.

    `operation` is the name docs/coverage.md lists. `action` is what access.authorize asks for. A route with
    `{workspaceName}` is given the workspace, or answers 404 before its handler runs, unless `needs_workspace` is off.
    The handler of one that `keeps_body` knows a body that is a file already (`gateway.bodies`).
    """

    protocol: str
    method: str
    template: str
    handler: Handler
    operation: str
    access: Access = Access.TOKEN
    action: str = ""
    needs_workspace: bool = True
    keeps_body: bool = False


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    routes: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)
    tails: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)


class Router:
    """A tree over the parts of all templates; a literal wins over a parameter, a parameter over a tail."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)
        self._known = functools.lru_cache(KNOWN)(self._find)

    def find(self, method: str, raw_path: str) -> tuple[Route | None, dict[str, str], frozenset[str]]:
        """The route and its parameters; without one, the methods this path would take (empty: no such path)."""
        if len(raw_path) > LONG:
            return self._find(method, raw_path)
        route, params, others = self._known(method, raw_path)
        return route, params.copy(), others

    def _find(self, method: str, raw_path: str) -> tuple[Route | None, dict[str, str], frozenset[str]]:
        # `az` and others write `https://host/` + `/path`; ARM takes several slashes at the beginning for one.
        parts = raw_path.lstrip("/").split("/")
        others: set[str] = set()
        hit = self._walk(self._root, method, parts, 0, (), others)
        if hit is None:
            return None, {}, frozenset(others)
        (route, names), values = hit
        return route, dict(zip(names, values, strict=True)), frozenset()

    def _add(self, route: Route) -> None:
        node, names = self._root, []
        for part in route.template.removeprefix("/").split("/"):
            if part.endswith("*}"):
                names.append(part[1:-2])
                self._put(node.tails, route, names)
                return
            if "{" in part:  # `name={name}` is a parameter as well; it is handed on whole
                names.append(part[part.index("{") + 1 : part.index("}")])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(part.lower(), _Node())
        self._put(node.routes, route, names)

    @staticmethod
    def _put(table: dict[str, tuple[Route, tuple[str, ...]]], route: Route, names: list[str]) -> None:
        if route.method in table:
            raise ValueError(
                f"Two routes for {route.method} {route.template}: {table[route.method][0].operation}, {route.operation}."
            )
        table[route.method] = (route, tuple(names))

    def _walk(
        self, node: _Node, method: str, parts: list[str], index: int, values: tuple[str, ...], others: set[str]
    ) -> tuple[tuple[Route, tuple[str, ...]], tuple[str, ...]] | None:
        if index == len(parts):
            if method in node.routes:
                return node.routes[method], values
            others.update(node.routes)
        else:
            part = parts[index]
            if not part and index + 1 < len(parts) and parts[index + 1].lower() in node.literals:
                # An address that ends in a slash, and a path put behind it. Never where a name would be the next part.
                return self._walk(node, method, parts, index + 1, values, others)
            child = node.literals.get(part.lower())
            if child is not None:
                hit = self._walk(child, method, parts, index + 1, values, others)
                if hit is not None:
                    return hit
            if node.parameter is not None and part:
                hit = self._walk(node.parameter, method, parts, index + 1, (*values, decode_part(part)), others)
                if hit is not None:
                    return hit
        if node.tails:
            if method in node.tails:
                return node.tails[method], (*values, "/".join(parts[index:]))
            others.update(node.tails)
        return None


def decode_part(part: str) -> str:
    """One part of a path, decoded once. Raises InvalidInput for what is not UTF-8 or holds a NUL."""
    try:
        text = unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"The path part '{part[:100]}' is not UTF-8 when decoded.") from None
    if "\0" in text:
        raise InvalidInput("The path holds a NUL character.")
    return text
