"""The four dialects say the same and count the same, because one brain is behind them."""

from collections.abc import Mapping

import orjson

from proxy.demo.accepted import Identity
from proxy.demo.brain import decide
from proxy.demo.chat import read as read_chat
from proxy.demo.gemini import read as read_gemini
from proxy.demo.messages import read as read_messages
from proxy.demo.plan import Plan
from proxy.demo.responses import read as read_responses
from tests.unit.demo.samples import PNG_BASE64, WEATHER_SCHEMA

WHO = Identity("0" * 24, 1_700_000_000)
URL = f"data:image/png;base64,{PNG_BASE64}"

CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": URL}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "a cat"},
    ],
    "tools": [{"type": "function", "function": {"name": "look", "parameters": WEATHER_SCHEMA}}],
}
RESPONSES = {
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": URL},
            ],
        },
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "a cat"},
    ],
    "tools": [{"type": "function", "name": "look", "parameters": WEATHER_SCHEMA}],
}
MESSAGES = {
    "system": "Be brief.",
    "max_tokens": 2000,
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": PNG_BASE64},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c", "name": "look", "input": {}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c", "content": "a cat"}],
        },
    ],
    "tools": [{"name": "look", "input_schema": WEATHER_SCHEMA}],
}
GEMINI = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "What is this?"},
                {"inlineData": {"mimeType": "image/png", "data": PNG_BASE64}},
            ],
        },
        {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {}}}]},
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "look", "response": {"output": "a cat"}}}],
        },
    ],
    "tools": [{"functionDeclarations": [{"name": "look", "parametersJsonSchema": WEATHER_SCHEMA}]}],
}


def body(model: str, fields: Mapping[str, object]) -> bytes:
    return orjson.dumps({"model": model, **fields})


def test_the_same_conversation_is_the_same_prompt():
    prompts = [
        read_chat(body("demo-chat", CHAT), WHO).prompt,
        read_responses(body("demo-gpt", RESPONSES), WHO).prompt,
        read_messages(body("demo-claude", MESSAGES), "2023-06-01", WHO).prompt,
        read_gemini(orjson.dumps(GEMINI), "demo-gemini", WHO, stream=False, sse=False).prompt,
    ]
    assert len({prompt.tokens for prompt in prompts}) == 1
    assert {prompt.said for prompt in prompts} == {"What is this?"}
    assert {prompt.results for prompt in prompts} == {("a cat",)}
    assert len({prompt.attachments for prompt in prompts}) == 1
    plans = [decide(prompt) for prompt in prompts]
    assert all(isinstance(plan, Plan) for plan in plans)
    assert len(set(plans)) == 1
