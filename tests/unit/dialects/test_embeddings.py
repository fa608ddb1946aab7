"""Vectors are asked for in the upstream's words, and told in the client's."""

from __future__ import annotations

import base64
import copy
import json
import struct
from typing import Any

import pytest

from proxy.dialects.asked import Asked
from proxy.dialects.embeddings import check, make_embedding_plan
from proxy.dialects.plan import Plan
from proxy.errors import GatewayError, Kind
from proxy.providers import Provider
from proxy.usage import Usage

DOCUMENT = True
"""What an upstream answers with, as ``Plan.answer`` is told it."""

CONTENT = {"parts": [{"text": "one"}]}
BATCH = {"requests": [{"model": "models/up/m", "content": CONTENT}] * 2}
VECTORS = [[0.5, -0.25], [1.0, 0.0]]
OPENAI = {"data": [{"index": i, "embedding": v} for i, v in enumerate(VECTORS)]}
GEMINI = {"embeddings": [{"values": vector} for vector in VECTORS]}


def plan(dialect: Any, document: dict[str, Any], *offered: Any, strict: bool = False) -> Plan:
    before = copy.deepcopy(document)
    asked = Asked(
        dialect=dialect, body=json.dumps(document).encode(), document=document, edited=False, model="up/m",
        stream=False, request_id="req_1", now=1.0, mint=lambda: "0" * 24, recall=lambda _: None,
        remember=lambda *_: None,
    )  # fmt: skip
    provider = Provider(name="up", base_url="http://up.test", dialects=offered, auth="none")
    made = make_embedding_plan(asked, provider, "m", strict=strict)
    assert document == before
    return made


def of_openai(**fields: Any) -> dict[str, Any]:
    return {"model": "up/m", "input": ["one", "two"], **fields}


def answered(made: Plan, document: object) -> tuple[Any, Usage]:
    answer = made.answer(DOCUMENT)
    answer.feed(json.dumps(document).encode())
    out = answer.finish()
    assert answer.error is None
    return json.loads(out), answer.usage()


# Passed on.


@pytest.mark.parametrize("offered", ["openai-chat", "openai-responses"])
def test_openai_gets_the_clients_bytes_with_the_models_name(offered):
    made = plan("chat", of_openai(input=[[1, 2], [3]], x=1), "anthropic", offered, strict=True)
    assert (made.native, made.path, made.dialect) == (True, "/v1/embeddings", offered)
    assert json.loads(made.body) == {"model": "m", "input": [[1, 2], [3]], "x": 1}
    told = {**OPENAI, "usage": {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 1}}
    assert answered(made, told) == (told, Usage(input=7))


def test_what_openai_does_not_tell_is_estimated():
    texts = plan("chat", of_openai(input=["x" * 40, "y" * 8]), "openai-chat")
    tokens = plan("chat", of_openai(input=[[1, 2], [3]]), "openai-chat")
    assert answered(texts, OPENAI)[1] == Usage(input=12, estimated=True)
    assert answered(tokens, OPENAI)[1] == Usage(input=3, estimated=True)


def test_google_gets_a_single_request_as_it_is():
    document = {"content": CONTENT, "taskType": "RETRIEVAL_QUERY"}
    made = plan("gemini", document, "gemini", strict=True)
    assert (made.native, made.path) == (True, "/v1beta/models/m:embedContent")
    assert made.body == json.dumps(document).encode()
    told = {"embedding": {"values": [1.0]}, "usageMetadata": {"promptTokenCount": 11}}
    assert answered(made, told) == (told, Usage(input=11))
    assert answered(made, {"embedding": {"values": []}})[1] == Usage(input=1, estimated=True)


def test_each_request_of_a_batch_names_the_model_that_is_called():
    made = plan("gemini", BATCH, "gemini", strict=True)
    assert made.path == "/v1beta/models/m:batchEmbedContents"
    sent = json.loads(made.body)["requests"]
    assert sent == [{"model": "models/m", "content": CONTENT}] * 2
    whole = {"model": "models/m", "requests": [{"model": "models/m", "content": CONTENT}]}
    assert plan("gemini", whole, "gemini").body == json.dumps(whole).encode()


def test_a_single_request_names_the_model_that_is_called():
    made = plan("gemini", {"model": "models/up/m", "content": CONTENT}, "gemini", strict=True)
    assert made.path == "/v1beta/models/m:embedContent"
    assert json.loads(made.body) == {"model": "models/m", "content": CONTENT}


def test_what_google_embeds_beside_texts_is_estimated_by_its_size():
    picture = {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "x" * 400}}]}}
    _, usage = answered(plan("gemini", picture, "gemini"), {"embedding": {"values": [1.0]}})
    assert usage.estimated
    assert 100 < usage.input < 150


# From OpenAI's clients to Gemini.


@pytest.mark.parametrize(("given", "texts"), [("one", ["one"]), (["one", "two"], ["one", "two"])])
def test_texts_become_a_batch(given, texts):
    made = plan("chat", of_openai(input=given, dimensions=2), "gemini", strict=True)
    assert (made.native, made.path) == (False, "/v1beta/models/m:batchEmbedContents")
    assert json.loads(made.body)["requests"] == [
        {
            "model": "models/m",
            "outputDimensionality": 2,
            "content": {"parts": [{"text": text}]},
        }
        for text in texts
    ]


def test_the_vectors_are_told_as_openai_tells_them():
    document, usage = answered(plan("chat", of_openai(), "gemini"), GEMINI)
    assert document == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(VECTORS)
        ],
        "model": "up/m",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    assert usage == Usage(input=2, estimated=True)


def test_base64_is_numbers_of_32_bits_the_lowest_byte_first():
    made = plan("chat", of_openai(encoding_format="base64"), "gemini", strict=True)
    document, _ = answered(made, {**GEMINI, "usageMetadata": {"promptTokenCount": 9}})
    raw = [base64.b64decode(one["embedding"]) for one in document["data"]]
    assert [list(struct.unpack("<2f", one)) for one in raw] == VECTORS
    assert document["usage"]["prompt_tokens"] == 9


@pytest.mark.parametrize(
    ("given", "param"), [([1, 2], "input"), ([[1, 2]], "input"), (["a", [1]], "input[1]")]
)
def test_token_numbers_are_refused_for_gemini(given, param):
    with pytest.raises(GatewayError) as refused:
        plan("chat", of_openai(input=given), "gemini")
    assert (refused.value.status, refused.value.param) == (400, param)
    assert "token" in refused.value.message


def test_what_gemini_does_not_take_is_named():
    made = plan("chat", of_openai(user="u", invented=1, dimensions=None), "gemini")
    assert made.dropped == {"user", "unknown"}
    with pytest.raises(GatewayError) as refused:
        plan("chat", of_openai(user="u"), "gemini", strict=True)
    assert (refused.value.kind, refused.value.param) == (Kind.UNSUPPORTED_PARAMETER, "user")


# From Gemini's clients to OpenAI.


def test_a_batch_becomes_a_list_of_texts():
    parts = {"parts": [{"text": "a"}, {"text": "b"}]}
    requests = [
        {"content": CONTENT, "output_dimensionality": 2, "task_type": "X"},
        {"content": parts, "outputDimensionality": 2, "title": "t"},
    ]
    made = plan("gemini", {"requests": requests}, "openai-chat")
    assert (made.native, made.path) == (False, "/v1/embeddings")
    assert json.loads(made.body) == {
        "model": "m",
        "input": ["one", "a\nb"],
        "encoding_format": "float",
        "dimensions": 2,
    }
    assert made.dropped == {"taskType", "title"}
    backwards = {"data": OPENAI["data"][::-1], "usage": {"prompt_tokens": 7}}
    document, usage = answered(made, backwards)
    assert document["embeddings"] == GEMINI["embeddings"]
    assert document["usageMetadata"] == {"promptTokenCount": 7, "totalTokenCount": 7}
    assert usage == Usage(input=7)


def test_one_request_gets_one_vector():
    made = plan("gemini", {"content": CONTENT}, "openai-chat", strict=True)
    document, usage = answered(made, {"data": [{"embedding": [1.0]}]})
    assert document["embedding"] == {"values": [1.0]}
    assert usage == Usage(input=1, estimated=True)


def test_what_openai_does_not_take_is_named():
    document = {"content": CONTENT, "title": "t", "invented": 1}
    assert plan("gemini", document, "openai-chat").dropped == {"title", "unknown"}
    with pytest.raises(GatewayError):
        plan("gemini", document, "openai-chat", strict=True)


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"content": {"parts": [{"inlineData": {}}]}}, "content.parts[0]"),
        (
            {
                "requests": [
                    {"content": CONTENT, "outputDimensionality": 1},
                    {"content": CONTENT},
                ]
            },
            "requests[0].outputDimensionality",
        ),
    ],
)
def test_what_openai_has_no_form_for_is_refused(document, param):
    with pytest.raises(GatewayError) as refused:
        plan("gemini", document, "openai-chat")
    assert (refused.value.status, refused.value.param) == (400, param)


# Refused.


@pytest.mark.parametrize(("dialect", "document"), [("chat", of_openai()), ("gemini", BATCH)])
def test_anthropic_has_no_embeddings(dialect, document):
    with pytest.raises(GatewayError) as refused:
        plan(dialect, document, "anthropic")
    assert (refused.value.status, refused.value.param) == (400, "model")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"embeddings": []},
        {"embeddings": [{"values": [1.0]}]},
        {"embeddings": [{"values": [1.0]}, {"values": "AAAA"}]},
        {"embeddings": [{"values": [1.0]}, {"values": [None]}]},
    ],
)
def test_an_answer_without_all_the_vectors_is_malformed(document):
    answer = plan("chat", of_openai(), "gemini").answer(DOCUMENT)
    answer.feed(json.dumps(document).encode())
    assert answer.finish() == b""
    assert answer.error is not None
    assert (answer.error.kind, answer.committed) == (Kind.MALFORMED, False)


def test_a_list_without_all_the_vectors_is_malformed():
    answer = plan("gemini", BATCH, "openai-chat").answer(DOCUMENT)
    answer.feed(json.dumps({"data": OPENAI["data"][:1]}).encode())
    assert answer.finish() == b""
    assert answer.error is not None
    assert answer.error.kind is Kind.MALFORMED


@pytest.mark.parametrize(
    ("dialect", "document", "param"),
    [
        ("chat", {}, "input"),
        ("chat", {"input": ""}, "input"),
        ("chat", {"input": []}, "input"),
        ("chat", {"input": {"text": "a"}}, "input"),
        ("chat", {"input": ["a", 1]}, "input[1]"),
        ("chat", {"input": [True]}, "input[0]"),
        ("chat", {"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ("chat", {"input": "a", "dimensions": 0}, "dimensions"),
        ("chat", {"input": "a", "dimensions": True}, "dimensions"),
        ("gemini", {}, "content"),
        ("gemini", {"content": "a"}, "content"),
        ("gemini", {"requests": []}, "requests"),
    ],
)
def test_what_is_wrong_is_named(dialect, document, param):
    with pytest.raises(GatewayError) as refused:
        check(dialect, document)
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize(
    ("dialect", "document"),
    [
        ("chat", {"input": "a", "encoding_format": "base64", "dimensions": 1}),
        ("chat", {"input": [1, 2], "encoding_format": None, "dimensions": None}),
        ("gemini", BATCH),
        ("gemini", {"content": CONTENT}),
    ],
)
def test_what_is_right_passes(dialect, document):
    check(dialect, document)
