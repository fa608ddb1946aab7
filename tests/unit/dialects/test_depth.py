"""What is nested too deep to be written again is not read, in any place where somebody else's JSON comes in."""

from __future__ import annotations

import json

import orjson
import pytest

from proxy.dialects.depth import MAX_DEPTH, exceeds, loads
from proxy.dialects.plan import make_plan
from proxy.errors import Kind
from tests.integration import spoken
from tests.unit.dialects.test_answer import EVERY, answer
from tests.unit.dialects.test_plan import asked, provider

DEEP = "[" * 300 + "]" * 300
"""orjson reads it, and cannot write it."""


def nested(levels: int) -> str:
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


@pytest.mark.parametrize("form", [str, str.encode])
def test_what_is_read_can_be_written(form):
    assert orjson.dumps(loads(form(nested(MAX_DEPTH))))
    for levels in (MAX_DEPTH + 1, 300, 1000):
        with pytest.raises(orjson.JSONDecodeError, match="nested deeper"):
            loads(form(nested(levels)))


def test_brackets_are_not_depth():
    wide = orjson.dumps({"a": [[]] * 500, "b": "[" * 500})
    assert loads(wide)["a"] == [[]] * 500
    assert loads(orjson.dumps("[" * 500)) == "[" * 500
    assert not exceeds(1, 1)


@pytest.mark.parametrize(("client", "upstream"), EVERY)
@pytest.mark.parametrize("place", ["metadata", "content", "error"])
def test_a_deep_event_of_a_stream_is_skipped_or_passed_on_and_nothing_fails(
    client, upstream, place
):
    said = spoken.stream(upstream, "Hello")
    member = b'"deep":' + DEEP.encode() + b","
    match place:
        case "metadata":
            stream = said.replace(b"data: {", b"data: {" + member, 1)
        case "content":
            at = said.index(b"Hello")
            start = said.rindex(b"data: {", 0, at) + 7
            stream = said[:start] + member + said[start:]
        case _:
            failure = spoken.failure(upstream).replace(b"data: {", b"data: {" + member, 1)
            stream = spoken.metadata(upstream) + spoken.text(upstream, "Hello") + failure
    one = answer(client, upstream, stream=True)
    out = one.feed(stream) + (b"" if one.ended else one.finish())
    assert one.ended
    assert out


@pytest.mark.parametrize(("client", "upstream"), EVERY)
def test_a_deep_document_is_no_answer(client, upstream):
    document = json.dumps(spoken.document(upstream)).replace("{", '{"deep":' + DEEP + ",", 1)
    one = answer(client, upstream, stream=False, document=True)
    one.feed(document.encode())
    assert one.finish() == b""
    assert one.error is not None
    assert one.error.kind is Kind.MALFORMED


ARGUMENTS = '{"a":' + DEEP + "}"


@pytest.mark.parametrize("upstream", ["anthropic", "gemini"])
def test_deep_arguments_of_a_call_are_sent_as_the_text_that_they_are(upstream):
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ARGUMENTS}}
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
    ]
    plan = make_plan(asked(messages=turns), provider(upstream), "m", strict=False)
    assert b'{"_raw_arguments":"{' in plan.body


def test_deep_arguments_of_a_call_are_told_as_the_text_that_they_are():
    function = {"name": "f", "arguments": ARGUMENTS}
    document = spoken.document("openai-chat")
    document["choices"][0]["message"]["tool_calls"] = [
        {"id": "c1", "type": "function", "function": function}
    ]
    one = answer("messages", "openai-chat", stream=False, document=True)
    one.feed(json.dumps(document).encode())
    assert json.loads(one.finish())["content"][-1]["input"] == {"_raw_arguments": ARGUMENTS}
