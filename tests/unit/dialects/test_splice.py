"""A spliced stream is the same bytes however it was cut on its way, and whichever look was taken at it."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.splice import ChatSplice, MessagesSplice, ResponsesSplice, Splice
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage

REQUEST_ID = "req_1"


def chat(
    *,
    include_usage: bool = False,
    flags: Flags = Flags(),  # noqa: B008 - frozen
    charge: Callable[[Usage], int] | None = None,
) -> ChatSplice:
    return ChatSplice(REQUEST_ID, flags, lambda: 42, include_usage=include_usage, charge=charge)


def messages() -> MessagesSplice:
    return MessagesSplice(REQUEST_ID, Flags(), lambda: 42)


class SlowChat(ChatSplice):
    def _plain(self, whole: bytes) -> int:
        return 0


class SlowMessages(MessagesSplice):
    def _plain(self, whole: bytes) -> int:
        return 0


def run(splice: Splice, *reads: bytes) -> bytes:
    return b"".join(map(splice.feed, reads)) + splice.finish()


def state(splice: Splice) -> tuple[Any, ...]:
    kind = splice.error.kind if splice.error else None
    return splice.committed, splice.ended, kind, splice.usage(), splice.answer_id


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return ``data`` in pieces that end at ``places``."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


# Frames of the two dialects, the odd ones among them.


def sse(document: object) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def chunk(*choices: dict[str, Any], **fields: Any) -> bytes:
    return sse(
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": list(choices), **fields}
    )


def choice(delta: object, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
TEXT = chunk(choice({"content": "Hi"}))
ROLE = chunk(choice({"role": "assistant", "content": ""}))
STOP = chunk(choice({}, "stop"))
DONE = b"data: [DONE]\n\n"

texts = st.text(max_size=12) | st.sampled_from(
    [
        '"error"',
        '\n\ndata: {"error"',
        '"usage":null',
        '"finish_reason":null',
        '"delta":{',
        "\r\n",
        "[DONE]",
        "data: [DONE]",
    ]
)
deltas = st.one_of(
    st.builds(lambda text: {"content": text}, texts),
    st.builds(lambda text: {"reasoning_content": text}, texts),
    st.builds(lambda text: {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}, texts),
    st.just({"role": "assistant", "content": None}),
    st.just({}),
)
choices = st.builds(choice, deltas)
chat_frames = st.one_of(
    st.builds(chunk, choices),
    st.builds(chunk, choices),
    st.builds(chunk, choices),
    st.builds(lambda one: chunk(one, usage=None), choices),
    st.builds(lambda one: chunk(one, usage=USAGE), choices),
    st.builds(lambda one: b"event: x\nid: 7\n" + chunk(one), choices),
    st.builds(lambda one: chunk(one).replace(b"\n", b"\r\n"), choices),
    st.builds(lambda one: chunk(one).replace(b":", b": "), choices),
    st.just(STOP),
    st.just(chunk(usage=USAGE)),
    st.just(chunk(prompt_filter_results=[{"prompt_index": 0}])),
    st.just(chunk({"index": 0, "finish_reason": None})),
    st.just(chunk(choice(None))),
    st.just(sse({"error": {"message": "no", "code": "server_is_overloaded"}})),
    st.just(b": a comment\n\n"),
    st.just(b"event: ping\n\n"),
    st.just(b"data: no JSON\n\n"),
    st.just(b"data:\n\n"),
    st.just(b"data: [1]\n\n"),
    st.just(DONE),
)


def event(kind: str, *, named: bool = True, **fields: Any) -> bytes:
    name = f"event: {kind}\n".encode() if named else b""
    return name + sse({"type": kind, **fields})


BEGIN = event(
    "message_start", message={"id": "msg_1", "usage": {"input_tokens": 5, "output_tokens": 1}}
)
OPEN = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
HI = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"})
SHUT = event("content_block_stop", index=0)
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7})
OVER = event("message_stop")
PING = event("ping")
BROKEN = event("error", error={"type": "overloaded_error", "message": "Overloaded"})

message_frames = st.one_of(
    st.builds(
        lambda text: event(
            "content_block_delta", index=0, delta={"type": "text_delta", "text": text}
        ),
        texts,
    ),
    st.builds(
        lambda text: event(
            "content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": text}
        ),
        texts,
    ),
    st.builds(
        lambda text: event(
            "content_block_delta", named=False, index=0, delta={"type": "text_delta", "text": text}
        ),
        texts,
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
        ]
    ),
)


@given(
    st.lists(chat_frames, max_size=12).map(b"".join),
    st.lists(st.integers(0, 5000), max_size=8),
    st.booleans(),
)
def test_a_chat_stream_is_the_same_however_it_is_cut_and_looked_at(stream, places, include_usage):
    slow = SlowChat(
        REQUEST_ID,
        Flags(),
        lambda: 42,
        include_usage=include_usage,
        charge=lambda usage: usage.total,
    )
    expected = run(slow, *cut(stream, list(range(len(stream)))))
    for reads in ([stream], cut(stream, places)):
        fast = chat(include_usage=include_usage, charge=lambda usage: usage.total)
        assert run(fast, *reads) == expected
        assert state(fast) == state(slow)


@given(
    st.lists(message_frames, max_size=12).map(b"".join), st.lists(st.integers(0, 5000), max_size=8)
)
def test_a_messages_stream_is_the_same_however_it_is_cut_and_looked_at(stream, places):
    slow = SlowMessages(REQUEST_ID, Flags(), lambda: 42)
    expected = run(slow, *cut(stream, list(range(len(stream)))))
    for reads in ([stream], cut(stream, places)):
        fast = messages()
        assert run(fast, *reads) == expected
        assert state(fast) == state(slow)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_no_bytes_break_a_splice(data, places):
    for splice in (chat(), messages()):
        run(splice, *cut(data, places))
        assert splice.ended


# Chat completions.


def test_frames_pass_as_they_came():
    assert run(chat(), ROLE, TEXT + TEXT, STOP + DONE) == ROLE + TEXT + TEXT + STOP + DONE


def test_a_role_commits_nothing_and_content_does():
    splice = chat()
    splice.feed(ROLE)
    assert not splice.committed
    splice.feed(TEXT)
    assert splice.committed


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"refusal": "x"},
        {"tool_calls": [{"index": 0, "id": "call_1"}]},
        {"function_call": {"name": "f"}},
        {"audio": {"id": "a"}},
    ],
)
def test_whatever_has_content_commits(delta):
    splice = chat()
    splice.feed(chunk(choice(delta)))
    assert splice.committed


@pytest.mark.parametrize(
    "delta", [{}, {"role": "assistant"}, {"content": ""}, {"content": None}, {"obfuscation": "xy"}]
)
def test_what_has_none_does_not(delta):
    splice = chat()
    splice.feed(chunk(choice(delta)))
    assert not splice.committed


def test_the_end_commits():
    splice = chat()
    splice.feed(STOP)
    assert splice.committed
    assert not splice.ended


def test_the_usage_chunk_is_swallowed_and_noted():
    splice = chat()
    assert run(splice, TEXT, STOP, chunk(usage=USAGE), DONE) == TEXT + STOP + DONE
    assert (splice.usage().input, splice.usage().output, splice.usage().estimated) == (5, 7, False)


def test_the_usage_chunk_passes_to_who_asked():
    told = chunk(usage=USAGE)
    assert run(chat(include_usage=True), TEXT, STOP, told, DONE) == TEXT + STOP + told + DONE


def charge(usage):
    return 1_000_000 * usage.output + usage.input_total


def test_the_usage_chunk_tells_who_asked_what_is_paid_and_changes_nothing_else():
    told = b'data: { "choices": [], "x" : 1.50, "usage" : {"prompt_tokens": 20, "completion_tokens": 7} }\n\n'
    paid = told.replace(b'"usage" : {', b'"usage" : {"cost":7.00002,"cost_micro":7000020,')
    asked = chat(include_usage=True, charge=charge)
    assert run(asked, TEXT, STOP, told, DONE) == TEXT + STOP + paid + DONE
    assert run(chat(charge=charge), TEXT, STOP, told, DONE) == TEXT + STOP + DONE


def test_usage_that_comes_with_the_end_tells_what_is_paid_and_usage_before_it_does_not():
    early = chunk(choice({"content": "a"}), usage=USAGE)
    last = chunk(choice({}, "stop"), usage=USAGE)
    out = run(chat(include_usage=True, charge=charge), early, last, DONE)
    assert out.startswith(early)
    assert b'"usage":{"cost":' in out.removeprefix(early)
    mended = chunk({"index": 0, "delta": None, "finish_reason": "stop"}, usage=USAGE)
    assert b'"delta":{}' in run(chat(include_usage=True, charge=charge), TEXT, mended, DONE)


@pytest.mark.parametrize(
    "usage",
    [{}, {**USAGE, "cost": 0.5, "is_byok": False}, {**USAGE, "x": {"usage": 1}}],
)
def test_what_the_key_pays_replaces_what_a_reseller_charges(usage):
    out = run(
        chat(include_usage=True, charge=lambda _: 1_250_000), TEXT, STOP, chunk(usage=usage), DONE
    )
    told = json.loads(out.removeprefix(TEXT + STOP).removesuffix(DONE)[6:])
    assert told["usage"] == {**usage, "cost": 1.25, "cost_micro": 1_250_000}


def test_the_service_tier_of_the_usage_chunk_is_what_was_billed():
    splice = chat()
    run(splice, TEXT, STOP, chunk(usage=USAGE, service_tier="flex"), DONE)
    assert splice.usage().tier == "flex"
    other = chat()
    run(other, TEXT, STOP, chunk(usage=USAGE, service_tier=5), DONE)
    assert other.usage().tier is None


def test_later_usage_replaces_earlier_usage():
    splice = chat()
    run(
        splice,
        chunk(choice({"content": "a"}), usage={**USAGE, "completion_tokens": 1}),
        chunk(choice({}, "stop"), usage=USAGE),
    )
    assert splice.usage().output == 7


def test_usage_that_nobody_told_is_estimated_from_frames():
    splice = chat()
    run(splice, ROLE, TEXT + TEXT, TEXT, STOP, DONE)
    usage = splice.usage()
    assert usage.estimated
    assert usage.input == 42
    assert 3 <= usage.output <= 4


def test_usage_told_before_a_cut_is_no_less_than_what_came():
    splice = chat()
    run(splice, chunk(choice({"content": "a"}), usage={**USAGE, "completion_tokens": 1}), TEXT * 5)
    assert splice.usage().output == 6
    assert splice.usage().estimated


def test_groqs_usage_is_where_groq_puts_it():
    splice = chat()
    run(splice, TEXT, chunk(choice({}, "stop"), x_groq={"usage": USAGE}), DONE)
    assert splice.usage().output == 7


def test_an_absent_delta_becomes_an_empty_one():
    out = chat().feed(chunk({"index": 0, "finish_reason": None, "odd": 1.5}))
    assert json.loads(out[6:])["choices"] == [
        {"index": 0, "finish_reason": None, "odd": 1.5, "delta": {}}
    ]


def test_a_null_delta_is_mended_in_place():
    frame = b'data: {"id":"x", "choices":[{"index":0,"delta":null,"finish_reason":null}]}\n\n'
    assert chat().feed(frame) == frame.replace(b'"delta":null', b'"delta":{}')


def test_a_stream_without_its_mark_gets_one_if_it_was_finished():
    assert run(chat(), TEXT, STOP) == TEXT + STOP + DONE


def test_a_stream_that_stops_in_the_middle_is_an_error():
    splice = chat()
    out = run(splice, TEXT)
    assert splice.error is not None
    assert splice.error.kind is Kind.DISCONNECTED
    assert out.startswith(TEXT + b'data: {"error":')
    assert b"[DONE]" not in out


def test_half_a_frame_at_the_end_is_dropped():
    splice = chat()
    out = run(splice, TEXT, TEXT[:20])
    assert out.startswith(TEXT + b'data: {"error":')


def test_an_error_frame_ends_the_stream_whatever_follows():
    splice = chat()
    out = run(
        splice,
        TEXT,
        sse({"error": {"message": "inside", "code": "rate_limit_exceeded"}}) + TEXT + DONE,
    )
    assert splice.error is not None
    assert splice.error.kind is Kind.RATE_LIMIT
    assert out.count(b"data: ") == 2
    assert b"inside" not in out


@pytest.mark.parametrize("error", ["a string", {"message": "m"}, {"code": 429}, [1], 5])
def test_errors_of_any_shape_are_errors(error):
    splice = chat()
    splice.feed(sse({"error": error}))
    assert splice.ended
    assert splice.error is not None


def test_an_error_inside_a_choice_is_one():
    splice = chat()
    splice.feed(TEXT + chunk({**choice({}, "error"), "error": {"message": "x", "code": 502}}))
    assert splice.error is not None


def test_failing_tells_it_in_the_dialect():
    splice = chat()
    splice.feed(TEXT)
    frame = splice.fail(GatewayError(Kind.TIMEOUT_IDLE))
    assert json.loads(frame[6:])["error"]["code"] == "timeout"
    assert splice.ended
    assert splice.finish() == b""


# Messages.


def test_events_pass_as_they_came():
    stream = BEGIN + PING + OPEN + HI + HI + SHUT + END + OVER
    splice = messages()
    assert run(splice, stream) == stream
    assert splice.error is None
    assert (splice.usage().input, splice.usage().output) == (5, 7)
    assert splice.answer_id == "msg_1"


def test_the_beginning_of_a_message_commits_nothing():
    splice = messages()
    splice.feed(BEGIN + PING + OPEN)
    assert not splice.committed
    splice.feed(HI)
    assert splice.committed


def test_a_tool_call_commits_a_message_when_it_opens():
    splice = messages()
    splice.feed(BEGIN)
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    splice.feed(event("content_block_start", index=0, content_block=call))
    assert splice.committed


def test_missing_event_lines_are_added():
    bare = BEGIN.partition(b"\n")[2]
    assert messages().feed(bare) == BEGIN


def test_a_message_that_stops_in_the_middle_is_an_error_event():
    splice = messages()
    out = run(splice, BEGIN + OPEN + HI + HI * 3)
    last = out.rpartition(b"event: error\ndata: ")[2]
    assert json.loads(last) == {
        "type": "error",
        "error": {"type": "api_error", "message": "The upstream provider closed the stream early."},
        "request_id": REQUEST_ID,
    }
    # What message_start told of the output was only its beginning.
    assert splice.usage().output == 4
    assert splice.usage().estimated


def test_an_error_event_is_put_into_our_words():
    splice = messages()
    out = run(splice, BEGIN + OPEN + HI, BROKEN + HI)
    assert b"Overloaded" not in out
    assert out.count(b"event: error\n") == 1
    assert splice.error is not None
    assert splice.error.kind is Kind.OVERLOADED


@pytest.mark.parametrize("length", range(1, 26))
def test_a_read_that_ends_in_the_middle_of_a_frames_first_line_is_held(length):
    splice = messages()
    splice.feed(BEGIN + OPEN + HI)
    stream = HI + HI + HI
    at = len(HI) + length
    assert splice.feed(stream[:at]) + splice.feed(stream[at:]) == stream
    spliced = chat()
    token = chunk(choice({"content": "Hi"}))
    spliced.feed(token)
    stream = token + token
    at = len(token) + length
    assert spliced.feed(stream[:at]) + spliced.feed(stream[at:]) == stream


# Responses.


def responses_splice() -> ResponsesSplice:
    return ResponsesSplice("req_test", Flags(), lambda: 0)


RESPONSE = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
CREATED = event("response.created", sequence_number=0, response=RESPONSE)
DELTA = event("response.output_text.delta", sequence_number=7, delta="Hi", item_id="msg_1")


def test_a_broken_response_fails_under_the_id_and_number_that_the_client_knows():
    splice = responses_splice()
    assert run(splice, CREATED, DELTA).startswith(CREATED + DELTA)
    splice = responses_splice()
    out = splice.feed(CREATED) + splice.feed(DELTA) + splice.feed(DELTA) + splice.finish()
    failed = json.loads(out.rpartition(b"data: ")[2])
    assert (failed["type"], failed["sequence_number"]) == ("response.failed", 8)
    assert failed["response"]["id"] == "resp_1"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"]["code"] == "server_error"


def test_a_response_ends_with_its_usage():
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    done = event("response.completed", response={**RESPONSE, "status": "completed", "usage": usage})
    splice = responses_splice()
    assert run(splice, CREATED, DELTA, done) == CREATED + DELTA + done
    assert splice.error is None
    assert (splice.usage().input, splice.usage().output) == (5, 7)


def test_a_failed_response_before_content_is_not_committed():
    splice = responses_splice()
    error = {"code": "rate_limit_exceeded", "message": "slow down"}
    splice.feed(CREATED + event("response.failed", response={**RESPONSE, "error": error}))
    assert not splice.committed
    assert splice.error is not None
    assert splice.error.kind == "rate_limit"


@pytest.mark.parametrize("odd", [1, "x", [1], True, {}])
def test_a_usage_of_an_odd_shape_is_passed_by(odd):
    frame = (
        b"data: "
        + json.dumps(
            {"x_groq": odd, "usage": odd, "choices": [{"delta": {"content": "x"}}]}
        ).encode()
    )
    splice = chat()
    assert b'"x"' in splice.feed(frame + b"\n\n")
    assert splice.error is None
