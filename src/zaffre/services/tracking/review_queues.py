"""Review queues: traces that wait until one of a queue's users has looked at them. Each user may have one of their own."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, NotFound, Unavailable, refused
from zaffre.services.tracking import paging
from zaffre.services.tracking.experiments import Experiments
from zaffre.store.database import Database
from zaffre.store.tracking import label_schemas, traces
from zaffre.store.tracking import review_queues as store
from zaffre.store.tracking.review_queues import PENDING, Item, Queue
from zaffre.store.unit import Actor, Unit

USER, CUSTOM = "USER", "CUSTOM"
TYPES = (USER, CUSTOM)
STATUSES = (PENDING, "COMPLETE", "DECLINED")
RESERVED = "default"  # MLflow's user where nobody signs in
MOST_IN_NAME, MOST_USERS, MOST_ITEMS = 250, 10, 10_000  # as many as hold the writer for a third of a second


class NewQueue(msgspec.Struct, frozen=True, kw_only=True):
    experiment_id: str
    name: str
    type: str
    users: Sequence[str] = ()
    schema_ids: Sequence[str] = ()


class ReviewQueues:
    def __init__(self, database: Database, experiments: Experiments) -> None:
        self._database = database
        self._experiments = experiments

    async def create(self, actor: Actor, scope: str, new: NewQueue) -> Queue:
        """A new queue. Raises Conflict when the experiment has one of that name, however it is spelt."""
        new = _checked(new)

        def work(unit: Unit) -> Queue:
            made = self._make(unit, actor, scope, new, actor.name)
            if made is None:
                raise _taken(new.name)
            return made

        return await self._database.write(work)

    async def of_user(self, actor: Actor, scope: str, experiment_id: str, user: str) -> Queue:
        """A user's own queue, made if there is none. Raises Conflict when another queue has the name."""
        new = _checked(NewQueue(experiment_id=experiment_id, name=user, type=USER))

        def work(unit: Unit) -> Queue:
            experiment = self._experiments.active(unit, scope, experiment_id)
            found = store.by_name(unit.conn, experiment.pk, new.name)
            if found is None:
                found = self._make(unit, actor, scope, new, new.name)
            if found is None:  # another server has made it since
                found = store.by_name(unit.conn, experiment.pk, new.name)
            if found is None:
                raise Unavailable("The queue was deleted at this moment; repeat the request.")
            if found.type != USER:
                raise Conflict(
                    f"A non-user queue named '{new.name}' already exists; "
                    "cannot get-or-create a user queue with that name.",
                    target="user",
                )
            return found

        return await self._database.write(work)

    async def get(self, scope: str, id_: str) -> Queue:
        return await self._database.read(lambda conn: _present(conn, scope, id_))

    async def by_name(self, scope: str, experiment_id: str, name: str) -> Queue:
        experiment = await self._experiments.get_active(scope, experiment_id)
        found = await self._database.read(lambda conn: store.by_name(conn, experiment.pk, name))
        if found is None:
            raise NotFound(
                f"Review queue with name '{name}' not found for experiment '{experiment_id}'.", target="name"
            )
        return found

    async def listing(
        self, scope: str, experiment_id: str, *, user: str | None, item: str | None, token: str | None, limit: int
    ) -> tuple[list[Queue], str | None]:
        """A page of an experiment's queues, the newest first; of those a user is assigned to, or that hold an item."""
        after = paging.behind(token)
        experiment = await self._experiments.get_active(scope, experiment_id)
        asked = None if user is None else _normal(user)
        rows = await self._database.read(
            lambda conn: store.listing(conn, experiment.pk, user=asked, trace=item, after=after, limit=limit + 1)
        )
        return paging.cut(rows, limit, lambda one: (one.created_at, one.id))

    async def update(
        self,
        actor: Actor,
        scope: str,
        id_: str,
        *,
        name: str | None,
        owner: str | None,
        users: Sequence[str] | None,
        schema_ids: Sequence[str] | None,
    ) -> Queue:
        """Change what is not None. Questions change only while nothing waits: else some answers would be to others."""

        def work(unit: Unit) -> Queue:
            held = _present(unit.conn, scope, id_, lock=True)
            if held.type == USER:
                raise refused(
                    "queue_id",
                    "A user queue's name, assigned user, schemas, and owner are fixed and cannot be updated.",
                )
            if name is None and owner is None and users is None and schema_ids is None:
                return held
            renamed = None if name is None else _custom_name(name)
            if renamed is not None:
                other = store.by_name(unit.conn, held.experiment, renamed)
                if other is not None and other.pk != held.pk:
                    raise _taken(renamed)
            if users is not None:
                store.set_users(unit, held.pk, _users(users))
            if schema_ids is not None:
                if not store.is_empty(unit.conn, held.pk):
                    raise refused(
                        "schema_ids",
                        "A review queue's questions are locked once items are assigned to it. "
                        "Remove the items before changing its questions.",
                    )
                self._ask(unit, held, _schema_ids(schema_ids))
            store.update(unit, held.pk, name=renamed, created_by=None if owner is None else _owner(owner))
            self._record(unit, actor, "write", scope, id_)
            return _present(unit.conn, scope, id_)

        return await self._database.write(work)

    async def delete(self, actor: Actor, scope: str, id_: str) -> None:
        """Delete one that is there; its traces and what was said of them stay."""

        def work(unit: Unit) -> None:
            held = store.get(unit.conn, scope, id_, lock=True)
            if held is not None:
                store.delete(unit, held.pk)
                self._record(unit, actor, "delete", scope, id_)

        await self._database.write(work)

    # ---- items
    async def add(self, actor: Actor, scope: str, id_: str, item_ids: Sequence[str]) -> list[Item]:
        """Let traces of the queue's experiment wait in it: all of them or, if one is not there, none."""
        wanted = _item_ids(item_ids)

        def work(unit: Unit) -> int:
            queue = _present(unit.conn, scope, id_, lock=True)
            found = traces.keys(unit.conn, scope, queue.experiment, wanted)
            if missing := [one for one in wanted if one not in found]:
                raise NotFound(
                    f"Cannot attach trace(s) {_shown(missing)} to review queue '{id_}': "
                    f"they do not exist in experiment '{queue.experiment_id}'.",
                    target="item_ids",
                )
            store.add(unit, queue.pk, [found[one] for one in wanted])
            self._record(unit, actor, "write", scope, id_)
            return queue.pk

        pk = await self._database.write(work)
        # Read where no writer waits for it; what others have changed since is told as it is.
        return await self._database.read(lambda conn: store.items(conn, pk, wanted))

    async def remove(self, actor: Actor, scope: str, id_: str, item_ids: Sequence[str]) -> None:
        """Take items out of a queue; those that are not in it are passed over."""
        wanted = _item_ids(item_ids)

        def work(unit: Unit) -> None:
            queue = _present(unit.conn, scope, id_, lock=True)
            store.remove(unit, scope, queue.pk, wanted)
            self._record(unit, actor, "write", scope, id_)

        await self._database.write(work)

    async def items(
        self, scope: str, id_: str, status: str | None, token: str | None, limit: int
    ) -> tuple[list[Item], str | None]:
        """A page of a queue's items, those added last first."""
        after = paging.behind(token)

        def work(conn: sa.Connection) -> list[Item]:
            return store.list_items(conn, _present(conn, scope, id_).pk, status, after, limit + 1)

        rows = await self._database.read(work)
        return paging.cut(rows, limit, lambda one: (one.created_at, one.id))

    async def set_status(
        self, actor: Actor, scope: str, id_: str, item_id: str, status: str, completed_by: str | None
    ) -> Item:
        """Say what came of an item. Who has looked at it is `completed_by`, else the caller; the first to say so stays."""
        by = None if completed_by is None else _normal(completed_by)
        if status == PENDING and by is not None:
            raise refused("completed_by", "`completed_by` must not be set when reopening an item to `pending`.")
        if status != PENDING and not by:
            if by is not None:
                raise refused("completed_by", f"`completed_by` is required when setting status to `{status.lower()}`.")
            by = _normal(actor.name)
        if by is not None:
            _check_length("completed_by", by)
        wanted = item_id.strip()

        def work(unit: Unit) -> Item:
            queue = _present(unit.conn, scope, id_)
            held = store.item(unit.conn, queue.pk, wanted, lock=True)
            if held is None:
                raise NotFound(f"Item '{wanted}' is not attached to review queue '{id_}'.", target="item_id")
            if held.status == status:
                return held
            store.set_status(unit, queue.pk, held.trace, status, by)
            self._record(unit, actor, "write", scope, id_)
            return store.items(unit.conn, queue.pk, [wanted])[0]

        return await self._database.write(work)

    # ---- helpers
    def _make(self, unit: Unit, actor: Actor, scope: str, new: NewQueue, owner: str) -> Queue | None:
        """The new queue, None where its name is taken."""
        experiment = self._experiments.active(unit, scope, new.experiment_id)
        id_ = f"rq-{self._database.runtime.hex_id()}"
        if not store.insert(unit, scope, id_, experiment.pk, new.name, new.type, owner):
            return None
        queue = _present(unit.conn, scope, id_)
        store.set_users(unit, queue.pk, new.users)
        self._ask(unit, queue, new.schema_ids)
        self._record(unit, actor, "write", scope, id_)
        return _present(unit.conn, scope, id_)

    @staticmethod
    def _ask(unit: Unit, queue: Queue, schema_ids: Sequence[str]) -> None:
        found = label_schemas.keys(unit.conn, queue.experiment, schema_ids)
        if missing := [one for one in schema_ids if one not in found]:
            raise refused(
                "schema_ids",
                f"Label schema id(s) {_shown(missing)} not found for experiment '{queue.experiment_id}'.",
            )
        store.set_schemas(unit, queue.pk, found.values())

    @staticmethod
    def _record(unit: Unit, actor: Actor, verb: str, scope: str, which: str) -> None:
        unit.audit(actor, f"workspaces/experiments/reviewqueues/{verb}", f"{scope}/reviewqueues/{which}")


def _present(conn: sa.Connection, scope: str, id_: str, *, lock: bool = False) -> Queue:
    found = store.get(conn, scope, id_, lock=lock)
    if found is None:
        raise NotFound(f"Review queue with id '{id_}' not found.", target="queue_id")
    return found


def _checked(new: NewQueue) -> NewQueue:
    """What is asked for as it will be kept. Raises InvalidInput for a queue there cannot be."""
    users, schema_ids = _users(new.users), _schema_ids(new.schema_ids)
    if new.type == CUSTOM:
        return msgspec.structs.replace(new, name=_custom_name(new.name), users=users, schema_ids=schema_ids)
    name = _normal(new.name)
    _check_length("name", name)
    if users and users != [name]:
        raise refused(
            "users",
            "A user queue must have exactly one assigned user equal to its name; "
            f"got name='{name}' and users={_shown(users)}.",
        )
    if schema_ids:
        raise refused(
            "schema_ids",
            "A user queue cannot have explicitly-attached schemas; it resolves to all of the experiment's label schemas.",
        )
    return msgspec.structs.replace(new, name=name, users=[name], schema_ids=[])


def _custom_name(name: str) -> str:
    stripped = name.strip()
    _check_length("name", stripped)
    if stripped.lower() == RESERVED:
        raise refused("name", f"`{stripped}` is a reserved queue name and cannot be used for a custom queue.")
    return stripped


def _owner(owner: str) -> str:
    stripped = owner.strip()
    _check_length("new_owner", stripped)
    return stripped


def _users(given: Sequence[str]) -> list[str]:
    users = list(dict.fromkeys(_normal(user) for user in given))
    for user in users:
        _check_length("user", user)
    if len(users) > MOST_USERS:
        raise refused("users", f"A review queue can have at most {MOST_USERS} assigned users; got {len(users)}.")
    return users


def _schema_ids(given: Sequence[str]) -> list[str]:
    ids = list(dict.fromkeys(id_.strip() for id_ in given))
    for id_ in ids:
        _check_length("schema_id", id_)
    return ids


def _item_ids(given: Sequence[str]) -> list[str]:
    if not given:
        raise refused("item_ids", "`item_ids` must be a non-empty list; got [].")
    if len(given) > MOST_ITEMS:
        raise refused("item_ids", f"`item_ids` takes at most {MOST_ITEMS} at once; got {len(given)}.")
    ids = list(dict.fromkeys(id_.strip() for id_ in given))
    for id_ in ids:
        _check_length("item_id", id_)
    return ids


def _normal(user: str) -> str:
    """Users are compared with the sources of assessments, whatever the case."""
    return user.strip().lower()


def _check_length(field: str, value: str) -> None:
    if not value:
        raise refused(field, f"`{field}` must be a non-empty string; got ''.")
    if len(value) > MOST_IN_NAME:
        raise refused(field, f"`{field}` must be at most {MOST_IN_NAME} characters; got {len(value)}.")


def _shown(values: Sequence[str], most: int = 10) -> str:
    """As MLflow's messages hold lists, but no longer than one reads."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return f"{[value[:100] for value in values[:most]]}{more}"


def _taken(name: str) -> Conflict:
    return Conflict(f"Review queue with name '{name}' already exists (names are case-insensitive).", target="name")
