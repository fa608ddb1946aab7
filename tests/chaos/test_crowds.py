"""Crowds of slow clients, and what ordinary ones notice of them: nobody of those fails, and the gateway does not grow."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from bench.processes import free_ports
from tests.chaos.amount import AMOUNT, FIGURES
from tests.chaos.crowd import OURS, TOOL, TOOLS, crowd, slowhttptest
from tests.chaos.process import MIB, Usage
from tests.integration import spoken
from tests.integration.daemon import started
from tests.integration.gateway import OTHER_KEY, PATHS, body_of, config_text, upstream
from tests.integration.scripted import Scripted
from tests.integration.wire import Wire

CROWD = int(os.environ.get("SPLICE_CHAOS_CROWD", "150" if AMOUNT.is_short else "2000"))
CLIENTS = 10 if AMOUNT.is_short else 50
SECONDS = 1.0 if AMOUNT.is_short else 8.0
"""That they ask for: a head that does not end is cut after ten."""
PAUSE = 0.2
"""Seconds that an ordinary client waits between its requests, so that it is not they who fill a core."""
GROWTH = 150 * MIB
BLOCK = spoken.chunk(spoken.text("openai-chat", "x" * 60_000))
BLOCKS = 400
"""In the stream that nobody reads: more than the kernel holds of it."""


@dataclass(slots=True)
class Seen:
    """What ordinary clients have met: times in seconds, and of the gateway's CPU milliseconds a request."""

    times: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    cpu: float = 0.0

    def at(self, share: float) -> float:
        """Return the time in milliseconds within which this share of the requests was answered."""
        return 1000 * sorted(self.times)[int(share * (len(self.times) - 1))]


async def ordinary(address: tuple[str, int], usage: Usage, seconds: float) -> Seen:
    """Have clients ask for so long, each on a connection of its own."""
    loop = asyncio.get_running_loop()
    seen = Seen()
    until = loop.time() + seconds
    before = usage.cpu()

    async def client(number: int) -> None:
        await asyncio.sleep(PAUSE * number / CLIENTS)
        wire = await Wire.open(address)
        while loop.time() < until:
            start = time.perf_counter()
            try:
                async with asyncio.timeout(10):
                    answered = await wire.post(
                        PATHS["chat"], body_of("chat"), authorization=f"Bearer {OTHER_KEY}"
                    )
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                seen.failures.append(repr(error))
                wire = await Wire.open(address)
                continue
            seen.times.append(time.perf_counter() - start)
            if answered.status != 200:
                seen.failures.append(str(answered))
            await asyncio.sleep(PAUSE)
        wire.leave()

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    seen.cpu = 1000 * (usage.cpu() - before) / len(seen.times)
    return seen


_SENT: list[int] = []
"""A one for each block that was sent."""


async def _script(reader, writer, request):
    if b"at length" in request.body:
        writer.write(spoken.HEAD + spoken.chunk(spoken.metadata("openai-chat")))
        for _ in range(BLOCKS):
            writer.write(BLOCK)
            await writer.drain()
            _SENT.append(1)
        writer.write(spoken.chunk(spoken.end("openai-chat")) + spoken.LAST)
    else:
        writer.write(spoken.told("openai-chat"))


@asynccontextmanager
async def gateway() -> AsyncIterator[tuple[tuple[str, int], Usage]]:
    """Run one in a process of its own; yield where it is and what it uses."""
    (port,) = free_ports(1)
    async with Scripted(_script) as up:
        text = config_text(upstream(up.url), server=f'listen = ["127.0.0.1:{port}"]')
        async with started(text) as daemon:
            yield ("127.0.0.1", port), Usage(daemon.process.pid)


Crowd = AbstractAsyncContextManager[None]


def _crowds(address: tuple[str, int]) -> Iterator[tuple[str, Crowd]]:
    for kind in OURS:
        yield kind, crowd(kind, address, CROWD)
    if TOOL is not None:
        for kind in TOOLS[:1] if AMOUNT.is_short else TOOLS:
            yield f"slowhttptest's {kind}", slowhttptest(kind, address, CROWD)


@pytest.mark.timeout(120 + 40 * SECONDS)
async def test_a_crowd_of_slow_clients_is_not_noticed_by_the_others():
    async with gateway() as (address, usage):
        await ordinary(address, usage, SECONDS / 4)
        for kind, there in _crowds(address):
            # Beside each one, since others use the machine too.
            idle = await ordinary(address, usage, SECONDS)
            before = usage.resident()
            usage.forget_peak()
            async with there:
                await _reached(usage, lambda count: count > CROWD * 0.95)
                most = usage.descriptors()
                # What the first of them are sent before the kernel's buffers are full is work, and no crowd.
                await _calm(usage)
                seen = await ordinary(address, usage, SECONDS)
            growth = usage.peak() - before
            FIGURES.append(
                f"crowds, {kind}: {most} descriptors, +{growth / MIB:.0f} MiB; {len(seen.times)} requests, "
                f"{len(seen.failures)} failed; before and with them p50 {idle.at(0.5):.1f} and {seen.at(0.5):.1f} ms, "
                f"p99 {idle.at(0.99):.1f} and {seen.at(0.99):.1f} ms, CPU a request {idle.cpu:.2f} and {seen.cpu:.2f} ms"
            )
            assert not idle.failures + seen.failures, (kind, idle.failures, seen.failures[:3])
            assert growth < GROWTH, FIGURES[-1]
            # Each crowd has the gateway to itself.
            await _reached(usage, lambda count: count < 100)


async def _calm(usage: Usage) -> None:
    """Wait until the streams that nobody reads stand still, and the gateway has little to do."""
    async with asyncio.timeout(60):
        sent, used = -1, -1.0
        while sum(_SENT) != sent or usage.cpu() - used > 0.5:
            sent, used = sum(_SENT), usage.cpu()
            await asyncio.sleep(1)


async def _reached(usage: Usage, holds: Callable[[int], bool]) -> None:
    """Wait until so many descriptors are open."""
    async with asyncio.timeout(20):
        while not holds(usage.descriptors()):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.05)
