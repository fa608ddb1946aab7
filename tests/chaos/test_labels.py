"""Whatever clients and upstreams make up, no series is added: models, keys, paths, headers, statuses.

``SPLICE_CHAOS_REQUESTS`` times fifty is how many requests there are; the metrics of 200 accounts and 500 models are scraped all the while.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter

import pytest

from tests.chaos.amount import AMOUNT, FIGURES
from tests.exposition import samples
from tests.integration import spoken
from tests.integration.daemon import started
from tests.integration.gateway import BEARER, PATHS, chat_body, config_text, upstream
from tests.integration.scripted import Scripted, whole
from tests.integration.wire import Wire, encoded, request

REQUESTS = 500 if AMOUNT.is_short else 50 * AMOUNT.requests
CLIENTS = 8
ACCOUNTS, MODELS = 200, 500
SCRAPE = 1.0
"""Seconds between two scrapes."""


def made_up(rng: random.Random, word: str) -> bytes:
    """Return a request in which ``word``, which nobody has sent before, stands somewhere."""
    post = {"authorization": BEARER}
    body = chat_body(f"up/{word}")
    kind = rng.randrange(9)
    match kind:
        case 0:
            path = PATHS["chat"]
        case 1:
            path, body = PATHS["messages"], {**chat_body(f"model-{rng.randrange(MODELS)}"), "max_tokens": 9, "user": word}  # fmt: skip
        case 2:
            path, post = PATHS["chat"], {"authorization": f"Bearer {word}"}
        case 3:
            path, body = PATHS["chat"], chat_body(word)
        case 4:
            path = f"/v1/{word}"
        case 5:
            path = f"/{word}/v1/chat/completions?{word}={word}"
        case 6:
            path, post = PATHS["chat"], {**post, "user-agent": word, "x-request-id": word}
        case 7:
            path = f"/v1beta/models/{word}:generateContent"
        case _:
            return request("GET", f"/v1/models/{word}", b"", origin=f"http://{word}", **post)
    return request("POST", path, encoded(body), **post)


async def odd(reader, writer, asked):
    """Answer well or with any status that there could be."""
    status = random.choice((200, 200, 200, *range(400, 600)))
    if status == 200:
        writer.write(spoken.told("openai-chat"))
    else:
        writer.write(whole(b'{"error": {"message": "no"}}', f"{status} {asked.connection}"))


def config(url: str) -> str:
    accounts = "".join(
        f'[[accounts]]\nname = "account-{n}"\nprovider = "up"\napi_key = "k"\n'
        for n in range(ACCOUNTS)
    )
    models = "".join(
        f'[[models]]\nname = "model-{n}"\ntargets = ["up/m-{n}"]\n' for n in range(MODELS)
    )
    return config_text(upstream(url), accounts, models, server='listen = ["unix:public"]')


async def scraped(wire: Wire) -> set[str]:
    """Return the names and labels of all series."""
    wire.send(request("GET", "/metrics", host=""))
    return set(samples((await wire.answer()).body.decode()))


@pytest.mark.timeout(60 if AMOUNT.is_short else 1200)
async def test_nothing_that_anybody_makes_up_becomes_a_series():
    rng = random.Random(AMOUNT.seed)
    random.seed(AMOUNT.seed)
    words = (f"tell-tale-{number}-{rng.randrange(1 << 30):x}" for number in itertools.count())
    statuses: Counter[int] = Counter()
    waits: list[float] = []
    async with Scripted(odd) as up, started(config(up.url)) as daemon:
        public = str(daemon.directory / "public")
        admin = await Wire.open(str(daemon.directory / "state" / "admin.sock"))

        async def client() -> None:
            wire = await Wire.open(public)
            while statuses.total() < REQUESTS:
                wire.send(made_up(rng, next(words)))
                answered = await wire.answer()
                statuses[answered.status] += 1
                if answered.headers.get("connection") == "close":
                    wire.close()
                    wire = await Wire.open(public)
            wire.close()

        async def pulse() -> None:
            wire = await Wire.open(public)
            while statuses.total() < REQUESTS:
                began = time.perf_counter()
                wire.send(request("GET", "/healthz"))
                await wire.answer()
                waits.append(time.perf_counter() - began)
                await asyncio.sleep(0.01)
            wire.close()

        series = []
        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(client())
            clients.create_task(pulse())
            while statuses.total() < REQUESTS:
                series.append(await scraped(admin))
                await asyncio.sleep(SCRAPE)
        series.append(await scraped(admin))
        admin.close()
    waits.sort()
    FIGURES.append(
        f"made up: {REQUESTS} requests, {len(statuses)} statuses told, {len(series)} scrapes of up to {len(series[-1])} series; "
        f"/healthz meanwhile p99 {waits[int(len(waits) * 0.99)] * 1e3:.0f} ms, longest {waits[-1] * 1e3:.0f} ms"
    )
    labels = [one for one in series[-1] if "tell-tale" in one]
    assert labels == []
    # All that there can be: by names that the configuration has, and our own.
    models = {f"model-{n}" for n in range(MODELS)} | {"", "other"}
    for one in series[-1]:
        if 'model="' in one:
            assert one.partition('model="')[2].partition('"')[0] in models, one
    assert max(statuses) < 600
    assert 500 not in statuses
