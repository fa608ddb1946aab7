from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.chat.decode import Decoder
from proxy.dialects.chat.encode import HEARTBEAT, Encoder, write_answer
from proxy.dialects.chat.shapes import error_frame, write_error, write_usage
from proxy.dialects.collected import Collected
from proxy.dialects.conversation import Call, Redacted, Thinking
from proxy.dialects.reply import Meter, Reply
from proxy.dialects.sse import Splitter
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage
from tests.unit.dialects.transcript import Transcript, Verb, merged, play

HEAD = b'data: {"id":"chatcmpl-01","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":['
FIRST = HEAD + b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
DONE = b"data: [DONE]\n\n"
BEGIN = ("begin", "upstream", "msg_01")


def frame(delta: bytes, finish: bytes = b"null") -> bytes:
    return HEAD + b'{"index":0,"delta":' + delta + b',"finish_reason":' + finish + b"}]}\n\n"


def make_reply(**facts: Any) -> Reply:
    minted = itertools.count(1)
    facts = {"model": "m", "created": 1_700_000_000, "request_id": "req_test", **facts}
    return Reply(mint=lambda: f"{next(minted):024x}", **facts)


def encoded(*verbs: Verb, drained: bool = False, **facts: Any) -> list[bytes]:
    """The frames of ``verbs`` after ``begin``; ``drained`` says that frames leave after each verb."""
    encoder = Encoder(make_reply(**facts), Meter())
    frames: list[bytes] = []
    for verb in [BEGIN, *verbs]:
        play([verb], encoder)
        if drained:
            frames += encoder.frames
            encoder.frames.clear()
    frames += encoder.frames
    assert frames[0] == FIRST
    return frames[1:]


def document(*verbs: Verb, usage: Usage = Usage(), **facts: Any) -> dict[str, Any]:  # noqa: B008
    collected = Collected()
    play([BEGIN, *verbs], collected)
    return write_answer(collected, make_reply(**facts), usage)


def told(*verbs: Verb, **facts: Any) -> dict[str, Any]:
    message: dict[str, Any] = document(*verbs, **facts)["choices"][0]["message"]
    return message


def end(reason: StopReason = StopReason.STOP, detail: str | None = None) -> Verb:
    return ("end", reason, None, detail)


# Streams.


def test_text_is_a_frame_for_each_delta():
    assert encoded(("text", "He"), ("text", ""), ("text", 'y "ü"'), end()) == [
        frame(b'{"content":"He"}'),
        frame('{"content":"y \\"ü\\""}'.encode()),
        frame(b"{}", b'"stop"'),
        DONE,
    ]


def test_usage_comes_last_for_those_who_ask():
    usage = Usage(input=20, cache_read=100, output=30)
    assert encoded(("usage", usage), end(), include_usage=True) == [
        frame(b"{}", b'"stop"'),
        HEAD + b'],"usage":{"prompt_tokens":120,"completion_tokens":30,"total_tokens":150,'
        b'"prompt_tokens_details":{"cached_tokens":100,"cache_write_tokens":0},'
        b'"completion_tokens_details":{"reasoning_tokens":0}}}\n\n',
        DONE,
    ]


def test_the_usage_tells_what_the_key_pays():
    usage = Usage(input=20, output=30)
    frames = encoded(("usage", usage), end(), include_usage=True, charge=lambda one: one.total * 10)
    assert frames[-2].endswith(
        b'"completion_tokens_details":{"reasoning_tokens":0},"cost":0.0005,"cost_micro":500}}\n\n'
    )
    unasked = encoded(("usage", usage), end(), charge=lambda one: one.total)
    assert b"cost" not in b"".join(unasked)


def test_usage_that_nobody_told_is_estimated():
    frames = encoded(("text", "hello world é"), end(), include_usage=True, estimate_input=lambda: 9)
    assert b'"prompt_tokens":9,"completion_tokens":4,' in frames[-2]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (StopReason.STOP_SEQUENCE, b'"stop"'),
        (StopReason.LENGTH, b'"length"'),
        (StopReason.CONTEXT, b'"length"'),
        (StopReason.TOOL_CALLS, b'"tool_calls"'),
        (StopReason.FILTER, b'"content_filter"'),
        (StopReason.PAUSE, b'"length"'),
        (StopReason.COMPACTION, b'"stop"'),
        (StopReason.BROKEN, b'"stop"'),
    ],
)
def test_finish_reasons(reason, told):
    assert encoded(("text", "x"), end(reason))[1] == frame(b"{}", told)


def test_an_answer_that_broke_before_it_said_anything_is_a_failure():
    encoder = Encoder(make_reply(), Meter())
    play([BEGIN, end(StopReason.BROKEN)], encoder)
    assert encoder.error is not None
    assert encoder.error.kind is Kind.MALFORMED
    assert not encoder.committed


def test_a_call_is_its_start_and_its_arguments():
    call = [("tool_call", 0, "toolu_1", "f"), ("arguments", 0, '{"a"'), ("arguments", 0, ":1}")]
    assert encoded(*call, end(StopReason.TOOL_CALLS), drained=True) == [
        frame(
            b'{"tool_calls":[{"index":0,"id":"toolu_1","type":"function","function":{"name":"f","arguments":""}}]}'
        ),
        frame(b'{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\""}}]}'),
        frame(b'{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}'),
        frame(b"{}", b'"tool_calls"'),
        DONE,
    ]


def test_a_call_that_comes_whole_is_one_frame():
    calls = [
        ("tool_call", 0, "", "f", "gw1:gem:c2ln"),
        ("arguments", 0, '{"a":1}'),
        ("call_done", 0),
        ("tool_call", 1, "", "g"),
        ("call_done", 1),
    ]
    assert encoded(*calls) == [
        frame(
            b'{"tool_calls":[{"index":0,"id":"call_000000000000000000000001","type":"function",'
            b'"function":{"name":"f","arguments":"{\\"a\\":1}"},'
            b'"extra_content":{"google":{"thought_signature":"c2ln"}}}]}'
        ),
        frame(
            b'{"tool_calls":[{"index":1,"id":"call_000000000000000000000002","type":"function",'
            b'"function":{"name":"g","arguments":"{}"}}]}'
        ),
    ]


@pytest.mark.parametrize("done", [[("call_done", 0)], []])
def test_a_call_without_arguments_gets_an_empty_object_once(done):
    frames = encoded(("tool_call", 0, "c", "now"), ("arguments", 0, ""), *done, end(), drained=True)
    assert frames[1:-2] == [frame(b'{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}')]


def test_arguments_of_calls_may_interleave():
    frames = encoded(
        ("tool_call", 0, "a", "f"),
        ("tool_call", 1, "b", "g"),
        ("arguments", 0, "{"),
        ("arguments", 0, "}"),
        ("call_done", 0),
        ("arguments", 1, "{"),
        ("arguments", 1, "}"),
    )
    assert [frame.partition(b'"tool_calls":[')[2][:10] for frame in frames] == [
        b'{"index":0',
        b'{"index":1',
        b'{"index":0',
        b'{"index":0',
        b'{"index":1',
        b'{"index":1',
    ]


def test_a_free_text_tool_gets_its_input_as_it_is():
    verbs = [("tool_call", 0, "c", "patch"), ("arguments", 0, "*** A"), ("call_done", 0)]
    custom = frozenset({"patch"})
    opening = (
        b'{"tool_calls":[{"index":0,"id":"c","type":"custom","custom":{"name":"patch","input":'
    )
    assert encoded(*verbs, custom_tools=custom) == [frame(opening + b'"*** A"}}]}')]
    assert encoded(*verbs, custom_tools=custom, drained=True) == [
        frame(opening + b'""}}]}'),
        frame(b'{"tool_calls":[{"index":0,"custom":{"input":"*** A"}}]}'),
    ]
    empty = [("tool_call", 0, "c", "patch"), ("call_done", 0), end()]
    assert encoded(*empty, custom_tools=custom)[0] == frame(opening + b'""}}]}')


def test_a_client_of_the_functions_era_reads_one_function_call():
    verbs = [
        ("tool_call", 0, "c", "f"),
        ("arguments", 0, "{"),
        ("arguments", 0, "}"),
        ("tool_call", 1, "d", "g"),
        ("arguments", 1, "{}"),
        end(StopReason.TOOL_CALLS),
    ]
    assert encoded(*verbs, legacy_functions=True, drained=True) == [
        frame(b'{"function_call":{"name":"f","arguments":""}}'),
        frame(b'{"function_call":{"arguments":"{"}}'),
        frame(b'{"function_call":{"arguments":"}"}}'),
        frame(b"{}", b'"function_call"'),
        DONE,
    ]


def test_thinking_is_shown_and_its_seals_only_to_those_who_asked():
    verbs = [("thinking", "hm"), ("thinking", ""), ("signature", "EqQB"), ("redacted", "RED")]
    assert encoded(*verbs) == [frame(b'{"reasoning_content":"hm"}')]
    assert encoded(*verbs, ("thinking", "so"), ("redacted", "R2"), thinking_blocks=True) == [
        frame(
            b'{"reasoning_content":"hm","thinking_blocks":[{"index":0,"type":"thinking","thinking":"hm"}]}'
        ),
        frame(b'{"thinking_blocks":[{"index":0,"type":"thinking","signature":"EqQB"}]}'),
        frame(b'{"thinking_blocks":[{"index":1,"type":"redacted_thinking","data":"RED"}]}'),
        frame(
            b'{"reasoning_content":"so","thinking_blocks":[{"index":2,"type":"thinking","thinking":"so"}]}'
        ),
        frame(b'{"thinking_blocks":[{"index":3,"type":"redacted_thinking","data":"R2"}]}'),
    ]


def test_a_seal_without_thinking_is_a_block_of_its_own():
    assert encoded(("signature", "S"), thinking_blocks=True) == [
        frame(b'{"thinking_blocks":[{"index":0,"type":"thinking","thinking":"","signature":"S"}]}')
    ]


def test_openais_encrypted_reasoning_is_a_reasoning_detail():
    verbs = [("thinking", "a"), ("signature", "gw1:oai:ENC"), ("redacted", "gw1:oai:MORE")]
    detail = b'{"reasoning_details":[{"index":%d,"type":"reasoning.encrypted","data":"%b","format":"openai-responses-v1"}]}'
    assert encoded(*verbs, thinking_blocks=True)[1:] == [
        frame(detail % (0, b"ENC")),
        frame(detail % (1, b"MORE")),
    ]
    assert encoded(*verbs[1:]) == []


def test_refusals_and_images():
    assert encoded(("refusal", "no"), ("refusal", ""), end(StopReason.FILTER, "no")) == [
        frame(b'{"refusal":"no"}'),
        frame(b"{}", b'"content_filter"'),
        DONE,
    ]
    assert encoded(("image", "image/png", "AA"), ("image", "image/gif", "BB")) == [
        frame(
            b'{"images":[{"index":0,"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}'
        ),
        frame(
            b'{"images":[{"index":1,"type":"image_url","image_url":{"url":"data:image/gif;base64,BB"}}]}'
        ),
    ]


def test_the_reason_of_a_filtered_answer_is_told_as_a_refusal():
    assert encoded(end(StopReason.FILTER, "Not allowed"))[0] == frame(b'{"refusal":"Not allowed"}')


def test_a_failure_is_a_frame_with_nothing_behind_it():
    error = GatewayError(Kind.DISCONNECTED)
    assert encoded(("text", "He"), ("fail", error), ("fail", error), end()) == [
        frame(b'{"content":"He"}'),
        b'data: {"error":{"message":"The upstream provider closed the stream early.",%b}}\n\n'
        % b'"type":"server_error","param":null,"code":"upstream_disconnected"',
    ]


@pytest.mark.parametrize(
    "verb",
    [
        ("text", "x"),
        ("thinking", "x"),
        ("refusal", "x"),
        ("redacted", "x"),
        ("image", "image/png", "AA"),
        ("tool_call", 0, "c", "f"),
        end(),
    ],
)
def test_content_and_the_end_commit(verb):
    encoder = Encoder(make_reply(), Meter())
    play([BEGIN, ("usage", Usage()), ("signature", "S"), ("text", ""), ("thinking", "")], encoder)
    assert not encoder.committed
    play([verb], encoder)
    assert encoder.committed


def test_a_stream_shows_the_first_choice_only():
    others: list[Verb] = [
        ("text", "B"),
        ("thinking", "B"),
        ("signature", "S"),
        ("redacted", "R"),
        ("refusal", "no"),
        ("image", "image/png", "AA"),
        ("tool_call", 0, "c", "f"),
        ("arguments", 0, "{}"),
        ("call_done", 0),
    ]
    frames = encoded(
        ("text", "A"), ("choice", 1), *others, ("choice", 0), ("text", "C"), end(), end()
    )
    assert frames == [
        frame(b'{"content":"A"}'),
        frame(b'{"content":"C"}'),
        frame(b"{}", b'"stop"'),
        DONE,
    ]


@pytest.mark.parametrize(
    ("answer_id", "told"),
    [
        ("msg_01", b"chatcmpl-01"),
        ("chatcmpl-01", b"chatcmpl-01"),
        ("resp_01", b"chatcmpl-01"),
        ("R1", b"chatcmpl-R1"),
        ("", b"chatcmpl-000000000000000000000001"),
    ],
)
def test_ids_are_the_upstreams_in_openais_form(answer_id, told):
    encoder = Encoder(make_reply(), Meter())
    play([("begin", "x", answer_id), ("begin", "x", "other")], encoder)
    (first,) = encoder.frames
    assert b'"id":"' + told + b'"' in first


# What the upstream wants back with a call.


def test_seals_before_the_first_call_are_remembered_with_its_id():
    kept: list[Any] = []
    verbs = [
        ("thinking", "h"),
        ("thinking", "m"),
        ("signature", "S"),
        ("redacted", "R"),
        ("tool_call", 0, "", "f", "gw1:gem:c"),
        ("thinking", "later"),
        ("signature", "T"),
        ("tool_call", 1, "b", "g", "gw1:gem:d"),
    ]
    seals = (
        Thinking("hm", "S"),
        Redacted("R"),
        Call("call_000000000000000000000001", "f", "", "gw1:gem:c"),
    )
    encoded(*verbs, remember=lambda *told: kept.append(told))
    document(*verbs, end(), remember=lambda *told: kept.append(told))
    assert kept == [("call_000000000000000000000001", seals)] * 2


def test_there_is_nothing_to_remember_without_seals_or_calls():
    kept: list[Any] = []
    for verbs in (
        [("thinking", "x"), ("tool_call", 0, "c", "f")],
        [("signature", "S"), ("text", "x")],
    ):
        encoded(*verbs, remember=lambda *told: kept.append(told))
        document(*verbs, end(), remember=lambda *told: kept.append(told))
    assert kept == []


# Whole answers.


def test_a_whole_answer():
    verbs = [
        ("thinking", "hm"),
        ("signature", "S"),
        ("text", "A"),
        ("text", "B"),
        ("tool_call", 0, "toolu_1", "f"),
        ("arguments", 0, '{"city":"Zürich"}'),
        ("tool_call", 1, "", "g", "gw1:gem:c2ln"),
        end(StopReason.TOOL_CALLS),
    ]
    usage = Usage(input=5, output=6, tier="standard")
    assert document(*verbs, usage=usage) == {
        "id": "chatcmpl-01",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "AB",
                    "reasoning_content": "hm",
                    "refusal": None,
                    "tool_calls": [
                        {
                            "id": "toolu_1",
                            "type": "function",
                            "function": {"name": "f", "arguments": '{"city":"Zürich"}'},
                        },
                        {
                            "id": "call_000000000000000000000001",
                            "type": "function",
                            "function": {"name": "g", "arguments": "{}"},
                            "extra_content": {"google": {"thought_signature": "c2ln"}},
                        },
                    ],
                },
                "finish_reason": "tool_calls",
                "logprobs": None,
            }
        ],
        "usage": write_usage(usage),
        "service_tier": "default",
    }


def test_content_is_null_only_beside_calls():
    assert told(end())["content"] == ""
    assert told(("tool_call", 0, "c", "f"), end())["content"] is None


def test_calls_in_any_choice_are_what_it_ended_for():
    choices = document(("tool_call", 0, "c", "f"), ("choice", 1), ("text", "x"), end())["choices"]
    assert [choice["finish_reason"] for choice in choices] == ["tool_calls", "stop"]


def test_refusals_are_told_beside_the_content():
    assert told(("refusal", "n"), ("refusal", "o"), end(StopReason.FILTER, "x"))["refusal"] == "no"
    assert told(end(StopReason.FILTER, "Not allowed"))["refusal"] == "Not allowed"
    assert told(end(StopReason.FILTER))["refusal"] is None


def test_sealed_reasoning_in_whole_answers():
    verbs = [
        ("thinking", "a"),
        ("signature", "S"),
        ("redacted", "R"),
        ("thinking", "b"),
        ("signature", "gw1:oai:ENC"),
        ("redacted", "gw1:oai:MORE"),
        ("thinking", "unsealed"),
        ("text", "x"),
        end(),
    ]
    message = told(*verbs, thinking_blocks=True)
    assert message["thinking_blocks"] == [
        {"type": "thinking", "thinking": "a", "signature": "S"},
        {"type": "redacted_thinking", "data": "R"},
    ]
    assert message["reasoning_details"] == [
        {"type": "reasoning.encrypted", "data": "ENC", "format": "openai-responses-v1"},
        {"type": "reasoning.encrypted", "data": "MORE", "format": "openai-responses-v1"},
    ]
    assert message["reasoning_content"] == "abunsealed"
    assert "thinking_blocks" not in told(*verbs)
    assert set(told(("text", "x"), end(), thinking_blocks=True)) == {"role", "content", "refusal"}


def test_images_custom_calls_and_function_calls_in_whole_answers():
    assert told(("image", "image/png", "AA"), end())["images"] == [
        {"index": 0, "type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    ]
    call = [("tool_call", 0, "c", "f"), ("arguments", 0, "x"), end()]
    assert told(*call, custom_tools=frozenset({"f"}))["tool_calls"] == [
        {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}
    ]
    legacy = document(*call, legacy_functions=True)["choices"][0]
    assert legacy["message"]["function_call"] == {"name": "f", "arguments": "x"}
    assert "tool_calls" not in legacy["message"]
    assert legacy["finish_reason"] == "function_call"


@pytest.mark.parametrize(
    ("tier", "told"), [("Priority", "priority"), ("batch", None), (None, None)]
)
def test_service_tiers_in_openais_words(tier, told):
    assert document(end(), usage=Usage(tier=tier)).get("service_tier") == told


# Small shapes.


def test_usage_tells_audio_where_there_was_any():
    assert write_usage(
        Usage(input=9, audio_input=4, output=8, audio_output=3, cache_write_1h=2)
    ) == {
        "prompt_tokens": 11,
        "completion_tokens": 8,
        "total_tokens": 19,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 2, "audio_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 3},
    }


def test_errors_have_all_four_keys():
    error = GatewayError(Kind.INVALID_REQUEST, "no", param="messages[0]", code="invalid_value")
    body = {
        "error": {
            "message": "no",
            "type": "invalid_request_error",
            "param": "messages[0]",
            "code": "invalid_value",
        }
    }
    assert write_error(error, "req_test") == body
    assert error_frame(error, "req_test") == b"data: " + orjson.dumps(body) + b"\n\n"


def test_the_heartbeat_is_a_comment():
    assert HEARTBEAT is not None
    assert Splitter().feed(HEARTBEAT) == []


# What is encoded can be decoded: the verbs come back, deltas as they were, seals as far as chat can carry them.

DELTAS = st.text(min_size=1, max_size=6)
SAID = st.one_of(
    st.tuples(st.just("text"), DELTAS),
    st.tuples(st.just("thinking"), DELTAS),
    st.tuples(st.just("image"), st.just("image/png"), st.just("AAAA")),
)


@st.composite
def transcripts(draw: st.DrawFn) -> list[Verb]:
    """A turn whose calls have arguments, as fragments that may come between anything."""
    verbs: list[Verb] = [("begin", "m", "chatcmpl-01")]
    calls = 0
    for _ in range(draw(st.integers(0, 12))):
        if calls and draw(st.booleans()):
            verbs.append(("arguments", draw(st.integers(0, calls - 1)), draw(DELTAS)))
        elif draw(st.integers(0, 3)) == 0:
            signature = draw(st.sampled_from(["", "gw1:gem:c2ln"]))
            verbs.append(("tool_call", calls, f"c{calls}", draw(st.sampled_from("fg")), signature))
            verbs.append(("arguments", calls, draw(DELTAS)))
            calls += 1
        else:
            verbs.append(draw(SAID))
    verbs.append(("usage", Usage(input=5, output=6)))
    reasons = [
        StopReason.LENGTH,
        StopReason.FILTER,
        StopReason.TOOL_CALLS if calls else StopReason.STOP,
    ]
    verbs.append(("end", draw(st.sampled_from(reasons)), None, None))
    return verbs


@given(transcripts(), st.booleans(), st.lists(st.integers(1, 300), max_size=12))
def test_a_decoded_stream_is_the_turn_that_was_encoded(verbs, drained, cuts):
    encoder = Encoder(make_reply(include_usage=True), Meter())
    raw = b""
    for verb in verbs:
        play([verb], encoder)
        if drained:
            raw += b"".join(encoder.frames)
            encoder.frames.clear()
    raw += b"".join(encoder.frames)
    transcript = Transcript()
    decoder = Decoder(transcript, Flags())
    splitter = Splitter()
    for cut in cuts:
        for event in splitter.feed(raw[:cut]):
            decoder.event(*event)
        raw = raw[cut:]
    for event in splitter.feed(raw):
        decoder.event(*event)
    assert transcript.verbs == verbs


@given(transcripts())
def test_a_decoded_document_says_what_was_encoded(verbs):
    collected = Collected()
    play(verbs, collected)
    again = Collected()
    Decoder(again, Flags()).answer(
        orjson.loads(orjson.dumps(write_answer(collected, make_reply(), Usage(input=5, output=6))))
    )
    (was,), (came,) = collected.choices, again.choices
    assert (came.text, came.calls, came.reason) == (was.text, was.calls, was.reason)
    assert again.reported == collected.reported
    assert merged(verbs)[0] == ("begin", again.model, again.answer_id)
