"""The providers that can be asked, and where each of them lies."""

from __future__ import annotations

import msgspec

from zaffre.errors import NotServed

OPENAI, AZURE, ANTHROPIC = "openai", "azure", "anthropic"


class Provider(msgspec.Struct, frozen=True):
    """`protocol` is how it is spoken to; `base` is where, None where only the secret's `api_base` says it."""

    protocol: str
    base: str | None = None


PROVIDERS = {
    "openai": Provider(OPENAI, "https://api.openai.com/v1"),
    "azure": Provider(AZURE),
    "anthropic": Provider(ANTHROPIC, "https://api.anthropic.com/v1"),
    "gemini": Provider(OPENAI, "https://generativelanguage.googleapis.com/v1beta/openai"),
    "mistral": Provider(OPENAI, "https://api.mistral.ai/v1"),
    "groq": Provider(OPENAI, "https://api.groq.com/openai/v1"),
    "deepseek": Provider(OPENAI, "https://api.deepseek.com/v1"),
    "xai": Provider(OPENAI, "https://api.x.ai/v1"),
    "openrouter": Provider(OPENAI, "https://openrouter.ai/api/v1"),
    "together_ai": Provider(OPENAI, "https://api.together.xyz/v1"),
    "fireworks_ai": Provider(OPENAI, "https://api.fireworks.ai/inference/v1"),
    "cerebras": Provider(OPENAI, "https://api.cerebras.ai/v1"),
    "perplexity": Provider(OPENAI, "https://api.perplexity.ai"),
    "ollama": Provider(OPENAI),
    "vllm": Provider(OPENAI),
    "hosted_vllm": Provider(OPENAI),
    "lm_studio": Provider(OPENAI),
    "litellm_proxy": Provider(OPENAI),
    "custom_openai": Provider(OPENAI),
}
"""By MLflow's names for them."""


def check_provider(name: str) -> None:
    """Raises NotServed for one that nobody here can speak to."""
    if name not in PROVIDERS:
        raise NotServed(
            f"Zaffre's AI gateway cannot ask the provider '{name[:64]}'. It speaks to {', '.join(PROVIDERS)}; a server that "
            "speaks OpenAI's protocol is 'custom_openai', with its address as 'api_base' in the secret's auth_config.",
            target="provider",
        )
