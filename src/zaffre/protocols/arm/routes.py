"""Every operation of the table as a route: bound to the provider of its kind, to an action, or to a clear 501."""

from __future__ import annotations

from zaffre.gateway.routes import WORKSPACE, Handler, Route, not_served
from zaffre.protocols.arm import table
from zaffre.protocols.arm.actions import Actions
from zaffre.protocols.arm.computes import ComputeProvider
from zaffre.protocols.arm.connections import list_secrets
from zaffre.protocols.arm.datastores import DatastoreProvider
from zaffre.protocols.arm.groups import Groups
from zaffre.protocols.arm.provider import Provider, Service
from zaffre.protocols.arm.registries import RegistryRecords
from zaffre.protocols.arm.workspaces import WorkspaceProvider
from zaffre.runtime import Runtime
from zaffre.services.connections import CONNECTION, Connections
from zaffre.services.datastores import Datastores
from zaffre.services.kinds.base import Kind
from zaffre.settings import Settings

LOCATION = "/subscriptions/{subscriptionId}/providers/Microsoft.MachineLearningServices/locations/{location}"


def routes(
    settings: Settings,
    kinds: dict[str, Kind],
    homes: WorkspaceProvider,
    groups: Groups,
    computes: ComputeProvider,
    registries: RegistryRecords,
    runtime: Runtime,
    default: Service,
    services: dict[str, Service],
    actions: Actions,
) -> list[Route]:
    """`services` names who keeps a type, where it is not `default`."""
    special: dict[str, Handler] = {
        **homes.operations,
        **groups.operations,
        **computes.operations,
        **registries.operations,
    }
    connections = services.get(CONNECTION)
    if isinstance(connections, Connections):
        special["WorkspaceConnections_ListSecrets"] = list_secrets(settings, connections)
    providers = {
        type_: _provider(settings, runtime, kind, services.get(type_, default)) for type_, kind in kinds.items()
    }
    providers["workspaces/computes"] = computes
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
    polled = (
        (f"{WORKSPACE}/operationsStatus", "operationsStatus", actions.operation_status),
        (f"{WORKSPACE}/operationsResult", "operationsResult", actions.operation_result),
        (f"{LOCATION}/workspaceOperationsStatus", "workspaceOperationsStatus", homes.operation_status),
        (f"{LOCATION}/workspaceOperationResults", "workspaceOperationResults", homes.operation_result),
    )
    for path, name, handler in polled:
        made.append(
            Route(
                protocol="arm",
                method="GET",
                template=f"{path}/{{operationId}}",
                handler=handler,
                operation=f"Zaffre_{name}",
                action="workspaces/operations/read",
            )
        )
    made.append(
        Route(  # the SDK asks for it; the published operations have lost it
            protocol="arm",
            method="POST",
            template=f"{WORKSPACE}/models/{{name}}/versions/{{version}}/package",
            handler=not_served("ModelVersions_Package"),
            operation="ModelVersions_Package",
            action="workspaces/models/versions/package",
        )
    )
    return made


def _provider(settings: Settings, runtime: Runtime, kind: Kind, service: Service) -> Provider:
    if isinstance(service, Datastores):
        return DatastoreProvider(settings, runtime, kind, service)
    return Provider(settings, runtime, kind, service)


def _action(operation: table.Operation) -> str:
    if not operation.type:  # resource groups and deployments, whose verb is the operation's whole name
        return f"resources/{'read' if operation.method in ('GET', 'HEAD') else 'write'}"
    verb = {"get": "read", "list": "read", "put": "write", "patch": "write"}.get(operation.verb, operation.verb)
    return f"{operation.type}/{verb}"
