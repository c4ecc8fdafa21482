"""What other tracing libraries call a span's kind, inputs, outputs and tokens, as data; told in MLflow's attributes as well.

Sources: OpenTelemetry's conventions for generative AI, OpenInference's (Arize), and Traceloop's (OpenLLMetry).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TYPE, INPUTS, OUTPUTS, USAGE = "mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.chat.tokenUsage"
MODEL, PROVIDER, COST = "mlflow.llm.model", "mlflow.llm.provider", "mlflow.llm.cost"
INPUT_TOKENS, OUTPUT_TOKENS, TOTAL_TOKENS = "input_tokens", "output_tokens", "total_tokens"
CACHE_READ, CACHE_CREATION = "cache_read_input_tokens", "cache_creation_input_tokens"


@dataclass(frozen=True)
class Convention:
    """One library's names. `kinds` are its words for MLflow's span types; of several names the first that is there counts.

    `inputs` and `outputs` are patterns, since some libraries number their messages.
    """

    kind: str
    kinds: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tokens: Mapping[str, str]  # by MLflow's name
    models: tuple[str, ...]
    providers: tuple[str, ...]


_GENERATIVE_MODELS = ("gen_ai.response.model", "gen_ai.request.model")
CONVENTIONS = (
    Convention(
        kind="gen_ai.operation.name",
        kinds={
            "chat": "CHAT_MODEL",
            "create_agent": "AGENT",
            "embeddings": "EMBEDDING",
            "execute_tool": "TOOL",
            "generate_content": "LLM",
            "invoke_agent": "AGENT",
            "text_completion": "LLM",
            "response": "LLM",
        },
        inputs=(r"gen_ai\.input\.messages", r"gen_ai\.tool\.call\.arguments"),
        outputs=(r"gen_ai\.output\.messages", r"gen_ai\.tool\.call\.result"),
        tokens={
            INPUT_TOKENS: "gen_ai.usage.input_tokens",
            OUTPUT_TOKENS: "gen_ai.usage.output_tokens",
            CACHE_READ: "gen_ai.usage.cache_read.input_tokens",
            CACHE_CREATION: "gen_ai.usage.cache_creation.input_tokens",
        },
        models=_GENERATIVE_MODELS,
        providers=("gen_ai.provider.name", "gen_ai.system"),
    ),
    Convention(
        kind="openinference.span.kind",
        kinds={
            name: name
            for name in (
                "TOOL",
                "CHAIN",
                "LLM",
                "RETRIEVER",
                "EMBEDDING",
                "AGENT",
                "RERANKER",
                "GUARDRAIL",
                "EVALUATOR",
            )
        },
        inputs=(r"input\.value",),
        outputs=(r"output\.value",),
        tokens={
            INPUT_TOKENS: "llm.token_count.prompt",
            OUTPUT_TOKENS: "llm.token_count.completion",
            TOTAL_TOKENS: "llm.token_count.total",
            CACHE_READ: "llm.token_count.prompt_details.cache_read",
            CACHE_CREATION: "llm.token_count.prompt_details.cache_write",
        },
        models=("llm.model_name", "embedding.model_name"),
        providers=("llm.provider",),
    ),
    Convention(
        kind="traceloop.span.kind",
        kinds={name: name.upper() for name in ("workflow", "task", "agent", "tool")},
        inputs=(r"traceloop\.entity\.input", r"gen_ai\.prompt\.\d+\.content"),
        outputs=(r"traceloop\.entity\.output", r"gen_ai\.completion\.\d+\.content"),
        tokens={
            INPUT_TOKENS: "gen_ai.usage.prompt_tokens",
            OUTPUT_TOKENS: "gen_ai.usage.completion_tokens",
            TOTAL_TOKENS: "llm.usage.total_tokens",
        },
        models=_GENERATIVE_MODELS,
        providers=("gen_ai.system",),
    ),
)


def told(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """MLflow's attributes that a span lacks and another library's say, each with its value."""
    for name, find in _FINDERS.items():
        if name in attributes:
            continue
        found = next((value for one in CONVENTIONS if (value := find(one, attributes)) is not None), None)
        if found is not None:
            yield name, found


def _kind(one: Convention, attributes: Mapping[str, Any]) -> Any:
    return one.kinds.get(str(attributes.get(one.kind)))


def _tokens(one: Convention, attributes: Mapping[str, Any]) -> dict[str, int] | None:
    used = {name: attributes[theirs] for name, theirs in one.tokens.items() if isinstance(attributes.get(theirs), int)}
    if INPUT_TOKENS not in used or OUTPUT_TOKENS not in used:
        return None
    return {**used, TOTAL_TOKENS: used.get(TOTAL_TOKENS, used[INPUT_TOKENS] + used[OUTPUT_TOKENS])}


def _first(patterns: tuple[str, ...], attributes: Mapping[str, Any]) -> Any:
    for pattern in patterns:
        for name, value in attributes.items():
            if re.fullmatch(pattern, name):
                return value
    return None


def _named(names: tuple[str, ...], attributes: Mapping[str, Any]) -> Any:
    return next((attributes[name] for name in names if name in attributes), None)


_FINDERS: dict[str, Callable[[Convention, Mapping[str, Any]], Any]] = {
    TYPE: _kind,
    INPUTS: lambda one, attributes: _first(one.inputs, attributes),
    OUTPUTS: lambda one, attributes: _first(one.outputs, attributes),
    USAGE: _tokens,
    MODEL: lambda one, attributes: _named(one.models, attributes),
    PROVIDER: lambda one, attributes: _named(one.providers, attributes),
}
