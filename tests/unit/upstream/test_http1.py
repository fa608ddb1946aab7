from __future__ import annotations

import asyncio
import gc
import weakref
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.http1 import MAX_BARREN, MAX_HEAD, Connection, Failure
from tests.integration.scripted import Cut, Pause, Reset, Scripted, chunked, settled, whole
from tests.unit.upstream.transcript import Freed, Line, Transcript

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

STREAM = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Id: 1\r\nx-id: 2 \r\nX-Empty:\r\n"
    b"Transfer-Encoding: Chunked\r\n\r\n"
    b"c\r\ndata: \xc3\xa9tude\r\n"
    b"6;why=not\r\n\r\n\r\n\r\n\r\n"
    b"e\r\ndata: [DONE]\n\n\r\n"
    b"0\r\nX-Trailer: t\r\n\r\n"
)
STREAM_HEADERS = {
    b"content-type": b"text/event-stream",
    b"x-id": b"1, 2",
    b"x-empty": b"",
    b"transfer-encoding": b"Chunked",
}
STREAM_BODY = b"data: \xc3\xa9tude\r\n\r\n\r\ndata: [DONE]\n\n"


def cut(data: bytes, places) -> list[bytes]:
    marks = [0, *sorted(places), len(data)]
    return [data[a:b] for a, b in pairwise(marks) if a < b]


def assert_is_the_stream(line: Line, heard: Transcript) -> None:
    assert (heard.status, heard.headers, heard.text) == (200, STREAM_HEADERS, STREAM_BODY)
    assert heard.end == "complete"
    assert heard.told.count("head") == 1
    assert heard.told[0] == "head"
    assert heard.told.count("complete") == 1
    assert line.owner.events == ["freed"]
    assert line.connection.usable


# Where the reads end makes no difference.


@pytest.mark.parametrize("place", range(len(STREAM)))
def test_a_stream_cut_at_one_place_is_the_same_stream(place):
    line = Line()
    assert_is_the_stream(line, line.answer(*cut(STREAM, [place])))


def test_a_stream_in_single_bytes_is_the_same_stream():
    line = Line()
    assert_is_the_stream(line, line.answer(*cut(STREAM, range(len(STREAM)))))


@given(st.sets(st.integers(1, len(STREAM) - 1), max_size=12))
def test_a_stream_cut_anywhere_is_the_same_stream(places):
    line = Line()
    assert_is_the_stream(line, line.answer(*cut(STREAM, places)))


@given(st.binary(max_size=300), st.sets(st.integers(0, 400), max_size=5))
def test_no_bytes_make_a_connection_raise(data, places):
    for start in (b"", OK, CHUNKED, OK + b"Content-Length: 9\r\n\r\n"):
        line = Line()
        heard = line.answer(*cut(start + data, [p for p in places if p < len(start + data)]))
        line.connection.connection_lost(None)
        assert heard.told.count("head") <= 1
        assert len([word for word in heard.told if word in ("complete", "failed")]) == 1
        assert heard.told[-1] in ("complete", "failed")


def test_one_read_is_one_body():
    line = Line()
    heard = line.answer(CHUNKED + b"1\r\na\r\n1\r\nb\r\n", b"1\r\nc\r\n1\r\nd\r\n0\r\n\r\n")
    assert heard.reads == [b"ab", b"cd"]


# Framing.


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("field", [b"", b"Content-Length: 5\r\n"])
def test_some_statuses_have_no_body_whatever_their_head_says(status, field):
    line = Line()
    heard = line.answer(b"HTTP/1.1 %b\r\n%b\r\n" % (status, field))
    assert heard.told == ["head", "complete"]
    assert line.owner.events == ["freed"]


def test_a_body_without_length_runs_to_the_end_of_the_connection():
    line = Line()
    heard = line.answer(OK + b"\r\nab", b"cd")
    assert heard.told == ["head", "body", "body"]
    line.connection.connection_lost(None)
    assert heard.told[-1] == "complete"
    assert heard.text == b"abcd"
    assert line.owner.events == ["lost"]


def test_a_body_without_length_that_is_reset_is_truncated():
    line = Line()
    heard = line.answer(OK + b"\r\nab")
    line.connection.connection_lost(ConnectionResetError())
    assert heard.end == Failure.truncated


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 5\r\n\r\nabc",
        OK + b"Content-Length: 5\r\n\r\n",
        CHUNKED + b"5\r\nabc",
        CHUNKED + b"3\r\nabc\r\n",
        CHUNKED + b"3\r\nabc\r\n0\r\n",
        CHUNKED,
    ],
)
def test_an_end_before_the_end_is_a_truncation(answer):
    line = Line()
    heard = line.answer(answer)
    line.connection.connection_lost(None)
    assert heard.told[0] == "head"
    assert heard.end == Failure.truncated


MALFORMED = {
    "length and chunks": OK
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "chunks and length": OK
    + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a signed length": OK + b"Content-Length: +3\r\n\r\nabc",
    "another coding": OK + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "chunked twice": OK
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nabc",
    "NUL in a value": OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "CR in a value": OK + b"X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    "a folded value": OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "another protocol": b"SSH-2.0-OpenSSH\r\n",
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_malformed_head_is_refused_before_the_receiver_sees_it(answer, step):
    line = Line()
    heard = line.answer(*cut(answer, range(step, len(answer), step)))
    assert heard.told == ["failed"]
    assert heard.end == Failure.malformed
    assert line.transport.closing


@pytest.mark.parametrize(
    "chunk", [b"0x3\r\nabc\r\n", b"+3\r\nabc\r\n", b"3\nabc\n", b"3\r\nabcXX", b"zz\r\n"]
)
def test_a_malformed_chunk_ends_the_answer_after_what_was_good(chunk):
    line = Line()
    heard = line.answer(CHUNKED + b"2\r\nok\r\n" + chunk)
    assert heard.text[:2] == b"ok"
    assert heard.end == Failure.malformed
    assert line.transport.closing


# Bounds.


def test_informational_answers_are_skipped():
    line = Line()
    heard = line.answer(CONTINUE * 64 + OK + b"Content-Length: 2\r\n\r\nok")
    assert (heard.status, heard.text, heard.end) == (200, b"ok", "complete")
    assert line.owner.events == ["freed"]


def test_endless_informational_answers_are_not_waited_for():
    line = Line()
    flood = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 200
    reads = 0
    heard = line.ask()
    while not line.transport.closing:
        line.connection.data_received(flood)
        reads += 1
    assert reads == 1
    assert heard.told == ["failed"]


@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_an_endless_header_is_cut_off(step):
    line = Line()
    heard = line.answer(*cut(OK + b"X: " + b"a" * 2 * MAX_HEAD, range(step, 2 * MAX_HEAD, step)))
    assert heard.end == Failure.head_too_large


def test_a_head_at_the_bound_passes_whatever_follows_in_the_same_read():
    filler = MAX_HEAD - len(OK + b"Content-Length: 100000\r\nX: \r\n\r\n")
    head = OK + b"Content-Length: 100000\r\nX: " + b"a" * filler + b"\r\n\r\n"
    assert len(head) == MAX_HEAD
    heard = Line().answer(head + b"b" * 100_000)
    assert (len(heard.text), heard.end) == (100_000, "complete")
    longer = head.replace(b"X: ", b"X: a")
    assert Line().answer(longer + b"b" * 100_000).end == Failure.head_too_large


def test_128_headers_pass_and_129_do_not():
    fields = b"".join(b"X-%d: a\r\n" % n for n in range(127))
    assert Line().answer(OK + b"Content-Length: 0\r\n" + fields + b"\r\n").end == "complete"
    one_more = OK + b"Content-Length: 0\r\nY: a\r\n" + fields + b"\r\n"
    assert Line().answer(one_more).end == Failure.head_too_large


@pytest.mark.parametrize("endless", [b"0\r\nX: ", b"5;x="], ids=["trailer", "chunk extension"])
def test_bytes_that_never_become_body_are_bounded(endless):
    line = Line()
    heard = line.answer(CHUNKED + endless)
    fed = 0
    while not line.transport.closing:
        line.connection.data_received(b"a" * 1000)
        fed += 1000
    assert fed <= MAX_BARREN + 1000
    assert heard.end == Failure.malformed


def test_a_long_stream_of_small_chunks_is_not_taken_for_padding():
    line = Line()
    heard = line.answer(CHUNKED)
    for _ in range(MAX_BARREN):
        line.connection.data_received(b"1\r\n")
        line.connection.data_received(b"a\r\n")
    line.connection.data_received(b"0\r\n\r\n")
    assert (len(heard.text), heard.end) == (MAX_BARREN, "complete")


# What follows the end.


@pytest.mark.parametrize("surplus", [b"H", b"x", OK + b"Content-Length: 4\r\n\r\nEVIL", b"\x00"])
@pytest.mark.parametrize(
    "body", [OK + b"Content-Length: 3\r\n\r\nabc", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"]
)
def test_bytes_after_the_end_cost_the_connection_and_not_the_answer(surplus, body):
    line = Line()
    heard = line.answer(body + surplus)
    assert (heard.text, heard.end) == (b"abc", "complete")
    assert "freed" not in line.owner.events
    assert line.transport.closing


def test_bytes_on_an_idle_connection_close_it():
    line = Line()
    line.answer(OK + b"Content-Length: 0\r\n\r\n")
    line.connection.data_received(OK + b"Content-Length: 4\r\n\r\nEVIL")
    assert line.transport.closing


@pytest.mark.parametrize("head", [OK + b"Connection: close\r\n", b"HTTP/1.0 200 OK\r\n"])
def test_a_connection_that_the_peer_will_close_is_not_kept(head):
    line = Line()
    assert line.answer(head + b"Content-Length: 1\r\n\r\na").end == "complete"
    assert line.owner.events == []
    assert line.transport.closing


def test_an_answer_that_overtakes_its_request_costs_the_connection():
    line = Line()
    line.transport.unsent = 1
    assert line.answer(OK + b"Content-Length: 1\r\n\r\na").end == "complete"
    assert line.transport.closing


# Connections that die.


def test_an_idle_connection_that_dies_under_a_request_may_be_replaced():
    line = Line()
    line.answer(OK + b"Content-Length: 0\r\n\r\n")
    heard = line.ask()
    line.connection.connection_lost(ConnectionResetError())
    assert heard.told == ["failed"]
    assert heard.end == Failure.reset_idle


def test_an_idle_connection_that_is_already_closing_is_not_written_to():
    line = Line()
    line.answer(OK + b"Content-Length: 0\r\n\r\n")
    line.transport.closing = True
    assert line.ask().end == Failure.reset_idle


def test_a_connection_that_dies_after_the_upstream_had_time_to_work_may_not():
    line = Line()
    line.answer(OK + b"Content-Length: 0\r\n\r\n")
    heard = line.ask()
    line.clock.now += 30
    line.connection.connection_lost(None)
    assert heard.end == Failure.reset


def test_a_connection_that_dies_within_the_head_may_not():
    line = Line()
    line.answer(OK + b"Content-Length: 0\r\n\r\n")
    heard = line.answer(b"HTTP/1.1 2")
    line.connection.connection_lost(None)
    assert heard.end == Failure.reset


def test_a_new_connection_that_dies_is_a_reset():
    line = Line()
    heard = line.ask()
    line.connection.connection_lost(None)
    assert heard.end == Failure.reset
    assert line.owner.events == ["lost"]
    assert line.ask().end == Failure.reset


def test_closing_a_connection_is_not_the_end_of_a_body():
    line = Line()
    heard = line.answer(OK + b"\r\nabc")
    line.connection.close()
    line.connection.connection_lost(None)
    assert heard.end == Failure.truncated


# Receivers that interfere.


class Meddler(Transcript):
    def __init__(self, line: Line, at: str, do) -> None:
        super().__init__()
        self.line, self.at, self.do = line, at, do

    def head(self, status, headers):
        super().head(status, headers)
        if self.at == "head":
            self.do(self)

    def body(self, data):
        super().body(data)
        if self.at == "body":
            self.do(self)

    def complete(self):
        super().complete()
        if self.at == "complete":
            self.do(self)

    def failed(self, failure):
        super().failed(failure)
        if self.at == "failed":
            self.do(self)


def raise_oops(_: Meddler) -> None:
    raise RuntimeError("oops")


@pytest.mark.parametrize(("at", "told"), [("head", ["head"]), ("body", ["head", "body"])])
def test_who_aborts_hears_nothing_more(at, told):
    line = Line()
    meddler = Meddler(line, at, lambda me: me.line.connection.abort())
    line.connection.send(b"", meddler)
    line.connection.data_received(CHUNKED + b"1\r\na\r\n0\r\n\r\n")
    line.connection.connection_lost(None)
    assert meddler.told == told
    assert line.transport.closing
    assert line.owner.events == ["lost"]


@pytest.mark.parametrize(
    ("at", "told"), [("head", ["head", "failed"]), ("body", ["head", "body", "failed"])]
)
def test_what_a_receiver_raises_is_for_the_transport_which_then_ends_the_exchange(at, told):
    line = Line()
    meddler = Meddler(line, at, raise_oops)
    line.connection.send(b"", meddler)
    with pytest.raises(RuntimeError, match="oops") as raised:
        line.connection.data_received(CHUNKED + b"1\r\na\r\n")
    line.connection.connection_lost(raised.value)
    assert meddler.told == told
    assert meddler.end == Failure.internal
    assert line.owner.events == ["lost"]


def test_what_a_receiver_raises_at_the_end_does_not_cost_the_connection():
    line = Line()
    line.connection.send(b"", Meddler(line, "complete", raise_oops))
    line.connection.data_received(OK + b"Content-Length: 0\r\n\r\n")
    assert line.owner.events == ["freed"]
    line.connection.send(b"", Meddler(line, "failed", raise_oops))
    line.connection.connection_lost(None)
    assert len(line.clock.reported) == 2


def test_the_next_exchange_may_begin_in_the_callback_that_ends_the_last():
    line = Line()
    second = Transcript()
    line.connection.send(
        b"1", Meddler(line, "complete", lambda me: me.line.connection.send(b"2", second))
    )
    line.connection.data_received(OK + b"Content-Length: 1\r\n\r\na")
    line.connection.data_received(OK + b"Content-Length: 1\r\n\r\nb")
    assert line.transport.written == b"12"
    assert (second.text, second.end) == (b"b", "complete")


def test_one_exchange_at_a_time():
    line = Line()
    line.ask()
    with pytest.raises(RuntimeError, match="another exchange"):
        line.ask()


def test_pausing_and_resuming_may_be_said_twice_and_too_late():
    line = Line()
    line.connection.pause()
    assert line.transport.reading  # nothing to hold back
    line.ask()
    line.connection.pause()
    line.connection.pause()
    assert not line.transport.reading
    line.connection.resume()
    line.connection.resume()
    assert line.transport.reading
    line.connection.pause()
    line.connection.data_received(OK + b"Content-Length: 0\r\n\r\n")
    assert line.transport.reading  # an idle connection must notice its end
    line.ask()
    line.connection.pause()
    line.transport.closing = True
    line.connection.resume()
    line.connection.pause()


def test_what_comes_late_does_not_touch_the_next_exchange():
    line = Line()
    over = line.connection
    line.answer(OK + b"Content-Length: 0\r\n\r\n")
    heard = line.ask()
    over.pause()
    assert line.transport.reading
    line.connection.pause()
    over.resume()
    assert not line.transport.reading
    over.abort()
    over.close()
    assert not line.transport.closing
    line.connection.data_received(OK + b"Content-Length: 1\r\n\r\na")
    assert heard.text == b"a"
    assert over.closed
    late = Transcript()
    over.send(b"", late)
    assert late.end == Failure.reset
    assert not line.transport.closing


@pytest.mark.parametrize("end", [b"", b"Content-Length: 0\r\n\r\n", b"bad", b"\r\nto the end"])
def test_nothing_keeps_a_receiver_after_its_end(end):
    line = Line()
    heard = line.answer(OK + end)
    line.connection.connection_lost(None)
    gone = weakref.ref(heard)
    gc.disable()
    try:
        del heard
        assert gone() is None
    finally:
        gc.enable()


def test_a_connection_shows_its_state():
    line = Line()
    first = line.connection
    assert repr(first) == "<Connection idle, 0 served before>"
    line.ask()
    assert repr(first) == "<Connection busy, 0 served before>"
    first.data_received(OK + b"Content-Length: 0\r\n\r\n")
    assert repr(first) == "<Connection closed, 0 served before>"
    assert repr(line.connection) == "<Connection idle, 1 served before>"


def test_failures_are_words_of_the_log():
    assert list(Failure) == [str(failure) for failure in Failure]


# The same over sockets.


async def ask(connection: Connection) -> Transcript:
    heard = Transcript()
    connection.send(b"GET / HTTP/1.1\r\n\r\n", heard)
    async with asyncio.timeout(5):
        await heard.over.wait()
    return heard


async def connect(up: Scripted, owner: Freed | None = None) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(loop, owner or Freed()), "127.0.0.1", up.port
    )
    return connection


async def test_exchanges_follow_each_other_on_one_connection():
    async with Scripted([CONTINUE, Pause(0.01), chunked(b"a", b"b")]) as up:
        owner = Freed()
        owner.heir = await connect(up, owner)
        for _ in range(3):
            heard = await ask(owner.heir)
            assert (heard.text, heard.end) == (b"ab", "complete")
        assert up.connections == 1
        owner.heir.close()


async def test_a_stream_in_many_segments_arrives():
    async with Scripted([STREAM[n : n + 7] for n in range(0, len(STREAM), 7)]) as up:
        owner = Freed()
        heard = await ask(await connect(up, owner))
        assert (heard.text, heard.end) == (STREAM_BODY, "complete")
        assert owner.heir is not None
        owner.heir.close()


@pytest.mark.parametrize(
    ("steps", "end"),
    [
        ([Cut()], Failure.reset),
        ([Reset()], Failure.reset),
        ([OK, Cut()], Failure.reset),
        ([OK + b"Content-Length: 9\r\n\r\nabc", Cut()], Failure.truncated),
        ([CHUNKED + b"3\r\nabc\r\n", Pause(0.01), Reset()], Failure.truncated),
        ([OK + b"\r\nabc", Pause(0.01), Reset()], Failure.truncated),
        ([OK + b"\r\nabc", Cut()], "complete"),
    ],
)
async def test_deaths_over_a_socket(steps, end):
    async with Scripted(steps) as up:
        assert (await ask(await connect(up))).end == end


async def test_a_kept_connection_that_closes_as_the_next_request_arrives_is_safe_to_repeat():
    async def script(reader, writer, request):
        writer.write(whole(b"ok"))
        await reader.readexactly(1)
        writer.transport.abort()

    async with Scripted(script) as up:
        owner = Freed()
        assert (await ask(await connect(up, owner))).end == "complete"
        assert owner.heir is not None
        assert (await ask(owner.heir)).end == Failure.reset_idle


async def test_an_aborted_exchange_leaves_at_once():
    left = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(CHUNKED + b"1\r\na\r\n")
        assert await reader.read() == b""
        left.set()

    async with Scripted(script) as up:
        owner, heard = Freed(), Transcript()
        connection = await connect(up, owner)
        connection.send(b"GET / HTTP/1.1\r\n\r\n", heard)
        await settled(lambda: heard.reads)
        connection.abort()
        assert connection.closed
        await asyncio.sleep(0)
        assert owner.events == ["lost"]
        async with asyncio.timeout(5):
            await left.wait()
        assert heard.told == ["head", "body"]


async def test_a_paused_exchange_holds_its_upstream_back():
    size = 50_000_000
    sent = 0

    async def script(reader, writer, request):
        nonlocal sent
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"a" * 100_000)
            sent += 100_000
            await writer.drain()

    class Reader(Transcript):
        def body(self, data):
            super().body(data)
            if len(self.reads) == 1:
                connection.pause()

    async with Scripted(script) as up:
        owner = Freed()
        connection = await connect(up, owner)
        heard = Reader()
        connection.send(b"GET / HTTP/1.1\r\n\r\n", heard)
        await settled(lambda: heard.reads)
        await asyncio.sleep(0.2)  # time enough to send everything, were it not held back
        # What one read brings, and what the kernel holds on both sides.
        assert sent < 20_000_000
        assert len(heard.text) <= 2 * 256 * 1024
        connection.resume()
        async with asyncio.timeout(10):
            await heard.over.wait()
        assert (len(heard.text), heard.end) == (size, "complete")
        assert owner.heir is not None
        owner.heir.close()


async def test_what_a_receiver_raises_is_reported_and_closes_the_connection():
    reported = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    async with Scripted([whole(b"ok")]) as up:
        connection = await connect(up)
        meddler = Meddler(None, "body", raise_oops)  # type: ignore[arg-type]
        connection.send(b"GET / HTTP/1.1\r\n\r\n", meddler)
        async with asyncio.timeout(5):
            await meddler.over.wait()
        assert meddler.end == Failure.internal
        assert connection.closed
        assert [str(context["exception"]) for context in reported] == ["oops"]
