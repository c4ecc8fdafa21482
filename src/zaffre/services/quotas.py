"""How many cores of a family of sizes the clusters of a workspace may have together, where somebody has set a limit."""

from __future__ import annotations

import msgspec

from zaffre.errors import InvalidInput
from zaffre.services.kinds import vm_sizes
from zaffre.services.kinds.base import Document
from zaffre.services.kinds.computes import CLUSTER, TYPE
from zaffre.services.workspaces import Workspace
from zaffre.store import resources
from zaffre.store.database import Database
from zaffre.store.unit import Actor, Unit

QUOTA = "workspaces/quotas"
NO_LIMIT = -1


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """`limit` in cores; -1 is none."""

    family: str
    limit: int


class Quotas:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self, workspace: Workspace) -> list[Quota]:
        """One for each family, limited or not."""
        rows = await self._database.read(lambda conn: resources.listing(conn, workspace.id, QUOTA))
        limits = {resources.key(row.name): int(row.body["limit"]) for row in rows}
        return [Quota(family=one, limit=limits.get(one.lower(), NO_LIMIT)) for one in families()]

    async def set(self, actor: Actor, workspace: Workspace, family: str, limit: int) -> str:
        """Set a limit. Success, or in the contract's words why not: the family is unknown, or clusters have more already."""
        known = next((one for one in families() if one.lower() == family.lower()), None)
        if known is None:
            return "InvalidVMFamilyName"

        def work(unit: Unit) -> str:
            if NO_LIMIT < limit < _cores(unit, workspace, known, ""):
                return "InvalidQuotaBelowClusterMinimum"
            if not resources.insert(unit, actor, workspace.id, QUOTA, known, {"limit": limit}, {}):
                row = resources.get(unit.conn, workspace.id, QUOTA, known, lock=True)
                assert row is not None, "it was there a moment ago"
                resources.update(unit, actor, row.pk, body={"limit": limit})
            unit.audit(actor, "quotas/write", workspace.path, detail={"family": known, "limit": limit})
            return "Success"

        return await self._database.write(work)

    def check(self, unit: Unit, workspace: Workspace, name: str, body: Document) -> None:
        """Raise InvalidInput when the cluster `name` as it shall be takes its family beyond the limit."""
        asked = cores(body)
        if asked is None:
            return
        family, wanted = asked
        row = resources.get(unit.conn, workspace.id, QUOTA, family)
        limit = int(row.body["limit"]) if row is not None else NO_LIMIT
        others = _cores(unit, workspace, family, resources.key(name))
        if limit != NO_LIMIT and others + wanted > limit:
            raise InvalidInput(
                f"Field 'properties.properties.scaleSettings.maxNodeCount': the cluster would have {wanted} cores, other "
                f"clusters have {others}, and the workspace's quota for {family} is {limit}.",
                code="QuotaExceeded",
                target="properties.properties.scaleSettings.maxNodeCount",
            )


def families() -> list[str]:
    return list(dict.fromkeys(size.family for size in vm_sizes.table().values()))


def cores(body: Document) -> tuple[str, int] | None:
    """The family of a cluster and its cores at most; None for what is no cluster, or of a size that is not known."""
    properties = body["properties"]
    size = vm_sizes.table().get(str(properties.get("properties", {}).get("vmSize")).lower())
    if properties["computeType"] != CLUSTER or size is None:
        return None
    return size.family, size.vcpus * int(properties["properties"]["scaleSettings"]["maxNodeCount"])


def _cores(unit: Unit, workspace: Workspace, family: str, without: str) -> int:
    """What the clusters of a family have together, but for one."""
    rows = resources.listing(unit.conn, workspace.id, TYPE)
    each = [cores(row.body) for row in rows if resources.key(row.name) != without]
    return sum(one[1] for one in each if one is not None and one[0] == family)
