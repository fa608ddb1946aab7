"""The client's side of a call: the answer's head and bytes, written straight to its transport."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from proxy.relay.outbox import Outbox

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
)
STREAM_HEAD = _STREAM_HEAD % b"text/event-stream; charset=utf-8"
ARRAY_HEAD = _STREAM_HEAD % b"application/json; charset=utf-8"
"""Of a stream that is one JSON array, which grows."""
_SIZED = 4096
_SIZES = tuple(b"%x\r\n" % size for size in range(_SIZED))
"""The first line of a chunk by its size: looked up, since formatting it took longer than the write around it."""
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


class Delivery:
    """One answer on one client connection; every method is synchronous, and does nothing once the client has left.

    A stream is ``start``, ``write`` …, ``finish``; a document is ``document`` alone. A token that ``write`` is given goes out at the
    end of the loop's turn, the rest at once and in its order. HTTP/1.0 knows no chunks: its stream ends with the connection.
    ``wrote`` is set by every write, for whoever looks from time to time whether there was one. ``paused_at`` is the loop time of
    the moment since which the client has not been reading, or None.
    """

    __slots__ = (
        "_chunked",
        "_closing",
        "_outbox",
        "_sized",
        "_transport",
        "bodiless",
        "fields",
        "finished",
        "head",
        "paused_at",
        "started",
        "wrote",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        outbox: Outbox,
        *,
        fields: bytes,
        http10: bool,
        closing: bool,
    ) -> None:
        self._transport = transport
        self._outbox = outbox
        self._chunked = not http10
        self._closing = closing or http10
        self._sized = False
        """The head of a stream says how long it is."""
        self.fields = fields
        """Header lines for whatever head goes out: request ids, what was dropped."""
        self.head = STREAM_HEAD
        """How the head of a stream begins."""
        self.bodiless = False
        """The request was a HEAD: its answer ends with its head."""
        self.started = False
        self.finished = False
        self.wrote = False
        self.paused_at: float | None = None

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may carry another request."""
        return self.finished and not self._closing and not self._transport.is_closing()

    def close_after(self) -> None:
        """Close the connection after the answer: what the client still sends would be read as its next request."""
        self._closing = True

    def pass_on(self, status: int, lines: bytes, length: int | None) -> None:
        """Begin the stream with ``status`` and these header lines; ``length`` are its bytes, None if nobody knows."""
        phrase = _PHRASES.get(status, b"OK")
        self.head = b"HTTP/1.1 %d %b\r\n%bCache-Control: no-cache\r\n" % (status, phrase, lines)
        if length is not None:
            self.head += b"Content-Length: %d\r\n" % length
            self._chunked = False
            self._sized = True

    def start(self, fields: bytes, data: bytes) -> None:
        """Send the head of a stream together with its first bytes."""
        self.started = True
        framing = b"Transfer-Encoding: chunked\r\n" if self._chunked else b""
        closing = b"Connection: close\r\n" if self._closing else b""
        head = b"".join((self.head, self.fields, fields, framing, closing, b"\r\n"))
        self._send(head + self._framed(data))

    def write(self, data: bytes) -> None:
        """Send bytes of a stream that has started. Runs once a read."""
        size = len(data)
        if self._chunked and 0 < size < _SIZED and not self.bodiless:
            self.wrote = True
            self._outbox.put(self._transport, b"".join((_SIZES[size], data, b"\r\n")))
        else:
            # Whoever fills his reads gets dozens of them in a turn: such a one must be held back in its middle.
            self._send(self._framed(data))

    def finish(self, data: bytes) -> None:
        """Send the last bytes of a stream and its end in one write."""
        self.finished = True
        ending = b"0\r\n\r\n" if self._chunked and not self.bodiless else b""
        self._send(self._framed(data) + ending)
        if not self._chunked and not self._sized and not self._transport.is_closing():
            self._transport.close()

    def document(
        self, status: int, fields: bytes, body: bytes, kind: bytes = b"application/json"
    ) -> None:
        """Send a whole answer."""
        self.started = self.finished = True
        closing = b"Connection: close\r\n" if self._closing else b""
        head = b"HTTP/1.1 %d %b\r\n" % (status, _PHRASES.get(status, b"Error"))
        if status != HTTPStatus.NO_CONTENT:
            head += b"Content-Type: %b\r\nContent-Length: %d\r\n" % (kind, len(body))
        shown = b"" if self.bodiless else body
        self._send(b"".join((head, self.fields, fields, closing, b"\r\n", shown)))

    def abort(self) -> None:
        """Drop the client, who does not read, or to whom nothing else can say that its answer is not whole."""
        self._transport.abort()

    def _framed(self, data: bytes) -> bytes:
        if self.bodiless:
            return b""
        if not data or not self._chunked:
            return data
        return b"%x\r\n%b\r\n" % (len(data), data)

    def _send(self, data: bytes) -> None:
        self.wrote = True
        self._outbox.flush()
        # A closed uvloop transport raises on write.
        if data and not self._transport.is_closing():
            self._transport.write(data)
