"""Service principals: programs that sign in by themselves, each with an id and with secrets that are API keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput, NotFound
from zaffre.services import keys
from zaffre.services.access import ROLES
from zaffre.services.keys import ApiKeys
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.unit import Actor, Unit

KIND = "Application"
SECRET = "secret"

_people = tables.principals


class PrincipalInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A user or a service principal (`kind` Application)."""

    id: str
    name: str
    kind: str
    role: str
    created_at: int


class Principals:
    def __init__(self, database: Database, api_keys: ApiKeys) -> None:
        self._database = database
        self._api_keys = api_keys

    async def create(
        self, actor: Actor, name: str, role: str, expires_at: int | None = None
    ) -> tuple[PrincipalInfo, str]:
        """A service principal and its first secret, which is never shown again."""
        keys.check_name(name)
        if role not in ROLES:
            raise InvalidInput(
                f"Field 'role': '{role[:100]}' is none of {', '.join(ROLES)}.", code="InvalidField", target="role"
            )
        id_, secret = self._database.runtime.guid(), self._api_keys.new_secret()

        def work(unit: Unit) -> PrincipalInfo:
            keys.check_expiry(unit, expires_at)
            taken = sa.select(_people.c.id).where(_people.c.kind == KIND, _people.c.name == name)
            if unit.conn.execute(taken).first() is not None:
                raise Conflict(f"There is a service principal '{name}' already; delete it, or choose another name.")
            made: dict[str, Any] = {"id": id_, "name": name, "kind": KIND, "role": role, "created_at": unit.now}
            unit.conn.execute(sa.insert(_people).values(made))
            unit.audit(actor, "principals/write", name, detail={"id": id_, "role": role})
            keys.insert(unit, actor, id_, f"{name}.{SECRET}"[:64], secret, expires_at)
            return _info(made)

        return await self._database.write(work), secret

    async def listing(self) -> list[PrincipalInfo]:
        """Users and service principals, oldest first."""
        query = sa.select(_people).order_by(_people.c.created_at, _people.c.id)
        rows = await self._database.read(lambda conn: conn.execute(query).mappings().all())
        return [_info(row) for row in rows]

    async def delete(self, actor: Actor, which: str) -> PrincipalInfo:
        """Remove the service principal with this name or id; its secrets and the tokens it holds end at once."""

        def work(unit: Unit) -> PrincipalInfo:
            query = sa.select(_people).where(
                _people.c.kind == KIND, sa.or_(_people.c.id == which, _people.c.name == which)
            )
            found = unit.conn.execute(query).mappings().first()
            if found is None:
                raise NotFound(f"There is no service principal '{which}'; `zaffre principal list` names them.")
            mine = tables.api_keys.c.principal == found["id"]
            keys.revoke_where(unit, actor, mine)
            unit.conn.execute(sa.delete(tables.api_keys).where(mine))
            unit.conn.execute(sa.delete(_people).where(_people.c.id == found["id"]))
            unit.audit(actor, "principals/delete", found["name"], detail={"id": found["id"]})
            return _info(found)

        return await self._database.write(work)


def _info(row: Mapping[Any, Any]) -> PrincipalInfo:
    return PrincipalInfo(**row)
