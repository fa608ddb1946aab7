"""A Gemini stream passes through as chunks and nothing else, and its usage is known."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.gemini.splice import GeminiSplice
from proxy.errors import Kind
from proxy.providers import Flags
from proxy.usage import Usage


def splice(*, array: bool = False) -> GeminiSplice:
    return GeminiSplice("req_1", Flags(), lambda: 42, array=array)


def chunk(*parts: dict[str, Any], finish: Any = None, **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "responseId": "g1", **fields}


def said(text: str, **fields: Any) -> dict[str, Any]:
    return chunk({"text": text}, **fields)


def usage(prompt: int, candidates: int, **more: int) -> dict[str, Any]:
    counts = {"promptTokenCount": prompt, "candidatesTokenCount": candidates, **more}
    return {"usageMetadata": {**counts, "totalTokenCount": sum(counts.values())}}


def frame(document: object, end: bytes = b"\r\n\r\n") -> bytes:
    # With the spaces that Google's have.
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + end


def stream(*chunks: dict[str, Any]) -> bytes:
    return b"".join(map(frame, chunks))


def run(one: GeminiSplice, *reads: bytes) -> bytes:
    return b"".join(map(one.feed, reads)) + one.finish()


ENDED = said("", finish="STOP", **usage(11, 7))


def test_the_chunks_keep_their_bytes_and_get_lf():
    one = splice()
    body = stream(said("Grüße"), ENDED)
    assert run(one, body) == body.replace(b"\r\n", b"\n")
    assert (one.ended, one.error, one.answer_id) == (True, None, "g1")
    assert one.usage() == Usage(input=11, output=7)


def test_without_alt_sse_the_chunks_are_the_elements_of_an_array():
    one = splice(array=True)
    first = frame(said("Hi")).removeprefix(b"data: ").rstrip()
    assert one.feed(frame(said("Hi"))) == b"[" + first
    assert one.feed(frame(ENDED)).startswith(b"\n,{")
    assert one.finish() == b"]"


@pytest.mark.parametrize(
    "noise",
    [
        b": keep-alive\n\n",
        b"event: message\n\n",
        b"data: [DONE]\n\n",
        b"data:\n\n",
        b"data: [1]\n\n",
        b"data: nothing\n\n",
        b"data: " + b"[" * 5000 + b"\n\n",
        b"id: 7\n\n",
    ],
)
def test_what_is_no_chunk_goes_out_to_nobody(noise):
    one = splice()
    assert run(one, noise, stream(said("Hi")), noise, stream(ENDED), noise) == (
        stream(said("Hi"), ENDED).replace(b"\r\n", b"\n")
    )


def test_a_comment_in_a_frame_and_the_name_of_an_event_go():
    body = b": note\nevent: x\nid: 1\n" + frame(ENDED, b"\n\n")
    assert run(splice(), body) == frame(ENDED, b"\n\n")


def test_data_on_several_lines_becomes_one():
    body = b'data: {"candidates": [{"finishReason":\ndata: "STOP"}]}\n\n'
    assert run(splice(), body) == b'data: {"candidates": [{"finishReason": "STOP"}]}\n\n'


def test_half_of_a_surrogate_pair_is_the_clients_to_read():
    body = rb'data: {"candidates": [{"content": {"parts": [{"text": "\ud83d"}]}}]}' + b"\n\n"
    one = splice()
    assert one.feed(body) == body
    assert one.committed


@pytest.mark.parametrize(
    ("parts", "committed"),
    [
        ([], False),
        ([{"text": ""}], False),
        ([{"text": "", "thoughtSignature": "c2lnbg=="}], False),
        ([{"text": "a"}], True),
        ([{"text": "a", "thought": True}], True),
        ([{"functionCall": {"name": "f"}}], True),
        ([{"inlineData": {"mimeType": "image/png", "data": ""}}], True),
        ([{"executableCode": {"code": "1"}}], True),
        ([None], False),
    ],
)
def test_content_commits(parts, committed):
    one = splice()
    one.feed(frame({"usageMetadata": {"promptTokenCount": 3}}))
    one.feed(frame(chunk(*parts)))
    assert one.committed is committed


@pytest.mark.parametrize("candidates", [None, 1, {}, [None], ["said"]])
def test_candidates_that_are_none_are_passed_on_unread(candidates):
    one = splice()
    odd = frame({"candidates": candidates}, b"\n\n")
    assert one.feed(odd) == odd
    assert (one.committed, one.ended, one.seen) == (False, False, 0)


@pytest.mark.parametrize("finish", ["STOP", "MAX_TOKENS", "SAFETY", "A_WORD_OF_TOMORROW", 1])
def test_a_finish_reason_commits_and_ends(finish):
    one = splice()
    one.feed(frame(chunk(finish=finish)))
    assert (one.committed, one.ended) == (True, False)
    one.feed(frame(usage(11, 7)))
    one.finish()
    assert (one.ended, one.error, one.usage().output) == (True, None, 7)


@pytest.mark.parametrize("array", [False, True])
def test_a_stream_without_a_finish_reason_was_cut(array):
    one = splice(array=array)
    out = run(one, stream(said("Hello there", **usage(11, 1))))
    assert one.error is not None
    assert one.error.kind is Kind.DISCONNECTED
    # What came is paid for, whatever was told of it.
    assert one.usage() == Usage(input=11, output=3, estimated=True)
    (first, last) = (
        json.loads(out) if array else [json.loads(one) for one in out.split(b"data: ")[1:]]
    )
    assert first == said("Hello there", **usage(11, 1))
    assert (last["error"]["code"], last["error"]["status"]) == (502, "INTERNAL")


@pytest.mark.parametrize("array", [False, True])
def test_an_error_before_any_chunk_is_a_stream_of_its_own(array):
    one = splice(array=array)
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    out = run(one, frame(error), frame(said("late")))
    assert (one.committed, one.error is not None and one.error.kind) == (False, Kind.OVERLOADED)
    assert json.loads(out.removeprefix(b"data: ")) == (
        [one_error(503, "UNAVAILABLE")] if array else one_error(503, "UNAVAILABLE")
    )


def one_error(code: int, status: str) -> dict[str, Any]:
    message = "The upstream provider is overloaded; retry later."
    return {"error": {"code": code, "message": message, "status": status, "details": []}}


def test_an_error_without_a_frame_is_one():
    one = splice()
    one.feed(frame(said("Hi")))
    error = json.dumps({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}, indent=2)
    out = run(one, error.encode())
    assert json.loads(out.removeprefix(b"data: "))["error"]["status"] == "RESOURCE_EXHAUSTED"


def test_a_refused_prompt_ends_the_stream_and_costs_nothing():
    one = splice()
    body = frame({"promptFeedback": {"blockReason": "SAFETY"}}, b"\n\n")
    assert run(one, body) == body
    assert (one.committed, one.error, one.usage()) == (True, None, Usage())


def test_what_was_told_before_the_end_is_an_estimate():
    one = splice()
    one.feed(frame(said("a", **usage(11, 1))))
    assert one.usage() == Usage(input=11, output=1, estimated=True)


def test_without_usage_it_is_estimated():
    one = splice()
    call = {"functionCall": {"name": "f", "args": {"city": "Oslo"}}}
    run(one, stream(said("x" * 40), chunk(call, finish="STOP")))
    assert one.usage() == Usage(input=42, output=one.seen, estimated=True)
    assert one.seen == 10 + 4


def test_thoughts_and_cached_tokens_are_told_apart():
    told = usage(100, 5, thoughtsTokenCount=20)
    told["usageMetadata"]["cachedContentTokenCount"] = 60
    one = splice()
    # A chunk that tells less does not take back what was told.
    run(one, stream(said("a", **told), said("", finish="STOP", usageMetadata={})))
    assert one.usage() == Usage(input=40, cache_read=60, output=25, reasoning=20)


# Cut anywhere.

chunks = st.one_of(
    st.text(max_size=12).map(said),
    st.text(max_size=12).map(lambda text: chunk({"text": text, "thought": True})),
    st.just(chunk({"functionCall": {"name": "f", "args": {"a": [1]}}})),
    st.builds(lambda out: said("x", **usage(9, out)), st.integers(0, 99)),
    st.just(ENDED),
    st.just({"error": {"code": 503, "status": "UNAVAILABLE", "message": "no"}}),
    st.just({"promptFeedback": {"blockReason": "OTHER"}}),
)
ends = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\n: note\n\n", b"\n"])


@given(
    st.lists(st.builds(frame, chunks, ends), max_size=8),
    st.lists(st.integers(0, 3000), max_size=8),
    st.booleans(),
)
def test_a_stream_is_the_same_however_it_is_cut(frames, places, array):
    body = b"".join(frames)
    whole = splice(array=array)
    out = run(whole, body)
    cuts = sorted({place % (len(body) + 1) for place in places} | {0, len(body)})
    for reads in ([body[a:b] for a, b in pairwise(cuts)], [bytes((byte,)) for byte in body]):
        one = splice(array=array)
        assert run(one, *reads) == out
        assert (one.committed, one.usage(), one.answer_id) == (
            whole.committed,
            whole.usage(),
            whole.answer_id,
        )
    if array:
        assert isinstance(orjson.loads(out), list)
    else:
        assert all(line.startswith(b"data: {") for line in out.split(b"\n") if line)
