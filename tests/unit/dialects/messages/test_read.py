from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.conversation import (
    Call,
    Conversation,
    File,
    Image,
    Reasoning,
    Redacted,
    Result,
    Text,
    Thinking,
    ToolChoice,
    Turn,
    WebSearch,
)
from proxy.dialects.messages.read import read_request
from proxy.errors import GatewayError, Kind

USER = {"role": "user", "content": "Hi"}


def read(**fields: Any) -> Conversation:
    return read_request({"model": "m", "max_tokens": 100, "messages": [USER], **fields})


def said(*blocks: Any, role: str = "user") -> list[Any]:
    return read(messages=[{"role": role, "content": list(blocks)}]).turns[0].parts


def refusal(**fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        read(**fields)
    return caught.value


def refused_block(block: dict[str, Any], role: str = "user") -> GatewayError:
    return refusal(messages=[{"role": role, "content": [block]}])


# Fields.


def test_the_plain_fields_are_read():
    conversation = read(temperature=0.5, top_p=1, top_k=3, stop_sequences=["a"], stream=True)
    assert (conversation.max_tokens, conversation.temperature, conversation.top_p) == (100, 0.5, 1)
    assert (conversation.top_k, conversation.stop, conversation.stream) == (3, ["a"], True)
    assert conversation.given == {
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "stop": "stop_sequences",
    }


def test_null_is_absent():
    nulls = dict.fromkeys(
        (
            "temperature",
            "system",
            "tools",
            "thinking",
            "metadata",
            "output_config",
            "tool_choice",
            "invented",
            "speed",
        )
    )
    conversation = read(**nulls)
    assert conversation.given == {}
    assert conversation.reasoning is None


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("max_tokens", True, "found a boolean, expected an integer"),
        ("max_tokens", 0, "found 0, expected at least 1"),
        ("top_k", -1, "found -1, expected at least 0"),
        ("temperature", "1", "found a string, expected a finite number"),
        ("stream", 1, "found an integer, expected a boolean"),
        ("stop_sequences", "a", "found a string, expected an array"),
        ("messages", {}, "found an object, expected an array"),
        ("messages", None, "found nothing, expected an array"),
        ("system", 1, "found an integer, expected a string or an array"),
        ("metadata", [], "found an array, expected an object"),
        ("tool_choice", "auto", "found a string, expected an object"),
        ("service_tier", 5, "found an integer, expected a string"),
        ("output_format", "json", "found a string, expected an object"),
    ],
)
def test_a_wrong_type_is_named_with_its_place(field: str, value: Any, message: str):
    error = refusal(**{field: value})
    assert (error.kind, error.param) == (Kind.INVALID_REQUEST, field)
    assert error.message == f"`{field}`: {message}."


def test_a_wrong_word_is_repeated_among_those_that_it_could_be():
    error = refusal(messages=[{"role": "robot", "content": "Hi"}])
    assert error.param == "messages[0].role"
    assert error.message == (
        "`messages[0].role`: found 'robot', expected one of user, assistant, system."
    )
    assert refusal(messages=[{"role": 1}]).message == (
        "`messages[0].role`: found an integer, expected one of user, assistant, system."
    )


def test_what_only_anthropic_can_honour_is_named_as_dropped():
    conversation = read(context_management={"edits": []}, container="c", speed="fast")
    assert conversation.dropped == {"context_management", "container", "speed"}


def test_an_invented_field_is_told_as_unknown_and_never_by_its_name():
    assert read(**{"x\r\ny": 1}).dropped == {"unknown"}
    assert read(metadata={"team": "a"}).dropped == {"unknown"}
    assert read(output_config={"colour": "red"}).dropped == {"unknown"}


@pytest.mark.parametrize("field", ["mcp_servers", "compaction"])
def test_what_would_change_the_answer_is_refused(field: str):
    error = refusal(**{field: [{"a": 1}]})
    assert (error.kind, error.param) == (Kind.UNSUPPORTED_PARAMETER, field)
    assert read(**{field: []}).given == {}


def test_service_tiers_get_their_neutral_names():
    assert read(service_tier="standard_only").service_tier == "default"
    assert read(service_tier="auto").service_tier == "auto"
    odd = read(service_tier="turbo")
    assert odd.service_tier is None
    assert odd.dropped == {"service_tier"}


def test_the_user_id_is_kept_raw_and_marked_as_opaque():
    conversation = read(metadata={"user_id": '{"session_id":"s-1"}'})
    assert conversation.user == '{"session_id":"s-1"}'
    assert conversation.user_is_opaque
    assert conversation.given == {"user": "metadata.user_id"}


def test_a_top_level_cache_marker_is_carried():
    assert read(cache_control={"type": "ephemeral"}).cache == {"type": "ephemeral"}


# Thinking and format.


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            Reasoning(budget=2048, want_text="yes"),
        ),
        ({"thinking": {"type": "adaptive"}}, Reasoning(adaptive=True, want_text="yes")),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            Reasoning(adaptive=True, want_text="no"),
        ),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}},
            Reasoning(adaptive=True, want_text="yes"),
        ),
        ({"thinking": {"type": "disabled"}}, Reasoning(off=True, want_text="no")),
        ({"thinking": {"type": "between_tools"}}, Reasoning(off=True, want_text="no")),
        ({"output_config": {"effort": "high"}}, Reasoning(effort="high")),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            Reasoning(effort="max", adaptive=True, want_text="yes"),
        ),
        ({}, None),
    ],
)
def test_thinking_is_read_in_all_its_forms(fields: dict[str, Any], reasoning: Reasoning | None):
    assert read(**fields).reasoning == reasoning


def test_a_wrong_thinking_type_or_effort_is_refused():
    assert refusal(thinking={"type": "deep"}).param == "thinking.type"
    assert (
        refusal(thinking={"type": "enabled", "budget_tokens": 0}).param == "thinking.budget_tokens"
    )
    assert refusal(output_config={"effort": "huge"}).param == "output_config.effort"


def test_an_effort_on_a_system_message_replaces_the_one_before_it():
    system = {"role": "system", "content": "Env.", "output_config": {"effort": "low"}}
    conversation = read(messages=[USER, system], output_config={"effort": "high"})
    assert conversation.reasoning == Reasoning(effort="low")
    assert conversation.turns[1] == Turn("system", [Text("Env.")], "low")


def test_an_effort_may_come_on_a_system_message_without_content():
    conversation = read(messages=[{"role": "system", "output_config": {"effort": "low"}}, USER])
    assert conversation.reasoning == Reasoning(effort="low")
    wrong = {"role": "system", "output_config": {"effort": "very"}}
    assert refusal(messages=[wrong]).param == "messages[0].output_config.effort"


CLOSED = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("fields", [{"output_config": {"format": "F"}}, {"output_format": "F"}])
def test_an_output_format_is_read_under_both_of_its_names(fields: dict[str, Any]):
    wanted = {"type": "json_schema", "schema": CLOSED}
    filled = orjson.loads(orjson.dumps(fields).replace(b'"F"', orjson.dumps(wanted)))
    made = read(**filled).format
    assert (made.kind, made.name, made.schema, made.strict) == ("schema", "output", CLOSED, True)


def test_an_open_schema_is_not_called_strict():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert (
        read(output_config={"format": {"type": "json_schema", "schema": schema}}).format.strict
        is False
    )


def test_a_format_of_another_kind_is_refused():
    assert refusal(output_config={"format": {"type": "xml"}}).param == "output_config.format.type"
    assert (
        refusal(output_config={"format": {"type": "json_schema"}}).param
        == "output_config.format.schema"
    )


def test_a_task_budget_is_named_as_dropped():
    assert read(output_config={"task_budget": {"total": 1}}).dropped == {
        "output_config.task_budget"
    }


# System.


def test_the_system_prompt_is_text_or_blocks_without_the_billing_header():
    assert read(system="S").system == [Text("S")]
    blocks = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1"},
        {"type": "text", "text": "You are.", "cache_control": {"type": "ephemeral"}},
    ]
    assert read(system=blocks).system == [Text("You are.", {"type": "ephemeral"})]
    assert refusal(system=[{"type": "image"}]).param == "system[0].type"


def test_leading_system_messages_join_the_system_prompt_and_later_ones_keep_their_place():
    conversation = read(
        system="A",
        messages=[
            {"role": "system", "content": "B"},
            USER,
            {"role": "system", "content": [{"type": "text", "text": "C"}]},
        ],
    )
    assert conversation.system == [Text("A"), Text("B")]
    assert conversation.turns == [Turn("user", [Text("Hi")]), Turn("system", [Text("C")])]


# Content.


def test_images_come_from_data_addresses_and_files():
    path = "messages[0].content[0]"
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
    assert said({"type": "image", "source": source}) == [
        Image(data="iVBORw==", mime="image/png", path=path)
    ]
    assert said({"type": "image", "source": {"type": "url", "url": "https://e.com/a"}}) == [
        Image(url="https://e.com/a", path=path)
    ]
    assert said({"type": "image", "source": {"type": "file", "file_id": "file_1"}}) == [
        Image(file_id="file_1", path=path)
    ]
    error = refused_block(
        {"type": "image", "source": {"type": "base64", "media_type": "image/png"}}
    )
    assert error.param == "messages[0].content[0].source.data"


def test_documents_come_in_five_forms():
    path = "messages[0].content[0]"

    def document(source: dict[str, Any], **fields: Any) -> list[Any]:
        return said({"type": "document", "source": source, **fields})

    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    assert document(pdf, title="a.pdf") == [
        File(data="JVBERi0=", mime="application/pdf", name="a.pdf", path=path)
    ]
    plain = {"type": "text", "media_type": "text/plain", "data": "Zürich"}
    assert document(plain) == [
        File(data=base64.b64encode("Zürich".encode()).decode(), mime="text/plain", path=path)
    ]
    assert document({"type": "url", "url": "https://e.com/a.pdf"}) == [
        File(url="https://e.com/a.pdf", mime="application/pdf", path=path)
    ]
    assert document({"type": "file", "file_id": "file_1"}) == [File(file_id="file_1", path=path)]
    inline = {"type": "content", "content": [{"type": "text", "text": "one"}]}
    assert document(inline, title="T", context="C") == [Text("C"), Text("T"), Text("one")]
    assert document({"type": "content", "content": "one"}) == [Text("one")]
    assert (
        refused_block({"type": "document", "source": {"type": "ftp"}}).param
        == f"{path}.source.type"
    )


def test_search_results_become_text():
    block = {
        "type": "search_result",
        "source": "s",
        "title": "t",
        "content": [{"type": "text", "text": "x"}],
    }
    assert said(block) == [Text("t\ns\nx")]


@pytest.mark.parametrize(
    ("block", "role"),
    [
        ({"type": "container_upload", "file_id": "f"}, "user"),
        ({"type": "compaction", "content": "c"}, "assistant"),
        ({"type": "container_upload", "file_id": "f"}, "assistant"),
    ],
)
def test_a_block_that_only_anthropic_can_read_is_refused(block: dict[str, Any], role: str):
    error = refused_block(block, role)
    assert (error.kind, error.param) == (Kind.UNSUPPORTED_CONTENT, "messages[0].content[0]")


def test_an_unknown_block_is_refused_by_its_type():
    error = refused_block({"type": "hologram"})
    assert error.param == "messages[0].content[0].type"
    assert "found 'hologram', expected one of text, " in error.message
    assert refusal(messages=[{"role": "user", "content": ["Hi"]}]).param == "messages[0].content[0]"
    assert refusal(messages=[{"role": "user"}]).param == "messages[0].content"
    assert refusal(messages=["Hi"]).param == "messages[0]"


def test_what_the_assistant_said_is_read_in_its_order():
    parts = said(
        {"type": "thinking", "thinking": "hm", "signature": "S"},
        {"type": "thinking", "thinking": "unsigned"},
        {"type": "redacted_thinking", "data": "R"},
        {"type": "text", "text": "ok", "citations": []},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"ü": 1.0}},
        {"type": "tool_use", "id": "toolu_2", "name": "f"},
        role="assistant",
    )
    assert parts == [
        Thinking("hm", "S"),
        Thinking("unsigned"),
        Redacted("R"),
        Text("ok"),
        Call("toolu_1", "f", '{"ü":1.0}'),
        Call("toolu_2", "f", "{}"),
    ]


def test_the_assistant_may_say_plain_text_and_show_documents():
    assert read(messages=[USER, {"role": "assistant", "content": "ok"}]).turns[1].parts == [
        Text("ok")
    ]
    image = {"type": "image", "source": {"type": "url", "url": "https://e.com/a"}}
    document = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    assert [type(part) for part in said(image, document, role="assistant")] == [Image, File]


def test_server_tools_in_the_history_leave_only_their_text():
    conversation = read(
        messages=[
            USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                    {
                        "type": "web_search_tool_result",
                        "tool_use_id": "s",
                        "content": [{"type": "web_search_result"}],
                    },
                    {
                        "type": "mcp_tool_result",
                        "content": [{"type": "text", "text": "told"}, {"type": "text"}, 5],
                    },
                    {"type": "code_execution_tool_result", "content": {"stdout": "x"}},
                    {"type": "text", "text": "ok"},
                ],
            },
        ]
    )
    assert conversation.turns[1].parts == [Text("told"), Text("ok")]
    assert conversation.dropped == {"server_tool_use"}


def test_tool_results_are_text_or_parts():
    parts = said(
        {
            "type": "tool_result",
            "tool_use_id": "a",
            "content": "one",
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "two"}]},
        {"type": "tool_result", "tool_use_id": "c"},
        {"type": "text", "text": "and?"},
    )
    assert parts == [
        Result("a", [Text("one")], cache={"type": "ephemeral"}),
        Result("b", [Text("two")], in_parts=True),
        Result("c", []),
        Text("and?"),
    ]


@pytest.mark.parametrize("content", [None, "", [], [{"type": "text", "text": ""}]])
def test_a_tool_that_failed_without_a_word_said_error(content: Any):
    (result,) = said(
        {"type": "tool_result", "tool_use_id": "a", "is_error": True, "content": content}
    )
    assert result.is_error
    assert result.content == [Text("Error")]


def test_a_failed_tool_keeps_its_picture():
    image = {"type": "image", "source": {"type": "url", "url": "https://e.com/a"}}
    (result,) = said(
        {"type": "tool_result", "tool_use_id": "a", "is_error": True, "content": [image]}
    )
    assert [type(part) for part in result.content] == [Image]


# Tools.

TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}


def test_tools_are_read_with_their_hints():
    conversation = read(
        tools=[
            {
                **TOOL,
                "type": "custom",
                "description": "d",
                "strict": True,
                "cache_control": {"type": "ephemeral"},
            }
        ]
    )
    (tool,) = conversation.tools
    assert (tool.name, tool.description, tool.strict, tool.cache) == (
        "f",
        "d",
        True,
        {"type": "ephemeral"},
    )
    assert tool.parameters == TOOL["input_schema"]


@pytest.mark.parametrize(
    "kind",
    [
        "bash_20250124",
        "text_editor_20250728",
        "computer_20251124",
        "mcp_toolset",
        "web_fetch_20250910",
    ],
)
def test_tools_that_only_anthropic_knows_are_refused(kind: str):
    error = refusal(tools=[TOOL, {"type": kind, "name": "x"}])
    assert (error.kind, error.param) == (Kind.TOOL_NOT_SUPPORTED, "tools[1].type")


def test_the_search_tool_becomes_the_neutral_one():
    place = {"type": "approximate", "city": "Bern", "country": "CH", "region": None}
    conversation = read(
        tools=[
            {
                "type": "web_search_20250305",
                "name": "web_search",
                "user_location": place,
                "max_uses": 2,
            }
        ]
    )
    assert conversation.web_search == WebSearch({"city": "Bern", "country": "CH"})
    assert conversation.tools == []
    assert conversation.given == {
        "web_search": "tools[web_search]",
        "web_search.location": "tools[web_search].user_location",
        "web_search.max_uses": "tools[web_search].max_uses",
    }
    assert read(
        tools=[{"type": "web_search_20260318", "name": "web_search"}]
    ).web_search == WebSearch(None)


def names(**fields: Any) -> list[str]:
    return [tool.name for tool in read(**fields).tools]


DEFERRED = {"name": "rare", "input_schema": {"type": "object"}, "defer_loading": True}


def found(name: str) -> dict[str, Any]:
    reference = {"type": "tool_reference", "tool_name": name}
    return {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t", "content": [reference]}],
    }


def test_a_deferred_tool_is_hidden_until_a_search_finds_it():
    assert names(tools=[TOOL, DEFERRED]) == ["f"]
    conversation = read(tools=[TOOL, DEFERRED], messages=[USER, found("rare")])
    assert [tool.name for tool in conversation.tools] == ["f", "rare"]
    assert not any(tool.deferred for tool in conversation.tools)
    (result,) = conversation.turns[1].parts
    assert isinstance(result, Result)
    assert result.content == [Text("Tool rare is now available.")]


def test_a_deferred_tool_that_was_called_is_shown():
    called = {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "t", "name": "rare", "input": {}}],
    }
    assert names(tools=[DEFERRED], messages=[USER, called]) == ["rare"]


def change(kind: str, tool: dict[str, Any]) -> dict[str, Any]:
    return {
        "role": "system",
        "content": [{"type": kind, "tool": tool}, {"type": "text", "text": "Changed."}],
    }


def test_messages_add_remove_and_bring_tools():
    reference = {"type": "tool_reference", "name": "rare"}
    added = change("tool_addition", reference)
    removed = change("tool_removal", reference)
    assert names(tools=[DEFERRED], messages=[USER, added]) == ["rare"]
    assert names(tools=[DEFERRED], messages=[USER, added, removed]) == []
    brought = change(
        "tool_addition", {"type": "tool_definition", "definition": {**TOOL, "name": "new"}}
    )
    assert names(tools=[TOOL], messages=[USER, brought]) == ["f", "new"]
    assert read(messages=[USER, brought]).turns[1].parts == [Text("Changed.")]
    foreign = change("tool_addition", {"type": "mcp_toolset_reference", "server_name": "s"})
    assert refusal(messages=[USER, foreign]).kind is Kind.TOOL_NOT_SUPPORTED


@pytest.mark.parametrize(
    ("choice", "read_as"),
    [
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "any"}, ToolChoice("required")),
        ({"type": "none"}, ToolChoice("none")),
        ({"type": "tool", "name": "f"}, ToolChoice("tool", "f")),
    ],
)
def test_tool_choices(choice: dict[str, Any], read_as: ToolChoice):
    conversation = read(tools=[TOOL], tool_choice=choice)
    assert conversation.tool_choice == read_as
    assert conversation.parallel is None


def test_parallel_calls_may_be_ruled_out():
    conversation = read(
        tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True}
    )
    assert conversation.parallel is False
    assert conversation.given["parallel"] == "tool_choice.disable_parallel_tool_use"
    assert refusal(tool_choice={"type": "tool"}).param == "tool_choice.name"


# Anything at all.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
KEYS = [
    "max_tokens",
    "system",
    "messages",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "metadata",
    "stop_sequences",
    "stream",
    "temperature",
    "top_k",
    "service_tier",
    "cache_control",
    "mcp_servers",
    "role",
    "content",
    "type",
    "text",
    "source",
    "data",
    "name",
    "input_schema",
    "id",
    "tool_use_id",
    "is_error",
    "effort",
    "format",
    "schema",
    "tool",
    "definition",
    "url",
    "file_id",
    "media_type",
    "title",
    "context",
    "input",
    "thinking",
    "signature",
    "budget_tokens",
    "display",
    "user_id",
    "user_location",
]
WORDS = [
    "user",
    "assistant",
    "system",
    "text",
    "image",
    "document",
    "tool_result",
    "tool_use",
    "thinking",
    "redacted_thinking",
    "base64",
    "url",
    "file",
    "content",
    "json_schema",
    "enabled",
    "adaptive",
    "auto",
    "any",
    "tool",
    "custom",
    "web_search_20250305",
    "tool_addition",
    "tool_definition",
    "tool_reference",
    "search_result",
    "server_tool_use",
]
LIKELY = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(WORDS) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=25,
)


def refusal_of(body: dict[str, Any]) -> int | None:
    """The status with which ``body`` is refused, if it is."""
    try:
        read_request(body)
    except GatewayError as error:
        return error.row.status
    return None


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), JSON | LIKELY, max_size=8))
def test_any_body_is_read_or_refused(body: dict[str, Any]):
    assert refusal_of(body) in (None, 400)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "assistant", "system"]), "content": LIKELY}
        )
    )
)
def test_any_messages_are_read_or_refused(messages: list[Any]):
    assert refusal_of({"messages": messages}) in (None, 400)
