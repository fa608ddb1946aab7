"""What a call consumed is in its log line, whatever the dialects and however it was answered."""

from __future__ import annotations

import pytest

from tests.integration import spoken
from tests.integration.gateway import DIALECTS, in_front_of

SURFACES = ("chat", "messages")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_log_line_tells_the_tokens_of_a_call(surface, dialect, stream):
    answer = spoken.streamed(dialect) if stream else spoken.told(dialect)
    async with in_front_of([answer], dialect) as (front, _):
        answered = await front.ask(surface, stream=stream)
        line = await front.last()
    assert (answered.status, answered.text) == (200, "Hello")
    assert {
        name: line[name] for name in ("input_tokens", "cache_read_tokens", "output_tokens")
    } == {
        "input_tokens": spoken.INPUT,
        "cache_read_tokens": spoken.CACHED,
        "output_tokens": spoken.OUTPUT,
    }
    assert (line["status"], line["stream"], line["attempts"], line["key"]) == (
        200,
        stream,
        1,
        "tester",
    )
    assert not line.get("estimated")
    assert line.get("error_type") is None
