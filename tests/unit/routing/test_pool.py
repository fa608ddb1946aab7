"""Which account takes the next call."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import loads
from proxy.config.model import Target
from proxy.routing.pool import Pool, in_turn

PROVIDER = '[providers.p]\ndialects = ["openai-chat"]\nbase_url = "http://p.test"\nauth = "none"\n'


def pool(*accounts: str) -> Pool:
    tables = "".join(f'[[accounts]]\nprovider = "p"\napi_key = "x"\n{one}\n' for one in accounts)
    return Pool(loads(PROVIDER + tables, Path("c.toml"), {"HOME": "/root"}))


def target(model: str = "m", provider: str = "p", order: int = 1, weight: int = 1) -> Target:
    return Target(provider=provider, model=model, order=order, weight=weight)


def pick(of: Pool, *tried: str, model: str = "m") -> str | None:
    seat = of.pick(target(model), tried)
    return seat.account.name if seat else None


def test_accounts_that_were_tried_are_passed_over():
    two = pool('name = "a"', 'name = "b"')
    assert len(two) == 2
    assert {pick(two), pick(two, "a")} == {"a", "b"}
    assert pick(two, "a", "b") is None


def test_a_lower_priority_number_comes_first():
    ranked = pool('name = "a"\npriority = 1', 'name = "b"\npriority = 0')
    assert pick(ranked) == "b"
    assert pick(ranked, "b") == "a"


def test_calls_spread_by_weight():
    uneven = pool('name = "a"\nweight = 3', 'name = "b"')
    taken: Counter[str] = Counter()
    for _ in range(8):
        seat = uneven.pick(target(), ())
        assert seat is not None
        seat.in_flight += 1
        taken[seat.account.name] += 1
    assert taken == {"a": 6, "b": 2}


def test_a_full_account_is_passed_over():
    narrow = pool('name = "a"\nconcurrency = 1')
    seat = narrow.pick(target(), ())
    assert seat is not None
    seat.in_flight += 1
    assert pick(narrow) is None
    seat.in_flight -= 1
    assert pick(narrow) == "a"


def test_an_account_serves_what_it_lists():
    split = pool('name = "a"\nmodels = ["x-*"]', 'name = "b"\nmodels = ["y", "z/*"]')
    assert pick(split, model="x-1") == "a"
    assert pick(split, model="z/1") == "b"
    assert pick(split, model="w") is None


def test_a_provider_without_accounts_has_nobody():
    assert pool('name = "a"').pick(target(provider="q"), ()) is None


# Targets.


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9)), min_size=1, max_size=6),
    st.floats(0, 1, exclude_max=True),
)
def test_every_target_has_its_turn_and_a_lower_order_comes_first(shapes, draw):
    targets = [
        target(f"m{n}", order=order, weight=weight) for n, (order, weight) in enumerate(shapes)
    ]
    ordered = in_turn(targets, draw)
    assert sorted(ordered, key=lambda one: one.model) == targets
    assert [one.order for one in ordered] == sorted(one.order for one in targets)
    assert in_turn(targets, draw) == ordered


@pytest.mark.parametrize(("draw", "first"), [(0.0, "a"), (0.74, "a"), (0.76, "b"), (0.999, "b")])
def test_equal_orders_share_by_weight(draw, first):
    assert in_turn([target("a", weight=3), target("b", weight=1)], draw)[0].model == first
