"""Whose money a call is paid with, and that it is the same after a restart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from proxy.billing.credit import Hold, Lacking, Short, Terms
from proxy.billing.spent import Spent
from proxy.billing.wallets import Drawn, Wallets, terms_of
from proxy.config.model import Key
from tests.unit.billing.rows import row

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
FREE = Key(name="free", hash="f" * 64)
PREPAID = Key(name="k", hash="a" * 64, prepaid=True, credit_usd=Decimal("0.001"))
MEMBER = replace(PREPAID, team="red")


def left(wallets: Wallets, name: str = "key:k") -> int | None:
    wallet = wallets.get(name)
    assert wallet is not None
    return wallet.credit_left(NOON)


def held(wallets: Wallets, key: Key, amount: int) -> Hold:
    found = wallets.hold(wallets.of(key), amount, NOON)
    assert isinstance(found, Hold)
    return found


def test_a_key_without_terms_has_no_wallet():
    wallets = Wallets([FREE])
    assert wallets.of(FREE) == ()
    assert not wallets.uncounted
    assert list(wallets) == []


def test_terms_are_those_of_the_configuration():
    key = replace(
        PREPAID, allowance_usd=Decimal(5), budget_usd=Decimal("0.5"), budget_period="week"
    )
    assert terms_of(key) == Terms(prepaid=True, allowance=5_000_000, budget=500_000, period="week")
    assert terms_of(FREE) == Terms()


def test_a_key_pays_with_its_own_money_and_its_team_s():
    wallets = Wallets([MEMBER])
    assert [one.name for one in wallets.of(MEMBER)] == ["key:k"]
    wallets.set_terms("team:red", Terms(prepaid=True))
    wallets.pay_in("team:red", 700)
    assert [one.name for one in wallets.of(MEMBER)] == ["key:k", "team:red"]
    assert wallets.settle(held(wallets, MEMBER, 600), 500, NOON) == Drawn(500, 500)
    assert (left(wallets), left(wallets, "team:red")) == (500, 200)


def test_a_team_may_be_all_that_binds_a_key():
    wallets = Wallets([replace(FREE, team="red")])
    wallets.set_terms("team:red", Terms(budget=100, period="day"))
    one = held(wallets, replace(FREE, team="red"), 50)
    assert wallets.holds == {one}
    assert wallets.settle(one, 40, NOON) == Drawn(0, 0)
    assert not wallets.holds
    assert wallets.settle(one, 40, NOON) == Drawn()
    assert [one.spent(NOON) for one in wallets] == [40]


def test_what_is_not_covered_is_not_held():
    wallets = Wallets([PREPAID])
    found = wallets.hold(wallets.of(PREPAID), 1_001, NOON)
    assert isinstance(found, Short)
    assert (found.lacking, found.left) == (Lacking.CREDIT, 1_000)
    assert not wallets.holds


def test_credit_of_the_configuration_is_paid_in_once_however_often_it_is_read():
    wallets = Wallets([PREPAID])
    wallets.settle(held(wallets, PREPAID, 400), 400, NOON)
    wallets.adopt([PREPAID])
    assert left(wallets) == 600
    wallets.adopt([replace(PREPAID, credit_usd=Decimal("0.003"))])
    assert left(wallets) == 2_600
    again = Wallets([PREPAID])
    again.count({"key:k": Spent(day=400, week=400, month=400, total=400, drawn=400, month_drawn=400)}, NOON)  # fmt: skip
    assert left(again) == 600


def test_a_key_that_leaves_the_configuration_is_free_and_pays_again_when_it_is_back():
    wallets = Wallets([PREPAID])
    one = held(wallets, PREPAID, 400)
    wallets.adopt([])
    assert wallets.of(PREPAID) == ()
    wallets.settle(one, 400, NOON)
    wallets.adopt([PREPAID])
    assert wallets.uncounted
    wallets.count({"key:k": Spent(drawn=400)}, NOON)
    assert left(wallets) == 600


def test_what_is_paid_in_waits_for_the_wallet():
    wallets = Wallets()
    wallets.pay_in("key:k", 700)
    wallets.pay_in("key:k", 0)
    assert wallets.get("key:k") is None
    wallets.set_terms("key:k", Terms(prepaid=True))
    assert left(wallets) == 700
    wallets.pay_in("key:k", -200)
    assert left(wallets) == 500


def test_a_wallet_that_is_dropped_is_forgotten_and_its_holds_end():
    wallets = Wallets()
    wallets.set_terms("key:k", Terms(prepaid=True))
    wallets.pay_in("key:k", 700)
    one = held(wallets, PREPAID, 700)
    wallets.drop("key:k")
    wallets.drop("team:never")
    assert wallets.of(PREPAID) == ()
    wallets.settle(one, 5, NOON)
    assert not wallets.holds
    wallets.set_terms("key:k", Terms(prepaid=True))
    assert left(wallets) == 0


def test_only_new_terms_have_to_be_counted():
    wallets = Wallets([PREPAID])
    assert wallets.uncounted
    wallets.count({}, NOON)
    assert not wallets.uncounted
    wallets.set_terms("key:k", terms_of(PREPAID))
    wallets.set_terms("key:other", Terms())
    wallets.pay_in("key:k", 5)
    assert not wallets.uncounted
    wallets.set_terms("key:k", Terms(budget=5))
    assert wallets.uncounted


def test_what_is_counted_is_the_credit_the_allowance_and_the_budget_of_its_window():
    wallets = Wallets()
    wallets.pay_in("key:k", 1_000)
    wallets.set_terms("key:k", Terms(prepaid=True, allowance=300, budget=5_000, period="week"))
    wallets.count({"key:k": Spent(day=1, week=20, month=150, total=900, drawn=700, month_drawn=50)}, NOON)  # fmt: skip
    (wallet,) = wallets.of_keys()
    # 100 of the month's 150 were the allowance's.
    assert wallet.credit == 300
    assert wallet.credit_left(NOON) == 500
    assert wallet.budget_left(NOON) == 4_980


# Two processes that settle.


def test_each_of_two_processes_leaves_half_of_what_is_left_to_the_other():
    old, new = Wallets([PREPAID]), Wallets([PREPAID])
    held(old, PREPAID, 200)
    shared = old.held()
    assert shared == {"key:k": 200}
    old.share({}, NOON)
    new.share(shared, NOON)
    for one in (old, new):
        found = one.hold(one.of(PREPAID), 401, NOON)
        assert found == Short(Lacking.CREDIT, "key:k", 401, 400)
        assert left(one) == 800, "what is told is all that is left"
        held(one, PREPAID, 400)
        assert isinstance(one.hold(one.of(PREPAID), 1, NOON), Short)


def test_the_halves_do_not_grow_with_what_is_spent():
    wallets = Wallets([PREPAID])
    wallets.share({}, NOON)
    wallets.settle(held(wallets, PREPAID, 300), 300, NOON)
    found = wallets.hold(wallets.of(PREPAID), 201, NOON)
    assert found == Short(Lacking.CREDIT, "key:k", 201, 200)


def test_half_of_a_budget_too_and_nothing_of_one_that_is_overdrawn():
    wallets = Wallets()
    wallets.set_terms("key:k", Terms(budget=101))
    wallets.share({}, NOON)
    assert isinstance(wallets.hold(wallets.of(PREPAID), 51, NOON), Short)
    wallets.settle(held(wallets, PREPAID, 50), 150, NOON)
    wallets.alone()
    wallets.share({}, NOON)
    found = wallets.hold(wallets.of(PREPAID), 1, NOON)
    assert isinstance(found, Short)
    assert found.left == -49, "what is missing is not halved"


def test_who_is_alone_again_has_everything_that_the_other_one_has_not_spent():
    wallets = Wallets([PREPAID])
    wallets.share({"key:k": 200}, NOON)
    wallets.hear(row(key_name="k", price_micro=150, key_drawn_micro=150))
    wallets.alone()
    assert left(wallets) == 850
    assert isinstance(wallets.hold(wallets.of(PREPAID), 850, NOON), Hold)


def test_what_another_process_settled_is_charged_as_it_says():
    wallets = Wallets([MEMBER])
    wallets.set_terms("key:k", Terms(prepaid=True, allowance=100))
    wallets.set_terms("team:red", Terms(budget=2_000))
    wallets.hear(row(started=int(NOON * 1e6), key_name="k", team="red", price_micro=150, key_drawn_micro=90))  # fmt: skip
    assert left(wallets) == 40 + 910
    team = wallets.get("team:red")
    assert team is not None
    assert team.budget_left(NOON) == 1_850


def test_nothing_is_charged_to_who_has_no_wallet():
    wallets = Wallets([PREPAID])
    wallets.hear(row(key_name="other", team="red"))
    wallets.hear(row(key_name="other"))
    assert left(wallets) == 1_000
