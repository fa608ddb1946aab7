"""What the demo's two OpenAI dialects refuse in the same words, each from its own shape of request."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.demo import chat_request, responses_request
from proxy.demo.node import Node
from proxy.demo.openai_request import objects
from proxy.demo.prompt import Choice
from proxy.demo.refusal import Refused

OPEN = {"type": "object", "properties": {}}
UNNAMED = {"type": "object", "properties": {"a": {}}, "additionalProperties": False}
ODD = {"type": "object", "properties": ["a"], "additionalProperties": False}
CLOSED = {**UNNAMED, "required": ["a"]}
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


class Chat:
    def prompt(self, **more: Any):
        body = {"model": "demo-chat", "messages": [{"role": "user", "content": "Hi"}], **more}
        return chat_request.read_prompt(Node(body))

    def said(self, part: dict[str, Any]):
        kind = part["type"].removeprefix("input_")
        inner = {
            "image": lambda: ("image_url", {"url": part["image_url"]}),
            "audio": lambda: ("input_audio", part["input_audio"]),
            "file": lambda: ("file", {name: part[name] for name in part if name != "type"}),
        }[kind]()
        content = [{"type": inner[0], inner[0]: inner[1]}]
        return self.prompt(messages=[{"role": "user", "content": content}])

    def tool(self, **function: Any) -> dict[str, Any]:
        return {"type": "function", "function": {"name": "f", **function}}

    def forced(self, name: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name}}

    def allowed(self, mode: str) -> dict[str, Any]:
        return {
            "type": "allowed_tools",
            "allowed_tools": {"mode": mode, "tools": [self.forced("f")]},
        }

    def formed(self, **schema: Any) -> dict[str, Any]:
        form = {"type": "json_schema", "json_schema": {"name": "n", **schema}}
        return {"response_format": form}

    def called(self, call_id: str) -> dict[str, Any]:
        call = {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        return {"messages": [{"role": "assistant", "tool_calls": [call]}]}


class Responses:
    def prompt(self, **more: Any):
        return responses_request.read_prompt(Node({"model": "demo-gpt", "input": "Hi", **more}))

    def said(self, part: dict[str, Any]):
        return self.prompt(input=[{"role": "user", "content": [part]}])

    def tool(self, **function: Any) -> dict[str, Any]:
        return {"type": "function", "name": "f", **function}

    def forced(self, name: str) -> dict[str, Any]:
        return {"type": "function", "name": name}

    def allowed(self, mode: str) -> dict[str, Any]:
        return {"type": "allowed_tools", "mode": mode, "tools": [self.forced("f")]}

    def formed(self, **schema: Any) -> dict[str, Any]:
        return {"text": {"format": {"type": "json_schema", "name": "n", **schema}}}

    def called(self, call_id: str) -> dict[str, Any]:
        call = {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}
        return {"input": [call]}


@pytest.fixture(params=[Chat, Responses])
def dialect(request: pytest.FixtureRequest):
    return request.param()


def test_a_tool_choice_allows_what_it_names(dialect):
    tools = [dialect.tool(parameters=OPEN)]
    for choice, expected in (
        (None, Choice()),
        ("auto", Choice()),
        ("none", Choice("none")),
        ("required", Choice("required")),
        (dialect.forced("f"), Choice.of_one("f")),
        (dialect.allowed("required"), Choice.of_one("f")),
        (dialect.allowed("auto"), Choice("auto", frozenset({"f"}))),
        ({"type": "custom"}, Choice()),
    ):
        assert dialect.prompt(tools=tools, tool_choice=choice).choice == expected


def test_a_tool_choice_that_names_no_tool_is_refused(dialect):
    tools = [dialect.tool()]
    with pytest.raises(Refused, match="Tool choice 'g' not found"):
        dialect.prompt(tools=tools, tool_choice=dialect.forced("g"))
    with pytest.raises(Refused, match="expected 'none', 'auto' or 'required'"):
        dialect.prompt(tools=tools, tool_choice="maybe")


def test_a_tool_has_a_short_plain_name(dialect):
    with pytest.raises(Refused, match="does not match pattern"):
        dialect.prompt(tools=[dialect.tool(name="a b")])


@pytest.mark.parametrize(
    ("schema", "missing"),
    [(OPEN, "'additionalProperties' is required"), (UNNAMED, "Missing 'a'")],
)
def test_strict_schemas_are_closed_and_complete(dialect, schema, missing):
    with pytest.raises(Refused, match=missing):
        dialect.prompt(tools=[dialect.tool(parameters=schema, strict=True)])
    with pytest.raises(Refused, match=missing):
        dialect.prompt(**dialect.formed(schema=schema, strict=True))
    assert dialect.prompt(**dialect.formed(schema=schema)).format.schema == schema
    for fine in (CLOSED, ODD):
        assert dialect.prompt(**dialect.formed(schema=fine, strict=True)).format.schema == fine


def test_objects_are_found_wherever_a_schema_has_them():
    schema = {"anyOf": [{"$defs": {"a": OPEN}}, {"items": OPEN}]}
    assert [path for path, _ in objects(schema)] == ["/anyOf/0/$defs/a", "/anyOf/1/items"]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_image", "image_url": PIXEL},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA"},
        {"type": "input_file", "file_id": "file-1"},
    ],
)
def test_attachments_are_taken(dialect, part):
    assert len(dialect.said(part).turns[0].attachments) == 1


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_image", "image_url": "data:image/gif;base64,%%%"},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": "%%%"}},
        {"type": "input_file", "file_data": "data:application/pdf;base64,%%%"},
    ],
)
def test_attachments_that_are_no_base64_are_refused(dialect, part):
    with pytest.raises(Refused, match="expected base64-encoded data"):
        dialect.said(part)


def test_the_id_of_a_call_is_not_too_long(dialect):
    with pytest.raises(Refused, match="but got a string with length 65"):
        dialect.prompt(**dialect.called("c" * 65))


def test_the_id_of_a_call_is_not_empty_in_responses():
    with pytest.raises(Refused, match="Missing required parameter"):
        Responses().prompt(**Responses().called(""))
