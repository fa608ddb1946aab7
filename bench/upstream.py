"""The scripted provider of a run, a process of its own: it reads chat and messages calls and always says the same.

The head, the metadata and the first token go out in one write as soon as the request is there, so that the time to the first
content is the path's and no timer's. The other tokens follow one a write.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import cast

import orjson
import uvloop

from bench.answers import ANSWERS, Answer
from proxy.providers import Dialect

_PATHS: dict[bytes, Dialect] = {
    b"/v1/chat/completions": "openai-chat",
    b"/v1/messages": "anthropic",
}


class Script:
    """An answer as it goes over the wire: chunked, and with its head."""

    def __init__(self, answer: Answer) -> None:
        first, *rest = answer.tokens
        head = b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n"
        self.writes = (
            _head(head) + _chunk(answer.opening) + _chunk(first),
            *map(_chunk, rest),
            _chunk(answer.closing) + b"0\r\n\r\n",
        )
        length = b"content-length: %d\r\n" % len(answer.document)
        self.whole = _head(b"content-type: application/json\r\n" + length) + answer.document


def _head(fields: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nx-request-id: req_011CU\r\n" + fields + b"\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_SCRIPTS = {dialect: Script(ANSWERS[dialect]) for dialect in _PATHS.values()}


class Connection(asyncio.Protocol):
    """One connection; its requests are answered one after the other, ``interval`` seconds a token."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._writes: tuple[bytes, ...] = ()
        self._written = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whoever left, it is over
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        line, *fields = self._received[:end].split(b"\r\n")
        length = next(
            int(field[15:]) for field in fields if field[:15].lower() == b"content-length:"
        )
        if len(self._received) < end + length:
            return
        body = self._received[end : end + length]
        self._received = self._received[end + length :]
        script = _SCRIPTS[_PATHS[line.split(b" ")[1].partition(b"?")[0]]]
        if not orjson.loads(body).get("stream"):
            self._transport.write(script.whole)
            return
        self._writes, self._written = script.writes, 0
        self._due = self._loop.time()
        self._next()

    def _next(self) -> None:
        self._transport.write(self._writes[self._written])
        self._written += 1
        if self._written < len(self._writes):
            # From when it was due, not from now: a late token does not make the stream longer.
            self._due += self._interval
            self._timer = self._loop.call_at(self._due, self._next)


async def serve(port: int, interval: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(interval), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.upstream", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--interval", type=float, default=0.01, help="seconds between two tokens")
    asked = parser.parse_args()
    uvloop.run(serve(asked.port, asked.interval))


if __name__ == "__main__":
    main()
