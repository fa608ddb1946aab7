"""A model gets its sealed thinking back with a tool's result, also from clients that do not echo it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration import spoken
from tests.integration.gateway import OTHER_KEY, in_front_of
from tests.integration.scripted import whole

THOUGHT = {"type": "thinking", "thinking": "so", "signature": "c2VhbA=="}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]


def thinking(*, stream: bool) -> bytes:
    """Return Anthropic's answer that thinks and calls a tool."""
    if not stream:
        document = {
            **spoken.document("anthropic"),
            "content": [THOUGHT, CALL],
            "stop_reason": "tool_use",
        }
        return whole(json.dumps(document).encode(), **spoken.JSON)
    blocks: list[dict[str, Any]] = [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "thinking_delta", "thinking": "so"},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "signature_delta", "signature": "c2VhbA=="},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": CALL},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": 7},
        },
        {"type": "message_stop"},
    ]
    said = spoken.metadata("anthropic") + b"".join(spoken.event(block) for block in blocks)
    return spoken.HEAD + spoken.chunk(said) + spoken.LAST


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("key", "comes_back"), [(None, True), (OTHER_KEY, False)])
async def test_a_seal_comes_back_to_the_key_that_got_it_and_to_no_other(stream, key, comes_back):
    async with in_front_of([thinking(stream=stream)], "anthropic") as (front, up):
        await front.chat(stream=stream, tools=TOOLS, reasoning_effort="high")
        call = {"id": "toolu_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
        body = {
            "model": "up/m",
            "tools": TOOLS,
            "reasoning_effort": "high",
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "toolu_1", "content": "noon"},
            ],
        }
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        answered = await front.post("/v1/chat/completions", body, **headers)
    assert answered.status == 200
    assistant = json.loads(up.requests[1].body)["messages"][1]
    assert assistant["role"] == "assistant"
    assert (assistant["content"][0] == THOUGHT) is comes_back
    assert assistant["content"][-1]["type"] == "tool_use"
