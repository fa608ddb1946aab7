"""Responses answers, decoded."""

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.responses.decode import Decoder, read_usage, response_usage
from proxy.dialects.sse import Splitter
from proxy.dialects.turn import StopReason
from proxy.errors import Kind
from proxy.providers import Flags
from proxy.usage import Usage
from tests.unit.dialects.transcript import Transcript, Verb, merged

Event = dict[str, Any]

USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 29,
}
USED = Usage(input=12, cache_read=5, cache_write=3, output=9, reasoning=4)
CREATED = {
    "type": "response.created",
    "response": {"id": "resp_abc", "model": "gpt", "status": "in_progress"},
}
BEGIN: Verb = ("begin", "gpt", "resp_abc")
STOP: Verb = ("end", StopReason.STOP, None, None)
CALLED: Verb = ("end", StopReason.TOOL_CALLS, None, None)


def completed(*output: Event, **fields: Any) -> Event:
    response = {
        "id": "resp_abc",
        "model": "gpt",
        "status": "completed",
        "output": list(output),
        **fields,
    }
    return {"type": "response.completed", "response": response}


def decoded(*events: Event) -> list[Verb]:
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    for event in events:
        decoder.event(None, orjson.dumps(event))
    decoder.finish()
    assert decoder.ended
    return turn.verbs


def answered(document: object) -> list[Verb]:
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    decoder.answer(document)
    decoder.finish()
    return turn.verbs


def text(delta: str, place: int = 0, part: int = 0) -> Event:
    return {
        "type": "response.output_text.delta",
        "output_index": place,
        "content_index": part,
        "delta": delta,
    }


def message(*parts: Event) -> Event:
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": list(parts)}


def said(value: str) -> Event:
    return {"type": "output_text", "text": value, "annotations": []}


def call(arguments: str = "", **fields: Any) -> Event:
    return {
        "id": "fc_1",
        "type": "function_call",
        "call_id": "call_1",
        "name": "f",
        "arguments": arguments,
        **fields,
    }


def custom(value: str = "", **fields: Any) -> Event:
    return {
        "id": "ctc_1",
        "type": "custom_tool_call",
        "call_id": "call_1",
        "name": "c",
        "input": value,
        **fields,
    }


def added(item: Event, place: int = 0) -> Event:
    return {"type": "response.output_item.added", "output_index": place, "item": item}


def done(item: Event, place: int = 0) -> Event:
    return {"type": "response.output_item.done", "output_index": place, "item": item}


def arguments(delta: str, place: int = 0) -> Event:
    return {"type": "response.function_call_arguments.delta", "output_index": place, "delta": delta}


def summary(delta: str, place: int = 0, part: int = 0) -> Event:
    return {
        "type": "response.reasoning_summary_text.delta",
        "output_index": place,
        "summary_index": part,
        "delta": delta,
    }


def raw(delta: str, place: int = 0) -> Event:
    return {
        "type": "response.reasoning_text.delta",
        "output_index": place,
        "content_index": 0,
        "delta": delta,
    }


def reasoning(*texts: str, **fields: Any) -> Event:
    return {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": value} for value in texts],
        **fields,
    }


# Text.


def test_text_is_played_as_it_comes_and_once():
    whole = message(said("Hey"))
    assert decoded(
        CREATED,
        {"type": "response.in_progress", "response": {"id": "resp_other"}},
        added(message()),
        text("He"),
        text(""),
        text("y"),
        {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Hey"},
        done(whole),
        completed(whole, usage=USAGE, service_tier="flex"),
    ) == [
        BEGIN,
        ("text", "He"),
        ("text", "y"),
        ("usage", Usage(input=12, cache_read=5, cache_write=3, output=9, reasoning=4, tier="flex")),
        STOP,
    ]


@pytest.mark.parametrize(
    "events",
    [
        [
            {
                "type": "response.output_text.done",
                "output_index": 0,
                "content_index": 0,
                "text": "Hey",
            }
        ],
        [done(message(said("Hey"), {"type": "odd"}))],
        [],
    ],
)
def test_text_without_deltas_is_taken_from_what_comes_later(events):
    verbs = decoded(CREATED, *events, completed(message(said("Hey"))))
    assert verbs == [BEGIN, ("text", "Hey"), STOP]


def test_text_before_any_announcement_begins_the_answer():
    assert decoded({"type": "response.output_text.delta", "delta": "Hi"}, completed()) == [
        ("begin", "", ""),
        ("text", "Hi"),
        STOP,
    ]


def test_items_are_told_apart_by_their_ids_where_their_places_are_missing():
    one, two = {"id": "a", "type": "message"}, {"id": "b", "type": "message"}
    verbs = decoded(
        {"type": "response.output_text.delta", "item_id": "a", "delta": "A"},
        {"type": "response.output_item.done", "item": {**one, "content": [said("A")]}},
        {"type": "response.output_item.done", "item": {**two, "content": [said("B")]}},
        completed(),
    )
    assert verbs == [("begin", "", ""), ("text", "A"), ("text", "B"), STOP]


def test_a_refusal_is_played_as_one():
    refusal = {"type": "refusal", "refusal": "No."}
    delta = {
        "type": "response.refusal.delta",
        "output_index": 0,
        "content_index": 0,
        "delta": "No.",
    }
    last = {
        "type": "response.refusal.done",
        "output_index": 0,
        "content_index": 0,
        "refusal": "No.",
    }
    expected = [BEGIN, ("refusal", "No."), STOP]
    assert (
        decoded(CREATED, delta, {**delta, "delta": ""}, last, completed(message(refusal)))
        == expected
    )
    assert decoded(CREATED, last, completed(message(refusal))) == expected
    assert decoded(CREATED, completed(message(refusal))) == expected
    assert decoded(delta, completed())[1:] == expected[1:]


# Reasoning.


def test_summary_parts_are_a_paragraph_apart_and_end_in_their_seal():
    item = reasoning("ab", "c", encrypted_content="ENC")
    assert decoded(
        CREATED,
        added(reasoning(encrypted_content="EN")),
        summary("a"),
        summary("b"),
        summary("c", part=1),
        done(item),
        completed(item),
    ) == [
        BEGIN,
        ("thinking", "a"),
        ("thinking", "b"),
        ("thinking", "\n\n"),
        ("thinking", "c"),
        ("signature", "gw1:oai:ENC"),
        STOP,
    ]


def test_reasoning_that_is_hidden_is_redacted():
    item = reasoning(encrypted_content="ENC")
    assert decoded(CREATED, added(reasoning()), done(item), done(item), completed(item)) == [
        BEGIN,
        ("redacted", "gw1:oai:ENC"),
        STOP,
    ]


def test_reasoning_without_deltas_is_taken_from_the_finished_item():
    item = reasoning("a", "b", content=[{"type": "reasoning_text", "text": "raw"}])
    assert merged(decoded(CREATED, done(item), completed())) == [
        BEGIN,
        ("thinking", "a\n\nb"),
        STOP,
    ]
    item = reasoning(content=[{"type": "reasoning_text", "text": "raw"}])
    assert merged(decoded(done(item), completed())) == [
        ("begin", "", ""),
        ("thinking", "raw"),
        STOP,
    ]


def test_reasoning_that_comes_raw_and_summed_up_is_read_once():
    assert decoded(CREATED, raw("long"), summary("short"), completed()) == [
        BEGIN,
        ("thinking", "long"),
        STOP,
    ]


def test_two_unsealed_reasonings_are_a_paragraph_apart_unless_something_stands_between():
    search = {"type": "web_search_call", "action": {"type": "open_page"}}
    verbs = decoded(
        CREATED,
        raw("a"),
        done(search, 1),
        raw("b", 2),
        added(message(), 3),
        raw("c", 4),
        completed(),
    )
    assert [verb[1] for verb in verbs if verb[0] == "thinking"] == ["a", "\n\n", "b", "c"]


# Tool calls.


def test_calls_are_numbered_in_the_order_in_which_they_start():
    assert decoded(
        CREATED,
        added(call(), 1),
        added(call(call_id="call_2", name="g", id="fc_2"), 0),
        arguments('{"a"', 1),
        arguments("{}", 0),
        arguments(":1}", 1),
        {
            "type": "response.function_call_arguments.done",
            "output_index": 1,
            "arguments": '{"a":1}',
        },
        done(call('{"a":1}'), 1),
        done(call("{}", call_id="call_2", id="fc_2"), 0),
        completed(call('{"a":1}'), usage=USAGE),
    ) == [
        BEGIN,
        ("tool_call", 0, "call_1", "f", ""),
        ("tool_call", 1, "call_2", "g", ""),
        ("arguments", 0, '{"a"'),
        ("arguments", 1, "{}"),
        ("arguments", 0, ":1}"),
        ("call_done", 0),
        ("call_done", 1),
        ("usage", USED),
        CALLED,
    ]


CALL = [
    BEGIN,
    ("tool_call", 0, "call_1", "f", ""),
    ("arguments", 0, "{}"),
    ("call_done", 0),
    CALLED,
]


@pytest.mark.parametrize(
    "events",
    [
        [
            added(call()),
            {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "{}"},
        ],
        [
            added(call()),
            {"type": "response.function_call_arguments.done", "item_id": "fc_1", "arguments": "{}"},
        ],
        [added(call()), {"type": "response.output_item.done", "item": call("{}")}],
        [added(call(name="")), arguments("{}"), done(call("{}"))],
        [done(call("{}"))],
        [],
    ],
)
def test_arguments_without_deltas_are_taken_from_what_comes_later(events):
    assert decoded(CREATED, *events, completed(call("{}"))) == CALL


def test_a_call_that_is_never_finished_is_finished_by_the_end():
    assert decoded(CREATED, added(call(call_id=None)), completed()) == [
        BEGIN,
        ("tool_call", 0, "", "f", ""),
        ("call_done", 0),
        CALLED,
    ]


def test_what_comes_for_no_call_or_after_its_end_is_left_out():
    last = {"type": "response.function_call_arguments.done", "output_index": 7, "arguments": "x"}
    verbs = decoded(
        CREATED,
        arguments("x"),
        last,
        added(call()),
        arguments("{}"),
        done(call("{}")),
        arguments("x"),
        completed(),
    )
    assert verbs == CALL


def test_free_text_travels_as_json():
    delta = {"type": "response.custom_tool_call_input.delta", "output_index": 0}
    verbs = decoded(
        CREATED,
        added(custom()),
        {**delta, "delta": 'a"'},
        {**delta, "delta": "\né"},
        {"type": "response.custom_tool_call_input.done", "output_index": 0, "input": 'a"\né'},
        done(custom('a"\né')),
        completed(),
    )
    assert merged(verbs)[2] == ("arguments", 0, '{"input":"a\\"\\né"}')
    assert verbs[-2:] == [("call_done", 0), CALLED]


@pytest.mark.parametrize(
    ("events", "wrapped"),
    [
        ([done(custom('{"input":"x"}'))], '{"input":"{\\"input\\":\\"x\\"}"}'),
        ([added(custom())], '{"input":""}'),
        (
            [
                added(custom()),
                {"type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": "a"},
            ],
            '{"input":"a"}',
        ),
    ],
)
def test_free_text_is_whole_json_however_it_comes(events, wrapped):
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    for event in [*events, completed()]:
        decoder.event(b"any", orjson.dumps(event))
    assert turn.joined("arguments") == wrapped


# Other items.


def test_searches_are_counted_and_pages_that_are_opened_are_not():
    search = {"type": "web_search_call", "action": {"type": "search", "query": "q"}}
    page = {"type": "web_search_call", "action": {"type": "open_page"}}
    bare = {"type": "web_search_call"}
    verbs = decoded(
        CREATED, done(search, 0), done(page, 1), done(bare, 2), text("x", 3), completed(usage=USAGE)
    )
    assert verbs[-2][1].searches == 2


def test_the_number_of_searches_that_is_told_counts():
    response = completed(usage=USAGE, tool_usage={"web_search": {"num_requests": 7}})["response"]
    told = response_usage(response, Flags(), searches=2)
    assert told is not None
    assert told.searches == 7
    assert response_usage({}, Flags()) is None


@pytest.mark.parametrize(("form", "mime"), [("webp", "image/webp"), (None, "image/png")])
def test_an_image_is_played(form, mime):
    item = {"type": "image_generation_call", "result": "AAAA", "output_format": form}
    assert decoded(CREATED, done(item), completed(item)) == [BEGIN, ("image", mime, "AAAA"), STOP]


def test_items_that_are_none_are_left_out():
    odd: list[Any] = ["odd", None, [1]]
    events = [
        {"type": f"response.output_item.{step}", "item": item}
        for item in odd
        for step in ("added", "done")
    ]
    assert decoded(CREATED, *events, done(call(name="")), text("a"), completed()) == [
        BEGIN,
        ("text", "a"),
        STOP,
    ]


def test_a_call_may_have_no_id_of_its_item():
    assert decoded(CREATED, added(call(id=None)), arguments("{}"), completed()) == CALL


def test_items_that_nobody_knows_are_left_out():
    odd: list[Event] = [
        {"type": "mcp_list_tools"},
        {"type": "image_generation_call", "result": None},
        {},
    ]
    assert decoded(CREATED, *(done(item) for item in odd), completed(*odd)) == [BEGIN, STOP]


# The end.


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"reason": "max_output_tokens"}, StopReason.LENGTH),
        ({"reason": "content_filter"}, StopReason.FILTER),
        ({"reason": "max_messages"}, StopReason.PAUSE),
        ({"reason": None}, StopReason.PAUSE),
        (None, StopReason.PAUSE),
    ],
)
def test_an_incomplete_answer_says_why(details, reason):
    response = {"id": "r", "status": "incomplete", "output": [], "incomplete_details": details}
    verbs = decoded({"type": "response.incomplete", "response": response})
    assert verbs == [("begin", "", "r"), ("end", reason, None, None)]


LIMITED: Verb = ("fail", Kind.RATE_LIMIT, "All upstream accounts are rate limited; retry later.")


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "x", "param": None},
        {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "x"}},
        {"error": {"code": "rate_limit_exceeded", "message": "x"}},
        {
            "type": "response.failed",
            "response": {"status": "failed", "error": {"code": "rate_limit_exceeded"}},
        },
    ],
)
def test_an_error_in_the_stream_ends_it(event):
    assert decoded(event, completed(message(said("x")))) == [LIMITED]


def test_a_failure_without_words_is_the_server_s():
    verbs = decoded(
        {"type": "response.failed", "response": {"status": "failed", "error": None, "usage": USAGE}}
    )
    assert [verb[:2] for verb in verbs] == [("usage", USED), ("fail", Kind.SERVER)]


def test_a_stream_without_its_last_event_was_cut():
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    decoder.event(None, orjson.dumps(text("Hi")))
    decoder.event(None, b"[DONE]")
    decoder.finish()
    assert turn.verbs[-1][:2] == ("fail", Kind.DISCONNECTED)
    assert decoder.ignored == 0


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled", None])
def test_an_answer_that_is_not_finished_cannot_be_read(status):
    assert answered({"status": status})[-1][:2] == ("fail", Kind.MALFORMED)


@pytest.mark.parametrize("document", [None, [], "text"])
def test_an_answer_that_is_no_object_cannot_be_read(document):
    assert answered(document)[-1][:2] == ("fail", Kind.MALFORMED)


def test_a_last_event_without_a_response_cannot_be_read():
    assert decoded({"type": "response.completed"})[-1][:2] == ("fail", Kind.MALFORMED)


def test_what_is_no_json_object_is_counted_and_left_out():
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    for data in (b"", b"{", b"[]", b"1", b"[DONE]"):
        decoder.event(None, data)
    assert (decoder.ignored, turn.verbs) == (4, [])


def test_the_event_s_name_stands_in_for_a_missing_type():
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    decoder.event(b"response.output_text.delta", b'{"delta":"Hi"}')
    decoder.event(None, b'{"delta":"lost"}')
    assert turn.verbs[1:] == [("text", "Hi")]


# Whole answers.


def test_a_whole_answer_is_played_like_a_stream():
    document = completed(
        reasoning("plan", encrypted_content="ENC"),
        message(said("ok")),
        call('{"a":1}'),
        usage=USAGE,
    )["response"]
    assert answered(document) == [
        BEGIN,
        ("thinking", "plan"),
        ("signature", "gw1:oai:ENC"),
        ("text", "ok"),
        ("tool_call", 0, "call_1", "f", ""),
        ("arguments", 0, '{"a":1}'),
        ("call_done", 0),
        ("usage", USED),
        CALLED,
    ]


def test_a_whole_answer_may_leave_out_its_status():
    assert answered({"output": [message(said("ok"))]}) == [("begin", "", ""), ("text", "ok"), STOP]


# Usage.


def test_cache_writes_are_told_by_their_lifetime():
    details = {
        "cached_tokens": 5,
        "cache_write_tokens": 10,
        "cache_write_tokens_details": {"ttl_12h_tokens": 4},
    }
    usage = read_usage(
        {"input_tokens": 20, "input_tokens_details": details, "output_tokens": 1}, Flags()
    )
    assert usage == Usage(input=5, cache_read=5, cache_write=6, cache_write_1h=4, output=1)


@pytest.mark.parametrize(
    "raw_usage", [None, [], {}, {"input_tokens": "x", "input_tokens_details": 1}]
)
def test_usage_that_cannot_be_read_is_none(raw_usage):
    assert read_usage(raw_usage, Flags()) == Usage()


# Bytes.


STREAM: list[Event] = [
    CREATED,
    summary("thïnk"),
    done(reasoning("thïnk", encrypted_content="ENC")),
    text("Héy", 1),
    done(message(said("Héy")), 1),
    added(call(), 2),
    arguments('{"a"', 2),
    arguments(":1}", 2),
    done(call('{"a":1}'), 2),
    completed(usage=USAGE),
]


@given(st.lists(st.integers(0, 2000), max_size=12), st.sampled_from([b"\n", b"\r\n"]))
def test_a_stream_reads_the_same_wherever_it_is_cut(cuts, line_end):
    data = b"".join(
        b"event: "
        + event["type"].encode()
        + line_end
        + b"data: "
        + orjson.dumps(event)
        + line_end * 2
        for event in STREAM
    )
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    turn = Transcript()
    decoder, splitter = Decoder(turn, Flags()), Splitter()
    for start, end in itertools.pairwise(places):
        for name, event_data in splitter.feed(data[start:end]):
            decoder.event(name, event_data)
    decoder.finish()
    assert turn.verbs == decoded(*STREAM)


# Anything at all.


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**63)
    | st.floats()
    | st.sampled_from(["", "x", "completed", "message"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: Any, path: tuple = ()):
    yield path
    children = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, child in children:
        yield from places(child, (*path, key))


def replaced(value: Any, path: tuple, by: Any) -> Any:
    if not path:
        return by
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


def assert_orderly(verbs: list[Verb]) -> None:
    """One beginning, one end, and no call that says something before it starts."""
    names = [verb[0] for verb in verbs if verb[0] != "usage"]
    assert [name for name in names if name in {"end", "fail"}] == [verbs[-1][0]]
    assert names.count("begin") <= 1
    assert names[0] in {"begin", "fail"}
    started: list[int] = []
    for verb in verbs:
        if verb[0] == "tool_call":
            assert verb[1] == len(started)
            started.append(verb[1])
        elif verb[0] in {"arguments", "call_done"}:
            assert verb[1] in started


@given(st.sampled_from(list(places(STREAM))[1:]), JSON, st.booleans())
def test_any_value_in_any_place_of_a_stream_is_played_or_left_out(path, value, backwards):
    events = replaced(STREAM, path, value)
    if backwards:
        events.reverse()
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    for event in events:
        decoder.event(None, orjson.dumps(event))
    decoder.finish()
    assert_orderly(turn.verbs)


DOCUMENT = completed(
    reasoning("plan", encrypted_content="ENC"),
    message(said("ok"), {"type": "refusal", "refusal": "no"}),
    call("{}"),
    custom("x"),
    {"type": "web_search_call", "action": {"type": "search"}},
    {"type": "image_generation_call", "result": "AAAA", "output_format": "png"},
    usage=USAGE,
    tool_usage={"web_search": {"num_requests": 1}},
    incomplete_details={"reason": "x"},
)["response"]


@given(st.sampled_from(list(places(DOCUMENT))), JSON)
def test_any_value_in_any_place_of_a_document_is_played_or_left_out(path, value):
    assert_orderly(answered(replaced(DOCUMENT, path, value)))


@given(st.binary(max_size=30))
def test_any_bytes_are_left_out(data):
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    decoder.event(data, data)
    decoder.event(data, b'{"type":"x"}')
    assert not decoder.ended
