"""A stream that passes through: what is noted, mended, swallowed and refused of it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from proxy.dialects.chat.splice import ChatSplice
from proxy.dialects.messages.splice import MessagesSplice
from proxy.dialects.responses.splice import ResponsesSplice
from proxy.dialects.splice import Splice
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage
from tests.unit.dialects.frames import (
    BEGIN,
    BROKEN,
    CREATED,
    DELTA,
    DONE,
    END,
    HI,
    OPEN,
    OVER,
    PING,
    RESPONSE,
    ROLE,
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


def chat(
    *,
    include_usage: bool = False,
    flags: Flags = Flags(),  # noqa: B008 - frozen
    charge: Callable[[Usage], int] | None = None,
    pace: float | None = None,
) -> ChatSplice:
    return ChatSplice(
        REQUEST_ID, flags, lambda: 42, include_usage=include_usage, charge=charge, pace=pace
    )


def messages() -> MessagesSplice:
    return MessagesSplice(REQUEST_ID, Flags(), lambda: 42)


def run(splice: Splice, *reads: bytes) -> bytes:
    return b"".join(map(splice.feed, reads)) + splice.finish()


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
    [{**USAGE, "cost": 0.5, "is_byok": False}, {**USAGE, "x": {"usage": 1}}],
)
def test_what_the_key_pays_replaces_what_a_reseller_charges(usage):
    out = run(
        chat(include_usage=True, charge=lambda _: 1_250_000), TEXT, STOP, chunk(usage=usage), DONE
    )
    told = json.loads(out.removeprefix(TEXT + STOP).removesuffix(DONE)[6:])
    assert told["usage"] == {**usage, "cost": 1.25, "cost_micro": 1_250_000}


def test_a_usage_that_tells_nothing_does_not_take_the_place_of_one_that_did():
    splice = chat(include_usage=True, charge=lambda _: 1_250_000)
    out = splice.feed(TEXT + STOP + chunk(usage=USAGE)) + splice.feed(chunk(usage={}) + DONE)
    assert out.endswith(b'"usage":{"cost":1.25,"cost_micro":1250000}}\n\n' + DONE)
    assert splice.usage().output == USAGE["completion_tokens"]
    silent = chat(include_usage=True)
    silent.feed(TEXT + STOP + chunk(usage={}) + DONE)
    assert silent.usage().estimated


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


LONG = chunk(choice({"content": "characters and words"}))


@pytest.mark.parametrize(
    ("pace", "frame", "output"),
    [(None, LONG, 15), (1.0, LONG, 3), (2.5, LONG, 8), (9.0, LONG, 15), (1.0, TEXT, 2)],
)
def test_usage_that_nobody_told_is_estimated_from_the_text_or_the_frames(pace, frame, output):
    splice = chat(pace=pace)
    run(splice, ROLE, frame + frame, frame, STOP, DONE)
    assert splice.usage() == Usage(input=42, output=output, estimated=True)
    assert (splice.events, splice.seen) == (3, output)


@pytest.mark.parametrize(
    "reads",
    [
        lambda frames: frames,
        lambda frames: [b"".join(frames)],
        lambda frames: [frames[0], b"".join(frames[1:])],
        lambda frames: [bytes([byte]) for byte in b"".join(frames)],
    ],
    ids=["one by one", "at once", "the first and the rest", "byte by byte"],
)
def test_text_is_measured_however_it_is_read(reads):
    words = ["The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog."]
    size = sum(len(word.encode()) for word in words)
    for splice, frames in (
        (chat(), [chunk(choice({"content": word})) for word in words]),
        (chat(), [chunk(choice({"reasoning_content": word})) for word in words]),
        (
            chat(),
            [
                chunk(choice({"tool_calls": [{"index": 0, "function": {"arguments": word}}]}))
                for word in words
            ],
        ),
        (messages(), [delta("text", word) for word in words]),
        (messages(), [delta("thinking", word) for word in words]),
        (messages(), [delta("partial_json", word, "input_json") for word in words]),
    ):
        for read in reads(frames):
            splice.feed(read)
        assert splice.events == len(words)
        assert splice.seen == -(-size // 4)


def delta(name: str, text: str, kind: str = "") -> bytes:
    return event(
        "content_block_delta", index=0, delta={"type": f"{kind or name}_delta", name: text}
    )


def test_a_signature_is_no_text():
    splice = messages()
    splice.feed(BEGIN + delta("thinking", "four"))
    for _ in range(3):
        splice.feed(delta("signature", "c2ln" * 100))
    assert splice.seen == 1


def test_a_text_that_stands_twice_in_a_frame_counts_once():
    splice = chat()
    for word in ("this", " is ", "only", " one"):
        details = [{"type": "reasoning.text", "text": word, "index": 0}]
        splice.feed(chunk(choice({"reasoning": word, "reasoning_details": details})))
    assert splice.seen == 4


def test_frames_whose_text_nobody_finds_count_as_a_token_each():
    splice = chat()
    frame = chunk(choice({"odd": "what a provider has made up"}))
    for _ in range(4):
        splice.feed(frame)
    assert splice.events == 4
    assert splice.seen == 3, "the first was parsed, and says nothing"


def test_usage_told_before_a_cut_is_no_less_than_what_came():
    splice = chat()
    run(splice, chunk(choice({"content": "a"}), usage={**USAGE, "completion_tokens": 1}), TEXT * 5)
    assert splice.usage().output == 3
    assert splice.usage().estimated


def test_usage_that_is_told_with_every_chunk_is_exact_only_at_the_end():
    told = chunk(choice({"content": "a"}), usage=USAGE)
    for rest, estimated in ((b"", True), (DONE, False), (chunk(choice({}, "stop")), False)):
        splice = chat()
        splice.feed(ROLE + told + rest)
        assert splice.usage().output == 7
        assert splice.usage().estimated is estimated


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
    assert splice.usage().output == 2
    assert splice.usage().estimated


@pytest.mark.parametrize(("told", "output", "estimated"), [(7, 7, False), (1, 2, True)])
def test_usage_that_is_told_at_the_start_alone_counts_if_no_more_came(told, output, estimated):
    message = {"id": "msg_1", "usage": {"input_tokens": 5, "output_tokens": told}}
    start = json.dumps({"type": "message_start", "message": message}).encode()
    splice = messages()
    run(splice, b"event: message_start\ndata: %b\n\n" % start + OPEN + HI * 3, SHUT + OVER)
    assert splice.usage() == Usage(input=5, output=output, estimated=estimated)


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


@pytest.mark.parametrize(
    ("number", "wanted"), [(10**15 - 1, 10**15), (10**15, 0), (10**30, 0), ("9" * 5000, 0)]
)
def test_a_number_that_no_response_has_is_not_gone_on_from(number, wanted):
    delta = DELTA.replace(b'"sequence_number":7', b'"sequence_number":%b' % str(number).encode())
    assert delta != DELTA
    out = run(responses_splice(), CREATED, DELTA, delta)
    assert json.loads(out.rpartition(b"data: ")[2])["sequence_number"] == wanted


def test_a_response_that_is_too_deep_to_be_told_again_fails_without_it():
    deep: list = []
    for _ in range(300):
        deep = [deep]
    splice = responses_splice()
    created = event("response.created", response={**RESPONSE, "deep": deep}, sequence_number=0)
    out = run(splice, created, DELTA)
    assert out.startswith(created + DELTA)
    failed = json.loads(out.rpartition(b"data: ")[2])["response"]
    assert (failed["id"], failed["status"]) == ("resp_1", "failed")
    assert "deep" not in failed


def test_a_chunk_that_is_too_deep_to_be_mended_passes_as_it_came():
    deep = "[" * 300 + "]" * 300
    frame = chunk({"index": 0, "delta": None, "finish_reason": None}).replace(
        b'"delta":null', b'"delta": null,"deep":' + deep.encode()
    )
    assert deep.encode() in frame
    assert chat().feed(frame) == frame


def test_a_response_ends_with_its_usage():
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    done = event("response.completed", response={**RESPONSE, "status": "completed", "usage": usage})
    splice = responses_splice()
    assert run(splice, CREATED, DELTA, done) == CREATED + DELTA + done
    assert splice.error is None
    assert (splice.usage().input, splice.usage().output) == (5, 7)


def test_only_what_a_response_adds_counts():
    splice = responses_splice()
    text = json.loads(DELTA.rpartition(b"data: ")[2])["delta"]
    whole = event("response.output_text.done", sequence_number=9, text=text * 3)
    splice.feed(CREATED + DELTA + DELTA)
    splice.feed(DELTA)
    splice.feed(whole)
    assert splice.events == 3
    assert splice.seen == -(-3 * len(text) // 4)


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


def test_what_no_dialect_knows_is_dropped_and_the_stream_goes_on():
    for odd in (b"data: no JSON\n\n", b"data: [1]\n\n", b"data: 5\n\n", b"event: lonely\n\n"):
        assert chat().feed(odd + TEXT) == TEXT
        assert messages().feed(odd + HI) == HI
        assert responses_splice().feed(odd + DELTA) == DELTA


def test_a_choice_that_is_none_is_passed_by():
    frame = sse({"choices": ["odd", choice({"content": "x"})]})
    splice = chat()
    assert splice.feed(frame) == frame
    assert splice.committed


def test_a_message_that_is_none_tells_nothing():
    stream = event("message_start", message="odd") + event(
        "message_start", message={"id": "msg_2", "usage": 7}
    )
    splice = messages()
    assert splice.feed(stream) == stream
    assert splice.answer_id == "msg_2"
    assert splice.reported is None


def test_a_comment_between_two_events_does_not_reset_their_numbers():
    splice = responses_splice()
    out = run(splice, CREATED, DELTA, b": still here\n\n")
    failed = json.loads(out.rpartition(b"data: ")[2])
    assert (failed["type"], failed["sequence_number"]) == ("response.failed", 8)


@pytest.mark.parametrize(
    "told",
    [
        {"code": "rate_limit_exceeded", "message": "slow down"},
        {"error": {"code": "rate_limit_exceeded", "message": "slow down"}},
    ],
)
def test_an_error_event_of_a_response_becomes_its_failure(told):
    splice = responses_splice()
    out = run(splice, CREATED, DELTA, event("error", sequence_number=8, **told))
    failed = json.loads(out.rpartition(b"data: ")[2])
    assert failed["response"]["error"]["code"] == "rate_limit_exceeded"
    assert b"slow down" not in out
    assert splice.error is not None
    assert splice.error.kind is Kind.RATE_LIMIT
