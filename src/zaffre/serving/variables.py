"""The environment variables of a model server: an allow-list, the user's own, and what the inference server reads."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from zaffre.serving.plan import DeploymentPlan

_PASSED = frozenset(
    (
        *("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
        *("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    )
)
_WORKER_TIMEOUT_S = 300  # azureml-inference-server-http's own default


def server_environment(
    plan: DeploymentPlan, app_root: Path, entry_script: Path, ours: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of the server. `ours` is the application's, of which only an allow-list goes on.

    The user's variables win over tuning (`WORKER_COUNT`, `WORKER_TIMEOUT`, `SCORING_TIMEOUT_MS`, as on Azure), but not
    over where things lie.
    """
    passed = {name: value for name, value in ours.items() if name in _PASSED or name.startswith("LC_")}
    path = [str(Path(plan.interpreter).parent), *ours.get("PATH", os.defpath).split(os.pathsep)]
    # a busy or starting worker is silent; gunicorn must not take it for hung before its time is up
    longest = max(_WORKER_TIMEOUT_S, math.ceil(plan.startup_timeout_s), math.ceil(plan.request_timeout_s) + 30)
    tuning = {
        "PATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "SERVICE_NAME": plan.endpoint,
        "MLFLOW_DISABLE_TELEMETRY": "true",  # a self-hosted model server tells nobody outside about itself
        "WORKER_COUNT": str(plan.workers),
        "WORKER_TIMEOUT": str(longest),
        "SCORING_TIMEOUT_MS": str(math.ceil(plan.request_timeout_s * 1000)),
        # SIGTERM lets a running request end
        "GUNICORN_CMD_ARGS": f"--graceful-timeout {max(30, math.ceil(plan.request_timeout_s) + 5)}",
    }
    places = {
        "AML_APP_ROOT": str(app_root),
        "AZUREML_ENTRY_SCRIPT": str(entry_script),
        "AZUREML_MODEL_DIR": plan.model_dir,
    }
    return passed | tuning | plan.environment | places
