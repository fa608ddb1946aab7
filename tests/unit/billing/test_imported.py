"""Lists of other makers become ours. That genai-prices' whole data does is in ``test_pricelist``."""

from __future__ import annotations

from datetime import UTC, date, datetime

import orjson
import pytest

from proxy.billing.imported import converted
from proxy.billing.pricelist import PriceList
from proxy.billing.prices import cost_micro
from proxy.usage import Usage

DAY = date(2026, 11, 20)

GENAI = [
    {
        "id": "x-ai",
        "fallback_model_providers": ["azure"],
        "models": [
            {
                "id": "Grok-9",
                "match": {"or": [{"starts_with": "Grok-9"}, {"and": [{"contains": "g9"}, {"regex": "^(?!.*tts)"}]}]},
                "prices": [
                    {"prices": {"input_mtok": 1}},
                    {"constraint": {"start_date": "2026-11-01"}, "prices": {"input_mtok": "2.5", "output_mtok": 10}},
                    {"constraint": {"start_date": "2027-01-01"}, "prices": {"input_mtok": 4}},
                ],
                "price_variants": [{"when": {"service_tier": "flex"}, "prices": {"input_mtok": 1.25}}],
            },
            {"id": "by-the-page", "match": {"equals": "by-the-page"}, "prices": {"input_document_kpages": 1}},
            {"id": "free", "match": {"ends_with": ":free"}, "prices": {}},
            {
                "id": "long",
                "match": {"equals": "long"},
                "prices": {
                    "input_mtok": {"base": 1, "tiers": [{"start": 100, "price": 2}, {"start": 200, "price": 3}]},
                    "output_mtok": {"base": 5, "tiers": [{"start": 100, "price": 6}]},
                },
            },
            {
                "id": "night",
                "match": {"equals": "night"},
                "prices": [
                    {"prices": {"input_mtok": 1}},
                    {"constraint": {"start_time": "22:00:00Z", "end_time": "06:00:00Z"}, "prices": {"input_mtok": 9}},
                ],
            },
        ],
    }
]  # fmt: skip

LITELLM = {
    "sample_spec": {"litellm_provider": "one of", "input_cost_per_token": 0.0},
    "gpt-9": {
        "litellm_provider": "openai", "mode": "chat", "max_tokens": 5,
        "input_cost_per_token": 3e-06, "output_cost_per_token": 2.9999900000000002e-06,
        "cache_read_input_token_cost": 3e-07, "cache_creation_input_token_cost_above_1hr": 6e-06,
        "input_cost_per_token_above_200k_tokens": 6e-06,
        "input_cost_per_token_flex": 1.5e-06,
        "input_cost_per_token_priority": 9e-06, "input_cost_per_token_above_200k_tokens_priority": 1.8e-05,
        "search_context_cost_per_query": {"search_context_size_medium": 0.01},
    },
    "dashscope/qwen-9": {"litellm_provider": "dashscope", "input_cost_per_token": 1e-06},
    "openrouter/*": {"litellm_provider": "openrouter", "input_cost_per_token": 1e-06},
    "a-picture": {"litellm_provider": "openai", "output_cost_per_image": 0.04},
}  # fmt: skip


def a_list(document: object) -> PriceList:
    return PriceList(orjson.dumps(converted(document, "a file", DAY)))


def paid(prices: PriceList, model: str, usage: Usage, at: date = DAY) -> int | None:
    found = prices.find(*model.split("/"))
    return None if found is None else cost_micro(usage, found.prices, at)


TEN = Usage(input=10)


def test_what_holds_now_and_what_will():
    prices = a_list(GENAI)
    assert (prices.source, prices.date) == ("a file", DAY)
    assert paid(prices, "xai/grok-9-mini", TEN) == 25
    assert paid(prices, "xai/grok-9", TEN, date(2026, 10, 1)) == 25, "the past is not kept"
    assert paid(prices, "xai/grok-9", TEN, date(2027, 1, 1)) == 40
    assert paid(prices, "xai/grok-9", TEN._replace(tier="flex")) == 13
    assert [paid(prices, f"xai/{name}", TEN) for name in ("a-g9", "a-g9-tts", "by-the-page", "x:free")] == [
        25, None, None, 0,
    ]  # fmt: skip


def test_the_longer_of_two_tiers_keeps_what_the_shorter_one_changed():
    prices = a_list(GENAI)
    spoken = Usage(input=150, output=10), Usage(input=201, output=10), Usage(input=100, output=10)
    assert [paid(prices, "xai/long", usage) for usage in spoken] == [360, 663, 150]


def test_hours_of_the_day():
    at = [datetime(2026, 11, 20, hour, tzinfo=UTC) for hour in (21, 22, 5, 6)]
    assert [paid(a_list(GENAI), "xai/night", TEN, one) for one in at] == [10, 90, 90, 10]


def test_litellms_keys():
    prices = a_list(LITELLM)
    gpt = "openai/gpt-9"
    assert paid(prices, gpt, Usage(10, 10, 10, 10, 1_000_000)) == 30 + 3 + 30 + 60 + 2_999_990
    assert paid(prices, gpt, Usage(input=200_001)) == 200_001 * 6
    assert paid(prices, gpt, Usage(searches=2)) == 20_000
    assert paid(prices, gpt, Usage(input=200_001, tier="flex")) == 300_002
    assert paid(prices, gpt, Usage(input=200_001, tier="priority")) == 200_001 * 18
    assert paid(prices, gpt, Usage(cache_read=10, searches=1, tier="priority")) == 10_003
    assert paid(prices, "alibaba/qwen-9", TEN) == 10
    assert paid(prices, "openai/a-picture", TEN) is None
    assert paid(prices, "openrouter/*", TEN) is None


def one_model(**fields: object) -> list[object]:
    model = {"id": "m", "match": {"equals": "m"}, "prices": {"input_mtok": 1}, **fields}
    return [{"id": "p", "models": [model]}]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "found no prices, expected the data of genai-prices or of LiteLLM"),
        ({}, "found no prices"),
        ("prices", "found no prices"),
        ({"a": 5}, "found no prices"),
        ([{"id": "p"}], "make no sense"),
        ([5], "make no sense"),
        (one_model(prices={"input_mtok": -1}), "which has no exact JSON number"),
        (
            one_model(prices={"input_mtok": "0.123456789012345678901"}),
            "which has no exact JSON number",
        ),
        (one_model(prices={"input_mtok": "cheap"}), "make no sense"),
        (one_model(match={"equals": "a*"}), "reads as a pattern"),
        (one_model(match={"sounds_like": "a"}), "has no form here"),
        (one_model(match={"regex": "m$"}), "has no form here"),
        (one_model(match={"regex": "^("}), "make no sense"),
        (one_model(match={"and": [{"or": []}, {"equals": "m"}]}), "has no form here"),
    ],
)
def test_what_is_no_price_list_is_refused(document, message):
    with pytest.raises(ValueError, match=message):
        converted(document, "a file", DAY)
