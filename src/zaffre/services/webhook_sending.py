"""One POST to a webhook: only where it may go, to the address that was looked at, signed as MLflow signs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import socket
import threading
import time
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from zaffre.errors import InvalidInput
from zaffre.services import outgoing
from zaffre.services.outgoing import Resolve

TIMEOUT_S = 30.0
MOST_READ = 64 * 1024  # bytes of an answer
SIGNATURE, TIMESTAMP, DELIVERY_ID = "X-MLflow-Signature", "X-MLflow-Timestamp", "X-MLflow-Delivery-Id"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`retry_after` is in seconds, where the host named any."""

    status: int
    body: str = ""
    retry_after: float | None = None


class NotAllowed(Exception):
    """The address may not be asked. Another try would change nothing unless the name's addresses change."""


FAILURES = (NotAllowed, OSError, http.client.HTTPException, ValueError)
"""What `Sender.send` raises; ValueError where a host's name is none to the resolver or to TLS."""


class Sender:
    """`hosts` are Settings.webhook_hosts; `bundle` holds the roots that certificates are held against."""

    def __init__(self, hosts: tuple[str, ...], bundle: Path, resolve: Resolve | None = None) -> None:
        self._hosts = hosts
        self._bundle = bundle
        self._resolve = resolve or outgoing.addresses

    def check(self, url: str) -> SplitResult:
        """The parts of an address that may stand in a webhook. Raises InvalidInput in MLflow's words.

        Where its host lies is looked at with each delivery: names change their addresses.
        """
        if not url.strip():
            raise _invalid(f"Webhook URL cannot be empty or just whitespace: {url!r}")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise _invalid(f"Invalid webhook URL {url[:200]!r}: {error}") from None
        plain = parts.scheme == "http" and any(one.startswith("http://") for one in self._hosts)
        if parts.scheme != "https" and not plain:
            raise _invalid(f"Invalid webhook URL scheme: {parts.scheme!r}. Allowed schemes are: https.")
        if not parts.hostname:
            raise _invalid(f"Webhook URL must include a hostname: {url[:200]!r}")
        if parts.username is not None or not url.isascii() or any(letter <= " " for letter in url) or port == 0:
            raise _invalid(f"Invalid webhook URL {url[:200]!r}: no user, blank or letter beyond ASCII may stand in it.")
        if self._hosts and not any(outgoing.matches(one, parts) for one in self._hosts):
            raise _invalid(
                f"Webhook URL {url[:200]!r} is not allowed: this server sends webhooks only to the hosts that its operator named "
                "in ZAFFRE_WEBHOOK_HOSTS."
            )
        return parts

    def send(self, url: str, secret: str | None, delivery: str, body: str) -> Answer:
        """Post it, following no redirect. Raises FAILURES; takes TIMEOUT_S at most."""
        try:
            parts = self.check(url)
        except InvalidInput as error:
            raise NotAllowed(error.message) from None
        assert parts.hostname is not None, "it was checked"
        port = outgoing.port_of(parts)
        address = self._address(parts, port)
        ends = time.monotonic() + TIMEOUT_S
        raw = socket.create_connection((address, port), timeout=TIMEOUT_S / 3)
        # A host that sends a byte now and then would never meet the timeout of a single read.
        twin = raw.dup()  # TLS takes the socket itself over
        guard = threading.Timer(max(ends - time.monotonic(), 0.1), outgoing.cut, (twin,))
        guard.daemon = True
        guard.start()
        link = raw
        try:
            link = outgoing.secured(raw, parts, self._bundle)
            connection = http.client.HTTPConnection(parts.hostname, port, timeout=TIMEOUT_S)
            connection.sock = link
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            now = str(int(time.time()))
            headers = {"Content-Type": "application/json", TIMESTAMP: now, DELIVERY_ID: delivery, "Connection": "close"}
            headers["Host"] = parts.netloc
            if secret:
                headers[SIGNATURE] = signature(secret, delivery, now, body)
            connection.request("POST", target, body.encode(), headers)
            answer = connection.getresponse()
            text = answer.read(MOST_READ).decode("utf-8", "replace")
            return Answer(status=answer.status, body=text, retry_after=_seconds(answer.headers.get("Retry-After")))
        finally:
            guard.cancel()
            twin.close()
            link.close()
            raw.close()

    def _address(self, parts: SplitResult, port: int) -> str:
        """The address to connect to. Every one that the name has must be public, unless the operator named this very host."""
        assert parts.hostname is not None, "it was checked"
        found = self._resolve(parts.hostname, port)
        if not found:
            raise OSError(f"'{parts.hostname}' has no address.")
        named = outgoing.names(self._hosts, parts)
        for one in found:
            if not named and not outgoing.is_public(one):
                raise NotAllowed(
                    f"Webhook URL must not resolve to a non-public IP address. {parts.hostname!r} resolves to {one}. "
                    "If it shall, name the host in ZAFFRE_WEBHOOK_HOSTS."
                )
        return found[0]


def signature(secret: str, delivery: str, timestamp: str, body: str) -> str:
    """`v1,` and the HMAC-SHA256 of id, time and body with points between, in base64."""
    digest = hmac.new(secret.encode(), f"{delivery}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else None


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, target="url")
