"""What the metrics cost: µs for each request that is counted, and how long a scrape holds the event loop up.

The former is CPU time; the latter is not, and means something on an idle machine only.
``python -m bench.metrics``; ``--accounts`` and ``--models`` size the gateway that is scraped.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
import timeit
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import uvloop
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from proxy.app.assembly import start
from proxy.app.daemon import settle_memory
from proxy.app.running import Running
from proxy.config import loads
from proxy.counts import Metrics
from proxy.errors import GatewayError, Kind
from proxy.log import open_log
from proxy.relay.record import Record
from proxy.relay.tally import Tally
from proxy.server import routes
from proxy.server.scrape import look, page, render
from proxy.usage import Usage

_PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")
_TICK = 0.0005
_PROVIDERS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--models", type=int, default=500)
    options = parser.parse_args()
    _requests()
    uvloop.run(_scrapes(options.accounts, options.models))


# A request.


def record(model: str, provider: str, path: str, *, stream: bool) -> Record:
    return Record(
        request_id="req_0",
        started=10.0,
        route=path,
        dialect="chat",
        key="k",
        model=model,
        upstream_model="m",
        account="a",
        provider=provider,
        status=200,
        stream=stream,
        attempts=1,
        usage=Usage(input=900, cache_read=3000, cache_write=100, output=300, reasoning=120),
        cost_micro=4200,
        price_micro=5000,
        connect=0.001,
        upstream=3.9,
        first_content=10.6 if stream else None,
        ended=14.0,
    )


def _requests() -> None:
    print(f"{'µs a request':44}median   fastest")
    refused = record("", "", "/v1/nowhere", stream=False)
    refused.error, refused.usage, refused.attempts = GatewayError(Kind.UNKNOWN_OBJECT), None, 0
    for title, one in (
        ("a stream with usage and cost", record("m", "p", _PATHS[0], stream=True)),
        ("a document with usage and cost", record("m", "p", _PATHS[0], stream=False)),
        ("a model that is not spelt out", record("x", "p", _PATHS[0], stream=False)),
        ("a refusal", refused),
    ):
        tally = Tally(Metrics(), ["m"], routes.template, keys=True)
        _time(title, partial(tally.count, one))
    _time("a try of an account", partial(Metrics().attempts.add, ("p", "a", "success")))


def _time(title: str, work: Callable[[], object]) -> None:
    timer = timeit.Timer(work, timer=time.process_time)
    loops, _ = timer.autorange()
    each = [took * 1e6 / loops for took in timer.repeat(7, loops)]
    print(f"{title:42}{median(each):8.2f}  {min(each):8.2f}")


# A scrape.


async def _scrapes(accounts: int, models: int) -> None:
    with TemporaryDirectory() as directory:
        log = open_log("error", "json", os.environ, time.time)
        config = loads(_config(accounts, models, directory), Path(directory) / "c.toml", {})
        running = await start(config, log, {})
        try:
            await _measure(running, models)
        finally:
            await running.close()


async def _measure(running: Running, models: int) -> None:
    gateway = running.gateway
    settle = gateway.means.settle
    for number in range(models):
        for path in _PATHS:
            provider = f"p{number % _PROVIDERS}"
            settle(record(f"public-{number}", provider, path, stream=True))
    for account in gateway.pool.accounts(gateway.now()):
        for outcome in ("success", "upstream_rate_limited", "overloaded"):
            gateway.means.metrics.attempts.add((account.provider, account.name, outcome))
    process = CollectorRegistry()
    ProcessCollector(registry=process)
    GCCollector(registry=process)
    text = generate_latest(Whole(await page(gateway, process)))
    settle_memory()
    print(f"\na scrape of {text.count(b'splice_')} samples, {len(text) / 1024:.0f} KiB, ms")

    async def inline() -> None:
        generate_latest(Whole(await page(gateway, process)))

    async def threaded() -> None:
        await asyncio.to_thread(generate_latest, Whole(await page(gateway, process)))

    async def sliced() -> None:
        await render(await page(gateway, process), generate_latest)

    async def looked() -> None:
        look(gateway)

    async def nothing() -> None:
        await asyncio.sleep(0.15)

    print(f"{'':26}{'took':>8}{'loop held up':>16}{'worst of 9':>14}")
    for title, work in (
        ("nothing, for comparison", nothing),
        ("looking", looked),
        ("rendered on the loop", inline),
        ("rendered in a thread", threaded),
        ("rendered in slices", sliced),
    ):
        await _hold_up(title, work)


class Whole(Collector):
    """What the client library renders in one go."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


async def _hold_up(title: str, work: Callable[[], Awaitable[None]]) -> None:
    took, held = [], []
    for _ in range(9):
        worst = 0.0
        done = asyncio.Event()

        async def tick(done: asyncio.Event = done) -> None:
            nonlocal worst
            before = time.perf_counter()
            while not done.is_set():
                await asyncio.sleep(_TICK)
                now = time.perf_counter()
                worst = max(worst, now - before - _TICK)
                before = now

        ticking = asyncio.get_running_loop().create_task(tick())
        await asyncio.sleep(0.02)
        worst = 0.0
        began = time.perf_counter()
        await work()
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0.005)
        done.set()
        await ticking
        held.append(worst)
    print(
        f"{title:26}{median(took) * 1000:8.1f}{median(held) * 1000:16.1f}{max(held) * 1000:14.1f}"
    )


def _config(accounts: int, models: int, directory: str) -> str:
    lines = [
        f"""[server]
listen = ["127.0.0.1:0"]
[admin]
listen = []
[state]
directory = "{directory}"
"""
    ]
    lines += [
        f"""[providers.p{number}]
dialects = ["openai-chat"]
base_url = "http://127.0.0.1:{9000 + number}/v1"
auth = "bearer"
"""
        for number in range(_PROVIDERS)
    ]
    lines += [
        f"""[[accounts]]
name = "account-{number}"
provider = "p{number % _PROVIDERS}"
api_key = "k"
"""
        for number in range(accounts)
    ]
    lines += [
        f"""[[models]]
name = "public-{number}"
targets = ["p{number % _PROVIDERS}/model-{number}"]
"""
        for number in range(models)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
