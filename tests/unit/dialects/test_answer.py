"""An upstream's answer becomes the client's, whole or streamed, and what it consumed is known."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.answer import WholeSplice
from proxy.dialects.plan import Asked, make_plan
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
        + spoken.text(upstream, "word " * 40)
        + spoken.more(upstream, "word " * 40)
    )
    usage = one.usage()
    assert usage.output >= (2 if (client, upstream) in NATIVE else 100)
    assert usage.estimated
    frame = one.fail(GatewayError(Kind.TIMEOUT_IDLE))
    assert b"timed out" in frame
    assert one.usage() == usage
    assert one.ended


@pytest.mark.parametrize(("client", "upstream"), EVERY)
def test_metadata_alone_commits_nothing(client, upstream):
    one = answer(client, upstream, stream=True)
    one.feed(spoken.metadata(upstream))
    assert not one.committed
    one.feed(spoken.text(upstream, "x"))
    assert one.committed


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
