"""What the tests of bad input share: valid bodies to spoil, wrong values by type, and what every refusal looks like."""

from __future__ import annotations

import contextlib
import http.client
import sqlite3
import ssl
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from tests.support.zaffre_server import Answer, ZaffreServer
from zaffre.services import kinds as kinds_module
from zaffre.services.kinds.computes import Cluster
from zaffre.services.kinds.jobs import Command

ARM = "api-version=2024-04-01"
SIGNS_OF_A_TRACE = (b"Traceback", b'File "', b".py", b"sqlalchemy", b"sqlite", b"msgspec", b"this is a bug")

TABLES = ("resources", "jobs", "runs", "experiments", "secrets", "blobs", "blob_containers", "operations")

# A body of each kind that is accepted as it stands (deployments and jobs but for what they refer to).
VALID: dict[str, dict[str, Any]] = {
    "workspaces": {},
    "workspaces/computes": {"computeType": "AmlCompute", "properties": {"scaleSettings": {"maxNodeCount": 1}}},
    "workspaces/datastores": {"datastoreType": "AzureBlob", "accountName": "elsewhere", "containerName": "c"},
    "workspaces/connections": {"authType": "None", "category": "Git", "target": "https://elsewhere/repository"},
    "workspaces/codes": {},
    "workspaces/components": {},
    "workspaces/components/versions": {"componentSpec": {"command": "true"}},
    "workspaces/codes/versions": {"codeUri": "https://elsewhere/c/code"},
    "workspaces/data": {"dataType": "uri_file"},
    "workspaces/data/versions": {"dataUri": "azureml://datastores/workspaceblobstore/paths/x"},
    "workspaces/environments": {},
    "workspaces/environments/versions": {"image": "python:3.11"},
    "workspaces/models": {},
    "workspaces/models/versions": {"modelUri": "azureml://datastores/workspaceblobstore/paths/x"},
    "workspaces/jobs": {"jobType": "Command", "command": "true", "environmentId": "azureml:bare:1"},
    "workspaces/onlineEndpoints": {"authMode": "Key"},
    "workspaces/onlineEndpoints/deployments": {
        "endpointComputeType": "Managed",
        "codeConfiguration": {"codeId": "azureml:code:1", "scoringScript": "score.py"},
        "environmentId": "azureml:bare:1",
    },
}
# Kinds whose whole body is checked by more than their own struct.
_WHOLE: dict[str, Any] = {"workspaces/jobs": Command}
_INSIDE: dict[tuple[str, str], Any] = {("workspaces/computes", "properties"): Cluster}


def path_of(server: ZaffreServer, kind: str, name: str, parent: str = "spoiled") -> str:
    """Where a resource of that kind lies."""
    if kind == "workspaces":
        return f"{server.scope.rpartition('/')[0]}/{name}?{ARM}"
    parts = kind.split("/")[1:]
    names = [parent, name] if len(parts) == 2 else [name]
    return server.scope + "".join(f"/{part}/{value}" for part, value in zip(parts, names, strict=True)) + f"?{ARM}"


def spoiled_fields() -> Iterator[tuple[str, str, Any]]:
    """(kind, field, wrong value) for every field of every kind that is served."""
    for type_, kind in kinds_module.load().items():
        yield from ((type_, field, value) for field, value in _spoil(type_, _WHOLE.get(type_, kind.properties), ""))
        for field in ("tags", "identity", "sku"):
            yield type_, f"^{field}", "a text"
        yield type_, "^location", {"a": "object"}


def spoil(kind: str, field: str, value: Any) -> dict[str, Any]:
    """A valid body with one field replaced; `^` marks one that lies beside `properties`."""
    body: dict[str, Any] = {"properties": msgspec.json.decode(msgspec.json.encode(VALID[kind]))}
    if field.startswith("^"):
        return {**body, field[1:]: value}
    inner = body["properties"]
    *path, last = field.split(".")
    for part in path:
        if not isinstance(inner.get(part), dict):
            inner[part] = {}
        inner = inner[part]
    inner[last] = value
    return body


def refused(answer: Answer, *statuses: int, names: str = "") -> None:
    """A refusal in our own words: a 4xx with a message that names `names`, and no trace of our insides."""
    assert answer.status in (statuses or range(400, 500)), f"{answer.status}: {answer.body[:500]!r}"
    found = [sign for sign in SIGNS_OF_A_TRACE if sign in answer.body and sign.decode() not in names]
    assert found == [], answer.body
    assert names in answer.body.decode(), f"{names!r} is not in {answer.body!r}"


def rows(server: ZaffreServer) -> dict[str, int]:
    """How much there is of everything a refused request must not add to."""
    with contextlib.closing(sqlite3.connect(f"file:{server.database_file}?mode=ro", uri=True)) as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


def outside(server: ZaffreServer) -> set[Path]:
    """What lies around the home, where nothing may ever be written."""
    return {path for path in server.home.parent.iterdir() if path != server.home}


class Raw:
    """Requests that no library tidies, over one connection that is kept."""

    def __init__(self, server: ZaffreServer) -> None:
        self._server = server
        self._context = ssl.create_default_context(cafile=str(server.home / "bundle.pem"))
        self._connection = self._connect()

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        token: str | None = "key",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        given = {"Host": f"localhost:{self._server.port}", **(headers or {})}
        if token is not None:
            given["Authorization"] = f"Bearer {self._server.credentials['api_key'] if token == 'key' else token}"
        if body is not None:
            given.setdefault("Content-Length", str(len(body)))
        for last in (False, True):
            try:
                self._connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
                for name, value in given.items():
                    self._connection.putheader(name, value)
                self._connection.endheaders(body)
                answer = self._connection.getresponse()
                return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                self._connection.close()
                self._connection = self._connect()
                if last:
                    raise
            except OSError:
                self.close()
                raise
        raise AssertionError("unreachable: the second try returns or raises")

    def close(self) -> None:
        """The next request opens another connection."""
        self._connection.close()

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self._server.port, timeout=60, context=self._context)


def _spoil(type_: str, struct: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        name = prefix + field.encode_name
        for value in _wrong(hints[field.name]):
            yield name, value
        for inner in _structs(hints[field.name]):
            yield from _spoil(type_, inner, f"{name}.")
        if (type_, name) in _INSIDE:
            yield from _spoil(type_, _INSIDE[type_, name], f"{name}.")


def _structs(hint: Any) -> list[type[msgspec.Struct]]:
    return [one for one in _union(hint) if isinstance(one, type) and issubclass(one, msgspec.Struct)]


def _wrong(hint: Any) -> list[Any]:
    """Values that do not fit a type."""
    allowed = {typing.get_origin(one) or one for one in _union(hint)}
    wrong: list[Any] = [[1, 2]]
    if str not in allowed:
        wrong.append("a text")
    if not allowed & {int, float, Any}:
        wrong.append(17)
        wrong.append(2**70)
    if int in allowed:
        wrong += [1.5, 1e300, "1"]
    if bool not in allowed:
        wrong.append(True)
    if dict not in allowed and not _structs(hint):
        wrong.append({"an": "object"})
    if Literal in allowed:
        wrong.append("none of the words")
    if dict in allowed:
        values = [typing.get_args(one)[1] for one in _union(hint) if typing.get_origin(one) is dict]
        if values and values[0] is not Any:
            wrong.append({"x": [1]})
    if list in allowed:
        wrong.remove([1, 2])
        wrong.append([[1]])
    return wrong


def _union(hint: Any) -> tuple[Any, ...]:
    return (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )
