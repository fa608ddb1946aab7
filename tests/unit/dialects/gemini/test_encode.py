"""An answer, written for a Gemini client."""

from __future__ import annotations

import base64

import orjson
import pytest
from google.genai.types import GenerateContentResponse
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects import envelope
from proxy.dialects.collected import Collected
from proxy.dialects.conversation import Audio, Call, Redacted, Thinking
from proxy.dialects.gemini.decode import Decoder
from proxy.dialects.gemini.encode import (
    HEARTBEAT,
    Encoder,
    error_frame,
    write_answer,
    write_error,
    write_usage,
)
from proxy.dialects.refusal import classify
from proxy.dialects.reply import Meter, Reply
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError, Kind, invalid
from proxy.providers import Flags
from proxy.usage import Usage
from tests.unit.dialects.transcript import Transcript, Verb, merged, play

BEGIN = ("begin", "claude", "msg_R1")
END = ("end", StopReason.STOP)


def a_reply(**more):
    minted = (f"{n:024x}" for n in range(1, 100))
    return Reply(
        model="m",
        created=1_700_000_000,
        request_id="req_1",
        mint=lambda: next(minted),
        estimate_input=lambda: 7,
        **more,
    )


def encoded(*verbs, **more):
    encoder = Encoder(a_reply(**more), Meter())
    play([BEGIN, *verbs], encoder)
    return encoder


def chunks_of(*verbs, **more):
    return [orjson.loads(frame.removeprefix(b"data: ")) for frame in encoded(*verbs, **more).frames]


def parts_of(*verbs, **more):
    return [chunk["candidates"][0]["content"]["parts"][0] for chunk in chunks_of(*verbs, **more)]


def collected(*verbs):
    turn = Collected()
    play([BEGIN, *verbs], turn)
    return turn


# Streams.


def test_a_stream_is_data_lines_and_nothing_else():
    encoder = encoded(
        ("thinking", "hm"),
        ("text", 'He said "h\u00e4"\n'),
        ("text", ""),
        ("thinking", ""),
        ("usage", Usage(input=5, cache_read=2, output=4, reasoning=1)),
        END,
    )
    assert encoder.frames == [
        (
            b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true}]},'
            b'"index":0}],"modelVersion":"m","responseId":"R1"}\n\n'
        ),
        (
            b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"He said \\"h\xc3\xa4\\"\\n"}]},'
            b'"index":0}],"modelVersion":"m","responseId":"R1"}\n\n'
        ),
        (
            b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":""}]},"finishReason":"STOP",'
            b'"index":0}],"usageMetadata":{"promptTokenCount":7,"cachedContentTokenCount":2,'
            b'"candidatesTokenCount":3,"thoughtsTokenCount":1,"totalTokenCount":11},'
            b'"modelVersion":"m","responseId":"R1"}\n\n'
        ),
    ]
    assert HEARTBEAT is None


def test_without_alt_sse_a_stream_is_one_array():
    body = b"".join(encoded(("thinking", "hm"), ("text", "a"), END, array=True).frames)
    assert body.startswith(b'[{"candidates":[')
    assert body.count(b'"}\n,{"candidates":[') == 2
    assert body.endswith(b'"responseId":"R1"}]')
    assert [c["candidates"][0]["index"] for c in orjson.loads(body)] == [0, 0, 0]
    call = [("tool_call", 0, "1", "f"), ("call_done", 0)]
    for verbs in ([END], [*call, END], [("fail", GatewayError(Kind.OVERLOADED))]):
        assert isinstance(orjson.loads(b"".join(encoded(*verbs, array=True).frames)), list)
    cut = [("text", "a"), ("fail", GatewayError(Kind.OVERLOADED))]
    document = orjson.loads(b"".join(encoded(*cut, array=True).frames))
    assert document[1]["error"]["status"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("answer_id", "response_id"),
    [("chatcmpl-1", "1"), ("resp_1", "1"), ("1", "1"), ("", "000000000000000000000001")],
)
def test_the_answers_id_is_the_upstreams_without_its_prefix(answer_id, response_id):
    encoder = Encoder(a_reply(), Meter())
    play([("begin", "x", answer_id), END], encoder)
    assert b'"responseId":"%b"}' % response_id.encode() in encoder.frames[0]
    answer = collected(END)
    answer.answer_id = answer_id
    assert write_answer(answer, a_reply(), Usage())["responseId"] == response_id


def test_calls_are_sent_whole_and_in_one_part():
    verbs = [
        ("tool_call", 0, "toolu_1", "f"),
        ("tool_call", 1, "", "g"),
        ("arguments", 0, '{"a":'),
        ("arguments", 1, ""),
        ("arguments", 0, "\r\n 12345678901234567890123 }"),
        ("call_done", 0),
        ("call_done", 0),
        ("end", StopReason.TOOL_CALLS),
    ]
    encoder = encoded(*verbs)
    assert encoder.frames[0].startswith(
        b'data: {"candidates":[{"content":{"role":"model","parts":[{"functionCall":'
        b'{"id":"toolu_1","name":"f","args":{"a":   12345678901234567890123 }}}]},"index":0}]'
    )
    second, last = (orjson.loads(frame[6:])["candidates"][0] for frame in encoder.frames[1:])
    call_id = "call_000000000000000000000001"
    assert second["content"]["parts"] == [
        {"functionCall": {"id": call_id, "name": "g", "args": {}}}
    ]
    assert last["finishReason"] == "STOP"
    assert last["content"]["parts"] == [{"text": ""}]


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", "nonsense"])
def test_arguments_that_are_no_object_are_told_as_text(arguments):
    part = parts_of(("tool_call", 0, "1", "f"), ("arguments", 0, arguments), END)[0]
    assert part["functionCall"]["args"] == {"_raw_arguments": arguments}


def test_an_answer_without_text_gets_some():
    assert parts_of(END) == [{"text": " "}]
    assert parts_of(("thinking", "hm"), END)[-1] == {"text": " "}
    assert write_answer(collected(END), a_reply(), Usage())["candidates"] == [
        {
            "content": {"role": "model", "parts": [{"text": " "}]},
            "finishReason": "STOP",
            "index": 0,
        }
    ]


def test_pictures_are_inline_data():
    picture = {"inlineData": {"mimeType": "image/png", "data": "aa"}}
    verbs = [("image", "image/png", "aa"), END]
    assert parts_of(*verbs) == [picture, {"text": ""}]
    answer = write_answer(collected(*verbs), a_reply(), Usage())
    assert answer["candidates"][0]["content"]["parts"] == [picture]


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (StopReason.STOP_SEQUENCE, "STOP"),
        (StopReason.TOOL_CALLS, "STOP"),
        (StopReason.CONTEXT, "MAX_TOKENS"),
        (StopReason.PAUSE, "MAX_TOKENS"),
        (StopReason.FILTER, "SAFETY"),
        (StopReason.BROKEN, "OTHER"),
    ],
)
def test_the_reason_is_in_the_last_chunk(reason, word):
    verbs = [("text", "a"), ("choice", 0), ("end", reason, None, "why")]
    told = chunks_of(*verbs)[-1]["candidates"][0]
    assert told["finishReason"] == word
    assert told.get("finishMessage") == ("why" if word in {"SAFETY", "OTHER"} else None)
    answer = write_answer(collected(*verbs), a_reply(), Usage())["candidates"][0]
    assert (answer["finishReason"], answer.get("finishMessage")) == (
        word,
        told.get("finishMessage"),
    )


def test_a_refusal_is_said_and_ends_in_safety():
    verbs = [("refusal", "No."), END]
    chunks = chunks_of(*verbs)
    assert chunks[0]["candidates"][0]["content"]["parts"] == [{"text": "No."}]
    assert chunks[1]["candidates"][0]["finishReason"] == "SAFETY"
    answer = write_answer(collected(*verbs), a_reply(), Usage())["candidates"][0]
    assert (answer["content"]["parts"], answer["finishReason"]) == ([{"text": "No."}], "SAFETY")
    cut = chunks_of(("refusal", "No."), ("end", StopReason.LENGTH))
    assert cut[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_without_usage_the_client_is_told_an_estimate():
    chunks = chunks_of(("text", "12345678"), END)
    assert chunks[-1]["usageMetadata"] == write_usage(Usage(input=7, output=2))


# What is committed, and what goes wrong.


@pytest.mark.parametrize(
    ("verb", "committed"),
    [
        (("text", "a"), True),
        (("text", ""), False),
        (("thinking", "a"), True),
        (("signature", "s"), False),
        (("redacted", "d"), True),
        (("refusal", "no"), True),
        (("image", "image/png", "aa"), True),
        (("tool_call", 0, "1", "f"), True),
        (("usage", Usage(input=1)), False),
        (END, True),
    ],
)
def test_content_commits(verb, committed):
    encoder = encoded(verb)
    assert encoder.committed is committed
    assert encoder.ended is (verb == END)


def test_an_error_is_the_last_frame():
    error = GatewayError(Kind.OVERLOADED)
    encoder = encoded(("text", "a"), ("fail", error))
    assert (
        encoder.frames[-1]
        == error_frame(error, "req_1")
        == (
            b'data: {"error":{"code":503,"message":"The upstream provider is overloaded; retry later.",'
            b'"status":"UNAVAILABLE","details":[]}}\n\n'
        )
    )
    assert (encoder.error, encoder.ended) == (error, True)


def test_an_error_says_how_long_to_wait():
    assert write_error(GatewayError(Kind.ALL_LIMITED, retry_after=17), "req_1") == {
        "error": {
            "code": 429,
            "message": "All upstream accounts are rate limited; retry later.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"}],
        }
    }
    assert write_error(GatewayError(Kind.DRAINING, retry_after=5), "r")["error"]["details"] == []
    assert write_error(invalid("contents", "No."), "r")["error"] == {
        "code": 400,
        "message": "No.",
        "status": "INVALID_ARGUMENT",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": "contents", "description": "No."}],
            }
        ],
    }
    # An upstream of another dialect speaks of the body that it got.
    theirs = b'{"error": {"message": "Bad role.", "param": "messages[0].role"}}'
    assert write_error(classify(400, {}, theirs), "r")["error"]["details"] == []


# Seals.


def seal_of(part):
    return base64.b64decode(part["thoughtSignature"]).decode()


def test_geminis_own_seal_stays_on_its_call():
    kept = []
    verbs = [("thinking", "hm"), ("tool_call", 0, "1", "f", "gw1:gem:c2ln"), END]
    parts = parts_of(*verbs, remember=lambda *what: kept.append(what))
    assert parts[1]["thoughtSignature"] == "c2ln"
    assert kept == [("1", (Call("1", "f", "", "gw1:gem:c2ln"),))]
    whole = []
    answer = write_answer(
        collected(*verbs), a_reply(remember=lambda *what: whole.append(what)), Usage()
    )
    assert answer["candidates"][0]["content"]["parts"] == parts[:2]
    assert whole == kept


def test_another_providers_seals_travel_on_the_next_call():
    kept = []
    verbs = [
        ("thinking", "h"),
        ("thinking", "m"),
        ("signature", "EqQB"),
        ("redacted", "data"),
        ("text", "so"),
        ("tool_call", 0, "1", "f"),
        ("call_done", 0),
        ("thinking", "more"),
        ("signature", "Xyz"),
        ("tool_call", 1, "2", "g"),
        END,
    ]
    parts = parts_of(*verbs, remember=lambda *what: kept.append(what))
    first, second = (part for part in parts if "functionCall" in part)
    assert envelope.open_blocks(seal_of(first)) == [Thinking("hm", "EqQB"), Redacted("data")]
    assert envelope.open_blocks(seal_of(second)) == [Thinking("more", "Xyz")]
    assert kept == [("1", (Thinking("hm", "EqQB"), Redacted("data")))]
    whole = []
    answer = write_answer(
        collected(*verbs), a_reply(remember=lambda *what: whole.append(what)), Usage()
    )
    made = [part for part in answer["candidates"][0]["content"]["parts"] if "functionCall" in part]
    assert made == [first, second]
    assert whole == kept


def test_nothing_is_remembered_without_a_call_or_without_a_seal():
    kept = []

    def remember(*what):
        kept.append(what)

    unsealed = [("thinking", "hm"), ("tool_call", 0, "1", "f"), END]
    uncalled = [("thinking", "hm"), ("signature", "EqQB"), ("text", "a"), END]
    for verbs in (unsealed, uncalled):
        chunks_of(*verbs, remember=remember)
        write_answer(collected(*verbs), a_reply(remember=remember), Usage())
    assert kept == []


# Whole answers.


def test_a_whole_answer_is_one_document():
    turn = collected(
        ("thinking", "hm"),
        ("text", "a"),
        ("tool_call", 0, "", "f"),
        ("arguments", 0, '{"b": 1}'),
        ("end", StopReason.TOOL_CALLS),
        ("choice", 1),
        ("text", "c"),
        ("end", StopReason.LENGTH),
    )
    assert write_answer(turn, a_reply(), Usage(input=1, output=2)) == {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "hm", "thought": True},
                        {"text": "a"},
                        {
                            "functionCall": {
                                "id": "call_000000000000000000000001",
                                "name": "f",
                                "args": {"b": 1},
                            }
                        },
                    ],
                },
                "finishReason": "STOP",
                "index": 0,
            },
            {
                "content": {"role": "model", "parts": [{"text": "c"}]},
                "finishReason": "MAX_TOKENS",
                "index": 1,
            },
        ],
        "usageMetadata": {
            "promptTokenCount": 1,
            "cachedContentTokenCount": 0,
            "candidatesTokenCount": 2,
            "thoughtsTokenCount": 0,
            "totalTokenCount": 3,
        },
        "modelVersion": "m",
        "responseId": "R1",
    }


def test_what_no_decoder_tells_is_not_written():
    turn = collected(("text", "a"), ("thinking", ""), ("signature", "EqQB"), END)
    turn.choices[0].parts.append(Audio("aa", "wav"))
    parts = write_answer(turn, a_reply(), Usage())["candidates"][0]["content"]["parts"]
    assert parts == [{"text": "a"}]


# Both ways.


def test_googles_own_types_take_every_chunk():
    verbs = [
        ("thinking", "hm"),
        ("signature", "EqQB"),
        ("redacted", "data"),
        ("image", "image/png", "YWE="),
        ("text", "a"),
        ("tool_call", 0, "1", "f", "gw1:gem:c2ln"),
        ("arguments", 0, '{"a":1}'),
        ("call_done", 0),
        ("tool_call", 1, "2", "g"),
        ("end", StopReason.FILTER, None, "why"),
    ]
    for chunk in [*chunks_of(*verbs), write_answer(collected(*verbs), a_reply(), Usage())]:
        GenerateContentResponse.model_validate(chunk)


deltas = st.text(min_size=1, max_size=8)
ids = st.text("abc123_", min_size=1, max_size=6)
arguments = st.dictionaries(
    st.text(max_size=3), st.integers(-9, 9) | st.text(max_size=3), max_size=3
)


@st.composite
def answers(draw):
    verbs: list[Verb] = []
    calls = 0
    for kind in draw(st.lists(st.sampled_from(["text", "thinking", "image", "call"]), max_size=8)):
        if kind == "image":
            verbs.append(("image", "image/png", draw(ids)))
        elif kind == "call":
            seal = draw(st.just("") | ids.map(lambda value: f"gw1:gem:{value}"))
            verbs.append(("tool_call", calls, draw(ids), draw(ids), seal))
            verbs.append(("arguments", calls, orjson.dumps(draw(arguments)).decode()))
            verbs.append(("call_done", calls))
            calls += 1
        else:
            verbs.append((kind, draw(deltas)))
    verbs.append(("usage", Usage(input=draw(st.integers(1, 99)), output=draw(st.integers(0, 99)))))
    verbs.append(("end", StopReason.TOOL_CALLS if calls else StopReason.STOP, None, None))
    return verbs


def normal(verbs):
    """What an answer says: the last usage, and no more white space than is needed for there to be a text."""
    told = [verb for verb in merged(verbs) if verb[0] not in {"begin", "usage"}]
    if len(told) > 1 and told[-2] == ("text", " "):
        del told[-2]
    return told, [verb for verb in verbs if verb[0] == "usage"][-1]


@given(answers())
def test_what_is_encoded_is_decoded_as_it_was(verbs):
    streamed, whole = Transcript(), Transcript()
    decoder = Decoder(streamed, Flags())
    for frame in encoded(*verbs).frames:
        decoder.event(None, frame.removeprefix(b"data: "))
    decoder.finish()
    answer = collected(*verbs)
    assert answer.reported is not None
    Decoder(whole, Flags()).answer(write_answer(answer, a_reply(), answer.reported))
    assert streamed.verbs[0] == whole.verbs[0] == ("begin", "m", "R1")
    assert normal(streamed.verbs) == normal(whole.verbs) == normal([*verbs])


@given(answers())
def test_both_framings_hold_the_same_chunks(verbs):
    as_array = orjson.loads(b"".join(encoded(*verbs, array=True).frames))
    assert as_array == chunks_of(*verbs)
