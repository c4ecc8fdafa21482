"""What other tracing libraries say of a span, in MLflow's attributes."""

from __future__ import annotations

from typing import Any

import pytest

from zaffre.services.tracking.conventions import INPUTS, OUTPUTS, TYPE, USAGE, told


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, {}),
        ({"gen_ai.operation.name": "chat", "gen_ai.input.messages": "hi"}, {TYPE: "CHAT_MODEL", INPUTS: "hi"}),
        ({"openinference.span.kind": "LLM", "output.value": "bye"}, {TYPE: "LLM", OUTPUTS: "bye"}),
        ({"openinference.span.kind": "SOMETHING"}, {}),
        ({"traceloop.span.kind": "tool", "gen_ai.prompt.0.content": "q"}, {TYPE: "TOOL", INPUTS: "q"}),
        (
            {"gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 2},
            {USAGE: {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}},
        ),
        (
            {"llm.token_count.prompt": 1, "llm.token_count.completion": 2, "llm.token_count.total": 7},
            {USAGE: {"input_tokens": 1, "output_tokens": 2, "total_tokens": 7}},
        ),
        ({"gen_ai.usage.input_tokens": 1}, {}),
        ({"gen_ai.usage.input_tokens": "1", "gen_ai.usage.output_tokens": 2}, {}),
        ({TYPE: "AGENT", "openinference.span.kind": "LLM"}, {}),
    ],
)
def test_what_is_told(attributes: dict[str, Any], expected: dict[str, Any]) -> None:
    assert dict(told(attributes)) == expected
