"""To whom the metrics are open."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import Metric as Family

from proxy.config.model import Admin
from proxy.config.secrets import Secret
from proxy.counts import Metrics
from proxy.server import scrape
from proxy.server.scrape import _encoder, _Page, may_read, render

HERE = ("127.0.0.1", 8081)
THERE = ("192.0.2.7", 8081)
NOBODY = Admin()
BOTH = Admin(token=Secret("changes"), read_token=Secret("reads"))


@pytest.mark.parametrize(
    "reached",
    [HERE, ("127.9.9.9", 1), ("::1", 1, 0, 0), ("::ffff:127.0.0.1", 1, 0, 0), "/run/s.sock", ""],
)
def test_they_are_open_to_this_machine(reached):
    assert may_read(reached, {}, BOTH)


@pytest.mark.parametrize(
    "reached", [THERE, ("::ffff:192.0.2.7", 1, 0, 0), ("fe80::1%eth0", 1, 0, 2), None]
)
def test_they_are_not_open_to_another(reached):
    assert not may_read(reached, {}, NOBODY)


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "x-forwarded-proto", "Forwarded", "Via", "X-Real-IP"]
)
def test_they_are_not_open_through_a_proxy(name):
    assert not may_read(HERE, {name: ""}, BOTH)


@pytest.mark.parametrize(
    ("sent", "open_"),
    [
        ("Bearer reads", True),
        ("bearer  changes ", True),
        ("Bearer read", False),
        ("Bearer reads2", False),
        ("Bearer ", False),
        ("Bearer r\udce9ads", False),
        ("Basic reads", False),
        ("reads", False),
    ],
)
def test_a_token_opens_them(sent, open_):
    assert may_read(THERE, {"authorization": sent}, BOTH) == open_
    assert not may_read(THERE, {"authorization": sent}, NOBODY)


def test_a_token_that_is_not_set_is_not_an_empty_one():
    empty = Admin(read_token=Secret(""))
    assert not may_read(THERE, {"authorization": "Bearer "}, empty)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=1.0.0,text/plain;q=0.5", "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text; version=soon", "text/plain; version=0.0.4"),
    ],
)  # fmt: skip
def test_the_format_is_the_one_that_is_asked_for(accept, kind):
    assert _encoder(accept)[1].startswith(kind)


# How it is written.


def many() -> Metrics:
    metrics = Metrics()
    for number in range(100):
        metrics.attempts.add(("p", f"account {number}", "success"), number)
        metrics.gaps.observe((f'provider "{number}"',), number)
    metrics.config_taken.set((), 1)
    return metrics


def whole(metrics: Metrics) -> list[Family]:
    """Return the metrics with all their series."""
    found: dict[str, Family] = {}
    for piece in metrics.families():
        if piece.name in found:
            found[piece.name].samples += piece.samples
        else:
            found[piece.name] = piece
    return list(found.values())


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_many_series_are_written_as_few_are(accept):
    encode, _ = _encoder(accept)
    metrics = many()
    pieces = list(metrics.families())
    families = whole(metrics)
    assert len(pieces) > len(families) + 20
    assert await render(pieces, encode) == encode(_Page(*families))


async def test_the_loop_goes_on_while_they_are_written(monkeypatch):
    monkeypatch.setattr(scrape, "_SLICE", 0.0)
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(turn)

    asyncio.get_running_loop().call_soon(turn)
    pieces = list(many().families())
    await render(pieces, generate_latest)
    assert turns >= len(pieces)
