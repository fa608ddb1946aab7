"""What may be set of a key or a team, and what is said of what may not."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_network

import pytest

from proxy.billing.credit import Terms
from proxy.billing.options import (
    CREDIT,
    KEY,
    TEAM,
    Reason,
    Refused,
    changed,
    digest_of,
    key_of,
    taken,
    terms_of,
)
from proxy.config import Key, model

EVERYTHING = {
    "team": "red",
    "models": ["gpt-*", "claude-*"],
    "rpm": 60,
    "tpm": 1000,
    "concurrency": 2,
    "budget_usd": "10.5",
    "budget_period": "month",
    "prepaid": True,
    "allowance_usd": "0.000001",
    "price_multiplier": "1.2",
    "expires": "2026-12-31T00:00:00Z",
    "allow_ip": ["10.0.0.0/8", "2001:db8::/32"],
    "enabled": False,
    "native": "all",
}


def test_the_options_are_those_of_a_key_in_the_configuration():
    fields = set(model.Key.__dataclass_fields__)
    assert set(KEY) == fields - {"name", "hash", "credit_usd"}


def test_they_are_kept_as_they_are_written_and_make_a_key():
    assert set(EVERYTHING) == set(KEY)
    kept = changed(KEY, {}, EVERYTHING)
    assert kept == EVERYTHING
    assert key_of("ci", "a" * 64, kept) == Key(
        name="ci",
        hash="a" * 64,
        team="red",
        models=("gpt-*", "claude-*"),
        rpm=60,
        tpm=1000,
        concurrency=2,
        budget_usd=Decimal("10.5"),
        budget_period="month",
        prepaid=True,
        allowance_usd=Decimal("0.000001"),
        price_multiplier=Decimal("1.2"),
        expires=datetime(2026, 12, 31, tzinfo=UTC),
        allow_ip=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")),
        enabled=False,
        native="all",
    )
    assert terms_of(kept) == Terms(prepaid=True, allowance=1, budget=10_500_000, period="month")


def test_what_is_not_set_has_its_default():
    assert key_of("ci", "a" * 64, {}) == Key(name="ci", hash="a" * 64)
    assert terms_of({}) == Terms()


def test_null_takes_an_option_away_and_a_budget_takes_its_period_along():
    assert changed(KEY, EVERYTHING, dict.fromkeys(KEY)) == {}
    left = changed(TEAM, {"budget_usd": "1", "budget_period": "day"}, {"budget_usd": None})
    assert left == {}


@pytest.mark.parametrize(("given", "kept"), [(0.1, "0.1"), (3, "3"), ("0.30", "0.30")])
def test_an_amount_is_exact_as_a_number_and_as_text(given, kept):
    found = changed(TEAM, {}, {"allowance_usd": given})
    assert found == {"allowance_usd": kept}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rmp": 1}, "found the unknown field 'rmp'; did you mean rpm?"),
        ({"rpm": 0}, "rpm: found 0, expected a whole number from 1; leave it out for no limit"),
        ({"rpm": True}, "rpm: found true, expected a whole number from 1"),
        ({"models": []}, "models: found [], expected a list of at least 1"),
        ({"budget_usd": "1"}, "budget_period: found nothing, expected day, week, month or total"),
        ({"budget_period": "day"}, "budget_usd: found nothing, expected an amount"),
        ({"allowance_usd": "0.0000001"}, "expected at most 6 decimals"),
        ({"allowance_usd": "1e3"}, 'allowance_usd: found "1e3", expected a number above 0'),
        ({"allowance_usd": "NaN"}, "expected a number above 0"),
        ({"allowance_usd": -1}, "expected a number above 0"),
        ({"allow_ip": ["10.0.0.1/8"]}, "expected a list of: a network; write 10.0.0.0/8"),
        ({"expires": "soon"}, 'expires: found "soon", expected a date such as'),
        ({"expires": "9999-12-31T23:00:00-14:00"}, "expected a moment in the years 1 to 9999"),
    ],
)
def test_what_is_wrong_is_told_with_its_name(given, message):
    with pytest.raises(Refused) as raised:
        changed(KEY, {}, given)
    assert raised.value.reason is Reason.INVALID
    assert message in raised.value.message


@pytest.mark.parametrize("given", [0, "0.0", None, True, "1.0000001", 10**10, "-1e3", [], "x"])
def test_a_credit_is_an_amount_that_is_not_nothing(given):
    with pytest.raises(Refused, match=r"^amount_usd: found .*, expected an amount in USD"):
        taken("amount_usd", CREDIT, given)


@pytest.mark.parametrize(("given", "amount"), [("-0.5", "-0.5"), (12, "12"), (0.1, "0.1")])
def test_a_credit_may_be_taken_back(given, amount):
    assert taken("amount_usd", CREDIT, given) == Decimal(amount)


def test_a_hash_is_never_repeated_in_a_refusal():
    assert digest_of("sha256:" + "0a" * 32) == "0a" * 32
    with pytest.raises(Refused) as raised:
        digest_of("sk-splice-a-whole-key")
    assert "sk-splice" not in raised.value.message
