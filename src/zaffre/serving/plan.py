"""The plan of one model server: everything needed to start it, and nothing about where that came from."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A liveness or readiness probe as Azure ML defines it; the defaults are Azure's. Times in seconds."""

    initial_delay_s: float = 10.0
    period_s: float = 10.0
    timeout_s: float = 2.0
    success_threshold: int = 1
    failure_threshold: int = 30

    @property
    def patience_s(self) -> float:
        """How long a server that never answers is given from its start."""
        return self.initial_delay_s + self.period_s * self.failure_threshold


class DeploymentPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of one deployment, in one generation. A changed deployment is a new plan with a new `id` and
    `folder` and the same `socket`: the new server takes the socket over when it is ready.

    Raises ValueError when the parts do not fit together.
    """

    id: str
    """Safe slug, unique among the servers of this home."""
    endpoint: str
    deployment: str
    folder: str
    """Absolute folder of this server: `server.json`, `console.log`; made 0700."""
    interpreter: str
    """`bin/python` of the environment, which must hold `azureml-inference-server-http`."""
    socket: str
    """Absolute path of the unix socket the edge connects to; may be longer than a socket address allows."""
    kind: Literal["script", "mlflow"]
    model_dir: str
    """What the user's code finds in AZUREML_MODEL_DIR."""
    code_dir: str | None = None
    entry_script: str | None = None
    """Path of the scoring script relative to `code_dir`; both are needed for kind `script`, unused for `mlflow`."""
    environment: dict[str, str] = {}
    workers: int = 1
    """Worker processes. Each answers one request at a time."""
    request_timeout_s: float = 5.0
    startup_timeout_s: float = 310.0
    liveness: Probe = Probe()
    readiness: Probe = Probe()

    def __post_init__(self) -> None:
        if not _SLUG.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is not a server id: letters, digits, '.', '_' and '-' only, at most 128.")
        for name in ("folder", "interpreter", "socket", "model_dir", "code_dir"):
            value = getattr(self, name)
            if value is not None and not Path(value).is_absolute():
                raise ValueError(f"{name} must be an absolute path, not {value!r}.")
        if self.workers < 1:
            raise ValueError(f"A deployment needs at least one worker, not {self.workers}.")
        if self.request_timeout_s <= 0 or self.startup_timeout_s <= 0:
            raise ValueError("request_timeout_s and startup_timeout_s must be above zero.")
        if self.kind == "script":
            if not self.code_dir or not self.entry_script:
                raise ValueError("A script deployment needs code_dir and entry_script.")
            script = PurePosixPath(self.entry_script)
            if script.is_absolute() or ".." in script.parts:
                raise ValueError(f"The scoring script {self.entry_script!r} must lie inside the code folder.")
