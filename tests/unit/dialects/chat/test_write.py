from __future__ import annotations

import hashlib
from typing import Any

import pytest

from proxy.dialects.chat.write import write_request
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
    Turn,
    WebSearch,
)
from proxy.dialects.reply import Upstream, Written
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags

OPENAI = Flags(official=True, max_tokens_field="max_completion_tokens", developer_role=True)
COMPATIBLE = Flags()


def written(
    conversation: Conversation | None = None,
    model: str = "llama",
    flags: Flags = COMPATIBLE,
    **fields: Any,
) -> Written:
    conversation = conversation or Conversation()
    for name, value in fields.items():
        setattr(conversation, name, value)
        conversation.given[name] = name
    conversation.given.pop("turns", None)
    if not conversation.turns:
        conversation.turns = [Turn("user", [Text("Hi")])]
    return write_request(conversation, Upstream(model, flags))


def body(**fields: Any) -> dict[str, Any]:
    return written(**fields).body


def messages(*turns: Turn, **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = written(turns=list(turns), **fields).body["messages"]
    return found


def user(*parts: Part) -> list[dict[str, Any]]:
    return messages(Turn("user", list(parts)))


def assistant(*parts: Part, **fields: Any) -> dict[str, Any]:
    return messages(Turn("assistant", list(parts)), **fields)[0]


# Parameters.


def test_a_plain_question():
    made = written()
    assert made.path == "/v1/chat/completions"
    assert made.body == {"model": "llama", "messages": [{"role": "user", "content": "Hi"}]}
    assert not made.stream
    assert made.dropped == frozenset()


def test_a_stream_asks_for_usage_where_the_server_knows_the_option():
    assert body(stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in body(stream=True, flags=Flags(stream_options=False))
    assert written(stream=True).stream


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (COMPATIBLE, "max_tokens"),
        (Flags(official=True), "max_completion_tokens"),
        (Flags(max_tokens_field="max_tokens"), "max_tokens"),
        (Flags(max_tokens_field="max_completion_tokens"), "max_completion_tokens"),
    ],
)
def test_the_output_limit_has_the_servers_name(flags, name):
    made = written(max_tokens=9, flags=flags)
    assert made.body[name] == 9
    assert made.dropped == frozenset()


def test_at_most_four_stop_sequences_are_sent():
    made = written(stop=["a", "", "b", "c", "d", "e"])
    assert made.body["stop"] == ["a", "b", "c", "d"]
    assert not made.dropped
    assert made.weakened == {"stop"}
    assert "stop" not in body(stop=[""])


def test_several_choices_up_to_a_bound():
    assert body(n=8, seed=7)["n"] == 8
    with pytest.raises(GatewayError) as caught:
        body(n=9)
    assert caught.value.param == "n"


def test_sampling_goes_to_models_that_do_not_reason():
    fields: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": 0.1,
        "logit_bias": {"1": 1},
    }
    assert body(**fields, model="gpt-4.1", flags=OPENAI)["temperature"] == 0.5
    assert body(**fields)["logit_bias"] == {"1": 1}
    assert written(**fields, model="gpt-5.6", flags=OPENAI).dropped == frozenset(fields)
    # 5.4 thinks only when asked to.
    assert body(**fields, model="gpt-5.4", flags=OPENAI)["top_p"] == 0.9
    asked: dict[str, Any] = {"reasoning": Reasoning("low"), "model": "gpt-5.4", "flags": OPENAI}
    assert written(**fields, **asked).dropped == frozenset(fields)


def test_what_no_chat_server_has_is_dropped():
    fields: dict[str, Any] = {
        "top_k": 4,
        "logprobs": True,
        "web_search": WebSearch(),
        "metadata": {"a": "b"},
        "cache": {"type": "ephemeral"},
        "store": True,
    }
    made = written(
        Conversation(given={"store": "store"}), **{k: v for k, v in fields.items() if k != "store"}
    )
    assert made.dropped == frozenset(fields)
    assert set(made.body) == {"model", "messages"}


@pytest.mark.parametrize(
    ("model", "flags", "reasoning", "sent"),
    [
        ("gpt-5.6", OPENAI, Reasoning("max"), {"reasoning_effort": "xhigh"}),
        ("gpt-5.1", OPENAI, Reasoning("xhigh"), {"reasoning_effort": "high"}),
        ("gpt-5", OPENAI, Reasoning("none", off=True), {"reasoning_effort": "minimal"}),
        ("gpt-5.6", OPENAI, Reasoning(budget=2048), {"reasoning_effort": "low"}),
        ("gpt-5.6", OPENAI, Reasoning(adaptive=True), {}),
        ("gpt-4.1", OPENAI, Reasoning(off=True), {}),
        ("llama", COMPATIBLE, Reasoning("medium"), {"reasoning_effort": "medium"}),
        ("llama", COMPATIBLE, Reasoning("max"), {"reasoning_effort": "high"}),
        ("llama", COMPATIBLE, Reasoning("none"), {"reasoning_effort": "none"}),
        ("openai/gpt-5.6", COMPATIBLE, Reasoning("max"), {"reasoning_effort": "max"}),
        (
            "deepseek-v4",
            Flags(reasoning_field=True),
            Reasoning(off=True),
            {"thinking": {"type": "disabled"}},
        ),
        (
            "deepseek-v4",
            Flags(reasoning_field=True),
            Reasoning("high"),
            {"reasoning_effort": "high"},
        ),
    ],
)
def test_efforts_are_what_the_model_takes(model, flags, reasoning, sent):
    made = written(reasoning=reasoning, model=model, flags=flags)
    asked: dict[str, Any] = {
        key: made.body[key] for key in ("reasoning_effort", "thinking") if key in made.body
    }
    assert asked == sent
    assert made.dropped == frozenset()


def test_an_effort_that_the_model_cannot_have_is_told():
    made = written(reasoning=Reasoning("high"), model="gpt-4.1", flags=OPENAI)
    assert "reasoning_effort" not in made.body
    assert not made.dropped
    assert made.weakened == {"reasoning"}


def test_the_last_system_turn_with_an_effort_decides():
    turns = [
        Turn("user", [Text("Hi")]),
        Turn("system", [Text("a")], "low"),
        Turn("system", [Text("b")]),
    ]
    made = written(turns=turns, reasoning=Reasoning("high"), model="gpt-5.2", flags=OPENAI)
    assert made.body["reasoning_effort"] == "low"


# The form of the answer.


def test_a_schema_is_named_and_no_stricter_than_the_client_said():
    schema = {
        "type": "object",
        "properties": {"a": {}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert body(format=Format("schema", schema=schema))["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": schema},
    }
    told = Format("schema", "my out", "d", {"type": "object"}, strict=False)
    assert body(format=told)["response_format"]["json_schema"] == {
        "name": "my_out",
        "description": "d",
        "schema": {"type": "object"},
        "strict": False,
    }


def test_openai_wants_the_word_json_somewhere_for_a_free_json_object():
    asked: dict[str, Any] = {"format": Format("json"), "flags": OPENAI, "model": "gpt-4.1"}
    made = body(**asked)
    assert made["response_format"] == {"type": "json_object"}
    assert made["messages"][-1] == {
        "role": "system",
        "content": "Respond only with one valid JSON object.",
    }
    assert len(body(**asked, turns=[Turn("user", [Text("as json")])])["messages"]) == 1
    assert len(body(**asked, system=[Text("JSON!")])["messages"]) == 2
    assert len(body(format=Format("json"))["messages"]) == 1


def test_verbosity_and_tier_are_for_openai_only():
    fields: dict[str, Any] = {"verbosity": "low", "service_tier": "flex"}
    made = written(**fields, model="gpt-5.6", flags=OPENAI)
    assert (made.body["verbosity"], made.body["service_tier"]) == ("low", "flex")
    assert made.dropped == frozenset()
    assert written(**fields).dropped == frozenset(fields)
    assert written(verbosity="low", model="gpt-4.1", flags=OPENAI).dropped == {"verbosity"}


def test_who_asks_is_told_to_openai_only():
    user_id = '{"session_id":"s-1"}'
    made = written(Conversation(user_is_opaque=True), user=user_id, flags=OPENAI, model="gpt-4.1")
    assert made.body["safety_identifier"] == hashlib.sha256(user_id.encode()).hexdigest()
    assert made.body["prompt_cache_key"] == "s-1"
    assert made.dropped == frozenset()
    assert body(user="u", cache_key="k", flags=OPENAI)["user"] == "u"
    assert written(user="u", cache_key="k").dropped == {"user", "cache_key"}


# Tools.


def test_tools_and_the_choice_among_them():
    made = written(
        tools=[Tool("f", "d", {"type": "object"}, strict=True), Tool("g", strict=False)],
        tool_choice=ToolChoice("tool", "g"),
        parallel=False,
    )
    assert made.body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d",
                "parameters": {"type": "object"},
                "strict": True,
            },
        },
        {
            "type": "function",
            "function": {"name": "g", "parameters": {"type": "object", "properties": {}}},
        },
    ]
    assert made.body["tool_choice"] == {"type": "function", "function": {"name": "g"}}
    assert made.body["parallel_tool_calls"] is False
    assert made.dropped == frozenset()
    assert made.weakened == frozenset()


def test_without_tools_there_is_no_choice():
    for mode in ("auto", "none"):
        made = written(tool_choice=ToolChoice(mode), parallel=True)
        assert {"tool_choice", "parallel_tool_calls"}.isdisjoint(made.body)
        assert made.dropped == made.weakened == frozenset()
    forced = written(tool_choice=ToolChoice("required"))
    assert not forced.dropped
    assert forced.weakened == {"tool_choice"}


def test_allowed_tools_are_the_only_ones_shown():
    tools = [Tool("f"), Tool("ls", namespace="mcp"), Tool("x")]
    made = body(tools=tools, tool_choice=ToolChoice("required", allowed=("f", "mcp__ls")))
    assert [tool["function"]["name"] for tool in made["tools"]] == ["f", "mcp__ls"]
    assert made["tool_choice"] == "required"


def test_a_deferred_tool_stays_hidden():
    made = body(tools=[Tool("f"), Tool("rare", deferred=True)])
    assert [tool["function"]["name"] for tool in made["tools"]] == ["f"]


def test_a_free_text_tool_is_a_function_of_one_string():
    made = body(
        tools=[
            Tool("p", "Apply", custom=True, grammar=("lark", "start: A")),
            Tool("q", custom=True, grammar=("regex", "x")),
        ]
    )
    assert made["tools"][0]["function"] == {
        "name": "p",
        "description": "Apply\n\nThe input must match this lark grammar:\nstart: A",
        "parameters": {
            "type": "object",
            "properties": {"input": {"type": "string"}},
            "required": ["input"],
        },
    }
    assert made["tools"][1]["function"]["description"].startswith("The input must match")


def test_names_that_do_not_fit_are_mapped_in_tools_choice_and_history():
    long = "mcp__" + "n" * 70
    made = written(
        tools=[Tool(long)],
        tool_choice=ToolChoice("tool", long),
        turns=[Turn("assistant", [Call("c", long, "{}")])],
    )
    sent = made.body["tools"][0]["function"]["name"]
    assert len(sent) == 64
    assert made.body["tool_choice"]["function"]["name"] == sent
    assert made.body["messages"][0]["tool_calls"][0]["function"]["name"] == sent
    assert made.names.to_client(sent) == long


# Messages.


def test_system_texts_are_one_message_in_front_and_later_ones_stay_in_place():
    conversation = Conversation(system=[Text("A"), Text("B")])
    turns = [Turn("user", [Text("Hi")]), Turn("system", [Text("C"), Text("D")])]
    assert written(conversation, turns=turns).body["messages"] == [
        {"role": "system", "content": "A\n\nB"},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "C\n\nD"},
    ]


def test_texts_of_the_user_are_one_string_unless_something_else_is_among_them():
    assert user(Text("a"), Text("b"), Refusal("c")) == [{"role": "user", "content": "a\n\nb\n\nc"}]
    assert user(Text("see"), Image(data="AAAA", mime="image/png", detail="low")) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"},
                },
            ],
        }
    ]


def test_media_of_the_user():
    (message,) = user(
        Image(url="https://e.com/a.png"),
        Audio("AAAA", "wav"),
        File(data="JVBE", mime="application/pdf"),
        File(data="JVBE", mime="application/pdf", name="a.pdf"),
        File(data="aGk=", mime="text/plain; charset=utf-8"),
    )
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {
            "type": "file",
            "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        },
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        },
        {"type": "text", "text": "hi"},
    ]


@pytest.mark.parametrize(
    "part",
    [
        Image(file_id="file_1", path="p"),
        File(file_id="file_1", path="p"),
        File(url="https://e.com/a.pdf", path="p"),
        File(data="AAAA", mime="application/zip", path="p"),
        File(data="AAAA", path="p"),
        File(data="?", mime="text/plain", path="p"),
        File(data="/w==", mime="text/plain", path="p"),
    ],
)
def test_content_without_a_form_is_refused_with_its_place(part):
    with pytest.raises(GatewayError) as caught:
        user(part)
    assert (caught.value.kind, caught.value.param) == (Kind.UNSUPPORTED_CONTENT, "p")


@pytest.mark.parametrize(
    "part", [Image(url="u", path="p"), Audio("", "wav", path="p"), File(path="p")]
)
def test_the_assistant_can_have_said_text_only(part):
    with pytest.raises(GatewayError) as caught:
        assistant(part)
    assert caught.value.param == "p"


def test_a_user_turn_cannot_hold_a_call():
    with pytest.raises(TypeError):
        user(Call("c", "f", "{}"))


def test_results_come_first_and_what_is_no_text_in_them_follows_as_the_users():
    calls = Turn("assistant", [Call("c1", "f", "{}"), Call("c2", "f", "{}"), Call("c3", "f", "{}")])
    results = Turn(
        "user",
        [
            Result("c1", [Text("r"), Text("1"), Image(url="https://e.com/a.png")]),
            Result("c2", [], is_error=True),
            Result("c3", [File(data="JVBE", mime="application/pdf")]),
            Text("and?"),
        ],
    )
    assert messages(calls, results)[1:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "r\n\n1"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error"},
        {"role": "tool", "tool_call_id": "c3", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "[image returned by tool call c1]"},
                {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}},
                {"type": "text", "text": "[file returned by tool call c3]"},
                {
                    "type": "file",
                    "file": {
                        "filename": "document.pdf",
                        "file_data": "data:application/pdf;base64,JVBE",
                    },
                },
                {"type": "text", "text": "and?"},
            ],
        },
    ]


def test_what_the_assistant_said():
    said = assistant(
        Thinking("hm", "S"), Redacted("R"), Text("a"), Refusal("b"), Call("c", "f", "")
    )
    assert said == {
        "role": "assistant",
        "content": "ab",
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
    }
    assert assistant(Call("c", "f", "{}"))["content"] is None
    assert assistant(Thinking("hm", "S")) == {"role": "assistant", "content": ""}
    assert assistant(Result("c", [])) == {"role": "assistant", "content": ""}


def test_a_free_text_call_is_wrapped():
    call = assistant(Call("c", "ls", "*** A", custom=True, namespace="mcp"))["tool_calls"][0]
    assert call["function"] == {"name": "mcp__ls", "arguments": '{"input":"*** A"}'}


def test_deepseek_and_its_like_get_their_thinking_back():
    flags = Flags(reasoning_field=True)
    assert assistant(Thinking("hm"), Text("a"), flags=flags)["reasoning_content"] == "hm"
    assert assistant(Call("c", "f", "{}"), flags=flags)["reasoning_content"] == ""
    assert "reasoning_content" not in assistant(Text("a"), flags=flags)


def test_call_ids_that_mistral_takes():
    turns = [
        Turn("assistant", [Call("call_1", "f", "{}")]),
        Turn("user", [Result("call_1", [Text("ok")])]),
    ]
    called, answered = messages(*turns, flags=Flags(tool_id_nine=True))
    sent = called["tool_calls"][0]["id"]
    assert len(sent) == 9
    assert sent.isalnum()
    assert answered["tool_call_id"] == sent


def test_googles_compatible_server_gets_its_seals_back():
    call = Call("c", "f", "{}", signature="gw1:gem:c2ln")
    sent = assistant(call, model="gemini-3-flash")["tool_calls"][0]
    assert sent["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    assert "extra_content" not in assistant(call)["tool_calls"][0]
    foreign = Call("c", "f", "{}", signature="gw1:oai:x")
    assert "extra_content" not in assistant(foreign, model="gemini-3-flash")["tool_calls"][0]


def test_the_same_conversation_gives_the_same_bytes():
    def make() -> dict[str, Any]:
        return body(
            tools=[Tool("a b"), Tool("a.b")],
            turns=[
                Turn("assistant", [Call("x" * 50, "a b", "{}")]),
                Turn("user", [Result("x" * 50, [])]),
            ],
        )

    assert make() == make()
    assert make()["messages"][0]["tool_calls"][0]["id"] == make()["messages"][1]["tool_call_id"]


def test_a_picture_in_a_store_of_googles_is_refused():
    with pytest.raises(GatewayError) as caught:
        written(turns=[Turn("user", [Image(url="gs://b/a.png")])])
    assert caught.value.kind is Kind.UNSUPPORTED_CONTENT
