"""Who may do what. This version knows owners, readers and jobs; role assignments come with their own issue and widen it."""

from __future__ import annotations

import msgspec

from zaffre.errors import Denied

OWNER = "Owner"
READER = "Reader"
RUN = "Run"

ROLES = (OWNER, READER)
"""What a user or a service principal may be, on the whole server."""

# What code inside a job may do in its own workspace beside reading: track, move data, make assets, score. Whatever is not named
# here it may not: submit work, deploy, or change computes, datastores and the workspace itself.
_RUN_ALLOWED = (
    "workspaces/blobs/",
    "workspaces/codes/",
    "workspaces/components/",
    "workspaces/computes/listNodes",
    "workspaces/data/",
    "workspaces/datastores/listSecrets",
    "workspaces/environments/",
    "workspaces/experiments/",
    "workspaces/gateway/invoke",
    "workspaces/jobs/cancel",
    "workspaces/mcpservers/",
    "workspaces/models/",
    "workspaces/onlineEndpoints/deployments/getLogs",
    "workspaces/onlineEndpoints/score",
    "workspaces/runs/",
)


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller. `scope` limits a job's identity to one workspace (its id); owners have none.

    `born` is when their run was made, in milliseconds since 1970: a later one may have its name.
    `key` is the id of the API key they came with, `until` its end in milliseconds since 1970: what is made by means of
    a key ends with it.
    """

    id: str
    name: str
    kind: str = "User"
    role: str = OWNER
    scope: str | None = None
    run: str | None = None
    born: int | None = None
    key: str | None = None
    until: int | None = None


def authorize(principal: Principal, action: str, workspace_id: str | None) -> None:
    """Raise Denied unless `principal` may do `action`, e.g. `workspaces/jobs/write`, in the workspace."""
    if principal.role == OWNER:
        return
    reads = action.rpartition("/")[2] == "read"
    if principal.role == READER:
        if reads:
            return
        raise Denied(f"'{principal.name}' is a {READER}, which does not allow '{action}'.")
    if principal.role == RUN:
        if action == "registries/read":  # the same for everybody
            return
        if workspace_id is not None and workspace_id == principal.scope and (reads or action.startswith(_RUN_ALLOWED)):
            return
        raise Denied(
            f"The token of job '{principal.run}' does not allow '{action}'"
            + (" in another workspace." if workspace_id != principal.scope else ". Use a user's own credential for it.")
        )
    raise Denied(f"'{principal.name}' has no role that allows '{action}'.")
