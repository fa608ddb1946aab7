"""A chat request for a chat upstream changes only where the provider would refuse it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.dialects.chat.native import rewritten
from proxy.dialects.reply import Upstream
from proxy.providers import BUILTIN, Flags

PLAIN = Flags(developer_role=True, stream_options=True)


def sent(document: dict[str, Any], flags: Flags = PLAIN, *, stream: bool = False) -> dict[str, Any]:
    body = json.dumps({"model": "asked", **document}).encode()
    parsed = json.loads(body)
    found: dict[str, Any] = json.loads(
        rewritten(body, parsed, Upstream("real", flags), stream=stream)
    )
    # Another account may be asked from the same document.
    assert parsed == json.loads(body)
    assert found.pop("model") == "real"
    return found


def test_bytes_stay_as_they_are():
    body = b'{ "messages": [ {"role":"user","content":"\\u00e9t\\u00e9"} ], "model": "asked", "x": 1.50 }'
    assert rewritten(body, json.loads(body), Upstream("real", PLAIN), stream=False) == body.replace(
        b"asked", b"real"
    )


def test_usage_is_asked_for_where_it_may_be():
    assert sent({"stream": True}, stream=True)["stream_options"] == {"include_usage": True}
    assert sent({"stream_options": {"include_usage": False, "x": 1}}, stream=True)[
        "stream_options"
    ] == {
        "include_usage": True,
        "x": 1,
    }
    assert sent({"stream_options": None}, stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in sent({}, stream=False)
    assert "stream_options" not in sent({}, Flags(stream_options=False), stream=True)


def test_usage_that_was_asked_for_changes_nothing():
    body = b'{"model":"real", "stream_options": {"include_usage": true}}'
    assert rewritten(body, json.loads(body), Upstream("real", PLAIN), stream=True) == body


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({"max_tokens": 5}, "max_completion_tokens", {"max_completion_tokens": 5}),
        ({"max_completion_tokens": 5}, "max_tokens", {"max_tokens": 5}),
        ({"max_tokens": 5}, None, {"max_tokens": 5}),
        ({"max_tokens": 5}, "max_tokens", {"max_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", {"max_tokens": 5}),
        (
            {"x": "max_tokens", "max_tokens": 5},
            "max_completion_tokens",
            {"x": "max_tokens", "max_completion_tokens": 5},
        ),
    ],
)
def test_the_limit_has_the_name_that_the_provider_knows(given, field, expected):
    assert sent(given, Flags(max_tokens_field=field)) == expected


def test_a_developer_is_a_system_where_nobody_knows_it():
    messages = [{"role": "developer", "content": "x"}, {"role": "user", "content": "developer"}]
    assert sent({"messages": messages}, PLAIN)["messages"] == messages
    assert [one["role"] for one in sent({"messages": messages}, Flags())["messages"]] == [
        "system",
        "user",
    ]


def test_foreign_fields_do_not_reach_openai():
    part = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    message = {"role": "user", "content": [part], "reasoning_content": "t"}
    official = BUILTIN["openai"].flags
    assert sent({"messages": [message]}, official)["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "x"}]}
    ]
    assert sent({"messages": [message]}, PLAIN)["messages"] == [message]


CALL = {"id": "call_abcdefghijkl", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CONVERSATION: list[dict[str, Any]] = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_abcdefghijkl", "content": "r"},
]


def test_mistral_gets_ids_of_nine_that_still_match():
    messages = sent({"messages": CONVERSATION}, BUILTIN["mistral"].flags)["messages"]
    made = messages[1]["tool_calls"][0]["id"]
    assert len(made) == 9
    assert made.isalnum()
    assert messages[2]["tool_call_id"] == made


def test_deepseek_gets_the_field_that_it_demands():
    messages = sent({"messages": CONVERSATION}, BUILTIN["deepseek"].flags)["messages"]
    assert messages[1]["reasoning_content"] == ""
    told = [{**CONVERSATION[1], "reasoning_content": "so"}, CONVERSATION[2]]
    messages = sent({"messages": [CONVERSATION[0], *told]}, BUILTIN["deepseek"].flags)["messages"]
    assert messages[1]["reasoning_content"] == "so"


def test_the_highest_effort_is_not_for_openais_chat():
    assert sent({"reasoning_effort": "max"}, BUILTIN["openai"].flags) == {
        "reasoning_effort": "xhigh"
    }
    assert sent({"reasoning_effort": "max"}, PLAIN) == {"reasoning_effort": "max"}


@pytest.mark.parametrize(
    "messages", [None, "developer tool_calls", [None, 5, "developer"], {"role": "developer"}, [{"tool_calls": 5, "content": 7}],
                 [{"role": "developer", "tool_calls": [None, {"id": 5}], "tool_call_id": []}]]
)  # fmt: skip
@pytest.mark.parametrize("provider", ["openai", "mistral", "deepseek", "groq"])
def test_what_is_malformed_is_the_upstreams_to_refuse(messages, provider):
    kept = sent({"messages": messages}, BUILTIN[provider].flags, stream=True)["messages"]
    if not isinstance(messages, list):
        assert kept == messages
        return
    for before, after in zip(messages, kept, strict=True):
        if not isinstance(before, dict):
            assert after == before
            continue
        # The role, and reasoning that is missing, are what is put right.
        mended = {"role", "reasoning_content"}
        assert {key: value for key, value in after.items() if key not in mended} == {
            key: value for key, value in before.items() if key not in mended
        }
