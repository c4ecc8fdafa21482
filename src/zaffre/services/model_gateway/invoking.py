"""Asking an endpoint: which of its models, what is done when one fails, and what is kept of it in a trace."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from zaffre.errors import InvalidInput, NotServed, ZaffreError
from zaffre.services.model_gateway import anthropic, modes
from zaffre.services.model_gateway.asking import Asker, Exchange, ProviderFailed
from zaffre.services.model_gateway.modes import Mode
from zaffre.services.model_gateway.openai import CHAT, Target
from zaffre.services.model_gateway.providers import ANTHROPIC, PROVIDERS
from zaffre.services.model_gateway.secrets import GatewaySecrets
from zaffre.services.model_gateway.tracing import Asked, record
from zaffre.services.model_gateway.words import FALLBACK, PRIMARY, SPLIT, missing
from zaffre.services.tracking import Tracking
from zaffre.store.database import Database
from zaffre.store.model_gateway import endpoints as endpoint_store
from zaffre.store.model_gateway import models as model_store
from zaffre.store.model_gateway.records import Endpoint, Mapping
from zaffre.store.unit import Actor

T = TypeVar("T")
Document = dict[str, Any]
_log = logging.getLogger(__name__)
_DONE = b"data: [DONE]\n\n"
_PASSED_ON = (400, 404, 408, 409, 413, 415, 422, 429)
"""What a provider says of the request itself. Of its credential a caller knows nothing: those, and its faults, are 502."""
_MOST_SAID = 2000  # characters of what a provider says of a failure
_MOST_KEPT = 100_000  # pieces of a stream that a trace is made of


class Invoking:
    def __init__(self, database: Database, secrets: GatewaySecrets, tracking: Tracking, asker: Asker) -> None:
        self._database = database
        self._secrets = secrets
        self._tracking = tracking
        self._asker = asker
        self._later: set[asyncio.Task[None]] = set()

    async def ask(self, actor: Actor, scope: str, name: str, mode: Mode, payload: Document) -> Document:
        """The answer of the first model that gives one, in the caller's words.

        Raises NotFound for the endpoint, ProviderFailed or what else the last model tried came to.
        """
        endpoint, targets = await self._targets(scope, name)
        asked = Asked(endpoint=endpoint, mode=mode, inputs=payload, begun=self._database.runtime.now())

        async def read(target: Target, exchange: Exchange) -> Document:
            try:
                body = await exchange.whole()
            finally:
                exchange.close()
            try:
                found = msgspec.json.decode(body, type=dict[str, Any])
                return modes.answer(mode, target, found, self._database.runtime.now() // 1000)
            except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, TypeError):
                raise ProviderFailed("The provider's answer is not what its protocol says.", 502) from None

        try:
            target, answer = await self._first(targets, mode, payload, endpoint.usage_tracking, read)
        except ZaffreError as error:
            await self._record(actor, scope, asked, targets[0], {}, None, error.message)
            raise
        await self._record(actor, scope, asked, target, answer, modes.used(mode, answer), None)
        return answer

    async def stream(self, actor: Actor, scope: str, name: str, mode: Mode, payload: Document) -> AsyncIterator[bytes]:
        """Server-sent events, as they come from the first model that begins to answer; failures as for `ask` until then."""
        endpoint, targets = await self._targets(scope, name)
        asked = Asked(endpoint=endpoint, mode=mode, inputs=payload, begun=self._database.runtime.now())

        async def keep(_target: Target, exchange: Exchange) -> Exchange:
            return exchange

        try:
            target, exchange = await self._first(targets, mode, payload, endpoint.usage_tracking, keep)
        except ZaffreError as error:
            await self._record(actor, scope, asked, targets[0], {}, None, error.message)
            raise
        return self._events(actor, scope, asked, target, exchange)

    # ---- which models
    async def _targets(self, scope: str, name: str) -> tuple[Endpoint, list[Target]]:
        """The models to try, one after the other."""

        def work(conn: sa.Connection) -> tuple[Endpoint, list[Target]]:
            endpoint = endpoint_store.get(conn, scope, name=name)
            if endpoint is None:
                raise missing("GatewayEndpoint", "name", name)
            chosen = in_turn(endpoint, self._database.runtime.fraction())
            return endpoint, [self._target(conn, scope, one) for one in chosen]

        endpoint, targets = await self._database.read(work)
        if not targets:
            raise InvalidInput(f"Endpoint '{name}' has no PRIMARY models configured")
        return endpoint, targets

    def _target(self, conn: sa.Connection, scope: str, mapping: Mapping) -> Target:
        model = mapping.model
        held = model_store.secret(conn, scope, model.secret_id) if model.secret_id is not None else None
        return Target(
            provider_name=model.provider,
            provider=PROVIDERS[model.provider],
            model=model.model,
            secret=self._secrets.opened(conn, scope, held.id) if held is not None else {},
            auth=held.auth if held is not None else {},
            orphan=None if held is not None else model.name,
        )

    async def _first(
        self,
        targets: list[Target],
        mode: Mode,
        payload: Document,
        tracked: bool,
        take: Callable[[Target, Exchange], Awaitable[T]],
    ) -> tuple[Target, T]:
        """What the first of them gives that gives anything. Raises what the last one came to."""
        for turn, target in enumerate(targets, 1):
            try:
                return target, await self._one(target, mode, payload, tracked, take)
            except (ProviderFailed, InvalidInput, NotServed) as error:
                if turn == len(targets):
                    raise
                _log.info("gateway falls back: %s", error.message)
        raise AssertionError("there is at least one")

    async def _one(
        self,
        target: Target,
        mode: Mode,
        payload: Document,
        tracked: bool,
        take: Callable[[Target, Exchange], Awaitable[T]],
    ) -> T:
        if target.orphan is not None:
            raise InvalidInput(f"The secret of model definition '{target.orphan}' was deleted; give it another one.")
        exchange = await self._asker.ask(modes.request(mode, target, payload, tracked))
        if exchange.status != 200:
            try:
                said = await exchange.whole()
            finally:
                exchange.close()
            raise _failure(target, exchange.status, said)
        return await take(target, exchange)

    # ---- streams
    async def _events(
        self, actor: Actor, scope: str, asked: Asked, target: Target, exchange: Exchange
    ) -> AsyncIterator[bytes]:
        pieces: list[Document] = []
        failed: str | None = "The caller hung up."
        try:
            try:
                async for piece, said in self._pieces(asked, target, exchange):
                    if piece is not None and len(pieces) < _MOST_KEPT:
                        pieces.append(piece)
                    if said:
                        yield said
                failed = None
            except ProviderFailed as error:
                failed = error.message
                told = {"error": {"message": error.message, "type": "provider_error", "code": error.status}}
                yield b"data: " + msgspec.json.encode(told) + b"\n\n"
        finally:
            exchange.close()
            # Kept by a task of its own: who hangs up cancels this one.
            kept = asyncio.ensure_future(self._kept(actor, scope, asked, target, pieces, failed))
            self._later.add(kept)
            kept.add_done_callback(self._later.discard)
        await asyncio.shield(kept)
        if failed is None and asked.mode.path == CHAT:
            yield _DONE

    async def _pieces(
        self, asked: Asked, target: Target, exchange: Exchange
    ) -> AsyncIterator[tuple[Document | None, bytes]]:
        """What came, and what the caller is to be sent for it."""
        whole = False  # a connection that ends is no end of an answer
        if target.provider.protocol == ANTHROPIC and asked.mode.path is not None:
            translation = anthropic.ChatPieces(self._database.runtime.now() // 1000)
            async for line in exchange.lines():
                event = modes.event(line) or {}
                if event.get("type") == "error":
                    raise ProviderFailed(f"The provider failed: {_said(event)}", 502)
                whole = whole or event.get("type") == "message_stop"
                for piece in translation.of(event):
                    yield piece, _line(piece)
            last = translation.used()
            wanted = (asked.inputs.get("stream_options") or {}).get("include_usage")
            yield last, _line(last) if wanted and whole else b""
        elif asked.mode.path == CHAT:
            ours = modes.adds_usage(asked.mode, target, asked.inputs, asked.endpoint.usage_tracking)
            async for line in exchange.lines():
                piece_ = modes.event(line)
                whole = whole or line.removeprefix(b"data:").strip() == b"[DONE]"
                if piece_ is not None:
                    whole = whole or any(one.get("finish_reason") for one in modes.choices(piece_))
                    # What only we asked for is ours: a caller may not expect a piece without a choice.
                    yield piece_, b"" if ours and not piece_.get("choices") and "usage" in piece_ else line + b"\n\n"
        else:
            async for line in exchange.lines():
                event = modes.event(line) or {}
                whole = whole or str(event.get("type")) in modes.LAST
                yield event or None, line + b"\n"
        if not whole:
            raise ProviderFailed("The provider's answer ended before it was whole.", 502)

    # ---- traces
    async def _kept(
        self, actor: Actor, scope: str, asked: Asked, target: Target, pieces: list[Document], failed: str | None
    ) -> None:
        whole = modes.gathered(asked.mode, pieces)
        await self._record(actor, scope, asked, target, whole, modes.used(asked.mode, whole), failed)

    async def _record(
        self,
        actor: Actor,
        scope: str,
        asked: Asked,
        target: Target,
        answer: Document,
        used: Document | None,
        failed: str | None,
    ) -> None:
        """Keep it as a trace, where the endpoint wants that. The answer stands even where that fails."""
        if not asked.endpoint.usage_tracking or asked.endpoint.experiment_id is None:
            return
        try:
            await record(self._tracking, actor, scope, asked, target, answer, used, failed)
        except Exception:  # noqa: BLE001 - whatever it is: what the provider answered was paid for
            _log.exception("a call of endpoint %s left no trace", asked.endpoint.name)


def in_turn(endpoint: Endpoint, fraction: float) -> list[Mapping]:
    """A primary model, by their weights where traffic is split, then those that are fallen back to. Empty without a primary."""
    primary = [one for one in endpoint.mappings if one.linkage == PRIMARY]
    if not primary:
        return []
    first = _weighted(primary, fraction) if endpoint.routing == SPLIT else primary[0]
    if endpoint.fallback is None:
        return [first]
    others = [one for one in endpoint.mappings if one.linkage == FALLBACK]
    others.sort(key=lambda one: (one.position is None, one.position or 0))
    return [first, *others[: endpoint.fallback.max_attempts or len(others)]]


def _weighted(mappings: list[Mapping], fraction: float) -> Mapping:
    rest = fraction * sum(one.weight for one in mappings)
    for one in mappings:
        rest -= one.weight
        if rest < 0:
            return one
    return mappings[-1] if mappings[-1].weight else mappings[0]


def _failure(target: Target, status: int, said: bytes) -> ProviderFailed:
    try:
        told = json.loads(said)
    except ValueError:
        told = said.decode("utf-8", "replace")
    text = _said(told)
    for value in target.secret.values():
        if len(value) > 3:
            text = text.replace(value, "***")
    message = f"The provider '{target.provider_name}' answered {status}: {text}"
    return ProviderFailed(message, status if status in _PASSED_ON else 502)


def _said(told: Any) -> str:
    """A provider's own words for a failure."""
    error = told.get("error", told) if isinstance(told, dict) else told
    text = error.get("message", error) if isinstance(error, dict) else error
    return (text if isinstance(text, str) else json.dumps(text))[:_MOST_SAID]


def _line(piece: Document) -> bytes:
    return b"data: " + msgspec.json.encode(piece) + b"\n\n"
