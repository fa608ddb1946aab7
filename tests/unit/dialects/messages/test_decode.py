from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.messages.decode import STOP_REASONS, Decoder, read_usage
from proxy.dialects.sse import Splitter
from proxy.dialects.turn import StopReason
from proxy.errors import Kind
from proxy.providers import Flags
from proxy.usage import Usage
from tests.unit.dialects.transcript import Transcript, Verb

START = {
    "type": "message_start",
    "message": {
        "id": "msg_01",
        "model": "claude-x",
        "content": [],
        "usage": {"input_tokens": 20, "output_tokens": 1},
    },
}
STOP = {"type": "message_stop"}
BEGIN: list[Verb] = [("begin", "claude-x", "msg_01"), ("usage", Usage(input=20, output=1))]
END: Verb = ("end", StopReason.STOP, None, None)
WAITS: Verb = ("end", StopReason.TOOL_CALLS, None, None)


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def delta(reason: str | None = "end_turn", usage: Any = None, **fields: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, **fields}, "usage": usage}


def decoded(*events: object, flags: Flags | None = None) -> Transcript:
    transcript = Transcript()
    decoder = Decoder(transcript, flags or Flags())
    for event in events:
        decoder.event(None, event if isinstance(event, bytes) else orjson.dumps(event))
    if not decoder.ended:
        decoder.finish()
    assert decoder.ended
    return transcript


def verbs(*events: object) -> list[Verb]:
    """What is played between the announcement and the end of a message that holds ``events``."""
    played = decoded(START, *events, STOP).verbs
    assert played[:2] == BEGIN
    assert played[-1] == (WAITS if any(verb[0] == "tool_call" for verb in played) else END)
    return played[2:-1]


def text(said: str) -> dict[str, str]:
    return {"type": "text_delta", "text": said}


def fragment(said: str) -> dict[str, str]:
    return {"type": "input_json_delta", "partial_json": said}


# Streams.


def test_text_is_played_as_it_comes():
    events = block(0, {"type": "text", "text": "He"}, text("y"), text(""), text(" you"))
    assert verbs(*events, {"type": "ping"}) == [("text", "He"), ("text", "y"), ("text", " you")]


def raw(said: bytes, end: bytes = b'"}}') -> bytes:
    """Return the data of a text delta whose text stands there as ``said``."""
    begin = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"'
    return begin + said + end


def test_text_that_is_no_utf_8_is_counted_and_not_played():
    transcript = Transcript()
    decoder = Decoder(transcript, Flags())
    for data in (raw(b"\xff"), raw(b"a"), raw(b"b"), raw(b"\xf0\x9f"), raw(b"c")):
        decoder.event(None, data)
    assert decoder.ignored == 2
    assert transcript.joined("text") == "abc"


class Slow(Decoder):
    """Parses every event: no frame is taken for one like the last."""

    _before_text = property(lambda _: b"", lambda _, learnt: None)


@given(
    st.lists(
        st.one_of(
            st.builds(
                raw,
                st.one_of(
                    st.text(max_size=9).map(lambda one: json.dumps(one)[1:-1].encode()),
                    st.text(max_size=9).map(
                        lambda one: json.dumps(one, ensure_ascii=False)[1:-1].encode()
                    ),
                    st.sampled_from([b"", b"a", b"\xff", rb"\ud83d", b"\n", b"\x01", rb"\"}}"]),
                ),
                st.sampled_from([b'"}}', b'"} }  ', b'" }}', b'"}', b'"}}}', b'"},"p":"x"}']),
            ),
            st.sampled_from([STOP, {"type": "error", "error": {"type": "api_error"}}]).map(
                orjson.dumps
            ),
        ),
        max_size=12,
    )
)
def test_a_frame_like_the_last_is_played_as_if_it_were_parsed(events):
    fast, slow = Transcript(), Transcript()
    quick, plain = Decoder(fast, Flags()), Slow(slow, Flags())
    for data in events:
        quick.event(None, data)
        plain.event(None, data)
    assert fast.verbs == slow.verbs
    assert (quick.ignored, quick.ended) == (plain.ignored, plain.ended)


def test_thinking_gets_its_seal_when_its_block_is_whole():
    seal = {"type": "signature_delta", "signature": "EqQB"}
    events = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm"},
        seal,
    )
    assert verbs(*events) == [("thinking", "hm"), ("signature", "EqQB")]
    assert verbs(*block(0, {"type": "thinking", "thinking": "hm", "signature": "S"})) == [
        ("thinking", "hm"),
        ("signature", "S"),
    ]
    # Hidden thinking has nothing but its seal, and a block that nobody stops is stopped by the end.
    assert verbs(*block(0, {"type": "thinking", "thinking": ""}, seal)[:-1]) == [
        ("signature", "EqQB")
    ]


def test_redacted_thinking_is_opaque():
    assert verbs(*block(0, {"type": "redacted_thinking", "data": "R"})) == [("redacted", "R")]
    assert verbs(*block(0, {"type": "redacted_thinking"})) == []


def test_calls_are_numbered_by_themselves():
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    events = [
        *block(0, {"type": "text", "text": "ok"}),
        *block(1, call, fragment(""), fragment('{"a"'), fragment(":1}")),
        *block(2, {**call, "id": "toolu_2"}, fragment("{}")),
    ]
    assert verbs(*events) == [
        ("text", "ok"),
        ("tool_call", 0, "toolu_1", "f", ""),
        ("arguments", 0, '{"a"'),
        ("arguments", 0, ":1}"),
        ("call_done", 0),
        ("tool_call", 1, "toolu_2", "f", ""),
        ("arguments", 1, "{}"),
        ("call_done", 1),
    ]


@pytest.mark.parametrize(
    ("told", "arguments"), [({}, "{}"), (None, "{}"), ("odd", "{}"), ({"ü": 1}, '{"ü":1}')]
)
def test_a_call_without_fragments_has_its_input_exactly_once(told: Any, arguments: str):
    call = {"type": "tool_use", "id": "t", "name": "now", "input": told}
    played: list[Verb] = [
        ("tool_call", 0, "t", "now", ""),
        ("arguments", 0, arguments),
        ("call_done", 0),
    ]
    assert verbs(*block(0, call, fragment(""))) == played
    assert verbs(*block(0, call)[:-1]) == played


def test_fragments_beat_the_input_told_at_the_start():
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"old": 1}}
    assert ("arguments", 0, "{}") in verbs(*block(0, call, fragment("{}")))
    assert not any('"old"' in str(verb) for verb in verbs(*block(0, call, fragment("{}"))))


def test_the_providers_own_tools_say_nothing():
    events = [
        *block(
            0,
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            fragment('{"query":"x"}'),
        ),
        *block(1, {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}),
        *block(
            2,
            {"type": "text", "text": ""},
            {"type": "citations_delta", "citation": {}},
            text("Found"),
        ),
        *block(3, {"type": "compaction"}, {"type": "compaction_delta", "content": "c"}),
        *block(4, {"type": "mcp_tool_use", "id": "m", "name": "n", "input": {"a": 1}}),
    ]
    assert verbs(*events) == [("text", "Found")]


def test_usage_is_cumulative_and_what_is_not_told_again_stays():
    first = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_1h_input_tokens": 2},
    }
    start = {"type": "message_start", "message": {"usage": first}}
    last = {
        "input_tokens": 12,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": None,
        "output_tokens": 50,
    }
    assert decoded(start, delta(usage=last), STOP).named("usage")[-1] == (
        "usage",
        Usage(input=12, cache_read=3, cache_write=5, cache_write_1h=2, output=50),
    )


@pytest.mark.parametrize(("word", "reason"), STOP_REASONS.items())
def test_every_stop_reason_has_its_neutral_one(word: str, reason: StopReason):
    assert decoded(START, delta(word), STOP).verbs[-1] == ("end", reason, None, None)


@pytest.mark.parametrize("word", ["something_new", None, ["end_turn"]])
def test_an_unknown_stop_reason_is_a_plain_stop(word: Any):
    assert decoded(START, delta(word), STOP).verbs[-1] == END


def test_what_belongs_to_a_stop_reason_comes_along():
    assert decoded(START, delta("stop_sequence", stop_sequence="END"), STOP).verbs[-1] == (
        "end",
        StopReason.STOP_SEQUENCE,
        "END",
        None,
    )
    details = {"type": "refusal", "category": "cyber", "explanation": "Not allowed"}
    assert decoded(START, delta("refusal", stop_details=details), STOP).verbs[-1] == (
        "end",
        StopReason.FILTER,
        None,
        "Not allowed",
    )


@pytest.mark.parametrize("events", [[], [START], [START, delta()]])
def test_an_answer_without_its_last_event_was_cut_short(events: list[Any]):
    assert decoded(*events).verbs[-1][:2] == ("fail", Kind.DISCONNECTED)


def test_an_error_ends_the_answer_whatever_follows():
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    transcript = decoded(START, overloaded, *block(0, {"type": "text", "text": "late"}), STOP)
    assert transcript.verbs[2:] == [
        ("fail", Kind.OVERLOADED, "The upstream provider is overloaded; retry later.")
    ]


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"type": "rate_limit_error", "message": "x"}},
        {"type": "odd", "error": {"type": "rate_limit_error", "message": "x"}},
        {"type": "error", "message": {"type": "rate_limit_error", "message": "x"}},
    ],
)
def test_an_error_is_recognised_in_the_shapes_of_imitations(error: dict[str, Any]):
    assert decoded(START, error).verbs[-1][:2] == ("fail", Kind.RATE_LIMIT)


def test_what_is_no_event_is_ignored_and_counted():
    transcript = Transcript()
    decoder = Decoder(transcript, Flags())
    for data in (b"", b"{", b"[]", b"1", b'"x"', b"{}", b'{"type":[]}', b'{"type":"new"}'):
        decoder.event(b"message_stop", data)
    assert transcript.verbs == []
    assert decoder.ignored == 7
    assert not decoder.ended


def test_an_unannounced_answer_begins_by_itself():
    events = block(0, {"type": "text", "text": ""}, text("x"))
    assert decoded(*events[1:], delta(), STOP).verbs == [("begin", "", ""), ("text", "x"), END]
    assert decoded(STOP).verbs == [("begin", "", ""), END]
    assert decoded(START, START, STOP).named("begin") == [("begin", "claude-x", "msg_01")]
    assert decoded({"type": "message_start", "message": 5}, STOP).verbs == [("begin", "", ""), END]


@given(st.integers(1, 60))
def test_cuts_between_reads_change_nothing(size: int):
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    events = [
        START,
        *block(0, {"type": "text", "text": ""}, text("Zürich ")),
        *block(1, call, fragment('{"ä":1}')),
        delta(),
        STOP,
    ]
    raw = b"".join(
        b"event: %b\r\ndata: %b      \r\n\r\n" % (str(event["type"]).encode(), orjson.dumps(event))
        for event in events
    )
    transcript, splitter = Transcript(), Splitter()
    decoder = Decoder(transcript, Flags())
    for start in range(0, len(raw), size):
        for event in splitter.feed(raw[start : start + size]):
            decoder.event(*event)
    assert decoder.ended
    assert transcript.verbs == decoded(*events).verbs


def test_events_of_a_wrong_shape_say_nothing():
    odd = [
        {"type": "content_block_start", "index": 0},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta"}},
        {"type": "content_block_delta", "index": 0, "delta": 5},
        {"type": "content_block_delta", "index": 0, "delta": {"type": ["text_delta"], "text": "x"}},
        {"type": "content_block_delta", "index": "x", "delta": {"type": "input_json_delta"}},
        {"type": "message_delta", "delta": None, "usage": 5},
    ]
    assert verbs(*odd) == []


def test_finishing_an_ended_answer_changes_nothing():
    transcript = Transcript()
    decoder = Decoder(transcript, Flags())
    decoder.event(None, b'{"type":"message_stop"}')
    decoder.finish()
    assert transcript.verbs == [("begin", "", ""), END]


# Whole answers.


def whole(document: object) -> list[Verb]:
    transcript = Transcript()
    decoder = Decoder(transcript, Flags())
    decoder.answer(document)
    assert decoder.ended
    return transcript.verbs


def test_a_whole_message_is_played_like_a_stream():
    document = {
        "id": "msg_01",
        "type": "message",
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "S"},
            {"type": "redacted_thinking", "data": "R"},
            {"type": "server_tool_use", "id": "s", "name": "x", "input": {}},
            {"type": "text", "text": "A"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"city": "Zürich", "n": 1}},
            {"type": "tool_use", "id": "u", "name": "g", "input": {}},
            "odd",
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 20, "output_tokens": 1},
    }
    assert whole(document) == [
        *BEGIN,
        ("thinking", "hm"),
        ("signature", "S"),
        ("redacted", "R"),
        ("text", "A"),
        ("tool_call", 0, "t", "f", ""),
        ("arguments", 0, '{"city":"Zürich","n":1}'),
        ("call_done", 0),
        ("tool_call", 1, "u", "g", ""),
        ("arguments", 1, "{}"),
        ("call_done", 1),
        ("end", StopReason.TOOL_CALLS, None, None),
    ]


@pytest.mark.parametrize("document", [None, [], "x", {}, {"content": "x"}])
def test_a_document_that_is_no_message_cannot_be_read(document: object):
    assert whole(document)[0][:2] == ("fail", Kind.MALFORMED)


def test_an_error_with_status_200_is_one():
    assert whole({"type": "error", "error": {"type": "overloaded_error"}})[0][:2] == (
        "fail",
        Kind.OVERLOADED,
    )


# Usage.


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (None, Usage()),
        ({"input_tokens": "5", "output_tokens": True, "cache_creation": 3}, Usage()),
        (
            {"cache_creation_input_tokens": 200, "output_tokens": 1},
            Usage(cache_write=200, output=1),
        ),
        (
            {
                "cache_creation_input_tokens": 100,
                "cache_creation": {"ephemeral_1h_input_tokens": 150},
            },
            Usage(cache_write_1h=100),
        ),
        (
            {"cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 6}},
            Usage(cache_write=5, cache_write_1h=6),
        ),
        (
            {"output_tokens": 3, "output_tokens_details": {"thinking_tokens": 9}},
            Usage(output=3, reasoning=3),
        ),
        (
            {"server_tool_use": {"web_search_requests": 2}, "service_tier": "priority"},
            Usage(searches=2, tier="priority"),
        ),
        ({"speed": "fast", "service_tier": "standard"}, Usage(tier="fast")),
        ({"speed": "standard", "service_tier": 5}, Usage()),
    ],
)
def test_usage_is_read_and_its_oddities_count_as_nothing(raw: object, usage: Usage):
    assert read_usage(raw, Flags()) == usage


def test_the_rounds_of_a_compaction_are_summed():
    rounds: list[Any] = [
        {
            "type": "compaction",
            "input_tokens": 1000,
            "output_tokens": 100,
            "cache_read_input_tokens": 7,
        },
        {"type": "message", "input_tokens": 10, "output_tokens": 5},
        {"type": "advisor_message", "input_tokens": 500, "output_tokens": 50},
        "odd",
    ]
    raw = {"input_tokens": 10, "output_tokens": 5, "iterations": rounds}
    assert read_usage(raw, Flags()) == Usage(input=1010, cache_read=7, output=105)
    assert read_usage({**raw, "iterations": rounds[1:]}, Flags()) == Usage(input=10, output=5)
    fallback = [*rounds, {"type": "fallback_message", "input_tokens": 1}]
    assert read_usage({**raw, "iterations": fallback}, Flags()) == Usage(input=10, output=5)


# Anything at all.

WORDS = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
    "ping",
    "text",
    "text_delta",
    "thinking",
    "thinking_delta",
    "signature_delta",
    "input_json_delta",
    "tool_use",
    "redacted_thinking",
    "refusal",
]
KEYS = [
    "type",
    "index",
    "message",
    "content_block",
    "delta",
    "usage",
    "text",
    "thinking",
    "signature",
    "partial_json",
    "id",
    "name",
    "input",
    "data",
    "stop_reason",
    "stop_details",
    "explanation",
    "error",
    "content",
    "model",
    "cache_creation",
    "iterations",
    "output_tokens",
]
LIKELY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=15,
)


def dumped(value: object) -> bytes:
    """JSON with integers of any size, which orjson writes none of."""
    return json.dumps(value).encode()


@given(st.lists(LIKELY.map(dumped) | st.binary(max_size=20), max_size=8))
def test_any_events_are_played_or_ignored(events: list[bytes]):
    transcript = Transcript()
    decoder = Decoder(transcript, Flags())
    for event in events:
        decoder.event(None, event)
    if not decoder.ended:
        decoder.finish()
    assert [verb[0] for verb in transcript.verbs].count("end") + len(transcript.named("fail")) == 1


@given(LIKELY)
def test_any_document_is_played_or_refused(document: object):
    assert whole(document)[-1][0] in ("end", "fail")


def test_a_plain_end_after_calls_waits_for_them_streamed_and_whole():
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    streamed = decoded(START, *block(0, call), delta("end_turn"), STOP).verbs
    played = whole({"content": [call], "stop_reason": "end_turn"})
    assert streamed[-1] == played[-1] == WAITS
