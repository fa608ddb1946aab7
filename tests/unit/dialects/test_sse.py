from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects import sse
from proxy.dialects.sse import Event, EventTooLong, Splitter


def events(*reads: bytes) -> list[Event]:
    splitter = Splitter()
    found = [event for read in reads for event in splitter.feed(read)]
    return found + splitter.finish()


@pytest.mark.parametrize(
    ("stream", "wanted"),
    [
        (b'data: {"a":1}\n\n', [Event(None, b'{"a":1}')]),
        (b"event: ping\ndata: {}\n\n", [Event(b"ping", b"{}")]),
        (b"event:ping\ndata:{}\n\n", [Event(b"ping", b"{}")]),
        (b"data:  x\n\n", [Event(None, b" x")]),
        (b"data: a\ndata: b\n\n", [Event(None, b"a\nb")]),
        (b"data: a\r\n\r\ndata: b\r\r", [Event(None, b"a"), Event(None, b"b")]),
        (b"data: a\r\n\ndata: b\n\r\n", [Event(None, b"a"), Event(None, b"b")]),
        (b"\n\n\ndata: a\n\n\n\ndata: b\n\n", [Event(None, b"a"), Event(None, b"b")]),
        (b"data: a\n\n\ndata: b\n\n", [Event(None, b"a"), Event(None, b"b")]),
        (b": comment\n\nid: 1\nretry: 5\ndata: a\n\n", [Event(None, b"a")]),
        (b"event: lonely\n\n", []),
        (b"data\n\ndata:\n\ndata: \n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [Event(None, b"a")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [Event(None, b"a")]),
        (b"data: [DONE]", [Event(None, b"[DONE]")]),
        (b'data: {"a":1}\n', [Event(None, b'{"a":1}')]),
        (b'data: {"a":1}\r', [Event(None, b'{"a":1}')]),
        (b'data: {"a":', []),
        (b"\xef\xbb", []),
        # Gemini can say an error without any field name.
        (
            b'data: {}\n\n{"error": {\n"code": 400}}',
            [Event(None, b"{}"), Event(None, b'{"error": {\n"code": 400}}')],
        ),
        (b'{"error":1}\n\n', [Event(None, b'{"error":1}')]),
        (b"", []),
    ],
)
def test_events_however_the_stream_is_cut(stream, wanted):
    assert events(stream) == wanted
    assert events(*(stream[i : i + 1] for i in range(len(stream)))) == wanted
    for cut in range(len(stream)):
        assert events(stream[:cut], stream[cut:]) == wanted


LINES = st.sampled_from(
    [
        b"data: {}",
        b"data:1",
        b"data: [DONE]",
        b"event: x",
        b": c",
        b"id: 1",
        b"",
        b"",
        b"\xef\xbb\xbf",
        "data: ü".encode(),
    ]
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


@given(STREAMS, st.lists(st.integers(1, 9), max_size=30))
def test_the_cut_of_the_reads_does_not_matter(stream, cuts):
    reads, rest = [], stream
    for cut in cuts:
        reads.append(rest[:cut])
        rest = rest[cut:]
    assert events(*reads, rest) == events(stream)


@given(STREAMS)
def test_line_ends_do_not_matter(stream):
    unix = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert events(stream) == events(unix)


def test_an_event_may_not_grow_without_bound(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT", 20)
    splitter = Splitter()
    assert splitter.feed(b"data: 1\n\ndata: 2\n\ndata: 3\n\n") == [
        Event(None, b"%d" % n) for n in (1, 2, 3)
    ]
    splitter.feed(b"data: " + b"x" * 10)
    with pytest.raises(EventTooLong):
        splitter.feed(b"x" * 10)


def test_whole_json_is_told_from_half_of_it():
    assert sse.is_json(b'{"a":1}')
    assert not sse.is_json(b'{"a":')
