"""Calls whose client has left, read to their end to learn what they used: where the configuration wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from proxy.errors import GatewayError
from proxy.relay.call import Call
from proxy.server.gateway import Gateway
from proxy.tasks import spawn

MOST = 64
"""Calls at once: a client that asks and leaves, over and over, shall not have more of the upstream than one that stays."""


async def outlive(gateway: Gateway, call: Call, running: Coroutine[Any, Any, None]) -> None:
    """Run ``running``, which carries ``call``, in a task of its own, which may go on when this one is cancelled.

    Whoever leaves cancels the task that the server made; by then it is too late to hand the call over.
    """
    left = False

    def failed(error: BaseException) -> None:
        # Until the client leaves, what happens is told to it; afterwards only a bug is news to anybody.
        if left and not isinstance(error, GatewayError):
            gateway.log.failure(
                "a call whose client had left failed", error, request_id=call.record.request_id
            )

    task = call.task = spawn(running, "call", failed)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            left = True
            seconds = call.client_left() if gateway.reading_on < MOST else None
            if seconds is None:
                task.cancel()
            else:
                _read_on(gateway, task, seconds)
        raise


def _read_on(gateway: Gateway, task: asyncio.Task[None], seconds: float) -> None:
    gateway.reading_on += 1
    over = asyncio.get_running_loop().call_later(seconds, task.cancel)

    def ended(_: asyncio.Task[None]) -> None:
        over.cancel()
        gateway.reading_on -= 1

    task.add_done_callback(ended)
