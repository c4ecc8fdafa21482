"""The ways an endpoint can be asked: whose words the caller speaks, which providers know them, and what is read of answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from zaffre.errors import NotServed
from zaffre.services.model_gateway import anthropic, openai
from zaffre.services.model_gateway.asking import Request
from zaffre.services.model_gateway.openai import CHAT, EMBEDDINGS, RESPONSES, Target
from zaffre.services.model_gateway.providers import ANTHROPIC, AZURE, OPENAI

Document = dict[str, Any]


class Mode(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is MLflow's word for it in traces, `span` its type of span; `path` is OpenAI's, None where the words are Anthropic's."""

    kind: str
    span: str
    path: str | None
    protocols: tuple[str, ...]


UNIFIED_CHAT = Mode(kind="unified/chat", span="CHAT_MODEL", path=CHAT, protocols=(OPENAI, AZURE, ANTHROPIC))
UNIFIED_EMBEDDINGS = Mode(kind="unified/embeddings", span="EMBEDDING", path=EMBEDDINGS, protocols=(OPENAI, AZURE))
OPENAI_CHAT = Mode(kind="passthrough/model/openai-chat", span="CHAT_MODEL", path=CHAT, protocols=(OPENAI, AZURE))
OPENAI_EMBEDDINGS = Mode(
    kind="passthrough/model/openai-embeddings", span="EMBEDDING", path=EMBEDDINGS, protocols=(OPENAI, AZURE)
)
OPENAI_RESPONSES = Mode(
    kind="passthrough/model/openai-responses", span="CHAT_MODEL", path=RESPONSES, protocols=(OPENAI,)
)
MESSAGES = Mode(kind="passthrough/model/anthropic-messages", span="CHAT_MODEL", path=None, protocols=(ANTHROPIC,))

LAST = ("message_stop", "error", "response.completed", "response.failed", "response.incomplete")
"""The events of Anthropic's messages and OpenAI's responses after which nothing more comes."""


def request(mode: Mode, target: Target, payload: Document, tracked: bool) -> Request:
    """What the provider is sent. `tracked`: what is used shall be known. Raises NotServed where it knows no such words."""
    if target.provider.protocol not in mode.protocols:
        raise NotServed(f"'{mode.kind}' is not served for models of the provider '{target.provider_name}'.")
    if mode.path is None:
        return anthropic.messages_request(target, payload)
    if target.provider.protocol == ANTHROPIC:
        return anthropic.chat_request(target, payload)
    if adds_usage(mode, target, payload, tracked):
        payload = {**payload, "stream_options": {"include_usage": True}}
    return openai.request(target, mode.path, payload)


def adds_usage(mode: Mode, target: Target, payload: Document, tracked: bool) -> bool:
    """Whether a stream is asked, by us and not by the caller, to tell what was used."""
    asked = mode.path == CHAT and bool(payload.get("stream")) and payload.get("stream_options") is None
    return asked and tracked and target.provider.tells_usage


def answer(mode: Mode, target: Target, document: Document, now: int) -> Document:
    """The provider's answer in the caller's words; `now` in seconds."""
    if mode.path is not None and target.provider.protocol == ANTHROPIC:
        return anthropic.chat_answer(document, now)
    return document


def used(mode: Mode, document: Document) -> Document | None:
    """Tokens by MLflow's names, where the answer tells them."""
    told = document.get("usage")
    if not isinstance(told, dict):
        return None
    if mode is MESSAGES:
        told = anthropic.usage(told)
    into = told.get("prompt_tokens", told.get("input_tokens"))
    out = told.get("completion_tokens", told.get("output_tokens")) or 0
    if not isinstance(into, int) or not isinstance(out, int):
        return None
    return {"input_tokens": into, "output_tokens": out, "total_tokens": told.get("total_tokens") or into + out}


def gathered(mode: Mode, pieces: Iterable[Document]) -> Document:
    """A streamed answer as one, for the trace."""
    if mode is OPENAI_RESPONSES:
        done = [one["response"] for one in pieces if isinstance(one.get("response"), dict)]
        return done[-1] if done else {}
    if mode is MESSAGES:
        translation = anthropic.ChatPieces(0)
        whole = _joined(chunk for one in pieces for chunk in translation.of(one))
        return {**whole, "usage": translation.raw_usage}
    return _joined(pieces)


def _joined(pieces: Iterable[Document]) -> Document:
    whole: Document = {}
    texts: list[str] = []
    calls: dict[int, Document] = {}
    reason = None
    for piece in pieces:
        whole |= {key: piece[key] for key in ("id", "model", "created", "usage") if piece.get(key) is not None}
        for choice in choices(piece):
            delta = choice.get("delta") or {}
            texts.append(delta.get("content") or "")
            reason = choice.get("finish_reason") or reason
            for call in delta.get("tool_calls") or []:
                held = calls.setdefault(call.get("index", 0), {"id": None, "type": "function", "function": {}})
                held["id"] = call.get("id") or held["id"]
                for name, value in (call.get("function") or {}).items():
                    held["function"][name] = held["function"].get(name, "") + (value or "")
    message: Document = {"role": "assistant", "content": "".join(texts) or None}
    if calls:
        message["tool_calls"] = list(calls.values())
    return {**whole, "choices": [{"index": 0, "message": message, "finish_reason": reason}]}


def choices(piece: Document) -> Iterator[Document]:
    """The first choice, in as far as the piece tells of it."""
    told = piece.get("choices")
    for one in told if isinstance(told, list) else []:
        if isinstance(one, dict) and one.get("index", 0) == 0:
            yield one


def event(line: bytes) -> Document | None:
    """The document of a line of a stream; None for what holds none."""
    if not line.startswith(b"data:"):
        return None
    try:
        found = json.loads(line[5:])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
