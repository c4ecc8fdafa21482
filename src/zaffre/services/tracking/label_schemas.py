"""Label schemas: the questions that reviewers of an experiment's traces answer. Every experiment has one from the start."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput, NotFound, refused
from zaffre.services.tracking import paging
from zaffre.services.tracking.experiments import Experiments
from zaffre.store.database import Database
from zaffre.store.tracking import label_schemas as store
from zaffre.store.tracking.label_schemas import Categorical, Input, LabelSchema, Numeric, PassFail, Text
from zaffre.store.unit import PLATFORM, Actor, Unit

FEEDBACK, EXPECTATION = "FEEDBACK", "EXPECTATION"
TYPES = (FEEDBACK, EXPECTATION)
DEFAULT_NAME, DEFAULT_INSTRUCTION = "Feedback", "Share any feedback on this trace."
MOST_IN_NAME, MOST_IN_INSTRUCTION, MOST_IN_LABEL, MOST_OPTIONS = 250, 1000, 64, 10


class NewLabelSchema(msgspec.Struct, frozen=True, kw_only=True):
    experiment_id: str
    name: str
    type: str
    input: Input
    instruction: str | None = None
    enable_comment: bool = False


class LabelSchemas:
    def __init__(self, database: Database, experiments: Experiments) -> None:
        self._database = database
        self._experiments = experiments

    async def create(self, actor: Actor, scope: str, new: NewLabelSchema) -> LabelSchema:
        """Raises Conflict when the experiment has one of that name."""
        _check_name(new.name)
        _check_instruction(new.instruction)
        _check_input(new.input)

        def work(unit: Unit) -> LabelSchema:
            experiment = self._experiments.active(unit, scope, new.experiment_id)
            id_ = self._insert(unit, actor, scope, experiment.pk, new)
            if id_ is None:
                raise _taken(new.name, experiment.id)
            return _present(unit.conn, scope, id_)

        return await self._database.write(work)

    async def get(self, scope: str, id_: str) -> LabelSchema:
        return await self._database.read(lambda conn: _present(conn, scope, id_))

    async def by_name(self, scope: str, experiment_id: str, name: str) -> LabelSchema:
        experiment = await self._experiments.get_active(scope, experiment_id)
        found = await self._database.read(lambda conn: store.by_name(conn, experiment.pk, name))
        if found is None:
            raise NotFound(
                f"Label schema with name '{name}' not found for experiment '{experiment_id}'.", target="name"
            )
        return found

    async def listing(
        self, scope: str, experiment_id: str, token: str | None, limit: int
    ) -> tuple[list[LabelSchema], str | None]:
        """A page of an experiment's label schemas, the newest first. The default one is made by the first list."""
        after = paging.behind(token)
        experiment = await self._experiments.get_active(scope, experiment_id)
        if not await self._database.read(lambda conn: store.has_default(conn, experiment.pk)):
            await self._database.write(lambda unit: self._ensure_default(unit, scope, experiment.pk, experiment.id))
        rows = await self._database.read(lambda conn: store.listing(conn, experiment.pk, after, limit + 1))
        return paging.cut(rows, limit, lambda one: (one.created_at, one.id))

    async def update(
        self,
        actor: Actor,
        scope: str,
        id_: str,
        *,
        name: str | None,
        instruction: str | None,
        enable_comment: bool | None,
        input_: Input | None,
    ) -> LabelSchema:
        """Change what is not None. What was answered keeps its meaning: how a question is answered stays as it is."""

        def work(unit: Unit) -> LabelSchema:
            held = _present(unit.conn, scope, id_, lock=True)
            if held.is_default:
                raise InvalidInput("The experiment's default question cannot be edited.", target="schema_id")
            if name is not None:
                _check_name(name)
            _check_instruction(instruction)
            if input_ is not None:
                _check_input(input_)
                _check_kept(held.input, input_)
            if name is not None and name != held.name and store.by_name(unit.conn, held.experiment, name) is not None:
                raise _taken(name, held.experiment_id)
            given = {"name": name, "instruction": instruction, "enable_comment": enable_comment}
            changed: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
            store.update(unit, held.pk, input_=input_, **changed)
            self._record(unit, actor, "write", scope, id_)
            return _present(unit.conn, scope, id_)

        return await self._database.write(work)

    async def delete(self, actor: Actor, scope: str, id_: str) -> None:
        """Delete one that is there; what was answered stays with the traces."""

        def work(unit: Unit) -> None:
            held = store.get(unit.conn, scope, id_, lock=True)
            if held is None:
                return
            if held.is_default:
                raise InvalidInput("The experiment's default question cannot be deleted.", target="schema_id")
            store.delete(unit, held.pk)
            self._record(unit, actor, "delete", scope, id_)

        await self._database.write(work)

    def _ensure_default(self, unit: Unit, scope: str, experiment: int, experiment_id: str) -> None:
        new = NewLabelSchema(
            experiment_id=experiment_id,
            name=DEFAULT_NAME,
            type=FEEDBACK,
            input=Text(),
            instruction=DEFAULT_INSTRUCTION,
        )
        self._insert(unit, PLATFORM, scope, experiment, new, is_default=True)

    def _insert(
        self, unit: Unit, actor: Actor, scope: str, experiment: int, new: NewLabelSchema, *, is_default: bool = False
    ) -> str | None:
        """The id of the new one, None where its name is taken."""
        id_ = f"ls-{self._database.runtime.hex_id()}"
        made = store.insert(
            unit,
            scope,
            id_,
            experiment,
            input_=new.input,
            name=new.name,
            type=new.type,
            instruction=new.instruction,
            enable_comment=new.enable_comment,
            is_default=is_default,
            created_by=actor.name,
        )
        if not made:
            return None
        self._record(unit, actor, "write", scope, id_)
        return id_

    @staticmethod
    def _record(unit: Unit, actor: Actor, verb: str, scope: str, which: str) -> None:
        unit.audit(actor, f"workspaces/experiments/labelschemas/{verb}", f"{scope}/labelschemas/{which}")


def _present(conn: sa.Connection, scope: str, id_: str, *, lock: bool = False) -> LabelSchema:
    found = store.get(conn, scope, id_, lock=lock)
    if found is None:
        raise NotFound(f"Label schema with id '{id_}' not found.", target="schema_id")
    return found


def _taken(name: str, experiment_id: str) -> Conflict:
    return Conflict(f"Label schema with name '{name}' already exists for experiment '{experiment_id}'.", target="name")


def _check_name(name: str) -> None:
    if not name:
        raise refused("name", "Label schema `name` must be a non-empty string; got ''.")
    if len(name) > MOST_IN_NAME:
        raise refused("name", f"Label schema `name` must be at most {MOST_IN_NAME} characters; got {len(name)}.")
    if name.strip().lower() == DEFAULT_NAME.lower():
        raise refused(
            "name",
            f"`{name}` is reserved for the experiment's default question and cannot be used for another label schema.",
        )


def _check_instruction(instruction: str | None) -> None:
    if instruction is not None and len(instruction) > MOST_IN_INSTRUCTION:
        raise refused(
            "instruction",
            f"Label schema `instruction` must be at most {MOST_IN_INSTRUCTION} characters; got {len(instruction)}.",
        )


def _check_input(given: Input) -> None:
    """Raises InvalidInput for a question that cannot be asked so."""
    match given:
        case PassFail(positive_label=positive, negative_label=negative):
            _check_label("InputPassFail.positive_label", positive)
            _check_label("InputPassFail.negative_label", negative)
            if positive == negative:
                raise refused(
                    "input",
                    f"`InputPassFail.positive_label` and `negative_label` must be distinct; got '{positive}' for both.",
                )
        case Categorical(options=options):
            _check_options(options)
        case Numeric(min_value=least, max_value=most):
            if any(bound is not None and not math.isfinite(bound) for bound in (least, most)):
                raise refused("input", "`InputNumeric.min_value` and `max_value` must be finite numbers.")
            if least is not None and most is not None and least >= most:
                raise refused(
                    "input",
                    f"`InputNumeric.min_value` must be strictly less than `max_value`; got min={least}, max={most}.",
                )
        case Text(max_length=length):
            if length is not None and length < 1:
                raise refused("input", f"`InputText.max_length` must be at least 1; got {length}.")


def _check_options(options: list[str]) -> None:
    what = "InputCategorical.options"
    if not options:
        raise refused("input", f"`{what}` must be a non-empty list; got [].")
    if len(options) > MOST_OPTIONS:
        raise refused("input", f"`{what}` must have at most {MOST_OPTIONS} entries; got {len(options)}.")
    for number, option in enumerate(options):
        _check_label(what, option, " entries")
        if option in options[:number]:
            raise refused("input", f"`{what}` must be deduplicated; '{option}' appears twice.")


def _check_label(what: str, label: str, entries: str = "") -> None:
    if not label:
        raise refused("input", f"`{what}`{entries} must be non-empty; got ''.")
    if len(label) > MOST_IN_LABEL:
        raise refused("input", f"`{what}`{entries} must be at most {MOST_IN_LABEL} characters; got {len(label)}.")


def _check_kept(held: Input, given: Input) -> None:
    """Answers that were given stay answers: another kind of input, or one of many for one, would make them none."""
    if type(given) is not type(held):
        raise refused(
            "input",
            "A label schema's input type cannot be changed after creation "
            f"(existing: {_called(held)}, got: {_called(given)}).",
        )
    if isinstance(given, Categorical) and isinstance(held, Categorical) and given.multi_select != held.multi_select:
        raise refused("input", "`InputCategorical.multi_select` cannot be changed after creation.")


def _called(input_: Input) -> str:
    """As MLflow's Python calls it."""
    return f"Input{type(input_).__name__}"
