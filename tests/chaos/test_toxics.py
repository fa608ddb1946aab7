"""Networks that delay, crawl, crumble, reset, swallow and half-close, on either side of the gateway: honest answers, nothing held."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.amount import AMOUNT, FIGURES
from tests.chaos.four import leaks
from tests.chaos.load import Ask, asks, got
from tests.chaos.toxic import Proxy, Toxic
from tests.chaos.upstreams import Upstream
from tests.integration.certificates import issued, made_authority, trusting
from tests.integration.gateway import Gateway, account, config_text, gateway
from tests.integration.scripted import settled
from tests.integration.wire import Wire

REQUESTS = 24 if AMOUNT.is_short else max(AMOUNT.requests // 5, 100)
CLIENTS = 12 if AMOUNT.is_short else 30
PATIENCE = 0.6 if AMOUNT.is_short else 2.0
"""Seconds that a client waits for an answer out of a network that loses some."""
HONEST = {429, 502, 503, 504, 529}
TOXICS = {
    "latency": (Toxic(latency=0.02), Toxic(latency=0.02)),
    "bandwidth": (Toxic(bandwidth=20_000), Toxic(bandwidth=20_000)),
    "single bytes": (Toxic(slices=1), Toxic(slices=1)),
    "reset in the request": (Toxic(reset_after=60), Toxic()),
    "reset in the head": (Toxic(), Toxic(reset_after=30)),
    "reset in the body": (Toxic(), Toxic(reset_after=700)),
    "blackhole in the request": (Toxic(blackhole_after=60), Toxic()),
    "blackhole in the head": (Toxic(), Toxic(blackhole_after=30)),
    "blackhole in the body": (Toxic(), Toxic(blackhole_after=700)),
    "half-close of the request": (Toxic(half_close_after=60), Toxic()),
    "half-close of the answer": (Toxic(), Toxic(half_close_after=700)),
}
HARMLESS = ("latency", "bandwidth", "single bytes")
DIALECTS = ("openai-chat", "anthropic")
CASES = tuple(
    zip(TOXICS, itertools.cycle(DIALECTS), strict=False)
    if AMOUNT.is_short
    else itertools.product(TOXICS, DIALECTS)
)
SECURED = ("reset in the body", "blackhole in the head") if AMOUNT.is_short else tuple(TOXICS)
TIMES = 'connect = "1s"\nfirst_content = "400ms"\nresponse = "400ms"\nidle = "400ms"\ntotal = "5s"'
COOLDOWN = 'base = "20ms"\nmax_burst = "60ms"\nmax_quota = "80ms"\nprobe_interval = "30ms"'
BARS = {1: 0.999, 2: 0.99, 3: 0.95}
_AUTH = {"anthropic": "x-api-key"}


def provider(dialect: str) -> str:
    return (
        f'[providers.up]\ndialects = ["{dialect}"]\nbase_url = "http://127.0.0.1:9"\n'
        f'auth = "{_AUTH.get(dialect, "bearer")}"\n'
    )


@pytest.mark.parametrize(("name", "dialect"), CASES)
async def test_a_bad_network_in_front_of_the_gateway_harms_only_who_is_behind_it(name, dialect):
    up, down = TOXICS[name]
    rng = random.Random(f"{AMOUNT.seed} client {name} {dialect}")
    seen: Counter[str] = Counter()
    patience = 10.0 if name in HARMLESS else PATIENCE
    async with Upstream("a", dialect) as one:
        text = config_text(
            provider(dialect), account("a", "up", base_url=f'"{one.url}"'), timeouts=TIMES
        )
        async with gateway(text) as front:
            assert not isinstance(front.address, str)
            async with Proxy(front.address, up=up, down=down) as network:
                wanted = itertools.islice(asks(rng), REQUESTS)
                await asyncio.gather(
                    *(_client(network.address, wanted, seen, one, patience) for _ in range(CLIENTS))
                )
            await settled(lambda: not leaks(front))
            wire = await front.wire()
            ask = Ask("ask-999999", "chat", stream=True)
            wire.send(ask.bytes)
            assert got(await wire.answer()).text == one.said_to(ask.marker)
    assert sum(seen.values()) == REQUESTS
    if name in HARMLESS:
        assert seen == {"200": REQUESTS}
    else:
        # Small answers may get through before the network fails.
        assert seen.keys() <= {"200", "broken", "400"}
    FIGURES.append(f"toxic, clients, {name}, {dialect}: {dict(seen)}")


async def _client(
    address: tuple[str, int],
    wanted: Iterator[Ask],
    seen: Counter[str],
    one: Upstream,
    patience: float,
) -> None:
    for ask in wanted:
        wire = await Wire.open(address)
        wire.send(ask.bytes)
        outcome = "broken"
        with contextlib.suppress(
            asyncio.IncompleteReadError, ConnectionError, TimeoutError, ValueError
        ):
            async with asyncio.timeout(patience):
                answered = await wire.answer()
            if answered.whole:
                said = got(answered)
                outcome = str(said.status)
                if said.status == 200:
                    assert said.text == one.said_to(ask.marker)
        seen[outcome] += 1
        wire.leave()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return made_authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("name", SECURED)
async def test_a_bad_network_to_some_accounts_is_hardly_noticed_under_tls(name, authority):
    await _ill_networks(name, "openai-chat", authority)


@pytest.mark.parametrize(("name", "dialect"), CASES)
async def test_a_bad_network_to_some_accounts_is_hardly_noticed(name, dialect):
    await _ill_networks(name, dialect, None)


async def _ill_networks(name: str, dialect: str, authority: Path | None) -> None:
    """Have one, two and three of four accounts behind the network ``name``, under TLS if there is an ``authority``."""
    scheme = "http" if authority is None else "https"
    server = None if authority is None else issued(authority, "IP:127.0.0.1", days=9)
    trusted = None if authority is None else trusting(authority)
    up, down = TOXICS[name]
    rng = random.Random(f"{AMOUNT.seed} upstream {name} {dialect}")
    for broken in (rng.choice([*BARS]),) if AMOUNT.is_short else BARS:
        async with contextlib.AsyncExitStack() as stack:
            upstreams = [
                await stack.enter_async_context(Upstream(one, dialect, server)) for one in "abcd"
            ]
            urls = []
            for index, one in enumerate(upstreams):
                ill = index < broken
                network = Proxy(
                    ("127.0.0.1", one.port),
                    up=up if ill else Toxic(),
                    down=down if ill else Toxic(),
                )
                url = (await stack.enter_async_context(network)).url
                urls.append(url.replace("http", scheme, 1))
            accounts = [
                account(one.name, "up", base_url=f'"{url}"')
                for one, url in zip(upstreams, urls, strict=True)
            ]
            text = config_text(provider(dialect), *accounts, timeouts=TIMES, cooldown=COOLDOWN)
            front = await stack.enter_async_context(gateway(text, tls=trusted))
            answered, cut = await _ask_all(front, upstreams, rng)
            await settled(partial(_is_quiet, front))
        line = f"toxic, {broken} of 4 upstreams, {name}, {dialect} over {scheme}: {answered}/{REQUESTS} answered, {cut} of them broken off"
        FIGURES.append(line)
        assert answered >= BARS[broken] * REQUESTS, line


def _is_quiet(front: Gateway) -> bool:
    return not leaks(front)


async def _ask_all(
    front: Gateway, upstreams: list[Upstream], rng: random.Random
) -> tuple[int, int]:
    """Return how many requests got content, and how many of those an error behind it."""
    counts: Counter[str] = Counter()
    wanted = itertools.islice(asks(rng), REQUESTS)

    async def client() -> None:
        for ask in wanted:
            wire = await Wire.open(front.address)
            wire.send(ask.bytes)
            async with asyncio.timeout(8):
                answered = await wire.answer()
            wire.leave()
            said = got(answered)
            texts = [one.said_to(ask.marker) for one in upstreams]
            if said.status != 200:
                assert said.status in HONEST, said
            elif said.failed:
                assert any(text.startswith(said.text) for text in texts), said
                counts["cut"] += 1
            else:
                assert said.text in texts, said
            counts["answered"] += said.status == 200 and bool(said.text)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return counts["answered"], counts["cut"]
