"""Embeddings through the gateway: the SDKs that ask for them, and what is kept of each call."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_asyncio
from google.genai import types

from tests.integration import spoken
from tests.integration.gateway import config_text, gateway, in_front_of, upstream
from tests.integration.scripted import Scripted, whole
from tests.integration.sdk import Google, OpenAI, demo_gateway

MODELS = ("demo-embedding", "demo-gemini-embedding")
ANSWER = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1]}],
    "usage": {"prompt_tokens": 1000, "total_tokens": 1000},
}
# The SDK's own way of using aiohttp.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")


def told(document: dict[str, Any]) -> bytes:
    return whole(json.dumps(document).encode(), **spoken.JSON)


@pytest_asyncio.fixture
async def front():
    async with demo_gateway() as running:
        yield running


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("model", MODELS)
async def test_openais_sdk_gets_the_same_vectors_in_either_encoding(front, asynchronous, model):
    sdk = OpenAI(front, asynchronous=asynchronous)
    create = sdk.client.embeddings.create
    usual = await sdk.call(create, model=model, input=["one text", "another"])
    plain = await sdk.call(
        create, model=model, input=["one text", "another"], encoding_format="float"
    )
    single = await sdk.call(create, model=model, input="another", dimensions=8)
    await sdk.close()
    assert [one.embedding for one in usual.data] == [one.embedding for one in plain.data]
    assert [one.index for one in usual.data] == [0, 1]
    assert (usual.model, usual.usage.prompt_tokens > 0) == (model, True)
    assert len(single.data[0].embedding) == 8


async def test_the_two_dialects_agree(front, asynchronous):
    google = Google(front, asynchronous=asynchronous)
    vectors = []
    for model in MODELS:
        answer = await google.call(
            google.models.embed_content,
            model=model,
            # For a model with "gemini" in its name the SDK makes one content of plain texts.
            contents=[types.UserContent("one text"), types.UserContent("another")],
            config={"output_dimensionality": 8},
        )
        vectors.append([one.values for one in answer.embeddings])
    await google.close()
    openai = OpenAI(front, asynchronous=True)
    answer = await openai.client.embeddings.create(
        model=MODELS[0], input=["one text", "another"], dimensions=8, encoding_format="float"
    )
    await openai.close()
    assert vectors[0] == vectors[1] == [one.embedding for one in answer.data]


@pytest.mark.parametrize("model", MODELS)
async def test_one_content_gets_one_vector(front, model):
    body = {"content": {"parts": [{"text": "one text"}]}}
    answered = await front.post(f"/v1beta/models/{model}:embedContent", body)
    assert len(answered.json["embedding"]["values"]) == 64


async def test_tokens_are_for_openais_models_only(front):
    body = {"input": [[1, 2], [3]]}
    taken = await front.post("/v1/embeddings", {"model": MODELS[0], **body})
    refused = await front.post("/v1/embeddings", {"model": MODELS[1], **body})
    assert len(taken.json["data"]) == 2
    assert (refused.status, refused.error["param"]) == (400, "input[0]")
    assert "no token numbers" in refused.error["message"]


async def test_a_call_is_metered_priced_and_kept():
    model = '[[models]]\nname = "e"\ntargets = ["up/m"]\ncost = { input = 2.0, output = 9.0 }\n'
    async with (
        Scripted([told(ANSWER)]) as up,
        gateway(config_text(upstream(up.url), model)) as front,
    ):
        answered = await front.post("/v1/embeddings", {"model": "e", "input": "Hi"})
        line = await front.last()
        usage = await front.get(f"/v1/usage/{answered.headers['x-request-id']}")
    assert up.requests[0].target == "/v1/embeddings"
    assert answered.headers["x-splice-cost-usd"] == "0.002"
    assert (line["input_tokens"], line["output_tokens"], line["cost_usd"]) == (1000, 0, 0.002)
    assert (usage.json["input_tokens"], usage.json["cost_micro"]) == (1000, 2000)
    assert usage.json["estimated"] is False


async def test_another_account_answers_where_the_first_one_failed():
    failing = whole(b"{}", "500 Internal Server Error", **spoken.JSON)
    model = '[[models]]\nname = "both"\ntargets = ["a/m", "b/m"]\n'
    async with (
        Scripted([failing]) as a,
        Scripted([told({"embeddings": [{"values": [0.5, 1]}]})]) as b,
        gateway(
            config_text(upstream(a.url, name="a"), upstream(b.url, "gemini", "b"), model)
        ) as front,
    ):
        answered = await front.post("/v1/embeddings", {"model": "both", "input": "Hi"})
    assert answered.json["data"][0]["embedding"] == [0.5, 1]
    assert (len(a.requests), len(b.requests)) == (1, 1)


async def test_a_key_is_held_to_its_models_and_limits():
    key = '[[keys]]\nname = "limited"\nkey = "sk-limited"\nmodels = ["up/m"]\nrpm = 1\n'
    async with (
        Scripted([told(ANSWER)]) as up,
        gateway(config_text(upstream(up.url), key)) as front,
    ):
        ask = (await front.wire()).post
        other = await ask("/v1/embeddings", {"model": "up/x", "input": "a"}, x_api_key="sk-limited")
        first = await ask("/v1/embeddings", {"model": "up/m", "input": "a"}, x_api_key="sk-limited")
        again = await ask("/v1/embeddings", {"model": "up/m", "input": "a"}, x_api_key="sk-limited")
    assert [other.status, first.status, again.status] == [403, 200, 429]


async def test_an_upstream_without_embeddings_is_told_so():
    async with in_front_of([], "anthropic") as (front, up):
        openai = await front.post("/v1/embeddings", {"model": "up/m", "input": "a"})
        content = {"content": {"parts": [{"text": "a"}]}}
        google = await front.post("/v1/models/up/m:embedContent", content)
    assert up.requests == []
    assert (openai.status, openai.error["param"]) == (400, "model")
    assert (google.status, google.error["status"]) == (400, "INVALID_ARGUMENT")
