from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.dialects.chat.native import rewritten
from proxy.dialects.names import call_id_for
from proxy.dialects.reply import Upstream
from proxy.providers import Flags

OPENAI = Flags(official=True, max_tokens_field="max_completion_tokens", developer_role=True)
COMPATIBLE = Flags()
LONG = "c" * 41


def sent(body: bytes, flags: Flags = COMPATIBLE, *, stream: bool = False) -> bytes:
    document = orjson.loads(body)
    before = orjson.dumps(document)
    out = rewritten(body, document, Upstream("up", flags), stream=stream)
    assert orjson.dumps(document) == before
    return out


def messages(*given: Any, flags: Flags) -> Any:
    body = orjson.dumps({"model": "m", "messages": list(given)})
    return orjson.loads(sent(body, flags))["messages"]


def test_only_the_models_bytes_change():
    body = b'{ "model" : "m",\n "messages": [{"role":"user","content":"\\u00fc"}] }'
    assert sent(body) == body.replace(b'"m"', b'"up"')


def test_a_stream_asks_for_usage_in_front_of_everything_else():
    body = b'{"model":"m","stream":true}'
    assert sent(body, stream=True) == (
        b'{"stream_options":{"include_usage":true},"model":"up","stream":true}'
    )
    assert sent(body, Flags(stream_options=False), stream=True) == b'{"model":"up","stream":true}'
    assert sent(body) == b'{"model":"up","stream":true}'


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"include_usage": True}, {"include_usage": True}),
        ({"include_usage": False, "x": 1}, {"include_usage": True, "x": 1}),
        (None, {"include_usage": True}),
    ],
)
def test_a_stream_that_has_options_keeps_them(options, told):
    body = orjson.dumps({"model": "m", "stream_options": options})
    assert orjson.loads(sent(body, stream=True)) == {"model": "up", "stream_options": told}


@pytest.mark.parametrize(
    ("flags", "body", "wanted"),
    [
        (OPENAI, b'{"model":"m","max_tokens": 5}', b'{"model":"up","max_completion_tokens": 5}'),
        (
            Flags(max_tokens_field="max_tokens"),
            b'{"model":"m","max_completion_tokens":5}',
            b'{"model":"up","max_tokens":5}',
        ),
        (
            OPENAI,
            b'{"model":"m","max_tokens":5,"max_completion_tokens":9}',
            b'{"model":"up","max_completion_tokens":9}',
        ),
        (COMPATIBLE, b'{"model":"m","max_tokens":5}', b'{"model":"up","max_tokens":5}'),
        (OPENAI, b'{"model":"m"}', b'{"model":"up"}'),
    ],
)
def test_the_output_limit_has_the_providers_name(flags, body, wanted):
    assert sent(body, flags) == wanted


def test_openai_takes_no_effort_max_on_chat():
    body = b'{"model":"m","reasoning_effort":"max"}'
    assert sent(body, OPENAI) == b'{"model":"up","reasoning_effort":"xhigh"}'
    assert sent(body) == b'{"model":"up","reasoning_effort":"max"}'


def test_developers_are_the_system_where_the_role_is_not_known():
    developer = {"role": "developer", "content": "x"}
    assert messages(developer, flags=COMPATIBLE) == [{"role": "system", "content": "x"}]
    assert messages(developer, flags=OPENAI) == [developer]
    user = {"role": "user", "content": "a developer"}
    assert messages(user, 5, flags=COMPATIBLE) == [user, 5]


def test_messages_that_are_no_list_are_the_upstreams_to_refuse():
    body = b'{"model":"m","messages":"developer"}'
    assert sent(body) == b'{"model":"up","messages":"developer"}'


def test_fields_of_other_conventions_do_not_reach_openai():
    call = {"id": "c", "function": {"name": "f"}, "extra_content": {"google": {}}}
    said = {
        "role": "assistant",
        "content": [{"type": "text", "text": "x", "cache_control": {}}, "y"],
        "reasoning_content": None,
        "thinking_blocks": [],
        "tool_calls": [call],
    }
    plain = {
        "role": "assistant",
        "content": [{"type": "text", "text": "x"}, "y"],
        "tool_calls": [{"id": "c", "function": {"name": "f"}}],
    }
    assert messages(said, flags=OPENAI) == [plain]
    assert messages(said, flags=Flags(developer_role=True)) == [said]
    alone = {"role": "assistant", "content": "x", "reasoning_content": None}
    assert messages(alone, flags=OPENAI) == [{"role": "assistant", "content": "x"}]


def test_the_word_of_an_extension_in_a_text_changes_no_byte():
    body = b'{"model":"m","messages":[{"role":"user", "content":["cache_control"]}]}'
    assert sent(body, OPENAI) == body.replace(b'"m"', b'"up"', 1)


def test_deepseek_gets_the_thinking_that_a_client_left_out_since_the_last_question():
    calls = [{"id": "c", "function": {"name": "f"}}]
    made = {"role": "assistant", "tool_calls": calls}
    result = {"role": "tool", "tool_call_id": "c", "content": "ok"}
    told = {**made, "reasoning_content": "hm"}
    user = {"role": "user", "content": "x"}
    spoken = {"role": "assistant", "content": "y"}
    assert messages(made, user, made, result, told, spoken, flags=Flags(reasoning_field=True)) == [
        made,
        user,
        {**made, "reasoning_content": ""},
        result,
        told,
        spoken,
    ]
    assert messages(made, flags=Flags(reasoning_field=True)) == [{**made, "reasoning_content": ""}]


@pytest.mark.parametrize("flags", [OPENAI, Flags(tool_id_nine=True)])
def test_call_ids_that_the_provider_refuses_are_replaced_in_call_and_result(flags):
    made = {"role": "assistant", "tool_calls": [{"id": LONG}, {"id": ""}, 5]}
    result = {"role": "tool", "tool_call_id": LONG, "content": "ok"}
    fitting = call_id_for("openai-chat", LONG, nine=flags.tool_id_nine)
    assert messages(made, result, flags=flags) == [
        {"role": "assistant", "tool_calls": [{"id": fitting}, {"id": ""}, 5]},
        {"role": "tool", "tool_call_id": fitting, "content": "ok"},
    ]


def test_call_ids_that_fit_change_no_byte():
    body = b'{"model":"m", "messages":[{"role":"tool","tool_call_id":"c","content":""}]}'
    assert sent(body, OPENAI) == body.replace(b'"m"', b'"up"')
