"""No body whatsoever makes the gateway fail: a 5xx is an upstream's doing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration import spoken
from tests.integration.gateway import BEARER, DIALECTS, PATHS, config_text, gateway, upstream
from tests.integration.scripted import Scripted

SURFACES = ("chat", "messages")

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
JUNK = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that have some of ``fields``, each as it should be or as junk."""
    return st.fixed_dictionaries(
        {}, optional={name: field | JUNK for name, field in fields.items()}
    )


words = st.sampled_from(
    [
        "",
        "a",
        "get_weather",
        "call_1",
        "toolu_1",
        "data:image/png;base64,AA==",
        "https://x.test/a.png",
    ]
)
kinds = st.sampled_from(
    ["text", "image_url", "image", "input_audio", "file", "document", "tool_use", "tool_result", "thinking",
     "redacted_thinking", "function", "custom", "refusal", "json_schema", "json_object", "tool_reference", "auto",
     "any", "tool", "none", "enabled", "adaptive", "base64", "url", "object"]
)  # fmt: skip
sources = objects(type=kinds, media_type=words, data=words, url=words)
parts = objects(
    type=kinds, text=words, image_url=objects(url=words, detail=words) | words, source=sources, id=words, name=words,
    input=st.just({}), tool_use_id=words, tool_call_id=words, content=words, thinking=words, signature=words,
    data=words, is_error=st.booleans(), cache_control=st.just({"type": "ephemeral"}), file=objects(file_data=words),
    input_audio=objects(data=words, format=words),
)  # fmt: skip
functions = objects(
    name=words, arguments=words, description=words, parameters=st.just({"type": "object"}) | JUNK
)
calls = objects(id=words, type=kinds, function=functions, index=st.integers(0, 3))
messages = objects(
    role=st.sampled_from(["user", "assistant", "system", "tool", "developer", "function"]),
    content=words | st.lists(parts, max_size=3), tool_calls=st.lists(calls, max_size=2), tool_call_id=words, name=words,
    reasoning_content=words, refusal=words, function_call=functions,
)  # fmt: skip
tools = objects(
    type=kinds,
    function=functions,
    name=words,
    description=words,
    input_schema=JUNK,
    strict=st.booleans(),
)
bodies = objects(
    messages=st.lists(messages, max_size=4), tools=st.lists(tools, max_size=2), stream=st.booleans(),
    tool_choice=kinds | objects(type=kinds, name=words, function=functions), max_tokens=st.integers(-1, 10**6),
    temperature=st.floats(-1, 3), stop=words | st.lists(words, max_size=2), system=words | st.lists(parts, max_size=2),
    thinking=objects(type=kinds, budget_tokens=st.integers(-1, 10**5)), response_format=objects(type=kinds, json_schema=JUNK),
    reasoning_effort=words, reasoning=objects(effort=words, max_tokens=st.integers()), n=st.integers(-1, 9),
    stream_options=objects(include_usage=st.booleans()), output_config=objects(effort=words, format=JUNK),
    metadata=objects(user_id=words), logit_bias=JUNK, functions=st.lists(functions, max_size=2), seed=st.integers(),
    stop_sequences=st.lists(words, max_size=2), parallel_tool_calls=st.booleans(), top_p=st.floats(0, 1),
)  # fmt: skip


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_no_json_object_makes_the_gateway_fail(surface, dialect):
    async def script(reader, writer, request):
        streams = b'"stream":true' in request.body.replace(b" ", b"") or "stream" in request.target
        writer.write(spoken.streamed(dialect) if streams else spoken.told(dialect))

    async with Scripted(script) as up, gateway(config_text(upstream(up.url, dialect))) as front:
        wire = await front.wire()

        @settings(max_examples=150, suppress_health_check=list(HealthCheck))
        @given(bodies)
        def collect(body):
            gathered.append({**body, "model": "up/m"})

        gathered: list[dict[str, Any]] = []
        collect()
        for body in gathered:
            answered = await wire.post(
                PATHS[surface], json.dumps(body).encode(), authorization=BEARER
            )
            assert answered.status < 500, (body, answered.body)
            assert answered.status == 200 or answered.error["message"], body


@pytest.mark.parametrize("surface", SURFACES)
async def test_no_bytes_make_the_gateway_fail(surface):
    async with (
        Scripted([spoken.told("gemini")]) as up,
        gateway(config_text(upstream(up.url, "gemini"))) as front,
    ):
        wire = await front.wire()
        gathered: list[bytes] = []

        @settings(max_examples=100, suppress_health_check=list(HealthCheck))
        @given(st.binary(max_size=40) | JUNK.map(lambda value: json.dumps(value).encode()))
        def collect(body):
            gathered.append(body)

        collect()
        for body in gathered:
            answered = await wire.post(PATHS[surface], body, authorization=BEARER)
            assert 400 <= answered.status < 500, body
