"""What is held for a call: the dearest it can become, and no more than there is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from proxy.billing.credit import Short, Terms
from proxy.billing.prices import Price
from proxy.billing.tariff import Quote
from proxy.billing.wallets import Drawn, Wallets
from proxy.config.model import Key
from proxy.dialects.asked import Asked
from proxy.errors import GatewayError, Kind
from proxy.relay.reserve import LEAST, STEP, UNASKED, Priced, Reserve
from proxy.usage import Usage

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
KEY = Key(name="k", hash="a" * 64, team="t")
PROMPT = 5
"""Tokens of the request below: four for the message, one for what it says."""


def asked(**fields: Any) -> Asked:
    document = {"model": "m", "messages": [{"role": "user", "content": "Hey"}], **fields}
    return Asked(
        dialect="chat", body=json.dumps(document, separators=(",", ":")).encode(), document=document, edited=False,
        model="m", stream=bool(fields.get("stream")), request_id="req_1", now=NOON, mint=lambda: "", recall=lambda _: None,
        remember=lambda *_: None,
    )  # fmt: skip


def priced(most: int | None = None, **rates: int) -> Priced:
    """A target whose rates are micro-USD for each token."""
    rows = (Price.of({name: Decimal(rate) for name, rate in rates.items()}),)
    return Priced(Quote(rows, rows), most)


PLAIN = priced(input=1, output=10)


def reserve(
    one: Asked, *targets: Priced, credit: int = 10**9, team: int | None = None
) -> tuple[Reserve, Wallets]:
    wallets = Wallets()
    wallets.set_terms("key:k", Terms(prepaid=True))
    wallets.pay_in("key:k", credit)
    if team is not None:
        wallets.set_terms("team:t", Terms(budget=team))
    return Reserve(wallets, wallets.of(KEY), one, targets or (PLAIN,), NOON), wallets


def amounts(wallets: Wallets) -> Sequence[int]:
    return [one.held for one in wallets]


@pytest.mark.parametrize(
    ("fields", "target", "amount"),
    [
        ({"max_tokens": 100}, PLAIN, PROMPT + 1_000),
        ({"max_tokens": 100, "n": 3}, PLAIN, PROMPT + 3_000),
        ({"max_tokens": 1}, PLAIN, PROMPT + 10),
        ({"max_tokens": 100, "max_completion_tokens": 50}, PLAIN, PROMPT + 1_000),
        ({"max_tokens": 100}, priced(40, input=1, output=10), PROMPT + 400),
        ({"max_tokens": 100}, priced(), 0),
        ({"stream": True}, PLAIN, PROMPT + 10 * STEP),
        ({"stream": True, "n": 2}, PLAIN, PROMPT + 20 * STEP),
        ({"stream": True}, priced(40, input=1, output=10), PROMPT + 400),
        ({}, PLAIN, PROMPT + 10 * UNASKED),
        ({}, priced(40, input=1, output=10), PROMPT + 400),
    ],
)
def test_what_is_held_is_the_prompt_and_all_the_output_that_may_come(fields, target, amount):
    found, wallets = reserve(asked(**fields), target)
    assert (found.held, amounts(wallets)) == (amount, [amount])


def test_the_dearest_of_the_targets_counts():
    dear_in, dear_out = priced(input=100, output=1), priced(input=1, output=3)
    assert reserve(asked(max_tokens=10), dear_in, dear_out)[0].held == 100 * PROMPT + 10
    assert reserve(asked(max_tokens=1000), dear_in, dear_out)[0].held == PROMPT + 3000


def test_a_prompt_that_may_be_cached_is_held_at_the_price_of_writing_it():
    target = priced(input=1, cache_write=2, cache_write_1h=4)
    mark: dict[str, Any] = {"type": "ephemeral"}
    assert reserve(asked(max_tokens=1), target)[0].held == PROMPT
    assert reserve(asked(max_tokens=1, cache_control=mark), target)[0].held == 2 * PROMPT
    mark["ttl"] = "1h"
    assert reserve(asked(max_tokens=1, cache_control=mark), target)[0].held == 4 * PROMPT


def test_what_no_wallet_covers_is_refused_and_nothing_is_held():
    with pytest.raises(GatewayError) as caught:
        reserve(asked(max_tokens=100), credit=1_000)
    assert caught.value.kind is Kind.NO_CREDIT
    assert caught.value.message.startswith("This request may cost up to $0.001005, and this key has $0.001 left.")  # fmt: skip


@pytest.mark.parametrize(("credit", "limit"), [(10**9, UNASKED), (10_005, 1_000), (10_014, 1_000), (165, LEAST)])  # fmt: skip
def test_a_whole_answer_without_a_limit_is_limited_to_what_there_is(credit, limit):
    one = asked()
    found, wallets = reserve(one, credit=credit)
    assert one.output_limit == limit
    assert one.body.startswith(b'{"max_tokens":%d,' % limit)
    assert amounts(wallets) == [found.held] == [PROMPT + 10 * limit]


def test_a_whole_answer_is_limited_to_the_least_that_a_model_can_say():
    one = asked()
    reserve(one, priced(9_000, output=1), priced(8_000, output=1), PLAIN)
    assert one.output_limit == 8_000


def test_a_whole_answer_is_limited_to_the_least_that_a_wallet_has():
    one = asked()
    reserve(one, credit=100_005, team=10_005)
    assert one.output_limit == 1_000


@pytest.mark.parametrize("credit", [164, 0, -5])
def test_so_little_that_it_is_no_answer_is_refused(credit):
    one = asked()
    with pytest.raises(GatewayError) as caught:
        reserve(one, credit=credit)
    assert caught.value.kind is Kind.NO_CREDIT
    assert one.output_limit is None


def test_who_has_nothing_left_may_not_call_what_costs_nothing_either():
    with pytest.raises(GatewayError):
        reserve(asked(), priced(), credit=0)


def test_a_stream_or_a_limit_of_the_client_s_is_left_as_it_is():
    for one in (asked(stream=True), asked(max_tokens=10)):
        before = one.body
        reserve(one)
        assert one.body is before


def test_a_stream_holds_more_when_three_quarters_are_used():
    found, wallets = reserve(asked(stream=True))
    assert found.grows
    quarter = STEP // 4
    assert found.outgrown(3 * quarter - 1, NOON) is None
    assert amounts(wallets) == [PROMPT + 10 * STEP]
    assert found.outgrown(3 * quarter, NOON) is None
    assert amounts(wallets) == [PROMPT + 20 * STEP]
    assert found.outgrown(6 * quarter - 1, NOON) is None
    assert amounts(wallets) == [PROMPT + 20 * STEP]
    # A read may hold more than a step.
    assert found.outgrown(15 * quarter, NOON) is None
    assert amounts(wallets) == [PROMPT + 60 * STEP]


def test_a_stream_that_cannot_hold_more_is_told_what_is_missing():
    found, wallets = reserve(asked(stream=True), credit=PROMPT + 10 * STEP + 7)
    short = found.outgrown(STEP, NOON)
    assert isinstance(short, Short)
    assert (short.wanted, short.left) == (10 * STEP, 7)
    assert amounts(wallets) == [PROMPT + 10 * STEP]


def test_a_stream_of_a_model_without_a_price_or_at_its_most_holds_no_more():
    for target in (priced(), priced(STEP, output=10)):
        found, wallets = reserve(asked(stream=True), target, credit=10 * STEP)
        before = amounts(wallets)
        assert found.outgrown(10 * STEP, NOON) is None
        assert amounts(wallets) == before


def test_other_calls_do_not_grow():
    assert not reserve(asked(stream=True, max_tokens=5))[0].grows
    assert not reserve(asked())[0].grows


def test_an_estimate_has_no_more_output_than_was_held_for():
    found, _ = reserve(asked(stream=True, max_tokens=5, n=2))
    assert found.bounded(Usage(input=7, output=11, estimated=True)).output == 10
    assert found.bounded(Usage(output=3)).output == 3


def test_it_is_settled_once():
    found, wallets = reserve(asked(max_tokens=10), credit=500, team=500)
    assert found.draws(40, NOON) == Drawn(40, 0)
    assert found.settle(40, NOON) == Drawn(40, 0)
    assert found.settle(40, NOON) == Drawn()
    key, team = wallets
    assert (key.credit_left(NOON), team.budget_left(NOON)) == (460, 460)
    assert amounts(wallets) == [0, 0]
    assert not wallets.holds


def test_a_target_says_as_much_as_the_table_of_models_has():
    assert Priced.of(PLAIN.quote, "claude-opus-4-5").most == 64_000
    assert Priced.of(PLAIN.quote, "gpt-6-sol").most is None


def test_numbers_for_texts_have_no_output_to_limit_or_to_hold_for():
    one = asked()
    one.embeds = True
    before = one.body
    found, _ = reserve(one)
    assert (found.held, found.grows, one.body is before) == (PROMPT, False, True)
