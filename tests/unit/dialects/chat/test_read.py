from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.chat.read import read_request
from proxy.dialects.conversation import (
    Audio,
    Call,
    Conversation,
    File,
    Format,
    Image,
    Part,
    Reasoning,
    Redacted,
    Refusal,
    Result,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    WebSearch,
)
from proxy.errors import GatewayError, Kind

HI = [{"role": "user", "content": "Hi"}]


def read(**fields: Any) -> Conversation:
    return read_request({"model": "m", "messages": HI, **fields})


def parts(*messages: dict[str, Any]) -> list[Part]:
    """The parts of the last message."""
    return read(messages=list(messages)).turns[-1].parts


def refusal(**fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        read(**fields)
    return caught.value


# Parameters.


def test_a_plain_question_gives_nothing_but_its_turn():
    conversation = read()
    assert [(turn.role, turn.parts) for turn in conversation.turns] == [("user", [Text("Hi")])]
    assert conversation.given == {}
    assert not conversation.stream


def test_parameters_are_noted_under_their_neutral_names():
    conversation = read(
        temperature=1,
        top_p=0.5,
        top_k=40,
        seed=7,
        presence_penalty=0.1,
        frequency_penalty=-0.1,
        logit_bias={"1": 1},
        logprobs=True,
        top_logprobs=2,
        verbosity="low",
        prompt_cache_key="k",
        service_tier="flex",
        metadata={"a": "b"},
        parallel_tool_calls=False,
        cache_control={"type": "ephemeral"},
    )
    assert (conversation.temperature, conversation.top_p, conversation.top_k) == (1, 0.5, 40)
    assert (conversation.cache_key, conversation.parallel) == ("k", False)
    assert conversation.cache == {"type": "ephemeral"}
    assert conversation.given["cache_key"] == "prompt_cache_key"
    assert conversation.given["parallel"] == "parallel_tool_calls"
    assert conversation.given["cache"] == "cache_control"
    assert len(conversation.given) == 15


def test_null_counts_as_absent():
    names = ["temperature", "stop", "tools", "tool_choice", "response_format", "reasoning", "user"]
    assert read(**dict.fromkeys(names)).given == {}


def test_what_nobody_else_has_is_noted_by_its_name_and_inventions_are_not_repeated():
    conversation = read(store=True, prediction={}, **{"x\r\ny": 1, "other": 2, "nothing": None})
    assert conversation.given == {
        "store": "store",
        "prediction": "prediction",
        "unknown": "unknown",
    }


def test_the_newer_output_limit_wins():
    conversation = read(max_tokens=5, max_completion_tokens=9)
    assert conversation.max_tokens == 9
    assert conversation.given == {"max_tokens": "max_completion_tokens"}
    assert read(max_tokens=5).given == {"max_tokens": "max_tokens"}


def test_one_choice_is_what_everybody_gives():
    assert read(n=1).given == {}
    assert (read(n=3).n, read(n=3).given) == (3, {"n": "n"})


def test_stop_is_a_string_or_several():
    assert read(stop="END").stop == ["END"]
    assert read(stop=["a", "b"]).stop == ["a", "b"]
    assert read(stop=[]).given == {}


def test_stream_options():
    conversation = read(
        stream=True, stream_options={"include_usage": True, "include_obfuscation": False}
    )
    assert conversation.stream
    assert conversation.include_usage
    assert conversation.given == {
        "stream_options.include_obfuscation": "stream_options.include_obfuscation"
    }


def test_the_safety_identifier_beats_the_user():
    conversation = read(user="u", safety_identifier="s")
    assert conversation.user == "s"
    assert conversation.given == {"user": "safety_identifier"}
    assert read(user="u").given == {"user": "user"}
    assert read(user="").user is None


def test_formats():
    assert read(response_format={"type": "text"}).given == {}
    assert read(response_format={"type": "json_object"}).format == Format("json")
    told = {"name": "n", "description": "d", "schema": {"type": "object"}, "strict": True}
    assert read(response_format={"type": "json_schema", "json_schema": told}).format == Format(
        "schema", "n", "d", {"type": "object"}, strict=True
    )
    assert read(
        response_format={"type": "json_schema", "json_schema": {"name": "n"}}
    ).format == Format("json", "n")
    assert refusal(response_format={"type": "xml"}).param == "response_format.type"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"reasoning_effort": "high"}, Reasoning("high")),
        ({"reasoning_effort": "none"}, Reasoning("none", off=True, want_text="no")),
        ({"reasoning": {"effort": "low"}}, Reasoning("low", want_text="yes")),
        ({"reasoning": {"max_tokens": 900}}, Reasoning(budget=900, want_text="yes")),
        ({"reasoning": {"enabled": True}}, Reasoning(adaptive=True, want_text="yes")),
        ({"reasoning": {"enabled": False}}, Reasoning(off=True, want_text="no")),
        ({"reasoning": {"exclude": True}}, Reasoning(want_text="no")),
        ({"reasoning": {"effort": "none"}}, Reasoning("none", off=True, want_text="no")),
        (
            {"thinking": {"type": "adaptive"}},
            Reasoning(adaptive=True, kind="adaptive", want_text="yes"),
        ),
        ({"thinking": {"type": "enabled"}}, Reasoning(adaptive=True, want_text="yes")),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}},
            Reasoning(budget=2048, kind="enabled", display="omitted", want_text="no"),
        ),
        ({"thinking": {"type": "disabled"}}, Reasoning(off=True, kind="disabled", want_text="no")),
        (
            {"thinking": {"type": "adaptive"}, "reasoning_effort": "max"},
            Reasoning("max", adaptive=True, kind="adaptive", want_text="yes"),
        ),
        (
            {"thinking": {"type": "adaptive"}, "reasoning_effort": "none"},
            Reasoning(adaptive=True, kind="adaptive", want_text="yes"),
        ),
    ],
)
def test_reasoning_is_asked_for_in_three_ways(fields, wanted):
    conversation = read(**fields)
    assert conversation.reasoning == wanted
    assert conversation.wants_thinking_blocks
    assert list(conversation.given) == ["reasoning"]


def test_unknown_words_for_reasoning_are_refused():
    assert refusal(reasoning_effort="huge").param == "reasoning_effort"
    assert refusal(reasoning={"effort": "huge"}).param == "reasoning.effort"
    assert refusal(thinking={"type": "maybe"}).param == "thinking.type"
    assert "'huge'" in refusal(reasoning_effort="huge").message


def test_web_search_takes_the_place_flat():
    place = {"type": "approximate", "approximate": {"city": "Paris", "country": None}}
    conversation = read(web_search_options={"user_location": place, "search_context_size": "low"})
    assert conversation.web_search == WebSearch({"city": "Paris"}, "low")
    assert conversation.given == {
        "web_search": "web_search_options",
        "web_search.location": "web_search_options.user_location",
        "web_search.context_size": "web_search_options.search_context_size",
    }
    assert read(web_search_options={}).web_search == WebSearch()


def test_spoken_answers_are_refused():
    assert read(modalities=["text"]).given == {}
    error = refusal(modalities=["text", "audio"])
    assert (error.kind, error.param) == (Kind.UNSUPPORTED_CONTENT, "modalities")
    assert refusal(audio={"voice": "alloy"}).kind is Kind.UNSUPPORTED_CONTENT
    assert refusal(modalities="text").kind is Kind.INVALID_REQUEST


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": "1"}, "`temperature`: found a string, expected a finite number."),
        ({"n": True}, "`n`: found a boolean, expected an integer."),
        ({"n": 0}, "`n`: found 0, expected at least 1."),
        ({"max_tokens": 0}, "`max_tokens`: found 0, expected at least 1."),
        ({"stream": 1}, "`stream`: found an integer, expected a boolean."),
        ({"stop": [1]}, "`stop[0]`: found an integer, expected a string."),
        ({"stop": {}}, "`stop`: found an object, expected an array."),
        ({"user": []}, "`user`: found an array, expected a string."),
        ({"logit_bias": 1}, "`logit_bias`: found an integer, expected an object."),
        ({"modalities": "text"}, "`modalities`: found a string, expected an array."),
        ({"response_format": {}}, "`response_format.type`: found nothing, expected a string."),
        (
            {"response_format": {"type": "xml"}},
            "`response_format.type`: found 'xml', expected one of text, json_object, json_schema.",
        ),
        (
            {"response_format": {"type": "json_schema"}},
            "`response_format.json_schema`: found nothing, expected an object.",
        ),
        ({"messages": None}, "`messages`: found nothing, expected an array."),
        ({"messages": ["x"]}, "`messages[0]`: found a string, expected an object."),
        (
            {"messages": [{"role": "robot"}]},
            (
                "`messages[0].role`: found 'robot', expected one of "
                "system, developer, user, assistant, tool, function."
            ),
        ),
        (
            {"messages": [{"role": "user", "content": 1}]},
            "`messages[0].content`: found an integer, expected a string or an array.",
        ),
        (
            {"tools": [{"function": {"name": ""}}]},
            "`tools[0].function.name`: found '', expected a name.",
        ),
        (
            {"tool_choice": "f"},
            "`tool_choice`: found 'f', expected one of auto, none, required.",
        ),
    ],
)
def test_what_has_the_wrong_form_is_told_with_its_place(fields, message):
    error = refusal(**fields)
    assert error.kind is Kind.INVALID_REQUEST
    assert error.message == message
    assert message.startswith(f"`{error.param}`")


# Tools.


def test_a_function_tool():
    function = {
        "name": "f",
        "description": "d",
        "parameters": {"type": "object"},
        "strict": True,
        "cache_control": {"type": "ephemeral"},
    }
    (tool,) = read(tools=[{"type": "function", "function": function}]).tools
    assert tool == Tool("f", "d", {"type": "object"}, strict=True, cache={"type": "ephemeral"})


def test_a_tool_without_a_type_is_a_function_and_its_cache_marker_may_stand_outside():
    (tool,) = read(
        tools=[{"function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}]
    ).tools
    assert tool == Tool("f", cache={"type": "ephemeral"})


def test_custom_tools_keep_their_grammar():
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: WORD"}}
    tools = [
        {"type": "custom", "custom": {"name": "a", "description": "d", "format": grammar}},
        {"type": "custom", "custom": {"name": "b", "format": {"type": "text"}}},
    ]
    assert read(tools=tools).tools == [
        Tool("a", "d", custom=True, grammar=("lark", "start: WORD")),
        Tool("b", custom=True),
    ]


def test_a_providers_own_tool_is_refused_by_name():
    error = refusal(tools=[{"type": "web_search"}])
    assert (error.kind, error.param) == (Kind.TOOL_NOT_SUPPORTED, "tools[0].type")
    assert refusal(tools=[{"type": "function", "function": {"name": ""}}]).param == (
        "tools[0].function.name"
    )


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("auto", ToolChoice("auto")),
        ("any", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("tool", "f")),
        ({"type": "custom", "custom": {"name": "c"}}, ToolChoice("tool", "c")),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [
                        {"type": "function", "function": {"name": "f"}},
                        {"type": "custom", "custom": {"name": "c"}},
                    ],
                },
            },
            ToolChoice("required", allowed=("f", "c")),
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"tools": []}},
            ToolChoice("auto", allowed=()),
        ),
    ],
)
def test_tool_choices(choice, wanted):
    conversation = read(tool_choice=choice)
    assert conversation.tool_choice == wanted
    assert conversation.given == {"tool_choice": "tool_choice"}


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ("sometimes", "tool_choice"),
        (1, "tool_choice"),
        ({"type": "hosted"}, "tool_choice.type"),
        (
            {"type": "allowed_tools", "allowed_tools": {"tools": [{"type": "mcp"}]}},
            "tool_choice.allowed_tools.tools[0].type",
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "x"}},
            "tool_choice.allowed_tools.mode",
        ),
    ],
)
def test_wrong_tool_choices_are_told_with_their_place(choice, param):
    assert refusal(tool_choice=choice).param == param


def test_functions_are_tools_of_an_older_time():
    conversation = read(functions=[{"name": "f"}], function_call={"name": "f"})
    assert conversation.tools == [Tool("f")]
    assert conversation.tool_choice == ToolChoice("tool", "f")
    assert conversation.legacy_functions
    assert conversation.given == {"tool_choice": "function_call"}
    assert read(function_call="none").tool_choice == ToolChoice("none")


def test_beside_tools_functions_do_not_count():
    conversation = read(tools=[{"function": {"name": "g"}}], functions=[{"name": "f"}])
    assert conversation.tools == [Tool("g")]
    assert not conversation.legacy_functions


# Messages.


def test_the_leading_run_of_system_and_developer_is_the_system_prompt():
    conversation = read(
        messages=[
            {
                "role": "system",
                "content": [{"type": "text", "text": "A"}, {"type": "text", "text": ""}],
            },
            {"role": "developer", "content": "B", "cache_control": {"type": "ephemeral"}},
            *HI,
            {"role": "system", "content": "C"},
        ]
    )
    assert conversation.system == [Text("A"), Text("B", {"type": "ephemeral"})]
    assert [turn.role for turn in conversation.turns] == ["user", "system"]
    assert conversation.turns[1].parts == [Text("C")]


def test_a_system_message_holds_text_only():
    picture = {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}
    error = refusal(messages=[{"role": "system", "content": [picture]}, *HI])
    assert (error.kind, error.param) == (Kind.UNSUPPORTED_CONTENT, "messages[0].content")


def test_user_content_of_every_kind():
    content = [
        {"type": "text", "text": "see", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": "https://e.com/a.png"},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        },
        {"type": "file", "file": {"file_data": "https://e.com/a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    at = "messages[0].content"
    assert parts({"role": "user", "content": content}) == [
        Text("see", {"type": "ephemeral"}),
        Image(data="AAAA", mime="image/png", detail="low", path=f"{at}[1].image_url.url"),
        Image(url="https://e.com/a.png", path=f"{at}[2].image_url"),
        File(data="JVBE", mime="application/pdf", name="a.pdf", path=f"{at}[3].file.file_data"),
        File(url="https://e.com/a.pdf", path=f"{at}[4].file.file_data"),
        File(file_id="file-1", path=f"{at}[5].file"),
        Audio("AAAA", "wav", path=f"{at}[6].input_audio"),
    ]


@pytest.mark.parametrize(
    "url",
    ["data:image/png,AAAA", "data:;base64,AAAA", "data:image/png;base64", "data:" + "x" * 300],
)
def test_a_data_url_needs_a_media_type_and_base64(url):
    content = [{"type": "image_url", "image_url": {"url": url}}]
    error = refusal(messages=[{"role": "user", "content": content}])
    assert error.param == "messages[0].content[0].image_url.url"
    assert len(error.message) < 200


def test_a_file_needs_a_data_url():
    content = [{"type": "file", "file": {"file_data": "JVBERi0="}}]
    error = refusal(messages=[{"role": "user", "content": content}])
    assert error.param == "messages[0].content[0].file.file_data"


def test_content_that_nobody_knows_is_refused_and_not_dropped():
    error = refusal(messages=[{"role": "user", "content": [{"type": "video_url"}]}])
    assert (error.kind, error.param) == (Kind.UNSUPPORTED_CONTENT, "messages[0].content[0].type")
    assert refusal(messages=[{"role": "user", "content": 1}]).param == "messages[0].content"
    assert refusal(messages=[{"role": "narrator"}]).param == "messages[0].role"


@pytest.mark.parametrize(
    ("mark", "cache"),
    [
        ({"prompt_cache_breakpoint": {"mode": "explicit"}}, {"type": "ephemeral"}),
        ({"prompt_cache_breakpoint": {"ttl": "12h"}}, {"type": "ephemeral", "ttl": "1h"}),
        ({"cache_control": {"type": "ephemeral", "ttl": "5m"}}, {"type": "ephemeral", "ttl": "5m"}),
    ],
)
def test_cache_marks_have_two_spellings(mark, cache):
    part = {"type": "text", "text": "x", **mark}
    assert parts({"role": "user", "content": [part]}) == [Text("x", cache)]


def test_a_whole_messages_cache_mark_goes_to_its_last_part():
    cache = {"type": "ephemeral"}
    assert parts({"role": "user", "content": "x", "cache_control": cache}) == [Text("x", cache)]
    assert parts({"role": "user", "content": "", "cache_control": cache}) == []
    assert parts({"role": "assistant", "refusal": "no", "cache_control": cache}) == [Refusal("no")]


def test_what_the_assistant_said_is_thinking_then_text_then_calls():
    message = {
        "role": "assistant",
        "content": [{"type": "text", "text": "Checking."}, {"type": "refusal", "refusal": "no"}],
        "reasoning_content": "hm",
        "thinking_blocks": [
            {"index": 0, "type": "thinking", "thinking": "hm", "signature": "EqQB"},
            {"index": 1, "type": "redacted_thinking", "data": "RED"},
            {"index": 2, "type": "thinking", "thinking": "unsealed"},
            {"index": 3, "type": "redacted_thinking", "data": ""},
        ],
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c2", "type": "custom", "custom": {"name": "p", "input": "*** A"}},
            {
                "id": "c3",
                "type": "function",
                "function": {"name": "g"},
                "extra_content": {"google": {"thought_signature": "c2ln"}},
            },
        ],
    }
    assert parts(message) == [
        Thinking("hm", "EqQB"),
        Redacted("RED"),
        Text("Checking."),
        Refusal("no"),
        Call("c1", "f", "{}"),
        Call("c2", "p", "*** A", custom=True),
        Call("c3", "g", "", signature="gw1:gem:c2ln"),
    ]


def test_a_seal_that_is_in_its_envelope_already_stays_there():
    seal = {"extra_content": {"google": {"thought_signature": "gw1:gem:c2ln"}}}
    call = {"id": "c", "function": {"name": "f"}, **seal}
    assert parts({"role": "assistant", "tool_calls": [call]}) == [
        Call("c", "f", "", signature="gw1:gem:c2ln")
    ]


def test_reasoning_details_go_back_to_whom_they_are_from():
    details = [
        {"type": "reasoning.summary", "summary": "plan", "format": "openai-responses-v1"},
        {"type": "reasoning.encrypted", "data": "ENC", "format": "openai-responses-v1"},
        {"type": "reasoning.encrypted", "data": "MORE", "format": "openai-responses-v1"},
        {"type": "reasoning.text", "text": "t", "signature": "S", "format": "anthropic-claude-v1"},
        {"type": "reasoning.text", "text": "unsealed", "format": "anthropic-claude-v1"},
        {"type": "reasoning.encrypted", "data": "R", "format": "anthropic-claude-v1"},
        {"type": "reasoning.encrypted", "data": "G", "format": "google-gemini-v1"},
        {"type": "reasoning.encrypted", "data": "X", "format": "xai-responses-v1"},
        {"type": "reasoning.encrypted", "format": "openai-responses-v1"},
        {"type": "reasoning.new"},
    ]
    assert parts({"role": "assistant", "reasoning_details": details}) == [
        Thinking("plan", "gw1:oai:ENC"),
        Redacted("gw1:oai:MORE"),
        Thinking("t", "S"),
        Redacted("R"),
        Thinking("", "gw1:gem:G"),
    ]


def test_mistrals_thinking_inside_the_content_has_no_seal_and_goes():
    content = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "x"}]
    assert parts({"role": "assistant", "content": content}) == [Text("x")]


def test_tool_results():
    text = {
        "role": "tool",
        "tool_call_id": "c1",
        "content": "ok",
        "cache_control": {"type": "ephemeral"},
    }
    assert parts(text) == [Result("c1", [Text("ok")], cache={"type": "ephemeral"})]
    listed = {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "ok"}]}
    assert parts(listed) == [Result("c1", [Text("ok")], in_parts=True)]
    assert refusal(messages=[{"role": "tool"}]).param == "messages[0].tool_call_id"


def test_a_function_result_finds_its_call_by_name():
    call = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
    result = {"role": "function", "name": "f", "content": "ok"}
    turns = read(messages=[*HI, call, result]).turns
    # sha1 of the message's position and the name: the same every time.
    assert turns[1].parts == [Call("call_bd3890d2a3e58ad32d304b28", "f", "{}")]
    assert turns[2].parts == [Result("call_bd3890d2a3e58ad32d304b28", [Text("ok")])]
    assert parts({"role": "function", "name": "g", "content": "ok"}) == [Result("g", [Text("ok")])]


def test_a_spoken_turn_of_the_assistant_is_refused():
    error = refusal(messages=[*HI, {"role": "assistant", "audio": {"id": "audio_1"}}])
    assert (error.kind, error.param) == (Kind.UNSUPPORTED_CONTENT, "messages[1].audio")


# Whatever comes, it is read or refused.

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS
    | st.sampled_from(["text", "image_url", "function", "custom", "auto", "data:a/b;base64,"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "text",
                    "role",
                    "content",
                    "function",
                    "name",
                    "id",
                    "image_url",
                    "url",
                    "file",
                    "custom",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "function", "developer"])},
        optional=dict.fromkeys(
            [
                "content",
                "tool_calls",
                "tool_call_id",
                "function_call",
                "thinking_blocks",
                "reasoning_details",
                "refusal",
                "cache_control",
                "name",
            ],
            VALUES,
        ),
    ),
    max_size=3,
)
FIELDS = [
    "temperature",
    "n",
    "stop",
    "stream_options",
    "max_tokens",
    "response_format",
    "reasoning",
    "thinking",
    "reasoning_effort",
    "web_search_options",
    "modalities",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "user",
]


@given(
    st.fixed_dictionaries({"messages": MESSAGES | VALUES}, optional=dict.fromkeys(FIELDS, VALUES))
)
def test_garbage_is_read_or_refused_with_its_place(body):
    refused = None
    try:
        read_request(body)
    except GatewayError as error:
        refused = error
    if refused is not None:
        assert refused.row.status == 400
        assert refused.param
        assert orjson.dumps(refused.message)
