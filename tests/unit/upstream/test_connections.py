from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from proxy.upstream.connections import (
    LARGE_BODY,
    ConnectFailed,
    Connections,
    Count,
    Origin,
    request_bytes,
)
from proxy.upstream.http1 import Connection, Failure
from tests.integration.scripted import Cut, Scripted, chunked, settled, whole
from tests.unit.upstream.transcript import Transcript

GET = b"GET / HTTP/1.1\r\nHost: up\r\n\r\n"


async def ask(connection: Connection) -> Transcript:
    heard = Transcript()
    connection.send(GET, heard)
    async with asyncio.timeout(5):
        await heard.over.wait()
    return heard


@pytest.fixture
async def connections():
    pool = Connections()
    yield pool
    pool.close()
    await settled(lambda: not pool.counts())


# Keeping.


async def test_a_connection_whose_answer_ended_is_used_again(connections):
    async with Scripted([whole(b"ok")]) as up:
        origin = Origin.of(up.url)
        first = await connections.acquire(origin)
        assert connections.counts() == {origin: Count(open=1, idle=0)}
        await ask(first)
        assert connections.counts() == {origin: Count(open=1, idle=1)}
        await connections.acquire(origin)
        assert connections.counts() == {origin: Count(open=1, idle=0)}
        assert up.connections == 1


async def test_the_connection_used_last_is_used_first(connections):
    async with Scripted([whole(b"ok")]) as up:
        origin = Origin.of(up.url)
        for connection in reversed([await connections.acquire(origin) for _ in range(2)]):
            await ask(connection)
        for _ in range(2):
            await ask(await connections.acquire(origin))
        assert [request.connection for request in up.requests] == [1, 0, 0, 0]


async def test_a_fresh_connection_is_a_new_one(connections):
    async with Scripted([whole(b"ok")]) as up:
        origin = Origin.of(up.url)
        await ask(await connections.acquire(origin))
        await connections.acquire(origin, fresh=True)
        assert connections.counts() == {origin: Count(open=2, idle=1)}


async def test_origins_do_not_share_connections(connections):
    async with Scripted([whole(b"ok")]) as up:
        here, there = Origin.of(up.url), Origin.of(up.url.replace("127.0.0.1", "localhost"))
        await ask(await connections.acquire(here))
        await ask(await connections.acquire(there))
        assert connections.counts() == {here: Count(1, 1), there: Count(1, 1)}
        assert repr(connections) == "<Connections 2 open, 2 idle>"


async def test_a_connection_that_the_peer_closes_while_idle_is_forgotten(connections):
    async with Scripted([whole(b"ok"), Cut()]) as up:
        origin = Origin.of(up.url)
        await ask(await connections.acquire(origin))
        await settled(lambda: not connections.counts())
        await ask(await connections.acquire(origin))
        assert up.connections == 2


async def test_a_connection_that_speaks_while_idle_is_dropped(connections):
    spoken = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(whole(b"ok"))
        await spoken.wait()
        writer.write(whole(b"EVIL"))

    async with Scripted(script) as up:
        origin = Origin.of(up.url)
        await ask(await connections.acquire(origin))
        spoken.set()
        await settled(lambda: not connections.counts())


async def test_an_aborted_exchange_does_not_come_back(connections):
    async with Scripted([chunked(b"a")[:-5]]) as up:
        origin = Origin.of(up.url)
        connection = await connections.acquire(origin)
        heard = Transcript()
        connection.send(GET, heard)
        await settled(lambda: heard.reads)
        connection.abort()
        await settled(lambda: not connections.counts())


async def test_what_has_been_idle_too_long_is_closed():
    pool = Connections(keepalive=60)
    async with Scripted([whole(b"ok")]) as up:
        origin = Origin.of(up.url)
        old, new = [await pool.acquire(origin) for _ in range(2)]
        busy = await pool.acquire(origin)
        await ask(old)
        await ask(new)
        old, new = pool._idle[origin]
        old.last_read = new.last_read - 30
        pool.sweep(new.last_read + 31)
        await settled(lambda: pool.counts() == {origin: Count(open=2, idle=1)})
        assert old.closed
        pool.sweep(new.last_read + 60)
        await settled(lambda: pool.counts() == {origin: Count(open=1, idle=0)})
        assert not busy.closed
        busy.abort()
        await settled(lambda: not pool.counts())


async def test_only_so_many_are_kept():
    pool = Connections(idle_per_origin=2)
    async with Scripted([whole(b"ok")]) as up:
        origin = Origin.of(up.url)
        for connection in [await pool.acquire(origin) for _ in range(3)]:
            await ask(connection)
        await settled(lambda: pool.counts() == {origin: Count(open=2, idle=2)})
        pool.close()
        await settled(lambda: not pool.counts())


async def test_closing_closes_busy_connections_too_and_their_receivers_hear_it():
    pool = Connections()
    async with Scripted([b"HTTP/1.1 200 OK\r\n\r\nto the end"]) as up:
        origin = Origin.of(up.url)
        heard = Transcript()
        (await pool.acquire(origin)).send(GET, heard)
        await settled(lambda: heard.reads)
        pool.close()
        await settled(lambda: not pool.counts())
        assert heard.end == Failure.truncated
        with pytest.raises(ConnectFailed, match="stopping"):
            await pool.acquire(origin)


async def test_a_connection_that_was_being_made_at_the_close_is_closed_too():
    pool = Connections()
    async with Scripted([whole(b"ok")]) as up:
        task = asyncio.get_running_loop().create_task(pool.acquire(Origin.of(up.url)))
        await asyncio.sleep(0)
        pool.close()
        with pytest.raises(ConnectFailed, match="stopping"):
            await task
        await settled(lambda: not up._tasks)


async def test_both_ways_are_without_delay(connections):
    async with Scripted([whole(b"ok")]) as up:
        connection = await connections.acquire(Origin.of(up.url))
        raw = connection._transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# Failing.


async def test_a_refused_connection_says_so(connections):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConnectFailed) as caught:
            await connections.acquire(Origin.of(f"http://127.0.0.1:{port}"))
    assert caught.value.failure == Failure.connect
    assert caught.value.detail == f"http://127.0.0.1:{port}: the connection was refused"
    assert connections.counts() == {}


@pytest.mark.parametrize("host", ["a" * 64, "a..b"])
async def test_a_name_that_cannot_be_looked_up_is_a_failed_connection(connections, host):
    with pytest.raises(ConnectFailed) as caught:
        await connections.acquire(Origin("http", host, 80))
    assert caught.value.failure == Failure.connect


async def test_a_name_that_does_not_resolve_says_so():
    class Nowhere(Connections):
        async def _look_up(self, host, port):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(
        ConnectFailed, match=r"the name does not resolve \(Name or service not known\)"
    ):
        await Nowhere().acquire(Origin.of("http://provider.invalid"))


async def test_an_address_that_swallows_packets_does_not_hide_the_next():
    with socket.socket() as hole, socket.socket() as first, socket.socket() as second:
        # A full backlog: the kernel drops what would be one more.
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for filler in (first, second):
            filler.settimeout(0)
            filler.connect_ex(hole.getsockname())
        async with Scripted([whole(b"ok")]) as up:

            class Both(Connections):
                async def _look_up(self, host, port):
                    kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
                    return [(*kind, hole.getsockname()), (*kind, ("127.0.0.1", up.port))]

            pool = Both()
            heard = await ask(await pool.acquire(Origin.of("http://provider.test")))
            assert heard.text == b"ok"
            pool.close()
            await settled(lambda: not pool.counts())


@pytest.mark.parametrize("turns", range(12))
async def test_who_is_cancelled_while_connecting_leaves_no_connection(connections, turns):
    loop = asyncio.get_running_loop()
    reported = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    async with Scripted([whole(b"ok")]) as up:
        task = loop.create_task(connections.acquire(Origin.of(up.url)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result().abort()
        await settled(lambda: not connections.counts())
        await settled(lambda: not up._tasks)
    assert reported == []


async def test_a_peer_that_does_not_finish_its_handshake_times_out(connections):
    async with Scripted([]) as up:
        origin = Origin("https", "127.0.0.1", up.port)
        with pytest.raises(ConnectFailed, match=r"within 0\.05 s") as caught:
            await connections.acquire(origin, connect_timeout=0.05)
        assert caught.value.failure == Failure.connect_timeout
        assert connections.counts() == {}


# TLS.


async def test_tls_to_a_trusted_certificate(certificate, server_tls):
    pool = Connections(tls=ssl.create_default_context(cafile=certificate))
    async with Scripted([chunked(b"se", b"cret")], tls=server_tls) as up:
        origin = Origin.of(up.url)
        for _ in range(2):
            heard = await ask(await pool.acquire(origin))
            assert (heard.text, heard.end) == (b"secret", "complete")
        assert up.connections == 1
        pool.close()
        await settled(lambda: not pool.counts())


async def test_a_paused_exchange_over_tls_goes_on_when_it_is_resumed(certificate, server_tls):
    pool = Connections(tls=ssl.create_default_context(cafile=certificate))
    body = b"x" * 3_000_000

    class Reader(Transcript):
        def body(self, data):
            super().body(data)
            connection.pause()
            asyncio.get_running_loop().call_later(0.001, connection.resume)

    async with Scripted([whole(body)], tls=server_tls) as up:
        connection = await pool.acquire(Origin.of(up.url))
        heard = Reader()
        connection.send(GET, heard)
        async with asyncio.timeout(10):
            await heard.over.wait()
        assert (heard.text == body, heard.end) == (True, "complete")
        pool.close()
        await settled(lambda: not pool.counts())


async def test_a_certificate_that_nobody_trusts_is_refused(connections, server_tls):
    async with Scripted([whole(b"ok")], tls=server_tls) as up:
        with pytest.raises(ConnectFailed, match=r"the certificate is not trusted \(self") as caught:
            await connections.acquire(Origin.of(up.url))
        assert caught.value.failure == Failure.connect
        await settled(lambda: not connections.counts())


async def test_a_peer_without_tls_is_a_failed_handshake(connections):
    async def greet(reader, writer):
        writer.write(b"220 mail\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectFailed, match="the TLS handshake failed"):
        await connections.acquire(Origin("https", "127.0.0.1", port))
    server.close()


# Through an egress proxy.


def forwarding(target_port: int):
    """A script that joins whoever asks to the target, as an egress proxy does."""

    async def script(reader, writer, request):
        there_reader, there = await asyncio.open_connection("127.0.0.1", target_port)
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")

        async def copy(source, sink):
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        try:
            await asyncio.gather(copy(reader, there), copy(there_reader, writer))
        finally:
            there.close()

    return script


async def test_plain_http_goes_through_a_tunnel(connections):
    async with Scripted([whole(b"ok")]) as up, Scripted(forwarding(up.port)) as way:
        origin = Origin.of("http://provider.test:8080", way.url)
        for _ in range(2):
            assert (await ask(await connections.acquire(origin))).text == b"ok"
        (connect,) = way.requests
        assert (connect.method, connect.target) == ("CONNECT", "provider.test:8080")
        assert connect.headers["host"] == "provider.test:8080"
        connections.close()


async def test_tls_goes_through_a_tunnel_and_is_verified_at_its_end(certificate, server_tls):
    pool = Connections(tls=ssl.create_default_context(cafile=certificate))
    async with (
        Scripted([whole(b"ok")], tls=server_tls) as up,
        Scripted(forwarding(up.port)) as way,
    ):
        origin = Origin.of("https://localhost", way.url)
        for _ in range(2):
            assert (await ask(await pool.acquire(origin))).text == b"ok"
        assert [connect.target for connect in way.requests] == ["localhost:443"]
        with pytest.raises(ConnectFailed, match="the certificate is not trusted"):
            await pool.acquire(Origin.of("https://provider.test", way.url))
        pool.close()
        await settled(lambda: not pool.counts())


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([whole(b"", "407 Proxy Authentication Required")], "407 Proxy Authentication Required"),
        ([Cut()], "closed the connection"),
        ([b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n"], "sent bytes after its answer"),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000], "does not end"),
        ([b"SSH-2.0\r\n\r\n"], "answered"),
    ],
)
async def test_a_proxy_that_refuses_is_named(connections, steps, why):
    async with Scripted(steps) as way:
        with pytest.raises(ConnectFailed, match=why) as caught:
            await connections.acquire(Origin.of("https://provider.test", way.url))
        assert caught.value.failure == Failure.connect
        assert connections.counts() == {}


async def test_proxies_of_the_environment_are_not_used(connections, monkeypatch):
    for name in (
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with Scripted([whole(b"ok")]) as up:
        assert (await ask(await connections.acquire(Origin.of(up.url)))).text == b"ok"


# Origins.


@pytest.mark.parametrize(
    ("url", "proxy", "origin", "host", "text"),
    [
        (
            "https://api.provider.test/v1", None,
            Origin("https", "api.provider.test", 443), b"api.provider.test",
            "https://api.provider.test:443",
        ),
        (
            "http://10.0.0.7:8000/v1", "http://10.0.0.1:3128",
            Origin("http", "10.0.0.7", 8000, ("10.0.0.1", 3128)), b"10.0.0.7:8000",
            "http://10.0.0.7:8000 through 10.0.0.1:3128",
        ),
        ("http://[::1]:80", None, Origin("http", "::1", 80), b"[::1]", "http://::1:80"),
        ("https://[::1]:80", None, Origin("https", "::1", 80), b"[::1]:80", "https://::1:80"),
        (
            "https://b\u00fccher.test", None,
            Origin("https", "xn--bcher-kva.test", 443), b"xn--bcher-kva.test",
            "https://xn--bcher-kva.test:443",
        ),
    ],
)  # fmt: skip
def test_an_origin_is_read_from_a_url(url, proxy, origin, host, text):
    assert Origin.of(url, proxy) == origin
    assert origin.host_header == host
    assert str(origin) == text


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("ftp://a", None),
        ("api.provider.test", None),
        ("https://", None),
        ("https://a:0", None),
        ("https://a:70000", None),
        ("https://user@a", None),
        ("https://a", "https://b"),
        ("https://a", "socks5://b"),
        ("https://a", ""),
    ],
)
def test_what_is_no_origin_is_refused(url, proxy):
    with pytest.raises(ValueError, match=r"found|[Pp]ort"):
        Origin.of(url, proxy)


# Requests.


def test_a_request_is_one_piece():
    assert request_bytes(
        b"POST",
        b"/v1/messages?beta=true",
        b"up:80",
        [(b"x-api-key", b"k"), (b"accept", b"*/*")],
        b"{}",
    ) == (
        b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: up:80\r\nx-api-key: k\r\naccept: */*\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )


def test_a_get_has_no_body_and_an_empty_post_says_so():
    assert request_bytes(b"GET", b"/", b"up", [], b"") == b"GET / HTTP/1.1\r\nHost: up\r\n\r\n"
    assert request_bytes(b"POST", b"/", b"up", [], b"") == (
        b"POST / HTTP/1.1\r\nHost: up\r\nContent-Length: 0\r\n\r\n"
    )


def test_a_large_body_is_not_copied():
    body = b"x" * LARGE_BODY
    request = request_bytes(b"POST", b"/", b"up", [], body)
    assert isinstance(request, list)
    head, same = request
    assert head.endswith(b"Content-Length: 65536\r\n\r\n")
    assert same is body


async def test_a_large_body_arrives(connections):
    async with Scripted([whole(b"ok")]) as up:
        origin = Origin.of(up.url)
        body = b"x" * 3_000_000
        heard = Transcript()
        connection = await connections.acquire(origin)
        connection.send(request_bytes(b"POST", b"/", origin.host_header, [], body), heard)
        await heard.over.wait()
        assert up.requests[0].body == body
        assert connections.counts() == {origin: Count(1, 1)}


@pytest.mark.parametrize("bad", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b"])
def test_nothing_breaks_out_of_its_line(bad):
    for target, host, headers in (
        (bad, b"up", []),
        (b"/", bad, []),
        (b"/", b"up", [(b"x", bad)]),
        (b"/", b"up", [(bad, b"x")]),
    ):
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            request_bytes(b"POST", target, host, headers, b"")


@pytest.mark.parametrize("target", [b"", b"/a b", b"/ HTTP/1.1"])
def test_a_target_is_one_word(target):
    with pytest.raises(ValueError, match="target"):
        request_bytes(b"GET", target, b"up", [], b"")
