"""Who pays what: the order of what is configured and what is listed, and everybody's multiplier."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from proxy.billing.pricelist import PriceList
from proxy.billing.tariff import Tariff
from proxy.config import loads
from proxy.config.model import Account
from proxy.usage import Usage

ONE = Decimal(1)
MILLION = Usage(input=1_000_000, output=1_000_000)
WALL = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
LISTED = PriceList(
    orjson.dumps(
        {
            "source": "tests",
            "date": "2026-11-20",
            "providers": {
                "p": {
                    "models": [
                        {
                            "id": "m",
                            "input": 2,
                            "output": 10,
                            "cache_read": 0.2,
                            "searches_kcount": 10,
                        },
                        {
                            "id": "soon",
                            "prices": [{"input": 1}, {"from": "2026-12-01", "input": 3}],
                        },
                        {"id": "fee", "input": 1, "requests_kcount": 5},
                    ]
                }
            },
        }
    )
)


def tariff(models: str = "", account: str = "") -> Tariff:
    text = (
        '[providers.p]\ndialects = ["openai-chat"]\nbase_url = "http://p.test"\nauth = "none"\n'
        f'[[accounts]]\nname = "a"\nprovider = "p"\n{account}\n{models}'
    )
    config = loads(text, Path("c.toml"), {"HOME": "/root"})
    made = Tariff(config, LISTED)
    ACCOUNTS[made] = config.accounts[0]
    return made


ACCOUNTS: dict[Tariff, Account] = {}
"""The account of each."""


def charged(
    of: Tariff, model: str = "m", name: str = "p/m", multiplier: Decimal = ONE
) -> tuple[int, int]:
    """Return in USD what a million tokens in and out cost us, and the key."""
    cost, price = of.quotes(multiplier).of(ACCOUNTS[of], model, name).charge(MILLION, WALL)
    return cost // 1_000_000, price // 1_000_000


def named(lines: str) -> str:
    return f'[[models]]\nname = "smart"\ntargets = ["p/m"]\n{lines}\n'


COST = "cost = { input = 1, output = 2 }"
PRICE = "price = { input = 100, output = 200 }"


@pytest.mark.parametrize(
    ("model", "lines", "sources", "expected"),
    [
        ("m", "", ("catalog", "catalog"), (12, 12)),
        ("m", COST, ("config", "config"), (3, 3)),
        ("m", PRICE, ("catalog", "config"), (12, 300)),
        ("m", f"{COST}\n{PRICE}", ("config", "config"), (3, 300)),
        ("unlisted", "", ("none", "none"), (0, 0)),
        ("unlisted", COST, ("config", "config"), (3, 3)),
        ("unlisted", PRICE, ("config", "config"), (300, 300)),
    ],
)  # fmt: skip
def test_a_price_defaults_to_the_cost_and_the_cost_to_the_list_and_then_to_the_price(
    model, lines, sources, expected
):
    one = tariff(named(lines))
    stated = one.stated("p", model, "smart")
    assert (stated.cost_source, stated.price_source) == sources
    assert charged(one, model, "smart") == expected
    assert one.quotes(ONE).of(ACCOUNTS[one], model, "smart").priced is (expected != (0, 0))


def test_an_accounts_multiplier_is_ours_and_a_keys_multiplier_is_its_own():
    assert charged(tariff(account="cost_multiplier = 0.5")) == (6, 12)
    assert charged(tariff(account="cost_multiplier = 0.5"), multiplier=Decimal("1.5")) == (6, 18)
    assert charged(tariff(account="cost_multiplier = 0.5"), multiplier=Decimal("0.5")) == (6, 6)
    assert charged(tariff(account="cost_multiplier = 0"), multiplier=Decimal(0)) == (0, 0)
    assert charged(tariff(named(PRICE)), name="smart", multiplier=Decimal(2)) == (12, 600)


def test_a_multiplier_does_not_round_twice():
    one = tariff(named("cost = { input = 0.3 }"), "cost_multiplier = 0.7")
    quote = one.quotes(Decimal("1.7")).of(ACCOUNTS[one], "m", "smart")
    assert quote.charge(Usage(input=7), WALL) == (
        1,
        4,
    )  # 1.47 and 3.57, where 2.1 is 2 first: 1.4 and 3.4


def test_another_name_of_the_same_model_has_its_own_price():
    one = tariff(named(PRICE))
    assert charged(one, name="p/m") == (12, 12)
    assert charged(one, name="smart") == (12, 300)


def test_a_price_changes_on_its_day():
    one = tariff()
    quote = one.quotes(ONE).of(ACCOUNTS[one], "soon", "p/soon")
    moments = [datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)]
    assert [quote.charge(Usage(input=10), at.timestamp())[0] for at in moments] == [10, 30]


def test_what_the_configuration_says_of_dates_hours_and_tiers_counts():
    one = tariff(
        named(
            "cost = [{ input = 1, tiers = [{ above = 5, input = 2 }], service_tiers = { flex = { input = 0.5 } } },\n"
            '{ hours = ["13:00", "14:00"], input = 10 }, { from = 2026-12-01, input = 7 }]'
        )
    )
    quote = one.quotes(ONE).of(ACCOUNTS[one], "m", "smart")

    def paid(usage, day=20, hour=12, month=11):
        return quote.charge(usage, datetime(2026, month, day, hour, tzinfo=UTC).timestamp())[0]

    assert paid(Usage(input=4)) == 4
    assert paid(Usage(input=6)) == 12
    assert paid(Usage(input=4, tier="flex")) == 2
    assert paid(Usage(input=4), hour=13) == 40
    assert paid(Usage(input=4), day=1, month=12) == 28


def test_only_a_model_that_says_so_refuses_what_has_no_price():
    one = tariff(named('unpriced = "refuse"'))
    assert one.refuses_some
    assert one.refuses("p", "unlisted", "smart")
    assert not one.refuses("p", "m", "smart")
    assert not one.refuses("p", "unlisted", "p/unlisted")
    assert not tariff().refuses_some


def test_what_the_caller_pays_is_told_for_one_token():
    one = tariff()
    told = one.pricing("p", "m", "p/m", Decimal("1.5"), WALL)
    assert told == {
        "prompt": "0.000003",
        "completion": "0.000015",
        "input_cache_read": "0.0000003",
        "input_cache_write": "0.000003",
        "web_search": "0.015",
    }
    fee = one.pricing("p", "fee", "p/fee", ONE, WALL)
    assert fee is not None
    assert (fee["request"], fee["completion"]) == ("0.005", "0")
    assert one.pricing("p", "unlisted", "p/unlisted", ONE, WALL) is None


def test_endless_names_do_not_fill_the_memory():
    one = tariff()
    quotes = one.quotes(ONE)
    for number in range(5000):
        quotes.of(ACCOUNTS[one], "m", f"p/{number}")
    assert len(quotes._known) <= 4096
    for number in range(5000):
        one.quotes(Decimal(number))
    assert len(one._quotes) <= 4096
    assert charged(one) == (12, 12)
