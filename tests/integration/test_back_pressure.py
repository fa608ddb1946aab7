"""A client that reads slowly slows its upstream down, and nothing piles up between them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    DIALECTS,
    PATHS,
    Gateway,
    body_of,
    in_front_of,
)
from tests.integration.scripted import settled
from tests.integration.wire import Wire, encoded, request

SURFACES = ("chat", "messages")
PIECE = "x" * 8192
MOST = 24 << 20
"""Bytes. Kernel buffers between two sockets take a few MiB; what a stream without brakes takes has no end."""


class Hose:
    """A script that streams text for as long as it is taken, and counts what went."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.sent = 0
        self.stopped = asyncio.Event()
        self.left = asyncio.Event()
        self.enough = False

    async def __call__(self, reader, writer, request):
        writer.write(
            spoken.HEAD
            + spoken.chunk(spoken.metadata(self.dialect) + spoken.text(self.dialect, "begin"))
        )
        piece = spoken.chunk(spoken.more(self.dialect, PIECE))
        try:
            while not self.enough and self.sent < MOST:
                writer.write(piece)
                self.sent += len(piece)
                await self._drained(writer)
            writer.write(spoken.chunk(spoken.end(self.dialect)) + spoken.LAST)
            await writer.drain()
        except ConnectionError:
            self.left.set()
            raise

    async def _drained(self, writer):
        draining = asyncio.get_running_loop().create_task(writer.drain())
        await asyncio.wait([draining], timeout=0.3)
        if not draining.done():
            self.stopped.set()
        await draining


async def slow_client(front: Gateway) -> Wire:
    """Return a connection with a small receive buffer that reads nothing by itself."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    raw.setblocking(False)  # noqa: FBT003 - the socket's own
    await asyncio.get_running_loop().sock_connect(raw, front.address)
    return front.keep(Wire(*await asyncio.open_connection(sock=raw, limit=16 * 1024)))


def asking(surface):
    return request(
        "POST", PATHS[surface], encoded(body_of(surface, stream=True)), authorization=BEARER
    )


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_upstream_waits_for_a_client_that_does_not_read_and_goes_on_when_it_does(
    surface, dialect
):
    hose = Hose(dialect)
    async with in_front_of(hose, dialect) as (front, _):
        wire = await slow_client(front)
        wire.send(asking(surface))
        await wire.head()
        await asyncio.wait_for(hose.stopped.wait(), 20)
        assert hose.sent < MOST
        hose.enough = True
        out = 0
        last = b""
        while piece := await wire.chunk():
            out += len(piece)
            last = piece
        wire.close()
        line = await front.last()
    assert out > hose.sent // len(spoken.chunk(spoken.more(dialect, PIECE))) * len(PIECE)
    assert last.endswith(
        b"data: [DONE]\n\n" if surface == "chat" else b'{"type":"message_stop"}\n\n'
    )
    assert line["status"] == 200


async def test_a_client_that_never_reads_is_dropped_with_its_upstream():
    hose = Hose("openai-chat")
    async with in_front_of(hose, timeouts='client_write = "200ms"') as (front, _):
        wire = await slow_client(front)
        wire.send(asking("chat"))
        await wire.head()
        await asyncio.wait_for(hose.left.wait(), 20)
        line = await front.last()
        wire.close()
    assert (line["status"], line["error_type"]) == (499, "cancelled")


async def test_a_document_that_nobody_reads_is_dropped_and_holds_up_no_drain():
    script = [spoken.told("openai-chat", "z" * 20_000_000)]
    async with in_front_of(script, timeouts='client_write = "200ms"') as (front, _):
        wire = await slow_client(front)
        wire.send(request("POST", PATHS["chat"], encoded(body_of("chat")), authorization=BEARER))
        line = await front.last()
        assert line["status"] == 200
        async with asyncio.timeout(20):
            await front.running.drain(60)
        wire.close()


async def test_a_paused_upstream_is_not_taken_for_a_silent_one():
    hose = Hose("openai-chat")
    async with in_front_of(hose, timeouts='idle = "100ms"') as (front, _):
        wire = await slow_client(front)
        wire.send(asking("chat"))
        await wire.head()
        await asyncio.wait_for(hose.stopped.wait(), 20)
        await asyncio.sleep(0.3)
        hose.enough = True
        last = b""
        while piece := await wire.chunk():
            last = piece
        wire.close()
    assert last.endswith(b"data: [DONE]\n\n")


async def test_a_stall_of_the_client_is_none_of_the_upstream_when_it_ends():
    hose = Hose("openai-chat")
    async with in_front_of(hose, timeouts='idle = "500ms"') as (front, _):
        wire = await slow_client(front)
        wire.send(asking("chat"))
        await wire.head()
        await asyncio.wait_for(hose.stopped.wait(), 20)
        await asyncio.sleep(0.8)
        (call,) = front.running.gateway.calls
        call.resume()
        # The sweep comes before the loop gets round to reading.
        call.sweep(asyncio.get_running_loop().time())
        hose.enough = True
        last = b""
        while piece := await wire.chunk():
            last = piece
        line = await front.last()
        wire.close()
    assert last.endswith(b"data: [DONE]\n\n")
    assert (line["status"], "error_type" in line) == (200, False)


async def test_a_large_request_body_reaches_an_upstream_that_reads_slowly():
    said = "y" * (4 << 20)

    async def script(reader, writer, request):
        await asyncio.sleep(0.05)
        writer.write(spoken.told("openai-chat"))

    async with in_front_of(script) as (front, up):
        answered = await front.chat(said=said)
    assert answered.status == 200
    assert len(up.requests[0].body) > len(said)


async def test_one_slow_client_does_not_hold_up_another():
    hose = Hose("openai-chat")
    async with in_front_of(hose) as (front, up):
        wire = await slow_client(front)
        wire.send(asking("chat"))
        await wire.head()
        await asyncio.wait_for(hose.stopped.wait(), 20)
        hose.enough = True
        assert (await front.chat(stream=True)).data[-1] == "[DONE]"
        wire.close()
        await settled(lambda: len(up.requests) == 2)
