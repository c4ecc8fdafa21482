"""The table of operations as data: which verb on which path is which operation of which resource type."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

_PROVIDER = "/providers/Microsoft.MachineLearningServices/"


@dataclass(frozen=True)
class Operation:
    """`type` is the resource type (`workspaces/data/versions`); `verb` is get, put, patch, delete, list or an action's name."""

    name: str
    method: str
    path: str
    type: str
    verb: str


def load() -> list[Operation]:
    text = resources.files("zaffre.protocols.arm").joinpath("operations.csv").read_text()
    return [operation(row["operation"], row["verb"], row["path"]) for row in csv.DictReader(text.splitlines())]


def operation(name: str, method: str, path: str) -> Operation:
    """Types and names alternate in an ARM path, so an odd last part is a collection or an action."""
    _, found, rest = path.partition(_PROVIDER)
    if not found:
        return Operation(name, method, path, "", name)
    parts = rest.split("/")
    if len(parts) % 2 == 0:
        return Operation(name, method, path, "/".join(parts[::2]), _ITEM_VERBS.get(method, method.lower()))
    if method == "GET":
        return Operation(name, method, path, "/".join(parts[::2]), "list")
    return Operation(name, method, path, "/".join(parts[:-1:2]), parts[-1])


_ITEM_VERBS = {"GET": "get", "PUT": "put", "PATCH": "patch", "DELETE": "delete"}
