"""What GET /v1/models lists: the configuration's names, and what the providers say that they serve."""

from __future__ import annotations

import json

import anthropic
import pytest
from google import genai
from google.genai import types

from proxy.app.census import Census
from tests.integration import spoken
from tests.integration.gateway import (
    KEY,
    SECRET,
    account,
    config_text,
    gateway,
    upstream,
)
from tests.integration.scripted import Cut, Pause, Scripted, Step, play, settled, whole
from tests.integration.sdk import OpenAI

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")

VLLM = {
    "object": "list",
    "data": [{"id": "Qwen/Qwen3-8B", "object": "model", "max_model_len": 40960}],
}


class Lister:
    """An upstream that lists ``models``, or plays ``steps`` instead, and answers calls."""

    def __init__(self, models: object) -> None:
        self.models = models
        self.steps: list[Step] | None = None
        self.server = Scripted(self)

    async def __call__(self, reader, writer, asked) -> None:
        listed = whole(json.dumps(self.models).encode(), **spoken.JSON)
        steps: list[Step] = self.steps or [listed]
        if asked.method == "POST":
            steps = [spoken.told("openai-chat")]
        await play(steps, writer)

    @property
    def asked(self) -> list[str]:
        return [one.target for one in self.server.requests if one.method == "GET"]


async def names(front, **headers: str) -> list[str]:
    answered = await front.get("/v1/models", **headers)
    assert answered.status == 200
    return [one["id"] for one in answered.json["data"]]


async def test_a_server_of_ones_own_is_asked_what_it_serves():
    up = Lister(VLLM)
    async with up.server, gateway(config_text(upstream(up.server.url)), census=True) as front:
        await settled(lambda: front.running.gateway.offers.of("up"))
        answered = await front.get("/v1/models")
        (one,) = answered.json["data"]
        del one["created"]
        assert one == {
            "id": "up/Qwen/Qwen3-8B",
            "object": "model",
            "owned_by": "up",
            "context_length": 40960,
            "dialects": ["openai-chat"],
        }
        called = await front.chat(model=one["id"])
        shown = await front.get(f"/v1/models/{one['id']}")
    assert called.status == 200
    assert shown.json["context_length"] == 40960
    asked = up.server.requests[0]
    assert (asked.target, asked.headers["authorization"]) == ("/v1/models", f"Bearer {SECRET}")


@pytest.mark.parametrize(
    ("dialect", "target", "models"),
    [
        ("anthropic", "/v1/models?limit=1000", {"data": [{"type": "model", "id": "m"}]}),
        ("gemini", "/v1beta/models?pageSize=1000", {"models": [{"name": "models/m"}]}),
    ],
)
async def test_each_dialect_is_asked_in_its_own_way(dialect, target, models):
    up = Lister(models)
    async with (
        up.server,
        gateway(config_text(upstream(up.server.url, dialect)), census=True) as front,
    ):
        await settled(lambda: front.running.gateway.offers.of("up"))
        assert await names(front) == ["up/m"]
    assert up.asked == [target]


@pytest.mark.parametrize(
    "steps",
    [
        [whole(b"no", "404 Not Found")],
        [whole(b"<html>", **spoken.JSON)],
        [whole(b'{"data": 7}', **spoken.JSON)],
        [whole(b'{"data": [', **spoken.JSON)],
        [whole(b"[" + b" " * (5 << 20) + b"]", **spoken.JSON)],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n[", Cut()],
        [Cut()],
    ],
    ids=["404", "page", "no list", "half a list", "too long", "cut", "gone"],
)
async def test_who_does_not_list_does_no_harm_and_keeps_what_he_told_last(steps):
    up = Lister(VLLM)
    async with up.server:
        text = config_text(upstream(up.server.url))
        async with gateway(text, census=True) as front:
            running = front.running
            await settled(lambda: running.gateway.offers.of("up"))
            up.steps = steps
            assert running.census is not None
            running.census.adopt()
            await settled(lambda: len(up.asked) == 2 and said_no(front))
            assert await names(front) == ["up/Qwen/Qwen3-8B"]
            assert (await front.chat(model="up/m")).status == 200
            assert (await front.admin("GET", "accounts/up")).json["state"] == "available"
            assert SECRET not in str(front.lines)


def said_no(front) -> bool:
    return any(line["msg"] == "no list of models" for line in front.lines)


async def test_a_list_that_does_not_come_holds_nobody_up():
    up = Lister(VLLM)
    up.steps = [Pause(60)]
    async with up.server, gateway(config_text(upstream(up.server.url)), census=True) as front:
        await settled(lambda: up.asked)
        assert await names(front) == []
        assert (await front.chat()).status == 200


async def test_it_is_asked_again(monkeypatch):
    up = Lister(VLLM)
    monkeypatch.setattr("proxy.app.assembly.Census", lambda gateway: Census(gateway, every=0.01))
    async with up.server, gateway(config_text(upstream(up.server.url)), census=True) as front:
        await settled(lambda: len(up.asked) > 2)
        up.models = {"data": [{"id": "another"}]}
        await settled(lambda: "another" in (front.running.gateway.offers.of("up") or ()))
        assert await names(front) == ["up/another"]


async def test_a_disabled_account_is_not_asked(monkeypatch):
    monkeypatch.setattr("proxy.app.assembly.Census", lambda gateway: Census(gateway, every=0.01))
    up, other = Lister(VLLM), Lister(VLLM)
    async with (
        up.server,
        other.server,
        gateway(
            config_text(upstream(up.server.url), upstream(other.server.url, name="other")),
            census=True,
        ) as front,
    ):
        await settled(lambda: other.asked)
        await front.admin("POST", "accounts/up/disable")
        seen = len(up.asked) + 1
        before = len(other.asked)
        await settled(lambda: len(other.asked) > before + 5)
    assert len(up.asked) <= seen


async def test_a_reload_keeps_the_list_of_an_address_that_stays_and_asks_anew(tmp_path):
    up, other = Lister(VLLM), Lister({"data": [{"id": "elsewhere"}]})
    async with up.server, other.server:
        text = config_text(upstream(up.server.url), upstream(other.server.url, name="other"))
        path = tmp_path / "config.toml"
        async with gateway(text, directory=tmp_path, path=path, census=True) as front:
            offers = front.running.gateway.offers
            await settled(lambda: offers.of("up") and offers.of("other"))
            up.steps = other.steps = [whole(b"no", "404 Not Found")]
            path.write_text(
                config_text(upstream(up.server.url), upstream(up.server.url, name="other"))
            )
            asked = len(up.asked)
            await front.running.reload()
            assert await names(front) == ["up/Qwen/Qwen3-8B"]
            await settled(lambda: len(up.asked) == asked + 2)
            assert len(other.asked) == 1


async def test_a_key_sees_what_it_may_call():
    up = Lister({"data": [{"id": "llama"}, {"id": "phi"}]})
    async with up.server:
        text = config_text(upstream(up.server.url)).replace(
            'name = "tester"', 'name = "tester"\nmodels = ["up/ll*"]'
        )
        async with gateway(text, census=True) as front:
            await settled(lambda: front.running.gateway.offers.of("up"))
            assert await names(front) == ["up/llama"]


async def test_a_public_name_of_the_same_spelling_is_listed_once():
    up = Lister({"data": [{"id": "llama"}, {"id": "phi"}]})
    own = '[[models]]\nname = "phi"\ntargets = ["up/phi"]\nprice = { input = 1, output = 2 }\n'
    async with up.server, gateway(config_text(upstream(up.server.url), own), census=True) as front:
        await settled(lambda: front.running.gateway.offers.of("up"))
        assert await names(front) == ["phi", "up/llama"]
        assert (await front.chat(model="up/phi")).status == 200


async def test_a_known_provider_is_listed_from_the_price_list_until_it_has_told_its_own():
    async with gateway(
        config_text(account("main", "anthropic", models='["claude-opus-5*"]'))
    ) as front:
        listed = (await front.get("/v1/models")).json["data"]
    opus = next(one for one in listed if one["id"] == "anthropic/claude-opus-5-5")
    assert all(one["id"].startswith("anthropic/claude-opus-5") for one in listed)
    assert opus["context_length"] == 1_000_000
    assert opus["max_output_tokens"] == 128_000
    assert opus["dialects"] == ["anthropic"]
    assert set(opus["pricing"]) >= {"prompt", "completion"}


async def test_azure_lists_what_could_be_deployed_so_only_what_is_named_is_listed():
    up = Lister({"data": [{"id": "gpt-6-sol"}]})
    async with up.server:
        azure = account(
            "az",
            "azure-openai",
            base_url=f'"{up.server.url}/openai/v1"',
            models='["mine", "gpt-*"]',
        )
        async with gateway(config_text(azure, upstream(up.server.url)), census=True) as front:
            await settled(lambda: front.running.gateway.offers.of("up"))
            assert await names(front) == ["azure-openai/mine", "up/gpt-6-sol"]
    assert len(up.asked) == 1


THREE = {"data": [{"id": "a", "context_length": 9}, {"id": "b-embed"}, {"id": "c"}]}


async def test_openais_sdk_reads_the_list():
    up = Lister(THREE)
    async with up.server, gateway(config_text(upstream(up.server.url)), census=True) as front:
        await settled(lambda: front.running.gateway.offers.of("up"))
        for asynchronous in (False, True):
            sdk = OpenAI(front, asynchronous=asynchronous)
            page = await sdk.call(sdk.client.models.list)
            one = await sdk.call(sdk.client.models.retrieve, "up/a")
            await sdk.close()
            assert [model.id for model in page.data] == ["up/a", "up/b-embed", "up/c"]
            assert (one.context_length, one.dialects) == (9, ["openai-chat"])


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
async def test_anthropics_sdk_reads_the_list_page_by_page(limit):
    up = Lister(THREE)
    async with up.server, gateway(config_text(upstream(up.server.url)), census=True) as front:
        await settled(lambda: front.running.gateway.offers.of("up"))
        async with anthropic.AsyncAnthropic(base_url=front.url, api_key=KEY) as client:
            found = [model async for model in client.models.list(limit=limit)]
            first = await client.models.list(limit=limit)
            back = await client.models.list(limit=limit, before_id="up/c")
            one = await client.models.retrieve("up/a")
    assert [model.id for model in found] == ["up/a", "up/b-embed", "up/c"]
    assert first.has_more == (limit < 3)
    assert [model.id for model in back.data] == ["up/a", "up/b-embed"][-limit:]
    assert (one.type, one.max_input_tokens) == ("model", 9)


@pytest.mark.parametrize("size", [1, 2, 50])
async def test_googles_sdk_reads_the_list_page_by_page(size):
    up = Lister(THREE)
    async with up.server, gateway(config_text(upstream(up.server.url)), census=True) as front:
        await settled(lambda: front.running.gateway.offers.of("up"))
        client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=front.url))
        listing = await client.aio.models.list(config={"page_size": size})
        found = [model async for model in listing]
        await client.aio.aclose()
        client.close()
    assert [model.name for model in found] == ["models/up/a", "models/up/b-embed", "models/up/c"]
    assert found[0].input_token_limit == 9
    assert found[1].supported_actions == ["embedContent", "batchEmbedContents"]
    assert found[2].supported_actions == ["generateContent", "streamGenerateContent", "countTokens"]


async def test_a_page_of_no_size_is_told_in_the_dialect_of_the_path():
    async with gateway(config_text(upstream("http://127.0.0.1:1"))) as front:
        version = {"anthropic-version": "2023-06-01"}
        answered = await front.get("/v1/models?limit=0x1", **version)
        assert answered.status == 400
        assert answered.error["param"] == "limit"
        beta = await front.get("/v1beta/models?pageSize=x")
        assert (beta.status, beta.error["status"]) == (400, "INVALID_ARGUMENT")
