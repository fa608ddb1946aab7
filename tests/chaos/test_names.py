"""Requests that name as much as they can: the metrics do not grow with them, and neither does what is remembered."""

from __future__ import annotations

import random
import re

import pytest

from proxy.routing.affinity import MAX_PLACED
from tests.chaos.amount import AMOUNT, FIGURES
from tests.chaos.everywhere import ROUTES, everywhere
from tests.chaos.stalls import Stalls
from tests.chaos.strings import NAUGHTY
from tests.integration.gateway import BEARER, Gateway
from tests.integration.wire import Wire, encoded, request

NAMES = 1_500 if AMOUNT.is_short else 50_000
METHODS = ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD")
_SERIES = re.compile(rb"^splice_[^#\s]", re.MULTILINE)


async def series(front: Gateway) -> tuple[int, bytes]:
    wire = front.keep(await Wire.open(front.running.admin_addresses[0], limit=1 << 26))
    wire.send(request("GET", "/metrics", host="localhost"))
    page = (await wire.answer()).body
    return len(_SERIES.findall(page)), page


@pytest.mark.timeout(900)
async def test_names_that_clients_invent_add_no_series():
    rng = random.Random(AMOUNT.seed)
    words = [one for one in NAUGHTY.values() if one.isprintable() and 0 < len(one) < 200]
    async with everywhere(admin='listen = ["127.0.0.1:0"]') as (front, up):
        wire = await front.wire()

        async def ask(number: int) -> None:
            nonlocal wire
            name = f"canary{number}{rng.choice(words) if number % 3 == 0 else ''}"
            route = ROUTES[number % len(ROUTES)]
            provider = rng.choice((route.native, "nobody"))
            model = f"{provider}/{name}"
            safe = re.sub(r"[^a-z0-9]", "-", name)
            headers = {
                "user_agent": safe,
                "x_request_id": safe,
                "x_session_id": safe,
                "traceparent": safe,
            }
            if number % 5 == 4:
                method = rng.choice(METHODS)
                wire.send(request(method, f"/{safe}/v1/models/{safe}", b"", **headers))
                answered = await wire.answer(bodiless=method == "HEAD")
            else:
                authorization = BEARER if number % 7 else f"Bearer {safe}"
                path = route.path(
                    model.replace("/", "%2F").encode("ascii", "ignore").decode().replace(" ", "")
                )
                body = encoded(route.body(model, "Hi"))
                answered = await wire.post(
                    path.replace('"', ""), body, authorization=authorization, **headers
                )
            assert answered.status < 500, answered
            if answered.headers.get("connection") == "close":
                wire = await front.wire()

        for number in range(60):
            await ask(number)
        up.requests.clear()
        first, _ = await series(front)
        for number in range(60, NAMES):
            await ask(number)
            if len(up.requests) > 100:
                up.requests.clear()
        with Stalls() as stalls:
            last, page = await series(front)
        assert b"canary" not in page
        catalog = front.running.gateway.catalog
        assert len(catalog._known) <= 10_000
        assert len(front.running.gateway.pool.affinity) <= MAX_PLACED
    # What was seen late adds the rows of its status, and nothing with each name.
    assert last - first < 400
    FIGURES.append(
        f"labels: {NAMES} invented names, series {first} -> {last}; a scrape holds the loop {stalls.longest * 1e3:.1f} ms of CPU"
    )
