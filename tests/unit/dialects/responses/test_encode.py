"""Responses answers, encoded."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.collected import Collected
from proxy.dialects.conversation import Call, Conversation, File, Redacted, Thinking, Tool
from proxy.dialects.envelope import wrap_blocks
from proxy.dialects.reply import Meter, Reply, Sealed, reply_facts
from proxy.dialects.responses.decode import Decoder
from proxy.dialects.responses.encode import HEARTBEAT, Encoder, error_frame
from proxy.dialects.responses.read import read_request
from proxy.dialects.responses.shapes import write_usage
from proxy.dialects.responses.whole import write_answer
from proxy.dialects.sse import Splitter
from proxy.dialects.turn import StopReason
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage
from tests.unit.dialects.transcript import Transcript, Verb, merged, play

Frame = dict[str, Any]
USED = Usage(input=8, cache_read=4, output=7)


def minted() -> Iterator[str]:
    number = 0
    while True:
        yield f"{number:024x}"
        number += 1


def reply(**fields: Any) -> Reply:
    mint = minted()
    return Reply(
        model="m", created=1700000000, request_id="req_test", mint=lambda: next(mint), **fields
    )


def encoder(*verbs: Verb, **fields: Any) -> Encoder:
    made = Encoder(reply(**fields), Meter())
    play(list(verbs), made)
    return made


def frames(made: Encoder) -> list[Frame]:
    """The events of a stream; their names and numbers have been checked."""
    out: list[Frame] = []
    for name, data in Splitter().feed(b"".join(made.frames)):
        document = orjson.loads(data)
        assert name == document["type"].encode()
        assert document.pop("sequence_number") == len(out)
        out.append(document)
    return out


def told(*verbs: Verb, **fields: Any) -> list[Frame]:
    """The events between the beginning and the end."""
    return frames(encoder(("begin", "gpt", "abc"), *verbs, **fields))[2:]


def kinds(events: list[Frame]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def items(*verbs: Verb, **fields: Any) -> list[Frame]:
    """The items of the whole answer."""
    made = encoder(("begin", "gpt", "abc"), *verbs, ("end", StopReason.STOP), **fields)
    assert made.response is not None
    finished = [
        event["item"] for event in frames(made) if event["type"] == "response.output_item.done"
    ]
    assert made.response["output"] == finished
    return finished


def ended(reason: StopReason, *verbs: Verb, detail: str | None = None) -> Frame:
    made = encoder(("begin", "gpt", "abc"), *verbs, ("end", reason, None, detail))
    assert made.response is not None
    assert frames(made)[-1] == {
        "type": f"response.{made.response['status']}",
        "response": made.response,
    }
    return made.response


RESPONSE = (
    '"id":"resp_abc","object":"response","created_at":1700000000,"status":"%s","model":"m","output":%s,"error":null,'
    '"incomplete_details":null,"instructions":null,"metadata":{},"parallel_tool_calls":true,"temperature":null,'
    '"tool_choice":"auto","top_p":null,"tools":[],"store":false,"usage":%s'
)
MESSAGE = "msg_000000000000000000000000"


def test_a_text_is_announced_said_and_finished_byte_by_byte():
    made = encoder(
        ("begin", "gpt", "chatcmpl-abc"),
        ("text", "Hé"),
        ("text", ""),
        ("text", '"'),
        ("usage", USED),
        ("end", StopReason.STOP),
    )
    place = f'"item_id":"{MESSAGE}","output_index":0,"content_index":0'
    part = '{"type":"output_text","text":"Hé\\"","annotations":[]}'
    item = f'{{"id":"{MESSAGE}","type":"message","role":"assistant","status":"%s","content":[%s]}}'
    usage = (
        '{"input_tokens":12,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":0},"output_tokens":7,'
        '"output_tokens_details":{"reasoning_tokens":0},"total_tokens":19}'
    )
    begun = RESPONSE % ("in_progress", "[]", "null")
    done = item % ("completed", part)
    expected = [
        ("created", f'"sequence_number":0,"response":{{{begun}}}'),
        ("in_progress", f'"sequence_number":1,"response":{{{begun}}}'),
        (
            "output_item.added",
            f'"sequence_number":2,"output_index":0,"item":{item % ("in_progress", "")}',
        ),
        (
            "content_part.added",
            f'"sequence_number":3,{place},"part":{{"type":"output_text","text":"","annotations":[]}}',
        ),
        ("output_text.delta", f'{place},"logprobs":[],"delta":"Hé","sequence_number":4'),
        ("output_text.delta", f'{place},"logprobs":[],"delta":"\\"","sequence_number":5'),
        ("output_text.done", f'"sequence_number":6,{place},"text":"Hé\\"","logprobs":[]'),
        ("content_part.done", f'"sequence_number":7,{place},"part":{part}'),
        ("output_item.done", f'"sequence_number":8,"output_index":0,"item":{done}'),
        (
            "completed",
            f'"sequence_number":9,"response":{{{RESPONSE % ("completed", f"[{done}]", usage)}}}',
        ),
    ]
    assert b"".join(made.frames).decode() == "".join(
        f'event: response.{kind}\ndata: {{"type":"response.{kind}",{fields}}}\n\n'
        for kind, fields in expected
    )


def test_the_answer_s_id_is_the_upstream_s_under_our_prefix_or_minted():
    assert encoder(("begin", "gpt", "msg_01"), ("end", StopReason.STOP)).response["id"] == "resp_01"  # type: ignore[index]
    made = encoder(("begin", "gpt", ""), ("begin", "gpt", "late"), ("end", StopReason.STOP))
    assert made.response is not None
    assert made.response["id"] == "resp_000000000000000000000000"


def test_the_request_s_parameters_are_repeated():
    made = encoder(
        ("begin", "gpt", "abc"),
        ("end", StopReason.STOP),
        echo={"temperature": 0.5, "metadata": {"a": "b"}},
    )
    assert made.response is not None
    assert (made.response["temperature"], made.response["metadata"]) == (0.5, {"a": "b"})
    assert made.response["tool_choice"] == "auto"


def test_content_commits_and_a_beginning_does_not():
    made = encoder(("begin", "gpt", "abc"), ("text", ""), ("thinking", ""), ("refusal", ""))
    assert not made.committed
    made.text("x")
    assert made.committed
    assert encoder(("end", StopReason.STOP)).committed


# Reasoning.


def test_reasoning_is_a_summary_with_the_seal_on_the_finished_item():
    events = told(("thinking", "a"), ("thinking", "b"), ("signature", "gw1:oai:ENC"), ("text", "x"))
    assert kinds(events)[:7] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    item_id = "rs_000000000000000000000000"
    place = {"item_id": item_id, "output_index": 0, "summary_index": 0}
    summary = {"type": "summary_text", "text": "ab"}
    assert events[0]["item"] == {"id": item_id, "type": "reasoning", "summary": []}
    assert events[1] == {
        "type": "response.reasoning_summary_part.added",
        **place,
        "part": {**summary, "text": ""},
    }
    assert events[2] == {"type": "response.reasoning_summary_text.delta", **place, "delta": "a"}
    assert events[4] == {"type": "response.reasoning_summary_text.done", **place, "text": "ab"}
    assert events[5] == {"type": "response.reasoning_summary_part.done", **place, "part": summary}
    assert events[6]["item"] == {
        "id": item_id,
        "type": "reasoning",
        "summary": [summary],
        "encrypted_content": "gw1:oai:ENC",
    }
    assert events[7]["output_index"] == 1


@pytest.mark.parametrize(
    ("verbs", "parts"),
    [
        ([("thinking", "hm"), ("signature", "SIG")], [Thinking("hm", "SIG")]),
        ([("redacted", "DATA")], [Redacted("DATA")]),
        ([("signature", "SIG")], [Thinking("", "SIG")]),
        ([("thinking", "hm"), ("signature", "gw1:gem:S")], [Thinking("hm", "gw1:gem:S")]),
        ([("redacted", "gw1:oai:E")], [Redacted("gw1:oai:E")]),
        ([("thinking", "hm"), ("signature", "gw1:none")], [Thinking("hm")]),
        ([("thinking", "hm")], [Thinking("hm")]),
    ],
)
def test_every_seal_survives_the_way_through_a_client(verbs, parts):
    (item,) = items(*verbs)
    replayed = read_request({"input": [item, {"role": "user", "content": "Hi"}]})
    assert replayed.turns[0].parts == parts


def test_an_anthropic_seal_holds_the_text_that_it_is_bound_to():
    (item,) = items(("thinking", "hm"), ("signature", "SIG"))
    assert item["encrypted_content"] == wrap_blocks([Thinking("hm", "SIG")])


# Messages.


def test_text_and_refusals_are_parts_of_one_message():
    events = told(("text", "a"), ("refusal", "no"), ("text", "b"), ("end", StopReason.STOP))
    refusal = {"type": "refusal", "refusal": "no"}
    assert [event.get("content_index") for event in events if "content_index" in event] == [
        0
    ] * 4 + [1] * 4 + [2] * 4
    assert events[6] == {
        "type": "response.refusal.delta",
        "item_id": MESSAGE,
        "output_index": 0,
        "content_index": 1,
        "delta": "no",
    }
    assert events[7] == {
        "type": "response.refusal.done",
        "item_id": MESSAGE,
        "output_index": 0,
        "content_index": 1,
        "refusal": "no",
    }
    assert events[8]["part"] == refusal
    (item,) = items(("text", "a"), ("refusal", "no"), ("text", "b"))
    text = {"type": "output_text", "annotations": []}
    assert item["content"] == [{**text, "text": "a"}, refusal, {**text, "text": "b"}]


def test_a_refusal_may_come_in_pieces():
    events = told(("refusal", "I can"), ("refusal", "not"), ("end", StopReason.STOP))
    assert [event["delta"] for event in events if "delta" in event] == ["I can", "not"]
    assert items(("refusal", "I can"), ("refusal", "not"))[0]["content"] == [
        {"type": "refusal", "refusal": "I cannot"}
    ]


def test_an_image_is_an_item():
    assert items(("text", "a"), ("image", "image/webp", "AAAA"))[1] == {
        "id": "ig_000000000000000000000001",
        "type": "image_generation_call",
        "status": "completed",
        "result": "AAAA",
        "output_format": "webp",
    }


# Tool calls.


def test_a_call_s_arguments_are_streamed():
    events = told(
        ("tool_call", 0, "call_1", "f"),
        ("arguments", 0, '{"a"'),
        ("arguments", 0, ":1}"),
        ("call_done", 0),
    )
    item_id = "fc_000000000000000000000000"
    item = {
        "id": item_id,
        "type": "function_call",
        "status": "in_progress",
        "call_id": "call_1",
        "name": "f",
        "arguments": "",
    }
    place = {"item_id": item_id, "output_index": 0}
    delta = {"type": "response.function_call_arguments.delta", **place}
    assert events == [
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {**delta, "delta": '{"a"'},
        {**delta, "delta": ":1}"},
        {
            "type": "response.function_call_arguments.done",
            **place,
            "name": "f",
            "arguments": '{"a":1}',
        },
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {**item, "status": "completed", "arguments": '{"a":1}'},
        },
    ]


def test_a_call_without_id_or_arguments_gets_both():
    (item,) = items(("tool_call", 0, "", "f"))
    assert (item["call_id"], item["arguments"]) == ("call_000000000000000000000000", "{}")


def test_a_tool_in_a_namespace_is_called_by_both_names():
    conversation = Conversation(
        tools=[Tool("ls", namespace="mcp"), Tool("patch", namespace="mcp", custom=True)]
    )
    facts = reply_facts(conversation)
    listed, patched = items(
        ("tool_call", 0, "c1", "mcp__ls"),
        ("call_done", 0),
        ("tool_call", 1, "c2", "mcp__patch"),
        namespaces=facts["namespaces"],
        custom_tools=facts["custom_tools"],
    )
    assert (listed["type"], listed["namespace"], listed["name"]) == ("function_call", "mcp", "ls")
    assert (patched["type"], patched["namespace"], patched["name"]) == (
        "custom_tool_call",
        "mcp",
        "patch",
    )


def test_a_free_text_tool_is_called_with_its_text():
    events = told(
        ("tool_call", 0, "c1", "patch"),
        ("arguments", 0, "*** A"),
        ("call_done", 0),
        custom_tools=frozenset({"patch"}),
    )
    item = {
        "id": "ctc_000000000000000000000000",
        "type": "custom_tool_call",
        "call_id": "c1",
        "name": "patch",
        "input": "",
    }
    place = {"item_id": item["id"], "output_index": 0}
    assert events == [
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.custom_tool_call_input.delta", **place, "delta": "*** A"},
        {"type": "response.custom_tool_call_input.done", **place, "input": "*** A"},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {**item, "input": "*** A"},
        },
    ]


def test_calls_that_grow_side_by_side_are_told_one_after_the_other():
    verbs = [
        ("tool_call", 0, "c0", "f"),
        ("tool_call", 1, "c1", "g"),
        ("tool_call", 2, "c2", "h"),
        ("arguments", 1, "[1"),
        ("arguments", 0, "[0]"),
        ("arguments", 2, "[2"),
        ("call_done", 1),
        ("call_done", 0),
        ("arguments", 2, "]"),
        ("arguments", 9, "lost"),
        ("call_done", 9),
    ]
    events = told(*verbs)
    deltas = [(event["output_index"], event["delta"]) for event in events if "delta" in event]
    # The second was whole when the first ended; the third is open and goes on as it comes.
    assert deltas == [(0, "[0]"), (1, "[1"), (2, "[2"), (2, "]")]
    assert [(item["call_id"], item["arguments"]) for item in items(*verbs)] == [
        ("c0", "[0]"),
        ("c1", "[1"),
        ("c2", "[2]"),
    ]


def test_text_ends_all_calls():
    found = items(
        ("tool_call", 0, "c0", "f"),
        ("tool_call", 1, "c1", "g"),
        ("arguments", 1, "[1]"),
        ("text", "x"),
        ("arguments", 0, "late"),
    )
    assert [(item["type"], item.get("arguments")) for item in found] == [
        ("function_call", "{}"),
        ("function_call", "[1]"),
        ("message", None),
    ]


def test_text_ends_the_calls_that_are_whole_before_the_one_that_is_not():
    found = items(
        ("tool_call", 0, "c0", "f"),
        ("tool_call", 1, "c1", "g"),
        ("arguments", 1, "[1]"),
        ("call_done", 1),
        ("text", "x"),
    )
    assert [(item["type"], item.get("call_id"), item.get("arguments")) for item in found] == [
        ("function_call", "c0", "{}"),
        ("function_call", "c1", "[1]"),
        ("message", None, None),
    ]


def test_a_seal_on_a_call_goes_with_the_reasoning_in_front_of_it():
    sealed, _ = items(("thinking", "hm"), ("tool_call", 0, "c0", "f", "gw1:gem:S"))
    assert (sealed["summary"][0]["text"], sealed["encrypted_content"]) == ("hm", "gw1:gem:S")
    _, sealed, called = items(("text", "x"), ("tool_call", 0, "c0", "f", "gw1:gem:S"))
    assert (sealed["summary"], sealed["encrypted_content"]) == ([], "gw1:gem:S")
    assert called["call_id"] == "c0"


# Alternatives.


def test_alternative_answers_are_left_out():
    verbs = [
        ("choice", 0),
        ("text", "a"),
        ("choice", 1),
        ("text", "lost"),
        ("thinking", "lost"),
        ("refusal", "lost"),
        ("signature", "lost"),
        ("redacted", "lost"),
        ("image", "image/png", "lost"),
        ("tool_call", 0, "c0", "lost"),
        ("arguments", 0, "lost"),
        ("call_done", 0),
        ("choice", 0),
        ("text", "b"),
        ("choice", 1),
    ]
    (item,) = items(*verbs)
    assert item["content"][0]["text"] == "ab"


# Memory.


def test_the_first_call_s_seals_are_remembered():
    kept: list[tuple[str, tuple[Sealed, ...]]] = []
    items(
        ("thinking", "hm"),
        ("signature", "SIG"),
        ("redacted", "DATA"),
        ("thinking", "unsealed"),
        ("tool_call", 0, "c0", "f"),
        ("tool_call", 1, "c1", "g", "gw1:gem:S"),
        remember=lambda call_id, seals: kept.append((call_id, seals)),
    )
    assert kept == [("c0", (Thinking("hm", "SIG"), Redacted("DATA")))]


def test_the_seal_of_a_call_is_remembered_with_it():
    kept: list[tuple[str, tuple[Sealed, ...]]] = []
    items(
        ("tool_call", 0, "c0", "f", "gw1:gem:S"),
        remember=lambda call_id, seals: kept.append((call_id, seals)),
    )
    assert kept == [("c0", (Call("c0", "f", "", "gw1:gem:S"),))]


def test_a_call_without_seals_is_not_remembered():
    kept: list[str] = []
    items(
        ("thinking", "hm"),
        ("tool_call", 0, "c0", "f"),
        remember=lambda call_id, _: kept.append(call_id),
    )
    assert kept == []


# The end.


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        (StopReason.STOP, "completed", None),
        (StopReason.STOP_SEQUENCE, "completed", None),
        (StopReason.TOOL_CALLS, "completed", None),
        (StopReason.COMPACTION, "completed", None),
        (StopReason.BROKEN, "completed", None),
        (StopReason.LENGTH, "incomplete", {"reason": "max_output_tokens"}),
        (StopReason.CONTEXT, "incomplete", {"reason": "max_output_tokens"}),
        (StopReason.PAUSE, "incomplete", {"reason": "max_output_tokens"}),
        (StopReason.FILTER, "incomplete", {"reason": "content_filter"}),
    ],
)
def test_reasons(reason, status, details):
    response = ended(reason, ("text", "x"))
    assert (response["status"], response["incomplete_details"]) == (status, details)
    assert response["output"][0]["status"] == status


def test_the_call_that_was_cut_is_incomplete():
    verbs = [
        ("tool_call", 0, "c0", "f"),
        ("tool_call", 1, "c1", "g"),
        ("tool_call", 2, "c2", "h"),
        ("arguments", 2, '{"a'),
    ]
    output = ended(StopReason.LENGTH, *verbs)["output"]
    assert [(item["status"], item["arguments"]) for item in output] == [
        ("completed", "{}"),
        ("completed", "{}"),
        ("incomplete", '{"a'),
    ]
    (alone,) = ended(StopReason.LENGTH, verbs[0])["output"]
    assert (alone["status"], alone["arguments"]) == ("incomplete", "")


def test_the_upstream_s_explanation_of_a_refusal_is_the_refusal():
    output = ended(StopReason.FILTER, detail="Not allowed")["output"]
    assert output[0]["content"] == [{"type": "refusal", "refusal": "Not allowed"}]


def test_a_model_that_says_no_in_words_has_completed_its_answer():
    """So it is at OpenAI, whose SDK raises for a stream that ends in anything else."""
    response = ended(StopReason.STOP, ("refusal", "No."), detail="No.")
    assert (response["status"], response["incomplete_details"]) == ("completed", None)
    assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_an_answer_that_broke_before_it_said_anything_failed():
    made = encoder(("begin", "gpt", "abc"), ("end", StopReason.BROKEN))
    assert made.error is not None
    assert made.error.kind is Kind.MALFORMED
    assert (made.ended, made.committed) == (True, False)


def test_usage_that_nobody_told_is_estimated():
    made = encoder(
        ("text", "12345678"),
        ("tool_call", 0, "c", "f"),
        ("arguments", 0, "[1]"),
        ("end", StopReason.STOP),
        estimate_input=lambda: 5,
    )
    assert made.response is not None
    assert (made.response["usage"]["input_tokens"], made.response["usage"]["output_tokens"]) == (
        5,
        3,
    )


# Failures.


def failed(error: GatewayError, *verbs: Verb) -> list[Frame]:
    return frames(encoder(*verbs, ("fail", error)))


def test_a_failure_says_what_was_finished_and_consumed():
    events = failed(
        GatewayError(Kind.OVERLOADED),
        ("begin", "gpt", "abc"),
        ("thinking", "a"),
        ("signature", "gw1:oai:E"),
        ("text", "cut"),
        ("usage", USED),
    )
    response = events[-1]["response"]
    assert events[-1]["type"] == "response.failed"
    assert response["status"] == "failed"
    assert response["error"] == {
        "code": "server_error",
        "message": "The upstream provider is overloaded; retry later.",
    }
    assert [item["type"] for item in response["output"]] == ["reasoning"]
    assert response["usage"]["total_tokens"] == 19


def test_a_failure_before_the_beginning_begins_the_answer_first():
    events = failed(GatewayError(Kind.DISCONNECTED))
    assert kinds(events) == ["created", "in_progress", "failed"]
    assert {event["response"]["id"] for event in events} == {"resp_000000000000000000000000"}
    assert events[-1]["response"]["usage"] is None


def test_the_frame_of_a_failure_leaves_what_is_pending_in_its_place():
    made = encoder(("begin", "gpt", "abc"))
    frame = made.error_frame(GatewayError(Kind.SERVER), "req_test")
    assert frame.startswith(b"event: response.failed\n")
    assert len(made.frames) == 2
    assert not made.ended


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            GatewayError(Kind.RATE_LIMIT, retry_after=7),
            {
                "code": "rate_limit_exceeded",
                "message": "All upstream accounts are rate limited; retry later. Please try again in 7s.",
            },
        ),
        (GatewayError(Kind.KEY_RATE, "Slow."), {"code": "rate_limit_exceeded", "message": "Slow."}),
        (
            GatewayError(Kind.CONTEXT, "Too long."),
            {"code": "context_length_exceeded", "message": "Too long."},
        ),
        (
            GatewayError(Kind.NO_CREDIT, "Empty."),
            {"code": "insufficient_quota", "message": "Empty."},
        ),
        (GatewayError(Kind.INVALID_REQUEST, "Bad."), {"code": "server_error", "message": "Bad."}),
    ],
)
def test_failures_have_the_codes_that_clients_act_on(error, expected):
    assert failed(error)[-1]["response"]["error"] == expected


def test_a_stream_that_only_beat_so_far_ends_in_a_failed_response():
    frame = error_frame(GatewayError(Kind.SERVER), "req_test")
    documents = [orjson.loads(data) for _, data in Splitter().feed(frame)]
    assert [document["type"] for document in documents] == [
        "response.created",
        "response.in_progress",
        "response.failed",
    ]
    assert documents[-1]["response"]["id"] == "resp_test"


def test_a_heartbeat_is_a_comment():
    assert HEARTBEAT == b": keep-alive\n\n"


# Whole answers.


def test_usage_counts_cached_tokens_among_the_prompt_s():
    usage = Usage(
        input=100, cache_read=1000, cache_write=50, cache_write_1h=150, output=300, reasoning=40
    )
    assert write_usage(usage) == {
        "input_tokens": 1300,
        "input_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 200},
        "output_tokens": 300,
        "output_tokens_details": {"reasoning_tokens": 40},
        "total_tokens": 1600,
    }


def test_a_whole_answer_has_an_item_for_all_that_was_said():
    collected = Collected()
    verbs: list[Verb] = [
        ("begin", "gpt", "abc"),
        ("thinking", "hm"),
        ("signature", "gw1:oai:S"),
        ("thinking", "unsealed"),
        ("redacted", "gw1:oai:R"),
        ("text", "a"),
        ("refusal", "no"),
        ("image", "image/webp", "AAAA"),
        ("tool_call", 0, "c0", "f"),
        ("arguments", 0, "[0]"),
        ("call_done", 0),
        ("usage", USED),
        ("end", StopReason.TOOL_CALLS),
    ]
    play(verbs, collected)
    assert write_answer(collected, reply(), USED) == encoder(*verbs).response


def test_what_no_model_says_is_left_out_of_a_whole_answer():
    collected = Collected()
    collected.choices[0].parts.append(File(data="AA"))
    collected.end(StopReason.STOP)
    assert write_answer(collected, reply(), Usage())["output"] == []


# There and back.


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
SEAL = st.sampled_from(["SIG", "gw1:oai:ENC", "gw1:gem:S"])
ARGUMENTS = st.lists(TEXT, max_size=3)


@st.composite
def turns(draw: st.DrawFn) -> list[Verb]:
    verbs: list[Verb] = [("begin", "gpt", "abc")]
    calls = 0
    for kind in draw(
        st.lists(
            st.sampled_from(
                ["text", "thinking", "refusal", "redacted", "signature", "image", "call"]
            )
        )
    ):
        if kind in {"text", "thinking", "refusal"}:
            verbs.append((kind, draw(TEXT)))
        elif kind in {"redacted", "signature"}:
            verbs.append((kind, draw(SEAL)))
        elif kind == "image":
            verbs.append(("image", "image/png", "AAAA"))
        else:
            name = draw(st.sampled_from(["f", "c"]))
            verbs.append(("tool_call", calls, f"call_{calls}", name, draw(st.just("") | SEAL)))
            verbs += [("arguments", calls, delta) for delta in draw(ARGUMENTS)]
            verbs.append(("call_done", calls))
            calls += 1
    reasons = [StopReason.TOOL_CALLS] if calls else [StopReason.STOP]
    reason = draw(st.sampled_from([*reasons, StopReason.LENGTH, StopReason.FILTER]))
    return [*verbs, ("usage", USED), ("end", reason, None, None)]


def normalised(verbs: list[Verb]) -> list[Verb]:
    """What comes back of ``verbs``: seals in OpenAI's envelope, with a call's in front of it and one on nothing as redacted
    reasoning; free text as JSON; arguments that say something; the client's name of the model."""
    out: list[Verb] = []
    verbs = merged(verbs)
    thought = ""
    for position, verb in enumerate(verbs):
        name = verb[0]
        if name in {"signature", "redacted", "tool_call"} and verb[-1]:
            out.append(returned_seal(name, thought, verb[-1]))
        thought = verb[1] if name == "thinking" else ""
        if name == "begin":
            out.append(("begin", "m", "resp_abc"))
        elif name == "tool_call":
            following = verbs[position + 1]
            said = following[2] if following[0] == "arguments" else ""
            if verb[3] == "c":
                said = orjson.dumps({"input": said}).decode()
            out += [(*verb[:-1], ""), ("arguments", verb[1], said or "{}")]
        elif name not in {"signature", "redacted", "arguments"}:
            out.append(verb)
    return out


def returned_seal(name: str, thought: str, opaque: str) -> Verb:
    part = Redacted(opaque) if name == "redacted" else Thinking(thought, opaque)
    wrapped = opaque if opaque.startswith("gw1:") else wrap_blocks([part])
    kind = "signature" if thought and name != "redacted" else "redacted"
    return kind, f"gw1:oai:{wrapped}"


def decoded(made: Encoder) -> list[Verb]:
    turn = Transcript()
    decoder = Decoder(turn, Flags())
    for name, data in Splitter().feed(b"".join(made.frames)):
        decoder.event(name, data)
    decoder.finish()
    return turn.verbs


@given(turns())
def test_what_is_encoded_is_decoded_again(verbs):
    made = encoder(*verbs, custom_tools=frozenset({"c"}))
    assert merged(decoded(made)) == normalised(verbs)
    assert_orderly(frames(made))


@given(turns())
def test_a_whole_answer_is_what_its_stream_ends_in(verbs):
    made = encoder(*verbs, custom_tools=frozenset({"c"}))
    collected = Collected()
    play(verbs, collected)
    document = write_answer(collected, reply(custom_tools=frozenset({"c"})), USED)
    assert document == made.response
    turn = Transcript()
    Decoder(turn, Flags()).answer(document)
    assert merged(turn.verbs) == normalised(verbs)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["x", "y", ""]), st.booleans())))
def test_arguments_that_interleave_are_kept_apart(steps):
    verbs: list[Verb] = [
        ("begin", "gpt", "abc"),
        *(("tool_call", index, f"call_{index}", "f") for index in range(4)),
    ]
    said = dict.fromkeys(range(4), "")
    done: set[int] = set()
    for index, delta, last in steps:
        if index not in done:
            verbs.append(("arguments", index, delta))
            said[index] += delta
            if last:
                done.add(index)
                verbs.append(("call_done", index))
    made = encoder(*verbs, ("end", StopReason.TOOL_CALLS))
    assert made.response is not None
    assert [item["arguments"] for item in made.response["output"]] == [
        text or "{}" for text in said.values()
    ]
    assert_orderly(frames(made))


def assert_orderly(events: list[Frame]) -> None:
    """One item is open at a time, each is announced and finished at its own number, under one id."""
    index, opened = 0, ""
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert (opened, event["output_index"]) == ("", index)
            opened = event["item"]["id"]
        elif kind == "output_item.done":
            assert (event["item"]["id"], event["output_index"]) == (opened, index)
            index, opened = index + 1, ""
        elif "output_index" in event:
            assert (event["item_id"], event["output_index"]) == (opened, index)
    assert opened == ""
