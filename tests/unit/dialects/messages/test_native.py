from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.dialects.messages.native import foreign_thinking, rewritten, strip_foreign_thinking

OWN = {"type": "thinking", "thinking": "a", "signature": "EqQB"}
UNSIGNED = {"type": "thinking", "thinking": "b", "signature": ""}
FOREIGN = {"type": "thinking", "thinking": "c", "signature": "gw1:oai:x"}
HIDDEN = {"type": "redacted_thinking", "data": "gw1:oai:x"}
TEXT = {"type": "text", "text": "ok"}
USER = {"role": "user", "content": "Hi"}


def said(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def request(*messages: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages)}


@pytest.mark.parametrize(
    ("foreign", "body"),
    [
        (True, b'{"signature":"gw1:none"}'),
        (True, b'{"data": "gw1:oai:x"}'),
        (True, b'{"signature":""}'),
        (True, b'{"signature" : \n\t ""}'),
        (False, b'{"signature":"EqQB"}'),
        (False, b'{"text":"gw1 is a prefix"}'),
    ],
)
def test_foreign_thinking_is_seen_in_the_bytes(*, foreign: bool, body: bytes):
    assert foreign_thinking(body) is foreign


def test_only_foreign_thinking_goes():
    document = request(
        USER, said(OWN, UNSIGNED, FOREIGN, HIDDEN, {"type": "thinking", "thinking": "d"}, TEXT)
    )
    before = orjson.dumps(document)
    assert strip_foreign_thinking(document) == request(USER, said(OWN, TEXT))
    assert orjson.dumps(document) == before


def test_a_document_without_any_is_returned_itself():
    for document in (
        request(
            USER,
            said(OWN, TEXT),
            {"role": "assistant", "content": "gw1:"},
            {"role": "user", "content": [FOREIGN]},
        ),
        request(said(), "odd", {"role": "assistant", "content": ["odd"]}),
        request(said({"type": {}}, {"type": ["thinking"]}, {"type": 1.5})),
        {"messages": None},
    ):
        assert strip_foreign_thinking(document) is document


def test_a_message_left_empty_goes():
    system = {"role": "system", "content": "S"}
    assert strip_foreign_thinking(request(USER, said(FOREIGN), USER)) == request(USER, USER)
    assert strip_foreign_thinking(request(said(FOREIGN))) == request()
    assert strip_foreign_thinking(request(USER, said(FOREIGN), "odd")) == request(USER, "odd")
    # A system message may only stand last or before the assistant.
    assert strip_foreign_thinking(request(USER, system, said(HIDDEN), USER)) == request(
        USER, USER, system
    )


def test_a_request_without_foreign_thinking_keeps_its_bytes_but_for_the_model():
    body = (
        b'{ "model":"asked", "temperature":1.50, "messages":[{"role":"user","content":"\\u00e9"}] }'
    )
    assert rewritten(body, orjson.loads(body), "real") == body.replace(b"asked", b"real")


def test_a_request_that_only_quotes_a_seal_keeps_its_bytes_too():
    quoted = b'{"model":"asked","messages":[{"role":"user","content":[{"type":"text","text":"gw1:oai:x"}]}]}'
    assert foreign_thinking(quoted)
    assert rewritten(quoted, orjson.loads(quoted), "real") == quoted.replace(b"asked", b"real")


def test_foreign_thinking_is_gone_from_the_bytes_and_stays_in_the_document():
    document = {"model": "asked", "max_tokens": 9, "messages": [USER, said(FOREIGN, TEXT), USER]}
    body = orjson.dumps(document)
    assert rewritten(body, document, "real") == (
        b'{"model":"real","max_tokens":9,"messages":[{"role":"user","content":"Hi"},'
        b'{"role":"assistant","content":[{"type":"text","text":"ok"}]},{"role":"user","content":"Hi"}]}'
    )
    assert orjson.dumps(document) == body
