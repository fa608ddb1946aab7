"""A receiver that writes down what it is told, and a transport that is only a memory."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.upstream.http1 import Connection, Failure


class Transcript:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.reads: list[bytes] = []
        self.end: str | Failure | None = None
        self.told: list[str] = []
        self.over = asyncio.Event()

    @property
    def text(self) -> bytes:
        return b"".join(self.reads)

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.told.append("head")
        self.status, self.headers = status, headers

    def body(self, data: bytes) -> None:
        self.told.append("body")
        self.reads.append(data)

    def complete(self) -> None:
        self.told.append("complete")
        self.end = "complete"
        self.over.set()

    def failed(self, failure: Failure) -> None:
        self.told.append("failed")
        self.end = failure
        self.over.set()


class Memory(asyncio.Transport):
    """Both ends of the line in one place: what was written, and whether it is still open."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False
        self.reading = True
        self.unsent = 0
        self.protocol: Connection

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: Any) -> None:
        assert not self.closing
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True


class Clock:
    """The part of a loop that a connection asks for."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reported: list[dict[str, Any]] = []

    def time(self) -> float:
        return self.now

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.reported.append(context)


class Freed:
    """An owner that notes what becomes of its connections, and keeps the last heir."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.heir: Connection | None = None

    def freed(self, connection: Connection, heir: Connection) -> None:
        self.events.append("freed")
        self.heir = heir

    def lost(self, connection: Connection) -> None:
        self.events.append("lost")


class Line:
    """A memory transport and whichever connection has it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.owner = Freed()
        self.transport = Memory()
        first = Connection(self.clock, self.owner)  # type: ignore[arg-type]
        self.transport.set_protocol(first)
        first.connection_made(self.transport)

    @property
    def connection(self) -> Connection:
        return self.transport.protocol

    def ask(self) -> Transcript:
        transcript = Transcript()
        self.connection.send(b"GET / HTTP/1.1\r\n\r\n", transcript)
        return transcript

    def answer(self, *reads: bytes) -> Transcript:
        """Send a request and let these reads come in; as a transport would, stop at the close."""
        transcript = self.ask()
        for data in reads:
            if self.transport.closing:
                break
            self.connection.data_received(data)
        return transcript
