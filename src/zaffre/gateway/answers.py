"""Answers in the forms clients expect."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from zaffre.errors import ZaffreError


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def arm_error(error: ZaffreError, request_id: str) -> Response:
    """The error body that ARM, and nearly every client of ours, expects."""
    body: dict[str, Any] = {"code": error.code, "message": error.message, "details": []}
    if error.target:
        body["target"] = error.target
    body["additionalInfo"] = [{"type": "RequestId", "info": {"requestId": request_id}}]
    return json_answer({"error": body}, error.status)
