from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.dialects.messages.native import foreign_thinking, strip_foreign_thinking

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
