from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.chat.decode import Decoder, read_usage
from proxy.dialects.collected import Collected
from proxy.dialects.sse import Splitter
from proxy.dialects.turn import StopReason
from proxy.errors import Kind
from proxy.providers import Flags
from proxy.usage import Usage
from tests.unit.dialects.transcript import Transcript, Verb

BEGIN = ("begin", "gpt", "chatcmpl-1")
STOP = ("end", StopReason.STOP, None, None)
TOOLS = ("end", StopReason.TOOL_CALLS, None, None)
CUT = ("fail", Kind.DISCONNECTED, "The upstream provider closed the stream early.")
USAGE = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}


def chunk(delta: object = None, finish: object = None, **fields: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "model": "gpt",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **fields,
    }


def text(said: str) -> dict[str, Any]:
    return chunk({"content": said})


def call(*entries: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return chunk({"tool_calls": list(entries)}, finish)


def decoded(*events: object, done: bool = True, name: bytes | None = None) -> list[Verb]:
    """The verbs of a stream of ``events`` (objects, or bytes as they are), with [DONE] at its end if ``done``."""
    transcript = Transcript()
    decoder = Decoder(transcript, Flags())
    for event in events:
        decoder.event(name, event if isinstance(event, bytes) else orjson.dumps(event))
    if done:
        decoder.event(None, b"[DONE]")
    decoder.finish()
    assert decoder.ended
    return transcript.verbs


def answered(document: object) -> list[Verb]:
    transcript = Transcript()
    decoder = Decoder(transcript, Flags())
    decoder.answer(document)
    assert decoder.ended
    return transcript.verbs


def message(**fields: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "model": "gpt",
        "choices": [{"index": 0, "message": fields, "finish_reason": "stop"}],
    }


# Streams.


def test_text_then_usage_then_the_end():
    events = [
        chunk({"role": "assistant", "content": ""}),
        text("He"),
        text("y"),
        chunk({}, "stop"),
        {"id": "chatcmpl-1", "model": "gpt", "choices": [], "usage": USAGE},
    ]
    assert decoded(*events) == [
        BEGIN,
        ("text", "He"),
        ("text", "y"),
        ("usage", Usage(input=12, output=7)),
        STOP,
    ]


@given(st.lists(st.integers(1, 400), max_size=30))
def test_reads_may_be_cut_anywhere(cuts):
    events = [
        chunk({"role": "assistant", "reasoning": "Mäßig"}),
        text("Grüße 👋"),
        call({"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a"'}}),
        call({"index": 0, "function": {"arguments": ":1}"}}),
        chunk({}, "tool_calls"),
    ]
    raw = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events) + b"data: [DONE]\n\n"
    transcript = Transcript()
    decoder = Decoder(transcript, Flags())
    splitter = Splitter()
    for cut in cuts:
        for event in splitter.feed(raw[:cut]):
            decoder.event(*event)
        raw = raw[cut:]
    for event in [*splitter.feed(raw), *splitter.finish()]:
        decoder.event(*event)
    assert transcript.verbs == [
        BEGIN,
        ("thinking", "Mäßig"),
        ("text", "Grüße 👋"),
        ("tool_call", 0, "c", "f", ""),
        ("arguments", 0, '{"a"'),
        ("arguments", 0, ":1}"),
        TOOLS,
    ]


def test_a_stream_may_end_without_done_after_its_finish():
    assert decoded(text("Hi"), chunk({}, "length"), done=False)[-1] == (
        "end",
        StopReason.LENGTH,
        None,
        None,
    )


def test_a_stream_that_stops_before_its_finish_is_cut_short():
    assert decoded(text("Hi"), done=False) == [BEGIN, ("text", "Hi"), CUT]
    assert decoded(done=False) == [CUT]


def test_done_without_a_finish_is_an_end():
    assert decoded(text("Hi")) == [BEGIN, ("text", "Hi"), STOP]


def test_done_without_an_answer_is_unreadable():
    assert decoded()[0][:2] == ("fail", Kind.MALFORMED)


def test_nothing_counts_after_the_end():
    transcript = Transcript()
    decoder = Decoder(transcript, Flags())
    for event in [orjson.dumps(text("Hi")), b"[DONE]", orjson.dumps(text("more")), b"[DONE]"]:
        decoder.event(None, event)
    assert transcript.verbs == [BEGIN, ("text", "Hi"), STOP]


def test_garbage_between_the_events_is_counted_and_passed_over():
    transcript = Transcript()
    decoder = Decoder(transcript, Flags())
    for event in [b"{", b"5", b"[]", orjson.dumps(text("Hi"))]:
        decoder.event(None, event)
    assert decoder.ignored == 3
    assert transcript.verbs == [BEGIN, ("text", "Hi")]


def test_azures_first_chunk_begins_nothing():
    events = [
        {"choices": [], "id": "", "model": "", "prompt_filter_results": []},
        {"id": "chatcmpl-1", "model": "gpt", "choices": [{"index": 0, "finish_reason": None}]},
        text("Hi"),
    ]
    assert decoded(*events) == [BEGIN, ("text", "Hi"), STOP]


def test_wrong_types_are_passed_over():
    events = [
        {"id": 5, "model": None, "choices": [None, 5, {"index": 0, "delta": 5}]},
        {"choices": "x"},
        chunk(
            {
                "content": 5,
                "reasoning": 5,
                "refusal": 5,
                "images": 5,
                "tool_calls": 5,
                "function_call": 5,
            }
        ),
        chunk({"content": [5, {"text": 5}, {"thinking": 5}, {"thinking": [5, {"text": 5}]}]}),
        chunk({"reasoning_details": 5}),
        chunk({"reasoning_details": [5, {"text": 5}]}),
        chunk({"images": [5, {"image_url": {"url": "https://e.com/a.png"}}]}),
        chunk({"tool_calls": [5, {"index": 0, "function": 5}]}),
        chunk({"tool_calls": [{"index": 1, "function": {"name": 5, "arguments": 5}}]}),
        chunk({}, 5),
        chunk({}, usage=5, x_groq=5),
    ]
    assert decoded(*events) == [("begin", "", ""), STOP]


def test_only_the_first_choice_of_a_stream_is_played():
    second = {"index": 1, "delta": {"content": "B"}, "finish_reason": None}
    both = chunk({"content": "A"})
    both["choices"].insert(0, second)
    assert decoded(both, chunk(), {**chunk(), "choices": [second]}) == [BEGIN, ("text", "A"), STOP]


# Content.


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning_content": "hm", "reasoning": "hm"},
        {"reasoning_content": "", "reasoning": "hm"},
        {"reasoning": "hm", "reasoning_details": [{"text": "hm"}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        {"content": [{"type": "thinking", "thinking": "hm"}]},
    ],
)
def test_thinking_has_many_names_and_is_played_once(delta):
    assert decoded(chunk(delta), text("x")) == [BEGIN, ("thinking", "hm"), ("text", "x"), STOP]


def test_content_may_be_a_list_of_parts():
    assert decoded(chunk({"content": [{"type": "text", "text": "a"}, {"type": "reference"}]})) == [
        BEGIN,
        ("text", "a"),
        STOP,
    ]


def test_perplexitys_repeated_message_counts_only_where_there_is_no_delta():
    repeating = text("He")
    repeating["choices"][0]["message"] = {"content": "He"}
    only = {"id": "chatcmpl-1", "model": "gpt", "choices": [{"message": {"content": "Hey"}}]}
    assert decoded(repeating, only) == [BEGIN, ("text", "He"), STOP]
    assert decoded(only, only) == [BEGIN, ("text", "Hey"), STOP]


def test_a_refusal_is_what_the_turn_ended_with():
    assert decoded(chunk({"refusal": "I "}), chunk({"refusal": "won't"}), chunk({}, "stop")) == [
        BEGIN,
        ("refusal", "I "),
        ("refusal", "won't"),
        ("end", StopReason.STOP, None, "I won't"),
    ]


def test_images():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert decoded(chunk({"images": [image]})) == [BEGIN, ("image", "image/png", "AAAA"), STOP]


def test_the_whole_answer_may_come_after_the_finish():
    late = [
        chunk({"content": None}, "stop"),
        text("Hi "),
        text("you"),
        chunk({}, "stop"),
        text("!"),
    ]
    assert decoded(*late) == [BEGIN, ("text", "Hi "), ("text", "you"), STOP]


def test_more_of_an_answer_after_its_finish_is_ignored():
    call_then_more = [
        call(
            {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}},
            finish="tool_calls",
        ),
        text("late"),
    ]
    assert decoded(*call_then_more)[-2:] == [("arguments", 0, "{}"), TOOLS]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", StopReason.STOP),
        ("", StopReason.STOP),
        ("length", StopReason.LENGTH),
        ("tool_calls", StopReason.TOOL_CALLS),
        ("function_call", StopReason.TOOL_CALLS),
        ("content_filter", StopReason.FILTER),
        ("model_length", StopReason.CONTEXT),
        ("eos", StopReason.STOP),
    ],
)
def test_finish_reasons(finish, reason):
    assert decoded(text("x"), chunk({}, finish))[-1] == ("end", reason, None, None)


def test_a_repeated_finish_changes_nothing():
    assert decoded(text("x"), chunk({}, "length"), chunk({}, "stop"))[-1][1] is StopReason.LENGTH


# Tool calls.


def test_interleaved_calls_are_told_apart_by_index():
    assert decoded(
        call({"index": 3, "id": "a", "function": {"name": "f", "arguments": ""}}),
        call({"index": 5, "id": "b", "function": {"name": "g", "arguments": "{"}}),
        call(
            {"index": 3, "function": {"arguments": "{}"}},
            {"index": 5, "function": {"arguments": "}"}},
        ),
        chunk({}, "tool_calls"),
    ) == [
        BEGIN,
        ("tool_call", 3, "a", "f", ""),
        ("tool_call", 5, "b", "g", ""),
        ("arguments", 5, "{"),
        ("arguments", 3, "{}"),
        ("arguments", 5, "}"),
        TOOLS,
    ]


def test_repeated_ids_and_names_start_nothing_new():
    first = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}
    second = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "}"}}
    assert decoded(call(first), call(second))[1:-1] == [
        ("tool_call", 0, "a", "f", ""),
        ("arguments", 0, "{"),
        ("arguments", 0, "}"),
    ]


def test_arguments_wait_for_the_name():
    assert decoded(
        call({"index": 0, "id": "a", "function": {"arguments": "{"}}),
        call({"index": 0, "function": {"name": "", "arguments": "}"}}),
        call({"index": 1, "id": "b", "function": {"name": "g"}}),
        call({"index": 0, "function": {"name": "f"}}),
    )[1:-1] == [
        ("tool_call", 1, "b", "g", ""),
        ("tool_call", 0, "a", "f", ""),
        ("arguments", 0, "{"),
        ("arguments", 0, "}"),
    ]


def test_no_two_calls_have_one_number():
    started = decoded(
        call({"id": "a", "function": {"name": "f"}}),
        call({"index": 0, "id": "b", "function": {"name": "g"}}),
        call({"index": -1, "id": "c", "function": {"name": "h"}}),
        call({"index": 7, "id": "d", "function": {"name": "i"}}),
        call({"id": "e", "function": {"name": "j"}}),
    )[1:-1]
    assert [verb[1:3] for verb in started] == [(0, "a"), (1, "b"), (2, "c"), (7, "d"), (8, "e")]


def test_without_an_index_the_id_tells_calls_apart():
    assert decoded(
        call({"id": "a", "function": {"name": "f"}}),
        call({"id": "a", "function": {"arguments": "1"}}),
        call({"function": {"arguments": "2"}}),
        call({"id": "b", "function": {"name": "g"}}),
    )[1:-1] == [
        ("tool_call", 0, "a", "f", ""),
        ("arguments", 0, "1"),
        ("arguments", 0, "2"),
        ("tool_call", 1, "b", "g", ""),
    ]


def test_without_index_and_id_a_name_tells_calls_apart():
    assert decoded(
        call({"id": "", "function": {"name": "f", "arguments": "{}"}}),
        call(
            {"id": "", "function": {"name": "f", "arguments": "{"}},
            {"id": "", "function": {"arguments": "}"}},
        ),
        chunk({}, "stop"),
    )[1:] == [
        ("tool_call", 0, "", "f", ""),
        ("arguments", 0, "{}"),
        ("tool_call", 1, "", "f", ""),
        ("arguments", 1, "{"),
        ("arguments", 1, "}"),
        TOOLS,
    ]


def test_a_name_may_come_after_nothing_at_all():
    assert decoded(call({"function": {"arguments": "{}"}}), call({"function": {"name": "f"}}))[
        1:-1
    ] == [
        ("tool_call", 0, "", "f", ""),
        ("arguments", 0, "{}"),
    ]


def test_arguments_may_be_an_object_and_a_call_may_have_a_seal():
    entry = {
        "index": 0,
        "id": "a",
        "function": {"name": "f", "arguments": {"a": 1}},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    assert decoded(call(entry))[1:-1] == [
        ("tool_call", 0, "a", "f", "gw1:gem:c2ln"),
        ("arguments", 0, '{"a":1}'),
    ]


def test_custom_calls_and_calls_of_the_functions_era():
    assert decoded(call({"index": 0, "id": "a", "custom": {"name": "p", "input": "*** A"}}))[
        1:-1
    ] == [
        ("tool_call", 0, "a", "p", ""),
        ("arguments", 0, "*** A"),
    ]
    legacy = [
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}),
        chunk({}, "function_call"),
    ]
    assert decoded(*legacy)[1:] == [("tool_call", 0, "", "f", ""), ("arguments", 0, "{}"), TOOLS]


# Errors in a stream that began as 200.


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}},
            Kind.RATE_LIMIT,
        ),
        ({"error": "boom"}, Kind.SERVER),
        ({"error": {"message": "bad", "status_code": 400}}, Kind.INVALID_REQUEST),
        ({"object": "error", "message": "bad", "code": 400}, Kind.INVALID_REQUEST),
        ({**chunk({"content": ""}, "error"), "error": {"code": 502, "message": "x"}}, Kind.SERVER),
        (chunk({}, "error"), Kind.SERVER),
        (chunk({}, "insufficient_system_resource"), Kind.OVERLOADED),
    ],
)
def test_an_error_ends_the_answer_whatever_follows(error, kind):
    verbs = decoded(text("He"), error, text("y"), chunk({}, "stop"))
    assert verbs[:2] == [BEGIN, ("text", "He")]
    assert verbs[2][:2] == ("fail", kind)
    assert len(verbs) == 3


def test_an_event_that_is_called_error_is_one():
    assert decoded({"message": "bad", "code": 503}, name=b"error")[0][:2] == (
        "fail",
        Kind.OVERLOADED,
    )


def test_an_error_may_stand_in_a_choice():
    failed = chunk({"content": "y"})
    failed["choices"][0]["error"] = {"code": 502, "message": "provider_unavailable"}
    verbs = decoded(text("He"), failed)
    assert verbs[1:3] == [("text", "He"), ("text", "y")]
    assert verbs[3][:2] == ("fail", Kind.SERVER)


def test_usage_beside_an_error_is_told_before_it():
    verbs = decoded(text("He"), {"choices": [], "error": "x", "usage": USAGE})
    assert [verb[0] for verb in verbs] == ["begin", "text", "usage", "fail"]


# Usage.


def test_usage_on_every_chunk_is_told_each_time():
    verbs = decoded(
        chunk({"content": "a"}, usage=USAGE),
        chunk({}, "stop", usage={**USAGE, "completion_tokens": 9}),
    )
    assert [verb[1].output for verb in verbs if verb[0] == "usage"] == [7, 9]


def test_groqs_usage_and_the_service_tier():
    events = [
        chunk({"content": "a"}, service_tier="on_demand"),
        chunk({}, "stop", x_groq={"usage": USAGE}),
    ]
    assert decoded(*events)[2] == ("usage", Usage(input=12, output=7, tier="on_demand"))
    later = chunk({}, usage=USAGE, service_tier="flex")
    assert decoded(text("a"), later)[2][1].tier == "flex"


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (None, Usage()),
        ({}, Usage()),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None},
            Usage(input=5, output=2),
        ),
        (
            {
                "prompt_tokens": 1300,
                "completion_tokens": 300,
                "prompt_tokens_details": {
                    "cached_tokens": 1000,
                    "cache_write_tokens": 200,
                    "audio_tokens": 50,
                },
                "completion_tokens_details": {"reasoning_tokens": 40, "audio_tokens": 30},
            },
            Usage(
                input=100,
                cache_read=1000,
                cache_write=200,
                output=300,
                reasoning=40,
                audio_input=50,
                audio_output=30,
            ),
        ),
        ({"prompt_tokens": 100, "prompt_cache_hit_tokens": 64}, Usage(input=36, cache_read=64)),
        ({"prompt_tokens": 100, "cached_tokens": 64}, Usage(input=36, cache_read=64)),
        (
            {"prompt_tokens": 100, "cache_creation_input_tokens": 64},
            Usage(input=36, cache_write=64),
        ),
        (
            {"completion_tokens": 9, "reasoning_tokens": 4, "num_search_queries": 2},
            Usage(output=9, reasoning=4, searches=2),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40},
            Usage(input=10, output=5),
        ),
    ],
)
def test_usage_objects(raw, wanted):
    assert read_usage(raw, Flags()) == wanted


def test_reasoning_outside_of_the_completion_is_in_the_total():
    raw = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 40,
        "completion_tokens_details": {"reasoning_tokens": 25},
    }
    assert read_usage(raw, Flags(reasoning_outside=True)) == Usage(
        input=10, output=30, reasoning=25
    )
    assert read_usage({**raw, "total_tokens": 0}, Flags(reasoning_outside=True)).output == 5


# Whole answers.


def test_a_whole_answer():
    document = message(
        role="assistant",
        content="Hi",
        reasoning="hm",
        tool_calls=[{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    )
    assert answered({**document, "usage": USAGE, "service_tier": "default"}) == [
        BEGIN,
        ("usage", Usage(input=12, output=7, tier="default")),
        ("thinking", "hm"),
        ("text", "Hi"),
        ("tool_call", 0, "c", "f", ""),
        ("arguments", 0, "{}"),
        TOOLS,
    ]


def test_each_of_several_choices_keeps_its_reason():
    document = message(content="A", refusal="no")
    document["choices"] += [
        {
            "message": {"tool_calls": [{"id": "c", "function": {"name": "f"}}]},
            "finish_reason": "stop",
        },
        None,
        {"message": {"content": "C"}, "finish_reason": "length"},
    ]
    collected = Collected()
    Decoder(collected, Flags()).answer(document)
    assert [choice.reason for choice in collected.choices] == [
        StopReason.STOP,
        StopReason.TOOL_CALLS,
        StopReason.STOP,
        StopReason.LENGTH,
    ]
    assert [choice.text for choice in collected.choices] == ["A", "", "", "C"]
    assert [choice.detail for choice in collected.choices] == ["no", None, None, None]


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (None, Kind.MALFORMED),
        ([], Kind.MALFORMED),
        ({}, Kind.MALFORMED),
        ({"choices": []}, Kind.MALFORMED),
        ({"choices": {}}, Kind.MALFORMED),
        ({"error": {"message": "Provider returned error", "code": 400}}, Kind.INVALID_REQUEST),
        ({"object": "error", "message": "x", "code": 429}, Kind.RATE_LIMIT),
        ({"choices": [{"error": {"code": 502}, "message": {}}]}, Kind.SERVER),
    ],
)
def test_a_whole_answer_that_is_none_is_a_failure(document, kind):
    assert answered(document)[-1][:2] == ("fail", kind)


# Whatever comes, nothing is raised, and the turn ends once.

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
)
KEYS = [
    "choices", "delta", "message", "content", "text", "type", "tool_calls", "function", "function_call", "name",
    "arguments", "index", "id", "finish_reason", "usage", "error", "reasoning", "reasoning_details", "refusal",
    "images", "image_url", "url", "thinking", "x_groq", "model", "prompt_tokens", "extra_content", "google",
]  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=15,
)
CHUNKS = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries({"delta": JSON}, optional={"finish_reason": JSON, "error": JSON})
        )
    },
    optional={"usage": JSON, "error": JSON, "x_groq": JSON},
)


def ends_once(verbs: list[Verb]) -> bool:
    names = [verb[0] for verb in verbs]
    return names[-1] in {"end", "fail"} and (names.count("end"), names.count("fail")) in {
        (1, 0),
        (0, 1),
    }


@given(st.lists(CHUNKS | JSON, max_size=4), st.booleans())
def test_any_stream_ends_once(events, done):
    events = [event if orjson_takes(event) else None for event in events]
    assert ends_once(decoded(*events, done=done))


@given(JSON | CHUNKS)
def test_any_document_ends_or_fails(document):
    verbs = answered(document)
    assert verbs[-1][0] in {"end", "fail"}


def orjson_takes(value: object) -> bool:
    try:
        orjson.dumps(value)
    except (TypeError, OverflowError):
        return False
    return True
