"""What goes through a provider's own paths is looked at and left as it is."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from proxy.dialects.asked import Asked
from proxy.dialects.passed import HELD
from proxy.dialects.plan import Passed, Passing, Plan
from proxy.dialects.spoken import ClientDialect
from proxy.dialects.untouched import make_untouched_plan, native_dialect
from proxy.errors import GatewayError, Kind
from proxy.providers import BUILTIN, Provider
from proxy.usage import Usage
from tests.integration import spoken

JSON = {b"content-type": b"application/json"}
EVENTS = {b"content-type": b"text/event-stream"}
NATIVE: dict[ClientDialect, str] = {
    "chat": "openai-chat",
    "messages": "anthropic",
    "responses": "openai-responses",
    "gemini": "gemini",
}
USED = Usage(input=spoken.INPUT, cache_read=spoken.CACHED, output=spoken.OUTPUT)


def provider(dialect: Any) -> Provider:
    return Provider(name="p", base_url="http://p.test", dialects=(dialect,), auth="none")


def asked(dialect: ClientDialect, *, stream: bool = False, **fields: Any) -> Asked:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return Asked(
        dialect=dialect, body=b"as it is", document=body, edited=False, model="m", stream=stream, request_id="r",
        now=0.0, mint=lambda: "x", recall=lambda _: None, remember=lambda _, __: None, sealed=True,
    )  # fmt: skip


def plan(
    dialect: ClientDialect, *, stream: bool = False, count: bool = False, **fields: Any
) -> Plan:
    return make_untouched_plan(
        asked(dialect, stream=stream, **fields), provider(NATIVE[dialect]), "m", path="/v1/x?a=b", count=count
    )  # fmt: skip


def answer(of: Plan, headers: dict[bytes, bytes]) -> Passed:
    return cast(Passing, of.passing).answer(200, headers)


@pytest.mark.parametrize("dialect", NATIVE)
def test_the_body_and_the_path_are_the_clients(dialect):
    made = plan(dialect)
    assert (made.body, made.path, made.dialect, made.native) == (
        b"as it is",
        "/v1/x?a=b",
        NATIVE[dialect],
        True,
    )
    with pytest.raises(AssertionError, match="head of its answer"):
        made.answer(True)  # noqa: FBT003 - nobody asks it
    assert asked(dialect).heartbeat is None


@pytest.mark.parametrize("dialect", NATIVE)
def test_a_document_is_metered_by_what_it_tells(dialect):
    body = json.dumps(spoken.document(NATIVE[dialect])).encode()
    found = answer(plan(dialect), JSON)
    found.feed(body)
    assert (found.finish(), found.usage()) == (body, USED)


@pytest.mark.parametrize("dialect", NATIVE)
def test_a_stream_is_read_along(dialect):
    native = NATIVE[dialect]
    frames = [spoken.metadata(native), spoken.text(native, "Hi"), spoken.end(native)]
    found = answer(plan(dialect, stream=True), EVENTS)
    assert [found.feed(frame) for frame in frames] == frames
    assert found.finish() == b""
    assert (found.error, found.usage(), found.committed, found.is_cut) == (None, USED, True, False)
    assert found.seen >= 1
    assert found.answer_id


@pytest.mark.parametrize("dialect", NATIVE)
def test_a_stream_without_its_end_ends_in_an_error_of_its_dialect(dialect):
    native = NATIVE[dialect]
    found = answer(plan(dialect, stream=True), EVENTS)
    found.feed(spoken.metadata(native))
    found.feed(spoken.text(native, "Hi"))
    out = found.finish()
    assert out.startswith(b"\n\n")
    assert b"error" in out
    assert found.error is not None
    assert found.error.kind is Kind.DISCONNECTED


def test_an_error_in_a_stream_is_told_in_our_words():
    found = answer(plan("chat", stream=True), EVENTS)
    out = found.feed(b'data: {"error": {"message": "our account", "code": "server_error"}}\n\n')
    assert b"our account" not in out
    assert (found.committed, found.ended) == (False, True)


def test_a_stream_can_be_ended_by_others():
    found = answer(plan("chat", stream=True), EVENTS)
    assert b"timeout" in found.fail(GatewayError(Kind.TIMEOUT_IDLE))


def test_what_a_response_keeps_is_told_unless_it_is_forbidden():
    document = {**spoken.document("openai-responses"), "id": "resp_1", "store": True}
    for fields, made in (({}, [("response", "resp_1"), ("item", "msg_1")]), ({"store": False}, [])):
        found = answer(plan("responses", **fields), JSON)
        found.feed(json.dumps(document).encode())
        found.finish()
        assert list(found.made) == made


@pytest.mark.parametrize("dialect", NATIVE)
def test_a_document_too_long_to_hold_is_metered_by_its_end_and_known_by_its_beginning(dialect):
    document = spoken.document(NATIVE[dialect])
    told = {name: document.pop(name) for name in ("usage", "usageMetadata") if name in document}
    body = json.dumps({**document, "long": "x" * (HELD + 100_000), **told}).encode()
    found = answer(plan(dialect), JSON)
    out = b"".join(found.feed(body[at : at + 70_000]) for at in range(0, len(body), 70_000))
    assert (out + found.finish(), found.usage()) == (body, USED)
    kept = [("response", document["id"])] if dialect == "responses" else []
    assert list(found.made) == kept


def test_a_count_uses_nothing():
    found = answer(plan("messages", count=True), JSON)
    found.feed(b'{"input_tokens": 9}')
    found.finish()
    assert found.usage() == Usage()


def test_an_answer_that_tells_nothing_is_estimated():
    found = answer(plan("chat"), JSON)
    found.feed(b'["nothing", {}]')
    found.finish()
    assert found.usage() == Usage(input=found.usage().input, output=1, estimated=True)
    assert found.usage().input > 0
    assert answer(plan("chat"), {}).form == "bytes"


def test_numbers_are_no_output():
    one = asked("chat")
    one.embeds = True
    made = make_untouched_plan(one, provider("openai-chat"), "m", path="/v1/embeddings")
    found = answer(made, JSON)
    found.feed(b"[%b]" % (b"0," * 100 + b"0"))
    found.finish()
    assert found.usage().output == 0


def test_events_that_nobody_asked_for_are_passed_on():
    found = answer(plan("chat"), EVENTS)
    frame = b'data: {"choices": []}\n\n'
    assert found.feed(frame) == frame
    assert found.fail(GatewayError(Kind.DISCONNECTED)) == b"\n\n"


def test_embeddings_are_of_either_dialect_of_openai():
    assert native_dialect(asked("chat"), BUILTIN["openai"]) == "openai-chat"
    assert native_dialect(asked("chat"), provider("openai-responses")) == "openai-responses"
