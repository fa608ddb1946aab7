"""An upstream's answer becomes the client's, whole or streamed, and what it consumed is known."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.answer import MAX_HOPS, WholeSplice
from proxy.dialects.asked import Asked
from proxy.dialects.plan import make_plan
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags, Provider
from proxy.usage import Usage
from tests.integration import spoken

CLIENTS = ("chat", "messages")
FOREIGN = [("chat", "openai-responses"), ("chat", "anthropic"), ("chat", "gemini"),
           ("messages", "openai-chat"), ("messages", "openai-responses"), ("messages", "gemini")]  # fmt: skip
NATIVE = [("chat", "openai-chat"), ("messages", "anthropic")]
EVERY = [*FOREIGN, *NATIVE]
SPENT = (spoken.INPUT, spoken.CACHED, spoken.OUTPUT)


def answer(client: Any, upstream: Any, *, stream: bool, document: bool = False):
    body: dict[str, Any] = {
        "model": "m",
        "max_tokens": 9,
        "stream": stream,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    asked = Asked(
        dialect=client, body=json.dumps(body).encode(), document=body, edited=False, model="m", stream=stream,
        request_id="req_1", now=1.0, mint=lambda: "0" * 24, recall=lambda _: None, remember=lambda *_: None,
    )  # fmt: skip
    provider = Provider(
        name="up", base_url="http://up.test", dialects=(upstream,), auth="none", flags=Flags()
    )
    return make_plan(asked, provider, "m", strict=False).answer(document)


def spent(usage: Usage) -> tuple[int, int, int]:
    return usage.input, usage.cache_read, usage.output


@pytest.mark.parametrize(("client", "upstream"), EVERY)
@given(places=st.lists(st.integers(0, 3000), max_size=6))
def test_a_stream_is_the_same_however_it_is_cut(client, upstream, places):
    stream = spoken.stream(upstream, "He", "llo")
    ends = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    one, cut = answer(client, upstream, stream=True), answer(client, upstream, stream=True)
    expected = one.feed(stream) + one.finish()
    assert b"".join(cut.feed(stream[a:b]) for a, b in pairwise(ends)) + cut.finish() == expected
    assert (cut.ended, cut.error, cut.committed) == (True, None, True)
    assert spent(cut.usage()) == spent(one.usage()) == SPENT


@pytest.mark.parametrize(("client", "upstream"), EVERY)
def test_a_document_becomes_the_clients(client, upstream):
    one = answer(client, upstream, stream=False, document=True)
    assert one.feed(json.dumps(spoken.document(upstream)).encode()) == b""
    document = json.loads(one.finish())
    said = (
        document["choices"][0]["message"]["content"]
        if client == "chat"
        else document["content"][0]["text"]
    )
    assert said == "Hello"
    assert spent(one.usage()) == SPENT
    assert one.committed


@pytest.mark.parametrize(("client", "upstream"), EVERY)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", Kind.MALFORMED),
        (b"", Kind.MALFORMED),
        (b"5", Kind.MALFORMED),
        (b'{"error":{"message":"x","code":"rate_limit_exceeded"}}', Kind.RATE_LIMIT),
    ],
)
def test_a_document_that_is_none_is_an_error(client, upstream, stream, body, kind):
    one = answer(client, upstream, stream=stream, document=True)
    one.feed(body)
    one.finish()
    assert one.error is not None
    assert one.error.kind is kind
    assert not one.committed


@pytest.mark.parametrize(("client", "upstream"), EVERY)
def test_a_stream_that_breaks_off_has_cost_what_came(client, upstream):
    one = answer(client, upstream, stream=True)
    one.feed(
        spoken.metadata(upstream)
        + spoken.text(upstream, "word ")
        + spoken.more(upstream, "word ") * 99
    )
    usage = one.usage()
    assert usage.output == 125
    assert one.events == 100
    assert usage.estimated
    frame = one.fail(GatewayError(Kind.TIMEOUT_IDLE))
    assert b"timed out" in frame
    assert one.usage() == usage
    assert one.ended


@pytest.mark.parametrize(("client", "upstream"), EVERY)
def test_what_was_told_before_the_end_is_an_estimate_however_little_came(client, upstream):
    one = answer(client, upstream, stream=True)
    one.feed(spoken.metadata(upstream) + spoken.text(upstream, "a"))
    assert one.usage().estimated
    one.fail(GatewayError(Kind.CLIENT_CLOSED))
    assert (one.usage().output, one.usage().estimated) == (1, True)


@pytest.mark.parametrize(("client", "upstream"), EVERY)
def test_metadata_alone_commits_nothing(client, upstream):
    one = answer(client, upstream, stream=True)
    one.feed(spoken.metadata(upstream))
    assert not one.committed
    one.feed(spoken.text(upstream, "x"))
    assert one.committed


@pytest.mark.parametrize(("client", "upstream"), EVERY)
@pytest.mark.parametrize("stream", [False, True])
def test_its_id_is_the_one_that_the_client_reads(client, upstream, stream):
    one = answer(client, upstream, stream=stream, document=not stream)
    told = spoken.stream(upstream) if stream else json.dumps(spoken.document(upstream)).encode()
    out = one.feed(told) + one.finish()
    assert one.answer_id
    assert json.dumps(one.answer_id).encode() in out


def test_a_spliced_document_is_its_bytes():
    body = b' {"id":"a", "usage": {"x": 1.50} }'
    one = WholeSplice(lambda document: Usage(output=3), lambda: 42)
    one.feed(body[:5])
    one.feed(body[5:])
    assert one.finish() == body
    assert (one.answer_id, one.usage().output) == ("a", 3)


def test_a_spliced_document_without_usage_is_estimated():
    one = WholeSplice(lambda _: None, lambda: 42)
    one.feed(b'{"choices":[]}')
    one.finish()
    usage = one.usage()
    assert (usage.input, usage.estimated) == (42, True)


LIMITED = {"message": "x", "code": "rate_limit_exceeded"}


def test_an_error_in_the_choice_that_it_broke_off_is_the_answers():
    one = WholeSplice(lambda _: None, lambda: 42)
    one.feed(json.dumps({"choices": ["odd", {"index": 0}, {"error": LIMITED}]}).encode())
    assert one.finish() == b""
    assert one.error is not None
    assert one.error.kind is Kind.RATE_LIMIT
    assert not one.committed


def test_a_document_that_failed_on_its_way_has_cost_what_came():
    one = WholeSplice(lambda _: None, lambda: 42)
    one.feed(b'{"choices":[' + b" " * 68)
    error = GatewayError(Kind.TIMEOUT_IDLE)
    assert one.fail(error) == b""
    assert (one.ended, one.error, one.committed) == (True, error, False)
    assert (one.usage().input, one.usage().output, one.usage().estimated) == (42, 10, True)


# What ends a stream, and what comes behind that.


@pytest.mark.parametrize(("client", "upstream"), EVERY)
def test_a_stream_may_end_without_its_last_blank_line(client, upstream):
    stream = spoken.stream(upstream, "He", "llo")
    one, short = answer(client, upstream, stream=True), answer(client, upstream, stream=True)
    expected = one.feed(stream) + one.finish()
    assert short.feed(stream.rstrip(b"\n")) + short.finish() == expected
    assert (short.ended, short.error) == (True, None)
    assert spent(short.usage()) == SPENT


# Gemini's end is the end of the body: what comes behind its finish reason is told.
ENDING = [(client, upstream) for client, upstream in EVERY if upstream != "gemini"]


@pytest.mark.parametrize(("client", "upstream"), ENDING)
@pytest.mark.parametrize("whole", [True, False])
def test_what_comes_behind_the_end_of_a_stream_is_left_out(client, upstream, whole):
    stream = spoken.stream(upstream, "Hello")
    late = spoken.more(upstream, "late")
    for streams in (True, False):
        one = answer(client, upstream, stream=streams)
        out = one.feed(stream + (late if whole else late.rstrip(b"\n"))) + one.finish()
        assert b"Hello" in out
        assert b"late" not in out
        assert spent(one.usage()) == SPENT


@pytest.mark.parametrize(("client", "upstream"), EVERY)
def test_a_document_may_be_gathered_from_a_stream(client, upstream):
    one, wanted = (
        answer(client, upstream, stream=False),
        answer(client, upstream, stream=False, document=True),
    )
    stream = spoken.stream(upstream, "He", "llo")
    assert one.feed(stream[:100]) + one.feed(stream[100:]) == b""
    assert not one.committed
    wanted.feed(json.dumps(spoken.document(upstream)).encode())
    # A document in the client's own dialect is the upstream's bytes, and has more to it.
    whole = json.loads(wanted.finish())
    gathered = json.loads(one.finish())
    said = "choices" if client == "chat" else "content"
    texts = [json.dumps(document[said]) for document in (gathered, whole)]
    assert all("Hello" in text for text in texts)
    if (client, upstream) in FOREIGN:
        assert {**gathered, "id": ""} == {**whole, "id": ""}
    assert one.answer_id == wanted.answer_id != ""
    assert one.committed
    assert spent(one.usage()) == SPENT


@pytest.mark.parametrize(("client", "upstream"), FOREIGN)
def test_a_gathered_document_whose_usage_nobody_told_is_estimated_from_its_text(client, upstream):
    one = answer(client, upstream, stream=False)
    one.feed(spoken.text(upstream, "word " * 40))
    assert one.usage().output == 0
    frame = one.fail(GatewayError(Kind.TIMEOUT_IDLE))
    assert frame == b""
    usage = one.usage()
    assert (usage.output, usage.estimated) == (50, True)


# Answers in several hops.


def hop(text: str, token: str = "dG9r") -> dict[str, Any]:
    candidate = {
        "index": 0,
        "content": {"role": "model", "parts": [{"text": text}]},
        "finishReason": "CONTINUATION",
        "continuationToken": token,
    }
    return {"candidates": [candidate], "modelVersion": "m", "responseId": "g1"}


def said_by(client: str, out: bytes, *, stream: bool) -> tuple[str, str]:
    """Return the text of an answer and why it ended."""
    if not stream:
        document = json.loads(out)
        if client == "chat":
            (choice,) = document["choices"]
            return choice["message"]["content"], choice["finish_reason"]
        (block,) = document["content"]
        return block["text"], document["stop_reason"]
    events = [json.loads(line[6:]) for line in out.splitlines() if line.startswith(b"data: {")]
    if client == "chat":
        choices = [one["choices"][0] for one in events if one["choices"]]
        text = "".join(one["delta"].get("content") or "" for one in choices)
        return text, choices[-1]["finish_reason"]
    text = "".join(one["delta"].get("text", "") for one in events if "delta" in one)
    return text, next(
        one["delta"]["stop_reason"] for one in events if one["type"] == "message_delta"
    )


def hopped(one: Any, document: dict[str, Any], *, is_document: bool) -> bytes:
    body = json.dumps(document).encode() if is_document else spoken.data(document)
    out: bytes = one.feed(body) + one.finish()
    return out


WAYS = [(client, stream, document) for client in CLIENTS
        for stream in (True, False) for document in (True, False)]  # fmt: skip


@pytest.mark.parametrize(("client", "stream", "document"), WAYS)
def test_an_answer_in_hops_is_one_answer(client, stream, document):
    one = answer(client, "gemini", stream=stream, document=document)
    out = hopped(one, hop("He"), is_document=document)
    assert (one.continuation, one.ended) == ("dG9r", False)
    one.resume()
    assert one.continuation is None
    out += hopped(one, hop("ll", "bW9yZQ"), is_document=document)
    assert one.continuation == "bW9yZQ"
    one.resume()
    out += hopped(one, spoken.document("gemini", "o"), is_document=document)
    assert (one.continuation, one.ended, one.error) == (None, True, None)
    assert said_by(client, out, stream=stream) == (
        "Hello",
        "stop" if client == "chat" else "end_turn",
    )


@pytest.mark.parametrize(("client", "stream", "document"), WAYS)
def test_an_answer_whose_next_hop_is_refused_grew_too_long(client, stream, document):
    one = answer(client, "gemini", stream=stream, document=document)
    out = hopped(one, hop("Hello"), is_document=document)
    one.resume()
    out += one.give_up()
    assert (one.continuation, one.ended, one.error, one.committed) == (None, True, None, True)
    assert said_by(client, out, stream=stream) == (
        "Hello",
        "length" if client == "chat" else "max_tokens",
    )


@pytest.mark.parametrize(("client", "stream", "document"), WAYS)
def test_an_answer_that_goes_on_for_ever_grew_too_long(client, stream, document):
    one = answer(client, "gemini", stream=stream, document=document)
    out = b""
    for _ in range(MAX_HOPS - 1):
        out += hopped(one, hop("x"), is_document=document)
        assert one.continuation == "dG9r"
        one.resume()
    out += hopped(one, hop("x"), is_document=document)
    assert (one.continuation, one.ended, one.error) == (None, True, None)
    text, reason = said_by(client, out, stream=stream)
    assert text == "x" * MAX_HOPS
    assert reason == ("length" if client == "chat" else "max_tokens")


@pytest.mark.parametrize(("client", "upstream"), EVERY)
def test_a_stream_that_runs_tells_about_how_much_has_come(client, upstream):
    one = answer(client, upstream, stream=True)
    one.feed(spoken.metadata(upstream))
    assert one.seen == 0
    one.feed(spoken.text(upstream, "Hello"))
    before = one.seen
    assert before > 0
    one.feed(spoken.more(upstream, " there"))
    assert one.seen > before
