"""A Gemini request for a Gemini upstream keeps its bytes."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from proxy.dialects.envelope import NONE, wrap
from proxy.dialects.gemini.native import apply_settings, output_limit, rewritten, unwrapped
from proxy.dialects.gemini.seal import SKIP, write_seal

OWN = base64.b64encode(b"Google's own seal").decode()
FOREIGN = write_seal(wrap("oai", "opaque"))
CALL = {"functionCall": {"name": "f", "args": {}}}


def request(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    contents = [
        {"role": "user", "parts": [{"text": "Hi"}]},
        {"role": "model", "parts": list(parts)},
    ]
    return {"contents": contents, **fields}


def sent(document: dict[str, Any]) -> bytes:
    before = copy.deepcopy(document)
    body = json.dumps(document, indent=1).encode()
    out = rewritten(body, document, "real")
    assert document == before
    return out


@pytest.mark.parametrize(
    "document",
    [
        request({"text": "Hello"}),
        request({**CALL, "thoughtSignature": OWN}),
        request({**CALL, "thoughtSignature": SKIP}),
        request({"text": f"a text about gw1: and {FOREIGN}"}),
        {"contents": {"parts": {"text": "gw1:"}}},
        {"contents": "gw1:"},
    ],
)
def test_the_bytes_stay_as_they_are(document):
    assert sent(document) == json.dumps(document, indent=1).encode()


@pytest.mark.parametrize("name", ["thoughtSignature", "thought_signature"])
@pytest.mark.parametrize("seal", [FOREIGN, wrap("ant", "x"), NONE, write_seal(wrap("ant", "é"))])
def test_a_seal_of_another_provider_goes_and_a_call_gets_the_word_that_passes(name, seal):
    thought = {"text": "hm", "thought": True}
    stays = ({**CALL, name: OWN}, {**CALL, name: SKIP})
    document = request({**thought, name: seal}, {**CALL, name: seal}, *stays)
    kept = request(thought, {**CALL, name: SKIP}, *stays)
    assert json.loads(sent(document)) == kept


def test_googles_own_seal_is_sent_bare():
    document = request({**CALL, "thoughtSignature": wrap("gem", OWN)})
    assert json.loads(sent(document)) == request({**CALL, "thoughtSignature": OWN})


def test_a_model_in_the_body_is_the_one_that_is_called():
    document = request({"text": "a"}, model="models/public")
    assert json.loads(sent(document))["model"] == "models/real"


def test_a_question_for_a_count_may_be_wrapped():
    inner = request({"text": "a"})
    assert unwrapped(inner) is inner
    assert unwrapped({"generateContentRequest": inner}) is inner
    assert unwrapped({"generate_content_request": inner}) is inner


def test_settings_of_a_model_stand_where_google_reads_them():
    document: dict[str, Any] = {"generation_config": {"top_p": 0.1, "temperature": None}}
    edited = apply_settings(
        document, {"temperature": 0.2, "top_p": 0.9, "store": False}, {"max_tokens": 5}
    )
    assert edited
    assert document == {
        "generation_config": {"top_p": 0.1, "temperature": 0.2, "maxOutputTokens": 5},
        "store": False,
    }
    assert not apply_settings(document, {"temperature": 1}, {"max_tokens": 5})


def test_an_override_replaces_either_spelling():
    document: dict[str, Any] = {"generationConfig": {"max_output_tokens": 9}}
    assert apply_settings(document, {}, {"max_completion_tokens": 5})
    assert document == {"generationConfig": {"maxOutputTokens": 5}}


@pytest.mark.parametrize(("document", "edited"), [({}, True), ({"generationConfig": 1}, True)])
def test_settings_make_their_place_or_leave_what_google_will_refuse(document, edited):
    config = document.get("generationConfig", {"temperature": 1})
    assert apply_settings(document, {"temperature": 1}, {}) == edited
    assert document == {"generationConfig": config}


def test_without_settings_nothing_is_added():
    document: dict[str, Any] = {}
    assert not apply_settings(document, {}, {})
    assert document == {}


@pytest.mark.parametrize(
    ("document", "limit"),
    [
        ({}, 0),
        ({"generationConfig": {"maxOutputTokens": 9}}, 9),
        ({"generation_config": {"max_output_tokens": 40.0}}, 40),
        ({"generationConfig": {"maxOutputTokens": "9"}}, 0),
        ({"generationConfig": 1}, 0),
    ],
)
def test_the_limit_of_an_answer_is_found(document, limit):
    assert output_limit(document) == limit
