"""An upstream that does exactly what a test tells it to, over a real socket.

A script is a list of steps, played for each request, as in ``async with Scripted([whole(b"{}"), Cut()]) as up``, or
an async function that gets the streams and the request.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection in order: everything sent arrives, then the end."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Drop the connection: the peer sees ECONNRESET."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    """Lower-cased names; of a repeated name the last value."""
    body: bytes
    connection: int
    """The number of the connection that it came on, from 0."""


Step = bytes | Pause | Cut | Reset
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Request], Awaitable[None]]


def whole(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """Return an answer with a Content-Length; ``content_type=`` is written content-type."""
    return _head(status, headers) + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def chunked(*pieces: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """Return a chunked answer, a chunk for each piece."""
    frames = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return _head(status, headers) + b"transfer-encoding: chunked\r\n\r\n" + frames + b"0\r\n\r\n"


def _head(status: str, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status}"] + [f"{k.replace('_', '-')}: {v}" for k, v in headers.items()]
    return "".join(f"{line}\r\n" for line in lines).encode()


class Scripted:
    def __init__(self, script: Script | list[Step], tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        self._script = script
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[Exception] = []

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._tls, limit=1 << 20
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._errors:
            raise self._errors[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = self.connections
        self.connections += 1
        try:
            while not writer.is_closing():
                request = await _read(reader, number)
                self.requests.append(request)
                if callable(self._script):
                    await self._script(reader, writer, request)
                else:
                    await play(self._script, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the gateway left
        except asyncio.CancelledError:
            writer.transport.abort()  # the test is over
        except Exception as error:  # noqa: BLE001 - raised again when the test leaves the context
            self._errors.append(error)
        finally:
            writer.close()
            self._tasks.discard(task)


async def settled(holds: Callable[[], object]) -> None:
    """Wait until something holds that the loop has yet to get round to."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - for what no event tells
            await asyncio.sleep(0.001)


async def play(steps: list[Step], writer: asyncio.StreamWriter) -> None:
    """Do the steps; a script that is a function may call this as well."""
    for step in steps:
        match step:
            case bytes():
                writer.write(step)
                await writer.drain()
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Cut():
                writer.close()
                return
            case Reset():
                raw: socket.socket = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return


async def _read(reader: asyncio.StreamReader, connection: int) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head.rstrip("\r\n").split("\r\n")
    method, target, _ = line.split(" ")
    headers = {k.strip().lower(): v.strip() for k, _, v in (field.partition(":") for field in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, connection)
