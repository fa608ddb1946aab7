"""One HTTP/1.1 exchange on one connection, told to a receiver from the transport's own callback.

Rules that hold here:

1. Reading wakes no task, awaits nothing and logs nothing. A read is parsed, then told: at most one ``head``, one
   ``body`` and one end, in that order.
2. The parser's callbacks only record. A receiver is called when the parser has returned, so it may abort, pause or
   start the next exchange without the parser noticing, and what it raises is not mistaken for a bad answer.
3. A transport is used again only if the answer ended where its framing says, the peer wants to keep it and not one
   byte came after. Doubt closes it.
4. A ``Connection`` carries one exchange. If its transport is used again, an heir takes that over, so that a ``pause`` or
   an ``abort`` that comes late, when a slow client's buffer fills for instance, cannot touch somebody else's exchange.

One read of up to 256 KiB may still be told after ``pause``: the transport had it already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol, cast

import httptools

from proxy.tasks import contained

# A provider's head is 1 to 3 KiB. The parser joins the pieces of a header value as it gets them, so what it may see of
# a head is counted before it sees it. Informational heads before the final one count as well.
MAX_HEAD = 64 * 1024
MAX_HEADERS = 128
MAX_INTERIM = 64

# Chunk extensions and trailers are bytes that never become body. Real ones are below a hundred bytes.
MAX_BARREN = 64 * 1024

# A server that gives up an idle connection does so within a round trip of our request. Later than this it may have
# worked on the request, and repeating that could be billed twice.
IDLE_DEATH = 2.0

_NO_BODY = frozenset((204, 304))
_VERSIONS = frozenset(("1.0", "1.1"))


class Failure(StrEnum):
    """Why there is no whole answer."""

    connect = "connect"
    connect_timeout = "connect_timeout"
    reset_idle = "reset_idle"
    """A connection that had served before died before one byte of this answer: safe to repeat."""
    reset = "reset"
    """The connection died before the head was complete."""
    truncated = "truncated"
    """The connection died after the head, before the end that the framing announced."""
    malformed = "malformed"
    head_too_large = "head_too_large"
    internal = "internal"
    """The receiver itself raised; the loop's exception handler has the exception."""


class Receiver(Protocol):
    """Who takes an answer. Every method is called from the transport's callback and must not block."""

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Take the final head: lower-cased names; the values of a repeated name joined by ``b", "``."""

    def body(self, data: bytes) -> None:
        """Take what one read brought of the body, without its framing; never empty."""

    def complete(self) -> None:
        """Note that the message ended as its framing says.

        Of a body that runs to the end of the connection nothing more can be known: look into the body itself.
        """

    def failed(self, failure: Failure) -> None:
        """Note that there will be no end; called once, instead of ``complete``."""


class Owner(Protocol):
    """Who keeps transports between exchanges."""

    def freed(self, connection: Connection, heir: Connection) -> None:
        """Take ``heir``, ready for another exchange, in the place of ``connection``, whose answer is complete."""

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed."""


class _Refused(Exception):
    """Raised inside a parser callback to stop the parser."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


class _Answer:
    """What the parser has found of one answer so far."""

    __slots__ = (
        "_count", "_head_bytes", "_interim", "_parser",
        "barren", "ended", "feed", "headers", "keep_alive", "on_body", "parts", "status", "to_eof", "told",
    )  # fmt: skip

    def __init__(self) -> None:
        self.status = 0
        """The final status, or 0 while the head is not complete."""
        self.headers: dict[bytes, bytes] = {}
        self.parts: list[bytes] = []
        self.barren = 0
        self.told = False
        self.ended = False
        self.to_eof = False
        self.keep_alive = False
        self._count = 0
        self._interim = 0
        self._head_bytes = 0
        # The parser calls list.append itself: no Python frame for a piece of body.
        self.on_body = self.parts.append
        self._parser = httptools.HttpResponseParser(self)
        self.feed = self._feed_head

    def release(self) -> None:
        """Let go of the parser, which holds this object by its callbacks."""
        del self._parser, self.feed

    @property
    def begun(self) -> bool:
        return self._head_bytes > 0

    def _feed_head(self, data: bytes) -> None:
        room = MAX_HEAD - self._head_bytes
        self._head_bytes += len(data)
        if len(data) <= room:
            self._parser.feed_data(data)
            return
        self._parser.feed_data(data[:room])
        if not self.status:
            raise _Refused(Failure.head_too_large)
        self._parser.feed_data(data[room:])

    # Called by the parser. It also calls these for informational messages, which it completes like any other, and
    # on_header for trailers. It looks its callbacks up once: one that is not needed must not exist.

    def on_message_begin(self) -> None:
        if self.ended:
            # Something follows the end. Stopped here, it cannot become anybody's answer.
            raise _Refused(Failure.malformed)
        self.headers = {}
        self._count = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        if self._count > MAX_HEADERS:
            raise _Refused(Failure.head_too_large)
        if self.status:
            return
        if b"\0" in value or b"\r" in value or b"\n" in value:
            # The parser refuses these as long as no leniency is switched on; values are copied into our own answers.
            raise _Refused(Failure.malformed)
        name = name.lower()
        value = value.rstrip(b" \t")
        before = self.headers.get(name)
        self.headers[name] = value if before is None else b"%b, %b" % (before, value)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise _Refused(Failure.head_too_large)
            return
        version = self._parser.get_http_version()
        if status < 100 or version not in _VERSIONS:
            raise _Refused(Failure.malformed)
        # A coding that we do not undo would reach the client as content. Both framings at once, or a repeated length,
        # the parser refuses itself.
        coding = self.headers.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
            raise _Refused(Failure.malformed)
        self.to_eof = (
            coding is None and b"content-length" not in self.headers and status not in _NO_BODY
        )
        self.status = status
        self.feed = self._parser.feed_data

    def on_message_complete(self) -> None:
        if self.status:
            self.ended = True
            self.keep_alive = self._parser.should_keep_alive()


def _reason(error: Exception) -> Failure:
    cause = error if isinstance(error, _Refused) else error.__context__
    return cause.failure if isinstance(cause, _Refused) else Failure.malformed


class Connection(asyncio.Protocol):
    """A connection to a provider for one exchange: idle, then busy, then closed or left to its heir."""

    __slots__ = (
        "_answer", "_full", "_loop", "_now", "_owner", "_paused", "_receiver", "_sending", "_served", "_transport", "last_read",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner) -> None:
        self._loop = loop
        self._now = loop.time
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._answer: _Answer | None = None
        self._receiver: Receiver | None = None
        self._served = 0
        self._paused = False
        self._sending = False
        """The request has a body of which not all has been given to ``write``."""
        self._full: asyncio.Future[None] | None = None
        """Until when the peer must read before more is written."""
        self.last_read = loop.time()
        """Loop time of the last read, or of ``send`` until one comes: what a sweep for timeouts looks at."""

    def __repr__(self) -> str:
        busy = "idle" if self._answer is None else "busy"
        return f"<Connection {'closed' if self.closed else busy}, {self._served} served before>"

    @property
    def closed(self) -> bool:
        """Whether there is nothing left to send on, also because an heir has it."""
        return self._transport is None or self._transport.is_closing()

    @property
    def usable(self) -> bool:
        """Whether ``send`` may be called."""
        return self._answer is None and not self.closed

    def send(self, request: bytes | list[bytes], receiver: Receiver) -> None:
        """Send one request, whole; the receiver hears the rest, if the connection is already lost before this returns.

        Raises RuntimeError if an exchange is running.
        """
        if self._answer is not None:
            raise RuntimeError("this connection is carrying another exchange")
        self._answer = _Answer()
        self._receiver = receiver
        self.last_read = self._now()
        transport = self._transport
        if transport is None or transport.is_closing():
            self._fail(self._death(self._answer, None))
        elif isinstance(request, bytes):
            transport.write(request)
        else:
            # Not writelines: it joins, and a large body would be copied.
            for part in request:
                if not transport.is_closing():
                    transport.write(part)

    def begin(self, head: bytes, receiver: Receiver) -> None:
        """Send the beginning of a request whose body comes by ``write``, and ends with ``sent``."""
        self._sending = True
        self.send(head, receiver)

    async def write(self, data: bytes) -> None:
        """Send a piece of the body, and wait until the peer has room for another. What is lost, the receiver hears of."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        full = self._full
        if full is not None:
            # Shielded: who waits may be cancelled, and the next one finds the same future.
            await asyncio.shield(full)

    def sent(self) -> None:
        """Note that the body is whole."""
        self._sending = False

    def abort(self) -> None:
        """Drop the connection now; the receiver hears nothing more."""
        self._detach()
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Drop the connection; a receiver hears, within a turn of the loop, that its answer failed."""
        if self._answer is not None:
            # This end is ours, so it is not the end of a body that runs to the end of the connection.
            self._answer.to_eof = False
        if self._transport is not None:
            self._transport.abort()

    # Back-pressure. Both may come at any time, also twice and after the end.

    def pause(self) -> None:
        """Stop reading until ``resume``."""
        if (
            self._paused
            or self._answer is None
            or self._transport is None
            or self._transport.is_closing()
        ):
            return
        self._paused = True
        self._transport.pause_reading()

    def resume(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # Called by the transport.

    def pause_writing(self) -> None:
        if self._full is None:
            self._full = self._loop.create_future()

    def resume_writing(self) -> None:
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.last_read = self._now()
        answer, receiver = self._answer, self._receiver
        if answer is None or receiver is None:
            # Nothing was asked, so this answers nothing: the tail of an earlier answer, or worse.
            self.close()
            return
        failure = None
        try:
            answer.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, _Refused) as error:
            failure = _reason(error)
        if answer.status:
            if not answer.told:
                answer.told = True
                receiver.head(answer.status, answer.headers)
                if self._answer is not answer:
                    return
            parts = answer.parts
            if parts:
                # The way of every token: from here to the client's transport it is a call each for the receiver, its answer
                # and its delivery.
                answer.barren = 0
                body = parts[0] if len(parts) == 1 else b"".join(parts)
                parts.clear()
                receiver.body(body)
                if self._answer is not answer:
                    # The receiver has ended the exchange.
                    return
            else:
                answer.barren += len(data)
        if answer.ended:
            self._end(answer, clean=failure is None)
        elif failure is not None:
            self._fail(failure)
        elif answer.barren > MAX_BARREN:
            self._fail(Failure.malformed)

    def connection_lost(self, exc: Exception | None) -> None:
        self._paused = False
        self.resume_writing()
        self._owner.lost(self)
        answer = self._answer
        if answer is None:
            return
        if answer.to_eof and exc is None:
            receiver = self._detach()
            if receiver is not None:
                self._tell_complete(receiver)
        else:
            self._fail(self._death(answer, exc))

    # The end of an exchange.

    def _end(self, answer: _Answer, *, clean: bool) -> None:
        receiver = self._detach()
        transport = self._transport
        # A request that is not all written yet was answered early: its rest would be read as the next one.
        if (
            clean
            and answer.keep_alive
            and transport is not None
            and not transport.is_closing()
            and not self._sending
            and transport.get_write_buffer_size() == 0
        ):
            heir = Connection(self._loop, self._owner)
            heir._transport = transport
            heir._served = self._served + 1
            self._transport = None
            transport.set_protocol(heir)
            # Before the receiver hears of it: it may want the heir for its next exchange.
            self._owner.freed(self, heir)
        else:
            self.close()
        if receiver is not None:
            self._tell_complete(receiver)

    def _fail(self, failure: Failure) -> None:
        receiver = self._detach()
        self.close()
        if receiver is not None:
            self._told(receiver.failed, failure)

    def _death(self, answer: _Answer, exc: BaseException | None) -> Failure:
        if exc is not None and not isinstance(exc, OSError):
            # What a receiver raised: the transport has reported it and closed.
            return Failure.internal
        if answer.told:
            return Failure.truncated
        if self._served and not answer.begun and self._now() - self.last_read <= IDLE_DEATH:
            return Failure.reset_idle
        return Failure.reset

    def _detach(self) -> Receiver | None:
        """Forget the exchange, so that nothing of it outlives its end."""
        receiver = self._receiver
        if self._answer is not None:
            self._answer.release()
        self._answer = self._receiver = None
        self.resume()
        return receiver

    # What a receiver raises while it is told of a read, the transport takes for its own failure: it reports it and closes.
    # At the end of an exchange the transport may already be somebody else's, so there it is caught and reported here.

    def _told(self, tell: Callable[..., None], *arguments: object) -> bool:
        """Call a receiver; return whether it took it."""
        error = contained(tell, *arguments)
        if error is not None:
            self._report(error)
        return error is None

    def _tell_complete(self, receiver: Receiver) -> None:
        if not self._told(receiver.complete):
            self._told(receiver.failed, Failure.internal)

    def _report(self, error: Exception) -> None:
        self._loop.call_exception_handler(
            {
                "message": "The receiver of an upstream's answer raised",
                "exception": error,
                "protocol": self,
                "transport": self._transport,
            }
        )
