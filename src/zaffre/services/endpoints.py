"""Online endpoints and deployments as the control plane knows them. What runs them is the deployment controller."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from zaffre.errors import Conflict, InvalidInput, NotFound, NotServed
from zaffre.services.access import Principal
from zaffre.services.jobs import environment
from zaffre.services.kinds.base import Document, Kind
from zaffre.services.kinds.deployments import with_sku
from zaffre.services.kinds.endpoints import check_key, check_pair
from zaffre.services.places import Places
from zaffre.services.resources import ListQuery, Resources, Written
from zaffre.services.scoring import ENDPOINT as ENDPOINT
from zaffre.services.scoring import ScoringAccess, ScoringToken
from zaffre.services.workspaces import Workspace
from zaffre.store import operations, resources
from zaffre.store.resources import Cursor, Row
from zaffre.store.unit import Actor, Unit

DEPLOYMENT = "workspaces/onlineEndpoints/deployments"
KEY_NAMES = {"Primary": "primaryKey", "Secondary": "secondaryKey"}
LOG_CONTAINERS = ("InferenceServer", "StorageInitializer")

Logs = Callable[[str, int, str | None], str]
CheckEnvironment = Callable[[str | None, str | None, str | None], None]


class Endpoints:
    """`put`, `get`, `list`, `delete` as the generic provider asks them, for both types; keys, tokens and logs."""

    def __init__(
        self,
        generic: Resources,
        places: Places,
        scoring: ScoringAccess,
        read_logs: Logs,
        check_environment: CheckEnvironment,
        node: str,
        unserved: str | None = None,
    ) -> None:
        """`node` names the home whose controller runs the deployments made here.

        `unserved` is the reason why this server can serve no endpoint, where there is one.
        """
        self._node = node
        self._unserved = unserved
        self._resources = generic
        self._places = places
        self._scoring = scoring
        self._read_logs = read_logs
        self._check_environment = check_environment
        self.kinds = generic.kinds

    async def get(self, workspace: Workspace, kind: Kind, parent: str, name: str) -> Row:
        return await self._resources.get(workspace, kind, parent, name)

    async def page(
        self, workspace: Workspace, kind: Kind, parent: str, query: ListQuery
    ) -> tuple[list[Row], Cursor | None]:
        if kind.type == ENDPOINT:
            asked = {value.lower() for name, value in query.fields if name == "computeType"}
            if asked - {"managed"}:
                return [], None
            # No field of the endpoint says it: all that are served here are managed
            query = msgspec.structs.replace(query, fields=tuple(f for f in query.fields if f[0] != "computeType"))
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
                self._leave_traffic(unit, workspace, parent, row)
            self._resources.begin_delete(unit, workspace, row, operation)
            unit.audit(actor, f"{kind.type}/delete", f"{workspace.path}/onlineEndpoints/{parent or name}")
            unit.emit(workspace.id, kind.type, row.name)
            return operation

        return await self._resources.database.write(work)

    async def keys(self, workspace: Workspace, name: str) -> tuple[str, str]:
        """The primary and the secondary scoring key."""
        _takes_keys(await self.get(workspace, self.kinds[ENDPOINT], "", name))
        database, vault = self._resources.database, self._resources.vault
        found = await database.read(
            lambda conn: [vault.get(conn, workspace.id, _secret(name, key)) for key in KEY_NAMES.values()]
        )
        if None in found:
            raise NotFound(f"The keys of endpoint '{name}' are gone from the vault; regenerate them.")
        return str(found[0]), str(found[1])

    async def token(self, principal: Principal, workspace: Workspace, name: str) -> ScoringToken:
        """A token that scores on this endpoint."""
        return self._scoring.mint(principal, await self.get(workspace, self.kinds[ENDPOINT], "", name))

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
            _takes_keys(row)
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

    async def logs(self, workspace: Workspace, endpoint: str, name: str, tail: int, container: str | None) -> str:
        """The last `tail` lines of a deployment: of one `container`, or of all it went through."""
        row = await self.get(workspace, self.kinds[DEPLOYMENT], endpoint, name)
        return self._read_logs(row.server.get("slug", ""), tail, container)

    async def _put_endpoint(self, actor: Actor, workspace: Workspace, kind: Kind, name: str, body: Document) -> Written:
        kind.accept(kind.take_secrets(body)[1])
        await self._check_compute(workspace, (body.get("properties") or {}).get("compute"))

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
            for field in ("traffic", "mirrorTraffic"):
                for deployment in properties.get(field) or {}:
                    if deployment.lower() not in below:
                        raise InvalidInput(
                            f"Field 'properties.{field}': endpoint '{name}' has no deployment '{deployment}'.",
                            code="InvalidField",
                            target=f"properties.{field}",
                        )

        keys = {"primaryKey": self._new_key(), "secondaryKey": self._new_key()}
        return await self._resources.put(actor, workspace, kind, "", name, body, guard=guard, secrets_once=keys)

    async def _put_deployment(
        self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str, body: Document
    ) -> Written:
        endpoint_row = await self.get(workspace, self.kinds[ENDPOINT], "", parent)
        body = with_sku(body)
        accepted = kind.accept(body)["properties"]
        if accepted["endpointComputeType"] == "Kubernetes":
            raise InvalidInput(
                f"Field 'properties.endpointComputeType': endpoint '{endpoint_row.name}' has no Kubernetes compute; "
                "expected 'Managed'.",
                code="InvalidField",
                target="properties.endpointComputeType",
            )
        resolved = await self._resolve(workspace, accepted)
        slug = await self._slug(workspace, parent, name)

        server: Document = {"resolved": resolved, "slug": slug, "error": None}

        def guard(unit: Unit, row: Row | None) -> None:
            endpoint = resources.get(unit.conn, workspace.id, ENDPOINT, parent, lock=True)
            if endpoint is None or endpoint.state == "Deleting":
                raise NotFound(f"There is no online endpoint '{parent}' in workspace '{workspace.name}'.")
            server["node"] = row.server.get("node", self._node) if row is not None else self._node

        return await self._resources.put(actor, workspace, kind, parent, name, body, server=server, guard=guard)

    async def _slug(self, workspace: Workspace, parent: str, name: str) -> str:
        """What names a deployment's folder and sockets on this server, in all workspaces; one that has a name keeps it."""
        row = await self._resources.database.read(
            lambda conn: resources.get(conn, workspace.id, DEPLOYMENT, name, parent)
        )
        if row is not None and row.server.get("slug"):
            return str(row.server["slug"])
        return hashlib.sha256(f"{workspace.id}/{parent.lower()}/{name.lower()}".encode()).hexdigest()[:16]

    async def _resolve(self, workspace: Workspace, properties: Document) -> Document:
        """Everything the deployment refers to, found and pinned at the door."""
        resolved: Document = {}
        code = properties.get("codeConfiguration") or {}
        if properties.get("model"):
            found = await self._places.asset(workspace, properties["model"], "properties.model", kinds=("models",))
            model = found.row.body["properties"]
            place = await self._places.resolve(workspace, model["modelUri"], "properties.model")
            resolved["model"] = {
                **msgspec.to_builtins(place), "name": found.row.parent_name, "version": found.row.name, "type": model["modelType"],
            }  # fmt: skip
        if code:
            if not code.get("codeId"):
                raise InvalidInput(
                    "Field 'properties.codeConfiguration.codeId': a scoring script needs the code it lies in.",
                    code="InvalidField",
                    target="properties.codeConfiguration.codeId",
                )
            field = "properties.codeConfiguration.codeId"
            asset = await self._places.asset(workspace, code["codeId"], field, ("codes",))
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

    async def _check_compute(self, workspace: Workspace, given: str | None) -> None:
        """An endpoint that names a compute is meant for Kubernetes, which computes here only record."""
        if not given:
            return
        field, name = "properties.compute", given.rstrip("/").rpartition("/")[2]
        try:
            row = await self.get(workspace, self.kinds["workspaces/computes"], "", name)
        except NotFound as missing:
            raise InvalidInput(f"Field '{field}': {missing.message}", code="InvalidField", target=field) from None
        type_ = row.body["properties"].get("computeType")
        if type_ != "Kubernetes":
            raise InvalidInput(
                f"Field '{field}': compute '{row.name}' is of type {type_}; an endpoint runs on a Kubernetes compute, or "
                "without one on this server.",
                code="InvalidField",
                target=field,
            )
        raise NotServed(
            f"Online endpoints on Kubernetes computes are not served yet: '{row.name}' is only a record. Leave compute "
            "out and the endpoint is served by this server.",
            target=field,
        )

    @staticmethod
    def _leave_traffic(unit: Unit, workspace: Workspace, endpoint: str, row: Row) -> None:
        """Take a deployment that is to go out of its endpoint's shares. Raises Conflict when it still has one."""
        parent = resources.get(unit.conn, workspace.id, ENDPOINT, endpoint, lock=True)
        if parent is None:
            return
        properties, key = dict(parent.body["properties"]), resources.key(row.name)
        for field, what in (("traffic", "gets"), ("mirrorTraffic", "is sent copies of")):
            shares: dict[str, int] = properties.get(field) or {}
            share = next((share for name, share in shares.items() if resources.key(name) == key), 0)
            if share > 0:
                raise Conflict(
                    f"Deployment '{row.name}' {what} {share} % of the traffic of endpoint '{endpoint}'. "
                    "Move it to another deployment first."
                )
            properties[field] = {name: share for name, share in shares.items() if resources.key(name) != key}
        if properties != parent.body["properties"]:
            resources.update(unit, None, parent.pk, body={**parent.body, "properties": properties})

    def _new_key(self) -> str:
        return self._resources.database.runtime.secret(32)


def _takes_keys(endpoint: Row) -> None:
    mode = endpoint.body["properties"]["authMode"]
    if mode != "Key":
        raise InvalidInput(f"Endpoint '{endpoint.name}' has no keys: its callers show tokens ({mode}).")


def _secret(name: str, key: str) -> str:
    return f"onlineEndpoints/{resources.key(name)}/{key}"
