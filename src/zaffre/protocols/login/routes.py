"""Cloud metadata (wire.md §1), the managed-identity endpoint and the JWKS (wire.md §2)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from zaffre.errors import InvalidInput, Unauthenticated
from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Access, Route
from zaffre.services.keys import ApiKeys
from zaffre.services.tokens import MACHINE_LEARNING, STORAGE, Tokens
from zaffre.settings import CLOUD_NAME, TENANT, Settings


def routes(settings: Settings, tokens: Tokens, keys: ApiKeys) -> list[Route]:
    """Every route here is open: each answers public facts, or checks the API key it is given itself."""

    async def metadata(call: Call) -> Response:
        cloud = _cloud(public_address(call, settings))
        # The SDK takes a list; `az cloud register` asks a newer version and wants one object.
        return json_answer(cloud if call.query.get("api-version", "") >= "2022" else [cloud])

    async def managed_identity(call: Call) -> Response:
        resource = call.query.get("resource", "")
        if not resource:
            raise InvalidInput("The query parameter 'resource' is missing; it names the audience.", target="resource")
        key = call.headers.get("x-identity-header", "")
        if not key:
            raise Unauthenticated("The header X-IDENTITY-HEADER is missing; it carries an API key of this server.")
        audience = tokens.audience(resource)
        principal = tokens.verify(key) if key.count(".") == 2 else await keys.principal(key)
        token, expires = tokens.mint(principal, audience)
        return json_answer(
            {"access_token": token, "expires_on": str(expires), "resource": resource, "token_type": "Bearer"},
            headers={"cache-control": "no-store"},
        )

    async def jwks(_call: Call) -> Response:
        return json_answer(tokens.jwks())

    def open_(method: str, template: str, handler: Any, operation: str) -> Route:
        return Route(
            protocol="login", method=method, template=template, handler=handler, operation=operation, access=Access.OPEN
        )

    return [
        open_("GET", "/metadata/endpoints", metadata, "Metadata_Endpoints"),
        open_("GET", "/msi/token", managed_identity, "ManagedIdentity_Token"),
        open_("GET", "/discovery/keys", jwks, "Jwks_Get"),
    ]


def error_form(error: Any, request_id: str) -> Response:
    """OAuth's error body, which azure-identity and MSAL print."""
    body = {"error": error.code, "error_description": error.message, "correlation_id": request_id}
    return json_answer(body, error.status)


def _cloud(address: str) -> dict[str, Any]:
    """One cloud as `ARM_CLOUD_METADATA_URL` clients read it; the fields of azureml-mlflow's reader (clients.md §B.1) too."""
    host = address.removeprefix("https://")
    return {
        "name": CLOUD_NAME,
        "portal": "https://portal.azure.com",
        "resourceManager": address,
        "authentication": {
            "loginEndpoint": address,
            "audiences": [address, "https://management.azure.com", MACHINE_LEARNING],
            "tenant": TENANT,
            "identityProvider": "AAD",
        },
        "graphAudience": address,
        "graph": address,
        "microsoftGraphResourceId": address,
        "media": address,
        "batch": address,
        "sqlManagement": address,
        "gallery": address,
        "vmImageAliasDoc": f"{address}/metadata/images",
        "activeDirectoryDataLake": STORAGE,
        "suffixes": {
            "storage": "core.windows.net",
            "keyVaultDns": host,
            "acrLoginServer": host,
            "sqlServerHostname": host,
            "azureDataLakeStoreFileSystem": host,
            "azureDataLakeAnalyticsCatalogAndJob": host,
            "synapseAnalytics": host,
        },
    }
