"""What can go wrong between a plan and a server that answers."""

from __future__ import annotations


class ServingError(Exception):
    """Base of the errors of this package."""


class ServerConflict(ServingError):
    """The folder holds a living server that was started from another plan: a mistake of the caller, not of the user."""


class DeploymentFailed(ServingError):
    """A deployment did not come up. `str()` is what the user should read: what happened, what to do, the last lines."""

    def __init__(self, deployment: str, reason: str, *, hint: str = "", console: str = "") -> None:
        self.deployment = deployment
        self.reason = reason
        self.hint = hint
        self.console = console
        parts = [f"Deployment {deployment!r} failed: {reason}"]
        if hint:
            parts.append(hint)
        if console:
            parts.append("Last lines of its log:\n" + console)
        super().__init__("\n".join(parts))


class ModelUnreadable(ServingError):
    """A folder is no MLflow model, or its files do not say what it needs."""
