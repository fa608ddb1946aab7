"""Schemas that OpenAI's strict mode takes, and what becomes of them on the way there."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects import repair
from proxy.dialects.reply import Upstream
from proxy.dialects.spoken import CLIENTS, SERVERS
from proxy.dialects.strict import is_strict
from proxy.errors import GatewayError
from proxy.providers import Flags

CLOSED = {
    "type": "object",
    "properties": {"a": {}},
    "required": ["a"],
    "additionalProperties": False,
}
OPEN = {"type": "object", "properties": {"a": {}}}


@pytest.mark.parametrize(
    ("node", "strict"),
    [
        ({"type": "string"}, True),
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        (
            {
                "type": "object",
                "properties": {"a": {}},
                "required": ["a"],
                "additionalProperties": False,
            },
            True,
        ),
        (
            {
                "type": "object",
                "properties": {"a": {}},
                "required": [],
                "additionalProperties": False,
            },
            False,
        ),
        ({"type": "object", "properties": {}}, False),
        ({"type": "object", "properties": [], "additionalProperties": False}, False),
        ({"type": "array", "items": {"type": "object"}}, False),
        ({"anyOf": [{"type": "null"}, {"type": "object"}]}, False),
        ({"$defs": {"A": {"type": "object"}}}, False),
        ({"$defs": {"type": {"type": "string"}, "properties": {"type": "string"}}}, True),
        ({"enum": [{"type": "object"}]}, True),
    ],
)
def test_strict_means_closed_and_all_required(node, strict):
    assert is_strict(node) is strict


def test_junk_is_not_strict():
    assert not is_strict({"properties": -1, "additionalProperties": False})
    assert not is_strict({"properties": {"a": {}}, "required": [{}], "additionalProperties": False})
    assert is_strict({"additionalProperties": False, "properties": {}, "required": [{}, "a"]})


USER = {"role": "user", "content": "Hi"}


def asking(client: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a request of ``client`` for an answer that fits ``schema``, saying nothing of how strictly."""
    match client:
        case "chat":
            form = {"type": "json_schema", "json_schema": {"name": "o", "schema": schema}}
            return {"messages": [USER], "response_format": form}
        case "messages":
            wanted = {"format": {"type": "json_schema", "schema": schema}}
            return {"max_tokens": 9, "messages": [USER], "output_config": wanted}
        case "responses":
            return {
                "input": "Hi",
                "text": {"format": {"type": "json_schema", "name": "o", "schema": schema}},
            }
        case _:
            return {
                "contents": [{"parts": [{"text": "Hi"}]}],
                "generationConfig": {
                    "responseMimeType": "application/json",
                    "responseJsonSchema": schema,
                },
            }


def sent(client: Any, upstream: Any, schema: dict[str, Any]) -> dict[str, Any]:
    conversation = CLIENTS[client].read_request(asking(client, schema))
    repair.repair(conversation)
    model = {"anthropic": "claude-opus-4-8", "gemini": "gemini-3-flash"}.get(upstream, "gpt-5.2")
    body = SERVERS[upstream].write_request(conversation, Upstream(model, Flags(official=True))).body
    if upstream == "openai-chat":
        written: dict[str, Any] = body["response_format"]["json_schema"]
        return written
    return body["text"]["format"] if upstream == "openai-responses" else body


@pytest.mark.parametrize("upstream", ["openai-chat", "openai-responses"])
@pytest.mark.parametrize("client", ["messages", "gemini"])
def test_a_schema_binds_where_it_can_if_the_client_has_no_switch_for_it(client, upstream):
    assert sent(client, upstream, CLOSED)["strict"] is True
    assert sent(client, upstream, OPEN)["strict"] is False


@pytest.mark.parametrize(
    ("client", "upstream"), [("chat", "openai-responses"), ("responses", "openai-chat")]
)
def test_who_has_the_switch_and_leaves_it_alone_is_not_strict(client, upstream):
    assert "strict" not in sent(client, upstream, CLOSED)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["object", "string", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "required", "additionalProperties", "$defs", "allOf", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    schema=st.dictionaries(
        st.sampled_from(["type", "properties", "required", "additionalProperties", "allOf"]), JUNK
    ),
    client=st.sampled_from(sorted(CLIENTS)),
    upstream=st.sampled_from(sorted(SERVERS)),
)
def test_whatever_the_schema_the_request_is_written_or_refused(schema, client, upstream):
    conversation = CLIENTS[client].read_request(asking(client, schema))
    repair.repair(conversation)
    with suppress(GatewayError):
        SERVERS[upstream].write_request(conversation, Upstream("m", Flags(official=True)))
