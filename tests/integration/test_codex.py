"""What Codex sends, byte for byte as it writes it, and what it must read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration import spoken
from tests.integration.gateway import BEARER, DIALECTS, config_text, gateway, in_front_of, upstream
from tests.integration.scripted import Scripted, whole
from tests.integration.wire import Answered, request

HEADERS = {
    "accept": "text/event-stream",
    "content_type": "application/json",
    "originator": "codex_exec",
    "session_id": "019a0000-0000-7000-8000-000000000001",
    "session-id": "019a0000-0000-7000-8000-000000000001",
    "thread-id": "019a0000-0000-7000-8000-000000000001",
    "x-codex-window-id": "019a0000-0000-7000-8000-000000000001:0",
    "user_agent": "codex_exec/0.169.0 (Debian 12.0.0; x86_64) unknown (codex_exec; 0.169.0)",
}
# The second turn of a run: what the model thought and called comes back without ids, the thought without a text.
BODY = (
    b'{"model":"up/m","instructions":"You are Codex.","input":['
    b'{"type":"additional_tools","role":"developer","tools":[{"type":"namespace","name":"shell","description":"Tools of the shell.",'
    b'"tools":[{"type":"function","name":"exec_command","description":"Runs a command.","strict":false,"parameters":{"type":"object",'
    b'"properties":{"cmd":{"type":"string"}},"required":["cmd"],"additionalProperties":false}}]}]},'
    b'{"type":"message","role":"developer","content":[{"type":"input_text","text":"<permissions>all</permissions>"}]},'
    b'{"type":"message","role":"user","content":[{"type":"input_text","text":"list the files"}]},'
    b'{"type":"reasoning","summary":[],"content":null,"encrypted_content":"SEAL"},'
    b'{"type":"function_call","name":"exec_command","namespace":"shell","arguments":"{\\"cmd\\":\\"ls\\"}","call_id":"call_1"},'
    b'{"type":"function_call_output","call_id":"call_1","output":"a.txt"},'
    b'{"type":"custom_tool_call","status":"completed","call_id":"call_2","name":"apply_patch","input":"*** Begin Patch"},'
    b'{"type":"custom_tool_call_output","call_id":"call_2","output":"Done."}],'
    b'"tools":[{"type":"custom","name":"apply_patch","description":"Edits files.","format":{"type":"grammar","syntax":"lark",'
    b'"definition":"start: patch"}},{"type":"web_search"}],'
    b'"tool_choice":"auto","parallel_tool_calls":true,"reasoning":{"effort":"medium","summary":"auto"},"store":false,"stream":true,'
    b'"include":["reasoning.encrypted_content"],"prompt_cache_key":"019a0000-0000-7000-8000-000000000001",'
    b'"text":{"verbosity":"low"},"client_metadata":{"x-codex-installation-id":"019a0000-0000-7000-8000-000000000002"}}'
)
SEALS = {
    "anthropic": b"gw1:ant:W3sidHlwZSI6InRoaW5raW5nIiwidGhpbmtpbmciOiJobSIsInNpZ25hdHVyZSI6IlNJRyJ9XQ==",
    "openai-responses": b"gAAAAAB-sealed-by-openai",
}


def called(dialect: str, name: str, arguments: str) -> bytes:
    """Return an HTTP answer that calls a tool."""
    match dialect:
        case "openai-chat":
            call = {
                "index": 0,
                "id": "call_9",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            frames = spoken.metadata(dialect) + spoken.chat_chunk({"tool_calls": [call]})
            frames += spoken.chat_chunk({}, "tool_calls") + b"data: [DONE]\n\n"
        case "anthropic":
            block = {"type": "tool_use", "id": "call_9", "name": name, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": arguments}
            frames = spoken.metadata(dialect)
            frames += spoken.event(
                {"type": "content_block_start", "index": 0, "content_block": block}
            )
            frames += spoken.event({"type": "content_block_delta", "index": 0, "delta": delta})
            frames += spoken.event({"type": "content_block_stop", "index": 0})
            ending = {"stop_reason": "tool_use", "stop_sequence": None}
            frames += spoken.event(
                {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 7}}
            )
            frames += spoken.event({"type": "message_stop"})
        case _:
            part = {"functionCall": {"id": "call_9", "name": name, "args": json.loads(arguments)}}
            document = spoken.document("gemini")
            document["candidates"][0]["content"]["parts"] = [part]
            frames = spoken.data(document)
    return spoken.HEAD + spoken.chunk(frames) + spoken.LAST


async def asked(
    dialect: str, script: Any, body: bytes = BODY
) -> tuple[Answered, dict[str, Any], Any]:
    seal = SEALS.get(dialect, SEALS["anthropic"])
    async with in_front_of(script, dialect) as (front, up):
        answered = await front.post("/v1/responses", body.replace(b"SEAL", seal), **HEADERS)
    return answered, json.loads(up.requests[0].body), up.requests[0]


TRANSLATED = [dialect for dialect in DIALECTS if dialect != "openai-responses"]


@pytest.mark.parametrize("dialect", TRANSLATED)
async def test_its_tools_reach_every_upstream(dialect):
    answered, sent, _ = await asked(dialect, [spoken.streamed(dialect, "a", ".txt")])
    assert answered.status == 200
    match dialect:
        case "openai-chat":
            names = [tool["function"]["name"] for tool in sent["tools"]]
            calls = [
                call["function"]["name"]
                for m in sent["messages"]
                for call in m.get("tool_calls", ())
            ]
        case "anthropic":
            names = [tool["name"] for tool in sent["tools"]]
            blocks = [
                b for m in sent["messages"] if isinstance(m["content"], list) for b in m["content"]
            ]
            calls = [block["name"] for block in blocks if block["type"] == "tool_use"]
            assert [block["signature"] for block in blocks if block["type"] == "thinking"] == [
                "SIG"
            ]
        case _:
            names = [
                f["name"] for tool in sent["tools"] for f in tool.get("functionDeclarations", ())
            ]
            parts = [part for content in sent["contents"] for part in content["parts"]]
            calls = [part["functionCall"]["name"] for part in parts if "functionCall" in part]
    assert {"apply_patch", "shell__exec_command"} <= set(names)
    assert calls == ["shell__exec_command", "apply_patch"]


@pytest.mark.parametrize("dialect", TRANSLATED)
async def test_it_reads_what_it_needs_of_a_stream(dialect):
    answered, _, _ = await asked(dialect, [spoken.streamed(dialect, "a", ".txt")])
    kinds = [event["type"] for event in answered.data]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert [int(event["sequence_number"]) for event in answered.data] == list(range(len(kinds)))
    (done,) = [e["item"] for e in answered.data if e["type"] == "response.output_item.done"]
    assert done["content"][0]["text"] == "a.txt"
    completed = answered.data[-1]["response"]
    assert completed["usage"]["total_tokens"] == spoken.INPUT + spoken.CACHED + spoken.OUTPUT
    assert b"You are Codex." not in answered.body, "its prompt is not sent back to it three times"


@pytest.mark.parametrize("dialect", TRANSLATED)
async def test_a_call_comes_back_in_its_namespace(dialect):
    script = [called(dialect, "shell__exec_command", '{"cmd":"pwd"}')]
    answered, _, _ = await asked(dialect, script)
    (item,) = [e["item"] for e in answered.data if e["type"] == "response.output_item.done"]
    told = (item["type"], item["namespace"], item["name"], json.loads(item["arguments"]))
    assert told == ("function_call", "shell", "exec_command", {"cmd": "pwd"})
    assert item["call_id"]


@pytest.mark.parametrize("dialect", TRANSLATED)
async def test_a_custom_call_comes_back_as_free_text(dialect):
    script = [called(dialect, "apply_patch", '{"input":"*** Begin Patch"}')]
    answered, _, _ = await asked(dialect, script)
    (item,) = [e["item"] for e in answered.data if e["type"] == "response.output_item.done"]
    assert (item["type"], item["name"], item["input"]) == (
        "custom_tool_call",
        "apply_patch",
        "*** Begin Patch",
    )


async def test_to_openai_its_own_bytes_go():
    dialect = "openai-responses"
    answered, _, sent = await asked(dialect, [spoken.streamed(dialect, "a.txt")])
    assert sent.body == BODY.replace(b"SEAL", SEALS[dialect]).replace(b'"up/m"', b'"m"')
    assert answered.data[-1]["type"] == "response.completed"
    assert {"session-id", "thread-id", "originator", "x-codex-window-id"}.isdisjoint(sent.headers)


async def test_after_a_claude_its_thoughts_stay_out_of_openai():
    async with in_front_of([spoken.streamed("openai-responses", "Hi")], "openai-responses") as (
        front,
        up,
    ):
        body = BODY.replace(b"SEAL", SEALS["anthropic"])
        answered = await front.post("/v1/responses", body, **HEADERS)
    assert answered.status == 200
    kinds = [item["type"] for item in json.loads(up.requests[0].body)["input"]]
    assert "reasoning" not in kinds
    assert kinds.count("function_call") == 1


async def test_its_websocket_is_a_426_without_a_wait():
    offered = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "openai-beta": "responses_websockets=2026-02-06",
        "authorization": BEARER,
    }
    async with in_front_of([spoken.streamed("openai-responses", "Hi")], "openai-responses") as (
        front,
        up,
    ):
        wire = await front.wire()
        wire.send(request("GET", "/v1/responses", b"", **offered))
        answered = await wire.answer()
        assert (answered.status, up.requests) == (426, [])
        posted = await front.post("/v1/responses", BODY.replace(b"SEAL", b"x"), **HEADERS)
    assert posted.status == 200


@pytest.mark.parametrize(
    ("status", "told"), [("400 No", 400), ("429 Slow", 429), ("500 Ill", 502), ("503 Busy", 503)]
)
async def test_it_is_told_when_to_come_back(status, told):
    """It tries 30 times within 25 seconds after a plain 500: what passes by itself says when."""
    error = whole(b'{"error":{"message":"no","type":"x"}}', status, retry_after="7")
    async with (
        Scripted([error]) as up,
        gateway(config_text(upstream(up.url, "anthropic"))) as front,
    ):
        answered = await front.post("/v1/responses", BODY.replace(b"SEAL", b"x"), **HEADERS)
    assert answered.status == told
    assert set(answered.error) == {"message", "type", "param", "code"}
    assert ("retry-after" in answered.headers) == (told in (429, 503))
