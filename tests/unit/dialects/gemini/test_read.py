"""A Gemini client's request, read."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects import envelope
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
    Result,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    Turn,
    WebSearch,
)
from proxy.dialects.gemini.read import read_request
from proxy.dialects.repair import repair
from proxy.errors import GatewayError, Kind

HELLO = [{"role": "user", "parts": [{"text": "Hi"}]}]


def read(body):
    return read_request(body)


def read_parts(*parts, role="user"):
    return read({"contents": [{"role": role, "parts": list(parts)}]}).turns[0].parts


def config(**fields):
    return read({"contents": HELLO, "generationConfig": fields})


def refusal_of(body):
    with pytest.raises(GatewayError) as caught:
        read(body)
    return caught.value


# What was said.


def test_roles_are_user_and_model_and_a_missing_one_is_the_user():
    contents = [
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "model", "parts": [{"text": "b"}]},
        {"role": "function", "parts": [{"text": "c"}]},
        {"parts": [{"text": "d"}]},
        {"role": "", "parts": {"text": "e"}},
        {"role": "model"},
    ]
    assert read({"contents": contents}).turns == [
        Turn("user", [Text("a")]),
        Turn("assistant", [Text("b")]),
        Turn("user", [Text("c")]),
        Turn("user", [Text("d")]),
        Turn("user", [Text("e")]),
        Turn("assistant", []),
    ]


def test_usage_always_comes():
    told = read({"contents": HELLO, "model": "models/m"})
    assert told == Conversation(turns=[Turn("user", [Text("Hi")])], include_usage=True)


def test_both_spellings_of_a_key_are_read():
    camel = {
        "systemInstruction": {"parts": [{"text": "S"}]},
        "contents": [
            {
                "role": "model",
                "parts": [{"functionCall": {"name": "f"}, "thoughtSignature": "c2ln"}],
            },
            {"parts": [{"functionResponse": {"name": "f", "response": {"output": "ok"}}}]},
            {"parts": [{"inlineData": {"mimeType": "image/png", "data": "aa"}}]},
            {"parts": [{"fileData": {"mimeType": "image/png", "fileUri": "https://x/y"}}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"a_b": 1}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "maxOutputTokens": 5,
            "topP": 0.5,
            "thinkingConfig": {"thinkingBudget": 9, "includeThoughts": True},
        },
        "safetySettings": [],
    }
    snake = {
        "system_instruction": {"parts": [{"text": "S"}]},
        "contents": [
            {
                "role": "model",
                "parts": [{"function_call": {"name": "f"}, "thought_signature": "c2ln"}],
            },
            {"parts": [{"function_response": {"name": "f", "response": {"output": "ok"}}}]},
            {"parts": [{"inline_data": {"mime_type": "image/png", "data": "aa"}}]},
            {"parts": [{"file_data": {"mime_type": "image/png", "file_uri": "https://x/y"}}]},
        ],
        "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"a_b": 1}}]}],
        "tool_config": {
            "function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}
        },
        "generation_config": {
            "max_output_tokens": 5,
            "top_p": 0.5,
            "thinking_config": {"thinking_budget": 9, "include_thoughts": True},
        },
        "safety_settings": [],
    }
    assert read(camel) == read(snake)
    assert read(camel).tools == [Tool("f", None, {"a_b": 1})]
    assert read(camel).dropped >= {"safetySettings", "generationConfig.topP"}


def test_the_system_instruction_is_texts():
    body = {"contents": HELLO, "systemInstruction": {"role": "system", "parts": {"text": "S"}}}
    assert read(body).system == [Text("S")]
    body["systemInstruction"] = {"parts": [{"inlineData": {}}]}
    assert refusal_of(body).param == "systemInstruction.parts[0].text"


def test_media_go_by_their_type():
    png = {"mimeType": "image/png", "data": "-_8="}
    assert read_parts({"inlineData": png}) == [
        Image(data="+/8=", mime="image/png", path="contents[0].parts[0].inlineData")
    ]
    path = "contents[0].parts[0].inlineData"
    for mime, kind in [
        ("audio/mpeg", "mp3"),
        ("audio/x-wav", "wav"),
        ("audio/L16;codec=pcm", "l16"),
    ]:
        blob = {"mimeType": mime, "data": "aa"}
        assert read_parts({"inlineData": blob}) == [Audio("aa", kind, path=path)]
    pdf = {"mimeType": "application/pdf", "data": "aa", "displayName": "a.pdf"}
    assert read_parts({"inlineData": pdf}) == [
        File(data="aa", mime="application/pdf", name="a.pdf", path=path)
    ]
    assert refusal_of({"contents": [{"parts": [{"inlineData": {"data": "aa"}}]}]}).param == (
        f"{path}.mimeType"
    )


def test_links_go_by_their_type_or_their_ending():
    path = "contents[0].parts[0].fileData"
    assert read_parts({"fileData": {"fileUri": "https://x/cat.JPG?size=2"}}) == [
        Image(url="https://x/cat.JPG?size=2", mime="image/jpeg", path=path)
    ]
    assert read_parts({"fileData": {"fileUri": "gs://b/a", "mimeType": "video/mp4"}}) == [
        File(url="gs://b/a", mime="video/mp4", path=path)
    ]
    assert read_parts({"fileData": {"fileUri": "https://x/y"}}) == [
        File(url="https://x/y", path=path)
    ]
    assert refusal_of({"contents": [{"parts": [{"fileData": {}}]}]}).param == f"{path}.fileUri"


def test_what_googles_own_tools_did_is_left_out_and_told():
    body = {
        "contents": [
            {
                "role": "model",
                "parts": [
                    {"executableCode": {"language": "PYTHON", "code": "1"}},
                    {"codeExecutionResult": {"outcome": "OUTCOME_OK"}},
                    {"toolCall": {}},
                    {"toolResponse": {}},
                    {"text": "done"},
                    {"thoughtSignature": "c2ln"},
                ],
            }
        ]
    }
    conversation = read(body)
    assert conversation.turns == [Turn("assistant", [Text("done")])]
    assert conversation.dropped == {
        "executableCode",
        "codeExecutionResult",
        "toolCall",
        "toolResponse",
    }


def test_a_part_of_no_known_kind_is_refused():
    error = refusal_of({"contents": [{"parts": [{"text": "a"}, {"hologram": {}}]}]})
    assert (error.kind, error.param) == (Kind.INVALID_REQUEST, "contents[0].parts[1]")


def test_with_nothing_said_the_system_text_is_what_is_said():
    body = {
        "systemInstruction": {"parts": [{"text": "S"}]},
        "contents": [{"parts": [{"text": ""}]}],
    }
    conversation = read(body)
    repair(conversation, param="contents")
    assert conversation.turns == [Turn("user", [Text("S")])]
    del body["systemInstruction"]
    with pytest.raises(GatewayError, match="`contents` is empty"):
        repair(read(body), param="contents")


# Calls and results.


def test_a_call_without_an_id_gets_one_that_stays_the_same():
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    first, second = read_parts(call, call, role="model")
    assert first == Call("call_ba7bfa56319c2cb60f96537b", "f", '{"a":1}')
    assert second.id == "call_c09bb890b096f7306f688cc6"
    assert read_parts(call, role="model") == [first]
    assert read_parts({"functionCall": {"id": "x", "name": "f"}}, role="model") == [
        Call("x", "f", "")
    ]


@pytest.mark.parametrize("role", ["user", "function", "", None])
@pytest.mark.parametrize("key", ["functionCall", "function_call"])
def test_a_user_calls_no_function(role, key):
    part = {"role": role, "parts": [{"text": "Hi"}, {key: {"name": "f"}}]}
    refused = refusal_of({"contents": [*HELLO, part]})
    assert (refused.kind, refused.param) == (
        Kind.INVALID_REQUEST,
        "contents[1].parts[1].functionCall",
    )
    assert "model" in refused.message


def test_what_the_model_has_sealed_is_not_the_users():
    seal = envelope.wrap_blocks([Redacted("r"), Thinking("a", "s")])
    field = base64.b64encode(seal.encode()).decode()
    sealed = {"text": "hm", "thought": True, "thoughtSignature": field}
    assert read_parts(sealed, role="user") == [Thinking("a", "s")]
    assert read_parts(sealed, role="model") == [Redacted("r"), Thinking("a", "s")]


def test_results_find_their_calls_by_id_and_else_in_order_by_name():
    def call(name, **more):
        return {"functionCall": {"name": name, **more}}

    def result(name, **more):
        return {"functionResponse": {"name": name, "response": {"output": "o"}, **more}}

    body = {
        "contents": [
            {
                "role": "model",
                "parts": [
                    call("f", id="1"),
                    call("g", id="2"),
                    call("f", id="3"),
                    call("f", id="4"),
                ],
            },
            {
                "parts": [
                    result("f", id="3"),
                    result("g", id="unknown"),
                    result("f"),
                    result("f"),
                    result("f"),
                    result("f", id="5"),
                ]
            },
        ]
    }
    answered = [part.call_id for part in read(body).turns[1].parts]
    assert answered == ["3", "2", "1", "4", "f", "5"]


@pytest.mark.parametrize(
    ("response", "said", "failed"),
    [
        ({"output": "ok"}, "ok", False),
        ({"result": {"a": 1}}, '{"a":1}', False),
        ({"error": "no"}, "no", True),
        ({"temperature": 3}, '{"temperature":3}', False),
        ({"output": "a", "error": "b"}, '{"output":"a","error":"b"}', False),
        ({}, "", False),
        (None, "", False),
    ],
)
def test_what_a_function_returned_is_text(response, said, failed):
    parts = read_parts({"functionResponse": {"name": "f", "response": response}})
    assert parts == [Result("f", [Text(said)], failed, name="f")]


def test_a_result_may_hold_pictures():
    blob = {"inlineData": {"mimeType": "image/png", "data": "aa"}}
    (result,) = read_parts(
        {"functionResponse": {"name": "f", "id": "1", "response": {}, "parts": [blob, {"x": 1}]}}
    )
    path = "contents[0].parts[0].functionResponse.parts[0].inlineData"
    assert result.content == [Text(""), Image(data="aa", mime="image/png", path=path)]


# Seals.


def sealed_call(signature):
    part = {"functionCall": {"id": "1", "name": "f"}, "thoughtSignature": signature}
    return read_parts({"text": "hm", "thought": True}, part, role="model")


def test_geminis_own_signature_is_put_into_an_envelope():
    assert sealed_call("c2ln") == [Thinking("hm"), Call("1", "f", "", "gw1:gem:c2ln")]


@pytest.mark.parametrize(
    "word",
    [
        "",
        "skip_thought_signature_validator",
        base64.b64encode(b"skip_thought_signature_validator").decode(),
        base64.urlsafe_b64encode(b"skip_thought_signature_validator").decode().rstrip("="),
    ],
)
def test_the_word_for_no_signature_is_none(word):
    assert sealed_call(word) == [Thinking("hm"), Call("1", "f", "")]


def test_another_providers_thinking_comes_back_before_its_call():
    blocks: list[Thinking | Redacted] = [Thinking("hm?>", "sig+/="), Redacted("data")]
    wrapped = envelope.wrap_blocks(blocks)
    for field in (
        wrapped,
        base64.b64encode(wrapped.encode()).decode(),
        base64.urlsafe_b64encode(wrapped.encode()).decode().rstrip("="),
    ):
        assert sealed_call(field) == [*blocks, Call("1", "f", "")]


def test_the_pieces_of_a_streamed_answer_are_put_together():
    wrapped = envelope.wrap_blocks([Thinking("let me", "EqQB")])
    pieces: list[dict[str, Any]] = [
        {"text": "let ", "thought": True},
        {"text": "me", "thought": True},
        {"text": "It"},
        {"text": " "},
        {"text": "is"},
        {"functionCall": {"id": "1", "name": "f"}},
        {"text": ""},
    ]
    said: list[Part] = [
        Thinking("let me"),
        Text("It is"),
        Call("1", "f", ""),
    ]
    contents = [{"role": "model", "parts": [piece]} for piece in pieces]
    user = {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}
    assert read({"contents": [user, *contents, user]}).turns == [
        Turn("user", [Text("a"), Text("b")]),
        Turn("assistant", said),
        Turn("user", [Text("a"), Text("b")]),
    ]
    pieces[5]["thoughtSignature"] = wrapped
    sealed: list[Part] = [Thinking("let me", "EqQB"), Text("It is"), Call("1", "f", "")]
    assert read({"contents": contents}).turns == [Turn("assistant", sealed)]


def test_seals_of_several_calls_stay_with_their_calls():
    def call(name, *blocks):
        seal = envelope.wrap_blocks(list(blocks))
        return {"functionCall": {"id": name, "name": name}, "thoughtSignature": seal}

    one, two = Thinking("1", "a"), Redacted("b")
    contents = [
        {"role": "model", "parts": [{"text": "x"}, call("f", one), {"text": "y"}, call("g", two)]}
    ]
    assert read({"contents": contents}).turns[0].parts == [
        one,
        Text("x"),
        Call("f", "f", ""),
        two,
        Text("y"),
        Call("g", "g", ""),
    ]


def test_the_space_of_an_answer_without_text_is_not_said_again():
    contents = [{"role": "model", "parts": [{"text": " "}]}, {"parts": [{"text": "Hi"}]}]
    assert read({"contents": contents}).turns[0] == Turn("assistant", [])


def test_a_signature_that_only_looks_like_an_envelope_is_geminis():
    assert sealed_call("Z3cxO*") == [Thinking("hm"), Call("1", "f", "", "gw1:gem:Z3cxO*")]
    assert sealed_call("gw1:oai:x") == [Thinking("hm"), Call("1", "f", "", "gw1:oai:x")]
    odd = base64.b64encode(b"gw1?").decode()
    assert sealed_call(odd)[1].signature == f"gw1:gem:{odd}"
    close = base64.b64encode(b"gw18").decode()
    assert close.startswith("Z3cxO")
    assert sealed_call(close)[1].signature == f"gw1:gem:{close}"


def test_thoughts_keep_their_seals():
    sealed = {"text": "hm", "thought": True, "thoughtSignature": "c2ln"}
    assert read_parts(sealed, role="model") == [Thinking("hm", "gw1:gem:c2ln")]
    blocks: list[Thinking | Redacted] = [Thinking("a", "s")]
    field = base64.b64encode(envelope.wrap_blocks(blocks).encode()).decode()
    sealed["thoughtSignature"] = field
    assert read_parts(sealed, role="model") == blocks


# How to answer.


def test_the_generation_config_is_read():
    conversation = config(
        maxOutputTokens=10,
        temperature=1,
        topP=0.5,
        topK=40.0,
        stopSequences=["x"],
        seed=3,
        candidateCount=2,
        presencePenalty=0.1,
        frequencyPenalty=-0.1,
        responseLogprobs=True,
        logprobs=4,
        responseModalities=["TEXT"],
        mediaResolution="MEDIA_RESOLUTION_LOW",
        warpSpeed=9,
    )
    assert conversation == Conversation(
        turns=[Turn("user", [Text("Hi")])],
        include_usage=True,
        max_tokens=10,
        temperature=1,
        top_p=0.5,
        top_k=40,
        stop=["x"],
        seed=3,
        n=2,
        presence_penalty=0.1,
        frequency_penalty=-0.1,
        logprobs=True,
        top_logprobs=4,
        given=conversation.given,
    )
    assert conversation.given == {
        "max_tokens": "generationConfig.maxOutputTokens",
        "temperature": "generationConfig.temperature",
        "top_p": "generationConfig.topP",
        "top_k": "generationConfig.topK",
        "stop": "generationConfig.stopSequences",
        "seed": "generationConfig.seed",
        "presence_penalty": "generationConfig.presencePenalty",
        "frequency_penalty": "generationConfig.frequencyPenalty",
        "logprobs": "generationConfig.responseLogprobs",
        "top_logprobs": "generationConfig.logprobs",
        "n": "generationConfig.candidateCount",
        "mediaResolution": "generationConfig.mediaResolution",
        "unknown": "unknown",
    }


def test_null_and_one_candidate_and_no_stops_are_nothing_given():
    conversation = config(temperature=None, candidateCount=1, stopSequences=[], thinkingConfig=None)
    assert conversation.given == {}


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("maxOutputTokens", "10", "maxOutputTokens"),
        ("maxOutputTokens", 0, "maxOutputTokens"),
        ("maxOutputTokens", 1.5, "maxOutputTokens"),
        ("maxOutputTokens", True, "maxOutputTokens"),
        ("temperature", float("inf"), "temperature"),
        ("temperature", "hot", "temperature"),
        ("temperature", False, "temperature"),
        ("responseLogprobs", 1, "responseLogprobs"),
        ("stopSequences", "x", "stopSequences"),
        ("stopSequences", ["x", 1], "stopSequences[1]"),
        ("responseMimeType", 5, "responseMimeType"),
        ("responseJsonSchema", [], "responseJsonSchema"),
        ("thinkingConfig", "much", "thinkingConfig"),
        ("thinkingConfig", {"thinkingLevel": "TREMENDOUS"}, "thinkingConfig.thinkingLevel"),
        ("thinkingConfig", {"thinkingBudget": -2}, "thinkingConfig.thinkingBudget"),
        ("thinkingConfig", {"includeThoughts": 10**30}, "thinkingConfig.includeThoughts"),
        ("seed", 1e301, "seed"),
        ("seed", {}, "seed"),
        ("topP", "x" * 50, "topP"),
    ],
)
def test_a_wrong_type_is_told_with_its_path(field, value, param):
    error = refusal_of({"contents": HELLO, "generationConfig": {field: value}})
    assert (error.kind, error.param) == (Kind.INVALID_REQUEST, f"generationConfig.{param}")
    assert ": found " in error.message
    assert ", expected " in error.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": "Hi"}, "contents"),
        ({"contents": ["Hi"]}, "contents[0]"),
        ({"contents": [{"role": "assistant"}]}, "contents[0].role"),
        ({"contents": [{"role": 5}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"text": 5}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"text": "a", "thought": 1}]}]}, "contents[0].parts[0].thought"),
        (
            {"contents": [{"parts": [{"functionCall": {}}]}]},
            "contents[0].parts[0].functionCall.name",
        ),
        ({"contents": HELLO, "tools": 5}, "tools"),
        (
            {"contents": HELLO, "tools": [{"functionDeclarations": [{}]}]},
            "tools[0].functionDeclarations[0].name",
        ),
        (
            {"contents": HELLO, "toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
    ],
)
def test_a_wrong_shape_is_told_with_its_path(body, param):
    error = refusal_of(body)
    assert (error.kind, error.param) == (Kind.INVALID_REQUEST, param)


@pytest.mark.parametrize(
    ("fields", "expected", "told"),
    [
        ({"responseMimeType": "text/plain"}, Format(), None),
        ({"responseMimeType": "application/json"}, Format("json"), "responseMimeType"),
        (
            {"responseMimeType": "application/json", "responseSchema": {"type": "STRING"}},
            Format("schema", schema={"type": "string"}, strict=True),
            "responseSchema",
        ),
        (
            {"responseJsonSchema": {"type": "string"}, "responseSchema": {"type": "OBJECT"}},
            Format("schema", schema={"type": "string"}, strict=True),
            "responseJsonSchema",
        ),
    ],
)
def test_the_form_of_the_answer_is_read(fields, expected, told):
    conversation = config(**fields)
    assert conversation.format == expected
    assert conversation.given == ({} if told is None else {"format": f"generationConfig.{told}"})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Reasoning(want_text="no")),
        ({"includeThoughts": True}, Reasoning(want_text="yes")),
        ({"thinkingLevel": "high"}, Reasoning("high", want_text="no")),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, Reasoning(want_text="no")),
        ({"thinkingBudget": 0}, Reasoning(off=True, want_text="no")),
        ({"thinkingBudget": -1}, Reasoning(want_text="no")),
        ({"thinkingBudget": 512, "includeThoughts": True}, Reasoning(budget=512, want_text="yes")),
    ],
)
def test_the_wish_to_think_is_read(fields, expected):
    conversation = config(thinkingConfig=fields)
    assert conversation.reasoning == expected
    assert conversation.given == {"reasoning": "generationConfig.thinkingConfig"}


def test_functions_and_search_are_tools():
    body = {
        "contents": HELLO,
        "tools": [
            {"functionDeclarations": [{"name": "f", "description": "d"}]},
            {
                "googleSearch": {},
                "functionDeclarations": {"name": "g", "parameters": {"type": "OBJECT"}},
            },
        ],
    }
    conversation = read(body)
    assert conversation.tools == [Tool("f", "d"), Tool("g", None, {"type": "object"})]
    assert conversation.web_search == WebSearch()
    assert conversation.dropped == {"tools.googleSearch"}


def test_tools_that_run_at_google_are_refused():
    error = refusal_of({"contents": HELLO, "tools": [{"googleSearch": {}}, {"codeExecution": {}}]})
    assert (error.kind, error.param) == (Kind.TOOL_NOT_SUPPORTED, "tools[1].codeExecution")


@pytest.mark.parametrize(
    ("calling", "expected"),
    [
        ({}, ToolChoice("auto")),
        ({"mode": "validated"}, ToolChoice("auto")),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, ToolChoice("auto", allowed=("f",))),
        ({"mode": "NONE"}, ToolChoice("none")),
        ({"mode": "ANY"}, ToolChoice("required")),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice("tool", name="f")),
        (
            {"mode": "ANY", "allowedFunctionNames": ["f", "g"]},
            ToolChoice("required", allowed=("f", "g")),
        ),
    ],
)
def test_how_freely_tools_may_be_called_is_read(calling, expected):
    conversation = read({"contents": HELLO, "toolConfig": {"functionCallingConfig": calling}})
    assert conversation.tool_choice == expected
    assert conversation.given == {"tool_choice": "toolConfig.functionCallingConfig"}


def test_the_rest_of_the_tool_config_is_told_as_lost():
    told = {"retrievalConfig": {"languageCode": "en"}, "includeServerSideToolInvocations": True}
    conversation = read({"contents": HELLO, "toolConfig": told})
    assert conversation.tool_choice is None
    assert conversation.dropped == {
        "toolConfig.retrievalConfig",
        "toolConfig.includeServerSideToolInvocations",
    }


@pytest.mark.parametrize(
    ("tier", "expected"), [("STANDARD", "default"), ("flex", "flex"), ("x", "x")]
)
def test_the_service_tier_is_read(tier, expected):
    conversation = read({"contents": HELLO, "serviceTier": tier})
    assert conversation.service_tier == expected
    assert conversation.given == {"service_tier": "serviceTier"}


def test_what_only_google_has_is_told_as_lost_and_an_invented_field_is_not_named():
    body = {
        "contents": HELLO,
        "safetySettings": [],
        "labels": {"a": "b"},
        "cachedContent": "cachedContents/1",
        "store": False,
        "x-evil\r\nheader": 1,
    }
    assert read(body).dropped == {"safetySettings", "labels", "cachedContent", "store", "unknown"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"continuationToken": "t"}, "continuationToken"),
        ({"generationConfig": {"speechConfig": {}}}, "generationConfig.speechConfig"),
        ({"generationConfig": {"imageConfig": {}}}, "generationConfig.imageConfig"),
        (
            {"generationConfig": {"responseModalities": ["TEXT", "AUDIO"]}},
            "generationConfig.responseModalities[1]",
        ),
        (
            {"generationConfig": {"responseMimeType": "text/x.enum"}},
            "generationConfig.responseMimeType",
        ),
    ],
)
def test_what_would_change_the_answers_nature_is_refused(body, param):
    error = refusal_of({"contents": HELLO, **body})
    assert (error.kind, error.param) == (Kind.UNSUPPORTED_PARAMETER, param)


# Anything at all.

SPELT = st.sampled_from(
    [
        "contents",
        "parts",
        "text",
        "role",
        "tools",
        "functionCall",
        "function_response",
        "name",
        "id",
        "args",
        "response",
        "thought",
        "thoughtSignature",
        "inlineData",
        "fileData",
        "mimeType",
        "data",
        "fileUri",
        "generationConfig",
        "thinkingConfig",
        "thinkingBudget",
        "topK",
        "responseSchema",
        "type",
        "properties",
        "functionDeclarations",
        "parameters",
        "toolConfig",
        "mode",
        "nullable",
        "functionCallingConfig",
        "systemInstruction",
        "stopSequences",
        "candidateCount",
        "enum",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
GARBAGE = st.recursive(
    LEAVES | st.sampled_from(["user", "model", "ANY", "gw1:x", "Z3cxOg=="]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(SPELT, below, max_size=5),
    max_leaves=25,
)


@given(st.dictionaries(SPELT, GARBAGE, max_size=5), GARBAGE)
def test_any_body_is_read_or_refused(body, contents):
    for given_body in (body, {**body, "contents": [{"parts": contents}]}):
        with contextlib.suppress(GatewayError):
            read(given_body)
