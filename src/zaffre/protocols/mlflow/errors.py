"""Our failures as MLflow's clients expect them: `{"error_code", "message"}` with a code they know."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.errors import (
    Conflict,
    Denied,
    InvalidInput,
    NotAllowed,
    NotFound,
    NotServed,
    PreconditionFailed,
    StorageFull,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    ZaffreError,
)
from zaffre.gateway.answers import json_answer

_FORMS: tuple[tuple[type[ZaffreError], str, int], ...] = (
    (Unprocessable, "INVALID_PARAMETER_VALUE", 422),
    (InvalidInput, "INVALID_PARAMETER_VALUE", 400),
    (NotFound, "RESOURCE_DOES_NOT_EXIST", 404),
    # mlflow takes 409 for a passing trouble; what exists already is 400 there.
    (Conflict, "RESOURCE_ALREADY_EXISTS", 400),
    (Unauthenticated, "UNAUTHENTICATED", 401),
    (Denied, "PERMISSION_DENIED", 403),
    (NotAllowed, "BAD_REQUEST", 405),
    (PreconditionFailed, "RESOURCE_CONFLICT", 412),
    (TooLarge, "INVALID_PARAMETER_VALUE", 413),
    (NotServed, "NOT_IMPLEMENTED", 501),
    (Unavailable, "TEMPORARILY_UNAVAILABLE", 503),
    (StorageFull, "RESOURCE_EXHAUSTED", 507),
)


def error_form(error: ZaffreError, request_id: str) -> Response:
    code, status = next(
        ((code, status) for kind, code, status in _FORMS if isinstance(error, kind)), ("INTERNAL_ERROR", 500)
    )
    return json_answer({"error_code": code, "message": error.message, "request_id": request_id}, status)
