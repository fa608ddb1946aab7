from __future__ import annotations

import base64
import hashlib
from itertools import pairwise
from typing import Any, Literal

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
    Turn,
    WebSearch,
)
from proxy.dialects.envelope import wrap_blocks
from proxy.dialects.messages.write import write_request
from proxy.dialects.repair import repair
from proxy.dialects.reply import Upstream, Written
from proxy.errors import GatewayError, Kind

NEWEST = "claude-opus-5-5"
MID_SYSTEM = "claude-opus-4-8"
BUDGETED = "claude-haiku-4-5"
PLAIN = "claude-sonnet-4-5"
OLD = "claude-sonnet-4-20250514"

HI = Turn("user", [Text("Hi")])
EPHEMERAL = {"type": "ephemeral"}


def write(*turns: Turn, model: str = PLAIN, **fields: Any) -> Written:
    conversation = Conversation(turns=list(turns) or [HI], **{"max_tokens": 9000, **fields})
    repair(conversation)
    return write_request(conversation, Upstream(model))


def body(*turns: Turn, **fields: Any) -> dict[str, Any]:
    return write(*turns, **fields).body


def messages(*turns: Turn, **fields: Any) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = body(*turns, **fields)["messages"]
    return written


def user(*parts: Part) -> Turn:
    return Turn("user", list(parts))


def assistant(*parts: Part) -> Turn:
    return Turn("assistant", list(parts))


def system(text: str) -> Turn:
    return Turn("system", [Text(text)])


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


# The frame of a request.


def test_a_request_in_full():
    written = write(
        HI, system=[Text("S", EPHEMERAL), Text("")], stream=True, stop=["END", " \n"], top_k=3
    )
    assert written.path == "/v1/messages"
    assert written.stream
    assert list(written.body.items()) == [
        ("model", PLAIN),
        ("stream", True),
        ("max_tokens", 9000),
        ("system", [{**text("S"), "cache_control": EPHEMERAL}]),
        ("messages", [{"role": "user", "content": [text("Hi")]}]),
        ("top_k", 3),
        ("stop_sequences", ["END"]),
    ]


@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [(NEWEST, None, 128_000), (OLD, None, 4096), (PLAIN, 100_000, 64_000), (PLAIN, 50, 50)],
)
def test_max_tokens_is_filled_in_and_bounded(model: str, asked: int | None, sent: int):
    assert body(model=model, max_tokens=asked)["max_tokens"] == sent


def test_a_long_answer_is_streamed_although_the_client_waits_for_it_whole():
    assert not write(max_tokens=21_333).stream
    written = write(max_tokens=21_334)
    assert written.stream
    assert written.body["stream"] is True


def test_sampling_is_clamped_where_the_model_takes_it():
    given = {"temperature": "temperature", "top_p": "top_p"}
    written = write(temperature=1.7, top_p=0.5, given=dict(given))
    assert written.body["temperature"] == 1.0
    assert written.dropped == {"top_p"}
    assert body(temperature=-1)["temperature"] == 0
    assert write(top_p=0.5, given={"top_p": "top_p"}).dropped == frozenset()
    assert write(temperature=0.5, top_k=1, model=NEWEST, given=dict(given)).dropped == set(given)


def test_what_anthropic_has_no_field_for_is_dropped_by_its_own_name():
    given = {
        "seed": "seed",
        "n": "n",
        "metadata": "metadata",
        "verbosity": "text.verbosity",
        "stop": "stop",
    }
    assert write(seed=1, stop=[" "], given=given).dropped == {
        "seed",
        "n",
        "metadata",
        "text.verbosity",
    }


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("u-1", "u-1"),
        ("alice@example.com", hashlib.sha256(b"alice@example.com").hexdigest()),
        ("+41 44 123 45 67", hashlib.sha256(b"+41 44 123 45 67").hexdigest()),
        ("x" * 257, hashlib.sha256(b"x" * 257).hexdigest()),
    ],
)
def test_a_user_id_that_names_a_person_goes_as_its_hash(name: str, sent: str):
    assert body(user=name)["metadata"] == {"user_id": sent}


@pytest.mark.parametrize(
    ("tier", "sent"), [("auto", "auto"), ("default", "standard_only"), ("flex", None)]
)
def test_service_tiers(tier: str, sent: str | None):
    written = write(service_tier=tier, given={"service_tier": "service_tier"})
    assert written.body.get("service_tier") == sent
    assert bool(written.dropped) is (sent is None)


# Turns.


def test_an_assistant_speaks_in_the_order_that_the_api_demands():
    call = Call("toolu_1", "f", '{"a":1}')
    said = assistant(call, Text("ok"), Refusal("no"), Thinking("hm", "S"), Redacted("R"))
    assert messages(HI, said, user(Result("toolu_1", [Text("r")])))[1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "S"},
        {"type": "redacted_thinking", "data": "R"},
        text("ok"),
        text("no"),
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
    ]


def test_thinking_of_others_is_left_behind():
    foreign: list[Part] = [
        Thinking("a", "gw1:oai:x"),
        Thinking("b", "gw1:none"),
        Thinking("c"),
        Redacted("gw1:gem:x"),
        Redacted(""),
    ]
    assert messages(HI, assistant(*foreign, Text("ok")), HI)[1]["content"] == [text("ok")]
    # A turn of nothing else goes, and its neighbours are one turn.
    assert messages(HI, assistant(*foreign), HI) == [
        {"role": "user", "content": [text("Hi"), text("Hi")]}
    ]


def test_thinking_that_travelled_in_an_envelope_is_unpacked():
    opaque = wrap_blocks([Thinking("a", "S"), Redacted("R")])
    blocks = [
        {"type": "thinking", "thinking": "a", "signature": "S"},
        {"type": "redacted_thinking", "data": "R"},
    ]
    for part in (Redacted(opaque), Thinking("summary", opaque)):
        assert messages(HI, assistant(part, Text("ok")), HI)[1]["content"] == [*blocks, text("ok")]


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ("", {}),
        (" ", {}),
        ('{"a":1}', {"a": 1}),
        ('{"a":', {"_raw_arguments": '{"a":'}),
        ("[1]", {"_raw_arguments": "[1]"}),
    ],
)
def test_arguments_become_an_object_whatever_they_are(arguments: str, sent: dict[str, Any]):
    turns = [HI, assistant(Call("a", "f", arguments)), user(Result("a", []))]
    assert messages(*turns)[1]["content"][0]["input"] == sent


def test_a_free_text_call_wraps_its_text():
    turns = [
        HI,
        assistant(Call("a", "patch", "*** Begin", custom=True, namespace="fs")),
        user(Result("a", [])),
    ]
    assert messages(*turns)[1]["content"] == [
        {"type": "tool_use", "id": "a", "name": "fs__patch", "input": {"input": "*** Begin"}}
    ]


def test_ids_are_made_to_fit_for_call_and_result_alike():
    turns = [
        HI,
        assistant(Call("f:0", "f", ""), Call("f/0", "f", "", cache=EPHEMERAL)),
        user(Result("f:0", []), Result("f/0", [])),
    ]
    _, called, answered = messages(*turns)
    assert [block["id"] for block in called["content"]] == ["f_0", "f_0_2"]
    assert [block["tool_use_id"] for block in answered["content"]] == ["f_0", "f_0_2"]
    assert called["content"][1]["cache_control"] == EPHEMERAL


@pytest.mark.parametrize(
    ("result", "content"),
    [
        (Result("a", [Text("x")]), "x"),
        (Result("a", [Text("x")], in_parts=True), [text("x")]),
        (Result("a", [Text("x", EPHEMERAL)]), [{**text("x"), "cache_control": EPHEMERAL}]),
        (Result("a", [Text("x"), Text("y")]), [text("x"), text("y")]),
        (Result("a", [Text(""), Text("y")]), "y"),
        (Result("a", []), ""),
        (Result("a", [], in_parts=True), []),
    ],
)
def test_a_result_keeps_the_form_it_came_in(result: Result, content: Any):
    turns = [HI, assistant(Call("a", "f", "")), user(result)]
    assert messages(*turns)[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": content}
    ]


def test_a_result_may_hold_media_and_be_an_error():
    result = Result("a", [Image(url="https://e.com/a")], is_error=True, cache=EPHEMERAL)
    turns = [HI, assistant(Call("a", "f", "")), user(result)]
    assert messages(*turns)[2]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "a",
            "content": [{"type": "image", "source": {"type": "url", "url": "https://e.com/a"}}],
            "is_error": True,
            "cache_control": EPHEMERAL,
        }
    ]


def test_a_conversation_starts_with_the_user():
    assert messages(assistant(Text("Welcome")), HI)[0] == {"role": "user", "content": [text(".")]}


def test_an_answer_that_was_begun_is_extended_where_the_model_can():
    begun = assistant(Text("{ \n"))
    assert messages(HI, begun, model=PLAIN)[-1] == {"role": "assistant", "content": [text("{")]}
    assert messages(HI, begun, model=MID_SYSTEM)[-1] == {
        "role": "user",
        "content": [text("Continue.")],
    }
    assert messages(HI, assistant(Text(" ")))[-1] == {"role": "user", "content": [text("Hi")]}
    thinking = assistant(Thinking("hm", "S"))
    assert messages(HI, thinking)[-1] == {"role": "user", "content": [text("Continue.")]}
    assert messages(HI, assistant(Thinking("hm", "S"), Text(" ")))[-1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "S"}
    ]
    # With a thinking budget the API takes none.
    budget = Reasoning(budget=2000)
    assert messages(HI, begun, reasoning=budget)[-1]["role"] == "user"


def roles(*turns: Turn) -> str:
    return " ".join(
        f"{m['role'][0]}:{'+'.join(b['text'] for b in m['content'])}"
        for m in messages(*turns, model=MID_SYSTEM)
    )


def test_system_messages_stand_behind_the_user_and_before_the_assistant():
    q, ok = user(Text("Q")), assistant(Text("ok"))
    assert roles(HI, system("B")) == "u:Hi s:B"
    assert roles(HI, system("B"), ok, q) == "u:Hi s:B a:ok u:Q"
    assert roles(HI, ok, system("B"), q) == "u:Hi a:ok u:Q s:B"
    assert roles(HI, system("B"), q, ok, q) == "u:Hi+Q s:B a:ok u:Q"
    assert roles(HI, ok, system("B"), ok, q) == "u:Hi a:ok+ok u:Q s:B"
    assert roles(HI, ok, system("B"), system("C"), q) == "u:Hi a:ok u:Q s:B+C"
    assert roles(ok, system("B"), q) == "u:. a:ok u:Q s:B"
    # Nobody speaks after it.
    assert roles(HI, ok, system("B")) == "u:Hi a:ok u:<system>\nB\n</system>"


def test_a_model_that_ignores_system_messages_hears_them_from_the_user():
    written = messages(
        HI, assistant(Text("ok")), system("B"), user(Text("Q")), model="claude-opus-4-7"
    )
    assert written[2]["content"] == [text("<system>\nB\n</system>"), text("Q")]


# Media.


def media(part: Part) -> dict[str, Any]:
    block: dict[str, Any] = messages(user(part))[0]["content"][0]
    return block


def test_images():
    png = {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
    assert media(Image(data="iVBORw==", mime="image/png", cache=EPHEMERAL)) == {
        "type": "image",
        "source": png,
        "cache_control": EPHEMERAL,
    }
    assert media(Image(data="x", mime="image/JPG; q=1"))["source"]["media_type"] == "image/jpeg"
    assert media(Image(url="https://e.com/a"))["source"] == {
        "type": "url",
        "url": "https://e.com/a",
    }
    assert media(Image(file_id="file_1"))["source"] == {"type": "file", "file_id": "file_1"}


def test_documents():
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    assert media(File(data="JVBERi0=", mime="application/pdf", name="a.pdf")) == {
        "type": "document",
        "source": pdf,
        "title": "a.pdf",
    }
    encoded = base64.b64encode("Zürich".encode()).decode()
    assert media(File(data=encoded, mime="text/plain;charset=utf-8"))["source"] == {
        "type": "text",
        "media_type": "text/plain",
        "data": "Zürich",
    }
    assert media(File(url="https://e.com/a.pdf"))["source"] == {
        "type": "url",
        "url": "https://e.com/a.pdf",
    }


@pytest.mark.parametrize(
    "part",
    [
        Image(data="x", mime="image/tiff", path="P"),
        Image(data="x", path="P"),
        Image(url="http://e.com/a", path="P"),
        Image(file_id="gpt-file", path="P"),
        File(data="x", mime="application/zip", path="P"),
        File(file_id="x", path="P"),
        Audio("AA==", "wav", path="P"),
    ],
)
def test_content_without_a_form_is_refused_and_not_dropped(part: Part):
    for turns in ([user(part)], [HI, assistant(Call("a", "f", "")), user(Result("a", [part]))]):  # type: ignore[list-item]
        with pytest.raises(GatewayError) as caught:
            write(*turns)
        assert (caught.value.kind, caught.value.param) == (Kind.UNSUPPORTED_CONTENT, "P")


@pytest.mark.parametrize("data", ["not base64!", base64.b64encode(b"\xff").decode()])
def test_a_text_file_that_is_no_text_is_refused(data: str):
    with pytest.raises(GatewayError) as caught:
        write(user(File(data=data, mime="text/plain", path="P")))
    assert (caught.value.kind, caught.value.param) == (Kind.INVALID_REQUEST, "P")


def test_media_of_the_assistant_is_refused():
    with pytest.raises(GatewayError) as caught:
        write(HI, assistant(Image(url="https://e.com/a", path="P")), HI)
    assert caught.value.kind is Kind.UNSUPPORTED_CONTENT


# Cache markers.


def test_the_last_four_cache_markers_stay():
    marked: list[Part] = [Text(str(number), EPHEMERAL) for number in range(3)]
    result = Result("a", [Text("r", EPHEMERAL)], cache=EPHEMERAL)
    turns = [HI, assistant(Call("a", "f", "")), user(result), assistant(Text("ok")), user(*marked)]
    tools = [Tool("f", cache=EPHEMERAL)]
    written = body(*turns, tools=tools, system=[Text("S", EPHEMERAL)])
    assert orjson.dumps(written).count(b"cache_control") == 4
    assert "cache_control" not in written["tools"][0]
    assert "cache_control" not in written["system"][0]
    answered = written["messages"][2]["content"][0]
    assert "cache_control" not in answered["content"][0]
    assert "cache_control" in answered


def test_a_marker_at_the_top_counts_too():
    marked: list[Part] = [Text(str(number), EPHEMERAL) for number in range(4)]
    written = body(user(*marked), cache=EPHEMERAL)
    assert written["cache_control"] == EPHEMERAL
    assert ["cache_control" in block for block in written["messages"][0]["content"]] == [
        False,
        True,
        True,
        True,
    ]


# Tools.

SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}


def test_tools_in_all_their_forms():
    tools = [
        Tool("f", "d", SCHEMA, cache=EPHEMERAL),
        Tool("now"),
        Tool("any", parameters={"properties": {}}),
        Tool("a.b", namespace="ns"),
        Tool("patch", "Apply", custom=True, grammar=("lark", "start: WORD")),
        Tool("regex", custom=True, grammar=("regex", "a+")),
    ]
    empty = {"type": "object", "properties": {}}
    free = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    written = write(tools=tools)
    assert written.body["tools"] == [
        {"name": "f", "description": "d", "input_schema": SCHEMA, "cache_control": EPHEMERAL},
        {"name": "now", "input_schema": empty},
        {"name": "any", "input_schema": empty},
        {"name": "ns__a_b", "input_schema": empty},
        {
            "name": "patch",
            "description": "Apply\n\nThe input must match this lark grammar:\nstart: WORD",
            "input_schema": free,
        },
        {
            "name": "regex",
            "description": "The input must match this regex grammar:\na+",
            "input_schema": free,
        },
    ]
    assert written.names.to_client("ns__a_b") == "ns__a.b"


def test_a_strict_tool_is_compiled_where_the_model_and_the_limits_allow():
    strict = Tool("f", parameters=SCHEMA, strict=True)
    (sent,) = body(tools=[strict])["tools"]
    assert sent == {
        "name": "f",
        "input_schema": {**SCHEMA, "additionalProperties": False},
        "strict": True,
    }
    assert "strict" not in body(tools=[strict], model=OLD)["tools"][0]
    assert (
        "strict"
        not in body(tools=[Tool("f", parameters={"type": "object"}, strict=True)])["tools"][0]
    )
    many = [Tool(f"f{number}", parameters=SCHEMA, strict=True) for number in range(21)]
    assert ["strict" in tool for tool in body(tools=many)["tools"]] == [True] * 20 + [False]
    optional = {
        "type": "object",
        "properties": {str(number): {"type": "string"} for number in range(13)},
    }
    wide = [Tool(name, parameters=optional, strict=True) for name in "ab"]
    assert ["strict" in tool for tool in body(tools=wide)["tools"]] == [True, False]


F, G = Tool("f"), Tool("g")


@pytest.mark.parametrize(
    ("choice", "sent", "offered"),
    [
        (ToolChoice("auto"), {"type": "auto"}, "fg"),
        (ToolChoice("none"), {"type": "none"}, "fg"),
        (ToolChoice("required"), {"type": "any"}, "fg"),
        (ToolChoice("tool", "g"), {"type": "tool", "name": "g"}, "fg"),
        (ToolChoice("auto", allowed=("g",)), {"type": "auto"}, "g"),
        (ToolChoice("required", allowed=("g",)), {"type": "any"}, "g"),
    ],
)
def test_tool_choices(choice: ToolChoice, sent: dict[str, str], offered: str):
    written = write(tools=[F, G], tool_choice=choice, given={"tool_choice": "tool_choice"})
    assert written.body["tool_choice"] == sent
    assert "".join(tool["name"] for tool in written.body["tools"]) == offered
    assert written.dropped == written.weakened == frozenset()


def test_a_forced_tool_becomes_the_only_one_where_the_model_takes_no_force():
    choice = ToolChoice("tool", "g")
    for fields in ({"model": NEWEST}, {"model": BUDGETED, "reasoning": Reasoning(effort="low")}):
        written = write(
            tools=[F, G],
            tool_choice=choice,
            web_search=WebSearch(),
            given={"tool_choice": "function_call", "web_search": "web_search_options"},
            **fields,
        )
        assert written.body["tool_choice"] == {"type": "auto"}
        assert [tool["name"] for tool in written.body["tools"]] == ["g"]
        assert written.weakened == {"function_call", "web_search_options"}
        assert written.dropped == frozenset()


def test_a_choice_without_tools_is_told_if_it_meant_something():
    given = {"tool_choice": "tool_choice"}
    written = write(tool_choice=ToolChoice("required"), given=given)
    assert "tool_choice" not in written.body
    assert not written.dropped
    assert written.weakened == {"tool_choice"}
    free = write(tool_choice=ToolChoice("auto"), given=given)
    assert free.dropped == free.weakened == frozenset()


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("required"), {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice("none"), {"type": "none"}),
    ],
)
def test_parallel_calls_are_ruled_out_beside_the_choice(
    choice: ToolChoice | None, sent: dict[str, Any]
):
    assert body(tools=[F], tool_choice=choice, parallel=False)["tool_choice"] == sent
    assert "tool_choice" not in body(tools=[F], parallel=True)


def test_web_search():
    written = write(
        web_search=WebSearch({"city": "Bern"}), given={"web_search": "web_search_options"}
    )
    assert written.body["tools"] == [
        {
            "type": "web_search_20250305",
            "name": "web_search",
            "user_location": {"type": "approximate", "city": "Bern"},
        }
    ]
    assert written.dropped == frozenset()
    assert body(web_search=WebSearch())["tools"] == [
        {"type": "web_search_20250305", "name": "web_search"}
    ]


# The form of the answer.

WANTED = Format("schema", name="out", description="d", schema=SCHEMA)


def test_structured_output_uses_the_best_way_that_the_model_has():
    native = write(format=WANTED)
    assert native.body["output_config"] == {
        "format": {"type": "json_schema", "schema": {**SCHEMA, "additionalProperties": False}}
    }
    forced = write(format=WANTED, model=OLD)
    assert forced.json_tool == "json"
    assert forced.body["tools"] == [{"name": "json", "description": "d", "input_schema": SCHEMA}]
    assert forced.body["tool_choice"] == {
        "type": "tool",
        "name": "json",
        "disable_parallel_tool_use": True,
    }
    told = write(format=WANTED, model=OLD, tools=[F], system=[Text("S")])
    assert told.json_tool is None
    assert told.body["system"] == [
        text("S"),
        text(
            "Respond only with one JSON value matching this JSON Schema:\n"
            '{"type":"object","properties":{"x":{"type":"string"}},"required":["x"]}'
        ),
    ]


def test_a_schema_that_cannot_be_compiled_goes_another_way():
    free = Format("schema", schema={"type": "object"})
    assert write(format=free).json_tool == "json"
    assert write(format=free).body["tools"][0] == {
        "name": "json",
        "input_schema": {"type": "object"},
    }
    assert write(format=free, model=NEWEST).body["system"][0]["text"].endswith('{"type":"object"}')
    assert write(format=Format("schema", schema={"anyOf": [True]})).json_tool is None
    strict = {
        "type": "object",
        "properties": {str(number): {"type": "string"} for number in range(20)},
    }
    assert "output_config" not in body(
        format=Format("schema", schema=strict), tools=[Tool("f", None, strict, strict=True)]
    )


def test_any_json_is_asked_for_in_words():
    words = [text("Respond only with one valid JSON object.")]
    assert body(format=Format("json"))["system"] == words
    assert body(format=Format("schema"))["system"] == words


# Thinking.

ADAPTIVE = {"type": "adaptive", "display": "summarized"}
UNSEEN = {"type": "adaptive", "display": "omitted"}


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking", "effort"),
    [
        (NEWEST, Reasoning(effort="minimal"), ADAPTIVE, "low"),
        (NEWEST, Reasoning(effort="high", want_text="no"), UNSEEN, "high"),
        (NEWEST, Reasoning(budget=9000), ADAPTIVE, "medium"),
        (NEWEST, Reasoning(adaptive=True), ADAPTIVE, None),
        (NEWEST, Reasoning(off=True), UNSEEN, "low"),
        (NEWEST, Reasoning(effort="none"), UNSEEN, "low"),
        ("claude-sonnet-5-5", Reasoning(off=True), {"type": "between_tools"}, None),
        ("claude-haiku-5-5", Reasoning(off=True), {"type": "disabled"}, None),
        ("claude-opus-4-8", Reasoning(off=True), None, None),
        ("claude-opus-4-6", Reasoning(effort="xhigh"), ADAPTIVE, "max"),
        (BUDGETED, Reasoning(effort="high"), {"type": "enabled", "budget_tokens": 8999}, None),
        (BUDGETED, Reasoning(effort="low"), {"type": "enabled", "budget_tokens": 2048}, None),
        (BUDGETED, Reasoning(budget=10), {"type": "enabled", "budget_tokens": 1024}, None),
        (BUDGETED, Reasoning(adaptive=True), {"type": "enabled", "budget_tokens": 8999}, None),
        (BUDGETED, Reasoning(off=True), None, None),
    ],
)
def test_thinking_by_generation(
    model: str, reasoning: Reasoning, thinking: dict[str, Any] | None, effort: str | None
):
    written = write(model=model, reasoning=reasoning, given={"reasoning": "reasoning_effort"})
    assert written.body.get("thinking") == thinking
    assert written.body.get("output_config") == (None if effort is None else {"effort": effort})
    assert written.dropped == frozenset()


@pytest.mark.parametrize("want", ["yes", "implied", "no"])
@pytest.mark.parametrize("model", [BUDGETED, "claude-opus-4-8"])
def test_a_model_that_does_not_think_of_itself_is_not_made_to_by_how_thoughts_are_shown(
    model: str, want: Literal["yes", "implied", "no"]
):
    written = write(model=model, reasoning=Reasoning(want_text=want), temperature=0.5)
    assert "thinking" not in written.body
    assert written.body.get("temperature") == (0.5 if model == BUDGETED else None)


def test_thoughts_that_a_model_has_anyway_are_shown_to_who_wants_them():
    assert body(HI, model=NEWEST, reasoning=Reasoning(want_text="yes"))["thinking"] == ADAPTIVE
    for want in ("implied", "no"):
        assert "thinking" not in body(HI, model=NEWEST, reasoning=Reasoning(want_text=want))


@pytest.mark.parametrize(
    ("model", "thinking", "sent"),
    [
        ("claude-opus-4-6", {"type": "enabled", "budget_tokens": 5000}, None),
        (
            BUDGETED,
            {"type": "enabled", "budget_tokens": 5000, "display": "omitted"},
            None,
        ),
        ("claude-opus-4-8", {"type": "disabled"}, None),
        ("claude-opus-4-8", {"type": "adaptive", "display": "omitted"}, None),
        ("claude-opus-4-8", {"type": "adaptive"}, ADAPTIVE),
        ("claude-sonnet-5-5", {"type": "between_tools"}, None),
        ("claude-sonnet-5-5", {"type": "disabled"}, {"type": "between_tools"}),
        ("claude-haiku-5-5", {"type": "between_tools"}, {"type": "disabled"}),
        ("claude-opus-4-8", {"type": "enabled", "budget_tokens": 9000}, ADAPTIVE),
        (BUDGETED, {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 8999}),
        ("claude-opus-4-6", {"type": "enabled"}, ADAPTIVE),
    ],
)
def test_thinking_in_the_words_of_anthropic_reaches_a_model_that_knows_them(model, thinking, sent):
    asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9000}
    conversation = read_request({**asked, "thinking": thinking})
    assert write_request(conversation, Upstream(model)).body["thinking"] == (sent or thinking)


@pytest.mark.parametrize(
    ("model", "max_tokens"), [("claude-3-haiku-20240307", 4000), (BUDGETED, 1024)]
)
def test_thinking_that_cannot_be_had_is_told(model: str, max_tokens: int):
    written = write(
        model=model,
        max_tokens=max_tokens,
        reasoning=Reasoning(effort="high"),
        given={"reasoning": "thinking"},
    )
    assert "thinking" not in written.body
    assert not written.dropped
    assert written.weakened == {"thinking"}


def test_a_budget_is_not_asked_for_when_the_thinking_before_a_call_is_lost():
    call, result = Call("a", "f", ""), user(Result("a", [Text("r")]))
    reasoning = Reasoning(effort="low")
    lost = body(HI, assistant(call), result, model=BUDGETED, reasoning=reasoning)
    assert "thinking" not in lost
    foreign = body(
        HI, assistant(Thinking("t", "gw1:oai:x"), call), result, model=BUDGETED, reasoning=reasoning
    )
    assert "thinking" not in foreign
    kept = body(
        HI,
        assistant(Thinking("t", "S"), call),
        result,
        system("B"),
        model=BUDGETED,
        reasoning=reasoning,
    )
    assert kept["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert "thinking" in body(HI, assistant(call), result, model=NEWEST, reasoning=reasoning)


# Properties.

TEXTS = st.text(max_size=3)
PARTS: dict[str, st.SearchStrategy[Part]] = {
    "user": st.builds(Text, TEXTS) | st.builds(Result, st.sampled_from("abc"), st.just([])),
    "assistant": st.builds(Text, TEXTS)
    | st.builds(Call, st.sampled_from("abc"), st.just("f"), TEXTS)
    | st.builds(Thinking, TEXTS, st.sampled_from(["", "S", "gw1:none"])),
    "system": st.builds(Text, TEXTS),
}
TURNS = st.sampled_from(["user", "assistant", "system"]).flatmap(
    lambda role: st.builds(Turn, st.just(role), st.lists(PARTS[role], max_size=3))
)


@given(st.lists(TURNS, min_size=1, max_size=8), st.sampled_from([NEWEST, MID_SYSTEM, PLAIN, OLD]))
def test_any_conversation_is_written_as_the_api_wants_it(turns: list[Turn], model: str):
    try:
        written = messages(*turns, model=model)
    except GatewayError:
        # There is nothing in it.
        return
    order = [message["role"] for message in written]
    assert order[0] == "user"
    assert all(message["content"] for message in written)
    assert not any(block.get("text") == "" for message in written for block in message["content"])
    assert all(before != after for before, after in pairwise(order))
    for position, role in enumerate(order):
        if role == "system":
            assert order[position - 1] == "user"
            assert order[position + 1 : position + 2] in ([], ["assistant"])
    for before, after in zip(written, [*written[1:], {"content": []}], strict=True):
        called = [block["id"] for block in before["content"] if block["type"] == "tool_use"]
        answered = [
            block["tool_use_id"] for block in after["content"] if block["type"] == "tool_result"
        ]
        assert sorted(set(called)) == sorted(answered)
