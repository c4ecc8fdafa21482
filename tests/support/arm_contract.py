"""Does an answer of the control plane say what ARM's published types say it must?

`watch()` looks over the shoulder of every client in the process: each 2xx answer to an ARM request is compared with
tests/contract/arm_contract.json, and what differs is kept until a test collects it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

CONTRACT = Path(__file__).parent.parent / "contract" / "arm_contract.json"
REQUIRED, READ_ONLY, WRITE_ONLY = 1, 2, 4
PROVIDER = "/providers/microsoft.machinelearningservices/"

# What Azure answers although the published types do not say so, or the other way round; each with its reason.
_OUTPUT_TYPES = ("uri_file", "uri_folder", "mltable", "custom_model", "mlflow_model", "triton_model")
KNOWN: dict[str, str] = {
    "workspaces.properties.allowRoleAssignmentOnRG: is not in the contract": "in 2024-10-01-preview, which the SDK asks for",
    "workspaces/listkeys.userStorageResourceId: is not in the contract": "what SDKs before 1.32 read in place of userStorageArmId",
    # The SDK sends and reads these; the newest published types have lost them, or never had them.
    **{
        f"workspaces/jobs.properties(Command).outputs.*({kind}).{name}: is not in the contract": reason
        for kind in _OUTPUT_TYPES
        for name, reason in (
            ("assetVersion", "sent by the SDK for Output(version=…), in api-version 2023-04-01-preview"),
            ("assetId", "where an output was registered; the service tells it in rundata only"),
        )
    },
    "workspaces/jobs.properties: is required": "null is Azure's word for a run that is no job: the SDK then asks the run history",
    "workspaces/jobs.properties(Command).queueSettings.priority: is not in the contract": "the SDK's priority, a preview",
    "workspaces/jobs.properties(Command).parentJobName: is not in the contract": "sent by the SDK, in api-version 2025-01-01-preview",
    **{
        f"workspaces/computes.properties(ComputeInstance).properties.{name}: is not in the contract": "in 2023-08-01-preview"
        for name in ("enableOSPatching", "enableRootAccess", "releaseQuotaOnStop")
    },
}


class Contract:
    def __init__(self) -> None:
        self._contract = json.loads(CONTRACT.read_text())
        self._types: list[Any] = self._contract["types"]
        self._kinds = {kind.lower(): number for kind, number in self._contract["resources"].items()}
        self._actions = {action.lower(): number for action, number in self._contract["actions"].items()}

    def problems(self, method: str, url: str, body: Any) -> list[str]:
        """What is wrong with the body of a 2xx answer; nothing for paths that the contract does not know."""
        found = _kind_of(method, urlsplit(url).path)
        if found is None:
            return []
        kind, many = found
        number = self._actions.get(kind, self._kinds.get(kind))
        if number is None or body is None:
            return []
        if many:
            if not isinstance(body, dict) or not isinstance(body.get("value"), list):
                return [f"{kind}: a list is {{value: […], nextLink}}"]
            unknown = sorted(set(body) - {"value", "nextLink"})
            found_problems = [f"{kind}: a list has no '{name}'" for name in unknown]
            return found_problems + [text for item in body["value"] for text in self._check(number, item, kind)]
        return list(self._check(number, body, kind))

    def body_of(self, kind: str) -> int | None:
        """The number of a resource kind's type."""
        return self._kinds.get(kind.lower())

    def type(self, number: int) -> Any:
        """A type by its number, as make_arm_contract.py describes it."""
        return self._types[number]

    def _check(self, number: int, value: Any, at: str, case: str | None = None) -> Iterator[str]:
        shape = self._types[number]
        if value is None or shape == "any":
            return
        if shape in ("str", "bool", "int"):
            kinds: dict[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "int": (int, float)}
            if not isinstance(value, kinds[shape]) or (shape == "int" and isinstance(value, bool)):
                yield f"{at}: expected {shape}, got {value!r}"
        elif "pattern" in shape:
            if not isinstance(value, str):
                yield f"{at}: expected a text, got {value!r}"
        elif "is" in shape:
            if value != shape["is"]:
                yield f"{at}: expected {shape['is']!r}, got {value!r}"
        elif "any of" in shape:
            yield from self._check_union(shape["any of"], value, at)
        elif "list" in shape:
            if not isinstance(value, list):
                yield f"{at}: expected a list, got {value!r}"
            else:
                for item in value:
                    yield from self._check(shape["list"], item, f"{at}[]")
        else:
            yield from self._check_object(shape, value, at)

    def _check_union(self, numbers: list[int], value: Any, at: str) -> Iterator[str]:
        if any(not list(self._check(number, value, at)) for number in numbers):
            words = [self._types[number]["is"] for number in numbers if "is" in self._types[number]]
            same = [word for word in words if isinstance(value, str) and word.lower() == value.lower()]
            if same and value not in words:
                yield f"{at}: the contract spells it {same[0]!r}, not {value!r}"
        else:
            yield f"{at}: {value!r} is none of what is allowed"

    def _check_object(self, shape: dict[str, Any], value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{at}: expected an object, got {value!r}"
            return
        properties: dict[str, list[int]] = dict(shape["object"])
        more = shape.get("more")
        if "by" in shape:
            word = value.get(shape["by"])
            case = shape["cases"].get(word)
            if case is None:
                yield f"{at}.{shape['by']}: {word!r} is none of {', '.join(shape['cases'])}"
                return
            properties |= self._types[case]["object"]
            properties.setdefault(shape["by"], [case, 0])
            more = self._types[case].get("more")
            at = f"{at}({word})"
        for name, (number, flags) in properties.items():
            if name == shape.get("by"):
                continue
            if name not in value or value[name] is None:
                if flags & REQUIRED and not flags & WRITE_ONLY:
                    yield f"{at}.{name}: is required"
            elif flags & WRITE_ONLY:
                yield f"{at}.{name}: may be sent, never answered"
            else:
                yield from self._check(number, value[name], f"{at}.{name}")
        for name in set(value) - set(properties):
            if more is None:
                yield f"{at}.{name}: is not in the contract"
            else:
                yield from self._check(more, value[name], f"{at}.*")


@functools.cache
def contract() -> Contract:
    return Contract()


@contextmanager
def watch(found: list[str]) -> Iterator[None]:
    """While it lasts, every answer that `requests` brings is compared; what differs goes to `found`, each once."""
    import requests

    send = requests.Session.send
    seen: set[str] = set()

    def look(self: Any, request: Any, **more: Any) -> Any:
        answer = send(self, request, **more)
        if PROVIDER in str(request.url).lower() and answer.ok:
            compare(str(request.method), str(request.url), answer.content, seen, found)
        return answer

    requests.Session.send = look  # type: ignore[method-assign]
    try:
        yield
    finally:
        requests.Session.send = send  # type: ignore[method-assign]


def compare(method: str, url: str, content: bytes, seen: set[str], found: list[str]) -> None:
    if not content:
        return
    try:
        body = json.loads(content)
    except ValueError:
        return
    for problem in contract().problems(method, url, body):
        if problem not in seen and problem not in KNOWN:
            seen.add(problem)
            found.append(problem)


def _kind_of(method: str, path: str) -> tuple[str, bool] | None:
    """(kind or kind/action in lower case, whether a list is answered) of an ARM path under the provider."""
    head, found, rest = unquote(path).lower().partition(PROVIDER)
    if not found or not re.match(r"^/subscriptions/[^/]+(/resourcegroups/[^/]+)?$", head):
        return None
    parts = rest.strip("/").split("/")
    kind = "/".join(parts[0::2])
    if len(parts) % 2 == 0:
        return kind, False
    return ("/".join(parts[0::2]), False) if method == "POST" else (kind, True)
