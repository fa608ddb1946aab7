"""A request, written for a Gemini upstream."""

from __future__ import annotations

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
from proxy.dialects.gemini.write import count_tokens_request, read_token_count, write_request
from proxy.dialects.repair import repair
from proxy.dialects.reply import Upstream
from proxy.errors import GatewayError, Kind
from proxy.providers import Flags

GEMINI_3 = "gemini-3-flash"
GEMINI_2 = "gemini-2.5-flash"
F = Tool("f", "d", {"type": "object", "properties": {}})


def asked(*turns, **fields):
    return Conversation(turns=list(turns) or [Turn("user", [Text("Hi")])], **fields)


def written(conversation, model=GEMINI_3, flags=None):
    repair(conversation)
    return write_request(conversation, Upstream(model, flags or Flags()))


def body(*turns, model=GEMINI_3, flags=None, **fields):
    return written(asked(*turns, **fields), model, flags).body


def generation_config(model=GEMINI_3, flags=None, **fields):
    return body(model=model, flags=flags, **fields).get("generationConfig", {})


def user_parts(*parts, model=GEMINI_3):
    return body(Turn("user", list(parts)), model=model)["contents"][0]["parts"]


# Where to.


@pytest.mark.parametrize(
    ("model", "resource"),
    [
        ("gemini-3-flash", "models/gemini-3-flash"),
        ("models/gemini-3-flash", "models/gemini-3-flash"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("a b?c", "models/a%20b%3Fc"),
    ],
)
def test_the_model_is_in_the_path(model, resource):
    assert written(asked(), model).path == f"/v1beta/{resource}:generateContent"
    streamed = written(asked(stream=True), model)
    assert streamed.path == f"/v1beta/{resource}:streamGenerateContent?alt=sse"
    assert streamed.stream
    assert streamed.body == written(asked(), model).body


def test_tokens_are_counted_of_the_whole_request():
    conversation = asked(system=[Text("S")], tools=[F])
    repair(conversation)
    counted = count_tokens_request(conversation, Upstream(GEMINI_3))
    assert counted.path == "/v1beta/models/gemini-3-flash:countTokens"
    assert counted.body == {
        "generateContentRequest": {
            "model": "models/gemini-3-flash",
            "systemInstruction": {"parts": [{"text": "S"}]},
            "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
            "tools": [
                {
                    "functionDeclarations": [
                        {
                            "name": "f",
                            "description": "d",
                            "parametersJsonSchema": {"type": "object", "properties": {}},
                        }
                    ]
                }
            ],
        }
    }


@pytest.mark.parametrize(
    ("document", "count"),
    [
        ({"totalTokens": 31}, 31),
        ({"totalTokens": "31"}, None),
        ({"totalTokens": -1}, None),
        ({}, None),
        ([], None),
    ],
)
def test_the_counted_tokens_are_read(document, count):
    assert read_token_count(document) == count


# What was said.


def test_turns_alternate_and_start_with_the_user():
    contents = body(
        Turn("assistant", [Text("a"), Refusal("no")]),
        Turn("user", [Text("b")]),
        Turn("user", [Text("c")]),
    )["contents"]
    assert contents == [
        {"role": "user", "parts": [{"text": "."}]},
        {"role": "model", "parts": [{"text": "a"}, {"text": "no"}]},
        {"role": "user", "parts": [{"text": "b"}, {"text": "c"}]},
    ]


def test_empty_texts_are_left_out_even_unrepaired():
    turns = [
        Turn("user", [Text("Hi"), Text("")]),
        Turn("assistant", [Text("")]),
        Turn("user", [Refusal("")]),
    ]
    contents = write_request(asked(*turns), Upstream(GEMINI_3)).body["contents"]
    assert contents == [{"role": "user", "parts": [{"text": "Hi"}]}]


def test_a_system_message_in_the_middle_is_said_by_the_user_after_results():
    contents = body(
        Turn("user", [Text("Hi")]),
        Turn("assistant", [Call("1", "f", "{}")]),
        Turn("system", [Text("B"), Text("C")]),
        Turn("user", [Result("1", [Text("ok")])]),
        tools=[F],
    )["contents"]
    assert [part.get("text") for part in contents[2]["parts"]] == [
        None,
        "<system>\nB\n\nC\n</system>",
    ]


def test_gemma_hears_the_system_text_from_the_user():
    made = body(system=[Text("S"), Text("T")], model="gemma-3-27b")
    assert "systemInstruction" not in made
    assert made["contents"] == [{"role": "user", "parts": [{"text": "S\n\nT\n\n"}, {"text": "Hi"}]}]


def test_media_are_sent_as_data_or_as_a_link():
    assert user_parts(
        Image(data="aa", mime="image/png"),
        Image(data="aa"),
        Image(url="https://x/a.webp?b#c"),
        Image(url="gs://b/cat"),
        File(data="aa", name="a.PDF"),
        File(data="aa"),
        File(url="https://x/a.bin"),
        File(url="https://x/a", mime="video/mp4"),
        Audio("aa", "wav"),
    ) == [
        {"inlineData": {"mimeType": "image/png", "data": "aa"}},
        {"inlineData": {"mimeType": "image/jpeg", "data": "aa"}},
        {"fileData": {"fileUri": "https://x/a.webp?b#c", "mimeType": "image/webp"}},
        {"fileData": {"fileUri": "gs://b/cat", "mimeType": "image/jpeg"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "aa"}},
        {"inlineData": {"mimeType": "application/octet-stream", "data": "aa"}},
        {"fileData": {"fileUri": "https://x/a.bin"}},
        {"fileData": {"fileUri": "https://x/a", "mimeType": "video/mp4"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "aa"}},
    ]


@pytest.mark.parametrize(
    "part",
    [
        Image(file_id="file-1", path="messages[0]"),
        File(url="file:///etc/passwd", path="messages[0]"),
    ],
)
def test_a_reference_that_google_cannot_open_is_refused(part):
    with pytest.raises(GatewayError) as caught:
        user_parts(part)
    assert (caught.value.kind, caught.value.param) == (Kind.UNSUPPORTED_CONTENT, "messages[0]")


# Calls, results and their seals.


def calls_of(*parts, model=GEMINI_3, results=("1", "2")):
    answers: list[Part] = [Result(call_id, [Text("ok")]) for call_id in results]
    contents = body(
        Turn("user", [Text("Hi")]),
        Turn("assistant", list(parts)),
        Turn("user", answers),
        tools=[F],
        model=model,
    )["contents"]
    return contents[1]["parts"]


def test_the_first_call_of_a_turn_carries_a_seal():
    one, two = Call("1", "f", "{}"), Call("2", "f", "{}")
    first = {"functionCall": {"id": "1", "name": "f", "args": {}}}
    second = {"functionCall": {"id": "2", "name": "f", "args": {}}}
    passes = {"thoughtSignature": "skip_thought_signature_validator"}
    assert calls_of(one, two) == [{**first, **passes}, second]
    sealed = Call("1", "f", "{}", "gw1:gem:c2ln")
    assert calls_of(sealed, two) == [{**first, "thoughtSignature": "c2ln"}, second]
    later = Call("2", "f", "{}", "gw1:gem:c2ln")
    assert calls_of(one, later) == [{**first, **passes}, {**second, "thoughtSignature": "c2ln"}]
    foreign = Call("1", "f", "{}", "gw1:oai:x")
    assert calls_of(foreign, two) == [{**first, **passes}, second]


def test_a_seal_on_thinking_goes_to_the_next_call():
    made = calls_of(
        Thinking("hm", "gw1:gem:c2ln"),
        Redacted("x"),
        Text("so"),
        Call("1", "f", ""),
        results=("1",),
    )
    assert made == [
        {"text": "so"},
        {"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": "c2ln"},
    ]
    made = calls_of(Thinking("hm", "EqQB"), Call("1", "f", ""), results=("1",))
    assert made[0]["thoughtSignature"] == "skip_thought_signature_validator"


def test_a_picture_that_the_model_made_is_shown_to_it_again():
    made = calls_of(Image(data="aa", mime="image/png"), Call("1", "f", ""), results=("1",))
    assert made[0] == {"inlineData": {"mimeType": "image/png", "data": "aa"}}


def test_older_models_get_neither_ids_nor_the_word_for_no_seal():
    assert calls_of(Call("1", "f", "{}"), Call("2", "f", "{}", "gw1:gem:c2ln"), model=GEMINI_2) == [
        {"functionCall": {"name": "f", "args": {}}},
        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"},
    ]


@pytest.mark.parametrize(
    ("call", "args"),
    [
        (Call("1", "f", ""), {}),
        (Call("1", "f", " "), {}),
        (Call("1", "f", '{"a": [1]}'), {"a": [1]}),
        (Call("1", "f", '{"a": '), {"_raw_arguments": '{"a": '}),
        (Call("1", "f", "[1]"), {"_raw_arguments": "[1]"}),
        (Call("1", "f", "*** Begin", custom=True), {"input": "*** Begin"}),
    ],
)
def test_arguments_are_always_an_object(call, args):
    assert calls_of(call, results=("1",))[0]["functionCall"]["args"] == args


def results_of(*results, model=GEMINI_3):
    contents = body(
        Turn("user", [Text("Hi")]),
        Turn("assistant", [Call("1", "f", "{}"), Call("2", "g", "{}")]),
        Turn("user", list(results)),
        tools=[F, Tool("g")],
        model=model,
    )["contents"]
    return contents[2]["parts"]


def test_results_come_in_the_order_of_their_calls_with_the_calls_names():
    parts = results_of(
        Text("and"), Result("2", [Text("b"), Text("c")]), Result("1", [Text("")], is_error=True)
    )
    assert parts == [
        {"functionResponse": {"id": "1", "name": "f", "response": {"error": "Error"}}},
        {"functionResponse": {"id": "2", "name": "g", "response": {"output": "b\nc"}}},
        {"text": "and"},
    ]


def test_a_picture_in_a_result_stays_in_it_or_follows_it():
    results = (
        Result("1", [Text("see"), Image(data="aa", mime="image/png")]),
        Result("2", [Text("ok")]),
    )
    picture = {"inlineData": {"mimeType": "image/png", "data": "aa"}}
    assert results_of(*results)[0] == {
        "functionResponse": {
            "id": "1",
            "name": "f",
            "response": {"output": "see"},
            "parts": [picture],
        }
    }
    assert results_of(*results, model=GEMINI_2) == [
        {"functionResponse": {"name": "f", "response": {"output": "see"}}},
        {"functionResponse": {"name": "g", "response": {"output": "ok"}}},
        {"text": "[image returned by tool call 1]"},
        picture,
    ]
    paper = Result("1", [File(data="aa", mime="application/pdf")])
    assert {"text": "[file returned by tool call 1]"} in results_of(paper, model=GEMINI_2)


def test_a_result_out_of_nowhere_keeps_the_name_that_it_came_with():
    turns = [Turn("user", [Text("Hi")]), Turn("user", [Result("9", [Text("late")], name="f")])]
    parts = write_request(asked(*turns), Upstream(GEMINI_3)).body["contents"][0]["parts"]
    assert parts[0]["functionResponse"]["name"] == "f"


# How to answer.


def test_sampling_goes_into_the_generation_config():
    fields = {
        "max_tokens": 9,
        "temperature": 1.5,
        "top_p": 0.5,
        "top_k": 4,
        "stop": ["a"],
        "seed": 0,
        "n": 2,
    }
    config = generation_config(**fields)
    assert config == {
        "temperature": 1.5,
        "topP": 0.5,
        "topK": 4,
        "maxOutputTokens": 9,
        "stopSequences": ["a"],
        "seed": 0,
        "candidateCount": 2,
    }
    made = written(asked(**fields, stream=True, given={"n": "n", "stop": "stop"}))
    assert "candidateCount" not in made.body["generationConfig"]
    assert made.dropped == {"n"}


@pytest.mark.parametrize(("given", "sent"), [(3, 2.0), (-1, 0.0), (2, 2), (0, 0)])
def test_the_temperature_is_kept_in_its_range(given, sent):
    assert generation_config(temperature=given) == {"temperature": sent}


def test_models_that_ignore_sampling_are_not_bothered_with_it():
    made = written(
        asked(temperature=1, top_p=1, given={"temperature": "temperature", "top_p": "top_p"}),
        "gemini-3.6-flash",
    )
    assert "generationConfig" not in made.body
    assert made.dropped == {"temperature", "top_p"}


def test_more_stops_than_five_are_cut_and_told():
    made = written(asked(stop=list("abcdefg"), given={"stop": "stop"}))
    assert made.body["generationConfig"] == {"stopSequences": list("abcde")}
    assert not made.dropped
    assert made.weakened == {"stop"}


def test_penalties_and_logprobs_are_sent_where_the_provider_takes_them():
    fields = {
        "presence_penalty": 0.5,
        "frequency_penalty": 0.1,
        "logprobs": True,
        "top_logprobs": 3,
    }
    given = dict.fromkeys(fields, "x")
    assert written(asked(**fields, given=given)).dropped == {"x"}
    made = written(asked(**fields, given=given), flags=Flags(penalties=True, logprobs=True))
    assert made.dropped == frozenset()
    assert made.body["generationConfig"] == {
        "presencePenalty": 0.5,
        "frequencyPenalty": 0.1,
        "responseLogprobs": True,
        "logprobs": 3,
    }


@pytest.mark.parametrize(
    ("tier", "sent", "dropped"),
    [
        ("default", "standard", False),
        ("priority", "priority", False),
        ("auto", None, False),
        ("scale", None, True),
    ],
)
def test_the_service_tier_is_translated(tier, sent, dropped):
    made = written(asked(service_tier=tier, given={"service_tier": "service_tier"}))
    assert made.body.get("serviceTier") == sent
    assert made.dropped == ({"service_tier"} if dropped else frozenset())


SCHEMA = {"type": "object", "properties": {"k": {"const": "a"}}}


def test_structured_output_is_a_json_schema():
    wanted = Format("schema", schema=SCHEMA)
    fitted = {"type": "object", "properties": {"k": {"enum": ["a"], "type": "string"}}}
    as_json = {"responseMimeType": "application/json"}
    assert generation_config(format=wanted) == {**as_json, "responseJsonSchema": fitted}
    assert generation_config(format=wanted, tools=[F]) == {**as_json, "responseJsonSchema": fitted}
    assert generation_config(format=Format("json")) == as_json
    older = {"type": "OBJECT", "properties": {"k": {"enum": ["a"], "type": "STRING"}}}
    assert generation_config(format=wanted, flags=Flags(openapi_schema=True)) == {
        **as_json,
        "responseSchema": older,
    }


def test_older_models_with_tools_are_asked_for_json_in_words():
    made = body(
        system=[Text("S")], format=Format("schema", schema=SCHEMA), tools=[F], model=GEMINI_2
    )
    assert "generationConfig" not in made
    assert made["systemInstruction"]["parts"] == [
        {"text": "S"},
        {
            "text": "Respond only with one JSON value matching this JSON Schema:\n"
            '{"type":"object","properties":{"k":{"const":"a"}}}'
        },
    ]
    made = body(format=Format("json"), tools=[F], model=GEMINI_2)
    assert made["systemInstruction"]["parts"] == [
        {"text": "Respond only with one valid JSON object."}
    ]


@pytest.mark.parametrize(
    ("model", "reasoning", "sent"),
    [
        (GEMINI_3, Reasoning("low"), {"thinkingLevel": "LOW", "includeThoughts": True}),
        (GEMINI_3, Reasoning("max"), {"thinkingLevel": "HIGH", "includeThoughts": True}),
        (GEMINI_3, Reasoning(off=True), {"thinkingLevel": "MINIMAL", "includeThoughts": False}),
        (GEMINI_3, Reasoning(budget=9000), {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        (
            GEMINI_3,
            Reasoning("low", want_text="no"),
            {"thinkingLevel": "LOW", "includeThoughts": False},
        ),
        (GEMINI_3, Reasoning(adaptive=True), {"includeThoughts": True}),
        (GEMINI_3, Reasoning(want_text="no"), {"includeThoughts": False}),
        ("gemini-3-pro", Reasoning("minimal"), {"thinkingLevel": "LOW", "includeThoughts": True}),
        (GEMINI_2, Reasoning("none"), {"thinkingBudget": 0, "includeThoughts": False}),
        (GEMINI_2, Reasoning("minimal"), {"thinkingBudget": 128, "includeThoughts": True}),
        (GEMINI_2, Reasoning("max"), {"thinkingBudget": 24576, "includeThoughts": True}),
        (GEMINI_2, Reasoning(budget=99999), {"thinkingBudget": 24576, "includeThoughts": True}),
        (GEMINI_2, Reasoning(budget=777), {"thinkingBudget": 777, "includeThoughts": True}),
        ("gemini-2.5-pro", Reasoning("none"), {"thinkingBudget": 128, "includeThoughts": False}),
        (
            "gemini-2.5-flash-lite",
            Reasoning("minimal"),
            {"thinkingBudget": 512, "includeThoughts": True},
        ),
        (
            "gemini-2.5-flash-lite",
            Reasoning("none"),
            {"thinkingBudget": 0, "includeThoughts": False},
        ),
    ],
)
def test_the_wish_to_think_is_translated(model, reasoning, sent):
    made = written(asked(reasoning=reasoning, given={"reasoning": "reasoning_effort"}), model)
    assert made.body["generationConfig"] == {"thinkingConfig": sent}
    assert made.dropped == frozenset()


def test_models_that_do_not_think_are_not_asked_to():
    given = {"reasoning": "reasoning_effort"}
    made = written(asked(reasoning=Reasoning("high"), given=given), "gemini-2.0-flash")
    assert "generationConfig" not in made.body
    assert not made.dropped
    assert made.weakened == {"reasoning_effort"}
    made = written(asked(reasoning=Reasoning("none"), given=given), "gemini-2.0-flash")
    assert made.dropped == frozenset()


def test_the_last_system_message_that_sets_an_effort_decides():
    turns = [
        Turn("user", [Text("Hi")]),
        Turn("system", [Text("S")], effort="low"),
        Turn("user", [Text("Ho")]),
        Turn("system", [Text("S")], effort="high"),
    ]
    sent = {"thinkingLevel": "HIGH", "includeThoughts": True}
    assert body(*turns)["generationConfig"]["thinkingConfig"] == sent
    made = body(*turns, reasoning=Reasoning("low", want_text="no"))
    assert made["generationConfig"]["thinkingConfig"] == {**sent, "includeThoughts": False}


# Tools.


def tools_of(**fields):
    made = written(
        asked(**fields, given={"tool_choice": "tool_choice", "web_search": "web_search"})
    )
    return made.body.get("tools"), made.body.get("toolConfig"), made.dropped


def test_tools_are_declared_under_names_that_google_takes():
    made = written(
        asked(
            tools=[
                Tool("get weather", None, None),
                Tool("f", namespace="ns"),
                Tool("hidden", deferred=True),
                Tool("patch", "Apply", custom=True, grammar=("lark", "start: X")),
                Tool("say", custom=True, grammar=("regex", ".*")),
                Tool("write", custom=True),
            ]
        )
    )
    text = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    assert made.body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "get_weather"},
                {"name": "ns__f"},
                {
                    "name": "patch",
                    "description": "Apply\n\nThe input must match this lark grammar:\nstart: X",
                    "parametersJsonSchema": text,
                },
                {
                    "name": "say",
                    "description": "The input must match this regex grammar:\n.*",
                    "parametersJsonSchema": text,
                },
                {"name": "write", "parametersJsonSchema": text},
            ]
        }
    ]
    assert made.names.to_client("get_weather") == "get weather"


def test_an_older_endpoint_gets_the_older_schema():
    tools = body(tools=[F], flags=Flags(openapi_schema=True))["tools"]
    assert tools[0]["functionDeclarations"][0]["parameters"] == {"type": "OBJECT", "properties": {}}


@pytest.mark.parametrize(
    ("choice", "strict", "calling"),
    [
        (None, None, None),
        (None, True, {"mode": "VALIDATED"}),
        (ToolChoice("auto"), None, {"mode": "AUTO"}),
        (ToolChoice("auto"), True, {"mode": "VALIDATED"}),
        (ToolChoice("none"), True, {"mode": "NONE"}),
        (ToolChoice("required"), True, {"mode": "ANY"}),
        (ToolChoice("tool", name="a b"), None, {"mode": "ANY", "allowedFunctionNames": ["a_b"]}),
        (
            ToolChoice("required", allowed=("a b", "g")),
            None,
            {"mode": "ANY", "allowedFunctionNames": ["a_b", "g"]},
        ),
    ],
)
def test_the_tool_choice_is_translated(choice, strict, calling):
    tools = [Tool("a b", strict=strict), Tool("g")]
    _, config, dropped = tools_of(tools=tools, tool_choice=choice)
    assert config == (None if calling is None else {"functionCallingConfig": calling})
    assert dropped == {"web_search"}


def test_tools_that_may_not_be_called_are_not_declared():
    tools, config, dropped = tools_of(
        tools=[Tool("f"), Tool("g")], tool_choice=ToolChoice("auto", allowed=("g",))
    )
    assert tools == [{"functionDeclarations": [{"name": "g"}]}]
    assert config == {"functionCallingConfig": {"mode": "AUTO"}}
    assert dropped == {"web_search"}


def test_without_tools_there_is_no_tool_config():
    assert tools_of(tool_choice=ToolChoice("auto")) == (None, None, {"web_search"})


def test_web_search_is_googles_alone_or_beside_functions_on_newer_models():
    assert tools_of(web_search=WebSearch()) == ([{"googleSearch": {}}], None, set())
    tools, config, _ = tools_of(web_search=WebSearch(), tools=[Tool("f")])
    assert tools == [{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]
    assert config == {"includeServerSideToolInvocations": True}
    made = written(
        asked(
            web_search=WebSearch(), tools=[Tool("f")], given={"web_search": "web_search_options"}
        ),
        GEMINI_2,
    )
    assert made.body["tools"] == [{"functionDeclarations": [{"name": "f"}]}]
    assert made.dropped == {"web_search_options"}


def test_stubs_are_no_tools_to_a_model_that_searches_or_writes_json_only_without():
    called = Turn("assistant", [Call("1", "f", "")])
    turns = Turn("user", [Text("Hi")]), called
    searching = body(*turns, model=GEMINI_2, web_search=WebSearch())
    assert searching["tools"] == [{"googleSearch": {}}]
    writing = body(*turns, model=GEMINI_2, format=Format("json"))
    assert writing["generationConfig"] == {"responseMimeType": "application/json"}
    assert {"tools", "toolConfig"}.isdisjoint(writing)
    assert "toolConfig" not in searching
    declared = {"functionDeclarations": [{"name": "f"}]}
    both = body(*turns, web_search=WebSearch())
    assert both["tools"] == [declared, {"googleSearch": {}}]


@pytest.mark.parametrize(
    ("url", "mime"),
    [
        ("https://x/a", "image/jpeg"),
        ("https://x/a.png", "image/png"),
        ("https://www.youtube.com/watch?v=1", "video/*"),
        ("https://youtu.be/1", "video/*"),
        ("https://generativelanguage.googleapis.com/v1beta/files/1", None),
    ],
)
def test_the_type_of_a_link_is_guessed_where_google_does_not_know_it(url, mime):
    told = {} if mime is None else {"mimeType": mime}
    assert user_parts(Image(url=url)) == [{"fileData": {"fileUri": url, **told}}]
