"""Uploads that a test sends piece by piece, and what nginx keeps of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.zaffre_server import ZaffreServer


@contextlib.contextmanager
def upload(
    server: ZaffreServer,
    path: str,
    size: int,
    *,
    token: str | None = None,
    headers: dict[str, str] | None = None,
) -> Iterator[http.client.HTTPSConnection]:
    """A PUT whose head is sent. Without a token, nobody's."""
    context = ssl.create_default_context(cafile=str(server.home / "bundle.pem"))
    connection = http.client.HTTPSConnection("localhost", server.port, timeout=60, context=context)
    try:
        connection.putrequest("PUT", path)
        given = {"Content-Length": str(size), **(headers or {})}
        if token:
            given["Authorization"] = f"Bearer {token}"
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders()
        yield connection
    finally:
        connection.close()


def answer(connection: http.client.HTTPSConnection) -> tuple[int, dict[str, Any], str]:
    found = connection.getresponse()
    return found.status, json.loads(found.read()), found.headers.get("x-zf-sha256", "")


def kept(server: ZaffreServer) -> list[Path]:
    return list((server.home / "edge" / "tmp" / "body").iterdir())
