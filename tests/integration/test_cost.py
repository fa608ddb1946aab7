"""What a call costs is worked out once, and told wherever it is asked for; what is spent keeps an account out."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    DIALECTS,
    account,
    chat_body,
    config_text,
    gateway,
    upstream,
)
from tests.integration.scripted import Pause, Scripted, settled, whole
from tests.integration.wire import encoded, request

COST = "{ input = 2, output = 10, cache_read = 0.5 }"
"""Of ``spoken``'s usage: 8 tokens at 2 micro-USD, 3 at a half and 7 at 10 are 87.5."""


def model(name: str = "smart", to: str = '"up/m"', **lines: str) -> str:
    options = "".join(f"{key} = {value}\n" for key, value in lines.items())
    return f'[[models]]\nname = "{name}"\ntargets = [{to}]\n{options}'


DEARER = model(cost=COST, price="{ input = 4, output = 20, cache_read = 1 }")


@pytest.mark.parametrize("surface", ["chat", "messages"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_whole_answer_tells_what_the_key_pays_and_the_log_what_we_do(surface, dialect):
    async with (
        Scripted([spoken.told(dialect)]) as up,
        gateway(config_text(upstream(up.url, dialect), DEARER)) as front,
    ):
        answered = await front.ask(surface, model="smart")
        line = await front.last()
    assert answered.headers["x-splice-cost-usd"] == "0.000175"
    assert (line["cost_usd"], line["price_usd"]) == (0.000088, 0.000175)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_usage_chunk_tells_what_the_key_pays(dialect):
    async with (
        Scripted([spoken.streamed(dialect)]) as up,
        gateway(config_text(upstream(up.url, dialect), DEARER)) as front,
    ):
        asked = await front.chat("smart", stream=True, stream_options={"include_usage": True})
        unasked = await front.chat("smart", stream=True)
        lines = await front.requests(2)
    (usage,) = [one["usage"] for one in asked.data if isinstance(one, dict) and one.get("usage")]
    assert (usage["cost"], usage["cost_micro"]) == (0.000175, 175)
    assert usage["prompt_tokens"] == spoken.INPUT + spoken.CACHED
    assert not any("cost" in str(one) for one in unasked.data)
    assert [line["price_usd"] for line in lines] == [0.000175, 0.000175]


async def test_the_bytes_of_a_spliced_stream_differ_in_the_usage_alone():
    async with (
        Scripted([spoken.streamed("openai-chat")]) as up,
        gateway(config_text(upstream(up.url), model(cost=COST))) as front,
    ):
        asked = await front.chat("smart", stream=True, stream_options={"include_usage": True})
    told = b'"cost":0.000088,"cost_micro":88,'
    assert asked.body.count(told) == 1
    assert asked.body.replace(told, b"") == spoken.stream("openai-chat")


def key_table(name: str, key: str, lines: str) -> str:
    return f'[[keys]]\nname = "{name}"\nkey = "{key}"\n{lines}\n'


async def test_multipliers_of_the_account_and_of_the_key():
    half = account("half", "up", cost_multiplier="0.5")
    text = config_text(
        upstream("http://UP").replace(account("up", "up"), half),
        model(cost=COST),
        key_table("dear", "sk-the-dear-one", "price_multiplier = 3"),
    )
    async with (
        Scripted([spoken.told("openai-chat")]) as up,
        gateway(text.replace("http://UP", up.url)) as front,
    ):
        answered = await front.post(
            "/v1/chat/completions",
            {"model": "smart", "messages": [{"role": "user", "content": "x"}]},
            authorization="Bearer sk-the-dear-one",
        )
        line = await front.last()
    # 87.5 micro-USD times three, and by two: each rounded once.
    assert answered.headers["x-splice-cost-usd"] == "0.000263"
    assert (line["cost_usd"], line["price_usd"]) == (0.000044, 0.000263)


async def test_the_catalog_prices_a_known_provider_and_its_snapshots():
    text = config_text(
        f'[providers.anthropic]\nbase_url = "http://UP"\n{account("claude", "anthropic")}'
    )
    body = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hello"}],
        "usage": {
            "input_tokens": 100, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 200,
            "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 150},
            "output_tokens": 300,
        },
    }  # fmt: skip
    async with (
        Scripted([whole(json.dumps(body).encode(), **spoken.JSON)]) as up,
        gateway(text.replace("http://UP", up.url)) as front,
    ):
        plain = await front.messages("claude-opus-5-5")
        dated = await front.chat("anthropic/claude-opus-5-5-20261001")
    assert plain.headers["x-splice-cost-usd"] == dated.headers["x-splice-cost-usd"] == "0.00805"


async def test_a_count_costs_nothing_and_says_nothing_of_cost():
    counted = whole(b'{"input_tokens": 12}', **spoken.JSON)
    async with (
        Scripted([counted]) as up,
        gateway(
            config_text(upstream(up.url, "anthropic"), model(cost=COST, unpriced='"refuse"'))
        ) as front,
    ):
        answered = await front.post(
            "/v1/messages/count_tokens",
            {"model": "smart", "messages": [{"role": "user", "content": "x"}]},
        )
        line = await front.last()
    assert answered.json["input_tokens"] == 12
    assert "x-splice-cost-usd" not in answered.headers
    assert line.get("cost_usd", 0) == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_fails_before_content_costs_nothing(stream):
    refusal = whole(b'{"error": {"message": "no"}}', "500 Internal Server Error", **spoken.JSON)
    async with (
        Scripted([refusal]) as up,
        gateway(config_text(upstream(up.url), model(cost=COST))) as front,
    ):
        answered = await front.chat("smart", stream=stream)
        line = await front.last()
    assert answered.status == 502
    assert "cost_usd" not in line


async def test_a_stream_that_breaks_off_costs_what_was_seen_of_it():
    begun = spoken.HEAD + spoken.chunk(
        spoken.metadata("anthropic") + spoken.text("anthropic", "Hello")
    )
    async with (
        Scripted([begun]) as up,
        gateway(
            config_text(upstream(up.url, "anthropic"), model(cost=COST), timeouts='idle = "200ms"')
        ) as front,
    ):
        await front.messages("smart", stream=True)
        line = await front.last()
    # The prompt was told at the start: 8 and 3 tokens; one token of output was told, and two seen, by their letters.
    assert line["cost_usd"] == 0.000038
    assert line["error_type"] == "timeout_idle"


# What nobody knows the price of.


async def test_an_unpriced_model_is_recorded_at_no_cost_and_warned_of_once():
    async with (
        Scripted([spoken.told("openai-chat")]) as up,
        gateway(config_text(upstream(up.url))) as front,
    ):
        answers = [await front.chat("up/m"), await front.chat("up/m"), await front.chat("up/n")]
        lines = await front.requests(3)
        warned = [line["model"] for line in front.lines if "no price" in line["msg"]]
    assert [one.headers["x-splice-cost-usd"] for one in answers] == ["0", "0", "0"]
    assert [line["output_tokens"] for line in lines] == [spoken.OUTPUT] * 3
    assert warned == ["up/m", "up/n"]


@pytest.mark.parametrize("surface", ["chat", "messages"])
async def test_an_unpriced_model_can_be_refused_before_anybody_is_asked(surface):
    async with (
        Scripted([spoken.told("openai-chat")]) as up,
        gateway(config_text(upstream(up.url), model(unpriced='"refuse"'))) as front,
    ):
        answered = await front.ask(surface, model="smart")
        line = await front.last()
    assert (answered.status, up.requests) == (403, [])
    assert "has no price here" in answered.error["message"]
    assert (line["error_type"], line["attempts"]) == ("not_allowed", 0)


async def test_a_target_with_a_price_is_asked_instead_of_one_without():
    text = config_text(
        upstream("http://UP"),
        '[providers.groq]\nbase_url = "http://UP"\n' + account("groq", "groq"),
        model(to='"up/m", "groq/openai/gpt-oss-120b"', unpriced='"refuse"'),
    )
    async with (
        Scripted([spoken.told("openai-chat")]) as up,
        gateway(text.replace("http://UP", up.url)) as front,
    ):
        answered = await front.chat("smart")
        line = await front.last()
    assert (answered.status, line["account"], line["attempts"]) == (200, "groq", 1)


async def test_a_fallback_is_paid_by_its_own_price():
    async with (
        Scripted([spoken.told("openai-chat")]) as up,
        gateway(
            config_text(
                upstream(up.url),
                upstream("http://127.0.0.1:9", name="dead"),
                model("dear", '"dead/m"', cost="{ input = 1000 }", fallbacks='["cheap"]'),
                model("cheap", cost=COST),
            )
        ) as front,
    ):
        answered = await front.chat("dear")
    assert answered.headers["x-splice-cost-usd"] == "0.000088"


# The list of models.


async def test_the_list_tells_each_caller_its_own_price():
    text = config_text(
        upstream("http://127.0.0.1:9"),
        model(cost=COST),
        model("mystery"),
        key_table("dear", "sk-the-dear-one", "price_multiplier = 3"),
    )
    async with gateway(text) as front:
        listed = (await front.get("/v1/models")).json["data"]
        one = (await front.get("/v1/models/smart", authorization="Bearer sk-the-dear-one")).json
        anthropics = await front.get("/v1/models", **{"anthropic-version": "2023-06-01"})
    assert listed[0]["pricing"] == {
        "prompt": "0.000002",
        "completion": "0.00001",
        "input_cache_read": "0.0000005",
        "input_cache_write": "0.000002",
    }
    assert "pricing" not in listed[1]
    assert one["pricing"]["completion"] == "0.00003"
    assert "pricing" not in anthropics.json["data"][0]


# Budgets of accounts.


def budgeted(name: str, usd: str, period: str) -> str:
    return account(name, "up", budget_usd=usd, budget_period=f'"{period}"')


def accounts(url: str, *tables: str) -> str:
    return upstream(url).replace(account("up", "up"), "\n".join(tables))


async def test_a_spent_account_makes_way_for_another():
    text = accounts(
        "http://UP", budgeted("first", "0.000176", "day"), account("second", "up", priority="1")
    )
    async with (
        Scripted([spoken.told("openai-chat")]) as up,
        gateway(config_text(text, model(cost=COST)).replace("http://UP", up.url)) as front,
    ):
        for _ in range(4):
            await front.chat("smart")
        lines = await front.requests(4)
    assert [line["account"] for line in lines] == ["first", "first", "second", "second"]


@pytest.mark.parametrize("stream", [False, True])
async def test_when_every_budget_is_spent_the_client_learns_when_the_window_ends(stream):
    answer = spoken.streamed("openai-chat") if stream else spoken.told("openai-chat")
    text = accounts("http://UP", budgeted("only", "0.00005", "day"))
    async with (
        Scripted([answer]) as up,
        gateway(config_text(text, model(cost=COST)).replace("http://UP", up.url)) as front,
    ):
        assert (await front.chat("smart", stream=stream)).status == 200
        before = datetime.now(UTC)
        refused = await front.chat("smart", stream=stream)
    left = 86_400 - (before - before.replace(hour=0, minute=0, second=0, microsecond=0)).seconds
    assert refused.status == 503
    assert abs(int(refused.headers["retry-after"]) - left) <= 2 or left <= 2
    assert len(up.requests) == 1


async def test_a_new_window_frees_an_account_and_what_it_spends_counts_again():
    text = accounts("http://UP", budgeted("only", "0.0001", "day"))
    async with (
        Scripted([spoken.told("openai-chat")]) as up,
        gateway(config_text(text, model(cost=COST)).replace("http://UP", up.url)) as front,
    ):
        seat = front.running.gateway.pool.seat("only")
        assert seat is not None
        assert seat.budget is not None
        statuses = [(await front.chat("smart")).status for _ in range(3)]
        yesterday = front.running.gateway.clock() - 86_400
        seat.budget._ends, seat.spent_until = yesterday, 0.0
        statuses += [(await front.chat("smart")).status for _ in range(3)]
    # 88 of 100 micro-USD after the first call, 176 after the second.
    assert statuses == [200, 200, 503] * 2


async def test_what_an_earlier_process_spent_is_spent():
    text = accounts("http://UP", budgeted("only", "0.0001", "month"))
    async with (
        Scripted([spoken.told("openai-chat")]) as up,
        gateway(config_text(text, model(cost=COST)).replace("http://UP", up.url)) as front,
    ):
        seat = front.running.gateway.pool.seat("only")
        assert seat is not None
        seat.spend(100, front.running.gateway.now(), front.running.gateway.clock())
        refused = await front.chat("smart")
    assert (refused.status, up.requests) == (503, [])


async def test_what_a_client_did_not_wait_for_is_spent_with_its_account_all_the_same():
    text = accounts("http://UP", budgeted("only", "0.000001", "month"))
    async with (
        Scripted([Pause(60)]) as up,
        gateway(config_text(text, model(cost=COST)).replace("http://UP", up.url)) as front,
    ):
        wire = await front.wire()
        body = encoded(chat_body("smart"))
        wire.send(request("POST", "/v1/chat/completions", body, authorization=BEARER))
        await settled(lambda: up.requests)
        wire.leave()
        await front.last()
        refused = await front.chat("smart")
    assert (refused.status, len(up.requests)) == (503, 1)


async def test_a_call_that_cost_nothing_spends_nothing():
    refusal = whole(b'{"error": {"message": "too long"}}', "400 Bad Request", **spoken.JSON)
    text = accounts("http://UP", budgeted("only", "0.000001", "month"))
    async with (
        Scripted([refusal]) as up,
        gateway(config_text(text, model(cost=COST)).replace("http://UP", up.url)) as front,
    ):
        statuses = [(await front.chat("smart")).status for _ in range(3)]
    assert statuses == [400, 400, 400]
