"""The bytes that a client gets, and when its connection may go on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.relay.delivery import Delivery
from proxy.relay.outbox import Outbox
from tests.unit.relay.turns import at_once


class Transport:
    """Keeps what is written; like uvloop's, it raises on a write after its end."""

    def __init__(self) -> None:
        self.written = b""
        self.writes = 0
        self.closing = False
        self.aborted = False

    def write(self, data: bytes) -> None:
        if self.closing:
            raise RuntimeError("the transport is closed")
        self.written += data
        self.writes += 1

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


def delivery(*, http10: bool = False, closing: bool = False) -> tuple[Delivery, Transport]:
    transport: Any = Transport()
    return Delivery(
        transport, Outbox(at_once()), fields=b"x-request-id: r\r\n", http10=http10, closing=closing
    ), transport


def test_a_stream_is_chunked():
    made, transport = delivery()
    made.start(b"a: b\r\n", b"one")
    made.write(b"two")
    made.finish(b"three")
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n")
    lines = head.split(b"\r\n")
    assert {
        b"Cache-Control: no-cache",
        b"X-Accel-Buffering: no",
        b"x-request-id: r",
        b"a: b",
    } < set(lines)
    assert body == b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"
    assert transport.writes == 3
    assert made.keep_alive


def test_an_end_without_words_is_an_end():
    made, transport = delivery()
    made.start(b"", b"")
    made.finish(b"")
    assert transport.written.endswith(b"\r\n\r\n0\r\n\r\n")


@given(st.lists(st.binary(max_size=20_000), max_size=4))
def test_any_bytes_are_framed_by_their_length(pieces):
    made, transport = delivery()
    made.start(b"", b"")
    expected = b""
    for piece in pieces:
        made.write(piece)
        expected += b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    made.finish(b"")
    assert transport.written.partition(b"\r\n\r\n")[2] == expected + b"0\r\n\r\n"


def test_http_1_0_gets_a_stream_that_ends_with_the_connection():
    made, transport = delivery(http10=True)
    made.start(b"", b"one")
    made.write(b"two")
    made.finish(b"three")
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"Connection: close" in head
    assert (body, transport.closing, made.keep_alive) == (b"onetwothree", True, False)


def test_a_document_has_its_length():
    made, transport = delivery()
    made.document(404, b"a: b\r\n", b"{}")
    assert transport.written == (
        b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\nx-request-id: r\r\na: b\r\n\r\n{}"
    )
    assert made.keep_alive


def test_a_head_request_gets_the_length_without_the_body():
    made, transport = delivery()
    made.bodiless = True
    made.document(200, b"", b"{}")
    assert b"Content-Length: 2\r\n" in transport.written
    assert transport.written.endswith(b"\r\n\r\n")


def test_an_answer_without_content_says_nothing_of_any():
    made, transport = delivery()
    made.document(204, b"Allow: POST\r\n", b"")
    assert b"Content-" not in transport.written


@pytest.mark.parametrize("status", [499, 529, 426])
def test_every_status_has_a_phrase(status):
    made, transport = delivery()
    made.document(status, b"", b"{}")
    assert len(transport.written.split(b"\r\n")[0].split(b" ", 2)[2]) > 0


def test_a_closing_connection_says_so_and_does_not_go_on():
    made, transport = delivery(closing=True)
    made.document(200, b"", b"{}")
    assert b"Connection: close\r\n" in transport.written
    assert not made.keep_alive
    made, transport = delivery()
    made.close_after()
    made.start(b"", b"x")
    made.finish(b"")
    assert b"Connection: close\r\n" in transport.written
    assert not made.keep_alive


def test_nothing_is_written_to_a_client_that_left():
    made, transport = delivery()
    made.start(b"", b"one")
    transport.closing = True
    made.write(b"two")
    made.finish(b"three")
    assert b"two" not in transport.written
    assert not made.keep_alive


def test_a_stream_in_the_middle_cannot_go_on():
    made, _ = delivery()
    made.start(b"", b"one")
    assert not made.keep_alive


def test_a_client_that_does_not_read_is_dropped():
    made, transport = delivery()
    made.abort()
    assert transport.aborted
