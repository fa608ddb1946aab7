"""What is passed on is the client's as it is; what it tells about usage, and of errors, is found."""

from __future__ import annotations

import json

import pytest

from proxy.dialects import passed as module
from proxy.dialects.appraisal import Appraisal
from proxy.dialects.passed import (
    HELD,
    Opaque,
    Passed,
    answer_lines,
    content_type,
    form_of,
    free,
    read_usage,
)
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags
from proxy.usage import Usage

FLAGS = Flags()


def passed(form, read_made=lambda _: ()) -> Passed:
    return Passed(
        form,
        FLAGS,
        lambda answer: Usage(input=1, output=answer.size * answer.is_whole, estimated=True),
        lambda error: b"data: %b\n\n" % error.kind.encode(),
        read_made,
    )


def event(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def asked(**fields) -> Opaque:
    return Opaque(
        dialect="chat", body=b"", document={}, edited=False, model="m", stream=False, request_id="r", now=0.0,
        mint=str, recall=lambda _: None, remember=lambda _, __: None, **fields,
    )  # fmt: skip


def test_a_request_is_what_it_was_appraised_as():
    one = asked(appraisal=Appraisal(3, 7, 2))
    assert (one.estimate_input(), one.output_limit, one.choices, one.heartbeat) == (3, 7, 2, None)
    assert (asked().output_limit, asked().sealed) == (0, True)


def test_what_is_free_uses_nothing():
    assert free(passed("bytes")) == Usage()


@pytest.mark.parametrize(
    ("status", "kind", "form"),
    [
        (200, b"application/json", "document"),
        (200, b"Application/JSON; charset=utf-8", "document"),
        (200, b"application/jsonl", "bytes"),
        (206, b"application/json", "bytes"),
        (200, b"text/event-stream; charset=utf-8", "events"),
        (200, b"audio/mpeg", "bytes"),
        (200, b"text/plain; x=json", "bytes"),
        (200, None, "bytes"),
        (204, None, "document"),
    ],
)
def test_the_head_says_what_is_to_be_looked_for(status, kind, form):
    assert form_of(status, {} if kind is None else {b"content-type": kind}) == form


def test_of_an_answers_head_only_what_describes_its_bytes_goes_on():
    lines = answer_lines(
        {
            b"content-type": b"video/mp4",
            b"content-range": b"bytes 0-3/10",
            b"content-disposition": b"\xff",
            b"set-cookie": b"a=b",
            b"x-request-id": b"theirs",
        }
    )
    assert lines == (
        b"Content-Type: video/mp4\r\ncontent-range: bytes 0-3/10\r\nX-Content-Type-Options: nosniff\r\n"
    )
    assert content_type({b"content-type": b"\xff"}) == b"application/octet-stream"


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}, Usage(input=5, output=2)),
        (
            {"input_tokens": 14, "input_token_details": {"audio_tokens": 10}, "output_tokens": 3},
            Usage(input=14, output=3, audio_input=10),
        ),
        (
            {
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens": 272,
            },
            Usage(input=6, cache_read=4, output=272),
        ),
        ({"input_tokens": 10, "input_tokens_details": "x"}, Usage(input=10)),
        ({"total_tokens": 9}, Usage(input=9)),
        ({"type": "duration", "seconds": 9}, None),
        (None, None),
    ],
)
def test_usage_is_read_in_every_shape(told, usage):
    assert read_usage({"usage": told}, FLAGS) == usage
    assert read_usage([told], FLAGS) is None


def test_bytes_go_on_as_they_come():
    answer = passed("bytes")
    assert (answer.committed, answer.is_cut) == (False, True)
    assert answer.feed(b"\0\1") == b"\0\1"
    assert answer.committed
    assert answer.usage() == Usage(input=1, estimated=True)
    assert answer.finish() == b""
    assert answer.usage() == Usage(input=1, output=2, estimated=True)


def test_bytes_that_are_cut_off_can_only_be_cut_off():
    answer = passed("bytes")
    answer.feed(b"\0")
    assert answer.fail(GatewayError(Kind.DISCONNECTED)) == b""
    assert answer.error is not None


def test_a_document_goes_on_when_it_is_whole():
    answer = passed("document", lambda document: [("file", document["id"])])
    body = b'{"id": "file-1", "usage": {"total_tokens": 3}}'
    assert answer.feed(body[:10]) + answer.feed(body[10:]) == b""
    assert not answer.committed
    assert answer.finish() == body
    assert answer.made == [("file", "file-1")]
    assert (answer.answer_id, answer.usage(), answer.seen) == ("file-1", Usage(input=3), 0)


@pytest.mark.parametrize("body", [b"", b"null", b"[1,2]", b'"x"'])
def test_a_document_need_not_be_an_object(body):
    answer = passed("document")
    answer.feed(body)
    assert answer.finish() == body
    assert answer.error is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", Kind.MALFORMED),
        (b'{"error": {"message": "x", "code": "server_error"}}', Kind.SERVER),
    ],
)
def test_a_document_that_is_an_error_is_one(body, kind):
    answer = passed("document")
    answer.feed(body)
    assert answer.finish() == b""
    assert answer.error is not None
    assert (answer.error.kind, answer.committed) == (kind, False)


def test_an_object_that_tells_of_its_own_failure_is_an_answer():
    answer = passed("document")
    body = b'{"id": "video_1", "object": "video", "status": "failed", "error": {"code": "x"}}'
    answer.feed(body)
    assert answer.finish() == body
    assert answer.error is None


@pytest.mark.parametrize(
    ("end", "usage"),
    [
        (
            b'], "usage" : {"input_tokens": 10, "d": {"x": {}}, "output_tokens": 272}, "x": 1}',
            Usage(input=10, output=272),
        ),
        (b'], "usage": null}', Usage(input=1, estimated=True)),
        (b'], "usage": {"input_tokens": 1', Usage(input=1, estimated=True)),
        (b'], "usage": {"input_tokens": 1,}}', Usage(input=1, estimated=True)),
    ],
)
def test_a_document_too_long_to_hold_goes_on_and_its_end_is_looked_at(end, usage):
    answer = passed("document")
    body = b'{"data": [' + b'"' + b"x" * (HELD + 200_000) + b'"' + end
    out = b"".join(answer.feed(body[at : at + 70_000]) for at in range(0, len(body), 70_000))
    assert answer.committed
    assert out + answer.finish() == body
    if usage.estimated:
        usage = usage._replace(output=len(body))
    assert (answer.made, answer.usage()) == ((), usage)
    assert len(answer._tail) == module._TAIL


@pytest.mark.parametrize(
    ("beginning", "name"),
    [
        (b'{"id": "a", ', "a"),
        (b' {"object" : "x\\"y", "n": -1.5e3, "null": null, "id":"a",', "a"),
        (b'{"data": [{"id": "b"}], "id": "a", ', ""),
        (b'{"id": 7, ', ""),
        (b'{"id": "a\\u0062", ', ""),
        (b"[", ""),
    ],
)
def test_what_it_is_called_is_read_before_any_of_it_goes_on(beginning, name):
    answer = passed("document", lambda document: [("file", document["id"])])
    out = answer.feed(beginning + b'"data": "' + b"x" * HELD)
    assert len(out) > HELD
    assert (answer.answer_id, list(answer.made)) == (name, [("file", name)] if name else [])


def test_events_go_on_and_are_looked_into():
    answer = passed("events")
    frames = [
        event({"id": "cmpl-1", "choices": [{"text": "a", "finish_reason": None}]}),
        event(
            {
                "id": "cmpl-1",
                "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
            }
        ),
        b'data: no json with a "usage" in it\n\n',
        b'data: ["usage"]\n\n',
        b"data: [DONE]\n\n",
    ]
    assert [answer.feed(frame) for frame in frames] == frames
    assert (answer.committed, answer.is_cut, answer.seen) == (True, False, 5)
    assert answer.finish() == b""
    assert (answer.error, answer.answer_id, answer.usage()) == (
        None,
        "cmpl-1",
        Usage(input=5, output=2),
    )


def test_an_error_among_events_is_told_in_our_words():
    answer = passed("events")
    answer.feed(event({"text": "a"}))
    out = answer.feed(event({"error": {"message": "our account", "code": "server_error"}}))
    assert out == b"\n\ndata: server\n\n"
    assert answer.ended


def test_an_error_before_any_event_is_no_answer_yet():
    answer = passed("events")
    answer.feed(event({"error": {"message": "x", "code": "server_error"}}))
    assert (answer.committed, answer.error is not None) == (False, True)


def test_an_id_that_is_no_text_is_none():
    answer = passed("document")
    answer.feed(b'{"id": 7}')
    answer.finish()
    assert answer.answer_id == ""


def test_the_last_of_events_counts_without_its_blank_line():
    answer = passed("events")
    answer.feed(b'data: {"usage": {"total_tokens": 3}}')
    assert (answer.finish(), answer.usage()) == (b"", Usage(input=3))
