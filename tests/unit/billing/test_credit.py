"""Nobody spends the same money twice, and nobody's money is held for ever."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from proxy.billing.credit import Hold, Lacking, Short, Terms, Wallet, hold
from proxy.errors import Kind

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
DAY = 86_400.0


def prepaid(credit: int = 0, allowance: int = 0, name: str = "key:k") -> Wallet:
    wallet = Wallet(name, Terms(prepaid=True, allowance=allowance))
    wallet.pay_in(credit)
    return wallet


def budgeted(budget: int, period="day", name: str = "key:k") -> Wallet:
    return Wallet(name, Terms(budget=budget, period=period))


def held(amount: int, *wallets: Wallet, wall: float = NOON) -> Hold:
    found = hold(wallets, amount, wall)
    assert isinstance(found, Hold)
    return found


def short(amount: int, *wallets: Wallet, wall: float = NOON) -> Short:
    found = hold(wallets, amount, wall)
    assert isinstance(found, Short)
    return found


def test_what_is_held_is_not_there_for_anybody_else():
    wallet = prepaid(100)
    first = held(60, wallet)
    assert wallet.credit_left(NOON) == 40
    assert short(41, wallet).left == 40
    first.settle(25, NOON)
    assert (wallet.credit, wallet.held, wallet.credit_left(NOON)) == (75, 0, 75)


def test_a_hold_is_settled_once():
    wallet = prepaid(100)
    one = held(60, wallet)
    one.settle(60, NOON)
    one.settle(60, NOON)
    assert (wallet.credit, wallet.held) == (40, 0)


def test_a_call_that_came_to_nothing_costs_nothing():
    wallet = prepaid(100)
    held(60, wallet).settle(0, NOON)
    assert (wallet.credit, wallet.held) == (100, 0)


def test_a_call_may_cost_more_than_was_held_and_nothing_goes_before_it_is_made_good():
    wallet = prepaid(10)
    held(10, wallet).settle(15, NOON)
    assert wallet.credit_left(NOON) == -5
    assert short(0, wallet).lacking is Lacking.CREDIT
    wallet.pay_in(5)
    assert short(0, wallet).left == 0
    wallet.pay_in(1)
    held(1, wallet)


def test_the_allowance_is_spent_first_and_renews_on_the_first_of_the_month():
    wallet = prepaid(100, allowance=30)
    held(40, wallet).settle(40, NOON)
    assert (wallet.credit, wallet.credit_left(NOON)) == (90, 90)
    assert wallet.credit_left(DECEMBER - 1) == 90
    assert wallet.credit_left(DECEMBER) == 120


def test_what_is_left_of_an_allowance_ends_with_its_month():
    wallet = prepaid(allowance=30)
    held(10, wallet).settle(10, NOON)
    assert wallet.credit_left(DECEMBER) == 30


def test_a_call_belongs_to_the_month_in_which_it_began():
    wallet = prepaid(100, allowance=30)
    wallet.adopt(Terms(prepaid=True, allowance=30, budget=1_000, period="month"))
    one = held(40, wallet)
    assert wallet.credit_left(DECEMBER) == 90
    # That month's allowance has ended, and December's is not for it.
    assert one.settle(10, NOON) == (10,)
    assert (wallet.credit, wallet.credit_left(DECEMBER), wallet.spent(DECEMBER)) == (90, 120, 0)


def test_who_settles_is_told_what_came_out_of_the_credit():
    key, team = prepaid(100, allowance=30), budgeted(50, name="team:t")
    assert key.draws(40, NOON) == 10
    one = held(40, key, team)
    assert one.settle(40, NOON) == (10, 0)
    assert one.settle(40, NOON) == ()


def test_a_wallet_goes_on_from_what_was_written_down():
    wallet = Wallet("key:k", Terms(prepaid=True, allowance=30, budget=1_000, period="day"))
    wallet.restore(70, 20, 400, NOON)
    assert (wallet.credit_left(NOON), wallet.budget_left(NOON)) == (80, 600)
    assert (wallet.credit_left(DECEMBER), wallet.budget_left(NOON + DAY)) == (100, 1_000)


def test_a_budget_begins_anew_with_its_period():
    wallet = budgeted(100)
    held(100, wallet).settle(100, NOON)
    refused = short(1, wallet)
    assert (refused.lacking, refused.retry_after) == (Lacking.BUDGET, DAY / 2)
    assert wallet.renews_in(NOON) == DAY / 2
    held(100, wallet, wall=NOON + DAY / 2)


def test_a_budget_in_all_never_begins_anew():
    wallet = budgeted(100, "total")
    held(100, wallet).settle(100, NOON)
    assert short(1, wallet, wall=NOON + 1000 * DAY).retry_after is None
    assert wallet.renews_in(NOON) is None


def test_a_wallet_without_terms_may_spend_anything_and_its_sum_is_known():
    wallet = Wallet("key:k", Terms())
    assert not wallet.terms.bound
    held(10**12, wallet).settle(7, NOON)
    assert (wallet.credit_left(NOON), wallet.budget_left(NOON), wallet.renews_in(NOON)) == (
        None,
    ) * 3
    assert (wallet.spent(NOON), wallet.credit) == (7, 0)


def test_a_key_s_call_is_held_in_all_its_wallets_or_in_none():
    key, team = prepaid(100), budgeted(50, name="team:t")
    assert short(60, key, team).wallet == "team:t"
    assert (key.held, team.held) == (0, 0)
    held(40, key, team).settle(30, NOON)
    assert (key.credit, team.spent(NOON)) == (70, 30)


def test_a_hold_grows_in_all_wallets_or_in_none():
    key, team = prepaid(100), budgeted(50, name="team:t")
    one = held(40, key, team)
    refused = one.grow(20, NOON)
    assert refused is not None
    assert refused.wallet == "team:t"
    assert (key.held, team.held, one.amount) == (40, 40, 40)
    assert one.grow(10, NOON) is None
    assert (key.held, team.held, one.amount) == (50, 50, 50)
    one.settle(45, NOON)
    assert (key.held, team.held, key.credit, team.spent(NOON)) == (0, 0, 55, 45)


def test_other_terms_do_not_forget_what_was_spent():
    wallet = budgeted(100)
    held(60, wallet).settle(60, NOON)
    wallet.adopt(Terms(budget=50, period="day"))
    assert wallet.budget_left(NOON) == -10
    wallet.adopt(Terms(prepaid=True, budget=50, period="month"))
    assert wallet.budget_left(NOON) == 50
    assert wallet.credit_left(NOON) == 0
    wallet.pay_in(5)
    assert wallet.credit_left(NOON) == 5


@pytest.mark.parametrize(
    ("wallet", "kind", "told"),
    [
        (prepaid(1_500), Kind.NO_CREDIT, "this key has $0.0015 left"),
        (prepaid(-5, name="team:t"), Kind.NO_CREDIT, "this team has $0 left"),
        (budgeted(2_000_000), Kind.BUDGET, "$2 is left of this key's budget. It begins anew"),
        (budgeted(5, "total", "team:t"), Kind.BUDGET, "$0.000005 is left of this team's budget."),
    ],
)
def test_a_client_is_told_what_is_missing(wallet, kind, told):
    error = short(3_000_000, wallet).error()
    assert error.kind is kind
    assert error.message.startswith("This request may cost up to $3")
    assert told in error.message
    assert error.retry_after == (DAY / 2 if "anew" in error.message else None)


def test_what_is_there_shows_in_the_log():
    wallet = prepaid(5)
    one = held(3, wallet)
    assert repr(wallet) == "<Wallet key:k credit 5, 3 held>"
    assert repr(one) == "<Hold 3 micro-USD of 1 wallets>"
    one.settle(1, NOON)
    assert repr(one) == "<Hold 3 micro-USD of 1 wallets, settled>"


class Money(RuleBasedStateMachine):
    """Two keys of one team, beside a plain account of what was paid in and what calls cost."""

    calls = Bundle("calls")

    def __init__(self):
        super().__init__()
        self.wall = NOON
        self.keys = (prepaid(name="key:a"), prepaid(name="key:b"))
        self.team = prepaid(name="team:t")
        self.paid = {wallet.name: 0 for wallet in (*self.keys, self.team)}
        self.cost = dict.fromkeys(self.paid, 0)
        self.excess = dict.fromkeys(self.paid, 0)
        self.open = 0

    @rule(at=st.integers(0, 2), amount=st.integers(0, 500))
    def pay_in(self, at, amount):
        wallet = (*self.keys, self.team)[at]
        wallet.pay_in(amount)
        self.paid[wallet.name] += amount

    @rule(target=calls, at=st.integers(0, 1), amount=st.integers(0, 300))
    def begin(self, at, amount):
        wallets = (self.keys[at], self.team)
        before = [wallet.held for wallet in wallets]
        found = hold(wallets, amount, self.wall)
        if isinstance(found, Short):
            assert [wallet.held for wallet in wallets] == before
            return None
        self.open += amount
        return found, wallets

    @rule(call=calls, more=st.integers(0, 200))
    def grow(self, call, more):
        if call is not None and call[0]._open and call[0].grow(more, self.wall) is None:
            self.open += more

    @rule(call=consumes(calls), share=st.integers(0, 12))
    def end(self, call, share):
        if call is None:
            return
        one, wallets = call
        price = one.amount * share // 10
        one.settle(price, self.wall)
        self.open -= one.amount
        for wallet in wallets:
            self.cost[wallet.name] += price
            self.excess[wallet.name] += max(price - one.amount, 0)

    @rule(seconds=st.floats(0, 40 * DAY))
    def wait(self, seconds):
        self.wall += seconds

    @invariant()
    def every_micro_dollar_is_somewhere(self):
        for wallet in (*self.keys, self.team):
            assert wallet.credit == self.paid[wallet.name] - self.cost[wallet.name]

    @invariant()
    def nothing_is_held_but_for_what_runs(self):
        assert self.team.held == sum(wallet.held for wallet in self.keys) == self.open

    @invariant()
    def nobody_overspends_but_by_what_estimates_were_wrong(self):
        for wallet in (*self.keys, self.team):
            assert wallet.credit - wallet.held >= -self.excess[wallet.name]


TestMoney = Money.TestCase
