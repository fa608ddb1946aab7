"""Calls that go on without their client: to learn what they used where the configuration wants to know, or in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from proxy.errors import GatewayError
from proxy.relay.background import Watch
from proxy.relay.call import Call
from proxy.server.exchange import Exchange
from proxy.server.gateway import Gateway
from proxy.server.guard import Guard
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


async def look_after(
    exchange: Exchange,
    gateway: Gateway,
    call: Call,
    watch: Watch,
    running: Coroutine[Any, Any, None],
) -> None:
    """Run ``running`` in a task of its own, which goes on when the client has its answer, or has left.

    Its provider works on what was asked for in any case, so the books of ``call`` stay open for it.
    """

    def failed(error: BaseException) -> None:
        if not isinstance(error, GatewayError):
            gateway.log.failure(
                "a call in the background failed", error, request_id=call.record.request_id
            )

    task = call.task = spawn(running, "background", failed)
    answered = spawn(_set(watch.answered), "answered", failed)
    try:
        await asyncio.wait((task, answered), return_when=asyncio.FIRST_COMPLETED)
    finally:
        answered.cancel()
    guard = exchange.request.protocol
    if isinstance(guard, Guard) and guard.flow is call:
        # What is written on the connection from now on is another's.
        guard.flow = None
    if task.done():
        await task


async def _set(event: asyncio.Event) -> None:
    await event.wait()


def _read_on(gateway: Gateway, task: asyncio.Task[None], seconds: float) -> None:
    gateway.reading_on += 1
    over = asyncio.get_running_loop().call_later(seconds, task.cancel)

    def ended(_: asyncio.Task[None]) -> None:
        over.cancel()
        gateway.reading_on -= 1

    task.add_done_callback(ended)
