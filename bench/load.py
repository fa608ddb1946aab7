"""The clients of a run, a process of its own: connections that ask, read the answer and ask again.

Prints one JSON object, a ``Report``, about a window of time in which all of them were busy.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import time
from dataclasses import dataclass
from typing import cast

import orjson
import uvloop

from bench.answers import MARK, TOKENS
from bench.processes import cpu_seconds, resident_mib

KEY = "sk-splice-the-key-of-the-benchmark"
PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages"}
_SETTLE = 0.2
"""Seconds between the last connection's first request and the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came in a window of ``seconds``: answers that ended, tokens, and what the measured processes used for them.

    ``first_p50`` and ``first_p99``: µs from a request's last byte to the first content. ``resident``: MiB at the window's end.
    """

    seconds: float
    requests: int
    tokens: int
    cpu: float
    resident: float
    first_p50: float
    first_p99: float
    failures: int
    example: str
    """What the first failure was."""


class Load:
    """What is asked, and what came of it so far."""

    def __init__(self, request: bytes, *, stream: bool) -> None:
        self.request = request
        self.stream = stream
        self.over = False
        self.failures = 0
        self.example = ""
        self.open_window()

    def open_window(self) -> None:
        self.requests = self.tokens = 0
        self.first: list[float] = []

    def failed(self, how: str) -> None:
        self.failures += 1
        self.example = self.example or how


class Connection(asyncio.Protocol):
    """One client. A failed answer ends it: what follows on a connection in disorder would mean nothing."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._load.over:
            self._load.failed(f"the connection was closed: {exc or 'in order'}")

    def ask(self) -> None:
        self._head: bytes | None = b""
        self._left = 0
        self._tokens = 0
        self._tail = b""
        self._transport.write(self._load.request)
        self._asked = time.perf_counter()

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            data = self._read_head(data)
            if not data:
                return
        if self._load.stream:
            self._streamed(data)
        else:
            self._left -= len(data)
            self._tail = data
            if self._left <= 0:
                self._load.first.append(time.perf_counter() - self._asked)
                self._ended(whole=MARK in data)

    def _read_head(self, data: bytes) -> bytes:
        """Take the head, or more of it; return what of ``data`` is behind it."""
        head, end, body = ((self._head or b"") + data).partition(b"\r\n\r\n")
        if not end:
            self._head = head
            return b""
        self._head = None
        fields = head.lower().split(b"\r\n")
        if fields[0].split(b" ")[1] != b"200":
            self._fail(head + b" " + body)
            return b""
        if not self._load.stream:
            self._left = next(
                int(field[15:]) for field in fields if field.startswith(b"content-length:")
            )
        return body

    def _streamed(self, data: bytes) -> None:
        # The tail is one byte shorter than a mark: one that two reads share is found, and none is found twice.
        data = self._tail + data
        self._tail = data[-len(MARK) + 1 :]
        came = data.count(MARK)
        if came:
            if not self._tokens:
                self._load.first.append(time.perf_counter() - self._asked)
            self._tokens += came
            self._load.tokens += came
        if self._tail == b"0\r\n\r\n":
            self._ended(whole=self._tokens == TOKENS)

    def _ended(self, *, whole: bool) -> None:
        if not whole:
            self._fail(b"the answer ended with %d tokens: " % self._tokens + self._tail)
            return
        self._load.requests += 1
        self.ask()

    def _fail(self, how: bytes) -> None:
        self._load.failed(how[:500].decode("utf-8", "replace"))
        self._transport.abort()

    def leave(self) -> None:
        self._transport.abort()


def request(port: int, surface: str, model: str, *, stream: bool) -> bytes:
    """Return a call of ``surface`` ("chat" or "messages") as a client's bytes."""
    body: dict[str, object] = {"model": model, "max_tokens": 256}
    asked = {"role": "user", "content": "What is a token, and how long is one?"}
    if surface == "chat":
        body["messages"] = [{"role": "system", "content": "Answer briefly."}, asked]
    else:
        body |= {"system": "Answer briefly.", "messages": [asked]}
    if stream:
        body["stream"] = True
        if surface == "chat":
            body["stream_options"] = {"include_usage": True}
    written = orjson.dumps(body)
    head = (
        f"POST {PATHS[surface]} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(written)}\r\n\r\n"
    )
    return head.encode() + written


async def run(asked: argparse.Namespace) -> Report:
    """Keep ``asked.connections`` busy; open the window when the last one has begun, close it ``asked.seconds`` later."""
    loop = asyncio.get_running_loop()
    load = Load(
        request(asked.port, asked.surface, asked.model, stream=asked.stream), stream=asked.stream
    )
    connections: list[Connection] = []
    for _ in range(asked.connections):
        _, connection = await loop.create_connection(
            lambda: Connection(load), "127.0.0.1", asked.port
        )
        connections.append(connection)
    # Spread over one answer's length, or they would all begin, and end, at once.
    for number, connection in enumerate(connections):
        loop.call_later(asked.spread * number / asked.connections, connection.ask)
    await asyncio.sleep(asked.spread + _SETTLE)
    load.open_window()
    opened, used = time.perf_counter(), cpu_seconds(asked.pid)
    await asyncio.sleep(asked.seconds)
    load.over = True
    seconds, used = time.perf_counter() - opened, cpu_seconds(asked.pid) - used
    report = Report(
        seconds=seconds,
        requests=load.requests,
        tokens=load.tokens,
        cpu=used,
        resident=resident_mib(asked.pid),
        first_p50=_percentile(load.first, 0.50),
        first_p99=_percentile(load.first, 0.99),
        failures=load.failures,
        example=load.example,
    )
    for connection in connections:
        connection.leave()
    return report


def _percentile(seconds: list[float], share: float) -> float:
    """Return the value, in µs, that ``share`` of ``seconds`` does not exceed; 0 for none at all."""
    if not seconds:
        return 0.0
    return sorted(seconds)[math.ceil(share * len(seconds)) - 1] * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("surface", choices=PATHS)
    parser.add_argument("model")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--spread", type=float, default=0.1, help="seconds in which they begin")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--pid", type=int, action="append", default=[], help="of what is measured")
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(run(parser.parse_args()))) + b"\n")


if __name__ == "__main__":
    main()
