"""Bodies of any size pass through at the pace of the slower side, and no more of them is in memory than a few reads."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.daemon import Handed, activated, on_a_port, started
from tests.integration.gateway import KEY, config_text, gateway, upstream
from tests.integration.scripted import settled
from tests.integration.warehouse import warehouse
from tests.integration.wire import Wire

MIB = 1 << 20
UPLOAD = int(os.environ.get("SPLICE_UPLOAD_MIB", "128"))
"""MiB of a file; ``make chaos`` puts 1,024."""
ANSWER = int(os.environ.get("SPLICE_ANSWER_MIB", "64"))
"""MiB of an answer; ``make chaos`` gets 200."""
MOST = 32
"""MiB that either may add to the process."""
OPENING = (
    b'--xyz\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
)
CLOSING = b"\r\n--xyz--\r\n"


def resident(pid: int, name: str = "VmRSS") -> float:
    """Return the MiB of a process that are in memory: now, or ``VmHWM`` at the most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(name)


def head(method: str, path: str, length: int | None, kind: str) -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: {kind}\r\n{framing}\r\n\r\n"
    ).encode()


async def upload(wire: Wire, size: int) -> str:
    """Send a file of ``size`` bytes; return its digest."""
    digest = hashlib.sha256()
    kind = "multipart/form-data; boundary=xyz"
    wire.send(head("POST", "/v1/files", len(OPENING) + size + len(CLOSING), kind) + OPENING)
    piece = os.urandom(MIB)
    for _ in range(size // MIB):
        digest.update(piece)
        wire.send(piece)
        await wire.writer.drain()
    wire.send(CLOSING)
    return digest.hexdigest()


async def download(wire: Wire) -> int:
    """Ask for speech; return how many bytes of it came."""
    body = b'{"model":"up/t","voice":"a","input":"Hi"}'
    wire.send(head("POST", "/v1/audio/speech", len(body), "application/json") + body)
    _, headers = await wire.head()
    left = int(headers["content-length"])
    came = 0
    while left:
        data = await wire.reader.read(min(left, MIB))
        assert data, "cut off"
        left -= len(data)
        came += len(data)
    return came


@pytest.mark.timeout(600)
async def test_large_bodies_take_no_memory():
    with on_a_port() as listener:
        await large_bodies(listener)


async def large_bodies(listener: socket.socket) -> None:
    async with warehouse() as house:
        house.speech_size = ANSWER * MIB
        text = activated(upstream(house.url))
        async with started(text, Handed([listener], ["public"])) as daemon:
            wire = await Wire.open(listener.getsockname())
            # What the first call of each kind brings with it is not the body's.
            await upload(wire, MIB)
            assert (await wire.answer()).status == 200
            before = resident(daemon.process.pid)
            digest = await upload(wire, UPLOAD * MIB)
            answered = await wire.answer()
            assert (answered.status, answered.json["bytes"]) == (200, UPLOAD * MIB)
            assert house.seen[-1]["sha256"] == digest
            assert resident(daemon.process.pid, "VmHWM") - before <= MOST
            assert await download(wire) == ANSWER * MIB
            assert resident(daemon.process.pid, "VmHWM") - before <= MOST
            grown = resident(daemon.process.pid, "VmHWM") - before
            print(f"{UPLOAD} MiB up, {ANSWER} MiB down: {grown:.1f} MiB more in memory")  # noqa: T201
            wire.close()


async def test_a_client_is_read_no_faster_than_the_upstream_takes_its_body():
    async with slow_upstream() as (up, taking), gateway(config_text(upstream(up))) as front:
        wire = await front.wire()
        size = 64 * MIB
        kind = "multipart/form-data; boundary=xyz"
        wire.send(head("POST", "/v1/files", len(OPENING) + size + len(CLOSING), kind) + OPENING)
        sent = 0
        while sent < size:
            wire.send(b"x" * MIB)
            try:
                async with asyncio.timeout(1):
                    await wire.writer.drain()
            except TimeoutError:
                break
            sent += MIB
        # What is between them: the sockets' buffers, and ours.
        assert sent < 32 * MIB
        taking.set()
        rest = size - sent - MIB
        for _ in range(rest // MIB):
            wire.send(b"x" * MIB)
            await wire.writer.drain()
        wire.send(CLOSING)
        assert (await wire.answer()).status == 200


@asynccontextmanager
async def slow_upstream():
    """Run an upstream that reads nothing of a body until it is told to."""
    taking = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(asked.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await taking.wait()
        while length:
            length -= len(await reader.read(min(length, MIB)))
        body = b'{"id": "file-1", "object": "file"}'
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", taking
    finally:
        server.close()


async def test_an_upstream_that_has_heard_enough_is_told_on_at_once():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"error": {"message": "no such purpose", "type": "invalid_request_error"}}'
        writer.write(
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            while await reader.read(MIB):
                pass
        writer.close()
        over.set()

    over = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with gateway(config_text(upstream(url))) as front:
        wire = await front.wire()
        kind = "multipart/form-data; boundary=xyz"
        wire.send(head("POST", "/v1/files", 64 * MIB, kind) + OPENING + b"x" * MIB)
        # Of the rest nothing comes: who waits for it waits for ever.
        answered = await wire.answer()
        assert (answered.status, answered.headers["connection"]) == (400, "close")
        assert answered.error["message"] == "no such purpose"
        assert not front.running.gateway.calls
        await over.wait()
    server.close()


async def test_an_upstream_is_read_no_faster_than_the_client():
    async with warehouse() as house:
        house.speech_size = 64 * MIB
        async with gateway(config_text(upstream(house.url))) as front:
            wire = await front.wire(limit=1)
            body = b'{"model":"up/t","voice":"a","input":"Hi"}'
            wire.send(head("POST", "/v1/audio/speech", len(body), "application/json") + body)
            await wire.reader.read(1)
            (call,) = front.running.gateway.calls
            await settled(lambda: call.delivery.paused_at is not None)
            wire.leave()
            await front.last()
