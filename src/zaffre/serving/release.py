"""A release: what one version of a deployment runs as, one plan an instance, in a folder of its own.

`<deployments>/<slug>-<generation>/` holds model, code and `initializer.log`, and in it `i0`, `i1` … are the instances'.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from zaffre.serving import console
from zaffre.serving.plan import DeploymentPlan, Probe
from zaffre.serving.server import INSTANCE

INITIALIZER = "initializer.log"


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """`fingerprint` is of all that would need other servers when it changed. `held` is how many requests an instance
    may run at once, `timeout_ms` how long one may wait and run.
    """

    id: str
    fingerprint: str
    timeout_ms: int
    held: int
    plans: tuple[DeploymentPlan, ...]

    @property
    def folders(self) -> frozenset[Path]:
        """Of its instances."""
        return frozenset(Path(plan.folder) for plan in self.plans)


def instances(base: DeploymentPlan, folder: Path, sockets: Path, slug: str, count: int) -> tuple[DeploymentPlan, ...]:
    """`count` plans that differ in name, folder and socket only. `folder` is the release's."""
    return tuple(
        msgspec.structs.replace(
            base,
            id=f"{folder.name}-{number}",
            folder=str(folder / f"{INSTANCE}{number}"),
            socket=str(sockets / f"{slug}-{number}.sock"),
        )
        for number in range(count)
    )


def watched(plan: DeploymentPlan, liveness: Probe, readiness: Probe) -> DeploymentPlan:
    """The plan under these probes; a server that never answers is given as long as its liveness probe is patient."""
    return msgspec.structs.replace(
        plan,
        liveness=liveness,
        readiness=readiness,
        startup_timeout_s=liveness.patience_s + readiness.period_s * (readiness.success_threshold - 1),
    )


def folders(deployments: Path, slug: str) -> list[Path]:
    """The releases of a deployment that left a folder, oldest first."""
    found = [path for path in deployments.glob(f"{slug}-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def read_logs(deployments: Path, slug: str, tail: int, container: str | None) -> str:
    """The last `tail` lines of the newest release; of its preparation, of its servers, or of both together."""
    found = folders(deployments, slug) if slug else []
    if not found:
        return ""
    newest = found[-1]
    prepared = console.tail_of(newest / INITIALIZER, tail) if container != "InferenceServer" else ""
    if container == "StorageInitializer":
        return prepared
    served = _served(newest, tail)
    lines = [line for text in (prepared, served) if text for line in text.split("\n")]
    return "\n".join(lines[-tail:])


def _served(folder: Path, tail: int) -> str:
    instances_ = sorted(folder.glob(f"{INSTANCE}[0-9]*"), key=lambda path: int(path.name[len(INSTANCE) :]))
    if len(instances_) < 2:
        return console.tail(instances_[0] if instances_ else folder, tail)
    each = max(1, tail // len(instances_) - 1)
    return "\n".join(
        f"==> instance {path.name[len(INSTANCE) :]} <==\n{console.tail(path, each)}" for path in instances_
    )
