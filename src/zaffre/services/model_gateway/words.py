"""What the gateway's parts have in common: how much a field holds, how a refusal reads, how a change is recorded."""

from __future__ import annotations

from zaffre.errors import InvalidInput, NotFound
from zaffre.store.unit import Actor, Unit

MOST_IN_NAME = 255
PRIMARY, FALLBACK = "PRIMARY", "FALLBACK"
LINKAGES = (PRIMARY, FALLBACK)
SPLIT = "REQUEST_BASED_TRAFFIC_SPLIT"
ROUTINGS = (SPLIT,)
FALLBACKS = ("SEQUENTIAL",)
RESOURCES = ("scorer",)
"""What may be bound to an endpoint."""


def refused(field: str, why: str) -> InvalidInput:
    return InvalidInput(why, code="InvalidField", target=field)


def check_text(value: str, field: str, most: int = MOST_IN_NAME) -> None:
    """A text that is not blank, of at most so many characters."""
    if not value.strip():
        raise refused(field, f"`{field}` cannot be empty or contain only whitespace.")
    if len(value) > most:
        raise refused(field, f"`{field}` must be at most {most} characters; got {len(value)}.")


def missing(what: str, field: str, value: str) -> NotFound:
    """In MLflow's words."""
    return NotFound(f"{what} not found ({field}='{value}')", target=field)


def record(unit: Unit, actor: Actor, verb: str, scope: str, which: str) -> None:
    unit.audit(actor, f"workspaces/gateway/{verb}", f"{scope}/gateway/{which}")
