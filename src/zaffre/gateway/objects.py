"""Stored bytes that nginx sends by itself: the application says which, and is free again (`X-Accel-Redirect`).

nginx offers it in a header of every request that it passes on; where there is no edge, nobody does. What is left to the
application: objects that are still in parts, small ones, which it answers as quickly, and conditional requests, whose
conditions nginx would compare with the file's own times.
"""

from __future__ import annotations

from starlette.responses import Response

from zaffre.gateway.call import Call

OFFER = "x-zf-objects"
FOLDER = "/_zf/objects/"
WORTH_IT = 256 * 1024
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")


def edge_sends(call: Call, size: int) -> bool:
    """Whether to leave an object of so many bytes to the edge."""
    if size < WORTH_IT or OFFER not in call.headers:
        return False
    return not any(name in call.headers for name in _CONDITIONS)


def sent_by_edge(name: str, headers: dict[str, str]) -> Response:
    """The answer that makes nginx send the object, or the range of it that the client asked for.

    `name` is as `Objects.file_name` gives it. Of `headers`, nginx keeps Content-Type, Content-Disposition, Cache-Control and Expires.
    """
    return Response(None, 200, {**headers, "x-accel-redirect": FOLDER + name})
