from __future__ import annotations

import orjson
import pytest

from bench.answers import ANSWERS, MARK, TEXTS, TOKENS
from proxy.dialects.spoken import SERVERS
from proxy.dialects.sse import Splitter
from proxy.providers import Dialect, Flags
from tests.unit.dialects.transcript import Transcript


@pytest.mark.parametrize("dialect", ANSWERS)
def test_every_stream_says_the_same_hundred_tokens_and_ends(dialect: Dialect):
    transcript = Transcript()
    decoder = SERVERS[dialect].decoder(transcript, Flags())
    for name, data in Splitter().feed(b"".join(ANSWERS[dialect].frames)):
        decoder.event(name, data)
    decoder.finish()
    assert transcript.joined("text") == "".join(TEXTS)
    assert transcript.named("usage")[-1][1].output == TOKENS
    assert transcript.verbs[-1][1] == "stop"


@pytest.mark.parametrize("dialect", ANSWERS)
def test_a_document_says_what_the_stream_says(dialect: Dialect):
    transcript = Transcript()
    SERVERS[dialect].decoder(transcript, Flags()).answer(orjson.loads(ANSWERS[dialect].document))
    assert transcript.joined("text") == "".join(TEXTS)
    assert transcript.named("usage")[-1][1].output == TOKENS


@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic"])
def test_what_the_load_counts_is_once_in_every_token_and_nowhere_else(dialect: Dialect):
    answer = ANSWERS[dialect]
    assert {frame.count(MARK) for frame in answer.tokens} == {1}
    assert (answer.opening + answer.closing).count(MARK) == 0
