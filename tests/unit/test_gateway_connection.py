"""An answer's head and the first of its body leave together, and nothing waits longer than the loop's next turn."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from zaffre.gateway.connection import Joining

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Wire:
    """A transport that notes what is asked of it."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def write(self, data: bytes) -> None:
        self.seen.append(bytes(data))

    def writelines(self, pieces: tuple[bytes, ...]) -> None:
        self.seen.append(b"".join(pieces))

    def close(self) -> None:
        self.seen.append("closed")

    def is_closing(self) -> bool:
        return False


def _sent(*steps: bytes | str | None) -> list[Any]:
    """What reaches the wire; None is a turn of the loop."""

    async def work() -> list[Any]:
        wire = Wire()
        joining = Joining(cast("asyncio.Transport", wire), asyncio.get_running_loop())
        for step in steps:
            if step is None:
                await asyncio.sleep(0)
            elif isinstance(step, str):
                joining.close()
            else:
                joining.write(step)
        await asyncio.sleep(0)
        assert joining.is_closing() is False
        return wire.seen

    return asyncio.run(work())


def test_head_and_body_leave_together() -> None:
    assert _sent(HEAD, b"{}") == [HEAD + b"{}"]
    assert _sent(HEAD, memoryview(b"{}"), b"more") == [HEAD + b"{}", b"more"]  # type: ignore[arg-type]


def test_a_head_whose_body_takes_its_time_does_not_wait_for_it() -> None:
    assert _sent(HEAD, None, b"data: 1\n\n") == [HEAD, b"data: 1\n\n"]
    assert _sent(HEAD) == [HEAD]


def test_what_is_held_leaves_before_the_connection_closes() -> None:
    assert _sent(HEAD, "close") == [HEAD, "closed"]


def test_answers_behind_one_another_keep_their_order() -> None:
    odd = b"HTTP/1.1 in a body"
    assert b"".join(_sent(HEAD, HEAD, b"{}", HEAD, b"", odd)) == HEAD + HEAD + b"{}" + HEAD + odd
