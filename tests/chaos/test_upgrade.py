"""Upgrades in place, and restarts behind a socket of systemd's, under load: no call fails, no stream is cut, all is recorded.

No client tries anything twice. How long calls took is printed and not judged: it says more about the machine than about us.
``SPLICE_CHAOS_REQUESTS`` times a hundred is how many calls are made at length, with ten upgrades and ten restarts.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from tests.chaos.amount import AMOUNT, FIGURES
from tests.integration import spoken
from tests.integration.daemon import Daemon, Handed, activated, on_a_port, started
from tests.integration.gateway import BEARER, PATHS, body_of, upstream
from tests.integration.scripted import Scripted
from tests.integration.wire import Wire, encoded, request

UPGRADES, RESTARTS, CALLS = (3, 2, 2_500) if AMOUNT.is_short else (10, 10, 100 * AMOUNT.requests)
CLIENTS, RATE = 8, 300
"""Kept-alive connections, and calls a second of them all: what leaves a machine of two cores some time for the new process."""
STREAMS = 6
"""At once; each lasts from one to three seconds."""
EVERY = 0.05
"""Seconds between two events of a stream."""

ASKING = request("POST", PATHS["chat"], encoded(body_of("chat")), authorization=BEARER)


async def provider(reader, writer, asked):
    if b'"stream": true' not in asked.body:
        writer.write(spoken.told("openai-chat"))
        return
    events = int(asked.body.partition(b"events=")[2].partition(b'"')[0])
    writer.write(spoken.HEAD + spoken.chunk(spoken.metadata("openai-chat")))
    for _ in range(events):
        writer.write(spoken.chunk(spoken.text("openai-chat", "token ")))
        await asyncio.sleep(EVERY)
    writer.write(spoken.chunk(spoken.end("openai-chat")) + spoken.LAST)


@dataclass(slots=True)
class Load:
    """Clients that count what becomes of their calls, and how long those took."""

    address: tuple[str, int]
    moments: random.Random
    over: asyncio.Event = field(default_factory=asyncio.Event)
    count: Counter[str] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)

    async def call(self) -> None:
        """Call again and again, on one connection for as long as there is no word that it is the last time."""
        wire: Wire | None = None
        while not self.over.is_set():
            began = time.perf_counter()
            try:
                wire = wire or await Wire.open(self.address)
                wire.send(ASKING)
                answered = await wire.answer()
            except (OSError, asyncio.IncompleteReadError) as error:
                self.count[f"failed: {error!r}"] += 1
                wire = None
                continue
            self.took.append(time.perf_counter() - began)
            self.count["answered" if answered.status == 200 else f"status {answered.status}"] += 1
            if answered.headers.get("connection") == "close":
                wire.close()
                wire = None
            await asyncio.sleep(CLIENTS / RATE * 2 * self.moments.random())
        if wire is not None:
            wire.close()

    async def stream(self) -> None:
        """Have one stream after the other."""
        while not self.over.is_set():
            events = round((1 + 2 * self.moments.random()) / EVERY)
            wire = await Wire.open(self.address)
            body = body_of("chat", said=f"events={events}", stream=True)
            answered = await wire.post(PATHS["chat"], body, authorization=BEARER)
            wire.close()
            whole = answered.whole and answered.data[-1] == "[DONE]"
            whole = whole and answered.text.count("token ") == events
            self.count["streamed" if whole else "cut"] += 1

    @property
    def total(self) -> int:
        return self.count["answered"]

    async def reached(self, total: int) -> None:
        while self.total < total:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def times(self, since: int) -> str:
        """Return what the calls from number ``since`` on took."""
        took = sorted(self.took[since:])
        p999 = took[min(int(len(took) * 0.999), len(took) - 1)]
        return f"{len(took)} calls, p99.9 {p999 * 1e3:.0f} ms, longest {took[-1] * 1e3:.0f} ms"


def recorded(daemon: Daemon) -> int:
    """Return how many requests the ledger of a daemon that has ended has, all of them well."""
    path = daemon.directory / "state" / "ledger.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
        query = "SELECT count(*) FROM requests_v1 WHERE error_type IS NULL AND output_tokens = ?"
        found: int = ledger.execute(query, (spoken.OUTPUT,)).fetchone()[0]
    return found


@pytest.mark.timeout(120 if AMOUNT.is_short else 1800)
async def test_upgrades_and_restarts_under_load_fail_no_call_and_cut_no_stream():
    kept = 0
    async with Scripted(provider) as up:
        text = activated(upstream(up.url), limits="concurrency = 1000")
        with on_a_port() as public:
            handed = Handed((public,), ("public",))
            load = Load(public.getsockname(), random.Random(AMOUNT.seed))
            async with asyncio.TaskGroup() as clients:
                async with started(text, handed) as daemon:
                    tasks = [clients.create_task(load.call()) for _ in range(CLIENTS)]
                    tasks += [clients.create_task(load.stream()) for _ in range(STREAMS)]
                    for turn in range(UPGRADES):
                        await load.reached((turn + 1) * CALLS // 2 // (UPGRADES + 1))
                        old = daemon.main
                        await daemon.upgraded()
                        assert await daemon.end_of(old) == 0
                    await load.reached(CALLS // 2)
                    upgraded = load.times(0)
                    before, calls = len(load.took), load.total
                    daemon.asked(signal.SIGTERM)
                    assert await daemon.ended() == 0
                    kept += recorded(daemon)
                for turn in range(RESTARTS):
                    async with started(text, handed) as daemon:
                        await load.reached(calls + (turn + 1) * CALLS // 2 // RESTARTS)
                        if turn + 1 == RESTARTS:
                            load.over.set()
                            await asyncio.wait(tasks)
                        daemon.asked(signal.SIGTERM)
                        assert await daemon.ended() == 0
                        kept += recorded(daemon)
    FIGURES.append(f"{UPGRADES} upgrades: {upgraded}; {RESTARTS} restarts: {load.times(before)}")
    FIGURES.append(f"upgrades and restarts: {dict(load.count)}, {kept} of them in the ledgers")
    assert set(load.count) == {"answered", "streamed"}
    assert kept == load.count["answered"] + load.count["streamed"]
