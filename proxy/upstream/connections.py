"""Keep-alive connections to providers, by origin."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast
from urllib.parse import urlsplit

from aiohappyeyeballs import AddrInfoType, start_connection

from proxy.upstream.http1 import Connection, Failure

KEEPALIVE = 60.0
CONNECT_TIMEOUT = 10.0
IDLE_PER_ORIGIN = 256

# RFC 8305: how long the first address may take before the next is tried beside it.
_EYEBALLS_DELAY = 0.25

_STOPPING = "the gateway is stopping"

_MAX_TUNNEL_HEAD = 16 * 1024

# From here on a copy to join head and body costs more than a second write.
LARGE_BODY = 64 * 1024


class Origin(NamedTuple):
    """Where a connection leads: it serves every request for the same scheme, host, port and way out."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    proxy: tuple[str, int] | None = None
    """The egress proxy's host and port; it is asked to CONNECT, whatever the scheme."""

    @classmethod
    def of(cls, url: str, proxy: str | None = None) -> Origin:
        """Return the origin of a URL, reached through ``proxy`` (``"http://host:port"``) if one is named.

        Raises ValueError for a URL that has no http or https origin.
        """
        scheme, host, port = _address(url)
        if proxy is None:
            return cls(scheme, host, port)
        proxy_scheme, proxy_host, proxy_port = _address(proxy)
        if proxy_scheme != "http":
            raise ValueError(f"found the proxy {proxy!r}, expected http://host:port")
        return cls(scheme, host, port, (proxy_host, proxy_port))

    @property
    def host_header(self) -> bytes:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return (host if self.port == default else f"{host}:{self.port}").encode("ascii")

    def __str__(self) -> str:
        way = f" through {self.proxy[0]}:{self.proxy[1]}" if self.proxy else ""
        return f"{self.scheme}://{self.host}:{self.port}{way}"


def _address(url: str) -> tuple[Literal["http", "https"], str, int]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"found {url!r}, expected http://host or https://host")
    if parts.username is not None:
        raise ValueError("found a user name in a URL, expected credentials in their own place")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    # Names outside ASCII are looked up, and verified, in the form that goes over the wire.
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    port = (443 if scheme == "https" else 80) if parts.port is None else parts.port
    if not 0 < port < 1 << 16:
        raise ValueError(f"found port {port}, expected 1 to 65535")
    return scheme, host, port


def system_tls() -> ssl.SSLContext:
    """Return what verifies providers against the system's certificates: some 60 ms, most of them without the interpreter's lock."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class ConnectFailed(Exception):
    """No connection; ``detail`` says why, for an operator."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Count:
    """How many connections an origin has; ``open`` includes the idle ones."""

    open: int
    idle: int


class Connections:
    """The connections of this process to its upstreams, idle ones kept for the next exchange.

    ``sweep`` is to be called every few seconds. Proxies named in the environment are never used: where a credential
    goes is a matter of the configuration alone.
    """

    def __init__(
        self,
        *,
        keepalive: float = KEEPALIVE,
        connect_timeout: float = CONNECT_TIMEOUT,
        idle_per_origin: int = IDLE_PER_ORIGIN,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._keepalive = keepalive
        self._connect_timeout = connect_timeout
        self._idle_per_origin = idle_per_origin
        self._tls = tls
        self._closed = False
        self._open: dict[Connection, Origin] = {}
        # Oldest first; a dict for its order and its deletion in the middle.
        self._idle: dict[Origin, dict[Connection, None]] = {}

    def __repr__(self) -> str:
        idle = sum(map(len, self._idle.values()))
        return f"<Connections {len(self._open)} open, {idle} idle>"

    async def acquire(
        self, origin: Origin, connect_timeout: float | None = None, *, fresh: bool = False
    ) -> Connection:
        """Return a connection that is ready for one exchange: the one idle for the shortest time, else a new one.

        It comes back by itself when the answer ends; who does not use it aborts it. ``connect_timeout`` in seconds
        covers names, proxy and TLS. ``fresh`` asks for a new one: where one idle connection has died, its neighbours
        have too. Raises ConnectFailed.
        """
        idle = self._idle.get(origin)
        while idle and not fresh:
            connection, _ = idle.popitem()
            if connection.usable:
                return connection
        if self._closed:
            raise ConnectFailed(Failure.connect, _STOPPING)
        return await self._connect(origin, connect_timeout or self._connect_timeout)

    def counts(self) -> dict[Origin, Count]:
        """Return the numbers of every origin that has a connection."""
        opened: dict[Origin, int] = {}
        for origin in self._open.values():
            opened[origin] = opened.get(origin, 0) + 1
        return {origin: Count(n, len(self._idle.get(origin, ()))) for origin, n in opened.items()}

    def sweep(self, now: float) -> None:
        """Close what has been idle for longer than the keep-alive time; ``now`` is the loop's time."""
        for origin, idle in list(self._idle.items()):
            stale = []
            for connection in idle:
                if now - connection.last_read < self._keepalive:
                    break
                stale.append(connection)
            for connection in stale:
                del idle[connection]
                connection.close()
            if not idle:
                del self._idle[origin]

    def close(self) -> None:
        """Close every connection, also those that carry an exchange; the sockets go within a turn of the loop."""
        self._closed = True
        self._idle.clear()
        for connection in list(self._open):
            connection.close()

    # Called by the connections.

    def freed(self, connection: Connection, heir: Connection) -> None:
        origin = self._open.pop(connection)
        self._open[heir] = origin
        idle = self._idle.setdefault(origin, {})
        if self._closed or len(idle) >= self._idle_per_origin:
            heir.close()
        else:
            idle[heir] = None

    def lost(self, connection: Connection) -> None:
        origin = self._open.pop(connection, None)
        if origin is not None and connection in (idle := self._idle.get(origin, {})):
            del idle[connection]

    # Connecting.

    async def _connect(self, origin: Origin, limit: float) -> Connection:
        connection = Connection(self._loop, self)
        try:
            async with asyncio.timeout(limit):
                await self._open_transport(origin, connection)
        except TimeoutError:
            detail = f"no connection to {origin} within {limit:g} s"
            raise ConnectFailed(Failure.connect_timeout, detail) from None
        except (OSError, UnicodeError) as error:
            raise ConnectFailed(Failure.connect, f"{origin}: {_why(error)}") from error
        # Counted only now: what fails or is cancelled on the way the loop closes by itself, and does not always say so.
        if self._closed:
            connection.abort()
            raise ConnectFailed(Failure.connect, _STOPPING)
        if connection.closed:
            raise ConnectFailed(Failure.connect, f"{origin}: closed at once by the peer")
        self._open[connection] = origin
        return connection

    async def _open_transport(self, origin: Origin, connection: Connection) -> None:
        tls = self._verification() if origin.scheme == "https" else None
        name = origin.host if tls else None
        if origin.proxy is None:
            sock = await self._reach(origin.host, origin.port)
            with ExitStack() as undo:
                undo.callback(sock.close)
                await self._loop.create_connection(
                    lambda: connection, sock=sock, ssl=tls, server_hostname=name
                )
                undo.pop_all()
            return
        transport = await self._tunnel(origin, origin.proxy)
        with ExitStack() as undo:
            undo.callback(transport.abort)
            if tls is None:
                transport.set_protocol(connection)
                connection.connection_made(transport)
                transport.resume_reading()
            else:
                secured = await self._loop.start_tls(
                    transport, connection, tls, server_hostname=name
                )
                if secured is None:
                    raise ConnectionResetError("the connection was lost during the TLS handshake")
                connection.connection_made(secured)
            undo.pop_all()

    def _verification(self) -> ssl.SSLContext:
        if self._tls is None:
            # Who knows beforehand that it is needed has it made elsewhere than on the loop.
            self._tls = system_tls()
        return self._tls

    async def _reach(self, host: str, port: int) -> socket.socket:
        # uvloop's create_connection tries the addresses one after the other, so a host whose IPv6 route swallows
        # packets would never be reached within the timeout.
        addresses = await self._look_up(host, port)
        try:
            return await start_connection(addresses, happy_eyeballs_delay=_EYEBALLS_DELAY)
        except RuntimeError as error:
            # What uvloop raises for some sockets that cannot be connected.
            raise OSError(str(error)) from error

    async def _look_up(self, host: str, port: int) -> Sequence[AddrInfoType]:
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return cast(Sequence[AddrInfoType], found)

    async def _tunnel(self, origin: Origin, proxy: tuple[str, int]) -> asyncio.Transport:
        """Return a transport that an egress proxy has joined to the origin, paused."""
        sock = await self._reach(*proxy)
        with ExitStack() as undo:
            undo.callback(sock.close)
            transport, tunnel = await self._loop.create_connection(
                lambda: _Tunnel(self._loop), sock=sock
            )
            undo.pop_all()
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        target = f"{host}:{origin.port}".encode("ascii")
        with ExitStack() as undo:
            undo.callback(transport.abort)
            transport.write(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target))
            await tunnel.joined
            undo.pop_all()
        return transport


class _Tunnel(asyncio.Protocol):
    """Waits for an egress proxy to say that the tunnel stands."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.joined: asyncio.Future[None] = loop.create_future()
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.joined.done():
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(head) > _MAX_TUNNEL_HEAD:
                self._refuse("the egress proxy's answer does not end")
            return
        version, _, status = head.partition(b"\r\n")[0].partition(b" ")
        if not version.startswith(b"HTTP/1.") or not status.startswith(b"2"):
            self._refuse(f"the egress proxy answered {status[:64].decode('latin-1')!r} to CONNECT")
        elif rest:
            # In both schemes the client speaks first: nobody beyond the proxy can have said anything yet.
            self._refuse("the egress proxy sent bytes after its answer to CONNECT")
        else:
            self._transport.pause_reading()
            self.joined.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the interface
        if not self.joined.done():
            self._refuse("the egress proxy closed the connection")

    def _refuse(self, why: str) -> None:
        self.joined.set_exception(ConnectionError(why))


def _why(error: OSError | UnicodeError) -> str:
    """Return one line about a failed connection that an operator can act on."""
    match error:
        case socket.gaierror():
            return f"the name does not resolve ({error.strerror})"
        case ssl.SSLCertVerificationError():
            return f"the certificate is not trusted ({error.verify_message})"
        case ssl.SSLError():
            return f"the TLS handshake failed ({error.reason or error})"
        case ConnectionRefusedError():
            return "the connection was refused"
        case ConnectionResetError() if error.errno is not None:
            return "the connection was reset"
    return str(error) or type(error).__name__


def request_bytes(
    method: bytes,
    target: bytes,
    host: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> bytes | list[bytes]:
    """Return a request ready for ``Connection.send``: one piece, or head and body where joining would copy much.

    Host and Content-Length are written here and must not be among ``headers``. Raises ValueError if a value would
    break out of its line: headers may come from a client.
    """
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: " + host]
    lines += [b"%b: %b" % header for header in headers]
    if body or method not in (b"GET", b"HEAD", b"DELETE"):
        lines.append(b"Content-Length: %d" % len(body))
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    ends = len(lines) + 1
    if head.count(b"\r") != ends or head.count(b"\n") != ends or b"\0" in head:
        raise ValueError("a request's target or header holds CR, LF or NUL")
    if target.count(b" ") or not target:
        raise ValueError("a request's target is empty or holds a space")
    return [head, body] if len(body) >= LARGE_BODY else head + body


def post(head: bytes, body: bytes) -> bytes | list[bytes]:
    """Return a POST ready for ``Connection.send``, like ``request_bytes``, from a ``head`` that is checked already.

    The head is the request line and the header lines, but for Content-Length.
    """
    head = b"%bContent-Length: %d\r\n\r\n" % (head, len(body))
    return [head, body] if len(body) >= LARGE_BODY else head + body
