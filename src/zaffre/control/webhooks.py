"""The outbox of webhooks emptied: each delivery is tried until its host takes it, at least once, with growing pauses.

A try is claimed before it is begun, so that servers on one database do not tell the same twice; one that died with its server
is begun again when its claim is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random

import sqlalchemy as sa

from zaffre.services.webhook_sending import FAILURES, TIMEOUT_S, Answer, Sender
from zaffre.services.webhooks import secret_name
from zaffre.store import webhooks as rows
from zaffre.store.database import Database
from zaffre.store.seal import Vault
from zaffre.store.unit import Unit
from zaffre.store.webhooks import TOPIC, Delivery, Webhook

AT_ONCE = 8
MOST_TRIES = 20  # a little more than a day with the pauses below
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 4 * 3600.0
CLAIM_MS = int(2 * TIMEOUT_S * 1000)
TICK_S = 60.0

_log = logging.getLogger("zaffre.webhooks")


class WebhookController:
    """One task that looks, and one for each webhook that is being told something: one at a time, so a slow host delays only itself."""

    def __init__(self, database: Database, vault: Vault, sender: Sender) -> None:
        self._database = database
        self._vault = vault
        self._sender = sender
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> list[asyncio.Task[None]]:
        """What is under way."""
        return list(self._busy.values())

    def start(self) -> None:
        loop = asyncio.get_running_loop()

        def hear(_key: str) -> None:
            loop.call_soon_threadsafe(self._wake.set)

        self._database.bells.listen(TOPIC, hear)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """What is under way is tried again after the next start."""
        tasks = [task for task in (self._task, *self._busy.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def once(self) -> float:
        """Begin what is due; seconds until the next look."""
        now = self._database.runtime.now()
        busy = list(self._busy)
        found = await self._database.read(lambda conn: rows.due(conn, now, busy, 50))
        for one in found:
            if len(self._busy) >= AT_ONCE:
                return TICK_S  # whoever ends wakes us
            if one.webhook not in self._busy:
                self._busy[one.webhook] = asyncio.create_task(self._attempt(one))
        busy = list(self._busy)
        due_at = await self._database.read(lambda conn: rows.next_due(conn, busy))
        return TICK_S if due_at is None else min(max((due_at - self._database.runtime.now()) / 1000, 0.01), TICK_S)

    async def _run(self) -> None:
        pause = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)
            self._wake.clear()
            try:
                pause = await self.once()
            except Exception:  # noqa: BLE001  a look that failed must not be the last one
                _log.exception("the outbox of webhooks could not be looked at")
                pause = TICK_S

    async def _attempt(self, delivery: Delivery) -> None:
        try:
            await self._deliver(delivery)
        except Exception:  # noqa: BLE001  its claim runs out, then it is tried again
            _log.exception("webhook not delivered", extra={"delivery": delivery.id})
        finally:
            del self._busy[delivery.webhook]
            self._wake.set()

    async def _deliver(self, delivery: Delivery) -> None:
        def claim(unit: Unit) -> bool:
            return rows.claim(unit, delivery, unit.now + CLAIM_MS)

        if not await self._database.write(claim):
            return
        held, secret = await self._database.read(lambda conn: self._target(conn, delivery))
        if held is None or not held.active:
            await self._database.write(lambda unit: rows.finish(unit, delivery.pk))
            return
        answer: Answer | None = None
        trouble = ""
        try:
            answer = await asyncio.to_thread(self._sender.send, held.url, secret, delivery.id, delivery.body)
        except FAILURES as error:
            trouble = str(error)
        if answer is not None and answer.status < 300:
            await self._database.write(lambda unit: rows.finish(unit, delivery.pk))
            return
        told = {"webhook": held.id, "delivery": delivery.id, "tries": delivery.tries + 1}
        told |= {"status": answer.status} if answer is not None else {"error": trouble}
        passing = answer is None or answer.status == 429 or answer.status >= 500
        if not passing or delivery.tries + 1 >= MOST_TRIES:
            _log.error("webhook given up", extra=told)
            await self._database.write(lambda unit: rows.finish(unit, delivery.pk))
            return
        _log.warning("webhook not taken; it is tried again", extra=told)
        pause = pause_s(delivery.tries, answer.retry_after if answer else None)
        await self._database.write(lambda unit: rows.postpone(unit, delivery.pk, unit.now + int(pause * 1000)))

    def _target(self, conn: sa.Connection, delivery: Delivery) -> tuple[Webhook | None, str | None]:
        held = rows.by_pk(conn, delivery.webhook)
        return held, self._vault.get(conn, held.scope, secret_name(held.id)) if held else None


def pause_s(tries: int, retry_after: float | None) -> float:
    """Seconds before the next try: twice as long each time, as long as the host asks at least, up to four hours."""
    pause = FIRST_PAUSE_S * 2.0**tries * random.uniform(1.0, 1.25)
    return min(max(pause, retry_after or 0), LONGEST_PAUSE_S)
