"""How long to wait before a server that died is started again."""

from __future__ import annotations

FIRST_S = 1.0
LONGEST_S = 300.0
STEADY_S = 600.0
"""A server that ran this long was healthy: what killed it is a new trouble, not the old one again."""


def next_delay(restarts: int, uptime_s: float) -> float:
    """Seconds until the next start, after `restarts` restarts in a row and a last life of `uptime_s`.

    Doubles from one second to five minutes; a life of ten minutes starts the count anew. The first restart of a server
    that had been steady is immediate: it is scoring that waits.
    """
    if uptime_s >= STEADY_S:
        return 0.0
    return min(LONGEST_S, FIRST_S * 2.0 ** min(max(restarts, 0), 30))
