"""Every operation of the table as a route: bound to the provider of its kind, to an action, or to a clear 501."""

from __future__ import annotations

from zaffre.gateway.routes import WORKSPACE, Handler, Route, not_served
from zaffre.protocols.arm import table
from zaffre.protocols.arm.actions import Actions
from zaffre.protocols.arm.datastores import DatastoreProvider
from zaffre.protocols.arm.provider import Provider, Service
from zaffre.protocols.arm.workspaces import WorkspaceProvider
from zaffre.services.datastores import Datastores
from zaffre.services.kinds.base import Kind
from zaffre.services.workspaces import Workspaces
from zaffre.settings import Settings
from zaffre.store.database import Database


def routes(
    settings: Settings,
    database: Database,
    kinds: dict[str, Kind],
    workspaces: Workspaces,
    default: Service,
    services: dict[str, Service],
    actions: Actions,
) -> list[Route]:
    """`services` names who keeps a type, where it is not `default`."""
    homes = WorkspaceProvider(settings, database, kinds["workspaces"], workspaces)
    special: dict[str, Handler] = {
        "Workspaces_Get": homes.get,
        "Workspaces_CreateOrUpdate": homes.put,
        "Workspaces_ListByResourceGroup": homes.list_in_group,
        "Workspaces_ListBySubscription": homes.list_in_subscription,
    }
    providers = {type_: _provider(settings, kind, services.get(type_, default)) for type_, kind in kinds.items()}
    made = []
    for operation in table.load():
        handler = special.get(operation.name) or actions.table.get((operation.type, operation.verb))
        if handler is None and operation.type != "workspaces" and operation.type in providers:
            handler = providers[operation.type].verbs.get(operation.verb)
        made.append(
            Route(
                protocol="arm",
                method=operation.method,
                template=operation.path,
                handler=handler or not_served(operation.name),
                operation=operation.name,
                action=_action(operation),
                needs_workspace=operation.name != "Workspaces_CreateOrUpdate",
            )
        )
    for name, handler in (
        ("operationsStatus", actions.operation_status),
        ("operationsResult", actions.operation_result),
    ):
        made.append(
            Route(
                protocol="arm",
                method="GET",
                template=f"{WORKSPACE}/{name}/{{operationId}}",
                handler=handler,
                operation=f"Zaffre_{name}",
                action="workspaces/operations/read",
            )
        )
    return made


def _provider(settings: Settings, kind: Kind, service: Service) -> Provider:
    if isinstance(service, Datastores):
        return DatastoreProvider(settings, kind, service)
    return Provider(settings, kind, service)


def _action(operation: table.Operation) -> str:
    verb = {"get": "read", "list": "read", "put": "write", "patch": "write"}.get(operation.verb, operation.verb)
    return f"{operation.type or 'resources'}/{verb}"
