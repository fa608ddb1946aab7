"""What may be spent with an account, and when it may be again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.money import Period, window
from proxy.routing.budget import Budget


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOON = at("2026-11-20T12:00")  # a Friday


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("day", "2026-11-20", "2026-11-21"),
        ("week", "2026-11-16", "2026-11-23"),
        ("month", "2026-11-01", "2026-12-01"),
    ],
)
def test_windows_are_utcs(period, start, end):
    assert window(period, NOON) == (at(start), at(end))
    assert window(period, at(end) - 1) == (at(start), at(end))
    assert window(period, at(end))[0] == at(end)


def test_months_have_their_lengths_and_all_time_has_none():
    assert window("month", at("2028-02-29")) == (at("2028-02-01"), at("2028-03-01"))
    assert window("month", at("2026-12-31T23:59")) == (at("2026-12-01"), at("2027-01-01"))
    assert window("total", NOON) == (0.0, None)


def test_a_budget_is_spent_when_it_is_reached_and_not_before():
    budget = Budget(Decimal("0.000010"), "day")
    sums = Budget(Decimal("0.0000109"), "day"), Budget(Decimal("12.345678"), "total")
    assert [one.limit for one in sums] == [10, 12_345_678]
    budget.add(9, NOON)
    assert not budget.is_spent(NOON)
    budget.add(1, NOON)
    assert budget.is_spent(NOON)
    assert budget.ends_in(NOON) == 12 * 3600


def test_a_new_window_begins_with_nothing_spent():
    budget = Budget(Decimal(1), "day")
    budget.add(5_000_000, NOON)
    assert budget.is_spent(at("2026-11-20T23:59:59"))
    assert not budget.is_spent(at("2026-11-21"))
    assert budget.spent(at("2026-11-21")) == 0


def test_a_total_is_never_free_again():
    budget = Budget(Decimal(1), "total")
    budget.add(1_000_000, NOON)
    assert budget.is_spent(NOON + 10**9)
    assert budget.ends_in(NOON) is None
    assert repr(budget) == "<Budget 1000000 of 1000000 micro-USD, total>"


moments = st.lists(
    st.tuples(st.integers(0, 40 * 86_400), st.integers(0, 10**9)), min_size=1, max_size=30
).map(sorted)


@given(st.sampled_from(get_args(Period)), moments, st.integers(1, 10**10))
def test_a_budget_is_the_sum_of_its_window(period, calls, limit):
    budget = Budget(Decimal(limit) / 1_000_000, period)
    for number, (seconds, micro) in enumerate(calls):
        wall = NOON + seconds
        budget.add(micro, wall)
        start, end = window(period, wall)
        assert start <= wall
        assert end is None or wall < end
        inside = sum(amount for when, amount in calls[: number + 1] if NOON + when >= start)
        assert budget.spent(wall) == inside
        assert budget.is_spent(wall) is (inside >= limit)
        left = budget.ends_in(wall)
        assert (
            left is None if end is None else 0 < (left or 0) <= timedelta(days=31).total_seconds()
        )


@given(st.sampled_from(("day", "week", "month")), st.integers(0, 4 * 10**9))
def test_one_window_follows_the_other_without_a_gap(period, wall):
    start, end = window(period, wall)
    assert end is not None
    assert window(period, end)[0] == end
    assert window(period, start) == (start, end)
    assert window(period, start - 1)[1] == start


def test_of_a_budget_half_of_what_is_left_is_another_processes():
    budget = Budget(Decimal("0.000100"), "day")
    budget.add(40, NOON)
    budget.share(NOON)
    budget.add(29, NOON)
    assert not budget.is_spent(NOON)
    budget.add(1, NOON)
    assert budget.is_spent(NOON)
    budget.alone()
    assert not budget.is_spent(NOON)
