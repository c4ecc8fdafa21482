"""What webhooks are told of models and prompts, in MLflow's words: written with the change itself, whoever makes it."""

from __future__ import annotations

from typing import Any

from zaffre.store import webhooks
from zaffre.store.resources import Row
from zaffre.store.unit import Unit

MODELS, PROMPTS = TYPES = ("workspaces/models", "workspaces/prompts")
PROMPT_TAG = "mlflow.prompt.is_prompt"
PROMPT_TEXT = "mlflow.prompt.text"
_UNTOLD = (PROMPT_TAG, PROMPT_TEXT, "_mlflow_prompt_type")


def created(unit: Unit, scope: str, container: Row) -> None:
    event = "prompt.created" if container.type == PROMPTS else "registered_model.created"
    webhooks.publish(unit, scope, event, {"name": container.name, **_described(container)})


def version_created(unit: Unit, scope: str, name: str, row: Row) -> None:
    properties, known = row.body["properties"], row.server.get("mlflow", {})
    data = {"name": name, "version": row.name, **_described(row)}
    if _is_prompt(row):
        data["template"] = (properties.get("tags") or {}).get(PROMPT_TEXT)
        webhooks.publish(unit, scope, "prompt_version.created", data)
        return
    data["source"] = known.get("source") or properties.get("modelUri")
    data["run_id"] = known.get("run_id") or properties.get("jobName")
    webhooks.publish(unit, scope, "model_version.created", data)


def tag_set(unit: Unit, scope: str, name: str, row: Row, key: str, value: str) -> None:
    _tag(unit, scope, name, row, "set", {"key": key, "value": value})


def tag_deleted(unit: Unit, scope: str, name: str, row: Row, key: str) -> None:
    _tag(unit, scope, name, row, "deleted", {"key": key})


def tags_changed(unit: Unit, scope: str, name: str, before: Row, after: Row) -> None:
    """The tags of a version that was written whole, as ARM does it: each that came, went or has another value."""
    old, new = _shown(before), _shown(after)
    for key, value in new.items():
        if old.get(key) != value:
            tag_set(unit, scope, name, after, key, value)
    for key in old:
        if key not in new:
            tag_deleted(unit, scope, name, after, key)


def alias_created(unit: Unit, scope: str, container: Row, alias: str, version: str) -> None:
    data = {"name": container.name, "alias": alias, "version": version}
    webhooks.publish(unit, scope, f"{_alias(container)}.created", data)


def alias_deleted(unit: Unit, scope: str, container: Row, alias: str) -> None:
    webhooks.publish(unit, scope, f"{_alias(container)}.deleted", {"name": container.name, "alias": alias})


def _tag(unit: Unit, scope: str, name: str, row: Row, action: str, data: dict[str, str]) -> None:
    """MLflow tells of the tags of versions and of prompts, not of those of registered models."""
    if row.type in TYPES:
        if row.type == PROMPTS:
            webhooks.publish(unit, scope, f"prompt_tag.{action}", {"name": name, **data})
        return
    thing = "prompt_version_tag" if _is_prompt(row) else "model_version_tag"
    webhooks.publish(unit, scope, f"{thing}.{action}", {"name": name, "version": row.name, **data})


def _alias(container: Row) -> str:
    return "prompt_alias" if container.type == PROMPTS else "model_version_alias"


def _is_prompt(row: Row) -> bool:
    return row.type.startswith(PROMPTS)


def _described(row: Row) -> dict[str, Any]:
    return {"tags": _shown(row), "description": row.body["properties"].get("description")}


def _shown(row: Row) -> dict[str, str]:
    tags: dict[str, str] = row.body["properties"].get("tags") or {}
    return {key: value for key, value in tags.items() if key not in _UNTOLD} if _is_prompt(row) else tags
