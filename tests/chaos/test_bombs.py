"""Streams of upstreams that are made to fill a memory or to outwit a parser: each is over, or passes, and holds little."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.dialects import sse
from tests.chaos.amount import AMOUNT, FIGURES
from tests.chaos.four import leaks
from tests.integration import spoken
from tests.integration.gateway import BEARER, DIALECTS, PATHS, Gateway, body_of, in_front_of
from tests.integration.scripted import Request, settled
from tests.integration.wire import Answered

SURFACES = ("chat", "messages")
MIB = 1 << 20
AMOUNT_SENT = (2 if AMOUNT.is_short else 20) * MIB
"""Bytes of each bomb: more than an event may have."""
PIECE = 1 << 16
MAX_EVENT = MIB if AMOUNT.is_short else sse.MAX_EVENT
MOST = 4 * sse.MAX_EVENT
"""Bytes by which the process may grow while an event of the largest size is gathered, joined, and refused; client and upstream are in it."""


def filled(one: bytes) -> bytes:
    return one * (PIECE // len(one))


PASSING: dict[str, bytes] = {
    "comments": filled(b": a\n\n"),
    "empty lines": filled(b"\n"),
    "carriage returns": filled(b"\r"),
    "both line ends": filled(b"\r\n"),
    "events without data": filled(b"event: x\n\n"),
    "ids": filled(b"id: 1\n\n"),
    "times to wait": filled(b"retry: 99999999999999999999\n\n"),
    "fields that nobody knows": filled(b"x: y\n\n"),
    "data that is empty": filled(b"data\n\n"),
    "data that is no JSON": filled(b"data: x\n\n"),
    "data that is another JSON": filled(b"data: []\n\n"),
    "NULs as data": filled(b"data: \0\n\n"),
    "no UTF-8": filled(b"data: \xff\xfe\n\n"),
}
"""What says nothing: the answer comes behind it."""
ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "a line": (b"data: ", b"x" * PIECE),
    "a line of JSON": (b'data: {"a":"', b"x" * PIECE),
    "a comment": (b": ", b"x" * PIECE),
    "an id": (b"id: ", b"x" * PIECE),
    "a time to wait": (b"retry: ", b"1" * PIECE),
    "the name of an event": (b"event: ", b"x" * PIECE),
    "comments of one event": (b"", filled(b":\n")),
    "no field": (b"", b"x" * PIECE),
    "NULs": (b"", b"\0" * PIECE),
    "lines of one event": (b"", filled(b"data: x\n")),
    "lines of one event with CR": (b"", filled(b"data: x\r")),
    "byte order marks": (b"", filled(b"\xef\xbb\xbf")),
    "brackets": (b"data: ", b"[" * PIECE),
}
"""What never comes to the end of an event."""


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Bomb:
    """An upstream that says ``before``, then ``piece`` over and over, then the rest of a good answer."""

    def __init__(self, before: bytes, first: bytes, piece: bytes, after: bytes) -> None:
        self._before, self._first, self._piece, self._after = before, first, piece, after
        self.sent = self.least = self.most = 0

    async def __call__(self, reader, writer, asked: Request) -> None:
        if b"be good" in asked.body:
            writer.write(spoken.HEAD + spoken.chunk(self._before + self._after) + spoken.LAST)
            return
        writer.write(spoken.HEAD + spoken.chunk(self._before + self._first or b"\n"))
        self.least = self.most = resident()
        while self.sent < AMOUNT_SENT:
            writer.write(spoken.chunk(self._piece))
            await writer.drain()
            # Client, gateway and upstream share a loop; each gets its turn.
            await asyncio.sleep(0)
            self.sent += len(self._piece)
            self.most = max(self.most, resident())
        writer.write(spoken.chunk(b"\n\n" + self._after) + spoken.LAST)
        await writer.drain()


def parts(dialect: str, *, begun: bool) -> tuple[bytes, bytes]:
    """Return a good stream in two halves: before its content, or behind it."""
    metadata, said = spoken.metadata(dialect), spoken.text(dialect, "Hello")
    if begun:
        return metadata + said, spoken.end(dialect)
    return metadata, said + spoken.end(dialect)


async def asked(front: Gateway, surface: str, said: str) -> Answered:
    wire = await front.wire(limit=1 << 26)
    body = body_of(surface, said=said, stream=True)
    return await wire.post(PATHS[surface], body, authorization=BEARER)


async def unheld(front: Gateway) -> None:
    await settled(lambda: not leaks(front))


def cells() -> Iterator[tuple[str, str, bool]]:
    """Yield dialect, surface, and whether content has come; the short form takes each dialect once, natively and not."""
    for number, dialect in enumerate(DIALECTS):
        for surface in SURFACES:
            for begun in (False, True):
                if not AMOUNT.is_short or (number + (surface == "chat") + begun) % 2:
                    yield dialect, surface, begun


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PASSING)
async def test_what_says_nothing_is_over_some_time_and_the_answer_comes(name):
    grown = 0
    for dialect, surface, begun in list(cells())[::4]:
        before, after = parts(dialect, begun=begun)
        bomb = Bomb(before, b"", PASSING[name], after)
        async with in_front_of(bomb, dialect) as (front, _):
            answered = await asked(front, surface, "be evil")
            assert answered.status == 200, (dialect, surface, begun)
            assert b"Hello" in answered.body, (dialect, surface, begun)
            assert b"error" not in answered.body[-300:], (dialect, surface, begun)
            await unheld(front)
        grown = max(grown, bomb.most - bomb.least)
    assert grown < MOST
    FIGURES.append(f"{AMOUNT_SENT // MIB} MiB of {name}: passed, +{grown / MIB:.1f} MiB")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ENDLESS)
async def test_what_never_comes_to_an_end_is_ended(name, monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT", MAX_EVENT)
    grown = sent = 0
    for dialect, surface, begun in list(cells())[::4]:
        before, after = parts(dialect, begun=begun)
        bomb = Bomb(before, *ENDLESS[name], after)
        async with in_front_of(bomb, dialect) as (front, _):
            answered = await asked(front, surface, "be evil")
            assert answered.status == (200 if begun else 502), (dialect, surface, begun)
            assert b"error" in answered.body
            assert len(answered.body) < PIECE
            seat = front.running.gateway.pool.seat("up")
            assert seat is not None
            seat.clear()
            good = await asked(front, surface, "be good")
            assert (good.status, good.text) == (200, "Hello")
            await unheld(front)
        grown, sent = max(grown, bomb.most - bomb.least), max(sent, bomb.sent)
    assert sent < MAX_EVENT + 4 * MIB, "it was not ended"
    assert grown < MOST
    FIGURES.append(f"{name} without end: ended after {sent / MIB:.1f} MiB, +{grown / MIB:.1f} MiB")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_that_comes_byte_by_byte_is_the_same_stream(dialect, surface):
    stream = spoken.stream(dialect, "He", "llo 🏳️‍🌈")
    size = iter([len(stream), 1, 2, 3])

    async def script(reader, writer, request: Request) -> None:
        step = next(size)
        writer.write(spoken.HEAD)
        for at in range(0, len(stream), step):
            writer.write(spoken.chunk(stream[at : at + step]))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(spoken.LAST)

    async with in_front_of(script, dialect) as (front, _):
        whole, *cut = [await asked(front, surface, "Hi") for _ in range(4)]
    for one in cut:
        assert (one.status, one.whole) == (200, True)
        assert _timeless(one) == _timeless(whole)
    assert whole.text == "Hello 🏳️‍🌈"


def _timeless(answered: Answered) -> list[object]:
    """Return what an answer says, without what is new with each."""
    return [
        one
        if isinstance(one, str)
        else {k: v for k, v in one.items() if k not in ("id", "created", "message")}
        for one in answered.data
    ]
