"""Requests in the Responses dialect, written."""

import base64
from typing import Any

import pytest

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
from proxy.dialects.reply import Upstream
from proxy.dialects.responses.write import write_request
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags

OFFICIAL = Flags(official=True)
CLOSED = {
    "type": "object",
    "properties": {"a": {}},
    "required": ["a"],
    "additionalProperties": False,
}


def write(model: str = "gpt-5.6-terra", flags: Flags = OFFICIAL, **fields: Any):
    fields.setdefault("turns", [Turn("user", [Text("Hi")])])
    return write_request(Conversation(**fields), Upstream(model, flags))


def body(**fields: Any) -> dict[str, Any]:
    written: dict[str, Any] = write(**fields).body
    return written


def items(*turns: Turn) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = body(turns=list(turns))["input"]
    return written


def said(*parts: Part) -> list[dict[str, Any]]:
    return items(Turn("assistant", list(parts)))


def content(part: Part) -> dict[str, Any]:
    written: dict[str, Any] = items(Turn("user", [part]))[0]["content"][0]
    return written


HI = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}


def test_the_smallest_request_stores_nothing_and_asks_for_sealed_reasoning():
    written = write()
    assert written.path == "/v1/responses"
    assert written.body == {
        "model": "gpt-5.6-terra",
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "input": [HI],
    }
    assert not written.stream


def test_a_stream_is_asked_for_where_the_client_asked():
    written = write(stream=True, system=[Text("A"), Text("B")])
    assert written.stream
    assert (written.body["stream"], written.body["instructions"]) == (True, "A\n\nB")


# Items.


def test_reasoning_stands_before_the_call_and_the_message_that_it_led_to():
    assert said(
        Thinking("plan", "gw1:oai:E1"),
        Text("ok"),
        Text("go"),
        Redacted("gw1:oai:E2"),
        Call("c1", "f", ""),
    ) == [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "plan"}],
            "encrypted_content": "E1",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "ok"},
                {"type": "output_text", "text": "go"},
            ],
        },
        {"type": "reasoning", "summary": [], "encrypted_content": "E2"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    ]


def test_reasoning_before_a_refusal_stays_there():
    written = said(Redacted("gw1:oai:E"), Refusal("no"))
    assert [item["type"] for item in written] == ["reasoning", "message"]
    assert written[1]["content"] == [{"type": "refusal", "refusal": "no"}]


@pytest.mark.parametrize(
    "part",
    [
        Thinking("t"),
        Thinking("t", "SIG"),
        Thinking("t", "gw1:gem:S"),
        Redacted("R"),
        Thinking("t", "gw1:none"),
    ],
)
def test_reasoning_that_openai_did_not_seal_is_left_out(part):
    assert [item["type"] for item in said(part, Text("ok"))] == ["message"]


def test_reasoning_that_led_to_nothing_is_left_out():
    assert said(Text("ok"), Redacted("gw1:oai:E")) == [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok"}]}
    ]


def test_results_come_before_what_the_user_says_besides():
    assert items(
        Turn(
            "assistant", [Call("c1", "f", '{"a":1}'), Call("c2", "patch", "*** Begin", custom=True)]
        ),
        Turn(
            "user",
            [
                Result("c1", [Text("r")]),
                Result("c2", [Text("a"), Image(url="https://e.com/a.png")]),
                Text("next"),
            ],
        ),
        Turn("system", [Text("Late")]),
    ) == [
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** Begin"},
        {"type": "function_call_output", "call_id": "c1", "output": "r"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c2",
            "output": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "https://e.com/a.png"},
            ],
        },
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "next"}]},
        {
            "type": "message",
            "role": "developer",
            "content": [{"type": "input_text", "text": "Late"}],
        },
    ]


@pytest.mark.parametrize(("is_error", "output"), [(True, "Error"), (False, "")])
def test_a_result_without_content_says_whether_it_failed(is_error, output):
    written = items(
        Turn("assistant", [Call("c1", "f", "{}")]),
        Turn("user", [Result("c1", [], is_error=is_error)]),
    )
    assert written[1]["output"] == output


def test_long_ids_and_names_are_cut_alike_in_calls_results_and_tools():
    long = "x" * 65
    written = write(
        tools=[Tool(long, namespace="ns")],
        turns=[
            Turn("assistant", [Call(long, long, "{}", namespace="ns")]),
            Turn("user", [Result(long, [])]),
        ],
    )
    call, result = written.body["input"]
    assert call["call_id"] == result["call_id"]
    assert len(call["call_id"]) <= 64
    assert call["name"] == written.body["tools"][0]["name"]
    assert written.names.to_client(call["name"]) == f"ns__{long}"


@pytest.mark.parametrize(
    ("part", "written"),
    [
        (
            Image(data="AA", mime="image/png", detail="low"),
            {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
        ),
        (Image(file_id="file-1"), {"type": "input_image", "file_id": "file-1"}),
        (
            File(url="https://e.com/a.pdf"),
            {"type": "input_file", "file_url": "https://e.com/a.pdf"},
        ),
        (File(file_id="file-1"), {"type": "input_file", "file_id": "file-1"}),
        (
            File(data="AA", mime="application/pdf"),
            {
                "type": "input_file",
                "filename": "document.pdf",
                "file_data": "data:application/pdf;base64,AA",
            },
        ),
        (
            File(data="AA", mime="text/csv", name="a.csv"),
            {"type": "input_file", "filename": "a.csv", "file_data": "data:text/csv;base64,AA"},
        ),
        (
            File(data=base64.b64encode("é".encode()).decode(), mime="text/plain"),
            {"type": "input_text", "text": "é"},
        ),
    ],
)
def test_content_of_a_user(part, written):
    assert content(part) == written


@pytest.mark.parametrize(
    ("part", "role"),
    [
        (Audio("AA", "wav", "here"), "user"),
        (Image(file_id="file_011", path="here"), "user"),
        (File(file_id="file_011", path="here"), "user"),
        (Image(url="https://e.com/a.png", path="here"), "assistant"),
        (File(data="AA", path="here"), "assistant"),
    ],
)
def test_content_without_a_form_is_refused(part, role):
    with pytest.raises(GatewayError) as refused:
        items(Turn(role, [part]))
    assert (refused.value.kind, refused.value.param) == (Kind.UNSUPPORTED_CONTENT, "here")


@pytest.mark.parametrize("data", ["*", base64.b64encode(b"\xff").decode()])
def test_a_text_that_is_none_is_refused(data):
    with pytest.raises(GatewayError) as refused:
        content(File(data=data, mime="text/plain", path="here"))
    assert (refused.value.kind, refused.value.param) == (Kind.INVALID_REQUEST, "here")


def test_what_only_a_model_says_is_refused_of_a_user():
    with pytest.raises(GatewayError):
        content(Refusal("no"))


def test_a_result_in_an_assistant_s_turn_says_nothing():
    assert said(Result("c1", []), Text("ok")) == said(Text("ok"))


# Tools.


def test_tools_are_flat_and_say_whether_they_are_strict():
    grammar = ("lark", "start: x")
    assert body(
        tools=[
            Tool("f", "d", {"type": "object"}, strict=True),
            Tool("g"),
            Tool("hidden", deferred=True),
            Tool("c", "free", custom=True),
            Tool("d", custom=True, grammar=grammar),
        ],
        web_search=WebSearch({"city": "Bonn"}),
    )["tools"] == [
        {
            "type": "function",
            "name": "f",
            "description": "d",
            "parameters": {"type": "object"},
            "strict": True,
        },
        {
            "type": "function",
            "name": "g",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        },
        {"type": "custom", "name": "c", "description": "free"},
        {
            "type": "custom",
            "name": "d",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
        },
        {"type": "web_search", "user_location": {"type": "approximate", "city": "Bonn"}},
    ]


def test_web_search_alone_is_a_tool():
    written = write(web_search=WebSearch(), given={"web_search": "web_search_options"})
    assert written.body["tools"] == [{"type": "web_search"}]
    assert written.dropped == frozenset()


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (ToolChoice("required"), "required"),
        (ToolChoice("none"), "none"),
        (ToolChoice("tool", name="f"), {"type": "function", "name": "f"}),
        (ToolChoice("tool", name="c"), {"type": "custom", "name": "c"}),
        (
            ToolChoice("auto", allowed=("f", "c")),
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}],
            },
        ),
    ],
)
def test_tool_choices(choice, written):
    request = write(
        tools=[Tool("f"), Tool("c", custom=True)],
        tool_choice=choice,
        parallel=False,
        given={"tool_choice": "tool_choice", "parallel": "parallel_tool_calls"},
    )
    assert request.body["tool_choice"] == written
    assert request.body["parallel_tool_calls"] is False
    assert request.dropped == frozenset()


@pytest.mark.parametrize(
    ("mode", "weakened"), [("auto", set()), ("none", set()), ("required", {"tool_choice"})]
)
def test_without_tools_there_is_no_choice(mode, weakened):
    request = write(
        tool_choice=ToolChoice(mode),
        parallel=True,
        given={"tool_choice": "tool_choice", "parallel": "p"},
    )
    assert {"tools", "tool_choice", "parallel_tool_calls"}.isdisjoint(request.body)
    assert not request.dropped
    assert request.weakened == weakened


# Parameters.


@pytest.mark.parametrize(("asked", "sent"), [(5, 16), (1000, 1000)])
def test_the_output_limit_is_at_least_sixteen(asked, sent):
    assert body(max_tokens=asked)["max_output_tokens"] == sent


YES = Reasoning(effort="low", want_text="yes")


@pytest.mark.parametrize(
    ("model", "flags", "reasoning", "written"),
    [
        ("gpt-5.6-terra", OFFICIAL, Reasoning(effort="max"), {"effort": "max"}),
        ("gpt-5.2", OFFICIAL, Reasoning(effort="max"), {"effort": "xhigh"}),
        ("gpt-5.2-pro", OFFICIAL, Reasoning(off=True), {"effort": "medium"}),
        ("gpt-5.2", OFFICIAL, Reasoning(off=True, want_text="yes"), {"effort": "none"}),
        ("gpt-5.2", OFFICIAL, YES, {"effort": "low", "summary": "auto"}),
        ("gpt-5.2", OFFICIAL, Reasoning(budget=20_000), {"effort": "xhigh"}),
        ("gpt-5.6-terra", OFFICIAL, Reasoning(adaptive=True, want_text="yes"), {"summary": "auto"}),
        ("gpt-5.6-terra", OFFICIAL, Reasoning(), None),
        ("gpt-4.1", OFFICIAL, Reasoning(off=True), None),
        ("deepseek-v4", Flags(), YES, {"effort": "low", "summary": "auto"}),
        ("deepseek-v4", Flags(), Reasoning(want_text="yes"), {"summary": "auto"}),
    ],
)
def test_how_much_a_model_thinks(model, flags, reasoning, written):
    request = write(model, flags, reasoning=reasoning, given={"reasoning": "reasoning_effort"})
    assert request.body.get("reasoning") == written
    assert request.dropped == frozenset()


def test_a_model_that_does_not_think_loses_the_effort_and_says_so():
    request = write(
        "gpt-4.1", reasoning=YES, temperature=0.5, top_p=1, given={"reasoning": "thinking"}
    )
    assert "reasoning" not in request.body
    assert (request.body["temperature"], request.body["top_p"]) == (0.5, 1)
    assert not request.dropped
    assert request.weakened == {"thinking"}


def test_the_last_word_about_the_effort_counts():
    turns = [Turn("user", [Text("Hi")]), Turn("system", [Text("Env.")], effort="low")]
    assert body(turns=turns, reasoning=Reasoning(effort="high"))["reasoning"] == {"effort": "low"}


def test_a_thinking_model_gets_no_temperature():
    given = {"temperature": "temperature", "top_p": "top_p"}
    assert write(temperature=0, top_p=1, given=dict(given)).dropped == {"temperature", "top_p"}
    assert body(temperature=0, reasoning=Reasoning(off=True))["temperature"] == 0


@pytest.mark.parametrize(
    ("form", "written"),
    [
        (Format("json"), {"type": "json_object"}),
        (
            Format("schema", name="o", description="d", schema={"type": "object"}, strict=True),
            {
                "type": "json_schema",
                "name": "o",
                "description": "d",
                "strict": True,
                "schema": {"type": "object"},
            },
        ),
        (
            Format("schema", name="o", schema=CLOSED),
            {"type": "json_schema", "name": "o", "schema": CLOSED},
        ),
        (
            Format("schema", schema={"type": "object"}, strict=False),
            {
                "type": "json_schema",
                "name": "output",
                "strict": False,
                "schema": {"type": "object"},
            },
        ),
    ],
)
def test_forms_of_the_answer(form, written):
    assert body(format=form, verbosity="low")["text"] == {"format": written, "verbosity": "low"}


def test_log_probabilities_are_included():
    request = write(
        logprobs=True,
        top_logprobs=2,
        given={"logprobs": "logprobs", "top_logprobs": "top_logprobs"},
    )
    assert request.body["include"] == [
        "reasoning.encrypted_content",
        "message.output_text.logprobs",
    ]
    assert request.body["top_logprobs"] == 2
    assert request.dropped == frozenset()
    assert body(logprobs=True)["top_logprobs"] == 0


def test_who_asks_passes_as_it_was_given():
    fields: dict[str, Any] = {
        "user": "u",
        "cache_key": "k",
        "service_tier": "flex",
        "metadata": {"a": "b"},
    }
    request = write(**fields, given={name: name for name in fields})
    written = {"user": "u", "prompt_cache_key": "k", "service_tier": "flex", "metadata": {"a": "b"}}
    assert {name: request.body[name] for name in written} == written
    assert request.dropped == frozenset()


def test_a_messages_client_s_tier_and_user_are_put_in_openai_s_terms():
    request = body(
        user="u", user_is_opaque=True, service_tier="standard_only", metadata={"user_id": "u"}
    )
    assert (request["service_tier"], len(request["safety_identifier"])) == ("default", 64)
    assert "metadata" not in request


def test_what_this_dialect_has_no_field_for_is_dropped():
    given = {"stop": "stop_sequences", "seed": "seed", "n": "n", "top_k": "top_k"}
    request = write(stop=["x"], seed=1, n=2, top_k=3, given=dict(given))
    assert request.dropped == set(given.values())


@pytest.mark.parametrize("part", [Image(url="gs://b/a.png"), File(url="gs://b/a.pdf")])
def test_what_lies_in_a_store_of_googles_is_refused(part):
    with pytest.raises(GatewayError) as caught:
        content(part)
    assert caught.value.kind is Kind.UNSUPPORTED_CONTENT
