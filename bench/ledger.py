"""What keeping the books costs: on the loop for each request, beside it for each batch, and at the start.

python -m bench.ledger
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import uvloop

from proxy.billing.books import Books
from proxy.billing.entry import Row
from proxy.log import Log
from proxy.relay.record import Record
from proxy.usage import Usage

_REPLAYED = 100_000
_TIMED = 20_000
_RATE = 4_000
"""Requests a second while the loop's lag is looked at: a batch of a thousand four times a second."""
_RECORD = Record(
    request_id="req_" + "0" * 26,
    started=10.0,
    route="/v1/chat/completions",
    dialect="chat",
    key="tester",
    key_hash="a" * 64,
    model="smart",
    model_asked="smart",
    upstream_model="gpt-4o",
    provider="openai",
    account="openai-main",
    status=200,
    stream=True,
    attempts=1,
    usage=Usage(1000, 200, 0, 0, 300, 20),
    answer_id="chatcmpl-0123456789abcdef",
    upstream_request_id="req_0123456789abcdef",
    cost_micro=1234,
    price_micro=1500,
    first_content=10.2,
    ended=12.0,
)


def fresh(number: int) -> Row:
    """Return the row of another request of one of fifty keys."""
    record = replace(
        _RECORD,
        request_id=f"req_{random.getrandbits(104):026x}",
        answer_id=f"chatcmpl-{random.getrandbits(96):024x}",
        key_hash=f"{number % 50:064x}",
        key=f"key-{number % 50}",
    )
    return record.row(time.time())


def timed(what: Callable[[], object]) -> str:
    took = []
    for _ in range(_TIMED):
        before = time.perf_counter_ns()
        what()
        took.append(time.perf_counter_ns() - before)
    took.sort()
    return f"{took[_TIMED // 2] / 1000:6.2f} {took[_TIMED * 99 // 100] / 1000:8.2f}"


async def opened(directory: Path) -> Books:
    log = Log(os.open(os.devnull, os.O_WRONLY), level="error", now=time.time)
    return await Books.open(directory, log, wall=time.time, retain=90 * 86_400.0)


async def abandon(books: Books) -> None:
    """Leave the books as a killed process does."""
    await books.ledger.close()
    os.close(books._lock)  # noqa: SLF001 - a killed process is not asked


async def lag(seconds: float) -> list[float]:
    """Return how late the loop was, in milliseconds, each time that it was to wake after one."""
    late = []
    until = time.perf_counter() + seconds
    while (before := time.perf_counter()) < until:
        await asyncio.sleep(0.001)
        late.append((time.perf_counter() - before - 0.001) * 1000)
    return late


async def busy(books: Books, rows: list[Row]) -> None:
    """Settle ``rows`` at an even rate."""
    start = time.perf_counter()
    for number, row in enumerate(rows):
        books.settle(row)
        if number % 20 == 19:
            ahead = (number + 1) / _RATE - (time.perf_counter() - start)
            await asyncio.sleep(max(ahead, 0))


def shown(late: list[float]) -> str:
    cuts = statistics.quantiles(late, n=1000)
    return f"p50 {cuts[499]:.2f}  p99 {cuts[989]:.2f}  max {max(late):.2f}"


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="splice-bench-") as name:
        books = await opened(Path(name) / "a")
        row = _RECORD.row(time.time())
        print("µs on the loop for each request      p50      p99")
        print("  making the row                  ", timed(lambda: _RECORD.row(time.time())))
        print("  settling it: encode and write   ", timed(lambda: books.settle(row)))
        print("  both                            ", timed(lambda: books.settle(_RECORD.row(0.0))))
        await books.close()

        books = await opened(Path(name) / "b")
        rows = [fresh(number) for number in range(5 * _RATE)]
        print(f"ms of lag of the loop, {_RATE} requests a second")
        tasks = (busy(books, rows), lag(5))
        _, before = await asyncio.gather(*tasks)
        print("  journal alone       ", shown(before))
        rows = [fresh(number) for number in range(5 * _RATE)]
        while await books.book() and books.waiting().since(books.ledger.serial):
            pass
        async with asyncio.TaskGroup() as group:
            group.create_task(books.keep_synced())
            group.create_task(books.keep_booked())
            _, after = await asyncio.gather(busy(books, rows), lag(5))
            books.stop()
        print("  and sync and batches", shown(after))
        await books.close()

        books = await opened(Path(name) / "c")
        for number in range(_REPLAYED):
            books.settle(fresh(number))
        await abandon(books)
        wall, cpu = time.perf_counter(), time.process_time()
        books = await opened(Path(name) / "c")
        print(f"s to start with {_REPLAYED} records to replay")
        print(f"  {time.perf_counter() - wall:.2f}, of CPU {time.process_time() - cpu:.2f}")
        await books.close()


if __name__ == "__main__":
    uvloop.run(main())
