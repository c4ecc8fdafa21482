"""Asking a server over HTTPS with the standard library alone: what the command line and `connect()` need before any SDK.

Requests to this machine never go through a proxy, whatever the environment says.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlsplit

from zaffre.profiles import ClientError, Profile

API_VERSION = "2024-10-01-preview"
_LOCAL = ("localhost", "127.0.0.1", "::1")


class RemoteError(ClientError):
    """The server answered with an error. `status` is 0 when it could not be reached at all."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Remote:
    """One server; every answer is JSON."""

    def __init__(self, profile: Profile, *, timeout: float = 30.0, bundle: str | None = None) -> None:
        """`bundle` are the roots to trust instead of the profile's own."""
        self._profile = profile
        self._timeout = timeout
        self._bundle = bundle or profile.bundle
        self._opener: urllib.request.OpenerDirector | None = None

    @property
    def address(self) -> str:
        return self._profile.address

    def call(
        self, method: str, path: str, body: object | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer's object. `path` begins with `/`, or is a whole URL of this server. Raises RemoteError."""
        content = self._ask(method, path, body, headers)
        try:
            value = json.loads(content or b"{}")
        except ValueError:
            raise RemoteError(f"{path} answered something that is not JSON; is it Zaffre that listens there?") from None
        return value if isinstance(value, dict) else {"value": value}

    def text(self, method: str, path: str) -> str:
        """An answer that is text, not JSON."""
        return self._ask(method, path, None, None).decode(errors="replace")

    def token(self, resource: str) -> tuple[str, int]:
        """A token for an audience, and when it expires in seconds since 1970."""
        path = f"/msi/token?api-version=2019-08-01&resource={quote(resource, safe='')}"
        answer = self.call("GET", path, headers={"X-IDENTITY-HEADER": self._profile.api_key})
        return str(answer["access_token"]), int(answer["expires_on"])

    def ensure_workspace(self) -> bool:
        """Make the profile's workspace unless it is there; whether it was made now."""
        found = self._profile
        subscription, group, name = (
            quote(one, safe="") for one in (found.subscription, found.resource_group, found.workspace)
        )
        place = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices"
        path = f"{place}/workspaces/{name}?api-version={API_VERSION}"
        try:
            self.call("GET", path)
        except RemoteError as error:
            if error.status != 404:
                raise
            self.call("PUT", path, {"properties": {}})
            return True
        return False

    def _ask(self, method: str, path: str, body: object | None, headers: dict[str, str] | None) -> bytes:
        url = path if path.startswith("https://") else self._profile.address + path
        if not url.startswith(f"{self._profile.address}/"):
            raise RemoteError(f"{url} is not an address of {self._profile.address}; the key is not sent there.")
        given = headers if headers is not None else {"Authorization": f"Bearer {self._profile.api_key}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {**given, "Content-Type": "application/json"}, method=method)
        try:
            with self._open(request) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            raise RemoteError(_message(error), error.code) from None
        except urllib.error.URLError as error:
            raise RemoteError(self._unreachable(error.reason)) from error
        except (OSError, ValueError) as error:
            raise RemoteError(self._unreachable(error)) from error

    def _open(self, request: urllib.request.Request) -> Any:
        if self._opener is None:
            self._opener = self.opener(ssl.create_default_context(cafile=self._bundle))
        return self._opener.open(request, timeout=self._timeout)

    def opener(self, context: ssl.SSLContext) -> urllib.request.OpenerDirector:
        """How requests reach the server when `context` says whom to trust."""
        local = urlsplit(self._profile.address).hostname in _LOCAL
        proxies = urllib.request.ProxyHandler({} if local else None)
        return urllib.request.build_opener(proxies, urllib.request.HTTPSHandler(context=context), _NoRedirects())

    def _unreachable(self, reason: object) -> str:
        address = self._profile.address
        if isinstance(reason, FileNotFoundError):
            return f"The file of trusted roots {self._bundle} is not there; `zaffre up` writes it."
        if isinstance(reason, ssl.SSLCertVerificationError):
            return f"The certificate of {address} is not trusted with {self._bundle}: {reason.verify_message}."
        if isinstance(reason, ConnectionRefusedError):
            return f"Nothing listens at {address}; start the server with `zaffre up`."
        return f"{address} cannot be reached: {reason}."


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The library would send the key along to wherever an answer points."""

    def redirect_request(self, *_answer: Any) -> None:
        return None


def _message(error: urllib.error.HTTPError) -> str:
    """The server's own words, whichever of its protocols' forms they have."""
    try:
        body = json.loads(error.read())
    except (OSError, ValueError):
        body = None
    if isinstance(body, dict):
        inner = body.get("error")
        for text in (
            inner.get("message") if isinstance(inner, dict) else None,
            body.get("error_description"),
            body.get("message"),
        ):
            if text:
                return str(text)
    return f"{error.url} answered {error.code} {error.reason}."
