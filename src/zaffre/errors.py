"""The failures Zaffre knows. A service raises one; the gateway turns it into the wire's form in one place.

Every message says what happened, to what, and what to do about it. `target` names the field at fault, if there is one.
"""

from __future__ import annotations


class ZaffreError(Exception):
    """A failure a client may see. `status` is the HTTP status, `code` the stable word clients compare."""

    status = 500
    code = "InternalError"

    def __init__(self, message: str, *, code: str | None = None, target: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.target = target
        if code is not None:
            self.code = code


class InvalidInput(ZaffreError):
    """The request itself is wrong; the same request can never succeed."""

    status = 400
    code = "UserError"


class Unprocessable(InvalidInput):
    """Well-formed, but it lacks something without which it means nothing."""

    status = 422


class Unauthenticated(ZaffreError):
    """No credential, or one that is wrong, expired or meant for somebody else."""

    status = 401
    code = "AuthenticationFailed"


class Denied(ZaffreError):
    """The caller is known and may not do this."""

    status = 403
    code = "AuthorizationFailed"


class NotFound(ZaffreError):
    status = 404
    code = "ResourceNotFound"


class NotAllowed(ZaffreError):
    """The address exists, the verb does not."""

    status = 405
    code = "MethodNotAllowed"


class Conflict(ZaffreError):
    """The state of the resource forbids it: it exists already with another content, or it is being changed."""

    status = 409
    code = "Conflict"


class PreconditionFailed(ZaffreError):
    status = 412
    code = "ConditionNotMet"


class TooLarge(ZaffreError):
    status = 413
    code = "RequestTooLarge"


class NotServed(ZaffreError):
    """A real operation of Azure ML that this version of Zaffre does not serve; docs/coverage.md lists them."""

    status = 501
    code = "NotImplemented"


class StorageFull(ZaffreError):
    """The disk is full. Nothing of the request was kept; it can be repeated when there is space again."""

    status = 507
    code = "InsufficientStorage"


class Unavailable(ZaffreError):
    """A passing trouble of ours; clients retry it by themselves."""

    status = 503
    code = "ServiceUnavailable"


def refused(field: str, why: str) -> InvalidInput:
    """The failure of a request that says in `field` what cannot be."""
    return InvalidInput(why, code="InvalidField", target=field)
