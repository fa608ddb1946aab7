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


def test_a_long_event_may_come_in_many_reads():
    data = b'"' + b"x" * 300_000 + b'"'
    stream = b"data: " + data + b"\n\ndata: 2\n\n"
    reads = [stream[at : at + 7_000] for at in range(0, len(stream), 7_000)]
    assert events(*reads) == [Event(None, data), Event(None, b"2")]


@given(STREAMS, st.lists(st.integers(1, 9), max_size=30))
def test_an_event_that_is_put_by_until_a_blank_line_is_the_same(stream, cuts):
    wanted = events(stream)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sse, "_LONG", 0)
        reads, rest = [], stream
        for cut in cuts:
            reads.append(rest[:cut])
            rest = rest[cut:]
        assert events(*reads, rest) == wanted


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_a_long_event_of_many_lines_is_joined_once(line_end, monkeypatch):
    searched: list[bytes] = []
    split = sse.split_blocks

    def counted(data):
        searched.append(data)
        return split(data)

    monkeypatch.setattr(sse, "split_blocks", counted)
    line = b"data: 12345" + line_end
    stream = line * 50_000 + line_end + b"data: 2\n\n"
    reads = [stream[at : at + 8_000] for at in range(0, len(stream), 8_000)]
    assert len(reads) > 60
    assert [event.data for event in events(*reads)] == [b"\n".join([b"12345"] * 50_000), b"2"]
    # Until it counts as long each read is looked at, and then those at its end.
    assert sum(map(len, searched)) < 4 * len(stream)


def test_an_event_of_many_reads_may_not_grow_without_bound_either(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT", 100_000)
    splitter = Splitter()
    assert splitter.feed(b"data: " + b"x" * 90_000) == []
    assert splitter.feed(b"x" * 9_000) == []
    with pytest.raises(EventTooLong):
        splitter.feed(b"x" * 9_000)


def lines_of(block: bytes) -> list[bytes]:
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


def plainly_split(data: bytes) -> list[list[bytes]]:
    """Return the blocks of a stream that ends in a blank line, as lines, by the rule and without haste."""
    blocks: list[list[bytes]] = [[]]
    for line in lines_of(data):
        if line:
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


@given(
    STREAMS | STREAMS.map(lambda stream: b"\n".join(lines_of(stream))),
    st.sampled_from([b"\n\n", b"\n\n", b"\n\r\n", b"\n\n\n"]),
)
def test_blocks_are_split_in_haste_as_they_are_by_the_rule(stream, end):
    blocks, rest = sse.split_blocks(stream + end)
    assert [lines_of(block) for block in blocks] == plainly_split(stream + end)
    assert rest == b""


def plainly_parsed(block: bytes) -> Event | None:
    """Return the event of a block by the rule: each line is a field, and a name that is told again replaces."""
    fields = [line.partition(b":") for line in lines_of(block)]
    said = [(name, value.removeprefix(b" ")) for name, _, value in fields]
    data = b"\n".join(value for name, value in said if name == b"data")
    names = [value for name, value in said if name == b"event"]
    return Event(names[-1] if names else None, data) if data else None


@given(
    st.lists(LINES | st.sampled_from([b'data: {"a":1}', b'data:{"a":1}', b"data: {"]), max_size=4),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
def test_a_block_is_parsed_in_haste_as_it_is_by_the_rule(lines, line_end):
    block = line_end.join(lines)
    assert sse.parse_block(block) == plainly_parsed(block)


def test_whole_json_is_told_from_half_of_it():
    assert sse.is_json(b'{"a":1}')
    assert not sse.is_json(b'{"a":')
