"""Who may do what. This version knows owners and jobs; role assignments come with their own issue and widen `authorize`."""

from __future__ import annotations

import msgspec

from zaffre.errors import Denied

OWNER = "Owner"
RUN = "Run"

# What code inside a job may do in its own workspace: read everything that is not a secret of the control plane, track,
# move data, create assets. It may not submit work, deploy, or change computes, datastores and the workspace itself.
_RUN_DENIED_PREFIXES = (
    "workspaces/onlineEndpoints/write",
    "workspaces/onlineEndpoints/delete",
    "workspaces/onlineEndpoints/listKeys",
    "workspaces/onlineEndpoints/deployments/write",
    "workspaces/onlineEndpoints/deployments/delete",
    "workspaces/computes/write",
    "workspaces/computes/delete",
    "workspaces/datastores/write",
    "workspaces/datastores/delete",
    "workspaces/write",
    "workspaces/delete",
    "workspaces/listKeys",
    "workspaces/jobs/write",
    "workspaces/jobs/delete",
)


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller. `scope` limits a job's identity to one workspace (its id); owners have none."""

    id: str
    name: str
    kind: str = "User"
    role: str = OWNER
    scope: str | None = None
    run: str | None = None


def authorize(principal: Principal, action: str, workspace_id: str | None) -> None:
    """Raise Denied unless `principal` may do `action`, e.g. `workspaces/jobs/write`, in the workspace."""
    if principal.role == OWNER:
        return
    if principal.role == RUN:
        if workspace_id is not None and workspace_id == principal.scope and not action.startswith(_RUN_DENIED_PREFIXES):
            return
        raise Denied(
            f"The token of job '{principal.run}' does not allow '{action}'"
            + (" in another workspace." if workspace_id != principal.scope else ". Use a user's own credential for it.")
        )
    raise Denied(f"'{principal.name}' has no role that allows '{action}'.")
