"""Registered models as MLflow's registry sees them: the same rows that ARM serves as models and their versions.

What only MLflow knows of them (aliases, source, run, link, user) lies in the rows' server document under `mlflow`.
MLflow's prompts are registered models with a tag. Here they are rows of a type of their own, which ARM does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput, NotFound
from zaffre.services import assets, lineage, mlmodel, registry_events
from zaffre.services.blobs import Blobs
from zaffre.services.model_sources import ModelSources, Source
from zaffre.services.places import Place
from zaffre.services.resources import Resources
from zaffre.services.tracking import filters, logged_models, paging
from zaffre.services.workspaces import Workspace
from zaffre.store import resources as rows
from zaffre.store.resources import Row
from zaffre.store.tracking.conditions import Condition
from zaffre.store.unit import Actor, Unit

MODELS = "workspaces/models"
VERSIONS = assets.versions_of(MODELS)
PROMPTS = registry_events.PROMPTS
COPIED = re.compile(r"models:/(?P<name>[^/@]+)/(?P<version>[^/@]+)")
MOST_COPIES = 100  # of copies
STAGES = ("None", "Staging", "Production", "Archived")
PROMPT_TAG = registry_events.PROMPT_TAG
NAME_LIMIT = 255
LATEST = "latest"  # the alias that every model has
PROMPT_URI = "prompt-template"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A registered model with its versions, oldest first."""

    row: Row
    versions: list[Row]


class RegisteredModels:
    def __init__(self, resources: Resources, sources: ModelSources, blobs: Blobs) -> None:
        self._database = resources.database
        self._kinds = resources.kinds
        self._sources = sources
        self._blobs = blobs

    # ---- registered models
    async def create(
        self, actor: Actor, workspace: Workspace, name: str, description: str | None, tags: dict[str, str]
    ) -> Model:
        """A new registered model. Raises Conflict when there is one of that name, in any case."""
        type_ = PROMPTS if PROMPT_TAG in tags else MODELS
        _check_name(name)
        body = self._kinds[MODELS].accept({"properties": {"description": description, "tags": tags}})

        def work(unit: Unit) -> Model:
            _refuse_taken(unit, workspace, name, type_)
            rows.insert(unit, actor, workspace.id, type_, name, body, {"mlflow": {"user": actor.name}})
            _record(unit, actor, workspace, "write", name)
            made = self._model(unit.conn, workspace, name)
            registry_events.created(unit, workspace.id, made.row)
            return made

        return await self._database.write(work)

    async def get(self, workspace: Workspace, name: str) -> Model:
        return await self._database.read(lambda conn: self._model(conn, workspace, name))

    async def describe(self, actor: Actor, workspace: Workspace, name: str, description: str | None) -> Model:
        return await self._change(actor, workspace, name, None, lambda row: _with(row, description=description))

    async def rename(self, actor: Actor, workspace: Workspace, name: str, new_name: str) -> Model:
        """Give the model another name, with all its versions. Raises Conflict when that is taken, or something names a version."""
        _check_name(new_name)

        def work(unit: Unit) -> Model:
            model = self._model(unit.conn, workspace, name, lock=True)
            _refuse_taken(unit, workspace, new_name, model.row.type, but=model.row.pk)
            type_ = assets.versions_of(model.row.type)
            versions = rows.listing(unit.conn, workspace.id, type_, parent=name)
            lineage.refuse_if_needed(unit.conn, workspace.id, type_, name, [one.name for one in versions])
            rows.rename(unit, actor, model.row.pk, name=new_name)
            for version in versions:
                lineage.rename_version(unit, actor, workspace.id, version, new_name)
            _record(unit, actor, workspace, "write", name)
            _record(unit, actor, workspace, "write", new_name)
            return self._model(unit.conn, workspace, new_name)

        return await self._database.write(work)

    async def set_tag(
        self, actor: Actor, workspace: Workspace, name: str, version: str | None, key: str, value: str
    ) -> None:
        def change(row: Row) -> dict[str, Any]:
            _refuse_other_kind(row, key)
            return _with(row, tags={**row.body["properties"].get("tags", {}), key: value})

        def tell(unit: Unit, named: str, row: Row) -> None:
            registry_events.tag_set(unit, workspace.id, named, row, key, value)

        await self._change(actor, workspace, name, version, change, tell)

    async def delete_tag(self, actor: Actor, workspace: Workspace, name: str, version: str | None, key: str) -> None:
        def change(row: Row) -> dict[str, Any]:
            _refuse_other_kind(row, key)
            tags = row.body["properties"].get("tags", {})
            return _with(row, tags={held: value for held, value in tags.items() if held != key})

        def tell(unit: Unit, named: str, row: Row) -> None:
            registry_events.tag_deleted(unit, workspace.id, named, row, key)

        await self._change(actor, workspace, name, version, change, tell)

    async def delete(self, actor: Actor, workspace: Workspace, name: str) -> None:
        """Delete the model and all its versions. Files of runs stay: they belong to the runs that made them."""

        def work(unit: Unit) -> None:
            model = self._model(unit.conn, workspace, name, lock=True)
            for row in rows.listing(unit.conn, workspace.id, assets.versions_of(model.row.type), parent=name):
                assets.delete_version(unit, actor, workspace.id, row, all_go=True)
            rows.delete(unit, model.row.pk)
            _record(unit, actor, workspace, "delete", name)

        await self._database.write(work)

    async def search(
        self, workspace: Workspace, filter_: str | None, order_by: Sequence[str], token: str | None, limit: int
    ) -> tuple[list[Model], str | None]:
        conditions = filters.parse(filter_, filters.REGISTERED_MODELS)
        orders = filters.parse_order(order_by or ("name",), filters.REGISTERED_MODELS)

        def work(conn: sa.Connection) -> tuple[list[Model], str | None]:
            found = rows.listing(conn, workspace.id, _searched(conditions), archived=False)
            chosen = filters.select(found, conditions, orders, _value)
            chosen, following = paging.page(chosen, lambda row: row.pk, token, limit)
            return [Model(row=row, versions=_versions(conn, workspace, row)) for row in chosen], following

        return await self._database.read(work)

    # ---- aliases
    async def set_alias(self, actor: Actor, workspace: Workspace, name: str, alias: str, version: str) -> None:
        def change(unit: Unit, model: Model) -> dict[str, str]:
            named = self._version(unit.conn, workspace, name, version).name
            registry_events.alias_created(unit, workspace.id, model.row, alias, named)
            return {**aliases(model.row), alias: named}

        await self._change_aliases(actor, workspace, name, change)

    async def delete_alias(self, actor: Actor, workspace: Workspace, name: str, alias: str) -> None:
        def change(unit: Unit, model: Model) -> dict[str, str]:
            registry_events.alias_deleted(unit, workspace.id, model.row, alias)
            return {held: version for held, version in aliases(model.row).items() if held != alias}

        await self._change_aliases(actor, workspace, name, change)

    async def by_alias(self, workspace: Workspace, name: str, alias: str) -> tuple[Row, Row]:
        """The container and the version the alias names."""

        def work(conn: sa.Connection) -> tuple[Row, Row]:
            model = self._model(conn, workspace, name)
            if alias.lower() == LATEST and model.versions:
                return model.row, model.versions[-1]
            held = aliases(model.row).get(alias)
            if held is None:
                raise NotFound(f"Registered model alias {alias} not found for model '{name}'.", target="alias")
            return model.row, self._version(conn, workspace, name, held)

        return await self._database.read(work)

    # ---- versions
    async def create_version(
        self,
        actor: Actor,
        workspace: Workspace,
        name: str,
        source: str,
        *,
        run_id: str | None,
        run_link: str | None,
        model_id: str | None,
        description: str | None,
        tags: dict[str, str],
        version: str | None = None,
    ) -> tuple[Row, Row]:
        """The next version of a model that exists, or the one of that number; answers the container and the version.

        Raises Conflict when the number is taken by another content.
        """
        held = await self._database.read(lambda conn: rows.get(conn, workspace.id, PROMPTS, name))
        is_prompt = held is not None
        if PROMPT_TAG in tags and not is_prompt:
            await self.get(workspace, name)
            raise InvalidInput(f"'{name}' is a registered model, so no version of it is a prompt.", target="name")
        # A prompt's text is a tag. Whatever stands for its source names no files of anybody.
        found = Source(uri=PROMPT_URI) if is_prompt else await self._sources.resolve(workspace, source)
        run_id, model_id = run_id or found.run_id, model_id or found.model_id
        flavors = await self._flavors(found.place) if found.place else {}
        kind = self._kinds[VERSIONS]
        body = kind.accept(
            {
                "properties": {
                    "modelUri": found.uri,
                    "modelType": "mlflow_model"
                    if flavors or (found.place is None and not is_prompt)
                    else "custom_model",
                    "flavors": flavors,
                    "description": description,
                    "tags": tags,
                    "isAnonymous": False,
                    **({"jobName": run_id} if run_id else {}),
                }
            }
        )
        known = {"source": source, "run_id": run_id, "run_link": run_link, "model_id": model_id}
        server = {"mlflow": {**{key: value for key, value in known.items() if value}, "user": actor.name}}
        seen = await self._database.read(lambda conn: lineage.seen(conn, workspace.id, body["properties"]))

        def work(unit: Unit) -> tuple[Row, Row]:
            container = self._model(unit.conn, workspace, name, lock=True).row
            if (container.type == PROMPTS) != is_prompt:
                raise Conflict(f"'{name}' was replaced at this moment; repeat the request.", target="name")
            row, _ = assets.put_version(
                unit, actor, workspace.id, container.type, container.name, version, body, server, kind.fingerprint(body)
            )
            lineage.refuse_if_lost(unit, workspace.id, seen)
            rows.update(unit, actor, container.pk)
            if model_id is not None and version is None:  # what is imported says so itself, if it did where it was
                logged_models.note_version(unit, workspace.id, model_id, container.name, row.name)
            return container, row

        return await self._database.write(work)

    async def get_version(self, workspace: Workspace, name: str, version: str) -> tuple[Row, Row]:
        """The container and the version."""

        def work(conn: sa.Connection) -> tuple[Row, Row]:
            return self._container(conn, workspace, name), self._version(conn, workspace, name, version)

        return await self._database.read(work)

    async def describe_version(
        self, actor: Actor, workspace: Workspace, name: str, version: str, description: str | None
    ) -> tuple[Row, Row]:
        await self._change(actor, workspace, name, version, lambda row: _with(row, description=description))
        return await self.get_version(workspace, name, version)

    async def set_stage(
        self, actor: Actor, workspace: Workspace, name: str, version: str, stage: str, *, archive_others: bool
    ) -> tuple[Row, Row]:
        """Move a version to a stage; with `archive_others` those that stand there go to Archived."""
        known = {one.lower(): one for one in STAGES}
        if stage.lower() not in known:
            raise InvalidInput(f"Field 'stage': '{stage[:50]}' is not one of {', '.join(STAGES)}.", target="stage")
        wanted = known[stage.lower()]

        def work(unit: Unit) -> tuple[Row, Row]:
            model = self._model(unit.conn, workspace, name, lock=True)
            row = self._version(unit.conn, workspace, name, version)
            for other in model.versions:
                if archive_others and other.pk != row.pk and stage_of(other) == wanted:
                    rows.update(unit, actor, other.pk, **_with(other, stage="Archived"))
            rows.update(unit, actor, row.pk, **_with(row, stage=None if wanted == "None" else wanted))
            rows.update(unit, actor, model.row.pk)
            _record(unit, actor, workspace, "write", f"{name}/versions/{row.name}")
            return model.row, self._version(unit.conn, workspace, name, version)

        return await self._database.write(work)

    async def delete_version(self, actor: Actor, workspace: Workspace, name: str, version: str) -> None:
        def work(unit: Unit) -> None:
            container = self._container(unit.conn, workspace, name, lock=True)
            assets.delete_version(unit, actor, workspace.id, self._version(unit.conn, workspace, name, version))
            rows.update(unit, actor, container.pk)

        await self._database.write(work)

    async def search_versions(
        self, workspace: Workspace, filter_: str | None, order_by: Sequence[str], token: str | None, limit: int
    ) -> tuple[list[tuple[Row, Row]], str | None]:
        """Versions with their containers; what was changed last first, where nothing else is asked."""
        conditions = filters.parse(filter_, filters.MODEL_VERSIONS)
        asked = [*order_by, "name ASC"] if order_by else ["last_updated_timestamp DESC", "name ASC"]
        orders = filters.parse_order([*asked, "version_number DESC"], filters.MODEL_VERSIONS)

        def work(conn: sa.Connection) -> tuple[list[tuple[Row, Row]], str | None]:
            type_ = _searched(conditions)
            containers = {rows.key(row.name): row for row in rows.listing(conn, workspace.id, type_)}
            found = [
                (containers[row.parent], row)
                for row in rows.listing(conn, workspace.id, assets.versions_of(type_), newest_first=True)
                if row.parent in containers and not row.archived
            ]
            chosen = filters.select(found, conditions, orders, _version_value)
            return paging.page(chosen, lambda pair: pair[1].pk, token, limit)

        return await self._database.read(work)

    async def place(self, workspace: Workspace, row: Row) -> tuple[str, Place | None]:
        """Where a version's files lie: its URI, and the place if it is on this server. A prompt has none, only a source."""
        if row.type != VERSIONS:
            return row.server["mlflow"]["source"], None
        found = await self._sources.resolve(workspace, row.body["properties"]["modelUri"])
        return found.uri, found.place

    async def in_run(self, workspace: Workspace, row: Row) -> str | None:
        """`runs:/…` for a version that was registered so, or is a copy of such a one: the client finds it by itself."""
        return await self._database.read(lambda conn: _in_run(conn, workspace, row))

    # ---- helpers
    async def _flavors(self, place: Place) -> dict[str, Any]:
        text = await mlmodel.read(self._blobs, place)
        return mlmodel.flavors(text) if text is not None else {}

    async def _change(
        self,
        actor: Actor,
        workspace: Workspace,
        name: str,
        version: str | None,
        change: Callable[[Row], dict[str, Any]],
        tell: Callable[[Unit, str, Row], None] | None = None,
    ) -> Model:
        def work(unit: Unit) -> Model:
            row = container = self._container(unit.conn, workspace, name, lock=True)
            if version is not None:
                row = self._version(unit.conn, workspace, name, version)
            rows.update(unit, actor, row.pk, **change(row))
            if tell is not None:
                tell(unit, container.name, row)
            _record(unit, actor, workspace, "write", name)
            return self._model(unit.conn, workspace, name)

        return await self._database.write(work)

    async def _change_aliases(
        self, actor: Actor, workspace: Workspace, name: str, change: Callable[[Unit, Model], dict[str, str]]
    ) -> None:
        def work(unit: Unit) -> None:
            model = self._model(unit.conn, workspace, name, lock=True)
            rows.update(unit, actor, model.row.pk, server=_server_with(model.row, aliases=change(unit, model)))
            _record(unit, actor, workspace, "write", name)

        await self._database.write(work)

    @staticmethod
    def _container(conn: sa.Connection, workspace: Workspace, name: str, *, lock: bool = False) -> Row:
        row = rows.get(conn, workspace.id, MODELS, name, lock=lock)
        if row is None:
            row = rows.get(conn, workspace.id, PROMPTS, name, lock=lock)
        if row is None:
            raise NotFound(f"Registered Model with name={name} not found.", target="name")
        return row

    def _model(self, conn: sa.Connection, workspace: Workspace, name: str, *, lock: bool = False) -> Model:
        row = self._container(conn, workspace, name, lock=lock)
        return Model(row=row, versions=_versions(conn, workspace, row))

    @staticmethod
    def _version(conn: sa.Connection, workspace: Workspace, name: str, version: str) -> Row:
        row = rows.get(conn, workspace.id, VERSIONS, version, name)
        if row is None:
            row = rows.get(conn, workspace.id, assets.versions_of(PROMPTS), version, name)
        if row is None and not version.isdecimal():
            raise InvalidInput(f"Parameter 'version' must be an integer, got '{version[:100]}'.", target="version")
        if row is None:
            raise NotFound(f"Model Version (name={name}, version={version}) not found.", target="version")
        return row


def _check_name(name: str) -> None:
    """MLflow's rule, which lets blanks and any letters in; ARM takes no new models of such names, but knows those there are."""
    if "/" in name or ":" in name:
        raise InvalidInput(f"Invalid model name '{name[:100]}'. Names cannot contain '/' or ':'.", target="name")
    if not name.strip() or name in (".", "..") or len(name) > NAME_LIMIT or not name.isprintable():
        raise InvalidInput(
            f"Invalid value {name[:100]!r} for parameter 'name' supplied: expected 1 to {NAME_LIMIT} printable characters, "
            "not all of them blanks, and neither '.' nor '..'.",
            target="name",
        )


def _in_run(conn: sa.Connection, workspace: Workspace, row: Row) -> str | None:
    """`runs:/…`, where that is what a version, or the one it is a copy of, was made from."""
    for _ in range(MOST_COPIES):
        source: str = row.server.get("mlflow", {}).get("source") or ""
        if source.startswith("runs:/"):
            return source
        match = COPIED.fullmatch(source)
        original = rows.get(conn, workspace.id, VERSIONS, match["version"], match["name"]) if match else None
        if original is None:
            return None
        row = original
    return None


def aliases(container: Row) -> dict[str, str]:
    """The version each alias names."""
    held: dict[str, str] = container.server.get("mlflow", {}).get("aliases", {})
    return held


def stage_of(version: Row) -> str:
    """MLflow's stage; ARM's own word for none of them, Development, is none here."""
    stage = version.body["properties"].get("stage")
    return stage if stage in STAGES else "None"


def _refuse_taken(unit: Unit, workspace: Workspace, name: str, type_: str, but: int | None = None) -> None:
    """Raise Conflict, in MLflow's words, where a model or a prompt is called so; `but` is the row that may."""
    unit.alone(f"registry/{workspace.id}")
    words = {MODELS: "Registered Model", PROMPTS: "Prompt"}
    for held in (rows.get(unit.conn, workspace.id, MODELS, name), rows.get(unit.conn, workspace.id, PROMPTS, name)):
        if held is None or held.pk == but:
            continue
        if held.type == type_:
            raise Conflict(f"{words[type_]} (name={name}) already exists.", code="RESOURCE_ALREADY_EXISTS")
        raise Conflict(
            f"Tried to create a {words[type_].lower()} with name {name!r}, but the name is already taken by a "
            f"{words[held.type].lower()}. MLflow does not allow creating a model and a prompt with the same name.",
            code="RESOURCE_ALREADY_EXISTS",
        )


def _refuse_other_kind(row: Row, key: str) -> None:
    """What a model or a prompt was made as, it stays."""
    if key == PROMPT_TAG and row.type in (MODELS, VERSIONS):
        raise InvalidInput(
            f"A registered model does not become a prompt: the tag '{PROMPT_TAG}' is set as one is made."
        )


def _searched(conditions: Sequence[Condition]) -> str:
    """What a search is for: models, unless it asks for prompts by their tag."""
    for one in conditions:
        if (one.entity, one.key) == ("tag", PROMPT_TAG):
            return PROMPTS if (one.op, str(one.value).lower()) in (("=", "true"), ("!=", "false")) else MODELS
    return MODELS


def _versions(conn: sa.Connection, workspace: Workspace, row: Row) -> list[Row]:
    return rows.listing(conn, workspace.id, assets.versions_of(row.type), parent=row.name, archived=False)


def _with(row: Row, **properties: Any) -> dict[str, Any]:
    return {"body": {**row.body, "properties": {**row.body["properties"], **properties}}}


def _server_with(row: Row, **values: Any) -> dict[str, Any]:
    return {**row.server, "mlflow": {**row.server.get("mlflow", {}), **values}}


def _record(unit: Unit, actor: Actor, workspace: Workspace, verb: str, which: str) -> None:
    unit.audit(actor, f"{MODELS}/{verb}", f"{workspace.path}/models/{which}")
    unit.emit(workspace.id, MODELS, which.partition("/")[0])


def _tag(row: Row, key: str) -> str | None:
    # Every search of mlflow 2.21 and later asks for models that are not prompts by `!= 'true'` on this tag.
    absent = "false" if key == PROMPT_TAG else None
    found: str | None = row.body["properties"].get("tags", {}).get(key, absent)
    return found


def _value(row: Row, entity: str, key: str) -> Any:
    if entity == "tag":
        return _tag(row, key)
    return {"name": row.name, "creation_timestamp": row.created_at, "last_updated_timestamp": row.modified_at}[key]


def _version_value(pair: tuple[Row, Row], entity: str, key: str) -> Any:
    container, row = pair
    if entity == "tag":
        return _tag(row, key)
    known = row.server.get("mlflow", {})
    return {
        "name": container.name,
        "version_number": int(row.name) if row.name.isascii() and row.name.isdigit() else None,
        "run_id": known.get("run_id") or row.body["properties"].get("jobName"),
        "source_path": known.get("source") or row.body["properties"]["modelUri"],
        "creation_timestamp": row.created_at,
        "last_updated_timestamp": row.modified_at,
    }[key]
