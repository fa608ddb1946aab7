"""The bundled prices are those of their source, and a model is found by the names it goes by."""

from __future__ import annotations

import random
import runpy
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import genai_prices.types
import orjson
import pytest
from genai_prices.data import providers

from proxy.billing.imported import GENAI_NAMES, SERVICES
from proxy.billing.pricelist import BUNDLED, IMPORTED, PriceList, read, stated
from proxy.billing.prices import RATES, Price, cost_micro
from proxy.config import ConfigError
from proxy.usage import Usage, inclusive

GENERATOR = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[3] / ".ci" / "prices.py")))
BYTES = BUNDLED.read_bytes()
LIST = PriceList(BYTES)


def test_the_bundled_file_is_what_the_generator_makes_of_the_locked_release():
    assert GENERATOR.render(LIST.source, LIST.date).encode() == BYTES


def test_the_bundled_file_keeps_the_notice_of_its_source():
    notice = orjson.loads(BYTES)["notice"]
    assert notice.startswith("The MIT License (MIT)\nCopyright (c) Pydantic Services Inc.")
    assert "The above copyright notice and this permission notice shall be included" in notice


def test_every_table_of_the_bundled_file_is_a_price():
    for name, told in orjson.loads(BYTES)["providers"].items():
        for table in told["models"]:
            rows = stated(table)
            assert Price.parse(rows), (name, table)
            assert set(rows if isinstance(rows, dict) else rows[0]) & set(RATES)


# As many moments as there are kinds of price: now, at a peak hour of DeepSeek's, and after all that is announced.
MOMENTS = (
    datetime.combine(LIST.date, datetime.min.time(), UTC),
    datetime.combine(LIST.date, datetime.min.time(), UTC).replace(hour=7),
    datetime(2031, 1, 1, tzinfo=UTC),
)


@pytest.mark.parametrize("provider", providers, ids=lambda provider: provider.id)
def test_a_call_costs_what_the_source_says_that_it_costs(provider):
    """The names, dates, hours, service tiers and long prompts of every model, against the package that the file is made from."""
    dice = random.Random(provider.id)
    name = GENAI_NAMES.get(provider.id, provider.id)
    for model in provider.models:
        listed = LIST.find(name, model.id)
        if listed is None or listed.model != model.id.lower():
            # Not every id is one of the names that its own row matches.
            assert listed is None
            continue
        tiers = {
            next(iter(variant.when.values())): dict(variant.when)
            for variant in model.price_variants or ()
            if next(iter(variant.when)) in SERVICES
        }
        for at in MOMENTS:
            for tier, context in [(None, None), *tiers.items()]:
                usage = a_usage(dice)._replace(tier=tier)
                told = model.calc_price(
                    theirs(usage), provider, genai_request_timestamp=at, price_context=context
                )
                paid = cost_micro(usage, listed.prices, at)
                off = paid - Fraction(told.total_price) * 1_000_000
                assert -Fraction(1, 2) < off <= Fraction(1, 2), (model.id, at, tier, usage)


def a_usage(dice):
    # Long prompts are dearer from 32 thousand to 512 thousand tokens.
    total = dice.choice((dice.randrange(30_000), dice.randrange(1_000_000)))
    return inclusive(
        input_total=total,
        output=dice.randrange(50_000),
        cache_read=dice.randrange(total + 1) // 2,
        cache_write=dice.randrange(total + 1) // 4,
        cache_write_1h=dice.randrange(total + 1) // 8,
        searches=dice.randrange(5),
    )


def theirs(usage: Usage) -> genai_prices.types.Usage:
    return genai_prices.types.Usage(
        input_tokens=usage.input_total,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_writes,
        cache_write_1h_tokens=usage.cache_write_1h,
        output_tokens=usage.output,
        web_searches=usage.searches,
    )


@pytest.mark.parametrize(
    ("usage", "model", "micro"),
    [
        (Usage(100, 1000, 50, 150, 300), "anthropic/claude-opus-5-5", 8050),
        (Usage(100, 1000, 200, 0, 300), "openai/gpt-6-astra", 19_500),
        (Usage(100_000, output=1000), "anthropic/claude-haiku-5-5", 10_500),
        (Usage(100_001, output=1000), "anthropic/claude-haiku-5-5", 52_501),
    ],
)
def test_known_bills(usage, model, micro):
    found = LIST.find(*model.split("/"))
    assert found is not None
    assert cost_micro(usage, found.prices, LIST.date) == micro


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("openai/gpt-6-sol", "openai/gpt-6-sol"),
        ("openai/GPT-6-SOL", "openai/gpt-6-sol"),
        ("openai/gpt-6-sol-2026-09-30", "openai/gpt-6-sol"),
        ("openai/gpt-6-sol-20260930", "openai/gpt-6-sol"),
        ("anthropic/claude-haiku-5-5-20261001", "anthropic/claude-haiku-5-5"),
        ("anthropic/claude-opus-5-5-latest", "anthropic/claude-opus-5-5"),
        ("gemini/models/gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("gemini-openai/gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("gemini/gemini-flash-latest", "gemini/gemini-3.8-flash"),
        ("gemini/claude-sonnet-5-5", "gemini/claude-sonnet-5-5"),
        ("azure-openai/gpt-6-sol", "openai/gpt-6-sol"),
        ("openrouter/anthropic/claude-opus-5.5", "openrouter/anthropic/claude-opus-5.5"),
        ("fireworks/accounts/fireworks/models/deepseek-v4-flash", "fireworks/deepseek-v4-flash"),
        ("xai/grok-4.7", "xai/grok-4.7"),
        ("moonshot/kimi-k3", "moonshot/kimi-k3"),
        ("huggingface/meta-llama/Llama-3.3-70B-Instruct:together", "huggingface_together/meta-llama/llama-3.3-70b-instruct"),
        ("openai/a-model-of-tomorrow", None),
        ("huggingface/meta-llama/Llama-3.3-70B-Instruct", None),
        ("nobody/gpt-6-sol", None),
        ("nobody/", None),
    ],
)  # fmt: skip
def test_a_model_is_found_by_every_name_it_goes_by(asked, found):
    provider, _, model = asked.partition("/")
    listed = LIST.find(provider, model)
    assert (listed and f"{listed.provider}/{listed.model}") == found


def a_list(*models, **more):
    document = {
        "source": "tests",
        "date": "2026-11-20",
        "providers": {"p": {"models": models}, **more},
    }
    return PriceList(orjson.dumps(document))


def rate(listed):
    return listed and listed.prices[0].rates.input


def test_the_first_that_matches_is_meant_whether_by_a_name_or_a_pattern():
    one = a_list(
        {"id": "a", "match": ["a*", "z"], "input": 1},
        {"id": "ab", "input": 2},
        {"id": "z", "input": 3},
        {"id": "b", "match": [["*b", "^(?!cb)"], "*mid*"], "input": 4},
        {"id": "c", "match": "c*", "input": 5},
    )
    names = ("ab", "z", "xb", "cb", "amid", "the-mid-one", "c", "q")
    assert [rate(one.find("p", name)) for name in names] == [1, 1, 4, 5, 1, 4, 5, None]


def test_a_fallback_is_asked_once_and_before_another_spelling():
    one = a_list(
        {"id": "x", "input": 1},
        q={"fallback": ["p", "absent"], "models": [{"id": "y", "input": 2}]},
        r={"fallback": ["q"], "models": []},
    )
    assert [rate(one.find("q", name)) for name in ("x", "y", "x-2026-01-01", "y-latest")] == [
        1,
        2,
        1,
        2,
    ]
    assert one.find("r", "x") is None


def test_only_the_lists_that_are_wanted_are_kept():
    few = PriceList(BYTES, ["azure-openai", "huggingface", "gemini-openai"])
    assert few.find("azure-openai", "gpt-6-sol")
    assert few.find("azure-openai", "claude-opus-5-5"), (
        "what a provider falls back to is wanted too"
    )
    assert few.find("gemini-openai", "gemini-2.5-pro")
    assert few.find("huggingface", "openai/gpt-oss-120b:groq")
    assert few.find("groq", "openai/gpt-oss-120b") is None


def test_an_imported_list_comes_before_the_bundled_one(tmp_path):
    model = {"id": "gpt-6-sol", "input": 77}
    document = {
        "source": "mine", "date": "2026-11-21",
        "providers": {"openai": {"models": [model]}, "new": {"models": [model]}},
    }  # fmt: skip
    (tmp_path / IMPORTED).write_bytes(orjson.dumps(document))
    both = read(tmp_path, ["openai", "new", "anthropic"])
    assert (both.source, both.date.day) == ("mine", 21)
    assert rate(both.find("openai", "gpt-6-sol")) == 77
    assert rate(both.find("new", "gpt-6-sol")) == 77
    assert both.find("openai", "gpt-6-luna") == LIST.find("openai", "gpt-6-luna")
    assert both.find("anthropic", "claude-opus-5-5") == LIST.find("anthropic", "claude-opus-5-5")
    assert read(tmp_path / "nowhere").source == LIST.source


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"{}", b'{"date": 5, "providers": {}}', b'{"date": "2026-11-20"}']
)
def test_a_broken_imported_list_is_told_and_not_passed_over(tmp_path, data):
    (tmp_path / IMPORTED).write_bytes(data)
    with pytest.raises(ConfigError, match=r"found no price list, .* remove it"):
        read(tmp_path)


def test_numbers_are_read_as_they_are_written():
    found = a_list({"id": "x", "input": 0.1, "output": 0.000_001}).find("p", "x")
    assert found is not None
    assert Fraction(found.prices[0].rates.input, found.prices[0].rates.unit) == Fraction(
        Decimal("0.1")
    )
