"""A spliced stream is the same bytes however it was cut on its way, and whichever look was taken at it."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.chat.splice import ChatSplice
from proxy.dialects.messages.splice import MessagesSplice
from proxy.dialects.responses.splice import ResponsesSplice
from proxy.dialects.splice import Splice
from proxy.providers import Flags
from tests.unit.dialects.frames import (
    BEGIN,
    BROKEN,
    CREATED,
    DONE,
    END,
    HI,
    OPEN,
    OVER,
    PING,
    RESPONSE,
    SHUT,
    STOP,
    TEXT,
    USAGE,
    choice,
    chunk,
    event,
    sse,
)

REQUEST_ID = "req_1"


def chat(*, include_usage: bool = False) -> ChatSplice:
    return ChatSplice(REQUEST_ID, Flags(), lambda: 42, include_usage=include_usage)


def messages() -> MessagesSplice:
    return MessagesSplice(REQUEST_ID, Flags(), lambda: 42)


def responses() -> ResponsesSplice:
    return ResponsesSplice(REQUEST_ID, Flags(), lambda: 42)


class Slow:
    """Each frame is parsed; only of one that cannot be is it asked whether it is plain, and nothing is learnt."""

    _parsing = False

    def _plain(self, whole: bytes) -> int:
        return super()._plain(whole) if self._parsing else 0  # type: ignore[misc]

    def _learn(self, frame: bytes) -> None:
        pass

    def _block(self, block: bytes) -> bytes:
        self._parsing = True
        out: bytes = super()._block(block)  # type: ignore[misc]
        self._parsing = False
        return out


class SlowChat(Slow, ChatSplice):
    pass


class SlowMessages(Slow, MessagesSplice):
    pass


class SlowResponses(Slow, ResponsesSplice):
    pass


def run(splice: Splice, *reads: bytes) -> bytes:
    return b"".join(map(splice.feed, reads)) + splice.finish()


def state(splice: Splice) -> tuple[Any, ...]:
    kind = splice.error.kind if splice.error else None
    usage = splice.usage()
    if usage.estimated:
        # By bytes where the frames are not looked into, which differ from characters where something is escaped.
        usage = usage._replace(output=0)
    return splice.committed, splice.ended, kind, usage, splice.events, splice.answer_id


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return ``data`` in pieces that end at ``places``."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


def assert_looks_agree(
    fast: Callable[[], Splice], slow: Callable[[], Splice], frames: list[bytes], places: list[int]
) -> None:
    """Feed the frames one a read, as they mostly come, some at once, all at once, and cut anywhere and everywhere."""
    stream = b"".join(frames)
    looked_into = slow()
    expected = run(looked_into, stream)
    ways = [frames, runs_of(frames, places), [stream], cut(stream, places)]
    if len(stream) < 2000:
        ways.append(cut(stream, list(range(len(stream)))))
    for reads in ways:
        splice = fast()
        assert run(splice, *reads) == expected
        assert state(splice) == state(looked_into)


def runs_of(frames: list[bytes], places: list[int]) -> list[bytes]:
    """Return ``frames`` joined into reads that end where a frame does."""
    ends = sorted({place % (len(frames) + 1) for place in places} | {0, len(frames)})
    return [b"".join(frames[start:end]) for start, end in pairwise(ends)]


# Texts as they stand in a frame, between their quotes.

HOSTILE = [
    '"error"', '\n\ndata: {"error"', '"usage":null', '"finish_reason":null', '"delta":{', '","obfuscation":"a"}\n\n',
    '"text":"', '"content":"', "\r\n", "[DONE]", "data: [DONE]", "error", "usage", "\\", "}}", " ",
]  # fmt: skip
texts = st.one_of(
    st.text(max_size=12).map(lambda text: json.dumps(text)[1:-1].encode()),
    st.text(max_size=12).map(lambda text: json.dumps(text, ensure_ascii=False)[1:-1].encode()),
    st.sampled_from(HOSTILE).map(lambda text: json.dumps(text)[1:-1].encode()),
    # What a frame is too long to be learnt with, what is no Unicode, what is no UTF-8, what no JSON holds.
    st.sampled_from([b"x" * 5000, b"y" * 5000 + rb"\n", rb"\ud83d", rb"\ude00!", b"\xf0\x9f"]),
    st.sampled_from([b"\x01", b"a\nb"]),
)
PLACEHOLDER = b"@text@"


def with_text(frame: bytes) -> st.SearchStrategy[bytes]:
    return texts.map(lambda text: frame.replace(PLACEHOLDER, text))


SAID = PLACEHOLDER.decode()
paddings = st.text("abcXYZ019_-", max_size=9)


def padded(text: bytes, padding: str, **fields: Any) -> bytes:
    frame = chunk(choice({"content": SAID}), **fields, obfuscation=padding)
    return frame.replace(PLACEHOLDER, text)


chat_frames = st.one_of(
    # Most are tokens, so that many follow one that is like them.
    with_text(chunk(choice({"content": SAID}))),
    with_text(chunk(choice({"content": SAID}))),
    with_text(chunk(choice({"content": SAID}), usage=None)),
    st.builds(padded, texts, paddings),
    st.builds(padded, texts, paddings),
    st.builds(lambda text, padding: padded(text, padding, usage=None), texts, paddings),
    with_text(chunk(choice({"reasoning_content": SAID}))),
    with_text(chunk(choice({"reasoning_content": SAID, "content": ""}))),
    with_text(chunk(choice({"tool_calls": [{"index": 0, "function": {"arguments": SAID}}]}))),
    with_text(chunk(choice({"content": SAID}), usage=USAGE)),
    with_text(chunk(choice({"content": SAID}, "stop"))),
    with_text(chunk(choice({"content": SAID}), error={"message": "no"})),
    with_text(chunk({"error": 1, "delta": {"content": SAID}, "finish_reason": None})),
    with_text(chunk(choice({"content": SAID}), obfuscation="ab", usage=USAGE)),
    with_text(chunk(choice({"content": SAID}), choice({"content": "b"}, index=1))),
    with_text(b"event: x\nid: 7\n" + chunk(choice({"content": SAID}))),
    with_text(chunk(choice({"content": SAID})).replace(b"\n", b"\r\n")),
    with_text(chunk(choice({"content": SAID})).replace(b":", b": ")),
    st.sampled_from(
        [
            STOP,
            DONE,
            chunk(usage=USAGE),
            chunk(choice({"role": "assistant", "content": None})),
            chunk(choice({})),
            chunk(prompt_filter_results=[{"prompt_index": 0}]),
            chunk({"index": 0, "finish_reason": None}),
            chunk(choice(None)),
            sse({"error": {"message": "no", "code": "server_is_overloaded"}}),
            b": a comment\n\n",
            b"event: ping\n\n",
            b"data: no JSON\n\n",
            b"data: one line of two\n",
            b"data:\n\n",
            b"data: [1]\n\n",
        ]
    ),
)


def said(delta: dict[str, Any], **fields: Any) -> bytes:
    return event("content_block_delta", index=0, delta=delta, **fields)


TOKEN = said({"type": "text_delta", "text": SAID})
spaces = st.sampled_from([b'"}}', b'"}}', b'"} }', b'"  }}', b'" }   }  ', b'"}}\r'])

message_frames = st.one_of(
    with_text(TOKEN),
    with_text(TOKEN),
    st.builds(lambda text, end: TOKEN.replace(b'@text@"}}', text + end), texts, spaces),
    st.builds(lambda text, end: TOKEN.replace(b'@text@"}}', text + end), texts, spaces),
    with_text(said({"type": "text_delta", "text": SAID}, p="abc")),
    with_text(said({"type": "input_json_delta", "partial_json": SAID})),
    with_text(
        event(
            "content_block_delta", named=False, index=0, delta={"type": "text_delta", "text": SAID}
        )
    ),
    st.sampled_from([BEGIN, OPEN, HI, SHUT, END, PING]),
    st.sampled_from(
        [
            OVER,
            BROKEN,
            b": note\n\n",
            b"id: 1\n" + HI,
            HI.replace(b"\n", b"\r\n"),
            b"event: x\ndata: no JSON\n\n",
            b"event: x\n",
        ]
    ),
)


def numbered(frames: list[bytes]) -> list[bytes]:
    return [frame.replace(b"@number@", b"%d" % number) for number, frame in enumerate(frames)]


def numbered_event(kind: str, **fields: Any) -> bytes:
    frame = event(kind, sequence_number="@number@", **fields)
    return frame.replace(b'"@number@"', b"@number@")


delta_frame = numbered_event("response.output_text.delta", item_id="msg_1", delta=SAID)
response_frames = st.one_of(
    with_text(delta_frame),
    with_text(delta_frame),
    with_text(delta_frame),
    with_text(numbered_event("response.output_text.delta", delta=SAID, obfuscation="ab1")),
    with_text(numbered_event("response.reasoning_summary_text.delta", delta=SAID)),
    st.sampled_from(
        [
            CREATED,
            numbered_event("response.output_item.added", item={"type": "message"}),
            numbered_event("response.output_text.done", text="Hi"),
            numbered_event("response.completed", response={**RESPONSE, "status": "completed"}),
            numbered_event("response.failed", response={**RESPONSE, "error": None}),
            numbered_event("error", code="server_error", message="no"),
            b": note\n\n",
            b"event: x\ndata: no JSON\n\n",
            b"event: x\n",
            delta_frame.replace(PLACEHOLDER, b"Hi").replace(b"\n", b"\r\n"),
        ]
    ),
)
cuts = st.lists(st.integers(0, 5000), max_size=8)


@given(st.lists(chat_frames, max_size=12), cuts, st.booleans())
def test_a_chat_stream_is_the_same_however_it_is_cut_and_looked_at(frames, places, include_usage):
    assert_looks_agree(
        lambda: chat(include_usage=include_usage),
        lambda: SlowChat(REQUEST_ID, Flags(), lambda: 42, include_usage=include_usage),
        frames,
        places,
    )


@given(st.lists(message_frames, max_size=12), cuts)
def test_a_messages_stream_is_the_same_however_it_is_cut_and_looked_at(frames, places):
    assert_looks_agree(
        messages, lambda: SlowMessages(REQUEST_ID, Flags(), lambda: 42), frames, places
    )


@given(st.lists(response_frames, max_size=12), cuts)
def test_a_response_is_the_same_however_it_is_cut_and_looked_at(frames, places):
    assert_looks_agree(
        responses, lambda: SlowResponses(REQUEST_ID, Flags(), lambda: 42), numbered(frames), places
    )


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_no_bytes_break_a_splice(data, places):
    for splice in (chat(), messages(), responses()):
        run(splice, *cut(data, places))
        assert splice.ended


# The same, example by example.


class Counting:
    """Counts the frames for which the last frame was no model."""

    asked = 0

    def _plain(self, whole: bytes) -> int:
        self.asked += 1
        return super()._plain(whole)  # type: ignore[misc,no-any-return]


class CountingChat(Counting, ChatSplice):
    pass


class CountingMessages(Counting, MessagesSplice):
    pass


def counting_chat() -> CountingChat:
    return CountingChat(REQUEST_ID, Flags(), lambda: 42, include_usage=False)


def counting_messages() -> CountingMessages:
    return CountingMessages(REQUEST_ID, Flags(), lambda: 42)


def of(frame: bytes, text: bytes) -> bytes:
    return frame.replace(PLACEHOLDER, text)


WORDS = [b"one", b" two", " drei…".encode(), b""]
CHAT_TOKEN = chunk(choice({"content": SAID}))


def test_a_frame_that_differs_from_the_last_in_its_text_alone_is_not_looked_into():
    splice: CountingChat | CountingMessages
    for splice, model, ends in (
        (counting_chat(), CHAT_TOKEN, [b'"}'] * 4),
        (counting_messages(), TOKEN, [b'"}}', b'" }}', b'"}  }', b'"}} ']),
    ):
        splice.feed(of(model, b"first"))
        splice.feed(of(model, b"second"))
        asked = splice.asked
        for word, end in zip(WORDS, ends, strict=True):
            frame = of(model.replace(b'@text@"' + b"}" * (len(ends[0]) - 1), b"@text@" + end), word)
            assert splice.feed(frame) is frame
        assert splice.asked == asked
        assert splice.events == 6


def test_frames_without_a_text_pass_as_they_came_each_for_itself():
    splice = counting_chat()
    call = chunk(choice({"tool_calls": [{"index": 0, "function": {"arguments": SAID}}]}))
    for number, word in enumerate([b"first", *WORDS]):
        frame = of(call, word)
        assert splice.feed(frame) == frame
        assert splice.asked == number


def test_frames_that_are_padded_anew_each_time_are_not_looked_into_either():
    one, other = counting_chat(), counting_chat()
    one.feed(padded(b"a", "x") * 2)
    one.feed(padded(b"a", "x"))
    other.feed(padded(b"a", "x", usage=None) * 2)
    other.feed(padded(b"a", "x", usage=None))
    asked = one.asked, other.asked
    for padding in ("", "abc-DEF_019", "z"):
        frame, its = padded(b"b", padding), padded(b"b", padding, usage=None)
        assert one.feed(frame) is frame
        assert other.feed(its) is its
    assert (one.asked, other.asked) == asked
    # What is behind another's padding is looked into.
    one.feed(padded(b"b", "abc", usage=None))
    assert one.asked == asked[0] + 1


@pytest.mark.parametrize("text", [rb"a \"quoted\" word", b"x" * 5000, rb"\n"])
def test_a_frame_that_is_unlike_the_last_passes_as_it_came(text):
    for splice, model in ((chat(), CHAT_TOKEN), (messages(), TOKEN)):
        odd, plain = of(model, text), of(model, b"plain")
        for frame in (plain, plain, odd, plain, odd, odd, plain):
            assert splice.feed(frame) == frame
        assert splice.events == 7


@pytest.mark.parametrize("half", [rb"\ud83d", b"\xf0\x9f"])
def test_half_a_character_passes_in_whichever_company_it_comes(half):
    for splice, model, after in (
        (chat(), CHAT_TOKEN, STOP),
        (messages(), TOKEN, SHUT),
        (responses(), delta_frame.replace(b"@number@", b"1"), b": note\n\n"),
    ):
        first, odd = of(model, b"a"), of(model, half)
        splice.feed(first)
        assert splice.feed(odd + after) == odd + after
        assert splice.feed(odd) == odd
        assert splice.events >= 3


def test_half_a_character_is_no_content_to_begin_with():
    for splice, model in ((chat(), CHAT_TOKEN), (messages(), TOKEN)):
        assert splice.feed(of(model, rb"\ud83d")) == b""
        assert not splice.committed


def test_line_ends_of_any_kind_become_line_feeds():
    for line_end in (b"\r\n", b"\r"):
        splice = chat()
        stream = (TEXT + TEXT + STOP + DONE).replace(b"\n", line_end)
        assert run(splice, stream[:30], stream[30:]) == TEXT + TEXT + STOP + DONE


def test_what_comes_after_the_end_is_not_passed_on():
    splice = chat()
    assert splice.feed(TEXT + STOP + DONE) == TEXT + STOP + DONE
    assert splice.feed(TEXT) == b""
    assert splice.finish() == b""


def test_a_byte_order_mark_is_not_passed_on():
    for splice in (chat(), messages()):
        frame = TEXT if isinstance(splice, ChatSplice) else HI
        assert splice.feed(b"\xef\xbb") == b""
        assert splice.feed(b"\xbf" + frame) == frame


def test_a_long_frame_may_come_in_many_reads():
    splice = messages()
    splice.feed(BEGIN + OPEN + HI)
    frame = of(TOKEN, b"x" * 200_000)
    *parts, last = cut(frame, list(range(0, len(frame), 10_000)))
    assert [splice.feed(part) for part in parts] == [b""] * len(parts)
    assert splice.feed(last) == frame


def test_a_frame_that_begins_like_the_last_and_holds_more_is_looked_into():
    splice = chat()
    splice.feed(padded(b"a", "x"))
    splice.feed(padded(b"a", "x"))
    told = chunk(choice({"content": "b"}), obfuscation="x", usage=USAGE)
    assert splice.feed(told) == told
    assert splice.reported is not None
    splice.feed(of(CHAT_TOKEN, b"c"))
    # As long as what stands before a text, to the byte.
    failed = chunk({"error": 1, "delta": {"content": "d"}, "finish_reason": None})
    assert failed.index(b'"d"') == CHAT_TOKEN.index(b'"@text@"')
    assert b'"d"' not in splice.feed(failed)
    assert splice.error is not None


def test_a_read_behind_an_unfinished_event_belongs_to_it():
    splice = chat()
    assert splice.feed(TEXT) == TEXT
    assert splice.feed(b"data: one line of two\n") == b""
    # Both lines are one event, which is no JSON.
    assert splice.feed(TEXT) == b""
    assert splice.feed(TEXT) == TEXT
