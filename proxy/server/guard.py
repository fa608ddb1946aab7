"""aiohttp's server made safe against clients that are slow, many or malformed.

What this reaches into is private to aiohttp and pinned by its minor version: ``_messages``, ``_request_count``,
``_waiter``, ``_manager``, ``_current_request``, ``_close``, ``_force_close`` and ``_drain_helper`` of ``RequestHandler``,
and ``_prepare_hook`` of ``BaseRequest``. ``tests/unit/server/test_guard.py`` holds each of them in place.

A handler may write its answer itself, head and body, to ``request.transport``, and return a ``Written``. Then:

- it writes only while the transport is not closing (a closed uvloop transport raises);
- it sets ``answering`` on ``request.protocol`` with the first byte, so that an exception that still escapes drops the
  connection instead of appending a second answer;
- an HTTP/1.0 client gets a body that ends with the connection, and ``Written(keep_alive=False)``;
- a client that leaves, or closes its half of the connection, cancels the handler within a turn of the loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import orjson
from aiohttp import HttpVersion10, HttpVersion11, StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from proxy.errors import ROWS, GatewayError, Kind

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LOOPBACK: tuple[Network, ...] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
)

# aiohttp lets anything pass. A Host with "/" or "?" in it has led gateways that build URLs from it past their own
# authentication.
_HOST = re.compile(r"[A-Za-z0-9.\-:\[\]_]+")

_VERSIONS = (HttpVersion10, HttpVersion11)

_USUAL = frozenset(("keep-alive", "Keep-Alive", "close"))
_HOPS = frozenset(("keep-alive", "close", "upgrade", "http2-settings", "te", ""))
"""What a Connection header may name. Any other name tells the proxies on the way to drop a header: X-Forwarded-For, say."""

_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Flow(Protocol):
    """What feeds an answer and can be held back while its client does not read."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Written:
    """What a handler returns that has itself written the whole answer to ``request.transport``."""

    __slots__ = ("_protocol", "keep_alive")

    def __init__(self, protocol: RequestHandler, *, keep_alive: bool) -> None:
        self._protocol = protocol
        self.keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing: aiohttp awaits it."""

    async def write_eof(self) -> None:
        """Wait for a client that does not read: aiohttp takes the next request when this returns.

        Whoever sent requests and read no answer would else fill the memory with them.
        """
        if self._protocol.writing_paused:
            await self._protocol._drain_helper()  # noqa: SLF001 - what aiohttp's own answers wait for


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse | Written]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes."""

    connections: int = 10_000
    per_address: int = 256
    head_timeout: float = 10.0
    """From the connection, or from the first byte of a later request, to the end of the head."""
    keep_alive: float = 75.0
    client_write: float = 60.0
    """For which a client may read nothing of an answer that nobody feeds any more."""
    headers: int = 64
    line: int = 8192
    """Of the request line and of each header, its name included."""
    body: int = 32 * 1024 * 1024
    """What ``request.read()`` takes before it raises HTTPRequestEntityTooLarge."""


class Guard(RequestHandler):
    """One client's connection."""

    __slots__ = (
        "_address", "_body", "_chunked", "_flow", "_has_sent", "_head_timeout", "_head_timer", "_tail", "_write_timer", "answering",
        "begun", "body_wire", "is_last", "local",
    )  # fmt: skip

    def __init__(self, server: Server, limits: Limits, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self.answering = False
        """Whether bytes of the current answer have gone to the transport past aiohttp."""
        self.begun = False
        """Whether the handler of the last request that was taken out of the queue has been called."""
        self.is_last = False
        """Whether no request will be read behind those that have come."""
        self.local = False
        """Whether the client came over a unix socket."""
        self._address: str | None = None
        self._body: StreamReader | None = None
        self._chunked = False
        """Whether that body comes in chunks."""
        self._tail = b""
        """The last bytes that have come of such a body."""
        self.body_wire = 0
        """Bytes that have come since the last head, of a body that did not come with it: its framing included."""
        self._flow: Flow | None = None
        self._has_sent = False
        """Whether part of a head has come, or whole ones."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_timeout = limits.head_timeout
        self._write_timer: asyncio.TimerHandle | None = None

    # The life of the connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self.local = not isinstance(peer, tuple)
        self._address = None if self.local else cast(str, peer[0])
        server = cast(Server, self._manager)
        if not server.enter(self._address):
            # No task, no timer and no place in the server's table, which connection_lost therefore leaves alone.
            self._manager = None
            self._force_close = True
            wire = cast(asyncio.Transport, transport)
            wire.write(_FULL)
            wire.close()
            return
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: BaseException | None) -> None:
        server = cast(Server | None, self._manager)
        if server is None:
            return
        server.leave(self._address)
        self._disarm()
        self._unwatch()
        self._flow = None
        super().connection_lost(exc)

    # The head phase. aiohttp's only limit on it is the keep-alive time.

    def data_received(self, data: bytes) -> None:
        in_head = self._body is None or self._body.is_eof()
        before = self._request_count
        super().data_received(data)
        fresh = self._request_count - before
        if fresh:
            message, body = self._messages[-1]
            was_chunked, self._chunked, connects = self._chunked, False, False
            if isinstance(message, RawRequestMessage):
                self._chunked, connects = message.chunked, message.method == "CONNECT"
            elif not in_head:
                self._break_body()
            if (
                connects
                or (was_chunked and not in_head)
                or (fresh > 1 and self._has_doubtful_end())
            ):
                self._read_no_further()
            self._tail = b""
            self._body = body
            self.body_wire = 0
            self._disarm()
        elif not in_head:
            self.body_wire += len(data)
        elif data and in_head and not self._force_close:
            self._has_sent = True
            if self._head_timer is None:
                self._arm()
        if self._chunked and (fresh or not in_head):
            self._look_at_last_chunk(data)

    # Requests behind which aiohttp's parser cannot be trusted with another one. It keeps the last trailer of a body in chunks
    # and makes it the first header of the next request: behind a proxy that passes trailers on and shares its connections,
    # that is somebody else's. And the body of a CONNECT it takes for a request.

    def _look_at_last_chunk(self, data: bytes) -> None:
        """Read no further if there are trailers, or may be: an ordinary last chunk is also the end of a packet."""
        self._tail = (self._tail + data[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]
        body = self._body
        if body is not None and body.is_eof() and self._tail != _LAST_CHUNK:
            self._read_no_further()

    def _has_doubtful_end(self) -> bool:
        """Tell whether such a one is among the requests that came before the last."""
        *before, _ = self._messages
        return any(
            isinstance(one, RawRequestMessage) and (one.chunked or one.method == "CONNECT")
            for one, _ in before
        )

    def _read_no_further(self) -> None:
        self.is_last = True
        self.close()

    @property
    def busy(self) -> bool:
        """Whether a request is on its way in, being answered, or its answer on the way out."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return True
        # A connection on which nothing has come yet may be one that a client holds in reserve.
        if self._head_timer is not None and (self._has_sent or self._request_count > 0):
            return True
        transport = self.transport
        return transport is not None and transport.get_write_buffer_size() > 0

    def _break_body(self) -> None:
        """End a body whose framing is broken: aiohttp has queued a 400 behind its request, which would wait for it for ever."""
        body = self._body
        if body is None or body.is_eof():
            return
        if (
            not self.begun
            or self._current_request is not None
            or any(one is body for _, one in self._messages)
        ):
            body.set_exception(
                GatewayError(
                    Kind.INVALID_REQUEST, "The body's chunks are not framed as they should be."
                )
            )
        body.feed_eof()

    def _arm(self) -> None:
        self._head_timer = self._loop.call_later(self._head_timeout, self._head_expired)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_expired(self) -> None:
        self._head_timer = None
        if self._waiter is not None and not self._waiter.done():
            self.force_close()
        elif not self._force_close:
            # The next head is being sent while an answer goes out, which may take its time.
            self._arm()

    # Back-pressure.

    @property
    def flow(self) -> Flow | None:
        """What is to be held back while the client does not read; one set when it already does not is paused at once."""
        return self._flow

    @flow.setter
    def flow(self, flow: Flow | None) -> None:
        self._flow = flow
        if self.writing_paused:
            self._hold_back()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._hold_back()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unwatch()
        if self._flow is not None:
            self._flow.resume()

    def _hold_back(self) -> None:
        """Have the flow wait for the client, and for how long: where there is none, that is known here."""
        self._unwatch()
        if self._flow is not None:
            self._flow.pause()
        elif self.transport is not None:
            self._watch(self.transport, self.transport.get_write_buffer_size())

    def _watch(self, transport: asyncio.Transport, left: int) -> None:
        patience = cast(Server, self._manager).client_write
        self._write_timer = self._loop.call_later(patience, self._look_at_reader, transport, left)

    def _unwatch(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _look_at_reader(self, transport: asyncio.Transport, before: int) -> None:
        """Drop a client that has read nothing of what was left; a large answer to a slow one takes its time.

        To close would be to wait for it.
        """
        left = transport.get_write_buffer_size()
        if left < before:
            self._watch(transport, left)
        else:
            transport.abort()

    # Errors that no handler rendered.

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return aiohttp's own refusals and a handler's escaped exceptions as JSON; the connection then closes.

        Raises ConnectionError, after which aiohttp sends nothing, if an answer is already on its way.
        """
        if status >= 500:
            self.logger.error("A request handler failed", exc_info=exc)
        if self.answering or request.writer.output_size > 0:
            if self.transport is not None:
                self.transport.abort()
            raise ConnectionError("an answer is already on its way")
        if status >= 500:
            return _error(status, Kind.TIMEOUT if status == 504 else Kind.INTERNAL)
        return _error(status, Kind.INVALID_REQUEST, _fault(exc, message))


class Server(web.Server):
    """The factory of guarded connections: pass it to ``loop.create_server`` or a ``web.ServerRunner``.

    Peers in ``trusted`` networks (reverse proxies), on loopback and on unix sockets count towards the whole, not
    towards the number that one address may have.
    """

    def __init__(
        self, handler: Handler, *, limits: Limits | None = None, trusted: Sequence[Network] = ()
    ) -> None:
        self._limits = limits = limits or Limits()
        self.client_write = limits.client_write
        """What holds from the next answer on; it may be set."""
        self._handler = handler
        self.trust(trusted)
        self._addresses: dict[str, int] = {}
        self._count = 0
        super().__init__(
            # aiohttp only awaits the result, and calls prepare, write_eof and keep_alive of what comes out.
            cast(Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], self._admit),
            handler_cancellation=True,
            keepalive_timeout=limits.keep_alive,
            max_headers=limits.headers,
            max_field_size=limits.line,
            max_line_size=limits.line,
            # Both off: the access log is ours, and decompressing is an attack surface that no client needs.
            access_log=None,
            auto_decompress=False,
        )

    def __call__(self) -> Guard:
        return Guard(self, self._limits, loop=self._loop, **self._kwargs)

    def trust(self, networks: Sequence[Network]) -> None:
        """Count connections from ``networks`` towards the whole only, from now on."""
        self._uncapped = (*_LOOPBACK, *networks)

    @property
    def open(self) -> int:
        """How many connections are open."""
        return self._count

    @property
    def busy(self) -> bool:
        """Whether a request is anywhere between its first byte and the last one of its answer."""
        return any(cast(Guard, guard).busy for guard in self.connections)

    def hang_up(self) -> None:
        """Close the connections on which no request is under way."""
        for guard in list(self.connections):
            if not cast(Guard, guard).busy:
                guard.force_close()

    def enter(self, address: str | None) -> bool:
        """Count a new connection, or return False if it is one too many; None is a unix socket."""
        if self._count >= self._limits.connections:
            return False
        if address is not None and not self._is_uncapped(address):
            count = self._addresses.get(address, 0)
            if count >= self._limits.per_address:
                return False
            self._addresses[address] = count + 1
        self._count += 1
        return True

    def leave(self, address: str | None) -> None:
        """Count a connection out that ``enter`` let in."""
        self._count -= 1
        if address is None:
            return
        count = self._addresses.get(address, 0)
        if count > 1:
            self._addresses[address] = count - 1
        elif count:
            del self._addresses[address]

    def _is_uncapped(self, address: str) -> bool:
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self._uncapped)

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        # Made for malformed requests as well, so this is where every answer begins.
        guard = cast(Guard, protocol)
        guard.answering = guard.begun = False
        return _Request(
            message, payload, protocol, writer, task, self._loop, client_max_size=self._limits.body
        )

    def _admit(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse | Written]:
        # Not a coroutine: one frame less for every request that is fine.
        guard = cast(Guard, request.protocol)
        guard.begun = True
        fault = _head_fault(request, local=guard.local)
        return self._handler(request) if fault is None else _refuse(fault)


class _Request(web.BaseRequest):
    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        """Take the name and version of the software out of what aiohttp answers; it awaits this."""
        response.headers.popall(hdrs.SERVER, None)


def _head_fault(request: web.BaseRequest, *, local: bool) -> str | None:
    """Return what is wrong with a head that aiohttp let pass."""
    if request.version not in _VERSIONS:
        major, minor = request.version
        return f"found HTTP/{major}.{minor}, expected HTTP/1.1 or HTTP/1.0"
    headers = request.headers
    host = headers.get(hdrs.HOST)
    # Only HTTP/1.0 may go without: aiohttp refuses the rest. On a unix socket there is nothing to name.
    if host is not None and not _HOST.fullmatch(host) and not (local and host == ""):
        return "the Host header is not a host name or address with an optional port"
    connections = headers.getall(hdrs.CONNECTION, ())
    for connection in connections:
        if connection not in _USUAL and not _HOPS.issuperset(
            token.strip() for token in connection.lower().split(",")
        ):
            return "the Connection header names more than keep-alive, close, upgrade and te"
    codings = headers.getall(hdrs.TRANSFER_ENCODING, ())
    if codings:
        if request.version == HttpVersion10:
            return "HTTP/1.0 has no Transfer-Encoding: its body has a Content-Length"
        # aiohttp takes an empty one for none, and a length beside it for the body's.
        if len(codings) > 1 or codings[0].lower() != "chunked":
            return "the Transfer-Encoding is not chunked alone"
    return None


async def _refuse(fault: str) -> web.StreamResponse:
    return _error(400, Kind.INVALID_REQUEST, fault)


def _fault(exc: BaseException | None, message: str | None) -> str:
    """Return what aiohttp found wrong, without the bytes that it quotes: they may hold a key."""
    if isinstance(exc, LineTooLong):
        return "the request line or a header is too long"
    return (message or "the request is not valid HTTP").partition("\n")[0].rstrip(": ")


def _error(status: int, kind: Kind, message: str = "") -> web.StreamResponse:
    response = web.Response(
        status=status,
        body=_document(kind, message),
        content_type="application/json",
        headers={hdrs.CONNECTION: "close"},
    )
    response.force_close()
    return response


def _document(kind: Kind, message: str) -> bytes:
    """Return an error in OpenAI's shape: the path, and with it the dialect, may not be known."""
    row = ROWS[kind]
    text = row.text or message
    return orjson.dumps(
        {"error": {"message": text, "type": row.openai_type, "param": None, "code": row.code}}
    )


_FULL_BODY = orjson.dumps(
    {
        "error": {
            "message": "Too many open connections; close some or retry later.",
            "type": "server_error",
            "param": None,
            "code": "too_many_connections",
        }
    }
)
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_FULL_BODY), _FULL_BODY)
)
