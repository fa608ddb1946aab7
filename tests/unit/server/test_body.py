"""A body is read whole, within limits, and is a JSON object."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import GatewayError, Kind
from proxy.server import body as body_module
from proxy.server.body import LEAST, MAX_CONTAINERS, MAX_DEPTH, Pace, parse_object, read_body
from proxy.server.guard import Server


def refused(body: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as raised:
        parse_object(body)
    assert raised.value.kind is Kind.INVALID_REQUEST
    return raised.value


def test_an_object_is_an_object():
    assert parse_object(b' {"a": [1, "x"]} \n') == {"a": [1, "x"]}


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n\t"])
def test_nothing_is_probably_a_lost_backslash(body):
    assert "backslash" in refused(body).message


def test_a_syntax_error_says_where():
    assert "line 2 column" in refused(b'{\n"a": }').message


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"null", "null"),
        (b"false", "a boolean"),
        (b'"x"', "a string"),
        (b"1.5", "a number"),
        (b"[{}]", "an array"),
    ],
)
def test_any_other_value_is_named(body, kind):
    assert f"is {kind}," in refused(body).message


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "a", "model": "a"}',
        b'{"model" : "a", "model": "b"}',
        b'{"model": "a", "mod\\u0065l": "b"}',
        b'{"model": "a", "x\\\\": "\\":", "model": "b"}',
        b'{"model": "a", "x": ":", "model"\n:"b"}',
        b'{"x": [{"model": 1' + b"0" * 300 + b', "model": 1e5}]}',
    ],
)
def test_a_name_stands_once_in_an_object(body):
    with pytest.raises(GatewayError, match="`model` stands twice") as raised:
        parse_object(body)
    assert (raised.value.status, raised.value.param) == (400, "model")


@given(
    st.recursive(
        st.text('a\\": \n', max_size=6),
        lambda inner: st.lists(inner) | st.dictionaries(st.text('a\\": ', max_size=3), inner),
    ),
    st.sampled_from([None, (", ", ": "), (",", ":"), (" , ", " : ")]),
)
def test_no_text_is_taken_for_a_name(inner, separators):
    document = {"a": inner, "b": {"a": inner}}
    assert parse_object(json.dumps(document, separators=separators).encode()) == document


def test_depth_has_a_limit():
    assert parse_object(nested(MAX_DEPTH))
    assert str(MAX_DEPTH) in refused(nested(MAX_DEPTH + 1)).message
    refused(nested(900))
    refused(nested(5000))
    refused(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}")


def test_brackets_side_by_side_are_not_deep():
    assert len(parse_object(b'{"a":[' + b"[]," * 500 + b"[]]}")["a"]) == 501


@given(st.binary(max_size=60))
def test_no_bytes_break_the_parser(body):
    try:
        assert isinstance(parse_object(body), dict)
    except GatewayError as error:
        assert error.status == 400  # noqa: PT017 - both are right


# Reading, over a socket.


@asynccontextmanager
async def reading(limit: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async def handle(request):
        try:
            body = await read_body(request, limit)
        except GatewayError as error:
            return web.Response(status=error.status, text=error.message)
        return web.Response(text=str(len(body)))

    server = Server(handle)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        listener.close()
        await server.shutdown(timeout=1)


async def said(reader) -> tuple[int, str]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split()[1]), (await reader.readexactly(length)).decode()


async def test_a_body_of_exactly_the_limit_is_read():
    async with reading(1000) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000)
        assert await said(reader) == (200, "1000")


async def test_a_body_that_says_it_is_larger_is_refused_unread():
    async with reading(1 << 20) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1048577\r\n\r\n")
        assert await said(reader) == (413, "The body is larger than 1 MiB.")


async def test_a_body_that_does_not_say_so_is_refused_when_it_is():
    async with reading(1000) as (reader, writer):
        writer.write(
            b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001
        )
        assert (await said(reader))[0] == 413


async def test_brackets_are_counted_as_they_come():
    async with reading(1 << 22) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"[" * 50_000
        for _ in range(5):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        status, message = await said(reader)
    assert status == 400
    assert f"{MAX_CONTAINERS:,}" in message


@pytest.mark.parametrize(
    ("coding", "status"), [("identity", 200), ("", 200), ("gzip", 415), ("x" * 100, 415)]
)
async def test_codings_are_not_taken(coding, status):
    async with reading(1000) as (reader, writer):
        writer.write(
            f"POST / HTTP/1.1\r\nHost: g\r\nContent-Encoding: {coding}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        )
        assert (await said(reader))[0] == status


async def test_a_body_that_stops_is_a_408(monkeypatch):
    monkeypatch.setattr(body_module, "TICK", 0.01)
    async with reading(1000) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1000\r\n\r\nabc")
        assert (await said(reader))[0] == 408


async def test_a_body_that_drips_is_a_408(monkeypatch):
    monkeypatch.setattr(body_module, "TICK", 0.02)
    async with reading(1 << 20) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1000000\r\n\r\n")

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.005)

        task = asyncio.get_running_loop().create_task(drip())
        assert (await said(reader))[0] == 408
        task.cancel()


async def test_a_body_in_several_looks_is_whole(monkeypatch):
    monkeypatch.setattr(body_module, "TICK", 0.005)
    monkeypatch.setattr(body_module, "LEAST", 1)
    async with reading(1000) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await asyncio.sleep(0.002)
        assert await said(reader) == (200, "100")


@pytest.mark.parametrize(
    ("totals", "slow"),
    [
        ([0] * 5, False),
        ([0] * 6, True),
        ([LEAST] * 6, False),
        ([LEAST] * 7, True),
        ([LEAST - 1] * 6, True),
        ([LEAST * n for n in range(1, 100)], False),
        ([LEAST // 6 * n for n in range(1, 100)], False),
        ([LEAST // 6 * n - n for n in range(1, 100)], True),
    ],
)
def test_the_pace_is_that_of_any_thirty_seconds(totals, slow):
    pace = Pace()
    assert any(pace.is_too_slow(total) for total in totals) is slow


async def test_a_chunk_for_every_byte_is_too_much_framing(monkeypatch):
    monkeypatch.setattr(body_module, "CRUMBS", 100)
    head = b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with reading(1000) as (reader, writer):
        writer.write(head)
        await asyncio.sleep(0.01)
        writer.write(b"1\r\nx\r\n" * 900 + b"0\r\n\r\n")
        assert (await said(reader))[0] == 413


async def test_a_body_in_chunks_of_a_few_bytes_is_read():
    head = b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with reading(1000) as (reader, writer):
        writer.write(head)
        await asyncio.sleep(0.01)
        writer.write(b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")
        assert await said(reader) == (200, "1000")


@pytest.mark.parametrize(
    "framed", [b"zz\r\nabc\r\n", b"3\r\nabcde\r\n", b"-1\r\n", b"fffffffffffffffff\r\nabc"]
)
@pytest.mark.parametrize("first", [b"", b"3\r\nabc\r\n"])
async def test_a_body_whose_chunks_are_none_is_a_400(framed, first):
    head = b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with reading(1000) as (reader, writer):
        writer.write(head + first)
        await asyncio.sleep(0.01)
        writer.write(framed)
        assert (await said(reader))[0] == 400


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked():
    async with reading(1000) as (reader, writer):
        writer.write(
            b"POST / HTTP/1.1\r\nHost: g\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert await said(reader) == (200, "2")


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n",
    ],
    ids=["who sent it already", "http 1.0", "whose body is too large"],
)
async def test_nobody_else_is_asked_for_a_body(request_):
    async with reading(1000) as (reader, writer):
        writer.write(request_)
        await asyncio.sleep(0.01)
        writer.write(b"{}")
        assert (await said(reader))[0] in (200, 413)
