"""Clients that ask at the same time, and what they get."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.chaos.upstreams import TELL_TALE
from tests.integration.gateway import BEARER, PATHS, Gateway, body_of
from tests.integration.wire import Answered, Wire, encoded, request

SURFACES = ("chat", "messages")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. ``marker`` is in its prompt, and in every answer to it."""

    marker: str
    surface: str
    stream: bool

    @property
    def bytes(self) -> bytes:
        body = encoded(body_of(self.surface, said=self.marker, stream=self.stream))
        return request("POST", PATHS[self.surface], body, authorization=BEARER)


@dataclass(frozen=True, slots=True)
class Got:
    """What a client got: ``text`` of a 200 as far as it came, and whether it was told that more should have come."""

    status: int
    text: str
    failed: bool
    attempts: int
    """Accounts that were asked; 0: not said."""


def asks(rng: random.Random, *, stream: bool | None = None) -> Iterator[Ask]:
    """Yield requests without end, of either surface; ``stream`` None: of either kind."""
    for number in itertools.count():
        streams = rng.random() < 0.5 if stream is None else stream
        yield Ask(f"ask-{number:06}", rng.choice(SURFACES), streams)


async def run(
    front: Gateway,
    wanted: Iterator[Ask],
    clients: int,
    take: Callable[[Ask, Got], None],
) -> None:
    """Have so many clients send all of ``wanted``, each one request after another; ``take`` is told of every answer."""

    async def client() -> None:
        wire = await Wire.open(front.address)
        try:
            for ask in wanted:
                wire.send(ask.bytes)
                answered = await wire.answer()
                take(ask, got(answered))
                if not answered.whole or answered.headers.get("connection") == "close":
                    wire.leave()
                    wire = await Wire.open(front.address)
        finally:
            wire.leave()

    await asyncio.gather(*(client() for _ in range(clients)))


def got(answered: Answered) -> Got:
    """Return what a client makes of an answer, in which nothing may be of one that failed."""
    assert TELL_TALE.encode() not in answered.body
    attempts = int(answered.headers.get("x-splice-attempts", "0"))
    if answered.status != 200:
        return Got(answered.status, "", failed=True, attempts=attempts)
    failed = not answered.whole
    if "event-stream" in answered.headers["content-type"]:
        failed = failed or any(isinstance(one, dict) and "error" in one for one in answered.data)
    return Got(200, answered.text, failed=failed, attempts=attempts)
