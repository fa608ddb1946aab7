from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.collected import Choice, Collected
from proxy.dialects.conversation import Audio, Call, Image, Redacted, Refusal, Text, Thinking
from proxy.dialects.messages.decode import Decoder
from proxy.dialects.messages.encode import (
    HEARTBEAT,
    STOP_REASONS,
    Encoder,
    error_frame,
    write_answer,
    write_error,
    write_usage,
)
from proxy.dialects.refusal import classify
from proxy.dialects.reply import Meter, Reply, Sealed
from proxy.dialects.sse import Splitter
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage
from tests.unit.dialects.transcript import Transcript, Verb, merged, play

MINTED = "a" * 24
Remembered = list[tuple[str, tuple[Sealed, ...]]]


def reply(
    remember: Callable[[str, tuple[Sealed, ...]], None] | None = None, estimate: int = 3
) -> Reply:
    return Reply(
        model="m",
        created=0,
        request_id="req_test",
        mint=lambda: MINTED,
        remember=remember,
        estimate_input=lambda: estimate,
    )


def encoded(
    *verbs: Verb, remember: Callable[[str, tuple[Sealed, ...]], None] | None = None
) -> Encoder:
    encoder = Encoder(reply(remember), Meter())
    play(list(verbs), encoder)
    return encoder


def events(*verbs: Verb) -> list[dict[str, Any]]:
    """The events of a stream, whose names must be their types."""
    found = Splitter().feed(b"".join(encoded(*verbs).frames))
    documents = [orjson.loads(event.data) for event in found]
    assert [event.name for event in found] == [document["type"].encode() for document in documents]
    return documents


def content(*verbs: Verb) -> list[dict[str, Any]]:
    """The events between the announcement and the ending of a stream that plays ``verbs``."""
    played = events(("begin", "up", "x"), *verbs, ("end", StopReason.STOP))
    assert [event["type"] for event in played[:2]] == ["message_start", "ping"]
    assert [event["type"] for event in played[-2:]] == ["message_delta", "message_stop"]
    return played[2:-2]


def start(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **field: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **field}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def text_block(index: int, *said: str) -> list[dict[str, Any]]:
    deltas = [delta(index, "text_delta", text=one) for one in said]
    return [start(index, {"type": "text", "text": ""}), *deltas, stop(index)]


def thinking_block(index: int, *said: str, seal: str) -> list[dict[str, Any]]:
    deltas = [delta(index, "thinking_delta", thinking=one) for one in said]
    sealed = delta(index, "signature_delta", signature=seal)
    return [
        start(index, {"type": "thinking", "thinking": "", "signature": ""}),
        *deltas,
        sealed,
        stop(index),
    ]


def call_block(index: int, call_id: str, name: str, *said: str) -> list[dict[str, Any]]:
    deltas = [delta(index, "input_json_delta", partial_json=one) for one in said]
    return [
        start(index, {"type": "tool_use", "id": call_id, "name": name, "input": {}}),
        *deltas,
        stop(index),
    ]


def whole_block(index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    return [start(index, block), stop(index)]


# The stream, byte by byte.


def test_a_stream_in_bytes():
    encoder = encoded(
        ("begin", "upstream-model", "chatcmpl-abc"),
        ("text", 'Say "hi" in Zürich'),
        ("usage", Usage(input=8, cache_read=4, output=7)),
        ("end", StopReason.STOP),
    )
    assert b"".join(encoder.frames).decode() == (
        "event: message_start\n"
        'data: {"type":"message_start","message":{"id":"msg_abc","type":"message","role":"assistant","model":"m",'
        '"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}}\n\n'
        'event: ping\ndata: {"type":"ping"}\n\n'
        "event: content_block_start\n"
        'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        "event: content_block_delta\n"
        'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Say \\"hi\\" in Zürich"}}\n\n'
        "event: content_block_stop\n"
        'data: {"type":"content_block_stop","index":0}\n\n'
        "event: message_delta\n"
        'data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        '"usage":{"input_tokens":8,"cache_read_input_tokens":4,"output_tokens":7}}\n\n'
        "event: message_stop\n"
        'data: {"type":"message_stop"}\n\n'
    )
    assert encoder.committed
    assert encoder.ended


def test_the_heartbeat_is_a_ping():
    assert HEARTBEAT == b'event: ping\ndata: {"type":"ping"}\n\n'


@pytest.mark.parametrize(
    ("told", "sent"),
    [
        ("msg_1", "msg_1"),
        ("chatcmpl-1", "msg_1"),
        ("resp_1", "msg_1"),
        ("R1", "msg_R1"),
        ("", f"msg_{MINTED}"),
    ],
)
def test_an_answer_has_an_id_of_this_dialect(told: str, sent: str):
    assert events(("begin", "", told))[0]["message"]["id"] == sent


def test_the_announcement_tells_the_input_if_it_is_known():
    usage = Usage(input=9, cache_write=2, output=5, reasoning=1)
    (announced, _) = events(("usage", usage), ("begin", "", "x"), ("begin", "", "y"))
    assert announced["message"]["usage"]["input_tokens"] == 9
    assert announced["message"]["usage"]["cache_creation_input_tokens"] == 2
    assert announced["message"]["usage"]["output_tokens"] == 0


# Blocks.


def test_a_change_of_kind_closes_one_block_and_opens_the_next():
    assert content(
        ("thinking", "h"),
        ("thinking", "m"),
        ("signature", "S"),
        ("text", "a"),
        ("text", "b"),
        ("tool_call", 0, "t", "f"),
    ) == [
        *thinking_block(0, "h", "m", seal="S"),
        *text_block(1, "a", "b"),
        *call_block(2, "t", "f"),
    ]


def test_empty_deltas_open_nothing():
    assert content(
        ("text", ""), ("thinking", ""), ("refusal", ""), ("signature", ""), ("text", " ")
    ) == text_block(0, " ")
    assert content(("tool_call", 0, "t", "f"), ("arguments", 0, "")) == call_block(0, "t", "f")


def test_an_answer_without_any_block_gets_an_empty_one():
    assert content() == whole_block(0, {"type": "text", "text": ""})


def test_thinking_without_a_seal_says_so():
    assert content(("thinking", "hm"), ("text", "x")) == [
        *thinking_block(0, "hm", seal="gw1:none"),
        *text_block(1, "x"),
    ]


def test_a_seal_closes_its_thinking():
    assert content(("thinking", "a"), ("signature", "S"), ("thinking", "b")) == [
        *thinking_block(0, "a", seal="S"),
        *thinking_block(1, "b", seal="gw1:none"),
    ]


def test_a_seal_without_thinking_has_a_block_of_its_own():
    assert content(("signature", "S")) == thinking_block(0, seal="S")
    assert content(("signature", "gw1:oai:x")) == whole_block(
        0, {"type": "redacted_thinking", "data": "gw1:oai:x"}
    )
    assert content(("redacted", "R")) == whole_block(0, {"type": "redacted_thinking", "data": "R"})


def test_a_seal_on_a_call_goes_to_the_thinking_before_it():
    seal = "gw1:gem:c2ln"
    called = [*call_block(1, "t", "f")]
    assert content(("thinking", "hm"), ("tool_call", 0, "t", "f", seal)) == [
        *thinking_block(0, "hm", seal=seal),
        *called,
    ]
    assert content(("tool_call", 0, "t", "f", seal)) == call_block(0, "t", "f")


def test_a_call_without_an_id_gets_one():
    assert content(("tool_call", 0, "", "f"))[0]["content_block"]["id"] == f"toolu_{MINTED}"


def test_pictures_are_shown_in_text():
    assert content(("text", "a"), ("image", "image/png", "iVBORw==")) == [
        *text_block(0, "a"),
        *text_block(1, "![image](data:image/png;base64,iVBORw==)"),
    ]


def test_a_picture_waits_for_the_call_that_is_open():
    shown = "![image](data:image/png;base64,iVBORw==)"
    assert content(
        ("tool_call", 0, "t", "f"),
        ("image", "image/png", "iVBORw=="),
        ("arguments", 0, "{}"),
        ("call_done", 0),
    ) == [*call_block(0, "t", "f", "{}"), *text_block(1, shown)]


def test_a_picture_of_another_alternative_is_left_out():
    assert content(
        ("choice", 1), ("image", "image/png", "iVBORw=="), ("choice", 0), ("text", "a")
    ) == text_block(0, "a")


def test_only_the_first_alternative_is_told():
    assert content(
        ("text", "a"),
        ("choice", 1),
        ("text", "other"),
        ("refusal", "other"),
        ("tool_call", 0, "t", "f"),
        ("arguments", 0, "{}"),
        ("choice", 2),
        ("thinking", "other"),
        ("choice", 0),
        ("choice", 0),
        ("text", "b"),
    ) == text_block(0, "a", "b")
    called = ("tool_call", 0, "t", "f"), ("tool_call", 1, "u", "g")
    others: list[Verb] = [
        ("choice", 1),
        ("arguments", 0, "x"),
        ("call_done", 1),
        ("redacted", "x"),
        ("choice", 0),
    ]
    assert content(*called, *others) == [*call_block(0, "t", "f"), *call_block(1, "u", "g")]


# Several calls at once.


def test_interleaved_calls_become_consecutive_blocks():
    assert content(
        ("tool_call", 0, "t", "f"),
        ("tool_call", 1, "u", "g"),
        ("arguments", 1, '{"b"'),
        ("arguments", 0, '{"a":1}'),
        ("tool_call", 2, "v", "h"),
        ("arguments", 1, ":2}"),
        ("arguments", 2, "{}"),
    ) == [
        *call_block(0, "t", "f", '{"a":1}'),
        *call_block(1, "u", "g", '{"b":2}'),
        *call_block(2, "v", "h", "{}"),
    ]


def test_a_call_whose_arguments_are_whole_makes_way_for_the_next():
    verbs: list[Verb] = [
        ("tool_call", 0, "t", "f"),
        ("arguments", 0, "{}"),
        ("tool_call", 1, "u", "g"),
        ("arguments", 1, "{"),
    ]
    assert content(*verbs, ("arguments", 1, "}"), ("arguments", 0, " ")) == [
        *call_block(0, "t", "f", "{}"),
        *call_block(1, "u", "g", "{", "}"),
    ]


def test_a_call_that_is_done_lets_the_waiting_ones_on():
    verbs: list[Verb] = [
        ("tool_call", 0, "t", "f"),
        ("tool_call", 1, "u", "g"),
        ("tool_call", 2, "v", "h"),
        ("arguments", 1, "{}"),
        ("call_done", 1),
        ("call_done", 0),
        ("arguments", 2, '{"c"'),
        ("arguments", 2, ":3}"),
        ("call_done", 2),
        ("call_done", 2),
    ]
    assert content(*verbs) == [
        *call_block(0, "t", "f"),
        *call_block(1, "u", "g", "{}"),
        *call_block(2, "v", "h", '{"c"', ":3}"),
    ]


def test_text_amid_the_arguments_of_a_call_comes_after_it():
    verbs: list[Verb] = [
        ("tool_call", 0, "t", "f"),
        ("arguments", 0, '{"a"'),
        ("text", "x"),
        ("text", "y"),
        ("redacted", "R"),
        ("arguments", 0, ":1}"),
        ("call_done", 0),
    ]
    assert content(*verbs) == [
        *call_block(0, "t", "f", '{"a"', ":1}"),
        *text_block(1, "x", "y"),
        *whole_block(2, {"type": "redacted_thinking", "data": "R"}),
    ]


def test_what_waits_is_counted_once():
    meter = Meter()
    encoder = Encoder(reply(), meter)
    encoder.tool_call(0, "t", "f")
    encoder.tool_call(1, "u", "g")
    encoder.arguments(1, "x" * 40)
    encoder.text("y" * 40)
    assert meter.usage(lambda: 0).output == 20
    encoder.end(StopReason.STOP)
    encoder.text("late")
    assert meter.usage(lambda: 0).output == 20


# The end.


def ending(*verbs: Verb) -> dict[str, Any]:
    told: dict[str, Any] = events(*verbs)[-2]
    return told


@pytest.mark.parametrize(("reason", "word"), STOP_REASONS.items())
def test_every_reason_has_its_word(reason: StopReason, word: str):
    assert ending(("text", "x"), ("end", reason))["delta"]["stop_reason"] == word


def test_a_plain_stop_after_a_call_means_the_call():
    assert (
        ending(("tool_call", 0, "t", "f"), ("end", StopReason.STOP))["delta"]["stop_reason"]
        == "tool_use"
    )


def test_a_stop_sequence_is_named():
    told = ending(("end", StopReason.STOP_SEQUENCE, "END"))
    assert told["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}


def test_a_refusal_in_words_is_one_whatever_the_end_is_called():
    told = ending(("refusal", "No"), ("refusal", "."), ("end", StopReason.STOP))
    details = {"type": "refusal", "category": None, "explanation": "No."}
    assert told["delta"] == {
        "stop_reason": "refusal",
        "stop_sequence": None,
        "stop_details": details,
    }
    filtered = ending(("end", StopReason.FILTER, None, "Blocked"))["delta"]["stop_details"]
    assert filtered["explanation"] == "Blocked"
    assert ending(("end", StopReason.FILTER))["delta"]["stop_details"]["explanation"] is None


def test_usage_that_nobody_told_is_estimated():
    assert ending(("text", "x" * 9), ("end", StopReason.STOP))["usage"] == {
        "input_tokens": 3,
        "output_tokens": 3,
    }


def test_the_last_usage_counts():
    usage = Usage(input=1, cache_read=2, cache_write=3, cache_write_1h=4, output=5, reasoning=4)
    assert ending(("usage", Usage()), ("usage", usage), ("end", StopReason.STOP))["usage"] == {
        "input_tokens": 1,
        "cache_read_input_tokens": 2,
        "cache_creation_input_tokens": 7,
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 4},
    }


def test_an_answer_that_broke_before_it_said_anything_failed():
    encoder = encoded(("begin", "", "x"), ("end", StopReason.BROKEN))
    assert encoder.error is not None
    assert encoder.error.kind is Kind.MALFORMED


def test_nothing_follows_the_end():
    encoder = encoded(("text", "x"), ("end", StopReason.STOP))
    frames = list(encoder.frames)
    late: list[Verb] = [
        ("end", StopReason.STOP),
        ("text", "x"),
        ("arguments", 0, "x"),
        ("choice", 0),
        ("thinking", "x"),
    ]
    play([*late, ("fail", GatewayError(Kind.SERVER))], encoder)
    assert encoder.frames == frames
    assert encoder.error is None


def test_a_failure_is_the_last_frame_and_leaves_its_block_open():
    error = GatewayError(Kind.RATE_LIMIT)
    encoder = encoded(
        ("begin", "", "x"),
        ("text", "He"),
        ("fail", error),
        ("text", "late"),
        ("end", StopReason.STOP),
    )
    assert encoder.frames[-1] == (
        b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error",'
        b'"message":"All upstream accounts are rate limited; retry later."},"request_id":"req_test"}\n\n'
    )
    assert encoder.frames[-1] == error_frame(error, "req_test")
    assert encoder.ended
    assert encoder.error is error
    assert b"content_block_stop" not in b"".join(encoder.frames)


def test_only_content_commits():
    encoder = encoded(
        ("begin", "", "x"), ("usage", Usage()), ("text", ""), ("choice", 1), ("text", "x")
    )
    assert not encoder.committed
    for verb in (
        ("text", "x"),
        ("thinking", "x"),
        ("redacted", "x"),
        ("tool_call", 0, "t", "f"),
        ("image", "a/b", "c"),
    ):
        assert encoded(("begin", "", "x"), verb).committed
    assert not encoded(("fail", GatewayError(Kind.SERVER))).committed


# What the upstream wants back.


def remembered(*verbs: Verb) -> Remembered:
    kept: Remembered = []
    encoded(
        *verbs,
        ("end", StopReason.STOP),
        remember=lambda call_id, parts: kept.append((call_id, parts)),
    )
    return kept


def test_seals_before_the_first_call_are_remembered_under_its_id():
    assert remembered(
        ("thinking", "h"),
        ("thinking", "m"),
        ("signature", "S"),
        ("redacted", "R"),
        ("thinking", "unsealed"),
        ("text", "ok"),
        ("tool_call", 0, "t", "f"),
        ("call_done", 0),
        ("thinking", "later"),
        ("signature", "T"),
        ("tool_call", 1, "u", "g"),
    ) == [("t", (Thinking("hm", "S"), Redacted("R")))]


def test_a_sealed_call_is_remembered():
    assert remembered(("tool_call", 0, "t", "f", "gw1:gem:x"), ("tool_call", 1, "u", "g")) == [
        ("t", (Call("t", "f", "", "gw1:gem:x"),))
    ]


def test_nothing_is_remembered_without_a_seal_or_a_call():
    assert remembered(("thinking", "hm"), ("tool_call", 0, "t", "f")) == []
    assert remembered(("thinking", "hm"), ("signature", "S")) == []


# Whole answers.


def collected(*parts: Any, reason: StopReason = StopReason.STOP, **fields: Any) -> Collected:
    made = Collected()
    made.answer_id = "chatcmpl-abc"
    made.choices = [Choice(list(parts), reason, **fields)]
    return made


def test_a_whole_answer():
    answer = collected(
        Thinking("hm"),
        Thinking("sealed", "S"),
        Thinking("", "gw1:oai:x"),
        Redacted("R"),
        Text("A"),
        Image(data="x", mime="image/png"),
        Call("t", "f", '{"a":1}'),
        Call("", "g", '{"a":'),
        Call("u", "h", ""),
    )
    usage = Usage(input=1, cache_read=2, cache_write=3, output=4, reasoning=1)
    assert write_answer(answer, reply(), usage) == {
        "id": "msg_abc",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "gw1:none"},
            {"type": "thinking", "thinking": "sealed", "signature": "S"},
            {"type": "redacted_thinking", "data": "gw1:oai:x"},
            {"type": "redacted_thinking", "data": "R"},
            {"type": "text", "text": "A"},
            {"type": "text", "text": "![image](data:image/png;base64,x)"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
            {
                "type": "tool_use",
                "id": f"toolu_{MINTED}",
                "name": "g",
                "input": {"_raw_arguments": '{"a":'},
            },
            {"type": "tool_use", "id": "u", "name": "h", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 1,
            "cache_read_input_tokens": 2,
            "cache_creation_input_tokens": 3,
            "output_tokens": 4,
            "output_tokens_details": {"thinking_tokens": 1},
        },
    }


def test_a_whole_refusal_and_a_whole_nothing():
    refused = write_answer(collected(Refusal("No.")), reply(), Usage())
    assert refused["content"] == [{"type": "text", "text": "No."}]
    assert refused["stop_reason"] == "refusal"
    assert refused["stop_details"] == {"type": "refusal", "category": None, "explanation": "No."}
    empty = write_answer(collected(reason=StopReason.LENGTH), reply(), Usage())
    assert empty["content"] == [{"type": "text", "text": ""}]
    assert empty["stop_reason"] == "max_tokens"


def test_a_whole_answer_puts_the_seal_of_a_call_on_the_thinking_before_it():
    kept: Remembered = []
    answer = collected(Thinking("hm"), Call("t", "f", "{}", "gw1:gem:x"))
    made = write_answer(
        answer, reply(lambda call_id, parts: kept.append((call_id, parts))), Usage()
    )
    assert made["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "gw1:gem:x"}
    assert kept == [("t", (Thinking("hm", "gw1:gem:x"), Call("t", "f", "", "gw1:gem:x")))]


def test_an_answer_holds_no_audio():
    with pytest.raises(TypeError):
        write_answer(collected(Audio("AA==", "wav")), reply(), Usage())


def test_usage_stands_beside_the_cached_tokens():
    assert write_usage(
        Usage(
            input=100, cache_read=1000, cache_write=50, cache_write_1h=150, output=300, reasoning=40
        )
    ) == {
        "input_tokens": 100,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 200,
        "output_tokens": 300,
        "output_tokens_details": {"thinking_tokens": 40},
    }


# Errors.

UPSTREAMS_FAULT = orjson.dumps(
    {"error": {"message": "Invalid value: 'foo'.", "type": "invalid", "param": "messages[0].role"}}
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            GatewayError(Kind.INVALID_REQUEST, "found null", param="messages[0]"),
            "messages[0]: found null",
        ),
        (
            GatewayError(Kind.INVALID_REQUEST, "Invalid 'temperature'", param="temperature"),
            "Invalid 'temperature'",
        ),
        (GatewayError(Kind.NOT_FOUND, "no such model", param="model"), "no such model"),
        (classify(400, {}, UPSTREAMS_FAULT), "Invalid value: 'foo'."),
        (
            GatewayError(Kind.CONTEXT, "Too many tokens.", param="messages"),
            "prompt is too long: Too many tokens.",
        ),
        (GatewayError(Kind.CONTEXT, "prompt is too long: 9 > 8"), "prompt is too long: 9 > 8"),
        (GatewayError(Kind.SERVER, "secret"), "The upstream provider returned an error."),
    ],
)
def test_errors_say_where_and_what(error: GatewayError, message: str):
    told = write_error(error, "req_1")
    assert told == {
        "type": "error",
        "error": {"type": error.row.messages_type, "message": message},
        "request_id": "req_1",
    }


# There and back.

SAID = st.text(min_size=1, max_size=3)
PIECES: st.SearchStrategy[list[Verb]] = st.one_of(
    SAID.map(lambda said: [("text", said)]),
    st.tuples(SAID, SAID).map(lambda pair: [("thinking", pair[0]), ("signature", pair[1])]),
    SAID.map(lambda said: [("signature", said)]),
    SAID.map(lambda said: [("redacted", said)]),
    st.dictionaries(SAID, SAID, max_size=2).map(
        lambda value: [("call", orjson.dumps(value).decode())]
    ),
)


def numbered(pieces: list[list[Verb]]) -> list[Verb]:
    verbs: list[Verb] = []
    number = 0
    for verb in [verb for piece in pieces for verb in piece]:
        if verb[0] != "call":
            verbs.append(verb)
            continue
        half = len(verb[1]) // 2
        verbs += [
            ("tool_call", number, f"t{number}", "f", ""),
            ("arguments", number, verb[1][:half]),
            ("arguments", number, verb[1][half:]),
            ("call_done", number),
        ]
        number += 1
    return verbs


@given(st.lists(PIECES, min_size=1, max_size=8), st.integers(1, 99))
def test_what_is_encoded_decodes_to_the_same(pieces: list[list[Verb]], size: int):
    verbs = numbered(pieces)
    usage = Usage(input=1, cache_read=2, output=3)
    frames = b"".join(
        encoded(
            ("begin", "m", "msg_1"), *verbs, ("usage", usage), ("end", StopReason.LENGTH)
        ).frames
    )
    transcript, splitter = Transcript(), Splitter()
    decoder = Decoder(transcript, Flags())
    for start_ in range(0, len(frames), size):
        for event in splitter.feed(frames[start_ : start_ + size]):
            decoder.event(*event)
    announced: list[Verb] = [("begin", "m", "msg_1"), ("usage", Usage())]
    ended: list[Verb] = [("usage", usage), ("end", StopReason.LENGTH, None, None)]
    assert merged(transcript.verbs) == merged([*announced, *verbs, *ended])


VERBS = st.one_of(
    st.tuples(
        st.sampled_from(["text", "thinking", "refusal", "signature", "redacted"]),
        st.text(max_size=2),
    ),
    st.tuples(st.just("arguments"), st.integers(0, 2), st.sampled_from(["", "{", "}", "{}"])),
    st.tuples(st.just("call_done"), st.integers(0, 2)),
    st.tuples(st.just("image"), st.just("image/png"), st.just("x")),
    st.tuples(st.just("choice"), st.integers(0, 1)),
)
OPENINGS = st.lists(st.lists(VERBS, max_size=5), min_size=1, max_size=4)


@given(OPENINGS)
def test_any_order_of_verbs_makes_a_well_formed_stream(chapters: list[list[Verb]]):
    verbs: list[Verb] = [("begin", "m", "x")]
    for number, chapter in enumerate(chapters):
        verbs += [("tool_call", number, f"t{number}", "f"), *chapter]
    open_at = None
    upcoming = 0
    for event in events(*verbs, ("end", StopReason.STOP))[2:-2]:
        if event["type"] == "content_block_start":
            assert open_at is None
            assert event["index"] == upcoming
            open_at, upcoming = upcoming, upcoming + 1
        else:
            assert event["index"] == open_at
            open_at = None if event["type"] == "content_block_stop" else open_at
    assert open_at is None
