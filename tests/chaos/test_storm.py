"""Thousands of requests through every illness, from clients that leave when they like: nothing is held when it is over."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest

from proxy.billing.credit import Hold, Terms
from proxy.relay.attempt import Attempt
from proxy.relay.call import Call
from proxy.relay.reserve import Reserve
from proxy.routing.pool import Lease
from proxy.upstream.http1 import Connection
from tests.chaos.amount import AMOUNT, FIGURES
from tests.chaos.four import Four, four, leaks
from tests.chaos.load import Ask, asks, got, run
from tests.chaos.upstreams import HANG, ILLNESSES, REFUSE
from tests.integration.scripted import settled
from tests.integration.test_credit import assert_even
from tests.integration.wire import Wire

CLIENTS = 50
REQUESTS = 600 if AMOUNT.is_short else 10 * AMOUNT.requests
ILL = 0.35
"""The share of answers that fail, spread over all illnesses that are one answer's."""
OF_AN_ANSWER = [one for one in ILLNESSES if one not in (REFUSE, HANG)]
TIMES = 'connect = "150ms"\nfirst_content = "400ms"\nresponse = "400ms"'
COOLDOWN = 'base = "20ms"\nmax_burst = "60ms"\nmax_quota = "80ms"\nprobe_interval = "30ms"'
PRICED = '[[models]]\nname = "up/m"\ncost = { input = 3, output = 15 }\n'
PAID_IN = 10**12
"""Micro-USD: more than all of them can cost, and each of them is held for."""
STAYS, AT_ONCE, IN_THE_HEAD, IN_THE_TEXT, LATER = range(5)
"""When a client leaves, if it does: before the head, after it, after the first text, or after a while, as in the queue."""


@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic"])
async def test_nothing_is_held_after_a_storm(dialect):
    rng = random.Random(f"{AMOUNT.seed} storm {dialect}")
    seen: Counter[str] = Counter()
    async with four(dialect) as pool:  # the loop opens some descriptors when it first needs them
        await run(pool.front, islice(asks(rng), 1), 1, lambda *_: None)
    before = _open_files(), len(asyncio.all_tasks())
    # Fewer slots than clients, so that some have to wait in the queue.
    sections = {"timeouts": TIMES, "cooldown": COOLDOWN, "retry": 'queue_timeout = "500ms"'}
    async with four(dialect, PRICED, options={"concurrency": "8"}, **sections) as pool:
        wallets = pool.front.running.gateway.means.wallets
        wallets.set_terms("key:tester", Terms(prepaid=True, budget=PAID_IN, period="total"))
        wallets.pay_in("key:tester", PAID_IN)
        for one in pool.upstreams:
            one.illness = lambda _: rng.choice(OF_AN_ANSWER) if rng.random() < ILL else None
        wanted = islice(asks(rng), REQUESTS)
        await asyncio.gather(
            _weather(pool, rng), *(_client(pool, wanted, rng, seen) for _ in range(CLIENTS))
        )
        await settled(lambda: not leaks(pool.front))
        assert not pool.front.running.gateway.calls
        lines = [line for line in pool.front.lines if line["msg"] == "request"]
        # Of those whose client left before any content, we pay and the key does not.
        paid = round(sum(line.get("price_usd", line.get("cost_usd", 0)) for line in lines) * 1e6)
        wallet = wallets.get("key:tester")
        assert wallet is not None
        assert paid > 0
        assert (wallet.held, wallet.credit) == (0, PAID_IN - paid)
        await assert_even(pool.front)
    assert sum(seen.values()) == REQUESTS
    assert len({line["request_id"] for line in lines}) == len(lines) <= REQUESTS
    assert max(line["attempts"] for line in lines) <= 3
    assert {line["status"] for line in lines} <= {200, 429, 499, 502, 503, 504, 529}
    # It was one: somebody has left while it waited for an account.
    assert any(line["status"] == 499 and not line["attempts"] for line in lines)
    await settled(lambda: (_open_files(), len(asyncio.all_tasks())) == before)
    gc.collect()
    alive = Counter(type(one).__name__ for one in gc.get_objects() if type(one) in _OURS)
    assert not alive
    FIGURES.append(f"storm, {dialect}: {_told(seen, lines)}")


_OURS = (Attempt, Call, Connection, Hold, Lease, Reserve)


async def _client(
    pool: Four, wanted: Iterator[Ask], rng: random.Random, seen: Counter[str]
) -> None:
    """Send requests one after another, and leave some of them early."""
    wire = await Wire.open(pool.front.address)
    for ask in wanted:
        leaves = rng.choice((STAYS, STAYS, AT_ONCE, IN_THE_HEAD, IN_THE_TEXT, LATER))
        wire.send(ask.bytes)
        if leaves == STAYS:
            answered = await wire.answer()
            said = got(answered)
            seen[str(said.status)] += 1
            texts = [one.said_to(ask.marker) for one in pool.upstreams]
            whole = said.text in texts
            assert whole or said.failed, said
            assert any(text.startswith(said.text) for text in texts), said
            if answered.whole and answered.headers.get("connection") != "close":
                continue
        else:
            seen[await _leave(wire, leaves, rng)] += 1
        wire.leave()
        wire = await Wire.open(pool.front.address)
    wire.leave()


async def _leave(wire: Wire, when: int, rng: random.Random) -> str:
    """Read as far as a client does that leaves in the middle; return where that was."""
    if when == AT_ONCE:
        # At once, or as soon as the request is on its way.
        await asyncio.sleep(rng.choice((0.0, 0.001, 0.005)))
        return "left at once"
    if when == LATER:
        await asyncio.sleep(rng.random() * 0.3)
        return "left later"
    await wire.head()
    if when == IN_THE_TEXT:
        await wire.reader.read(1)
        return "left in the text"
    return "left after the head"


async def _weather(pool: Four, rng: random.Random) -> None:
    """Have one account after another refuse connections or let them hang for a while."""
    drawn = pool.upstreams[0].illness
    for turn in range(max(REQUESTS // 150, 2)):
        one = rng.choice(pool.upstreams)
        await one.fall_ill((REFUSE, HANG)[turn % 2])
        await asyncio.sleep(0.2)
        await one.recover()
        one.illness = drawn
        await asyncio.sleep(0.1)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not looked at


def _told(seen: Counter[str], lines: list[dict]) -> str:
    errors = Counter(line.get("error_type", "none") for line in lines)
    queued = sum(line["queue_s"] > 0 for line in lines)
    counts = ", ".join(f"{name} {count}" for name, count in sorted(seen.items()))
    kinds = ", ".join(f"{name} {count}" for name, count in errors.most_common())
    return f"{counts}; {queued} had to wait; errors: {kinds}"
