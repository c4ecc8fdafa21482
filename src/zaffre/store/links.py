"""Who names what. Resources and jobs are the subjects; a target is `data/name/1`, `upload/<hash>` or `place/container/path`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.inserts import insert
from zaffre.store.unit import Unit

_l = tables.links

USED, MADE = "used", "made"


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """`subject` is the name as its own table keeps it, behind its parent's: `endpoint/deployment`, `name/version`."""

    subject_type: str
    subject: str
    direction: str
    role: str
    target: str


def replace(
    unit: Unit, scope: str, subject_type: str, subject: str, direction: str, found: Iterable[tuple[str, str]]
) -> None:
    """What the subject names now, as (role, target); what it named before is forgotten."""
    unit.conn.execute(sa.delete(_l).where(*_subject(scope, subject_type, subject), _l.c.direction == direction))
    add(
        unit,
        scope,
        (
            Link(subject_type=subject_type, subject=subject, direction=direction, role=role, target=target)
            for role, target in found
        ),
    )


def add(unit: Unit, scope: str, links: Iterable[Link]) -> None:
    rows = [{"scope": scope, **msgspec.structs.asdict(link)} for link in links]
    if rows:
        unit.conn.execute(insert(unit.conn, _l).on_conflict_do_nothing(), rows)


def forget(unit: Unit, scope: str, subject_type: str, subject: str) -> None:
    """All that a subject names, since it is gone."""
    unit.conn.execute(sa.delete(_l).where(*_subject(scope, subject_type, subject)))


def forget_target(unit: Unit, scope: str, target: str) -> None:
    """All that names a target, since it is gone."""
    unit.conn.execute(sa.delete(_l).where(_l.c.scope == scope, _l.c.target == target))


def rename(unit: Unit, scope: str, subject_type: str, subjects: tuple[str, str], targets: tuple[str, str]) -> None:
    """A subject that is a target, too, has another name, each (before, now): what it names and who names it stays."""
    unit.conn.execute(sa.update(_l).where(*_subject(scope, subject_type, subjects[0])).values(subject=subjects[1]))
    named = sa.and_(_l.c.scope == scope, _l.c.target == targets[0])
    unit.conn.execute(sa.update(_l).where(named).values(target=targets[1]))


def of(conn: sa.Connection, scope: str, subject_type: str, subject: str) -> list[Link]:
    """What the subject names."""
    return _read(conn, *_subject(scope, subject_type, subject))


def to(conn: sa.Connection, scope: str, targets: Iterable[str]) -> list[Link]:
    """Who names one of the targets."""
    return _read(conn, _l.c.scope == scope, _l.c.target.in_(list(targets)))


def _subject(scope: str, subject_type: str, subject: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (_l.c.scope == scope, _l.c.subject_type == subject_type, _l.c.subject == subject)


def _read(conn: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Link]:
    columns = [_l.c[name] for name in Link.__struct_fields__]
    query = sa.select(*columns).where(*where).order_by(*columns)
    return [Link(**row._mapping) for row in conn.execute(query)]
