from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import cast

import orjson
import pytest
from aiohttp import web

from proxy.server.guard import Guard, Handler, Limits, Server, Written
from tests.integration.scripted import settled

HOST = b"Host: gateway\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer with a Content-Length."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = head.rstrip().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (field.partition(":") for field in rest)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(line.split()[1]), headers, body

    async def refusal(self) -> tuple[int, dict]:
        """Read an error in OpenAI's shape, after which the server must close."""
        status, headers, body = await self.answer()
        assert headers["connection"] == "close"
        assert headers["content-type"].startswith("application/json")
        assert await self.rest() == b""
        error = orjson.loads(body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return status, error

    async def rest(self) -> bytes:
        """Read until the server closes; a reset is a close too."""
        with contextlib.suppress(ConnectionResetError):
            return await self.reader.read()
        return b""


class Gateway:
    def __init__(self, server: Server, address: tuple[str, int]) -> None:
        self.server, self.address = server, address
        self.clients: list[Client] = []

    async def client(self, first: bytes = b"") -> Client:
        client = Client(*await asyncio.open_connection(*self.address))
        self.clients.append(client)
        if first:
            client.send(first)
        return client


@contextlib.asynccontextmanager
async def serving(
    handler: Handler, limits: Limits | None = None, trusted=()
) -> AsyncIterator[Gateway]:
    server = Server(handler, limits=limits, trusted=trusted)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    gateway = Gateway(server, listener.sockets[0].getsockname())
    try:
        yield gateway
    finally:
        listener.close()
        for client in gateway.clients:
            client.writer.close()
            with contextlib.suppress(ConnectionError):
                await client.writer.wait_closed()
        await server.shutdown(1.0)
        await settled(lambda: server.open == 0)


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


async def written(request: web.BaseRequest) -> Written:
    """Answer past aiohttp, the way a relay does."""
    transport = request.transport
    assert transport is not None
    body = request.path.encode()
    transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    return Written(request.protocol, keep_alive=request.keep_alive)


# Answers written past aiohttp.


async def test_a_written_answer_keeps_the_connection():
    async with serving(written) as gateway:
        client = await gateway.client()
        for path in (b"/1", b"/2", b"/3"):
            client.send(b"GET %b HTTP/1.1\r\n%b\r\n" % (path, HOST))
            assert (await client.answer())[2] == path
        assert gateway.server.open == 1


async def test_requests_in_one_packet_are_answered_in_order():
    async with serving(written) as gateway:
        paths = [b"/%d" % n for n in range(100)]
        client = await gateway.client(
            b"".join(b"GET %b HTTP/1.1\r\n%b\r\n" % (path, HOST) for path in paths)
        )
        assert [(await client.answer())[2] for _ in paths] == paths


@pytest.mark.parametrize(
    "head",
    [b"GET /a HTTP/1.0\r\n\r\n", b"GET /a HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"],
)
async def test_a_written_answer_without_keep_alive_ends_with_the_connection(head):
    async with serving(written) as gateway:
        client = await gateway.client(head)
        assert (await client.rest()).endswith(b"\r\n\r\n/a")


async def test_an_http10_client_that_asks_for_it_keeps_the_connection():
    async with serving(written) as gateway:
        client = await gateway.client()
        for _ in range(2):
            client.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (await client.answer())[2] == b"/a"


async def test_a_body_that_nobody_read_does_not_become_the_next_request():
    async with serving(written) as gateway:
        body = b"GET /stolen HTTP/1.1\r\n" + HOST + b"\r\n"
        post = b"POST /a HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (HOST, len(body))
        client = await gateway.client(post + body[:10])
        assert (await client.answer())[2] == b"/a"
        client.send(body[10:] + b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.answer())[2] == b"/next"


async def test_a_large_written_answer_arrives_whole_although_the_handler_is_done():
    body = b"x" * 5_000_000

    async def handler(request):
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        request.transport.write(body)
        return Written(request.protocol, keep_alive=False)

    async with serving(handler) as gateway:
        client = await gateway.client(GET)
        assert (await client.rest()).endswith(b"\r\n\r\n" + body)


async def test_an_exception_after_the_first_byte_drops_the_connection_instead_of_answering_twice(
    caplog,
):
    async def handler(request):
        request.protocol.answering = True
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await asyncio.sleep(0.01)
        raise ValueError("broken")

    caplog.set_level(logging.ERROR)
    async with serving(handler) as gateway:
        client = await gateway.client(GET)
        assert (await client.rest()).endswith(b"half")
        assert [record.message for record in caplog.records] == ["A request handler failed"]


async def test_answering_is_forgotten_with_the_answer():
    async def handler(request):
        request.protocol.answering = True
        return await written(request)

    async with serving(handler) as gateway:
        client = await gateway.client(GET)
        assert (await client.answer())[2] == b"/a"
        client.send(b"garbage\r\n\r\n")
        assert (await client.refusal())[0] == 400


# Clients that leave.


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
async def test_a_client_that_leaves_cancels_its_handler(how):
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(request):
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Written(request.protocol, keep_alive=True)

    async with serving(handler) as gateway:
        client = await gateway.client(GET)
        await started.wait()
        if how == "close":
            client.writer.close()
        elif how == "half-close":
            client.writer.write_eof()
        else:
            client.writer.transport.abort()
        async with asyncio.timeout(5):
            await cancelled.wait()
        await settled(lambda: gateway.server.open == 0)


async def test_cancellation_comes_in_the_turn_after_the_loss():
    started = asyncio.Event()
    ended: list[str] = []
    guards: list[Guard] = []

    async def handler(request):
        guards.append(request.protocol)
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("settled")
        return Written(request.protocol, keep_alive=True)

    async with serving(handler) as gateway:
        client = await gateway.client(GET)
        await started.wait()
        (guard,) = guards
        transport = guard.transport
        guard.connection_lost(None)
        assert ended == []
        await asyncio.sleep(0)
        assert ended == ["settled"]
        assert transport is not None
        transport.abort()
        client.writer.close()


# Back-pressure.


class Tap:
    def __init__(self) -> None:
        self.turns: list[str] = []

    def pause(self) -> None:
        self.turns.append("pause")

    def resume(self) -> None:
        self.turns.append("resume")


async def test_a_client_that_does_not_read_holds_its_flow_back_until_it_does():
    tap, late = Tap(), Tap()
    size = 20_000_000

    async def handler(request):
        guard = cast(Guard, request.protocol)
        guard.flow = tap
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        request.transport.write(b"x" * size)
        # uvloop writes at the end of the turn.
        await settled(lambda: tap.turns == ["pause"])
        guard.flow = late
        assert late.turns == ["pause"]
        await settled(lambda: late.turns == ["pause", "resume"])
        guard.flow = None
        return Written(request.protocol, keep_alive=True)

    async with serving(handler) as gateway:
        client = await gateway.client(GET)
        await settled(lambda: late.turns)
        assert len((await client.answer())[2]) == size
        assert tap.turns == ["pause"]
        assert late.turns == ["pause", "resume"]


def answered(size: int) -> tuple[list[Guard], Handler]:
    """Return a handler that answers ``size`` bytes, and the connections that it has answered on."""
    guards: list[Guard] = []

    async def handler(request: web.BaseRequest) -> Written:
        guard = cast(Guard, request.protocol)
        guards.append(guard)
        transport = request.transport
        assert transport is not None
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, b"x" * size))
        return Written(guard, keep_alive=True)

    return guards, handler


async def test_a_client_that_reads_no_answer_is_given_no_more_of_them():
    guards, handler = answered(64 * 1024)
    async with serving(handler, Limits(client_write=0.2)) as gateway:
        await gateway.client(GET * 1000)
        await settled(lambda: guards)
        await settled(lambda: gateway.server.open == 0)
        assert len(guards) < 500


async def test_a_client_that_reads_its_answers_late_gets_all_of_them():
    guards, handler = answered(64 * 1024)
    async with serving(handler) as gateway:
        client = await gateway.client(GET * 400)
        await settled(lambda: guards and guards[0].writing_paused)
        assert [len((await client.answer())[2]) for _ in range(400)] == [64 * 1024] * 400


async def test_a_large_answer_that_nobody_reads_is_dropped_with_the_connection():
    guards, handler = answered(20_000_000)
    async with serving(handler, Limits(client_write=0.05)) as gateway:
        await gateway.client(GET)
        await settled(lambda: guards)
        await settled(lambda: gateway.server.open == 0)


async def test_a_connection_that_is_closing_does_not_wait_for_its_client_for_ever():
    guards, handler = answered(20_000_000)
    async with serving(handler, Limits(client_write=0.05)) as gateway:
        await gateway.client(GET)
        await settled(lambda: guards and guards[0].writing_paused)
        guards[0].force_close()
        await settled(lambda: gateway.server.open == 0)


async def test_a_slow_reader_of_a_large_answer_is_not_dropped():
    _, handler = answered(20_000_000)
    async with serving(handler, Limits(client_write=0.2)) as gateway:
        client = await gateway.client(GET)
        await client.reader.readuntil(b"\r\n\r\n")
        for _ in range(20):
            await client.reader.readexactly(1_000_000)
            await asyncio.sleep(0.03)
        assert gateway.server.open == 1


# The head phase. Times are short and compared by order, not by value.

QUICK = Limits(head_timeout=0.05, keep_alive=30.0)


@pytest.mark.parametrize("first", [b"", b"G", GET[:-2]])
async def test_a_connection_whose_head_does_not_end_is_closed(first):
    async with serving(hello, QUICK) as gateway:
        client = await gateway.client(first)
        assert await client.rest() == b""


async def test_a_second_head_that_does_not_end_is_closed():
    async with serving(hello, QUICK) as gateway:
        client = await gateway.client(GET)
        assert (await client.answer())[0] == 200
        client.send(b"GET")
        assert await client.rest() == b""


async def test_dripping_bytes_does_not_extend_the_head_phase():
    async with serving(hello, QUICK) as gateway:
        client = await gateway.client(b"GET /")

        async def drip() -> None:
            while True:
                client.send(b"a")
                await asyncio.sleep(0.01)

        task = asyncio.get_running_loop().create_task(drip())
        assert await client.rest() == b""
        task.cancel()


async def test_an_idle_connection_outlives_the_head_phase():
    async with serving(hello, QUICK) as gateway:
        client = await gateway.client(GET)
        assert (await client.answer())[0] == 200
        await asyncio.sleep(0.15)
        client.send(GET)
        assert (await client.answer())[0] == 200


async def test_a_slow_body_is_not_a_slow_head():
    async def handler(request):
        return web.Response(body=await request.read())

    async with serving(handler, QUICK) as gateway:
        client = await gateway.client(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\n")
        for byte in b"body":
            await asyncio.sleep(0.03)
            client.send(bytes([byte]))
        assert (await client.answer())[2] == b"body"


async def test_half_a_head_behind_a_long_answer_does_not_cut_it():
    async def handler(request):
        await asyncio.sleep(0.15)
        return web.Response(text="late")

    async with serving(handler, QUICK) as gateway:
        client = await gateway.client(GET)
        await asyncio.sleep(0.01)
        client.send(b"GET")
        assert (await client.answer())[2] == b"late"
        assert await client.rest() == b""


async def test_an_idle_connection_is_closed_after_the_keep_alive_time():
    async with serving(hello, Limits(keep_alive=0.05)) as gateway:
        client = await gateway.client(GET)
        assert (await client.answer())[0] == 200
        assert await client.rest() == b""


# Numbers of connections.


async def test_one_connection_too_many_is_told_so_and_closed():
    async with serving(hello, Limits(connections=2)) as gateway:
        kept = [await gateway.client(GET), await gateway.client(GET)]
        for client in kept:
            assert (await client.answer())[0] == 200
        refused = await gateway.client()
        status, error = await refused.refusal()
        assert (status, error["code"]) == (503, "too_many_connections")
        assert gateway.server.open == 2
        kept[0].writer.close()
        await settled(lambda: gateway.server.open == 1)
        assert (await (await gateway.client(GET)).answer())[0] == 200


async def test_loopback_has_no_number_of_its_own():
    async with serving(hello, Limits(per_address=1)) as gateway:
        for client in [await gateway.client(GET) for _ in range(3)]:
            assert (await client.answer())[0] == 200


async def test_an_address_may_have_so_many_connections_and_no_more():
    server = Server(hello, limits=Limits(per_address=2), trusted=[ip_network("10.0.0.0/8")])
    assert [server.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert server.enter("192.0.2.2")
    assert all(server.enter("10.1.1.1") for _ in range(3))
    assert all(server.enter("::ffff:127.0.0.1") for _ in range(3))
    assert all(server.enter(None) for _ in range(3))
    assert [server.enter("fe80::1%eth0") for _ in range(3)] == [True, True, False]
    server.leave("192.0.2.1")
    assert [server.enter("192.0.2.1") for _ in range(2)] == [True, False]


async def test_what_was_counted_in_is_counted_out():
    server = Server(
        hello, limits=Limits(connections=4, per_address=2), trusted=[ip_network("10.0.0.0/8")]
    )
    for address in ("192.0.2.1", "192.0.2.1", "10.0.0.1", None):
        assert server.enter(address)
    assert not server.enter("192.0.2.9")
    for address in ("192.0.2.1", "192.0.2.1", "10.0.0.1", None):
        server.leave(address)
    assert server.open == 0
    assert server._addresses == {}


# What comes behind a body in chunks, and behind a CONNECT.

CHUNKED = b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


async def feed(client: Client, pieces: list[bytes]) -> None:
    for piece in pieces:
        client.send(piece)
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("at", range(1, 20))
async def test_a_body_in_chunks_keeps_the_connection_wherever_it_is_cut(at):
    async with serving(written) as gateway:
        client = await gateway.client()
        for _ in range(2):
            await feed(client, [CHUNKED[:-at], CHUNKED[-at:] + b"3\r\nabc\r\n0\r\n\r\n"])
            assert (await client.answer())[2] == b"/a"
            await feed(
                client, [CHUNKED, b"3\r\nabc\r\n0\r\n\r\n"[:-at], b"3\r\nabc\r\n0\r\n\r\n"[-at:]]
            )
            assert (await client.answer())[2] == b"/a"


@pytest.mark.parametrize(
    "last",
    [
        b"0\r\nX-Trailer: 0\r\n\r\n",
        b"0\r\nA: b\r\nX-Trailer: 10\r\n\r\n",
        b"0;x\r\nX-Trailer: 0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("at", [0, *range(1, 30, 3)])
async def test_no_trailer_is_a_header_of_the_next_request(last, at):
    seen = []

    async def handler(request):
        seen.append("x-trailer" in request.headers)
        await request.read()
        return await written(request)

    async with serving(handler) as gateway:
        one = CHUNKED + b"3\r\nabc\r\n" + last
        client = await gateway.client()
        await feed(client, [one[:-at], one[-at:]] if at else [one])
        assert (await client.answer())[2] == b"/a"
        client.send(GET)
        assert await client.rest() == b""
        client = await gateway.client(one + GET)
        assert (await client.answer())[2] == b"/a"
        assert await client.rest() == b""
    assert not any(seen)


@pytest.mark.parametrize("separate", [False, True])
async def test_the_body_of_a_connect_is_no_request(separate):
    methods = []

    async def handler(request):
        methods.append(request.method)
        return await written(request)

    body = b"GET /hidden HTTP/1.1\r\n" + HOST + b"\r\n"
    connect = b"CONNECT /a HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (HOST, len(body))
    async with serving(handler) as gateway:
        client = await gateway.client()
        await feed(client, [connect, body] if separate else [connect + body])
        await client.rest()
    assert methods == ["CONNECT"]


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("first", [b"", GET])
async def test_a_body_that_breaks_before_anybody_looks_at_it_is_not_taken_for_whole(turns, first):
    bodies = []

    async def handler(request):
        if request.method == "POST":
            bodies.append(await request.read())
        return await written(request)

    server = Server(handler)
    guard = server()
    transport = Transport()
    guard.connection_made(transport)
    guard.data_received(first + CHUNKED + b"3\r\nabc\r\n")
    for _ in range(turns):
        await asyncio.sleep(0)
    guard.data_received(b"zz\r\n")
    for _ in range(10):
        await asyncio.sleep(0)
    guard.connection_lost(None)
    assert bodies == []
    assert transport.said.count(b"HTTP/1.1 400") <= 1


class Transport(asyncio.Transport):
    """Takes what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.said = b""
        self._closing = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.said += data

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


# Heads.

CODED = b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:"

MALFORMED = {
    "another version": b"GET /a HTTP/2.0\r\n" + HOST + b"\r\n",
    "an ancient version": b"GET /a HTTP/0.9\r\n" + HOST + b"\r\n",
    "a path in Host": b"GET /a HTTP/1.1\r\nHost: a/?x#y\r\n\r\n",
    "an empty Host": b"GET /a HTTP/1.1\r\nHost: \r\n\r\n",
    "a header nominated hop by hop": b"GET /a HTTP/1.1\r\n"
    + HOST
    + b"Connection: X-Forwarded-For\r\n\r\n",
    "one nominated in a second line": b"GET /a HTTP/1.1\r\n"
    + HOST
    + b"Connection: close\r\nConnection: close, Authorization\r\n\r\n",
    "no Host": b"GET /a HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both framings": b"POST /a HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an empty coding beside a length": CODED + b" \r\nContent-Length: 1\r\n\r\na",
    "two codings": CODED + b" gzip, chunked\r\n\r\n0\r\n\r\n",
    "one coding twice": CODED + b" chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "65 headers": b"GET /a HTTP/1.1\r\n"
    + HOST
    + b"".join(b"X-%d: a\r\n" % n for n in range(64))
    + b"\r\n",
    "a long header": b"GET /a HTTP/1.1\r\n"
    + HOST
    + b"Authorization: Bearer "
    + b"k" * 9000
    + b"\r\n\r\n",
    "a long line": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in a header": b"GET /a HTTP/1.1\r\n" + HOST + b"X: secret\x00\r\n\r\n",
    "TLS on a plain port": b"\x16\x03\x01\x00\xa5\x01\x00\x00",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
}


@pytest.mark.parametrize("head", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_request_is_refused_in_json_and_the_connection_closed(head, caplog):
    async with serving(hello) as gateway:
        client = await gateway.client(head)
        status, error = await client.refusal()
        assert status == 400
        assert error["type"] == "invalid_request_error"
        assert error["message"]
        assert "kkk" not in error["message"]
        assert "secret" not in error["message"]
        assert caplog.records == []


@pytest.mark.parametrize("host", [b"a", b"a.b:80", b"127.0.0.1:8080", b"[::1]:8080", b"my_host"])
async def test_ordinary_hosts_pass(host):
    async with serving(hello) as gateway:
        client = await gateway.client(b"GET /a HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        assert (await client.answer())[0] == 200


async def test_64_headers_pass():
    fields = b"".join(b"X-%d: a\r\n" % n for n in range(63))
    async with serving(hello) as gateway:
        client = await gateway.client(b"GET /a HTTP/1.1\r\n" + HOST + fields + b"\r\n")
        assert (await client.answer())[0] == 200


async def test_an_offer_to_upgrade_is_ignored():
    # Java's client offers h2c on every plain connection.
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    async with serving(written) as gateway:
        client = await gateway.client(b"GET /a HTTP/1.1\r\n" + HOST + offer + b"\r\n")
        assert (await client.answer())[2] == b"/a"


@pytest.mark.parametrize(
    "lines",
    [
        b"Connection: keep-alive\r\n",
        b"Connection: Keep-Alive, TE\r\n",
        b"connection:\r\n",
        b"Connection: keep-alive\r\nConnection: Keep-Alive\r\n",
    ],
)
async def test_ordinary_connection_headers_pass(lines):
    async with serving(hello) as gateway:
        client = await gateway.client(b"GET /a HTTP/1.1\r\n" + HOST + lines + b"\r\n")
        assert (await client.answer())[0] == 200


async def test_a_unix_socket_needs_no_host(tmp_path):
    server = Server(hello, limits=Limits(per_address=1))
    loop = asyncio.get_running_loop()
    listener = await loop.create_unix_server(server, str(tmp_path / "s"))
    clients = [Client(*await asyncio.open_unix_connection(str(tmp_path / "s"))) for _ in range(2)]
    for client in clients:
        client.send(b"GET /a HTTP/1.1\r\nHost:\r\n\r\n")
        assert (await client.answer())[0] == 200
        client.writer.close()
    listener.close()
    await settled(lambda: server.open == 0)


# Errors.


async def test_an_exception_is_a_500_without_its_text(caplog):
    async def handler(request):
        raise ValueError("private")

    async with serving(handler) as gateway:
        client = await gateway.client(GET)
        status, error = await client.refusal()
        assert (status, error["type"], error["code"]) == (500, "server_error", "internal_error")
        assert "private" not in error["message"]
        assert [record.message for record in caplog.records] == ["A request handler failed"]


async def test_a_body_above_the_limit_does_not_come_in():
    async def handler(request):
        await request.read()
        return Written(request.protocol, keep_alive=True)

    async with serving(handler, Limits(body=10)) as gateway:
        client = await gateway.client(
            b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 11\r\n\r\n" + b"x" * 11
        )
        assert (await client.answer())[0] == 413


async def test_nothing_is_decompressed():
    async def handler(request):
        return web.Response(body=await request.read())

    async with serving(handler) as gateway:
        client = await gateway.client(
            b"POST / HTTP/1.1\r\n"
            + HOST
            + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
        )
        assert (await client.answer())[2] == b"abc"


async def test_a_connection_is_busy_from_a_requests_first_byte_to_its_answers_last():
    go_on = asyncio.Event()

    async def handler(request):
        await go_on.wait()
        return web.Response(text="a")

    async with serving(handler) as gateway:
        server = gateway.server
        client = await gateway.client()
        await settled(lambda: server.open)
        await settled(lambda: not server.busy)
        for _ in range(2):
            client.send(GET[:5])
            await settled(lambda: server.busy)
            client.send(GET[5:])
            await asyncio.sleep(0.01)
            assert server.busy
            go_on.set()
            await client.answer()
            await settled(lambda: not server.busy)
            go_on.clear()


# What aiohttp itself writes.


@pytest.mark.parametrize(
    "first", [b"garbage\r\n\r\n", GET, b"GET /a HTTP/2.0\r\n" + HOST + b"\r\n"]
)
async def test_no_answer_says_what_software_wrote_it(first):
    async with serving(hello) as gateway:
        client = await gateway.client(first)
        assert "server" not in (await client.answer())[1]
