"""SIGTERM under load, to a process of its own: no stream is cut and no request fails (T01 of the reliability tests).

The short form takes a few seconds. With ``SPLICE_LONG_DRAIN=1`` streams last 3 to 20 s and 500 plain requests a second
come through kept-alive connections.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter

import pytest

from tests.integration import spoken
from tests.integration.daemon import Handed, activated, on_a_port, started
from tests.integration.gateway import BEARER, PATHS, body_of, upstream
from tests.integration.scripted import Scripted
from tests.integration.wire import Wire, encoded, request

LONG = bool(os.environ.get("SPLICE_LONG_DRAIN"))
STREAMS = 200
SHORTEST, LONGEST = (3.0, 20.0) if LONG else (1.0, 3.0)
EVERY = 0.1
"""Seconds between two events of a stream."""
WORKERS = 20
RATE = 500 if LONG else 200
"""Plain requests a second, of all workers."""
RESTARTS = 10 if LONG else 2

_PLAIN = spoken.told("openai-chat")


class Provider:
    """Streams for as long as it is asked to, and answers the rest at once."""

    def __init__(self) -> None:
        self.streams = 0

    async def __call__(self, reader, writer, request) -> None:
        if b'"stream": true' not in request.body:
            writer.write(_PLAIN)
            return
        self.streams += 1
        seconds = float(request.body.partition(b"seconds=")[2].partition(b'"')[0])
        writer.write(spoken.HEAD + spoken.chunk(spoken.metadata("openai-chat")))
        for _ in range(round(seconds / EVERY)):
            writer.write(spoken.chunk(spoken.text("openai-chat", "token ")))
            await asyncio.sleep(EVERY)
        writer.write(spoken.chunk(spoken.end("openai-chat")) + spoken.LAST)


async def until(holds) -> None:
    """Wait for something that takes as long as the machine needs."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Load:
    """Clients that count what becomes of their requests."""

    def __init__(self, address) -> None:
        self.address = address
        self.count: Counter[str] = Counter()
        self.stopping = False

    async def stream(self, seconds: float) -> None:
        wire = await Wire.open(self.address)
        said = f"seconds={seconds}"
        answered = await wire.post(
            PATHS["chat"], body_of("chat", said=said, stream=True), authorization=BEARER
        )
        wire.close()
        complete = answered.whole and answered.data[-1] == "[DONE]"
        tokens = answered.text.count("token ") if complete else 0
        self.count["whole" if tokens == round(seconds / EVERY) else "cut"] += 1

    async def work(self) -> None:
        """Ask on one connection until an answer says that it was the last one."""
        wire = await Wire.open(self.address)
        asking = request("POST", PATHS["chat"], encoded(body_of("chat")), authorization=BEARER)
        while True:
            stopping = self.stopping
            wire.send(asking)
            try:
                answered = await wire.answer()
            except (asyncio.IncompleteReadError, ConnectionError):
                self.count["failed"] += 1
                return
            self.count["answered" if answered.status == 200 else "refused"] += 1
            if answered.headers.get("connection") == "close":
                self.count["told to close"] += 1
                assert await wire.rest() == b""
                wire.close()
                return
            # Whoever asks after SIGTERM has been seen is told; a request that crosses it need not be.
            self.count["not told"] += stopping
            await asyncio.sleep(WORKERS / RATE)


@pytest.mark.timeout(120)
async def test_sigterm_under_load_cuts_no_stream_and_fails_no_request():
    draw = random.Random(1)
    lengths = [draw.uniform(SHORTEST, LONGEST) for _ in range(STREAMS)]
    provider = Provider()
    async with Scripted(provider) as up:
        text = activated(upstream(up.url), limits="concurrency = 1000")
        with on_a_port() as public:
            address = public.getsockname()
            async with started(text, Handed((public,), ("public",))) as daemon:
                load = Load(address)
                idle = await Wire.open(address)
                idle.send(request("GET", "/healthz"))
                assert "connection" not in (await idle.answer()).headers
                async with asyncio.TaskGroup() as clients:
                    for _ in range(WORKERS):
                        clients.create_task(load.work())
                    await until(lambda: load.count["answered"] > 2 * WORKERS)
                    for seconds in lengths:
                        clients.create_task(load.stream(seconds))
                    await until(lambda: provider.streams == STREAMS)
                    asked = time.monotonic()
                    daemon.asked(signal.SIGTERM)
                    await daemon.says("STOPPING=1")
                    load.stopping = True
                    # A connection that was idle when it began is served too, once, while streams go on.
                    await asyncio.sleep(SHORTEST * 0.3)
                    late = await idle.post(PATHS["chat"], body_of("chat"), authorization=BEARER)
                    assert (late.status, late.headers["connection"]) == (200, "close")
                    idle.close()
                assert await daemon.ended() == 0
                took = time.monotonic() - asked
                lines = daemon.lines
    recorded = [line for line in lines if line["msg"] == "request"]
    (begun,) = (line["in_flight"] for line in lines if line["msg"] == "stopping")
    assert begun >= STREAMS / 2
    print(  # noqa: T201 - the figures of the run
        f"{begun} calls running at SIGTERM; streams {STREAMS}, plain {load.count['answered']}, drained in {took:.1f} s: {dict(load.count)}"
    )
    assert load.count["whole"] == STREAMS
    assert load.count["told to close"] == WORKERS
    for bad in ("cut", "failed", "refused", "not told"):
        assert load.count[bad] == 0, bad
    # Nothing is unrecorded: every call has its line, and nobody was sent away.
    assert len(recorded) == STREAMS + load.count["answered"] + 1
    assert [line["ended_early"] for line in lines if line["msg"] == "drained"] == [0]


@pytest.mark.timeout(180)
async def test_restarts_behind_the_socket_fail_nobody_they_only_make_wait():
    async with Scripted(Provider()) as up:
        text = activated(upstream(up.url), limits="concurrency = 1000")
        with on_a_port() as public:
            load = Load(public.getsockname())
            over = asyncio.Event()

            async def call_again(once) -> None:
                while not over.is_set():
                    await once()

            async with asyncio.TaskGroup() as clients:
                for _ in range(RESTARTS):
                    async with started(text, Handed((public,), ("public",))) as daemon:
                        if not load.count:
                            for _ in range(WORKERS):
                                clients.create_task(call_again(load.work))
                                clients.create_task(call_again(lambda: load.stream(0.7)))
                        await asyncio.sleep(1)
                        daemon.asked(signal.SIGTERM)
                        assert await daemon.ended() == 0
                over.set()
                async with started(text, Handed((public,), ("public",))) as daemon:
                    await asyncio.sleep(1.5)
                    daemon.asked(signal.SIGTERM)
                    assert await daemon.ended() == 0
    print(f"{RESTARTS} restarts: {dict(load.count)}")  # noqa: T201 - the figures of the run
    assert load.count["whole"] >= RESTARTS * WORKERS
    assert load.count["answered"] >= RESTARTS * WORKERS
    for bad in ("cut", "failed", "refused"):
        assert load.count[bad] == 0, bad
