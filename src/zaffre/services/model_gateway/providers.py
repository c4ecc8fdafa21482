"""The providers that can be asked, and where each of them lies."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from zaffre.errors import NotServed

OPENAI, AZURE, ANTHROPIC = "openai", "azure", "anthropic"


class Provider(msgspec.Struct, frozen=True):
    """`protocol` is how it is spoken to; `base` is where, None where only the secret's `api_base` says it.

    `tells_usage`: it takes `stream_options`, and so tells at the end of a stream what was used.
    """

    protocol: str
    base: str | None = None
    tells_usage: bool = False


PROVIDERS = {
    "openai": Provider(OPENAI, "https://api.openai.com/v1", True),
    "azure": Provider(AZURE, None, True),
    "anthropic": Provider(ANTHROPIC, "https://api.anthropic.com/v1"),
    "gemini": Provider(OPENAI, "https://generativelanguage.googleapis.com/v1beta/openai"),
    "mistral": Provider(OPENAI, "https://api.mistral.ai/v1"),
    "groq": Provider(OPENAI, "https://api.groq.com/openai/v1"),
    "deepseek": Provider(OPENAI, "https://api.deepseek.com/v1", True),
    "xai": Provider(OPENAI, "https://api.x.ai/v1"),
    "openrouter": Provider(OPENAI, "https://openrouter.ai/api/v1", True),
    "together_ai": Provider(OPENAI, "https://api.together.xyz/v1", True),
    "fireworks_ai": Provider(OPENAI, "https://api.fireworks.ai/inference/v1"),
    "cerebras": Provider(OPENAI, "https://api.cerebras.ai/v1"),
    "perplexity": Provider(OPENAI, "https://api.perplexity.ai"),
    "ollama": Provider(OPENAI, None, True),
    "vllm": Provider(OPENAI, None, True),
    "hosted_vllm": Provider(OPENAI, None, True),
    "lm_studio": Provider(OPENAI),
    "litellm_proxy": Provider(OPENAI, None, True),
    "custom_openai": Provider(OPENAI),
}
"""By MLflow's names for them."""
PUBLIC_HOSTS = (
    *sorted({urlsplit(one.base).netloc for one in PROVIDERS.values() if one.base is not None}),
    "*.openai.azure.com",
    "*.cognitiveservices.azure.com",
    "*.services.ai.azure.com",
)
"""Where providers lie that anybody may ask."""


def check_provider(name: str) -> None:
    """Raises NotServed for one that nobody here can speak to."""
    if name not in PROVIDERS:
        raise NotServed(
            f"Zaffre's AI gateway cannot ask the provider '{name[:64]}'. It speaks to {', '.join(PROVIDERS)}; a server that "
            "speaks OpenAI's protocol is 'custom_openai', with its address as 'api_base' in the secret's auth_config.",
            target="provider",
        )
