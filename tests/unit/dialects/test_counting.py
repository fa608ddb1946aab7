"""A prompt's tokens are asked of whoever can count them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.dialects.asked import Asked
from proxy.dialects.counting import make_count_plan
from proxy.providers import BUILTIN, Flags, Provider

DOCUMENT = True
"""What an upstream answers with, as ``Plan.answer`` is told it."""


def asked(dialect: Any = "chat", **fields: Any) -> Asked:
    document = {
        "model": "up/m",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "Hi"}],
        **fields,
    }
    body = json.dumps(document).encode()
    return Asked(
        dialect=dialect, body=body, document=document, edited=False, model="up/m", stream=bool(fields.get("stream")),
        request_id="req_1", now=1.0, mint=lambda: "0" * 24, recall=lambda _: None, remember=lambda *_: None,
    )  # fmt: skip


def provider(*dialects: Any) -> Provider:
    return Provider(name="up", base_url="http://up.test", dialects=dialects, auth="none")


@pytest.mark.parametrize(
    ("offered", "path"),
    [
        (("anthropic",), "/v1/messages/count_tokens"),
        (("gemini",), "/v1beta/models/m:countTokens"),
        (("openai-chat",), None),
    ],
)
def test_whoever_can_count_is_asked_to(offered, path):
    plan = make_count_plan(asked("messages"), provider(*offered), "m")
    assert (plan.path if plan else None) == path


def test_openai_counts_on_responses():
    plan = make_count_plan(asked("messages"), BUILTIN["openai"], "gpt-6")
    assert plan is not None
    assert plan.path == "/v1/responses/input_tokens"
    assert "stream" not in json.loads(plan.body)
    assert "store" not in json.loads(plan.body)


@pytest.mark.parametrize(
    ("offered", "document", "counted"),
    [
        (("anthropic",), {"input_tokens": 17}, b'{"input_tokens":17}'),
        (("gemini",), {"totalTokens": 17}, b'{"input_tokens":17}'),
        (("anthropic",), {"input_tokens": "many"}, b""),
        (("anthropic",), [], b""),
        (("anthropic",), {"error": {"message": "no"}}, b""),
    ],
)
def test_a_count_is_told_in_the_clients_words(offered, document, counted):
    plan = make_count_plan(asked("messages"), provider(*offered), "m")
    assert plan is not None
    answer = plan.answer(DOCUMENT)
    answer.feed(json.dumps(document).encode())
    assert answer.finish() == counted
    assert (answer.error is None) is bool(counted)


def of_gemini(*, edited: bool = False) -> Asked:
    one = asked("gemini")
    one.document = {"contents": [{"parts": [{"text": "Hi"}]}], "generationConfig": {"topK": 1}}
    one.body = b"the client's bytes"
    one.edited = edited
    return one


def test_a_gemini_clients_question_goes_to_google_as_it_is_and_so_does_the_answer():
    plan = make_count_plan(of_gemini(), provider("gemini"), "m")
    assert plan is not None
    assert (plan.native, plan.path, plan.body) == (
        True,
        "/v1beta/models/m:countTokens",
        b"the client's bytes",
    )
    answer = plan.answer(DOCUMENT)
    told = b'{"totalTokens": 5, "promptTokensDetails": []}'
    answer.feed(told)
    assert answer.finish() == told
    assert answer.usage().total == 0


def test_a_wrapped_question_asks_for_the_model_that_is_called():
    plan = make_count_plan(of_gemini(edited=True), provider("gemini"), "m")
    assert plan is not None
    inner = json.loads(plan.body)["generateContentRequest"]
    assert inner == {**of_gemini().document, "model": "models/m"}


@pytest.mark.parametrize(
    ("offered", "path", "document"),
    [
        ("anthropic", "/v1/messages/count_tokens", {"input_tokens": 17}),
        ("openai-responses", "/v1/responses/input_tokens", {"input_tokens": 17}),
    ],
)
def test_other_upstreams_count_for_a_gemini_client(offered, path, document):
    up = replace(provider(offered), flags=Flags(input_tokens=True))
    plan = make_count_plan(of_gemini(), up, "m")
    assert plan is not None
    assert plan.path == path
    sent = json.loads(plan.body)
    assert sent["model"] == "m"
    assert sent.keys().isdisjoint(("max_tokens", "stream", "top_k", "store"))
    answer = plan.answer(DOCUMENT)
    answer.feed(json.dumps(document).encode())
    assert answer.finish() == b'{"totalTokens":17}'


def of_responses() -> Asked:
    one = asked("responses")
    one.document = {
        "model": "client's", "input": "Hi", "previous_response_id": "resp_1", "store": False, "max_output_tokens": 9,
    }  # fmt: skip
    return one


def test_a_responses_clients_question_goes_to_openai_without_what_that_does_not_take():
    plan = make_count_plan(of_responses(), BUILTIN["openai"], "gpt-6")
    assert plan is not None
    assert (plan.native, plan.path) == (True, "/v1/responses/input_tokens")
    assert json.loads(plan.body) == {
        "model": "gpt-6",
        "input": "Hi",
        "previous_response_id": "resp_1",
    }
    answer = plan.answer(DOCUMENT)
    answer.feed(b'{"object": "response.input_tokens", "input_tokens": 17}')
    assert json.loads(answer.finish()) == {"object": "response.input_tokens", "input_tokens": 17}


def test_of_those_who_speak_responses_only_who_says_so_is_asked():
    assert make_count_plan(of_responses(), provider("openai-responses"), "m") is None
