"""Computes: clusters and instances as shares of this machine, and attached ones as records."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from zaffre.errors import Conflict, InvalidInput, NotServed
from zaffre.runtime import iso
from zaffre.services.durations import seconds
from zaffre.services.kinds import compute_schedules, vm_sizes
from zaffre.services.kinds.attached_computes import ATTACHED, check_attached, secret_paths
from zaffre.services.kinds.base import Document, Kind, Show, check, spelled
from zaffre.store.resources import Row

TYPE = "workspaces/computes"
CLUSTER, INSTANCE = "AmlCompute", "ComputeInstance"
TYPES = (CLUSTER, INSTANCE, *ATTACHED)
ANYWHERE = ("serverless", "local")
"""Names that a job may give and no compute may have: both mean this machine."""

STATES = ("Running", "Stopped", "Stopping", "Restarting")
LEAST_IDLE_S, MOST_IDLE_S = 15 * 60, 3 * 86400
_SIZE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,30}[A-Za-z0-9]")


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
    os_type: str | None = None
    remote_login_port_public_access: str | None = None
    isolated_network: bool | None = None
    virtual_machine_image: dict[str, Any] | None = None
    user_account_credentials: dict[str, Any] | None = None
    subnet: dict[str, Any] | None = None
    enable_node_public_ip: bool | None = None


class Instance(msgspec.Struct, rename="camel", kw_only=True):
    vm_size: str | None = None
    ssh_settings: dict[str, Any] | None = None
    setup_scripts: dict[str, Any] | None = None
    custom_services: list[Any] | None = None
    schedules: dict[str, Any] | None = None
    idle_time_before_shutdown: str | None = None
    personal_compute_instance_settings: dict[str, Any] | None = None
    application_sharing_policy: str | None = None
    compute_instance_authorization_type: str | None = None
    enable_sso: bool | None = msgspec.field(name="enableSSO", default=None)
    enable_node_public_ip: bool | None = None
    subnet: dict[str, Any] | None = None


# What only we say; a client that sends back what it read means nothing by it.
_OURS = (
    "allocationState", "allocationStateTransitionTime", "currentNodeCount", "targetNodeCount", "nodeStateCounts", "errors",
    "state", "lastOperation", "applications", "connectivityEndpoints", "createdBy", "osImageMetadata", "containers",
    "dataDisks", "dataMounts", "versions",
)  # fmt: skip
_OURS_ABOVE = (
    "computeLocation", "provisioningState", "provisioningErrors", "isAttachedCompute", "createdOn", "modifiedOn",
)  # fmt: skip


def room(row: Row, cores: int) -> int:
    """How many jobs may run on it at once: one a node of a cluster, one a core of an instance that runs."""
    return cores if nodes(row) and row.body["properties"]["computeType"] == INSTANCE else nodes(row)


def nodes(row: Row) -> int:
    """How many nodes it has at most, now."""
    properties = row.body["properties"]
    if properties["computeType"] == CLUSTER:
        return int(properties["properties"]["scaleSettings"]["maxNodeCount"])
    return 1 if properties["computeType"] == INSTANCE and state(row) == "Running" else 0


def state(row: Row) -> str:
    """Of an instance: Running, Stopped, Stopping or Restarting."""
    return row.state if row.state in STATES else str(row.server.get("power", "Running"))


def admit(row: Row, properties: Document) -> None:
    """Raise InvalidInput unless the compute may take a job with these properties, now and as it asks."""
    kind, field = row.body["properties"]["computeType"], "properties.computeId"
    if kind in ATTACHED:
        raise InvalidInput(
            f"Field '{field}': compute '{row.name}' is an attached {kind}, which is kept as a record; jobs are not sent there. "
            "Use a cluster, an instance, or leave compute out.",
            code="ComputeNotConnected",
            target=field,
        )
    if kind == INSTANCE and state(row) != "Running":
        raise InvalidInput(
            f"Field '{field}': compute instance '{row.name}' is {state(row)}. Start it first: "
            f"ml.compute.begin_start('{row.name}').",
            code="ComputeNotRunning",
            target=field,
        )
    asked, most = int((properties.get("resources") or {}).get("instanceCount") or 1), nodes(row)
    if asked > most:
        field = "properties.resources.instanceCount"
        raise InvalidInput(
            f"Field '{field}': the job asks for {asked} node{'s' if asked > 1 else ''}, and compute '{row.name}' never has "
            f"more than {most}.",
            code="ComputeTooSmall",
            target=field,
        )


def keep_what_is_fixed(row: Row, body: Document) -> None:
    """Raise Conflict when `body` changes what a compute keeps for life."""
    old, new = row.body["properties"], body["properties"]
    fixed = ["computeType"] if old["computeType"] not in ATTACHED else ["computeType", "resourceId"]
    for name in fixed:
        if old.get(name) != new.get(name):
            raise _fixed(row, f"properties.{name}", old.get(name))
    if old["computeType"] in ATTACHED:
        return
    for name in ("vmSize", "vmPriority", "osType"):
        was = old["properties"].get(name)
        if was is not None and str(was).lower() != str(new["properties"].get(name)).lower():
            raise _fixed(row, f"properties.properties.{name}", was)


def _fixed(row: Row, field: str, value: object) -> Conflict:
    return Conflict(
        f"Field '{field}': compute '{row.name}' has {value!r} for as long as it is there. Delete it and make it anew.",
        code="ComputeCannotChange",
        target=field,
    )


def _complete(properties: Document) -> Document:
    kind = spelled(properties["computeType"], TYPES, "properties.computeType")
    inner = {name: value for name, value in (properties.get("properties") or {}).items() if name not in _OURS}
    kept = {name: value for name, value in properties.items() if name not in _OURS_ABOVE}
    inner = _CHECKS[kind](inner) if kind in _CHECKS else check_attached(kind, kept, inner)
    return {**kept, "computeType": kind, "properties": inner}


def _cluster(inner: Document) -> Document:
    where = "properties.properties"
    check(inner, Cluster, where)
    scale = {
        "minNodeCount": 0,
        "maxNodeCount": 1,
        "nodeIdleTimeBeforeScaleDown": "PT2M",
        **{name: value for name, value in (inner.get("scaleSettings") or {}).items() if value is not None},
    }
    if not 0 <= scale["minNodeCount"] <= scale["maxNodeCount"]:
        raise _invalid(
            f"{where}.scaleSettings",
            f"minNodeCount {scale['minNodeCount']} and maxNodeCount {scale['maxNodeCount']}; expected 0 <= minNodeCount <= maxNodeCount",
        )
    seconds(scale["nodeIdleTimeBeforeScaleDown"], f"{where}.scaleSettings.nodeIdleTimeBeforeScaleDown")
    if spelled(inner.get("osType") or "Linux", ("Linux", "Windows"), f"{where}.osType") == "Windows":
        raise _unserved(f"{where}.osType", "nodes are this machine, which is no Windows")
    access = ("Enabled", "Disabled", "NotSpecified")
    login = spelled(
        inner.get("remoteLoginPortPublicAccess") or "NotSpecified", access, f"{where}.remoteLoginPortPublicAccess"
    )
    if login == "Enabled":
        raise _unserved(
            f"{where}.remoteLoginPortPublicAccess", "nobody logs in to a node by SSH here; it is this machine"
        )
    if inner.get("isolatedNetwork"):
        raise _unserved(f"{where}.isolatedNetwork", "nodes have this machine's network")
    if not (inner.get("subnet") or {}).get("id"):  # the SDK sends an empty one when it changes a cluster
        inner.pop("subnet", None)
    if inner.get("virtualMachineImage"):
        raise _unserved(f"{where}.virtualMachineImage", "a node is no virtual machine; name an environment in the job")
    return {
        **inner,
        "vmSize": _size(inner, where),
        "vmPriority": spelled(
            inner.get("vmPriority") or "Dedicated", ("Dedicated", "LowPriority"), f"{where}.vmPriority"
        ),
        "osType": "Linux",
        "scaleSettings": scale,
        "remoteLoginPortPublicAccess": login,
    }


def _instance(inner: Document) -> Document:
    where = "properties.properties"
    check(inner, Instance, where)
    if str((inner.get("sshSettings") or {}).get("sshPublicAccess") or "Disabled").lower() != "disabled":
        raise _unserved(
            f"{where}.sshSettings.sshPublicAccess", "nobody logs in to an instance by SSH here; it is this machine"
        )
    if any(((inner.get("setupScripts") or {}).get("scripts") or {}).values()):
        raise _unserved(
            f"{where}.setupScripts", "an instance is this machine, which is not set up by a script of one workspace"
        )
    if inner.get("customServices"):
        raise _unserved(f"{where}.customServices", "applications on an instance are not run")
    idle = inner.get("idleTimeBeforeShutdown")
    if idle is not None:
        field = f"{where}.idleTimeBeforeShutdown"
        if not LEAST_IDLE_S <= seconds(idle, field) <= MOST_IDLE_S:
            raise _invalid(field, f"'{idle}'; expected from PT15M to P3D")
    kept = {name: value for name, value in inner.items() if value is not None}
    if kept.get("schedules"):
        kept["schedules"] = compute_schedules.complete(kept["schedules"], f"{where}.schedules")
    return {
        "applicationSharingPolicy": "Shared",
        "computeInstanceAuthorizationType": "personal",
        **kept,
        "vmSize": _size(inner, where),
    }


def _size(inner: Document, where: str) -> str:
    """In the table's spelling where it is there; Azure's own is told apart by no capitals."""
    given = inner.get("vmSize") or vm_sizes.MACHINE
    if not _SIZE.fullmatch(given):
        raise _invalid(f"{where}.vmSize", f"'{given[:100]}' is not the name of a size")
    known = vm_sizes.table().get(given.lower())
    return known.name if known else given


_CHECKS: dict[str, Callable[[Document], Document]] = {CLUSTER: _cluster, INSTANCE: _instance}


def _take_secrets(body: Document) -> tuple[dict[str, str], Document]:
    """Passwords, keys and tokens, by the way to them from the compute's own properties."""
    properties = body.get("properties")
    inner = properties.get("properties") if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(inner, dict):
        return {}, body
    secrets, kept = secret_paths(inner)
    return secrets, {**body, "properties": {**properties, "properties": kept}}


def _extra(row: Row, show: Show) -> Document:
    properties = row.body["properties"]
    kind, live = properties["computeType"], row.server.get("live") or {}
    inner = dict(properties["properties"])
    errors = []
    if kind == CLUSTER:
        inner |= _cluster_now(row, live)
    elif kind == INSTANCE:
        inner |= _instance_now(row, live)
    else:
        text = f"Zaffre keeps this {kind} as a record; it does not connect to it and sends no jobs there."
        errors = [{"error": {"code": "NotConnected", "message": text}}]
    if row.server.get("note"):
        errors.append({"error": {"code": "SizeOfThisMachine", "message": row.server["note"]}})
    return {
        "computeLocation": show.workspace.location,
        "provisioningState": "Succeeded" if row.state in STATES else row.state,
        "provisioningErrors": errors or None,
        "isAttachedCompute": kind in ATTACHED,
        "createdOn": iso(row.created_at),
        "modifiedOn": iso(row.modified_at),
        "properties": inner,
    }


def _cluster_now(row: Row, live: Document) -> Document:
    """The nodes are this machine's shares: one is there while a job has it, none is kept warm."""
    running, preparing, waiting = (int(live.get(name, 0)) for name in ("running", "preparing", "waiting"))
    current = running + preparing
    target = min(current + waiting, max(current, nodes(row)))
    return {
        "allocationState": "Steady" if current == target else "Resizing",
        "allocationStateTransitionTime": iso(live.get("since") or row.modified_at),
        "currentNodeCount": current,
        "targetNodeCount": target,
        "nodeStateCounts": {
            "idleNodeCount": 0, "runningNodeCount": running, "preparingNodeCount": preparing,
            "unusableNodeCount": 0, "leavingNodeCount": 0, "preemptedNodeCount": 0,
        },
        "errors": [],
    }  # fmt: skip


def _instance_now(row: Row, live: Document) -> Document:
    now = state(row)
    busy = now == "Running" and live.get("running", 0) + live.get("preparing", 0) > 0
    last = row.server.get("last") or {"name": "Create", "at": row.created_at, "status": "Succeeded", "trigger": "User"}
    return {
        "state": "JobRunning" if busy else now,
        "applications": [],
        "connectivityEndpoints": None,
        "createdBy": {"userName": row.created_by},
        "errors": [],
        "lastOperation": {
            "operationName": last["name"],
            "operationTime": iso(last["at"]),
            "operationStatus": last["status"],
            "operationTrigger": last["trigger"],
        },
    }


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"Field '{field}': {message}.", code="InvalidField", target=field)


def _unserved(field: str, reason: str) -> NotServed:
    return NotServed(f"Field '{field}': {reason}.", target=field)


KINDS = (
    Kind(
        type=TYPE,
        properties=Properties,
        name=_NAME,
        complete=_complete,
        extra=_extra,
        take_secrets=_take_secrets,
        tracked=True,
    ),
)
