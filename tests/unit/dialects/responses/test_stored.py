"""Questions about a stored response, and what is made of the answers."""

from __future__ import annotations

import json

import pytest

from proxy.dialects.passed import HELD
from proxy.dialects.responses.shapes import kept
from proxy.dialects.responses.stored import make_stored_plan
from proxy.errors import Kind
from proxy.providers import BUILTIN
from proxy.usage import Usage

OPENAI = BUILTIN["openai"]
USED = {"input_tokens": 3, "output_tokens": 4}
FAILED = {"id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": "No."}}


JSON = {b"content-type": b"application/json"}
EVENTS = {b"content-type": b"text/event-stream"}


def planned(method="GET", rest="", query=""):
    return make_stored_plan(method, "resp_1", rest, query, "req_1")(OPENAI, "")


def answered(query="", headers=JSON):
    passing = planned(query=query).passing
    assert passing is not None
    return passing.answer(200, headers)


@pytest.mark.parametrize(
    ("method", "rest", "query", "path", "stream"),
    [
        ("GET", "", "", "/v1/responses/resp_1", False),
        ("DELETE", "", "stream=true", "/v1/responses/resp_1?stream=true", False),
        ("POST", "/cancel", "key=sk-x", "/v1/responses/resp_1/cancel", False),
        ("GET", "/input_items", "after=a%26b&limit=2", "/v1/responses/resp_1/input_items?after=a%26b&limit=2", False),
        ("GET", "", "stream=True&starting_after=7&key=k", "/v1/responses/resp_1?stream=True&starting_after=7", True),
        ("GET", "", "stream=false", "/v1/responses/resp_1?stream=false", False),
    ],
)  # fmt: skip
def test_a_question_goes_on_without_the_key(method, rest, query, path, stream):
    plan = planned(method, rest, query)
    assert (plan.method, plan.path, plan.stream, plan.body) == (method, path, stream, b"")
    assert (plan.dialect, plan.native, plan.subject) == ("openai-responses", True, "resp_1")


@pytest.mark.parametrize("query", ["", "stream=true"])
def test_a_document_is_told_as_it_is_and_costs_nothing(query):
    answer = answered(query)
    body = json.dumps(FAILED).encode()
    assert answer.feed(body[:9]) + answer.feed(body[9:]) == b""
    assert (answer.finish(), answer.error, answer.committed) == (body, None, True)
    assert (answer.usage(), list(answer.made)) == (Usage(), [])


def test_nor_does_a_long_one_of_which_only_the_end_is_looked_at():
    body = json.dumps({"id": "resp_1", "output": ["x" * HELD], "usage": USED}).encode()
    answer = answered()
    assert answer.feed(body) == body
    assert (answer.finish(), answer.error, answer.usage()) == (b"", None, Usage())


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"{"])
def test_what_is_no_document_is_an_error(body):
    answer = answered()
    answer.feed(body)
    assert answer.finish() == b""
    assert answer.error is not None
    assert answer.error.kind is Kind.MALFORMED


def event(document):
    return f"event: {document['type']}\ndata: {json.dumps(document)}\n\n".encode()


def test_a_failure_is_the_end_of_a_replay_as_it_was_of_the_stream():
    answer = answered("stream=true", EVENTS)
    failed = event({"type": "response.failed", "sequence_number": 4, "response": FAILED})
    assert answer.feed(failed) + answer.finish() == failed
    assert (answer.error, answer.ended, answer.usage()) == (None, True, Usage())


def test_a_replay_that_is_cut_is_an_error():
    answer = answered("stream=true", EVENTS)
    delta = event({"type": "response.output_text.delta", "sequence_number": 4, "delta": "He"})
    assert answer.feed(delta) == delta
    told = answer.finish()
    assert b"response.failed" in told or b"event: error" in told
    assert answer.error is not None


def test_a_response_and_its_items_are_kept_unless_that_is_forbidden():
    response = {"id": "resp_1", "output": [{"id": "rs_1"}, {"id": "msg_1"}, {"id": None}, 7]}
    everything = [("response", "resp_1"), ("item", "rs_1"), ("item", "msg_1")]
    assert kept(response) == kept({**response, "store": True}) == everything
    assert kept({**response, "store": False}) == []
    assert kept({"output": []}) == []
    assert kept({"id": "resp_1", "output": None}) == [("response", "resp_1")]
