"""Why a server did not come up, read from what it printed, and what the user can do about it."""

from __future__ import annotations

import os
import re
from itertools import takewhile
from pathlib import Path

import msgspec

from zaffre.serving.errors import ModelUnreadable
from zaffre.serving.mlflow_model import model_folder, read_mapping
from zaffre.serving.plan import DeploymentPlan

_SERVER_PACKAGES = ("azureml_inference_server_http", "gunicorn")
_ERROR_LINE = re.compile(r"(?:[A-Za-z_][\w.]*\.)?[A-Za-z_]\w*(?:Error|Exception|Exit|Interrupt)(?::.*)?")
_WRAPPED = re.compile(r".*\bUserScript\w*(?:Error|Exception)\b")
_MISSING_MODULE = re.compile(r"No module named '([\w.]+)'")
_SHOWN_FILES = 20


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    reason: str
    hint: str = ""


def explain(plan: DeploymentPlan, console: str) -> Diagnosis:
    """The cause, as far as the output of a server that ended tells it."""
    script = plan.entry_script or "the scoring script for MLflow models"
    cause = _cause(console)
    if any(f"No module named '{name}'" in cause for name in _SERVER_PACKAGES):
        return Diagnosis(
            reason="the environment does not contain azureml-inference-server-http, which serves the scoring script.",
            hint="Add azureml-inference-server-http to the pip packages of the deployment's environment.",
        )
    if "Failed to import user script" in console:
        return Diagnosis(reason=f"{script} could not be imported: {cause}", hint=_hint(plan, cause))
    if "User's init function failed" in console:
        return Diagnosis(reason=f"init() of {script} raised {cause}", hint=_hint(plan, cause))
    for name in ("init", "run"):
        if f"does not have a {name}() function" in console:
            return Diagnosis(
                reason=f"{script} does not define {name}().",
                hint="A scoring script defines init(), called once per worker, and run(data), called per request.",
            )
    if "WORKER TIMEOUT" in console:
        return Diagnosis(
            reason=f"init() of {script} took longer than a worker may be silent.",
            hint="Set WORKER_TIMEOUT (seconds) in the deployment's environment_variables.",
        )
    if "was sent SIGKILL" in console:
        return Diagnosis(
            reason="a worker was killed (SIGKILL) while it started, most often for want of memory.",
            hint="Use a smaller model or fewer workers, or give the machine more memory.",
        )
    if cause:
        return Diagnosis(reason=f"the server ended: {cause}", hint=_hint(plan, cause))
    return Diagnosis(reason="the server ended before it answered, and printed no error.")


def excerpt(console: str, lines: int) -> str:
    """The last lines worth reading: without the inference server's own traceback about the user's and its file list."""
    kept = list(takewhile(lambda line: not line.endswith("Model Directory Contents:"), console.splitlines()))
    wrapped = next((i for i, line in enumerate(kept) if _WRAPPED.match(line)), None)
    if wrapped is not None:
        causes = [i for i in range(wrapped) if kept[i].startswith("The above exception")]
        kept = kept[: causes[-1]] if causes else kept
    return "\n".join(kept[-lines:]).rstrip()


def never_ready(plan: DeploymentPlan, answer: str) -> Diagnosis:
    """The server lives but did not answer in time."""
    script = plan.entry_script or "the model"
    waited = f"not ready after {plan.startup_timeout_s:g} s"
    reason = f"{waited}: {answer}." if answer else f"{waited}: init() of {script} is still running."
    return Diagnosis(
        reason=reason,
        hint="If loading the model takes longer, raise the liveness probe's initial_delay or failure_threshold.",
    )


def missing_part(plan: DeploymentPlan) -> Diagnosis | None:
    """What can be seen to be missing before anything is started."""
    if not os.access(plan.interpreter, os.X_OK):
        return Diagnosis(
            reason=f"the environment's interpreter {plan.interpreter} does not exist or cannot be run.",
            hint="Create the deployment again; its environment will be rebuilt.",
        )
    if not Path(plan.model_dir).exists():
        return Diagnosis(
            reason=f"the model folder {plan.model_dir} does not exist.",
            hint="Check that the registered model still has its files.",
        )
    if plan.kind == "mlflow":
        return _missing_model(plan)
    if plan.code_dir is not None and plan.entry_script is not None:
        code = Path(plan.code_dir)
        if not (code / plan.entry_script).is_file():
            return Diagnosis(
                reason=f"the scoring script {plan.entry_script!r} is not in the code folder: {_listing(code)}.",
                hint="scoring_script in code_configuration is the path of the script inside the code folder.",
            )
    return None


def _missing_model(plan: DeploymentPlan) -> Diagnosis | None:
    try:
        read_mapping(model_folder(Path(plan.model_dir)) / "MLmodel")
    except ModelUnreadable as error:
        return Diagnosis(reason=str(error))
    return None


def _cause(console: str) -> str:
    """The exception the user's code raised: the last one printed that is not the inference server's about it."""
    errors: list[str] = []
    in_traceback = False
    for line in console.splitlines():
        if line.startswith("Traceback (most recent call last)") or "Traceback (most recent call last):" in line:
            in_traceback = True
        elif in_traceback and line and not line[0].isspace() and not line.startswith(("The above", "During handling")):
            in_traceback = False
            if not _WRAPPED.match(line):
                errors.append(line.strip())
        elif _ERROR_LINE.fullmatch(line):
            errors.append(line.strip())
    return errors[-1] if errors else ""


def _hint(plan: DeploymentPlan, cause: str) -> str:
    if missing := _MISSING_MODULE.search(cause):
        return (
            f"Add the package that provides {missing[1]!r} to the deployment's environment,"
            " or put the module into the code folder."
        )
    if cause.startswith(("FileNotFoundError", "NotADirectoryError", "IsADirectoryError")):
        return (
            f"AZUREML_MODEL_DIR is {plan.model_dir} and holds: {_listing(Path(plan.model_dir))}."
            " Build the path of the model from os.environ['AZUREML_MODEL_DIR'] and these names."
        )
    if cause.startswith("KeyError") and plan.kind == "script":
        return "If this is an environment variable, set it under environment_variables of the deployment."
    return ""


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "nothing (no such folder)"
    names = [
        str(path.relative_to(folder)) + ("/" if path.is_dir() else "")
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    ]
    shown = ", ".join(names[:_SHOWN_FILES]) or "nothing"
    return shown + (f" and {len(names) - _SHOWN_FILES} more" if len(names) > _SHOWN_FILES else "")
