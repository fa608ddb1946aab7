"""Responses requests, read."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.conversation import (
    Audio,
    Call,
    File,
    Format,
    Image,
    Reasoning,
    Redacted,
    Refusal,
    Result,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    Turn,
    WebSearch,
)
from proxy.dialects.envelope import wrap_blocks
from proxy.dialects.responses.read import echo, read_request
from proxy.errors import GatewayError, Kind


def read(**fields: Any):
    return read_request({"model": "m", "input": "Hi", **fields})


def read_items(*items: Any):
    return read_request({"input": list(items)})


def message(role: str, *parts: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(parts)}


def text(value: str, kind: str = "input_text") -> dict[str, Any]:
    return {"type": kind, "text": value}


def user(*parts: Any):
    return read_items(message("user", *parts)).turns[0].parts


# Input.


def test_a_string_is_what_the_user_says():
    conversation = read()
    assert conversation.turns == [Turn("user", [Text("Hi")])]
    assert not conversation.stream
    assert conversation.dropped == frozenset()


def test_instructions_stand_before_the_leading_system_messages():
    conversation = read(
        instructions="A",
        input=[
            message("developer", text("B")),
            {"type": "additional_tools", "role": "developer", "tools": []},
            {"role": "system", "content": "C"},
            {"role": "user", "content": "Hi"},
        ],
    )
    assert conversation.system == [Text("A"), Text("B"), Text("C")]
    assert conversation.turns == [Turn("user", [Text("Hi")])]


def test_a_later_system_message_keeps_its_place():
    conversation = read_items(message("user", text("Hi")), message("developer", text("Late")))
    assert conversation.turns[1] == Turn("system", [Text("Late")])


def test_an_assistant_s_message_holds_text_and_refusals():
    conversation = read_items(
        message("assistant", text("ok", "output_text"), {"type": "refusal", "refusal": "no"})
    )
    assert conversation.turns == [Turn("assistant", [Text("ok"), Refusal("no")])]


def test_images_come_as_data_or_as_address():
    parts = user(
        {"type": "input_image", "image_url": "data:image/PNG;base64,AAAA", "detail": "low"},
        {"type": "input_image", "image_url": "data:;base64,AAAA"},
        {"type": "input_image", "image_url": "https://e.com/a.png"},
    )
    path = "input[0].content[%d].image_url"
    assert parts == [
        Image(data="AAAA", mime="image/png", detail="low", path=path % 0),
        Image(data="AAAA", mime="image/png", path=path % 1),
        Image(url="https://e.com/a.png", path=path % 2),
    ]


def test_files_come_as_data_or_as_address():
    parts = user(
        {
            "type": "input_file",
            "file_data": "data:application/pdf;charset=x;base64,AAAA",
            "filename": "a.pdf",
        },
        {"type": "input_file", "file_data": "AAAA", "filename": "a.TXT"},
        {"type": "input_file", "file_data": "AAAA"},
        {"type": "input_file", "file_url": "https://e.com/a.pdf"},
    )
    path = "input[0].content[%d].%s"
    assert parts == [
        File(data="AAAA", mime="application/pdf", name="a.pdf", path=path % (0, "file_data")),
        File(data="AAAA", mime="text/plain", name="a.TXT", path=path % (1, "file_data")),
        File(data="AAAA", mime="application/pdf", path=path % (2, "file_data")),
        File(url="https://e.com/a.pdf", path=path % (3, "file_url")),
    ]


def test_audio_is_read_for_upstreams_that_hear():
    parts = user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})
    assert parts == [Audio("AAAA", "wav", "input[0].content[0].input_audio")]


def test_calls_and_their_results_come_as_items():
    conversation = read_items(
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "ls",
            "namespace": "mcp",
            "arguments": "{}",
        },
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** Begin"},
        {"type": "function_call_output", "call_id": "c1", "output": "a.txt"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [text("done")]},
    )
    assert [part for turn in conversation.turns for part in turn.parts] == [
        Call("c1", "ls", "{}", namespace="mcp"),
        Call("c2", "patch", "*** Begin", custom=True),
        Result("c1", [Text("a.txt")]),
        Result("c2", [Text("done")]),
    ]
    assert [turn.role for turn in conversation.turns] == ["assistant", "assistant", "user", "user"]


ANTHROPIC: list[Thinking | Redacted] = [Thinking("hm", "SIG"), Redacted("R")]


@pytest.mark.parametrize(
    ("item", "parts"),
    [
        ({"summary": [], "encrypted_content": "gw1:gem:S"}, [Redacted("gw1:gem:S")]),
        (
            {"summary": [text("a"), text("b")], "encrypted_content": "gw1:gem:S"},
            [Thinking("a\n\nb", "gw1:gem:S")],
        ),
        ({"summary": [], "content": [text("raw")]}, [Thinking("raw")]),
        ({"content": None, "summary": [], "encrypted_content": "ENC"}, [Redacted("gw1:oai:ENC")]),
        ({"summary": [text("a")], "encrypted_content": wrap_blocks(ANTHROPIC)}, ANTHROPIC),
    ],
)
def test_reasoning_comes_back_with_its_seal(item, parts):
    assert read_items({"type": "reasoning", **item}).turns == [Turn("assistant", parts)]


@pytest.mark.parametrize("seal", [None, "", "gw1:ant:AAA"])
def test_reasoning_that_carries_nothing_is_left_out(seal):
    item = {"type": "reasoning", "summary": [], "encrypted_content": seal}
    assert read_items(item, message("user", text("Hi"))).turns == [Turn("user", [Text("Hi")])]


def test_traces_of_openai_s_own_tools_are_left_out_and_told():
    conversation = read_items(
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        message("user", text("Hi")),
    )
    assert conversation.turns == [Turn("user", [Text("Hi")])]
    assert conversation.dropped == {"input[web_search_call]"}


# Tools.


FUNCTION = {
    "type": "function",
    "name": "f",
    "description": "d",
    "parameters": {"type": "object"},
    "strict": True,
}


def test_tools_of_all_kinds_become_functions_and_free_text_tools():
    conversation = read(
        tools=[
            FUNCTION,
            {"type": "custom", "name": "c", "format": {"type": "text"}},
            {
                "type": "custom",
                "name": "g",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
            },
            {
                "type": "namespace",
                "name": "ns",
                "description": "",
                "tools": [{"type": "function", "name": "f"}],
            },
        ],
    )
    assert conversation.tools == [
        Tool("f", "d", {"type": "object"}, strict=True),
        Tool("c", custom=True),
        Tool("g", custom=True, grammar=("lark", "start: x")),
        Tool("f", namespace="ns"),
    ]


def test_tools_among_the_items_join_the_others_once():
    additional = {
        "type": "additional_tools",
        "role": "developer",
        "tools": [FUNCTION, {"type": "custom", "name": "c"}],
    }
    conversation = read(tools=[FUNCTION], input=[additional, message("user", text("Hi"))])
    assert [tool.name for tool in conversation.tools] == ["f", "c"]


def test_web_search_is_asked_for_with_its_place():
    search = {
        "type": "web_search_preview",
        "user_location": {"type": "approximate", "city": "Bonn", "region": None},
        "filters": {"allowed_domains": []},
    }
    conversation = read(tools=[search])
    assert conversation.web_search == WebSearch({"city": "Bonn"})
    assert set(conversation.given.values()) == {
        "tools[web_search]",
        "tools[web_search].user_location",
        "tools[web_search].filters",
    }
    assert read(tools=[{"type": "web_search"}]).web_search == WebSearch()


def test_tools_that_openai_runs_are_dropped_by_name_and_invented_ones_without():
    assert read(tools=[{"type": "mcp"}, {"type": "x\r\n"}]).dropped == {
        "tools[mcp]",
        "tools[unknown]",
    }


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "f"}, ToolChoice("tool", name="f")),
        ({"type": "custom", "name": "c"}, ToolChoice("tool", name="c")),
        ({"type": "function", "name": "f", "namespace": "ns"}, ToolChoice("tool", name="ns__f")),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}, {"type": "mcp"}],
            },
            ToolChoice("required", allowed=("f",)),
        ),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}, ToolChoice("none")),
    ],
)
def test_tool_choices(value, choice):
    conversation = read(tool_choice=value)
    assert conversation.tool_choice == choice
    assert conversation.dropped == {"tool_choice"}


@pytest.mark.parametrize(
    "value",
    [
        {"type": "file_search"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "mcp"}]},
    ],
)
def test_a_tool_of_openai_s_own_cannot_be_forced(value):
    with pytest.raises(GatewayError) as refused:
        read(tool_choice=value)
    assert (refused.value.kind, refused.value.param) == (Kind.TOOL_NOT_SUPPORTED, "tool_choice")


# Parameters.


def test_parameters_are_read_and_named_as_the_client_names_them():
    conversation = read(
        stream=True,
        max_output_tokens=5,
        temperature=1,
        top_p=0.5,
        parallel_tool_calls=False,
        service_tier="flex",
        metadata={"a": "b"},
        prompt_cache_key="k",
        user="u",
        text={"verbosity": "low"},
    )
    assert conversation.stream
    assert conversation.max_tokens == 5
    assert (conversation.temperature, conversation.top_p) == (1, 0.5)
    assert conversation.parallel is False
    assert (conversation.service_tier, conversation.metadata) == ("flex", {"a": "b"})
    assert (conversation.cache_key, conversation.user, conversation.verbosity) == ("k", "u", "low")
    assert conversation.given == {
        "max_tokens": "max_output_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "parallel": "parallel_tool_calls",
        "service_tier": "service_tier",
        "metadata": "metadata",
        "cache_key": "prompt_cache_key",
        "user": "user",
        "verbosity": "text.verbosity",
    }


def test_the_newer_name_of_the_user_wins():
    conversation = read(user="a", safety_identifier="b")
    assert (conversation.user, conversation.given["user"]) == ("b", "safety_identifier")


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        ({"effort": "high"}, Reasoning(effort="high", want_text="no")),
        ({"effort": "low", "summary": "auto"}, Reasoning(effort="low", want_text="yes")),
        ({"generate_summary": "auto"}, Reasoning(want_text="yes")),
        ({"effort": "none"}, Reasoning(effort="none", off=True, want_text="no")),
        ({"effort": None}, None),
        ({}, None),
    ],
)
def test_reasoning_is_shown_where_a_summary_is_asked_for(reasoning, expected):
    conversation = read(reasoning=reasoning)
    assert conversation.reasoning == expected
    assert conversation.wants_thinking_blocks == (expected is not None)


def test_what_no_other_dialect_has_is_dropped_by_name():
    conversation = read(
        reasoning={"mode": "standard", "context": "all_turns"},
        include=["reasoning.encrypted_content", "file_search_call.results"],
        truncation="auto",
        top_logprobs=1,
        store=True,
        invented=1,
        nothing=None,
    )
    assert conversation.wants_thinking_blocks
    assert conversation.dropped == {
        "reasoning.mode",
        "reasoning.context",
        "include",
        "truncation",
        "top_logprobs",
        "store",
        "unknown",
    }


def test_not_storing_is_what_happens_anyway():
    assert (
        read(store=False, include=["reasoning.encrypted_content"], background=False).dropped
        == frozenset()
    )


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"type": "text"}, Format()),
        ({"type": "json_object"}, Format("json")),
        (
            {"type": "json_schema", "name": "o", "schema": {}, "strict": True, "description": "d"},
            Format("schema", name="o", description="d", schema={}, strict=True),
        ),
    ],
)
def test_forms_of_the_answer(form, expected):
    conversation = read(text={"format": form})
    assert conversation.format == expected
    assert conversation.dropped == (set() if expected.kind == "text" else {"text.format"})


# Refusals.


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].id"),
        (
            {"input": [message("user", {"type": "input_image", "file_id": "file-1"})]},
            "input[0].content[0].file_id",
        ),
        (
            {"input": [message("user", {"type": "input_file", "file_id": "file-1"})]},
            "input[0].content[0].file_id",
        ),
    ],
)
def test_what_only_openai_s_servers_hold_is_refused(fields, param):
    with pytest.raises(GatewayError) as refused:
        read(**fields)
    assert (refused.value.kind, refused.value.param) == (Kind.UNSUPPORTED_PARAMETER, param)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "compaction", "encrypted_content": "x"}, "input[0]"),
        ({"type": "invented"}, "input[0]"),
        (message("user", {"type": "input_video"}), "input[0].content[0]"),
        (message("system", {"type": "input_image", "image_url": "x"}), "input[0].content[0]"),
        (message("assistant", {"type": "input_file", "file_url": "x"}), "input[0].content[0]"),
    ],
)
def test_content_without_a_form_is_refused(item, param):
    with pytest.raises(GatewayError) as refused:
        read_items(item)
    assert (refused.value.kind, refused.value.param) == (Kind.UNSUPPORTED_CONTENT, param)


@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"input": None}, "input", "found nothing, expected a string or an array"),
        ({"input": 1}, "input", "found an integer, expected a string or an array"),
        ({"input": [1]}, "input[0]", "found an integer, expected an object"),
        (
            {"input": [{}]},
            "input[0].role",
            "found nothing, expected one of user, assistant, system, developer",
        ),
        (
            {"input": [{"role": "tool"}]},
            "input[0].role",
            "found 'tool', expected one of user, assistant, system, developer",
        ),
        (
            {"input": [{"role": "user"}]},
            "input[0].content",
            "found nothing, expected a string or an array",
        ),
        (
            {"input": [message("user", {"type": "input_text"})]},
            "input[0].content[0].text",
            "found nothing, expected a string",
        ),
        ({"model": 1}, "model", "found an integer, expected a string"),
        ({"stream": 1}, "stream", "found an integer, expected a boolean"),
        ({"temperature": True}, "temperature", "found a boolean, expected a finite number"),
        ({"max_output_tokens": True}, "max_output_tokens", "found a boolean, expected an integer"),
        ({"max_output_tokens": 0}, "max_output_tokens", "found 0, expected at least 1"),
        ({"metadata": []}, "metadata", "found an array, expected an object"),
        ({"tools": {}}, "tools", "found an object, expected an array"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "found nothing, expected a string"),
        (
            {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "x"}]}]},
            "tools[0].tools[0].type",
            "found 'x', expected one of function, custom",
        ),
        ({"tool_choice": 1}, "tool_choice", "found an integer, expected a string or an object"),
        ({"tool_choice": "f"}, "tool_choice", "found 'f', expected one of auto, none, required"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", None),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", None),
        ({"include": [None]}, "include[0]", "found nothing, expected a string"),
    ],
)
def test_what_has_the_wrong_form_is_refused_with_its_path(fields, param, told):
    with pytest.raises(GatewayError) as refused:
        read(**fields)
    assert (refused.value.kind, refused.value.param) == (Kind.INVALID_REQUEST, param)
    assert told is None or refused.value.message == f"`{param}`: {told}."


def test_a_data_url_without_base64_is_refused():
    with pytest.raises(GatewayError) as refused:
        read_items(message("user", {"type": "input_image", "image_url": "data:image/png,x"}))
    assert refused.value.kind is Kind.INVALID_REQUEST
    assert refused.value.param == "input[0].content[0].image_url"
    assert refused.value.message == (
        "`input[0].content[0].image_url`: expected a data URL such as data:image/png;base64,…"
    )


# What an answer repeats.


def test_an_answer_repeats_the_request_but_not_its_prompts():
    assert echo({}) == {
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "top_p": None,
    }
    body = {
        "instructions": "long",
        "tools": [FUNCTION],
        "temperature": 0,
        "tool_choice": {"type": "function", "name": "f"},
    }
    assert echo(body) == {
        **echo({}),
        "temperature": 0,
        "tool_choice": {"type": "function", "name": "f"},
    }


# Anything at all.


WHOLE: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "instructions": "S",
    "tools": [
        FUNCTION,
        {
            "type": "custom",
            "name": "g",
            "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
        },
        {"type": "namespace", "name": "ns", "tools": [FUNCTION]},
        {"type": "web_search", "user_location": {"city": "Bonn"}},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "f"}],
    },
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "o", "schema": {}}, "verbosity": "low"},
    "include": ["reasoning.encrypted_content"],
    "max_output_tokens": 10,
    "metadata": {},
    "input": [
        message("developer", text("D")),
        message(
            "user",
            text("Hi"),
            {
                "type": "input_image",
                "image_url": "data:image/png;base64," + base64.b64encode(b"x").decode(),
            },
            {"type": "input_file", "file_data": "AAAA", "filename": "a.pdf"},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        ),
        {
            "type": "reasoning",
            "summary": [text("a")],
            "encrypted_content": wrap_blocks([Thinking("hm", "SIG")]),
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [text("r")]},
    ],
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: Any, path: tuple = ()):
    yield path
    children = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, child in children:
        yield from places(child, (*path, key))


def replaced(value: Any, path: tuple, by: Any) -> Any:
    if not path:
        return by
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


def assert_read_or_refused(body: dict[str, Any]) -> None:
    try:
        read_request(body)
        status = 400
    except GatewayError as refused:
        status = refused.row.status
    assert status == 400


@given(st.sampled_from([path for path in places(WHOLE) if path]), JSON)
def test_any_value_in_any_place_is_read_or_refused(path, value):
    assert_read_or_refused(replaced(WHOLE, path, value))


@given(st.dictionaries(st.sampled_from(sorted(WHOLE)) | st.text(max_size=5), JSON))
def test_any_body_is_read_or_refused(body):
    assert_read_or_refused(body)
