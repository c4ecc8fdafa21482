"""What webhooks are told of the registry, in MLflow's words: written with the change itself, whoever makes it."""

from __future__ import annotations

from zaffre.store import webhooks
from zaffre.store.resources import Row
from zaffre.store.unit import Unit

MODELS = "workspaces/models"


def created(unit: Unit, scope: str, container: Row) -> None:
    properties = container.body["properties"]
    data = {
        "name": container.name,
        "tags": properties.get("tags") or {},
        "description": properties.get("description"),
    }
    webhooks.publish(unit, scope, "registered_model.created", data)


def version_created(unit: Unit, scope: str, name: str, row: Row) -> None:
    properties, known = row.body["properties"], row.server.get("mlflow", {})
    data = {
        "name": name,
        "version": row.name,
        "source": known.get("source") or properties.get("modelUri"),
        "run_id": known.get("run_id") or properties.get("jobName"),
        "tags": properties.get("tags") or {},
        "description": properties.get("description"),
    }
    webhooks.publish(unit, scope, "model_version.created", data)


def tag_set(unit: Unit, scope: str, name: str, version: str, key: str, value: str) -> None:
    data = {"name": name, "version": version, "key": key, "value": value}
    webhooks.publish(unit, scope, "model_version_tag.set", data)


def tag_deleted(unit: Unit, scope: str, name: str, version: str, key: str) -> None:
    webhooks.publish(unit, scope, "model_version_tag.deleted", {"name": name, "version": version, "key": key})


def alias_created(unit: Unit, scope: str, name: str, alias: str, version: str) -> None:
    data = {"name": name, "alias": alias, "version": version}
    webhooks.publish(unit, scope, "model_version_alias.created", data)


def alias_deleted(unit: Unit, scope: str, name: str, alias: str) -> None:
    webhooks.publish(unit, scope, "model_version_alias.deleted", {"name": name, "alias": alias})
