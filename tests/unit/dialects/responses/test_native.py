"""A Responses request that stays in its dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.dialects.responses.native import rewritten

USER = {"role": "user", "content": "Hi"}
OWN = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAB-of-openai"}


def sealed(seal: object) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "encrypted_content": seal}


def sent(*items: Any) -> tuple[bytes, bytes, Any]:
    document = {"model": "client's", "input": list(items)}
    body = json.dumps(document).encode()
    before = json.dumps(document)
    out = rewritten(body, document, "m")
    assert json.dumps(document) == before, "another account may be asked from it"
    return body, out, json.loads(out)["input"]


@pytest.mark.parametrize("seal", ["gw1:ant:W10=", "gw1:gem:c2ln", "gw1:none", "gw1:oai:"])
def test_reasoning_that_another_provider_sealed_stays_here(seal):
    _, _, items = sent(USER, sealed(seal), OWN, USER)
    assert items == [USER, OWN, USER]


def test_openais_own_goes_back_bare():
    _, _, items = sent(USER, sealed("gw1:oai:gAAAAB"), USER)
    assert items == [USER, sealed("gAAAAB"), USER]


@pytest.mark.parametrize(
    "items",
    [
        [USER, OWN],
        [USER, sealed(None)],
        [{"role": "user", "content": 'what is "gw1:ant:x"?'}],
        [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "gw1:ant:x"}]}, "gw1:", 7],
    ],
)  # fmt: skip
def test_any_other_request_keeps_its_bytes(items):
    body, out, _ = sent(*items)
    assert out == body.replace(b"client's", b"m")


def test_an_input_that_is_a_text_is_left_alone():
    document = {"model": "client's", "input": "gw1:ant:x"}
    body = json.dumps(document).encode()
    assert rewritten(body, document, "m") == body.replace(b"client's", b"m")
