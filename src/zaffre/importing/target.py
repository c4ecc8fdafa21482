"""The server that is imported to: one connection a thread, patient with a server that is away for a moment.

Whatever is sent here may be sent twice, so a request whose answer was lost is sent again.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from zaffre.profiles import ClientError, Profile

TIMEOUT_S = 120.0
PATIENCE_S = 120.0
"""How long a server may be away. A restart takes seconds."""
BLOCK = 1024 * 1024
_PASSING = (429, 502, 503, 504)
_MOST_TOLD = 500


class TargetError(ClientError):
    """The server refused something. `status` is 0 when it could not be reached, not even for PATIENCE_S."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def hopeless(self) -> bool:
        """Whether everything else would fail as well."""
        return self.status in (0, 401, 403)


class Target:
    """One workspace of a server."""

    def __init__(self, profile: Profile) -> None:
        parts = urlsplit(profile.address)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._context = ssl.create_default_context(cafile=profile.bundle)
        self._key = profile.api_key
        scope = quote(profile.scope, safe="/")
        self.tracking = f"/tracking{scope}"
        self._own = f"/zaffre/v1{scope}/import"
        self._local = threading.local()
        self.address = profile.address

    def put(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """One thing whole, by Zaffre's own operation for imports."""
        return self._json("PUT", f"{self._own}/{what}", body)

    def post(self, operation: str, body: dict[str, Any], *, version: str = "2.0") -> dict[str, Any]:
        """One of MLflow's operations, such as `runs/log-batch`."""
        return self._json("POST", f"{self.tracking}/api/{version}/mlflow/{operation}", body)

    def patch(self, operation: str, body: dict[str, Any], *, version: str = "2.0") -> dict[str, Any]:
        return self._json("PATCH", f"{self.tracking}/api/{version}/mlflow/{operation}", body)

    def export_spans(self, experiment_id: str, body: bytes) -> None:
        """OpenTelemetry's export, in JSON."""
        where = f"{self.tracking}/v1/traces"

        def send(connection: http.client.HTTPSConnection, headers: dict[str, str]) -> None:
            sent = {**headers, "Content-Type": "application/json", "x-mlflow-experiment-id": experiment_id}
            connection.request("POST", where, body, sent)

        self._patiently(where, send)

    def get(self, operation: str, **query: str) -> dict[str, Any]:
        return self._json("GET", f"{self.tracking}/api/2.0/mlflow/{operation}?{urlencode(query)}", None)

    def find(self, operation: str, **query: str) -> dict[str, Any] | None:
        """Like `get`; None for what is not here."""
        try:
            return self.get(operation, **query)
        except TargetError as error:
            if error.status != 404:
                raise
            return None

    def pages(self, operation: str, of: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Everything a search finds; `of` is the field that holds a page."""
        token: str | None = None
        while True:
            answer = self.post(operation, body | ({"page_token": token} if token else {}))
            yield from answer.get(of, [])
            token = answer.get("next_page_token")
            if not token:
                return

    def upload(self, path: str, opened: Callable[[], BinaryIO], size: int) -> dict[str, str]:
        """Write the file `path` of the artifact proxy from what `opened` reads, `size` bytes; the answer's headers."""
        where = f"{self.tracking}/api/2.0/mlflow-artifacts/artifacts/{quote(path, safe='/')}"

        def send(connection: http.client.HTTPSConnection, headers: dict[str, str]) -> None:
            with opened() as file:
                sent = {**headers, "Content-Length": str(size), "Content-Type": "application/octet-stream"}
                connection.request("PUT", where, file, sent)

        return self._patiently(where, send)[1]

    def folder(self, path: str) -> list[dict[str, Any]]:
        """What lies in a folder of the artifact proxy; nothing where there is none."""
        where = f"{self.tracking}/api/2.0/mlflow-artifacts/artifacts?{urlencode({'path': path})}"
        found: list[dict[str, Any]] = self._json("GET", where, None).get("files", [])
        return found

    def _json(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        data = None if body is None else msgspec.json.encode(body)

        def send(connection: http.client.HTTPSConnection, headers: dict[str, str]) -> None:
            connection.request(method, path, data, {**headers, "Content-Type": "application/json"})

        found: dict[str, Any] = msgspec.json.decode(self._patiently(path, send)[0] or b"{}")
        return found

    def _patiently(
        self, path: str, send: Callable[[http.client.HTTPSConnection, dict[str, str]], None]
    ) -> tuple[bytes, dict[str, str]]:
        ends, pause = time.monotonic() + PATIENCE_S, 0.1
        while True:
            try:
                status, headers, body = self._once(send)
                trouble = _message(status, body)
            except (ConnectionError, http.client.HTTPException, TimeoutError, ssl.SSLEOFError) as error:
                self._drop()
                status, headers, body, trouble = 0, {}, b"", str(error) or type(error).__name__
            except OSError as error:
                self._drop()
                raise TargetError(f"{self.address} cannot be reached: {error}.") from error
            if 200 <= status < 300:
                return body, headers
            if (status != 0 and status not in _PASSING) or time.monotonic() + pause > ends:
                raise TargetError(trouble if status else f"{self.address} cannot be reached: {trouble}.", status)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _once(
        self, send: Callable[[http.client.HTTPSConnection, dict[str, str]], None]
    ) -> tuple[int, dict[str, str], bytes]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=TIMEOUT_S, context=self._context, blocksize=BLOCK
            )
            self._local.connection = connection
        send(connection, {"Authorization": f"Bearer {self._key}"})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def _drop(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None


def _message(status: int, body: bytes) -> str:
    try:
        found = msgspec.json.decode(body)
    except (ValueError, msgspec.DecodeError):
        found = None
    inner = found.get("error", found) if isinstance(found, dict) else None
    text = inner.get("message") if isinstance(inner, dict) else None
    return str(text or f"The server answered {status}.")[:_MOST_TOLD]
