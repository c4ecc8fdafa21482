"""Scorers: what judges an experiment's traces, in versions. They are kept here and run by the clients that ask for them."""

from __future__ import annotations

import json
import re
from typing import Any

from zaffre.errors import NotFound, NotServed, refused
from zaffre.services.tracking import filters
from zaffre.services.tracking.experiments import DEFAULT_ID, Experiments
from zaffre.store.database import Database
from zaffre.store.tracking import experiments as experiment_store
from zaffre.store.tracking import scorers as store
from zaffre.store.tracking.scorers import OnlineConfig, ScorerVersion
from zaffre.store.unit import Actor, Unit

MOST_IN_NAME = 256
GATEWAY = "gateway:/"
_MODEL_HOLDERS = ("instructions_judge_pydantic_data", "builtin_scorer_pydantic_data", "third_party_scorer_data")
_JUDGE_WITH_MEMORY = "memory_augmented_judge_data"
_CODE = "call_source"
_NUMBER = re.compile("-[1-9][0-9]{0,9}")


def number(version: ScorerVersion) -> int:
    """The experiment as a number of 32 bits, of which MLflow's message of a scorer is: below zero, where no id of ours is.

    From MLflow 3.17 on a client that got a scorer names the experiment by it, when it changes how the scorer runs.
    """
    return int(version.experiment_id) if version.experiment_id == DEFAULT_ID else -version.experiment


class Scorers:
    def __init__(self, database: Database, experiments: Experiments) -> None:
        self._database = database
        self._experiments = experiments

    async def experiment_id(self, scope: str, given: str) -> str:
        """What the experiment is called, which may be given as the `number` of a version of a scorer."""
        if not _NUMBER.fullmatch(given):
            return given
        found = await self._database.read(lambda conn: experiment_store.id_of(conn, scope, -int(given)))
        return found or given

    async def register(self, actor: Actor, scope: str, experiment_id: str, name: str, serialized: str) -> ScorerVersion:
        """Keep the scorer as the next version of that name."""
        _check_name(name)
        _check(name, serialized)
        id_ = self._database.runtime.guid()

        def work(unit: Unit) -> ScorerVersion:
            experiment = self._experiments.active(unit, scope, experiment_id)
            made = store.add(unit, scope, id_, experiment.pk, name, serialized)
            self._record(unit, actor, "write", scope, made.id)
            return made

        return await self._database.write(work)

    async def newest(self, scope: str, experiment_id: str) -> list[ScorerVersion]:
        """The newest version of each scorer of an experiment."""
        experiment = await self._experiments.get_active(scope, experiment_id)
        return await self._database.read(lambda conn: store.newest(conn, experiment.pk))

    async def versions(self, scope: str, experiment_id: str, name: str) -> list[ScorerVersion]:
        """All versions of a scorer, the first one first. Raises NotFound when there are none."""
        experiment = await self._experiments.get_active(scope, experiment_id)
        found = await self._database.read(lambda conn: store.versions(conn, experiment.pk, name))
        if not found:
            raise _missing(experiment_id, name)
        return found

    async def get(self, scope: str, experiment_id: str, name: str, version: int | None) -> ScorerVersion:
        """A version of a scorer; the newest where none is named."""
        experiment = await self._experiments.get_active(scope, experiment_id)
        found = await self._database.read(lambda conn: store.version(conn, experiment.pk, name, version))
        if found is None:
            raise _missing(experiment_id, name, version)
        return found

    async def delete(self, actor: Actor, scope: str, experiment_id: str, name: str, version: int | None) -> None:
        """Delete a version, or all of them where none is named."""

        def work(unit: Unit) -> None:
            experiment = self._experiments.active(unit, scope, experiment_id)
            scorer = store.lock(unit, experiment.pk, name)
            if scorer is None:
                raise _missing(experiment_id, name)
            if not store.delete(unit, scorer, version):
                raise _missing(experiment_id, name, version)
            self._record(unit, actor, "delete", scope, name)

        await self._database.write(work)

    async def set_online(
        self, actor: Actor, scope: str, experiment_id: str, name: str, sample_rate: float, filter_: str | None
    ) -> OnlineConfig:
        """Keep how much of what arrives the scorer is to judge by itself: nothing, as nobody here would do it.

        Raises NotServed for a rate above zero.
        """
        if not 0.0 <= sample_rate <= 1.0:
            raise refused("sample_rate", f"sample_rate must be between 0.0 and 1.0, got {sample_rate}")
        filters.parse(filter_, filters.TRACES)
        id_ = self._database.runtime.hex_id()

        def work(unit: Unit) -> OnlineConfig:
            experiment = self._experiments.active(unit, scope, experiment_id)
            scorer = store.lock(unit, experiment.pk, name)
            if scorer is None:
                raise _missing(experiment_id, name)
            if sample_rate > 0:
                raise NotServed(
                    f"Scorer '{name}' does not use a gateway model. Automatic evaluation is only supported for scorers "
                    "that use gateway models, and this server has no AI gateway, so nothing would run it: only a "
                    "sample_rate of 0 is kept. Judge traces with mlflow.genai.evaluate() from a script, a job or a "
                    "schedule instead.",
                    target="sample_rate",
                )
            made = store.put_config(unit, scorer, id_, sample_rate, filter_)
            self._record(unit, actor, "write", scope, made.scorer_id)
            return made

        return await self._database.write(work)

    async def online(self, scope: str, ids: list[str]) -> list[OnlineConfig]:
        """What was set for those of the scorers that anything was set for."""
        return await self._database.read(lambda conn: store.configs(conn, scope, ids))

    @staticmethod
    def _record(unit: Unit, actor: Actor, verb: str, scope: str, which: str) -> None:
        unit.audit(actor, f"workspaces/experiments/scorers/{verb}", f"{scope}/scorers/{which}")


def _missing(experiment_id: str, name: str, version: int | None = None) -> NotFound:
    which = f"Scorer with name '{name}'" if version is None else f"Scorer with name '{name}' and version {version}"
    return NotFound(f"{which} not found for experiment {experiment_id}.", target="name")


def _check_name(name: str) -> None:
    if not name.strip():
        raise refused("name", "Scorer name cannot be empty or contain only whitespace.")
    if len(name) > MOST_IN_NAME:
        raise refused("name", f"Scorer name must be at most {MOST_IN_NAME} characters; got {len(name)}.")


def _check(name: str, serialized: str) -> None:
    """Raises InvalidInput for what is no scorer or would bring code, NotServed for one that asks a gateway."""
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
    if model is not None and model.startswith(GATEWAY):
        raise NotServed(
            f"GatewayEndpoint not found (name='{model.removeprefix(GATEWAY)}'): scorer '{name}' asks an endpoint of "
            "MLflow's AI gateway, which this server does not have. Name a provider's model, such as openai:/gpt-4o.",
            target="serialized_scorer",
        )


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
    while memory := document.get(_JUDGE_WITH_MEMORY):
        document = _object(_object(memory).get("base_judge") or {})
    held: Any = next((document[key] for key in _MODEL_HOLDERS if document.get(key)), {})
    model = _object(held).get("model")
    if model is None:
        return None
    if not isinstance(model, str):
        raise refused("serialized_scorer", f"Scorer model must be a string, got {type(model).__name__}.")
    if not model.strip():
        raise refused("serialized_scorer", "Scorer model cannot be empty or contain only whitespace.")
    return model


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise refused("serialized_scorer", "What serialized_scorer says of its judge must be a JSON object")
    return value
