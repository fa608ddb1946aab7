"""Every recorded answer of vectors: its bytes pass between equal dialects, and its numbers between different ones."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from proxy.dialects.asked import Asked
from proxy.dialects.embeddings import make_embedding_plan
from proxy.providers import Provider
from tests.corpus.recordings import EMBEDDINGS, Recording, absent, load

pytestmark = pytest.mark.skipif(absent() is not None, reason=str(absent()))

_AS_DOCUMENT = True
ANSWERS = [
    one
    for one in load()
    # One recording is of an organisation's account of its embeddings.
    if one.endpoint in EMBEDDINGS and one.status == 200 and "/organization/" not in one.url
]


def is_googles(recording: Recording) -> bool:
    return recording.endpoint != "embeddings"


def vectors_of(document: dict[str, Any]) -> list[list[float]]:
    if "data" in document:
        return [_numbers(one["embedding"]) for one in document["data"]]
    entries = document["embeddings"] if "embeddings" in document else [document["embedding"]]
    return [one["values"] for one in entries]


def _numbers(embedding: Any) -> list[float]:
    if isinstance(embedding, list):
        return embedding
    raw = base64.b64decode(embedding)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def answered(recording: Recording, client: Any) -> tuple[bytes, Any]:
    """Return what a client of ``client`` gets of the recording, and its usage."""
    count = len(vectors_of(json.loads(recording.body)))
    requests = [{"content": {"parts": [{"text": "Hi"}]}}] * count
    asked = Asked(
        dialect=client, body=b"{}", edited=False, model="m", stream=False, request_id="req_1", now=1.0,
        document={"input": ["Hi"] * count} if client == "chat" else {"requests": requests},
        mint=lambda: "0" * 24, recall=lambda _: None, remember=lambda *_: None,
    )  # fmt: skip
    dialect: Any = "gemini" if is_googles(recording) else "openai-chat"
    provider = Provider(name="up", base_url="http://up.test", dialects=(dialect,), auth="none")
    answer = make_embedding_plan(asked, provider, "m", strict=True).answer(_AS_DOCUMENT)
    answer.feed(recording.body)
    out = answer.finish()
    assert answer.error is None
    return out, answer.usage()


@pytest.mark.parametrize("recording", ANSWERS, ids=lambda recording: recording.id)
def test_recorded_vectors_arrive_as_they_were_given(recording):
    native, translated = ("gemini", "chat") if is_googles(recording) else ("chat", "gemini")
    passed, usage = answered(recording, native)
    assert passed == recording.body
    document = json.loads(recording.body)
    told = document.get("usage") or document.get("usageMetadata")
    if told:
        assert usage.input == told.get("prompt_tokens", told.get("promptTokenCount"))
    assert (usage.output, usage.estimated) == (0, not told)
    if isinstance((document.get("data") or [{}])[0].get("embedding"), str):
        return  # base64, which is not asked for in another dialect's name
    if recording.endpoint == "embedContent":
        return  # one vector, where a batch is asked for
    out, _ = answered(recording, translated)
    assert vectors_of(json.loads(out)) == vectors_of(document)
