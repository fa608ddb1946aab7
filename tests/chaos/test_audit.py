"""After many requests of every kind the books say what providers counted and what clients paid, to the micro-dollar."""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.billing.audit import audit
from tests.chaos.amount import AMOUNT, FIGURES
from tests.chaos.daemon import Daemon
from tests.integration import spoken
from tests.integration.gateway import KEY, OTHER_KEY, PATHS, account, body_of, config_text, upstream
from tests.integration.scripted import Request, Scripted, chunked, whole
from tests.integration.wire import Wire, encoded, request

REQUESTS = int(os.environ.get("SPLICE_AUDIT_REQUESTS", "1500"))
CLIENTS = 32
CREDIT = 1_000_000
"""Dollars of each key: all of it is never spent."""
INPUT, CACHED, OUTPUT = 3, 1, 15
"""Dollars for a million tokens, which is micro-dollars for one."""
DIALECTS = ("openai-chat", "anthropic")
SURFACES = ("chat", "messages")


@dataclass(frozen=True, slots=True)
class Fate:
    """All that is to happen to one request. Client and provider draw the same, so neither need tell the other.

    ``kind``: answered; ill, which is refused with a 500 by the account that is asked first; refused with a 400; left, by a
    client that has had enough after the first word.
    """

    kind: str
    surface: str
    dialect: str
    stream: bool
    input: int
    cached: int
    output: int
    key: str

    @property
    def price(self) -> int:
        """Micro-dollars."""
        if self.kind == "refused":
            return 0
        return INPUT * self.input + CACHED * self.cached + OUTPUT * self.output


def fate(serial: int) -> Fate:
    rng = random.Random(AMOUNT.seed * 1_000_000_007 + serial)
    (kind,) = rng.choices(("answered", "ill", "refused", "left"), (9200, 20, 380, 400))
    return Fate(
        kind=kind,
        surface=rng.choice(SURFACES),
        dialect=rng.choice(DIALECTS),
        stream=kind == "left" or rng.random() < 0.5,
        input=rng.randrange(1, 50_000),
        cached=rng.choice((0, 0, rng.randrange(100_000))),
        output=rng.randrange(1, 4000),
        key=rng.choice((KEY, OTHER_KEY)),
    )


# The providers.


class Providers:
    """An account's upstream in both dialects. ``spent`` is what the answers that it gave have cost."""

    def __init__(self) -> None:
        self.spent = 0
        self.met: set[int] = set()
        """The ill requests that have had their 500."""

    async def answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: Request
    ) -> None:
        if asked.target.startswith("/v1/models"):
            # What it serves, which costs nothing.
            writer.write(whole(b"", "404 Not Found"))
            return
        found = re.search(rb"serial-(\d+)", asked.body)
        assert found is not None
        serial = int(found[1])
        drawn = fate(serial)
        if drawn.kind == "refused":
            error = {"type": "invalid_request_error", "message": "no such thing"}
            writer.write(whole(orjson.dumps({"type": "error", "error": error}), "400 Bad Request"))
        elif drawn.kind == "ill" and serial not in self.met:
            self.met.add(serial)
            writer.write(whole(b"", "500 Internal Server Error"))
        elif drawn.kind == "left":
            began = spoken.metadata(drawn.dialect) + spoken.text(drawn.dialect, "word ")
            writer.write(spoken.HEAD + spoken.chunk(began))
            await reader.read()
            writer.close()
        else:
            self.spent += drawn.price
            writer.write(_streamed(drawn) if drawn.stream else _told(drawn))


def _usage(drawn: Fate) -> dict[str, Any]:
    if drawn.dialect == "anthropic":
        return {
            "input_tokens": drawn.input,
            "cache_read_input_tokens": drawn.cached,
            "output_tokens": drawn.output,
        }
    prompt = drawn.input + drawn.cached
    return {
        "prompt_tokens": prompt,
        "completion_tokens": drawn.output,
        "total_tokens": prompt + drawn.output,
        "prompt_tokens_details": {"cached_tokens": drawn.cached},
    }


def _told(drawn: Fate) -> bytes:
    document = {**spoken.document(drawn.dialect), "usage": _usage(drawn)}
    return whole(orjson.dumps(document), content_type="application/json")


def _streamed(drawn: Fate) -> bytes:
    dialect, usage = drawn.dialect, _usage(drawn)
    if dialect == "anthropic":
        message: dict[str, Any] = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1},
        }  # fmt: skip
        frames = [
            spoken.event({"type": "message_start", "message": message}),
            spoken.text(dialect, "word "),
            spoken.event({"type": "content_block_stop", "index": 0}),
            spoken.event(
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
            ),
            spoken.event({"type": "message_stop"}),
        ]
    else:
        one = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        ended = {"index": 0, "delta": {}, "finish_reason": "stop"}
        frames = [
            spoken.metadata(dialect),
            spoken.text(dialect, "word "),
            spoken.data({**one, "choices": [ended]}),
            spoken.data({**one, "choices": [], "usage": usage}),
            b"data: [DONE]\n\n",
        ]
    return chunked(*frames, content_type="text/event-stream")


# The clients.


@dataclass(slots=True)
class Told:
    """What clients were told: how many were answered, what that cost and, in total, how many of which kind."""

    price: int
    kinds: Counter[str]


async def client(one: Daemon, serials: Iterator[int], told: Told) -> None:
    wire = await one.wire()
    for serial in serials:
        drawn = fate(serial)
        body = body_of(drawn.surface, f"{drawn.dialect}-m", f"serial-{serial}", stream=drawn.stream)
        wire.send(
            request(
                "POST", PATHS[drawn.surface], encoded(body), authorization=f"Bearer {drawn.key}"
            )
        )
        told.kinds[drawn.kind] += 1
        if drawn.kind == "left":
            status, _ = await wire.head()
            while b"word " not in await wire.frame():
                pass
            wire.leave()
            wire = await one.wire()
        else:
            answered = await wire.answer()
            status = answered.status
            assert answered.whole
        assert status == (400 if drawn.kind == "refused" else 200), (drawn, status)
        if drawn.kind in ("answered", "ill"):
            told.price += drawn.price
    wire.leave()


async def drive(one: Daemon, serials: range, told: Told) -> None:
    """Have all of ``serials`` sent, and wait until nothing of them runs any more."""
    rest = iter(serials)
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client(one, rest, told))
    admin = await Wire.open(str(one.state / "admin.sock"))
    running = True
    async with asyncio.timeout(10):
        while running:
            admin.send(request("GET", "/api/v1/requests?in_flight=true", host=""))
            running = bool((await admin.answer()).json["data"])
    admin.leave()


async def credit_left(one: Daemon, key: str) -> int:
    """Return what the gateway says is left of the key's credit, in micro-dollars."""
    wire = await one.wire()
    wire.send(request("GET", "/v1/key", authorization=f"Bearer {key}"))
    left = (await wire.answer()).json["credit_remaining_usd"]
    wire.leave()
    return round(float(left) * 1_000_000)


# The exam.


def configuration(urls: list[str]) -> str:
    tables = [
        upstream(urls[0], dialect, dialect)
        + "".join(
            account(f"{dialect}-{number}", dialect, base_url=f'"{url}"')
            for number, url in enumerate(urls[1:])
        )
        + f'[[models]]\nname = "{dialect}-m"\ntargets = ["{dialect}/m"]\n'
        f"cost = {{ input = {INPUT}, cache_read = {CACHED}, output = {OUTPUT} }}\n"
        for dialect in DIALECTS
    ]
    text = config_text(
        *tables,
        server='listen = ["unix:socket"]\ngrace_period = "5s"',
        logging='level = "warning"',
        cooldown='base = "100ms"\nmax_burst = "200ms"\nprobe_interval = "100ms"',
    )
    return re.sub(
        r'(\[\[keys\]\]\nname = "\w+"\n)', rf"\1prepaid = true\ncredit_usd = {CREDIT}\n", text
    )


SUMS = """
    SELECT count(*) AS requests, coalesce(sum(cost_micro), 0) AS cost, coalesce(sum(price_micro), 0) AS price,
        coalesce(sum(key_drawn_micro), 0) AS drawn FROM requests_v1 WHERE """


@pytest.mark.timeout(60 + REQUESTS // 200)
async def test_the_books_are_what_providers_counted_and_what_keys_have_left(tmp_path: Path):
    providers = Providers()
    told = Told(0, Counter())
    async with Scripted(providers.answer) as a, Scripted(providers.answer) as b:
        tmp_path.joinpath("config.toml").write_text(configuration([a.url, b.url]))
        one = Daemon(tmp_path)
        forget = [partial(up.requests.clear) for up in (a, b)]
        try:
            await one.start()
            step = max(REQUESTS // 10, 1)
            for start in range(0, REQUESTS, step):
                await drive(one, range(start, min(start + step, REQUESTS)), told)
                for clear in forget:
                    clear()
                if start == 5 * step:
                    # The books go on after a restart as if there had been none.
                    assert await one.stop() == 0
                    await one.start()
            left = {key: await credit_left(one, key) for key in (KEY, OTHER_KEY)}
            assert await one.stop() == 0
            await one.start()
            assert left == {key: await credit_left(one, key) for key in left}
            assert await one.stop() == 0
        finally:
            if one.process is not None:
                one.kill()
    (exact,) = one.rows(SUMS + "status = 200 AND error_type IS NULL AND NOT estimated")
    (refused,) = one.rows(SUMS + "status = 400")
    (gone,) = one.rows(SUMS + "status = 499 AND estimated")
    (everything,) = one.rows(SUMS + "1")
    kinds = told.kinds
    assert exact["requests"] == kinds["answered"] + kinds["ill"]
    assert exact["cost"] == exact["price"] == told.price == providers.spent
    assert (refused["requests"], refused["cost"], refused["price"]) == (kinds["refused"], 0, 0)
    assert gone["requests"] == kinds["left"]
    assert gone["price"] > 0
    assert everything["requests"] == REQUESTS
    assert everything["price"] == exact["price"] + gone["price"] == everything["drawn"]
    balance = 2 * CREDIT * 1_000_000 - everything["price"]
    assert sum(left.values()) == balance
    found = audit(one.state / "ledger.db")
    assert (found.faults, found.quarantined, found.requests) == ([], 0, REQUESTS)
    assert found.price_micro == everything["price"]
    FIGURES.append(
        f"{REQUESTS} requests ({dict(kinds)}): {exact['price']} micro-USD of what providers counted and "
        f"{gone['price']} estimated; the ledger less the providers 0, less the balance 0, faults of the audit 0"
    )
