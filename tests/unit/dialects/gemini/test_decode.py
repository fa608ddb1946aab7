"""A Gemini upstream's answer, decoded."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.collected import Collected
from proxy.dialects.gemini.decode import Decoder, read_usage
from proxy.dialects.gemini.reasons import FINISH_REASONS, STOP_REASONS
from proxy.dialects.gemini.usage import Tally
from proxy.dialects.sse import Splitter
from proxy.dialects.turn import StopReason
from proxy.errors import Kind
from proxy.providers import Flags
from proxy.usage import Usage
from tests.unit.dialects.transcript import Transcript

BEGIN = ("begin", "gemini-x", "R1")
END = ("end", StopReason.STOP, None, None)


def chunk(*parts, finish=None, usage=None, **candidate):
    made: dict[str, Any] = {
        "candidates": [
            {"content": {"role": "model", "parts": list(parts)}, "index": 0, **candidate}
        ],
        "responseId": "R1",
        "modelVersion": "gemini-x",
    }
    if finish is not None:
        made["candidates"][0]["finishReason"] = finish
    if usage is not None:
        made["usageMetadata"] = usage
    return made


def decoded(*chunks):
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    for one in chunks:
        decoder.event(None, orjson.dumps(one))
    decoder.finish()
    return turn.verbs


def answered(document):
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    decoder.answer(document)
    assert decoder.ended
    return turn.verbs


# Content.


def test_text_and_thoughts_are_told_as_they_come():
    verbs = decoded(
        chunk({"text": "hm", "thought": True}),
        chunk({"text": ""}, {"text": "Hello"}),
        chunk({"text": " you", "thoughtSignature": "c2ln"}, finish="STOP"),
    )
    assert verbs == [BEGIN, ("thinking", "hm"), ("text", "Hello"), ("text", " you"), END]


def test_calls_come_whole_and_make_a_stop_a_call_for_tools():
    verbs = decoded(
        chunk(
            {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"id": "fc2", "name": "g"}},
        ),
        chunk({"text": ""}, finish="STOP"),
    )
    assert verbs == [
        BEGIN,
        ("tool_call", 0, "", "f", "gw1:gem:c2ln"),
        ("arguments", 0, '{"a":1}'),
        ("call_done", 0),
        ("tool_call", 1, "fc2", "g", ""),
        ("arguments", 1, "{}"),
        ("call_done", 1),
        ("end", StopReason.TOOL_CALLS, None, None),
    ]


def test_pictures_are_told_and_other_data_is_not():
    verbs = decoded(
        chunk(
            {"inlineData": {"mimeType": "image/png", "data": "aa"}},
            {"inlineData": {"mimeType": "audio/pcm", "data": "aa"}},
            {"inlineData": {"mimeType": "image/png"}},
            {"inlineData": "odd"},
            {"executableCode": {"code": "1"}},
            "odd",
            {"functionCall": {"args": {}}},
            finish="STOP",
        )
    )
    assert verbs == [BEGIN, ("image", "image/png", "aa"), END]


def test_other_candidates_of_a_stream_are_not_read():
    other = chunk({"text": "b"}, finish="STOP")
    other["candidates"][0]["index"] = 1
    both = chunk({"text": "a"}, finish="STOP")
    both["candidates"].append({"index": 1, "content": {"parts": [{"text": "c"}]}})
    assert decoded(other, both) == [BEGIN, ("text", "a"), END]


def test_each_candidate_of_a_whole_answer_ends_for_itself():
    document = chunk({"text": "a"}, finish="MAX_TOKENS")
    document["candidates"] += [
        {
            "index": 1,
            "content": {"parts": [{"functionCall": {"name": "f"}}]},
            "finishReason": "STOP",
        },
        {"content": {"parts": [{"text": "c"}]}, "finishReason": "SAFETY", "finishMessage": "no"},
        {"index": 3},
    ]
    assert answered(document) == [
        BEGIN,
        ("text", "a"),
        ("end", StopReason.LENGTH, None, None),
        ("choice", 1),
        ("tool_call", 0, "", "f", ""),
        ("arguments", 0, "{}"),
        ("call_done", 0),
        ("end", StopReason.TOOL_CALLS, None, None),
        ("choice", 2),
        ("text", "c"),
        ("end", StopReason.FILTER, None, "no"),
        ("choice", 3),
        END,
    ]


def test_a_whole_answer_may_be_the_list_of_chunks_of_a_stream():
    chunks = [chunk({"text": "a"}), chunk({"text": "b"}, finish="STOP")]
    assert answered(chunks) == [BEGIN, ("text", "a"), ("text", "b"), END]


def test_a_candidate_may_have_no_parts():
    assert decoded(
        chunk({"text": "a"}), {"candidates": [{"content": {}}]}, chunk(finish="STOP")
    ) == [
        BEGIN,
        ("text", "a"),
        END,
    ]


def test_what_comes_after_the_finish_reason_is_still_told():
    verbs = decoded(
        chunk({"text": "a"}, finish="STOP"),
        chunk({"text": "b"}, usage={"promptTokenCount": 3, "totalTokenCount": 3}),
    )
    assert verbs == [BEGIN, ("text", "a"), ("usage", Usage(input=3)), ("text", "b"), END]


# Ends.


@pytest.mark.parametrize(("word", "reason"), STOP_REASONS.items())
def test_every_finish_reason_has_a_meaning_once_there_is_text(word, reason):
    assert decoded(chunk({"text": "a"}, finish=word))[-1] == ("end", reason, None, None)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (1, StopReason.STOP),
        (2, StopReason.LENGTH),
        (3, StopReason.FILTER),
        (10, StopReason.BROKEN),
        (99, StopReason.STOP),
        (-1, StopReason.STOP),
        ("SOMETHING_NEW", StopReason.STOP),
    ],
)
def test_numbers_stand_for_reasons_and_unknown_ones_for_a_stop(number, reason):
    assert decoded(chunk({"text": "a"}, finish=number))[-1] == ("end", reason, None, None)


def test_every_reason_has_a_word_of_geminis():
    assert set(FINISH_REASONS) == set(StopReason)
    assert set(FINISH_REASONS.values()) <= set(STOP_REASONS)


def test_a_reason_may_come_with_a_message():
    verbs = decoded(chunk(finish="MODEL_ARMOR", finishMessage="Blocked."))
    assert verbs == [BEGIN, ("end", StopReason.FILTER, None, "Blocked.")]


def test_a_broken_answer_without_content_may_be_tried_elsewhere():
    broken = chunk(finish="MALFORMED_FUNCTION_CALL")
    assert [verb[:2] for verb in decoded(broken)] == [BEGIN[:2], ("fail", Kind.MALFORMED)]
    assert answered(broken)[-1][1] == Kind.MALFORMED


@pytest.mark.parametrize(
    ("feedback", "said"),
    [
        ({"blockReason": "SAFETY"}, "SAFETY"),
        ({"blockReason": 3}, "BLOCKLIST"),
        ({"blockReason": "OTHER", "blockReasonMessage": "No."}, "No."),
    ],
)
def test_a_refused_prompt_is_a_refusal_and_costs_nothing(feedback, said):
    document = {"promptFeedback": feedback, "usageMetadata": {"trafficType": "ON_DEMAND"}}
    expected = [
        ("begin", "", ""),
        ("usage", Usage()),
        ("refusal", said),
        ("end", StopReason.FILTER, None, said),
    ]
    assert decoded(document) == expected
    assert answered(document) == expected


@pytest.mark.parametrize("feedback", ["odd", [1], {"blockReason": ""}, {}])
def test_feedback_that_blocks_nothing_is_passed_over(feedback):
    first = {"responseId": "R1", "modelVersion": "gemini-x", "promptFeedback": feedback}
    assert decoded(first, chunk({"text": "a"}, finish="STOP")) == [BEGIN, ("text", "a"), END]


def test_a_refused_prompt_may_have_a_usage():
    usage = {"promptTokenCount": 5}
    document = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage}
    assert ("usage", Usage(input=5)) in decoded(document)


@pytest.mark.parametrize(
    "document", [{}, [], None, "x", {"candidates": []}, {"promptFeedback": {}}]
)
def test_an_answer_without_an_answer_is_malformed(document):
    assert answered(document)[-1][:2] == ("fail", Kind.MALFORMED)


def test_a_whole_answer_may_leave_out_its_reason():
    assert answered(chunk({"text": "a"})) == [BEGIN, ("text", "a"), END]


def test_a_stream_that_stops_before_its_reason_was_cut():
    verbs = decoded(chunk({"text": "a"}))
    assert verbs == [
        BEGIN,
        ("text", "a"),
        ("fail", Kind.DISCONNECTED, "The upstream provider closed the stream early."),
    ]
    assert decoded()[-1][1] == Kind.DISCONNECTED


def test_an_error_ends_the_answer_whatever_follows():
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    verbs = decoded(chunk({"text": "a"}), error, chunk({"text": "b"}, finish="STOP"))
    assert [verb[0] for verb in verbs] == ["begin", "text", "fail"]
    assert verbs[-1][1] == Kind.OVERLOADED
    assert answered(error)[-1][1] == Kind.OVERLOADED
    assert answered([error, chunk({"text": "b"})]) == answered(error)


# Usage.


def test_usage_is_a_snapshot_that_keeps_what_a_later_one_leaves_out():
    verbs = decoded(
        chunk({"text": "a"}, usage={"promptTokenCount": 10, "cachedContentTokenCount": 4}),
        chunk({"text": "b"}, usage={"promptTokenCount": None, "candidatesTokenCount": 2}),
        chunk(finish="STOP", usage={"candidatesTokenCount": 3, "thoughtsTokenCount": 5}),
    )
    assert [verb[1] for verb in verbs if verb[0] == "usage"] == [
        Usage(input=6, cache_read=4),
        Usage(input=6, cache_read=4, output=2),
        Usage(input=6, cache_read=4, output=8, reasoning=5),
    ]


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (
            {
                "promptTokenCount": 1000,
                "toolUsePromptTokenCount": 30,
                "cachedContentTokenCount": 400,
                "candidatesTokenCount": 50,
                "thoughtsTokenCount": 200,
                "totalTokenCount": 1280,
            },
            Usage(input=630, cache_read=400, output=250, reasoning=200),
        ),
        (
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 50,
                "thoughtsTokenCount": 20,
                "totalTokenCount": 60,
            },
            Usage(input=10, output=50, reasoning=20),
        ),
        (
            {"candidatesTokenCount": 1, "totalTokenCount": 672, "thoughtsTokenCount": 96},
            Usage(input=575, output=97, reasoning=96),
        ),
        (
            {
                "promptTokenCount": 20,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 5},
                    {"modality": "AUDIO", "tokenCount": 15},
                ],
                "cachedContentTokenCount": 8,
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 8}],
                "candidatesTokenCount": 9,
                "candidatesTokensDetails": [{"modality": 4, "tokenCount": 6}, "odd", {}],
                "serviceTier": "flex",
            },
            Usage(input=12, cache_read=8, output=9, audio_input=7, audio_output=6, tier="flex"),
        ),
        ({"trafficType": "ON_DEMAND", "serviceTier": 5}, Usage()),
        ({"promptTokenCount": True, "candidatesTokenCount": -4, "totalTokenCount": 1e40}, Usage()),
        (None, Usage()),
        ([1], Usage()),
    ],
)
def test_usage_is_read(raw, usage):
    assert read_usage(raw, Flags()) == usage


def grounded(model, queries, sources):
    grounding = {"webSearchQueries": queries, "groundingChunks": sources}
    made = chunk({"text": "a"}, finish="STOP", groundingMetadata=grounding)
    return {**made, "modelVersion": model, "usageMetadata": {"promptTokenCount": 1}}


@pytest.mark.parametrize(
    ("model", "queries", "sources", "searches"),
    [
        ("gemini-3-flash", ["a", "b", "a"], [{"web": {"uri": "u"}}], 2),
        ("gemini-3-flash", ["a", 5], [], 1),
        ("gemini-3-flash", [], [{"web": {"uri": "u"}}], 0),
        ("gemini-2.5-flash", ["a", "b"], [{"web": {"uri": "u"}}], 1),
        ("gemini-2.5-flash", ["a"], [{"retrievedContext": {}}, "odd"], 0),
        ("gemini-2.5-flash", None, [{"web": {"uri": "u"}}], 0),
        ("gemini-2.5-flash", ["a"], None, 0),
        (None, ["a", "b"], None, 2),
    ],
)
def test_searches_are_counted_as_google_bills_them(model, queries, sources, searches):
    verbs = decoded(grounded(model, queries, sources))
    assert ("usage", Usage(input=1, searches=searches)) in verbs


def test_a_tally_knows_nothing_before_it_is_told():
    tally = Tally()
    assert not tally.see({"candidates": "odd"})
    assert tally.see({"usageMetadata": {"trafficType": "ON_DEMAND"}})
    assert tally.see({"candidates": [{"groundingMetadata": None}, "odd"]})
    assert tally.usage is None
    tally.see({"candidates": [{"groundingMetadata": {"webSearchQueries": ["a"]}}]})
    assert tally.usage == Usage(searches=1, tier="ON_DEMAND")


# Answers in several hops.


def continued(token="dG9r", text="a", **more):
    return chunk({"text": text}, finish="CONTINUATION", continuationToken=token, **more)


def test_an_answer_goes_on_where_it_stopped():
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 2, "serviceTier": "flex"}
    decoder.event(None, orjson.dumps(continued(usage=usage)))
    decoder.finish()
    assert (decoder.continuation, decoder.ended) == ("dG9r", False)
    decoder.resume()
    assert decoder.continuation is None
    call = {"functionCall": {"name": "f"}}
    grounding = {"webSearchQueries": ["q"]}
    last = chunk(
        {"text": "b"},
        call,
        finish="STOP",
        usage={"promptTokenCount": 12},
        groundingMetadata=grounding,
    )
    decoder.event(None, orjson.dumps(last))
    decoder.finish()
    assert decoder.ended
    assert turn.verbs == [
        BEGIN,
        ("usage", Usage(input=10, output=2, tier="flex")),
        ("text", "a"),
        ("usage", Usage(input=22, output=2, searches=1, tier="flex")),
        ("text", "b"),
        ("tool_call", 0, "", "f", ""),
        ("arguments", 0, "{}"),
        ("call_done", 0),
        ("end", StopReason.TOOL_CALLS, None, None),
    ]


def test_a_whole_answer_goes_on_too():
    turn = Collected()
    decoder = Decoder(turn, Flags())
    decoder.answer(continued())
    assert (decoder.continuation, decoder.ended) == ("dG9r", False)
    decoder.resume()
    decoder.answer(chunk({"text": "b"}, finish="STOP"))
    assert decoder.ended
    assert (turn.choices[0].text, turn.choices[0].reason) == ("ab", StopReason.STOP)


def test_an_answer_that_cannot_go_on_grew_too_long():
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    decoder.event(None, orjson.dumps(continued()))
    decoder.finish()
    decoder.give_up()
    decoder.give_up()
    decoder.finish()
    assert (decoder.continuation, decoder.ended) == (None, True)
    assert turn.verbs[-1] == ("end", StopReason.LENGTH, None, None)
    assert len(turn.named("end")) == 1
    without_token = decoded(chunk({"text": "a"}, finish="CONTINUATION"))
    assert without_token[-1] == ("end", StopReason.LENGTH, None, None)


@pytest.mark.parametrize("then", [[], [{"error": {"code": 500, "status": "INTERNAL"}}]])
def test_a_hop_that_fails_leaves_what_came_before(then):
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    decoder.event(None, orjson.dumps(continued()))
    decoder.finish()
    decoder.resume()
    for one in then:
        decoder.event(None, orjson.dumps(one))
    decoder.finish()
    assert turn.verbs[-1] == ("end", StopReason.LENGTH, None, None)


# Bytes.

STREAM = (
    b"data: " + orjson.dumps(chunk({"text": "h\u00e4", "thought": True})) + b"\r\n\r\n"
    b"data: "
    + orjson.dumps(chunk({"text": "\u65e5\u672c"}, usage={"promptTokenCount": 3}))
    + b"\r\n\r\n"
    b"data: " + orjson.dumps(chunk({"functionCall": {"name": "f"}}, finish="STOP")) + b"\r\n\r\n"
)


def play_bytes(reads):
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    splitter = Splitter()
    for data in reads:
        for name, event in splitter.feed(data):
            decoder.event(name, event)
    for name, event in splitter.finish():
        decoder.event(name, event)
    decoder.finish()
    return turn.verbs


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_means_the_same_however_it_is_cut(cuts):
    at = [0, *sorted(cuts), len(STREAM)]
    reads = [STREAM[start:end] for start, end in pairwise(at)]
    assert play_bytes(reads) == play_bytes([STREAM])


def test_data_that_is_no_object_is_counted_and_ignored():
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    for data in (b"[DONE]", b"{", b"[]", b"5"):
        decoder.event(None, data)
    assert decoder.ignored == 4
    assert turn.verbs == []


KEYS = st.sampled_from(
    [
        "candidates",
        "content",
        "parts",
        "text",
        "thought",
        "functionCall",
        "name",
        "args",
        "id",
        "index",
        "finishReason",
        "usageMetadata",
        "promptTokenCount",
        "totalTokenCount",
        "groundingMetadata",
        "webSearchQueries",
        "promptFeedback",
        "blockReason",
        "error",
        "code",
        "message",
        "inlineData",
        "mimeType",
        "data",
        "thoughtSignature",
        "continuationToken",
        "modelVersion",
        "promptTokensDetails",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10**18)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
)
GARBAGE = st.recursive(
    LEAVES | st.sampled_from(["STOP", "CONTINUATION", "OTHER", "image/png"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=5),
    max_leaves=20,
)
CHUNKS = st.fixed_dictionaries(
    {},
    optional={
        "candidates": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "content": st.fixed_dictionaries({"parts": st.lists(GARBAGE, max_size=3)})
                    | GARBAGE,
                    "finishReason": GARBAGE,
                    "index": GARBAGE,
                    "continuationToken": GARBAGE,
                    "groundingMetadata": GARBAGE,
                },
            )
            | GARBAGE,
            max_size=3,
        )
        | GARBAGE,
        "usageMetadata": GARBAGE,
        "promptFeedback": GARBAGE,
        "error": st.none() | GARBAGE,
        "modelVersion": GARBAGE,
        "responseId": GARBAGE,
    },
)


@given(st.lists(CHUNKS | GARBAGE, max_size=4))
def test_garbage_ends_in_an_end_or_a_failure(chunks):
    for whole in (False, True):
        turn = Transcript()
        collected = Collected()
        for target in (turn, collected):
            decoder = Decoder(target, Flags())
            if whole:
                decoder.answer(chunks[0] if len(chunks) == 1 else chunks)
            else:
                for one in chunks:
                    decoder.event(None, orjson.dumps(one))
                decoder.finish()
            if decoder.continuation is not None:
                decoder.give_up()
            assert decoder.ended
        assert len(turn.named("fail")) <= 1
        assert turn.verbs[-1][0] in {"end", "fail"}
        assert collected.ended
