"""Cloud metadata (wire.md §1), the managed-identity endpoint and the JWKS (wire.md §2), and all that stands beside them."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from zaffre.errors import InvalidInput, NotFound, Unauthenticated
from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Access, Handler, Route
from zaffre.protocols.login import accounts, manage, oauth
from zaffre.services.access import RUN, Principal
from zaffre.services.keys import ApiKeys
from zaffre.services.principals import Principals
from zaffre.services.tokens import MACHINE_LEARNING, STORAGE, Tokens
from zaffre.services.workspaces import Workspaces
from zaffre.settings import CLOUD_NAME, TENANT, Settings


def routes(
    settings: Settings, tokens: Tokens, keys: ApiKeys, principals: Principals, workspaces: Workspaces
) -> list[Route]:
    """The open ones answer public facts, or check the key or secret they are given themselves."""

    async def metadata(call: Call) -> Response:
        address = public_address(call, settings)
        # The SDK and azureml-mlflow take a list; `az cloud register` asks a newer version and wants one object.
        if call.query.get("api-version", "") >= "2022":
            return json_answer(_cloud(address, address))
        return json_answer([_cloud(address, login_authority(address))])

    async def managed_identity(call: Call) -> Response:
        resource = call.query.get("resource", "")
        if not resource:
            raise InvalidInput("The query parameter 'resource' is missing; it names the audience.", target="resource")
        # The second is what the variables of an Azure ML compute make azure-identity send: MSI_ENDPOINT, MSI_SECRET.
        key = call.headers.get("x-identity-header") or call.headers.get("secret", "")
        if not key:
            raise Unauthenticated(
                "The header X-IDENTITY-HEADER is missing (or 'secret', with MSI_ENDPOINT); it carries an API key of this server."
            )
        audience = tokens.audience(resource)
        principal = await holder(key)
        token, expires = tokens.mint(principal, audience)
        return json_answer(
            {"access_token": token, "expires_on": str(expires), "resource": resource, "token_type": "Bearer"},
            headers={"cache-control": "no-store"},
        )

    async def holder(key: str) -> Principal:
        """Who sends `key`. A job sends its own token; nobody else's may be made into another, it would never end."""
        if key.count(".") != 2:
            return await keys.principal(key)
        principal = tokens.verify(key)
        if principal.role != RUN:
            raise Unauthenticated("A token gets no other token here; send an API key.", code="InvalidToken")
        return principal

    async def authority(_call: Call) -> Response:
        """The authority that signed this server's certificate; `zaffre login` shows its fingerprint and asks."""
        try:
            content = await asyncio.to_thread((settings.home / "ca" / "ca.pem").read_bytes)
        except FileNotFoundError:
            raise NotFound("This server has no certificate authority of its own.") from None
        return Response(content, media_type="application/x-pem-file")

    async def jwks(_call: Call) -> Response:
        return json_answer(tokens.jwks())

    def open_(method: str, template: str, handler: Handler, operation: str) -> Route:
        return Route(
            protocol="login", method=method, template=template, handler=handler, operation=operation, access=Access.OPEN
        )

    return [
        open_("GET", "/metadata/endpoints", metadata, "Metadata_Endpoints"),
        open_("GET", "/metadata/ca", authority, "Metadata_Authority"),
        open_("GET", "/msi/token", managed_identity, "ManagedIdentity_Token"),
        open_("GET", "/discovery/keys", jwks, "Jwks_Get"),
        *oauth.routes(settings, tokens, keys),
        *accounts.routes(settings, workspaces),
        *manage.routes(settings, tokens, keys, principals),
    ]


def login_authority(address: str) -> str:
    """The address as azureml-mlflow can use it.

    It hands on host and port alone, and azure-identity takes `localhost:8443` for a URL with the scheme `localhost`; what
    begins with a digit, or holds an `@`, it does not.
    """
    host, colon, port = address.removeprefix("https://").partition(":")
    if not colon or not host[:1].isalpha():
        return address
    return f"https://127.0.0.1:{port}" if host == "localhost" else f"https://zaffre@{host}:{port}"


def _cloud(address: str, authority: str) -> dict[str, Any]:
    """One cloud as `ARM_CLOUD_METADATA_URL` clients read it; the fields of azureml-mlflow's reader (clients.md §B.1) too."""
    host = address.removeprefix("https://")
    return {
        "name": CLOUD_NAME,
        "portal": "https://portal.azure.com",
        "resourceManager": address,
        "authentication": {
            "loginEndpoint": authority,
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
