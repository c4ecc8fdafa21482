"""Computes: AmlCompute clusters as named shares of this machine."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zaffre.errors import InvalidInput, NotServed
from zaffre.runtime import iso
from zaffre.services.kinds.base import Document, Kind, Show, check, spelled
from zaffre.store.resources import Row

TYPES = (
    "AmlCompute",
    "ComputeInstance",
    "Kubernetes",
    "VirtualMachine",
    "SynapseSpark",
    "AKS",
    "HDInsight",
    "Databricks",
)


class Properties(msgspec.Struct, rename="camel", kw_only=True):
    compute_type: str
    description: str | None = None
    resource_id: str | None = None
    disable_local_auth: bool | None = None
    properties: dict[str, Any] | None = None


class Scale(msgspec.Struct, rename="camel", kw_only=True):
    max_node_count: int
    min_node_count: int = 0
    node_idle_time_before_scale_down: str | None = None


class Cluster(msgspec.Struct, rename="camel", kw_only=True):
    vm_size: str | None = None
    vm_priority: str | None = None
    scale_settings: Scale | None = None


def _complete(properties: Document) -> Document:
    kind = spelled(properties["computeType"], TYPES, "properties.computeType")
    if kind != "AmlCompute":
        raise NotServed(f"Computes of type {kind} are not served yet; AmlCompute is.", target="properties.computeType")
    inner = dict(properties.get("properties") or {})
    check(inner, Cluster, "properties.properties")
    scale = {
        "minNodeCount": 0,
        "maxNodeCount": 1,
        "nodeIdleTimeBeforeScaleDown": "PT2M",
        **(inner.get("scaleSettings") or {}),
    }
    if not 0 <= scale["minNodeCount"] <= scale["maxNodeCount"]:
        raise InvalidInput(
            f"Field 'properties.properties.scaleSettings': minNodeCount {scale['minNodeCount']} and maxNodeCount "
            f"{scale['maxNodeCount']}; expected 0 <= minNodeCount <= maxNodeCount.",
            code="InvalidField",
            target="properties.properties.scaleSettings",
        )
    inner |= {
        "scaleSettings": scale,
        "vmPriority": inner.get("vmPriority") or "Dedicated",
        "osType": inner.get("osType") or "Linux",
    }
    return {**properties, "computeType": kind, "properties": inner}


def _extra(row: Row, show: Show) -> Document:
    inner = dict(row.body["properties"]["properties"])
    # The nodes are this machine's processes: none is kept warm, so none is ever allocated and idle.
    inner |= {
        "allocationState": "Steady",
        "allocationStateTransitionTime": iso(row.modified_at),
        "currentNodeCount": 0,
        "targetNodeCount": inner["scaleSettings"]["minNodeCount"],
        "nodeStateCounts": {
            "idleNodeCount": 0, "runningNodeCount": 0, "preparingNodeCount": 0,
            "unusableNodeCount": 0, "leavingNodeCount": 0, "preemptedNodeCount": 0,
        },
        "errors": [],
    }  # fmt: skip
    return {
        "computeLocation": show.workspace.location,
        "provisioningState": row.state,
        "provisioningErrors": None,
        "isAttachedCompute": False,
        "createdOn": iso(row.created_at),
        "modifiedOn": iso(row.modified_at),
        "properties": inner,
    }


KINDS = (
    Kind(
        type="workspaces/computes",
        properties=Properties,
        name=re.compile(r"[A-Za-z][A-Za-z0-9-]{0,22}[A-Za-z0-9]"),
        complete=_complete,
        extra=_extra,
        tracked=True,
    ),
)
