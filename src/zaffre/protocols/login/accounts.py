"""What `az login` lists once it has a token (clients.md §A.3): the subscriptions there are, and the one tenant."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from zaffre.errors import NotFound
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Handler, Route
from zaffre.services.workspaces import Workspaces
from zaffre.settings import TENANT, Settings


def routes(settings: Settings, workspaces: Workspaces) -> list[Route]:
    """A subscription is a name that workspaces are filed under; the default one is always there."""

    async def known() -> dict[str, str]:
        found = {settings.subscription.lower(): settings.subscription}
        for one in await workspaces.all():
            found.setdefault(one.subscription.lower(), one.subscription)
        return found

    async def subscriptions(_call: Call) -> Response:
        found = [_subscription(name) for name in (await known()).values()]
        return json_answer({"value": found, "count": {"type": "Total", "value": len(found)}})

    async def subscription(call: Call) -> Response:
        wanted = call.params["subscriptionId"]
        name = (await known()).get(wanted.lower())
        if name is None:
            raise NotFound(
                f"There is no subscription '{wanted}' on this server; the first workspace in one makes it.",
                code="SubscriptionNotFound",
            )
        return json_answer(_subscription(name))

    async def tenants(_call: Call) -> Response:
        tenant = {
            "id": f"/tenants/{TENANT}",
            "tenantId": TENANT,
            "displayName": "Zaffre",
            "tenantCategory": "Home",
            "domains": [],
        }
        return json_answer({"value": [tenant]})

    def route(template: str, handler: Handler, operation: str, action: str) -> Route:
        return Route(
            protocol="arm", method="GET", template=template, handler=handler, operation=operation, action=action
        )

    return [
        route("/subscriptions", subscriptions, "Subscriptions_List", "subscriptions/read"),
        route("/subscriptions/{subscriptionId}", subscription, "Subscriptions_Get", "subscriptions/read"),
        route("/tenants", tenants, "Tenants_List", "tenants/read"),
    ]


def _subscription(name: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{name}",
        "subscriptionId": name,
        "displayName": name,
        "tenantId": TENANT,
        "homeTenantId": TENANT,
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {"locationPlacementId": "", "quotaId": "", "spendingLimit": "Off"},
        "managedByTenants": [],
    }
