"""OpenAI's protocol, which most providers speak: what they are sent. Their answers are those that callers get."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from zaffre.errors import InvalidInput
from zaffre.services.model_gateway.asking import Request
from zaffre.services.model_gateway.providers import AZURE, Provider

CHAT, EMBEDDINGS, RESPONSES = "chat/completions", "embeddings", "responses"
_AZURE_VERSION = "2024-10-21"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A model with all it takes to ask it. `secret` is never told to anybody but its provider.

    `orphan` is what the model is called where its secret was deleted.
    """

    provider_name: str
    provider: Provider
    model: str
    secret: dict[str, str]
    auth: dict[str, str]
    orphan: str | None = None

    @property
    def azure(self) -> bool:
        return self.provider.protocol == AZURE or self.auth.get("api_type") in ("azure", "azuread")

    @property
    def base(self) -> str:
        """Raises InvalidInput where nobody says where the provider lies."""
        found = self.auth.get("api_base") or self.provider.base
        if not found:
            raise InvalidInput(
                f"The provider '{self.provider_name}' has no address of its own: the secret's auth_config must say it as "
                "'api_base'.",
                target="api_base",
            )
        return found.rstrip("/")


def request(target: Target, path: str, payload: dict[str, Any]) -> Request:
    """What is sent to the provider: the caller's own words, with the provider's name for the model."""
    body = {**payload, "model": target.model}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    key = target.secret.get("api_key", "")
    if target.azure:
        version = target.auth.get("api_version") or _AZURE_VERSION
        deployment = target.auth.get("deployment_name") or target.model
        url = f"{target.base}/openai/deployments/{quote(deployment, safe='')}/{path}?api-version={quote(version, safe='')}"
        if target.auth.get("api_type") == "azuread":
            headers["Authorization"] = f"Bearer {key}"
        else:
            headers["api-key"] = key
    else:
        url = f"{target.base}/{path}"
        if key:
            headers["Authorization"] = f"Bearer {key}"
        if organization := target.auth.get("organization"):
            headers["OpenAI-Organization"] = organization
    return Request(url=url, headers=headers, body=msgspec.json.encode(body))
