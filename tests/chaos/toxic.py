"""A TCP proxy on loopback that treats the bytes that pass as badly as it is told to."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import Self

_READ = 64 * 1024


@dataclass(frozen=True, slots=True)
class Toxic:
    """What becomes of the bytes of one direction. Times in seconds; counts in bytes of the one connection."""

    latency: float = 0.0
    """Before each piece goes on."""
    bandwidth: int | None = None
    """Bytes a second."""
    slices: int | None = None
    """Bytes of the pieces that go on, each in a packet of its own as far as the kernel lets it."""
    reset_after: int | None = None
    """Both ends are reset when so many have passed."""
    blackhole_after: int | None = None
    """Nothing goes on when so many have passed, and nobody is told."""
    half_close_after: int | None = None
    """This direction ends in order when so many have passed; the other stays open."""

    def most(self) -> int | None:
        """Return how many bytes may pass before something ends them."""
        ends = (self.reset_after, self.blackhole_after, self.half_close_after)
        return min((end for end in ends if end is not None), default=None)


WELL = Toxic()


class Proxy:
    """Passes on what comes for ``target``; ``up`` is done to what clients send, ``down`` to what they get."""

    def __init__(self, target: tuple[str, int], *, up: Toxic = WELL, down: Toxic = WELL) -> None:
        self._target = target
        self.up, self.down = up, down
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.sockets[0].getsockname()
        return host, port

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            writers.append(far_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass(reader, far_writer, self.up, writers))
                group.create_task(_pass(far_reader, writer, self.down, writers))
        except* (ConnectionError, _Ended):
            pass
        except* asyncio.CancelledError:
            pass  # the test is over
        finally:
            for one in writers:
                one.transport.abort()
            self._tasks.discard(task)


class _Ended(Exception):
    """A direction has ended both."""


async def _pass(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    toxic: Toxic,
    writers: list[asyncio.StreamWriter],
) -> None:
    passed = 0
    most = toxic.most()
    while data := await reader.read(_READ):
        for piece in _pieces(data, toxic.slices):
            rest = piece if most is None else piece[: most - passed]
            if toxic.latency:
                await asyncio.sleep(toxic.latency)
            if toxic.bandwidth is not None:
                await asyncio.sleep(len(rest) / toxic.bandwidth)
            if rest:
                writer.write(rest)
                await writer.drain()
                passed += len(rest)
            if most is not None and passed >= most:
                await _end(toxic, passed, reader, writer, writers)
                return
            if toxic.slices is not None:
                await asyncio.sleep(0)
    if writer.can_write_eof():
        writer.write_eof()


def _pieces(data: bytes, size: int | None) -> list[bytes]:
    return [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]


async def _end(
    toxic: Toxic,
    passed: int,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    writers: list[asyncio.StreamWriter],
) -> None:
    if toxic.reset_after is not None and passed >= toxic.reset_after:
        for one in writers:
            raw: socket.socket = one.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.transport.abort()
        raise _Ended
    if toxic.half_close_after is not None and passed >= toxic.half_close_after:
        writer.write_eof()
    while await reader.read(_READ):
        pass  # into the blackhole
    raise _Ended
