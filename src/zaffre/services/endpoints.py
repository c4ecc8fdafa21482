"""Online endpoints and deployments as the control plane knows them. What runs them is the deployment controller."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from zaffre.errors import Conflict, InvalidInput, NotFound, NotServed
from zaffre.services.jobs import environment
from zaffre.services.kinds.base import Document, Kind
from zaffre.services.kinds.endpoints import check_key, check_pair
from zaffre.services.places import Places
from zaffre.services.resources import ListQuery, Resources, Written
from zaffre.services.workspaces import Workspace
from zaffre.store import operations, resources
from zaffre.store.resources import Cursor, Row
from zaffre.store.unit import Actor, Unit

ENDPOINT = "workspaces/onlineEndpoints"
DEPLOYMENT = "workspaces/onlineEndpoints/deployments"
KEY_NAMES = {"Primary": "primaryKey", "Secondary": "secondaryKey"}

Logs = Callable[[str, int], str]
CheckEnvironment = Callable[[str | None, str | None, str | None], None]


class Endpoints:
    """`put`, `get`, `list`, `delete` as the generic provider asks them, for both types; keys and logs."""

    def __init__(
        self,
        generic: Resources,
        places: Places,
        read_logs: Logs,
        check_environment: CheckEnvironment,
        unserved: str | None = None,
    ) -> None:
        """`unserved` is the reason why this server can serve no endpoint, where there is one."""
        self._unserved = unserved
        self._resources = generic
        self._places = places
        self._read_logs = read_logs
        self._check_environment = check_environment
        self.kinds = generic.kinds

    async def get(self, workspace: Workspace, kind: Kind, parent: str, name: str) -> Row:
        return await self._resources.get(workspace, kind, parent, name)

    async def page(
        self, workspace: Workspace, kind: Kind, parent: str, query: ListQuery
    ) -> tuple[list[Row], Cursor | None]:
        return await self._resources.page(workspace, kind, parent, query)

    async def latest(self, workspace: Workspace, kind: Kind, rows: list[Row]) -> dict[int, str | None]:
        return {}

    async def put(
        self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str, body: Document
    ) -> Written:
        if self._unserved is not None:
            raise NotServed(self._unserved)
        if kind.type == ENDPOINT:
            return await self._put_endpoint(actor, workspace, kind, name, body)
        return await self._put_deployment(actor, workspace, kind, parent, name, body)

    async def delete(self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str) -> str | None:
        operation = self._resources.database.runtime.guid()

        def work(unit: Unit) -> str | None:
            row = resources.get(unit.conn, workspace.id, kind.type, name, parent, lock=True)
            if row is None:
                return None
            if kind.type == ENDPOINT:
                for below in resources.listing(unit.conn, workspace.id, DEPLOYMENT, parent=name):
                    self._resources.begin_delete(unit, workspace, below, self._resources.database.runtime.guid())
            else:
                self._refuse_with_traffic(unit, workspace, parent, row)
            self._resources.begin_delete(unit, workspace, row, operation)
            unit.audit(actor, f"{kind.type}/delete", f"{workspace.path}/onlineEndpoints/{parent or name}")
            unit.emit(workspace.id, kind.type, row.name)
            return operation

        return await self._resources.database.write(work)

    async def keys(self, workspace: Workspace, name: str) -> tuple[str, str]:
        """The primary and the secondary scoring key."""
        await self.get(workspace, self.kinds[ENDPOINT], "", name)
        database, vault = self._resources.database, self._resources.vault
        found = await database.read(
            lambda conn: [vault.get(conn, workspace.id, _secret(name, key)) for key in KEY_NAMES.values()]
        )
        if None in found:
            raise NotFound(f"The keys of endpoint '{name}' are gone from the vault; regenerate them.")
        return str(found[0]), str(found[1])

    async def regenerate(self, actor: Actor, workspace: Workspace, name: str, which: str, value: object) -> str:
        """Replace one key; the operation ends when the edge knows it.

        `value` is what it is set to; none makes a new one, and so does the key as it is: that is what the SDK sends.
        """
        if value is not None:
            check_key(value, "keyValue")
        fresh = self._new_key()
        operation = self._resources.database.runtime.guid()

        def work(unit: Unit) -> str:
            row = resources.get(unit.conn, workspace.id, ENDPOINT, name, lock=True)
            if row is None or row.state == "Deleting":
                raise NotFound(f"There is no online endpoint '{name}' in workspace '{workspace.name}'.")
            vault = self._resources.vault
            current = vault.get(unit.conn, workspace.id, _secret(name, KEY_NAMES[which]))
            key = fresh if value is None or value == current else str(value)
            other = next(secret for word, secret in KEY_NAMES.items() if word != which)
            kept = vault.get(unit.conn, workspace.id, _secret(name, other))
            if kept is not None:
                check_pair(key, kept, field="keyValue")
            vault.put(unit, workspace.id, _secret(name, KEY_NAMES[which]), key)
            operations.begin(unit, operation, workspace.id, f"{ENDPOINT}//{name}")
            resources.update(unit, actor, row.pk, state="Updating", server={**row.server, "operation": operation})
            unit.audit(
                actor, f"{ENDPOINT}/regenerateKeys", f"{workspace.path}/onlineEndpoints/{name}", detail={"key": which}
            )
            unit.emit(workspace.id, ENDPOINT, row.name)
            return operation

        return await self._resources.database.write(work)

    async def logs(self, workspace: Workspace, endpoint: str, name: str, tail: int) -> str:
        row = await self.get(workspace, self.kinds[DEPLOYMENT], endpoint, name)
        return self._read_logs(row.server.get("slug", ""), tail)

    async def _put_endpoint(self, actor: Actor, workspace: Workspace, kind: Kind, name: str, body: Document) -> Written:
        def guard(unit: Unit, row: Row | None) -> None:
            for other in resources.named(unit.conn, ENDPOINT, name):
                if other.scope != workspace.id:
                    raise Conflict(
                        f"The endpoint name '{name}' is taken on this server; its address must be unique. Choose another."
                    )
            properties = body.get("properties") or {}
            given, vault = properties.get("keys") or {}, self._resources.vault
            both = [
                given.get(key) or vault.get(unit.conn, workspace.id, _secret(name, key)) for key in KEY_NAMES.values()
            ]
            check_pair(*(key for key in both if key), field="properties.keys")
            below = {
                found.name.lower() for found in resources.listing(unit.conn, workspace.id, DEPLOYMENT, parent=name)
            }
            for deployment in properties.get("traffic") or {}:
                if deployment.lower() not in below:
                    raise InvalidInput(
                        f"Field 'properties.traffic': endpoint '{name}' has no deployment '{deployment}'.",
                        code="InvalidField",
                        target="properties.traffic",
                    )

        keys = {"primaryKey": self._new_key(), "secondaryKey": self._new_key()}
        return await self._resources.put(actor, workspace, kind, "", name, body, guard=guard, secrets_once=keys)

    async def _put_deployment(
        self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str, body: Document
    ) -> Written:
        await self.get(workspace, self.kinds[ENDPOINT], "", parent)
        resolved = await self._resolve(workspace, kind.accept(body)["properties"])
        digest = hashlib.sha256(f"{workspace.id}/{parent.lower()}/{name.lower()}".encode()).hexdigest()[:8]

        def guard(unit: Unit, row: Row | None) -> None:
            endpoint = resources.get(unit.conn, workspace.id, ENDPOINT, parent)
            if endpoint is None or endpoint.state == "Deleting":
                raise NotFound(f"There is no online endpoint '{parent}' in workspace '{workspace.name}'.")

        server = {"resolved": resolved, "slug": digest, "restarts": 0}
        return await self._resources.put(actor, workspace, kind, parent, name, body, server=server, guard=guard)

    async def _resolve(self, workspace: Workspace, properties: Document) -> Document:
        """Everything the deployment refers to, found and pinned at the door."""
        resolved: Document = {}
        code = properties.get("codeConfiguration") or {}
        if properties.get("model"):
            found = await self._places.asset(workspace, properties["model"], "properties.model", kinds=("models",))
            model = found.row.body["properties"]
            place = await self._places.resolve(workspace, model["modelUri"], "properties.model")
            resolved["model"] = {
                **msgspec.to_builtins(place), "name": found.row.parent, "version": found.row.name, "type": model["modelType"],
            }  # fmt: skip
        if code:
            if not code.get("codeId"):
                raise InvalidInput(
                    "Field 'properties.codeConfiguration.codeId': a scoring script needs the code it lies in.",
                    code="InvalidField",
                    target="properties.codeConfiguration.codeId",
                )
            field = "properties.codeConfiguration.codeId"
            asset = await self._places.asset(workspace, code["codeId"], field)
            place = await self._places.resolve(workspace, asset.row.body["properties"]["codeUri"], field)
            resolved["code"] = msgspec.to_builtins(place)
        elif resolved.get("model", {}).get("type") != "mlflow_model":
            raise InvalidInput(
                "Field 'properties.codeConfiguration': only MLflow models are served without a scoring script.",
                code="InvalidField",
                target="properties.codeConfiguration",
            )
        if properties.get("environmentId"):
            field = "properties.environmentId"
            resolved["environment"] = await environment(self._places, workspace, properties["environmentId"], field)
            self._check_environment(*(resolved["environment"].get(key) for key in ("image", "conda", "curated")))
        elif code:
            raise InvalidInput(
                "Field 'properties.environmentId': a scoring script needs an environment.",
                code="InvalidField",
                target="properties.environmentId",
            )
        return resolved

    @staticmethod
    def _refuse_with_traffic(unit: Unit, workspace: Workspace, endpoint: str, row: Row) -> None:
        parent = resources.get(unit.conn, workspace.id, ENDPOINT, endpoint)
        traffic = parent.body["properties"].get("traffic", {}) if parent else {}
        share = next((share for name, share in traffic.items() if name.lower() == row.name.lower()), 0)
        if share > 0:
            raise Conflict(
                f"Deployment '{row.name}' gets {share} % of the traffic of endpoint '{endpoint}'. Move it to another deployment first."
            )

    def _new_key(self) -> str:
        return self._resources.database.runtime.secret(32)


def _secret(name: str, key: str) -> str:
    return f"onlineEndpoints/{resources.key(name)}/{key}"
