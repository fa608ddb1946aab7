"""Requests with bytes changed at random: never a 5xx, nothing is held when they are over, and the next client is served.

``SPLICE_CHAOS_MUTATIONS`` is how many. Each is sent whole or in two pieces, and some clients close their half behind it.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Iterator

from tests.chaos.amount import AMOUNT, FIGURES
from tests.chaos.four import leaks
from tests.chaos.mutated import mutated, valid
from tests.integration import spoken
from tests.integration.gateway import Gateway, config_text, gateway, upstream
from tests.integration.scripted import Scripted, settled
from tests.integration.wire import Wire

MUTATIONS = int(os.environ.get("SPLICE_CHAOS_MUTATIONS", "3000" if AMOUNT.is_short else "100000"))
CLIENTS = 16
PATIENCE = 8.0
"""Seconds until an answer that does not end is a hang."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


async def test_no_change_of_bytes_makes_it_fail_or_hang(monkeypatch):
    monkeypatch.setattr("proxy.server.body.TICK", 0.05)
    rng = random.Random(f"{AMOUNT.seed} mutations")
    seen: Counter[str] = Counter()

    async def script(reader, writer, request):
        streams = b'"stream":true' in request.body.replace(b" ", b"")
        writer.write(spoken.streamed("openai-chat") if streams else spoken.told("openai-chat"))

    async with Scripted(script) as up, gateway(config_text(upstream(up.url))) as front:
        originals = valid()
        for one in originals:
            status = await _answer(front, one, None)
            assert status in (["200"], ["204"]), (one, status)
        wanted = iter(range(MUTATIONS))
        await asyncio.gather(
            *(_client(front, originals, rng, wanted, seen) for _ in range(CLIENTS))
        )
        await settled(lambda: not leaks(front))
        await settled(lambda: not front.running._servers[0].open)
        assert (await front.chat()).text == "Hello"
    assert sum(seen.values()) >= MUTATIONS
    told = ", ".join(f"{name} {count}" for name, count in sorted(seen.items()))
    FIGURES.append(f"mutated requests: {MUTATIONS}; answers: {told}")


async def _client(
    front: Gateway,
    originals: list[bytes],
    rng: random.Random,
    wanted: Iterator[int],
    seen: Counter[str],
) -> None:
    for _ in wanted:
        one = mutated(rng, rng.choice(originals))
        at = rng.randrange(len(one) + 1) if rng.random() < 0.3 else None
        try:
            async with asyncio.timeout(PATIENCE):
                statuses = await _answer(front, one, at, closes=rng.random() < 0.1)
        except TimeoutError:
            raise AssertionError(f"no end after {PATIENCE:g} s: {one!r} cut at {at}") from None
        assert not [one for one in statuses if one.startswith("5")], (statuses, one, at)
        seen.update(statuses or ["none"])


async def _answer(front: Gateway, one: bytes, at: int | None, *, closes: bool = False) -> list[str]:
    """Send ``one``, in two pieces if ``at`` says where; return the statuses of all that comes back."""
    wire = await Wire.open(front.address)
    try:
        wire.send(one[:at])
        if at is not None:
            await asyncio.sleep(0.002)
            wire.send(one[at:])
        if closes:
            # It has said all that it will; some answers are not worth their while then.
            wire.writer.write_eof()
        said = b""
        quiet = 0.0
        while quiet < 0.5:
            try:
                async with asyncio.timeout(0.02 if said else 0.1):
                    data = await wire.reader.read(65536)
            except TimeoutError:
                quiet += 0.1 if not said else 0.5
                continue
            if not data:
                break
            said += data
        return [status.decode() for status in _STATUS.findall(said)]
    except ConnectionError:
        return []
    finally:
        wire.leave()
