"""Anthropic's messages, for callers who speak OpenAI's chat: requests one way, answers and their pieces the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from zaffre.errors import InvalidInput
from zaffre.services.model_gateway.asking import Request
from zaffre.services.model_gateway.openai import Target

Document = dict[str, Any]
VERSION = "2023-06-01"
DEFAULT_MAX_TOKENS = 8192  # Anthropic asks for a bound, OpenAI's callers seldom say one
_KEPT = ("temperature", "top_p", "stream", "metadata")
_REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
_CHOICES = {"none": "none", "auto": "auto", "required": "any"}


def messages_request(target: Target, payload: Document) -> Request:
    """Anthropic's own words, sent as they are but for the model."""
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "x-api-key": target.secret.get("api_key", ""),
        "anthropic-version": target.auth.get("version") or VERSION,
    }
    body = msgspec.json.encode({**payload, "model": target.model})
    return Request(url=f"{target.base}/messages", headers=headers, body=body)


def chat_request(target: Target, payload: Document) -> Request:
    """Raises InvalidInput for what Anthropic has no word for."""
    if payload.get("n") not in (None, 1):
        raise _refused("n", "'n' must be 1 for the provider anthropic.")
    for field in ("response_format", "logprobs", "logit_bias", "frequency_penalty", "presence_penalty"):
        if payload.get(field):
            raise _refused(field, f"'{field}' cannot be asked of the provider anthropic through OpenAI's chat.")
    body: Document = {name: payload[name] for name in _KEPT if payload.get(name) is not None}
    body["max_tokens"] = payload.get("max_tokens") or payload.get("max_completion_tokens") or DEFAULT_MAX_TOKENS
    stop = payload.get("stop")
    if stop:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    try:
        system = [_text(one.get("content")) for one in payload["messages"] if one["role"] in ("system", "developer")]
        body["messages"] = [_message(one) for one in payload["messages"] if one["role"] not in ("system", "developer")]
        if tools := payload.get("tools"):
            body["tools"] = [_tool(one) for one in tools]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise _refused("messages", "The messages or tools are not as OpenAI's chat has them.") from None
    if system:
        body["system"] = "\n".join(system)
    if choice := payload.get("tool_choice"):
        body["tool_choice"] = _tool_choice(choice)
    return messages_request(target, body)


def chat_answer(answer: Document, now: int) -> Document:
    """The answer as OpenAI has it; `now` in seconds."""
    blocks = answer.get("content") or []
    text = "".join(one.get("text", "") for one in blocks if one.get("type") == "text")
    message: Document = {"role": "assistant", "content": text or None}
    calls = [
        {
            "id": one.get("id"),
            "type": "function",
            "function": {"name": one.get("name"), "arguments": json.dumps(one.get("input") or {})},
        }
        for one in blocks
        if one.get("type") == "tool_use"
    ]
    if calls:
        message["tool_calls"] = calls
    reason = _REASONS.get(answer.get("stop_reason") or "", "stop")
    return {
        "id": answer.get("id"),
        "object": "chat.completion",
        "created": now,
        "model": answer.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": usage(answer.get("usage") or {}),
    }


def usage(told: Document) -> Document:
    """Tokens in OpenAI's words, where those of the cache are among those of the prompt."""
    cached = told.get("cache_read_input_tokens") or 0
    prompt = (told.get("input_tokens") or 0) + cached + (told.get("cache_creation_input_tokens") or 0)
    completion = told.get("output_tokens") or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


class ChatPieces:
    """The events of a streamed answer, one after the other, as the pieces OpenAI sends."""

    def __init__(self, now: int) -> None:
        self._head: Document = {"id": None, "object": "chat.completion.chunk", "created": now, "model": None}
        self.raw_usage: Document = {}  # in Anthropic's words
        self._tools: dict[int, int] = {}  # which call a block of content is

    def of(self, event: Document) -> Iterator[Document]:
        type_ = event.get("type")
        if type_ == "message_start":
            message = event.get("message") or {}
            self._head |= {"id": message.get("id"), "model": message.get("model")}
            self.raw_usage |= message.get("usage") or {}
            yield self._piece({"role": "assistant", "content": ""})
        elif type_ == "content_block_start" and (event.get("content_block") or {}).get("type") == "tool_use":
            block = event["content_block"]
            which = self._tools.setdefault(event.get("index", 0), len(self._tools))
            function = {"name": block.get("name"), "arguments": ""}
            call = {"index": which, "id": block.get("id"), "type": "function", "function": function}
            yield self._piece({"tool_calls": [call]})
        elif type_ == "content_block_delta":
            delta = event.get("delta") or {}
            if delta.get("type") == "text_delta":
                yield self._piece({"content": delta.get("text", "")})
            elif delta.get("type") == "input_json_delta":
                which = self._tools.get(event.get("index", 0), 0)
                function = {"arguments": delta.get("partial_json", "")}
                yield self._piece({"tool_calls": [{"index": which, "function": function}]})
        elif type_ == "message_delta":
            self.raw_usage |= event.get("usage") or {}
            reason = (event.get("delta") or {}).get("stop_reason")
            if reason:
                yield self._piece({}, _REASONS.get(reason, "stop"))

    def used(self) -> Document:
        """The last piece: what was used, and no choice."""
        return {**self._head, "choices": [], "usage": usage(self.raw_usage)}

    def _piece(self, delta: Document, reason: str | None = None) -> Document:
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def _message(one: Document) -> Document:
    role, content = one["role"], one.get("content")
    if role == "tool":
        result = {"type": "tool_result", "tool_use_id": one["tool_call_id"], "content": _text(content)}
        return {"role": "user", "content": [result]}
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) and content else []
    if isinstance(content, list):
        blocks = [_block(part) for part in content]
    for call in one.get("tool_calls") or []:
        function = call["function"]
        arguments = json.loads(function["arguments"] or "{}")
        blocks.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments})
    return {"role": role, "content": blocks}


def _block(part: Document) -> Document:
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    if part["type"] != "image_url":
        raise ValueError("only texts and images have a form there")
    url: str = part["image_url"]["url"]
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    head, _, data = url.partition(",")
    media = head.removeprefix("data:").removesuffix(";base64")
    return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}


def _tool(one: Document) -> Document:
    function = one["function"]
    made = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    return made | ({"description": function["description"]} if function.get("description") else {})


def _tool_choice(choice: Any) -> Document:
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    try:
        return {"type": "tool", "name": choice["function"]["name"]}
    except (KeyError, TypeError):
        raise _refused("tool_choice", "'tool_choice' is not as OpenAI's chat has it.") from None


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part["text"] for part in content)


def _refused(field: str, why: str) -> InvalidInput:
    return InvalidInput(why, target=field)
