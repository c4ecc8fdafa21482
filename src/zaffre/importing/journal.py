"""What has been imported already. It is kept on this server itself, as tags of what was imported, so it survives wherever the
import is run from: a thing's state is written as its last tag, when all of it is here.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

SOURCE = "zaffre.import.source"
STATE = "zaffre.import.state"
ID = "zaffre.import.id"
"""The id a thing had where it comes from, if it could not be kept."""
OURS = (SOURCE, STATE, ID)
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def digest(*parts: Any) -> str:
    """A short name for everything in `parts`, which are values as JSON has them."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def of_run(run: Any, measured: Iterable[Any] = ()) -> str:
    """The state of a run of MLflow's, with what it measured on models, but for its files."""
    info = run.info
    head = [info.run_name, info.status, info.start_time, info.end_time, info.user_id, info.lifecycle_stage]
    points = sorted((one.key, _text(one.value), one.timestamp, one.step) for one in latest(run))
    on_models = sorted((one.model_id, one.key, _text(one.value), one.timestamp, one.step) for one in measured)
    return digest(head, run.data.tags, run.data.params, points, inputs(run), model_inputs(run), outputs(run), on_models)


def of_files(files: Iterable[tuple[str, int]]) -> str:
    return digest(sorted(files))


def of_logged_model(model: Any) -> str:
    head = [model.name, model.model_type, str(model.status), model.source_run_id, model.last_updated_timestamp]
    return digest(head, model.tags, model.params)


def latest(run: Any) -> list[Any]:
    """The newest point of each metric of a run."""
    found: list[Any] = run.data._metric_objs
    return found


def inputs(run: Any) -> list[dict[str, Any]]:
    """The datasets a run read, as MLflow's `runs/log-inputs` takes them."""
    given = getattr(run, "inputs", None)
    found: list[dict[str, Any]] = []
    for one in (given.dataset_inputs if given else None) or ():
        values = {
            name: getattr(one.dataset, name)
            for name in ("name", "digest", "source_type", "source", "schema", "profile")
        }
        tags = [{"key": tag.key, "value": tag.value} for tag in one.tags or ()]
        found.append({"tags": tags, "dataset": {key: value for key, value in values.items() if value is not None}})
    return found


def model_inputs(run: Any) -> list[str]:
    """The ids of the logged models a run read."""
    given = getattr(run, "inputs", None)
    return [one.model_id for one in getattr(given, "model_inputs", None) or ()]


def outputs(run: Any) -> list[dict[str, Any]]:
    """The logged models a run made, as MLflow's `runs/outputs` takes them."""
    given = getattr(run, "outputs", None)
    return [{"model_id": one.model_id, "step": one.step} for one in getattr(given, "model_outputs", None) or ()]


def run_id(there: str) -> str:
    """The id a run has here: its own, or, if that is none we could take, always the same other one."""
    return there if _RUN_ID.fullmatch(there) else uuid.uuid5(uuid.NAMESPACE_URL, f"zaffre-import:{there}").hex


def tags(given: Mapping[str, str], source: str, there: str, here: str) -> dict[str, str]:
    """A thing's own tags and those that say where it comes from."""
    own = {key: value for key, value in given.items() if key not in OURS}
    return {**own, SOURCE: source, **({ID: there} if there != here else {})}


def _text(value: float) -> str:
    return "NaN" if math.isnan(value) else repr(value)
