"""A run's status in two vocabularies: Azure ML's, which is kept, and MLflow's, which is derived from it."""

from __future__ import annotations

from zaffre.errors import InvalidInput

SCHEDULED, RUNNING, FINISHED, FAILED, KILLED = "SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED"
TERMINAL = ("Completed", "Failed", "Canceled")

_TO_MLFLOW = {
    "NotStarted": SCHEDULED,
    "Starting": SCHEDULED,
    "Provisioning": SCHEDULED,
    "Preparing": SCHEDULED,
    "Queued": SCHEDULED,
    "Running": RUNNING,
    "Finalizing": RUNNING,
    "CancelRequested": RUNNING,
    "NotResponding": RUNNING,
    "Paused": RUNNING,
    "Completed": FINISHED,
    "Failed": FAILED,
    "Canceled": KILLED,
}
_FROM_MLFLOW = {
    SCHEDULED: "NotStarted",
    RUNNING: "Running",
    FINISHED: "Completed",
    FAILED: "Failed",
    KILLED: "Canceled",
}
ALL = tuple(_TO_MLFLOW)
MLFLOW = tuple(_FROM_MLFLOW)


def to_mlflow(status: str) -> str:
    return _TO_MLFLOW[status]


def from_mlflow(status: str) -> str:
    """Azure ML's word for a status MLflow sends. Raises InvalidInput for one MLflow does not have."""
    if status not in _FROM_MLFLOW:
        raise InvalidInput(
            f"Field 'status': '{status[:50]}' is not one of {', '.join(MLFLOW)}.", code="InvalidField", target="status"
        )
    return _FROM_MLFLOW[status]


def meaning(mlflow_statuses: tuple[str, ...]) -> tuple[str, ...]:
    """All words of Azure ML's that MLflow calls by one of these names."""
    return tuple(word for word, name in _TO_MLFLOW.items() if name in mlflow_statuses)
