"""How a gateway stops without losing a request: what its clients have begun is finished, in this order.

1. Nobody accepts any more. A listener that systemd owns keeps whoever knocks for the next process.
2. A client on a kept-alive connection cannot know that; its next request may be on the way already. It is answered, and the
   answer says ``Connection: close``. aiohttp's own shutdown reads no further request from a connection and closes it.
3. Streams go on to their end. When no connection has been busy for ``LINGER``, there is nothing left to lose.
4. When the grace is over, what still runs ends with an error in its own dialect, and what still comes is refused.
"""

from __future__ import annotations

import asyncio

from proxy.server.gateway import Gateway
from proxy.server.guard import Server

LINGER = 0.3
"""Seconds for a request that was sent before its client could know: the longest way around the earth takes half of that."""
_LAST_WORDS = 1.0
"""Seconds for the error frames of calls that were told to end."""
_FIRST_LOOK, _LAST_LOOK = 0.001, 0.05
"""Seconds between looks at the connections, which double: a look goes through all of them, and most waits are short or long."""


async def drain(gateway: Gateway, server: Server, grace: float) -> int:
    """Finish what clients have begun on ``server``, whose listeners are closed, for at most ``grace`` seconds.

    Return how many calls had to be ended early.
    """
    gateway.draining = True
    for call in gateway.calls:
        if not call.delivery.started:
            call.delivery.close_after()
    if await _settled(gateway, server, LINGER, grace):
        return 0
    gateway.closing = True
    late = list(gateway.calls)
    for call in late:
        call.dismiss()
    await _settled(gateway, server, 0, _LAST_WORDS)
    return len(late)


async def _settled(gateway: Gateway, server: Server, linger: float, seconds: float) -> bool:
    """Wait until nobody has been busy for ``linger`` seconds, or no connection is left; False if ``seconds`` pass first."""
    loop = asyncio.get_running_loop()
    now = busy_at = loop.time()
    until = now + seconds
    pause = _FIRST_LOOK
    while True:
        if gateway.calls or server.busy:
            busy_at = now
        elif not server.open or now - busy_at >= linger:
            return True
        if now >= until:
            return False
        await asyncio.sleep(min(pause, until - now))
        pause = min(2 * pause, _LAST_LOOK)
        now = loop.time()
