"""What a registered scorer is: MLflow's document, looked at for code that somebody else would run, and for the model it asks."""

from __future__ import annotations

import json
from typing import Any

from zaffre.errors import refused

GATEWAY = "gateway:/"
_MODEL_HOLDERS = ("instructions_judge_pydantic_data", "builtin_scorer_pydantic_data", "third_party_scorer_data")
_JUDGE_WITH_MEMORY = "memory_augmented_judge_data"
_CODE = "call_source"


def check(serialized: str) -> str | None:
    """The endpoint of the AI gateway that it asks, if it asks one. Raises InvalidInput for what is no scorer or would bring code."""
    try:
        document = json.loads(serialized)
    except (ValueError, RecursionError):
        raise refused("serialized_scorer", "serialized_scorer must be valid JSON") from None
    if not isinstance(document, dict):
        raise refused("serialized_scorer", "serialized_scorer must be a JSON object")
    if _brings_code(document):
        # Whoever gets it from here would run it, with all that they may do.
        raise refused(
            "serialized_scorer",
            "Custom scorer registration (using @scorer decorator) is not supported outside of Databricks tracking "
            "environments due to security concerns. Custom scorers require arbitrary code execution during "
            "deserialization. Keep their code with your own and import it, or use built-in scorers or make_judge().",
        )
    model = _model(document)
    return model.removeprefix(GATEWAY) if model is not None and model.startswith(GATEWAY) else None


def asks(serialized: str) -> str | None:
    """The same of one that was checked: what stands behind `gateway:/`."""
    if GATEWAY not in serialized:
        return None
    model = _model(json.loads(serialized))
    return model.removeprefix(GATEWAY) if model is not None and model.startswith(GATEWAY) else None


def asking(serialized: str, endpoint: str | None) -> str:
    """The same scorer, asking another endpoint of the gateway, or nobody."""
    document = json.loads(serialized)
    _holder(document)["model"] = None if endpoint is None else f"{GATEWAY}{endpoint}"
    return json.dumps(document)


def _brings_code(document: dict[str, Any]) -> bool:
    """Whether a function's source is in it, or in a judge within it."""
    waiting: list[Any] = [document]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if one.get(_CODE) is not None:
                return True
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return False


def _model(document: dict[str, Any]) -> str | None:
    """The model that a scorer asks, or the judge within it, if it says one."""
    model = _holder(document).get("model")
    if model is None:
        return None
    if not isinstance(model, str):
        raise refused("serialized_scorer", f"Scorer model must be a string, got {type(model).__name__}.")
    if not model.strip():
        raise refused("serialized_scorer", "Scorer model cannot be empty or contain only whitespace.")
    return model


def _holder(document: dict[str, Any]) -> dict[str, Any]:
    """Where in it the model is said."""
    while memory := document.get(_JUDGE_WITH_MEMORY):
        document = _object(_object(memory).get("base_judge") or {})
    return _object(next((document[key] for key in _MODEL_HOLDERS if document.get(key)), {}))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise refused("serialized_scorer", "What serialized_scorer says of its judge must be a JSON object")
    return value
