"""Which account takes the next call."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import loads
from proxy.config.model import Target
from proxy.errors import GatewayError, Kind
from proxy.routing import pool as pool_module
from proxy.routing import seat as seat_module
from proxy.routing.cooldown import Cause, Evidence, State
from proxy.routing.limits import Missing
from proxy.routing.pool import Lease, Outlook, Pool, in_turn
from proxy.routing.ratelimits import Reading, Remaining
from proxy.routing.seat import AccountState, Seat, Standing, Why

PROVIDER = '[providers.p]\ndialects = ["openai-chat"]\nbase_url = "http://p.test"\nauth = "none"\n'
WALL = 1_792_000_000.0


def pool(*accounts: str) -> Pool:
    tables = "".join(f'[[accounts]]\nprovider = "p"\napi_key = "x"\n{one}\n' for one in accounts)
    return Pool(loads(PROVIDER + tables, Path("c.toml"), {"HOME": "/root"}))


def pair() -> Pool:
    return pool('name = "a"', 'name = "b"')


def target(model: str = "m", provider: str = "p", order: int = 1, weight: int = 1) -> Target:
    return Target(provider=provider, model=model, order=order, weight=weight)


def taken(of: Pool, *tried: str, model: str = "m", now: float = 0.0, tokens: int = 0) -> Lease:
    lease = of.pick(target(model), tried, now, tokens=tokens)
    assert lease is not None
    return lease


def pick(of: Pool, *tried: str, model: str = "m", now: float = 0.0, tokens: int = 0) -> str | None:
    """Return who would take a call, which is given back at once without a word."""
    lease = of.pick(target(model), tried, now, tokens=tokens)
    if lease is None:
        return None
    lease.release(now, 0)
    return lease.seat.name


def seat(of: Pool, name: str) -> Seat:
    found = of.seat(name)
    assert found is not None
    return found


def fail(
    of: Pool, name: str, kind: Kind, now: float = 0.0, wait: int | None = None, model: str = "m"
) -> None:
    """Let a call to the account ``name`` fail."""
    others = [one.name for one in of.accounts(now) if one.name != name]
    lease = taken(of, *others, model=model, now=now)
    assert lease.seat.name == name
    lease.fail(GatewayError(kind, retry_after=wait), now, WALL)
    lease.release(now)


# Selection.


def test_accounts_that_were_tried_are_passed_over():
    two = pair()
    assert len(two) == 2
    assert {pick(two), pick(two, "a")} == {"a", "b"}
    assert pick(two, "a", "b") is None


def test_a_lower_priority_number_comes_first():
    ranked = pool('name = "a"\npriority = 1', 'name = "b"\npriority = 0')
    assert pick(ranked) == "b"
    assert pick(ranked, "b") == "a"


def test_the_next_priority_is_used_when_the_one_before_has_nobody():
    ranked = pool('name = "a"\nconcurrency = 1', 'name = "b"\npriority = 1')
    held = taken(ranked)
    assert pick(ranked) == "b"
    held.release(0.0)
    assert pick(ranked) == "a"


def test_calls_that_run_spread_by_weight():
    uneven = pool('name = "a"\nweight = 3', 'name = "b"')
    assert Counter(taken(uneven).seat.name for _ in range(8)) == {"a": 6, "b": 2}


def test_calls_one_after_another_spread_by_weight_too():
    uneven = pool('name = "a"\nweight = 3', 'name = "b"')
    assert Counter(pick(uneven) for _ in range(8)) == {"a": 6, "b": 2}


def test_whoever_was_away_does_not_get_the_turns_that_it_missed():
    two = pair()
    seat(two, "a").enabled = False
    for _ in range(100):
        pick(two)
    seat(two, "a").enabled = True
    assert Counter(pick(two) for _ in range(10))["a"] <= 6


def test_a_full_account_is_passed_over():
    narrow = pool('name = "a"\nconcurrency = 1')
    held = taken(narrow)
    assert seat(narrow, "a").in_flight == 1
    assert repr(held.seat) == "<Seat a 1 in flight, 0 cooling>"
    assert pick(narrow) is None
    held.release(0.0)
    held.release(0.0)
    assert seat(narrow, "a").in_flight == 0
    assert pick(narrow) == "a"


def test_an_account_serves_what_it_lists():
    split = pool('name = "a"\nmodels = ["x-*"]', 'name = "b"\nmodels = ["y", "z/*"]')
    assert pick(split, model="x-1") == "a"
    assert pick(split, model="z/1") == "b"
    assert pick(split, model="w") is None


def test_a_provider_without_accounts_has_nobody():
    assert pool('name = "a"').pick(target(provider="q"), (), 0.0) is None


def test_endless_names_of_models_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(pool_module, "_MAX_TARGETS", 2)
    one = pool('name = "a"')
    assert [pick(one, model=f"m{number}") for number in range(4)] == ["a"] * 4
    assert len(one._serving) == 2


def test_a_conversation_stays_with_its_account():
    many = pool(*(f'name = "{name}"' for name in "abcd"))
    session = b"s" * 16
    first = many.pick(target(), (), 0.0, session=session)
    assert first is not None
    homes = set()
    for now in range(10):
        lease = many.pick(target(), (), float(now), session=session)
        assert lease is not None
        homes.add(lease.seat.name)
    assert homes == {first.seat.name}
    moved = many.pick(target(), homes, 10.0, session=session)
    assert moved is not None
    assert moved.seat.name not in homes


def test_priority_goes_before_affinity():
    ranked = pool('name = "a"\nconcurrency = 1', 'name = "b"\npriority = 1')
    session = b"s" * 16
    held = ranked.pick(target(), (), 0.0)
    moved = ranked.pick(target(), (), 0.0, session=session)
    assert held is not None
    assert moved is not None
    assert moved.seat.name == "b"
    held.release(0.0)
    back = ranked.pick(target(), (), 0.0, session=session)
    assert back is not None
    assert back.seat.name == "a"


def test_where_there_is_no_choice_nothing_is_remembered():
    one = pool('name = "a"')
    assert one.pick(target(), (), 0.0, session=b"s") is not None
    assert len(one.affinity) == 0


# Limits.


def test_an_account_takes_as_many_requests_a_minute_as_it_may():
    slow = pool('name = "a"\nrpm = 2')
    assert [pick(slow), pick(slow), pick(slow)] == ["a", "a", None]
    assert slow.outlook([target()], 0.0).at == 30.0
    assert pick(slow, now=30.0) == "a"


def test_tokens_are_reserved_by_estimate_and_settled_by_usage():
    small = pool('name = "a"\ntpm = 100')
    lease = taken(small, tokens=80)
    assert pick(small, tokens=30) is None
    lease.release(0.0, 10)
    assert pick(small, tokens=90) == "a"
    taken(small, tokens=80).release(0.0)
    assert pick(small, tokens=30) is None


def test_what_a_provider_says_is_empty_is_not_asked_for():
    two = pair()
    lease = taken(two)
    spent = {b"x-ratelimit-remaining-requests": b"0", b"x-ratelimit-reset-requests": b"7s"}
    lease.learn(spent, 0.0, WALL)
    lease.learn({}, 0.0, WALL)
    lease.learn({b"x-ratelimit-remaining-requests": b"5"}, 1.0, WALL)
    lease.release(0.0)
    other = "b" if lease.seat.name == "a" else "a"
    assert {pick(two, now=6.9) for _ in range(4)} == {other}
    assert {pick(two, now=7.0) for _ in range(4)} == {"a", "b"}
    assert {pick(two, model="n") for _ in range(4)} == {"a", "b"}
    assert lease.seat.told == Reading(Remaining(5, None), None)


def test_a_provider_whose_reset_is_far_away_is_asked_again_within_the_cap():
    one = pool('name = "a"')
    day = {b"x-ratelimit-remaining-tokens": b"0", b"x-ratelimit-reset-tokens": b"9h"}
    taken(one).learn(day, 0.0, WALL)
    assert one.outlook([target()], 0.0).at == 300.0
    taken(one, model="n").learn(
        {b"x-ratelimit-remaining": b"0", b"x-ratelimit-reset": b"1"}, 0.0, WALL
    )
    assert one.outlook([target("n")], 0.0).at == 1.0
    assert one.outlook([target()], 0.0).limited


def test_empty_models_are_forgotten_when_they_are_whole_again_or_too_many(monkeypatch):
    monkeypatch.setattr(seat_module, "_MAX_MODELS", 2)
    one = pool('name = "a"')
    empty = {b"x-ratelimit-remaining": b"0", b"x-ratelimit-reset": b"10"}
    for number in range(4):
        taken(one, model=f"m{number}").learn(empty, 0.0, WALL)
    assert list(seat(one, "a").empty_until) == ["m2", "m3"]
    taken(one, model="m4").learn(empty, 20.0, WALL)
    assert list(seat(one, "a").empty_until) == ["m4"]
    taken(one, model="m5", now=20.0).learn(empty, 20.0, WALL)
    taken(one, model="m6", now=20.0).seat.learn("m4", Reading(Remaining(0, 1.0), None), 21.0, 300.0)
    assert seat(one, "a").empty_until["m4"] == 30.0
    full = Reading(Remaining(1, None), None)
    seat(one, "a").learn("m4", full, 29.0, 300.0)
    assert "m4" in seat(one, "a").empty_until
    seat(one, "a").learn("m4", full, 30.0, 300.0)
    assert "m4" not in seat(one, "a").empty_until


# Cooldown.


def test_an_account_that_is_rate_limited_rests_as_long_as_it_says():
    two = pair()
    fail(two, "a", Kind.RATE_LIMIT, wait=7)
    assert {pick(two, now=6.0) for _ in range(4)} == {"b"}
    assert {pick(two, now=6.0, model="n") for _ in range(4)} == {"a", "b"}


def test_a_dead_key_benches_the_account_and_a_forbidden_model_only_that():
    two = pair()
    fail(two, "a", Kind.UPSTREAM_AUTH)
    assert {pick(two, model="n") for _ in range(4)} == {"b"}
    fail(two, "b", Kind.UPSTREAM_FORBIDDEN)
    assert pick(two) is None
    assert pick(two, model="n") == "b"


@pytest.mark.parametrize(
    "kind",
    [
        Kind.INVALID_REQUEST, Kind.CONTEXT, Kind.CONTENT_POLICY, Kind.NOT_FOUND, Kind.TOO_LARGE,
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_request_benches_nobody(kind):
    two = pair()
    for _ in range(20):
        fail(two, "a", kind)
    assert not seat(two, "a").cooldowns
    assert {pick(two), pick(two)} == {"a", "b"}


@pytest.mark.parametrize(
    "kind", [Kind.OVERLOADED, Kind.SERVER, Kind.UNREACHABLE, Kind.TIMEOUT_FIRST_CONTENT]
)
def test_the_last_available_account_is_not_benched_for_being_ill(kind):
    two = pair()
    fail(two, "a", kind)
    fail(two, "b", kind)
    assert pick(two) == "b"
    assert pick(two, "b") is None


def test_the_last_account_is_the_targets_not_the_pools():
    split = pool('name = "a"\nmodels = ["x"]', 'name = "b"\nmodels = ["y"]')
    fail(split, "a", Kind.OVERLOADED, model="x")
    assert pick(split, model="x") == "a"


def test_the_last_account_rests_when_it_says_so_itself():
    one = pool('name = "a"')
    fail(one, "a", Kind.RATE_LIMIT, wait=7)
    assert pick(one) is None
    assert one.outlook([target()], 1.0).at == 7.0


def test_a_half_open_account_gets_one_first_try_and_its_success_closes():
    two = pair()
    fail(two, "a", Kind.RATE_LIMIT, wait=5)
    canary = taken(two, now=5.0)
    assert (canary.seat.name, canary.is_canary) == ("a", True)
    assert {pick(two, now=5.0) for _ in range(9)} == {"b"}
    canary.succeed()
    canary.release(6.0)
    assert {pick(two, now=6.0) for _ in range(9)} == {"a", "b"}
    assert seat(two, "a").why(6.0) == ()


def test_a_canary_that_fails_backs_off():
    two = pair()
    fail(two, "a", Kind.RATE_LIMIT, wait=5)
    canary = taken(two, now=5.0)
    bench = canary.fail(GatewayError(Kind.RATE_LIMIT, retry_after=5), 6.0, WALL)
    canary.release(6.0)
    assert bench is not None
    assert (bench.failures, bench.until, bench.since) == (2, 16.0, 0.0)
    assert {pick(two, now=15.9) for _ in range(4)} == {"b"}
    assert pick(two, now=16.0) == "a"


def test_an_outage_is_counted_when_it_begins_and_with_each_canary_that_fails():
    two = pair()
    calls = [taken(two, "b", model="m") for _ in range(3)]
    for one in calls:
        one.fail(GatewayError(Kind.RATE_LIMIT, retry_after=5), 0.0, WALL)
        one.release(0.0)
    fail(two, "a", Kind.UPSTREAM_AUTH, now=0.0, model="another")
    assert seat(two, "a").benched == {Cause.BURST: 1, Cause.AUTH: 1}
    canary = taken(two, now=30.0)
    assert canary.is_canary
    canary.fail(GatewayError(Kind.UPSTREAM_AUTH), 31.0, WALL)
    canary.release(31.0)
    assert seat(two, "a").benched == {Cause.BURST: 1, Cause.AUTH: 2}


def test_a_canary_that_proves_nothing_is_followed_by_another_after_the_interval():
    two = pair()
    fail(two, "a", Kind.RATE_LIMIT, wait=5)
    gone = taken(two, now=5.0)
    gone.release(6.0)
    assert {pick(two, now=34.9) for _ in range(4)} == {"b"}
    asked_wrongly = taken(two, now=35.0)
    assert asked_wrongly.is_canary
    assert asked_wrongly.fail(GatewayError(Kind.INVALID_REQUEST), 35.0, WALL) is None
    assert not asked_wrongly.is_canary
    assert pick(two, now=64.9) == "b"
    assert pick(two, now=65.0) == "a"


def test_whoever_has_failed_once_is_no_canary_while_somebody_is_available():
    two = pool('name = "a"', 'name = "b"', 'name = "c"')
    fail(two, "a", Kind.RATE_LIMIT, wait=5)
    assert not taken(two, "b", now=5.0).is_canary
    assert taken(two, "b", "c", now=5.0).is_canary


def test_an_account_behind_the_available_ones_is_not_probed():
    ranked = pool('name = "a"\nconcurrency = 1', 'name = "b"\npriority = 1')
    fail(ranked, "b", Kind.RATE_LIMIT, wait=5)
    held = taken(ranked, now=6.0)
    assert held.seat.name == "a"
    assert taken(ranked, now=6.0).is_canary


def test_only_one_half_open_account_is_probed_by_a_call():
    three = pool('name = "a"', 'name = "b"', 'name = "c"')
    fail(three, "a", Kind.RATE_LIMIT, wait=5)
    fail(three, "b", Kind.RATE_LIMIT, wait=5)
    assert [taken(three, now=5.0).seat.name for _ in range(3)] == ["a", "b", "c"]


def test_a_canary_of_account_and_model_closes_both():
    one = pool('name = "a"')
    fail(one, "a", Kind.RATE_LIMIT, wait=5)
    running = seat(one, "a")
    cooldown = running.cooldown(None, one.times)
    cooldown.fail(Cause.AUTH, Evidence(Kind.UPSTREAM_AUTH, 401, "", None, ""), 0.0, canary=False)
    assert pick(one, now=5.0) is None
    canary = taken(one, now=30.0)
    canary.succeed()
    assert running.cooldowns == {}
    canary.release(30.0)


def test_a_canary_that_fails_on_its_model_says_nothing_about_the_account():
    one = pool('name = "a"')
    fail(one, "a", Kind.UPSTREAM_AUTH)
    canary = taken(one, now=30.0)
    canary.fail(GatewayError(Kind.RATE_LIMIT, retry_after=1), 30.0, WALL)
    canary.release(30.0)
    account, model = one.why("a", 30.0)
    assert (account.model, account.state, account.failures) == (None, State.HALF_OPEN, 1)
    assert (model.model, model.state, model.failures) == ("m", State.OPEN, 1)


def test_a_call_that_began_before_the_bench_does_not_close_it():
    one = pool('name = "a"')
    early = taken(one)
    fail(one, "a", Kind.RATE_LIMIT, wait=5)
    early.succeed()
    early.release(1.0)
    assert pick(one, now=1.0) is None


def test_an_operator_clears_while_a_canary_is_out():
    one = pool('name = "a"')
    fail(one, "a", Kind.RATE_LIMIT, wait=5)
    canary = taken(one, now=5.0)
    seat(one, "a").clear()
    assert pick(one, now=5.0) == "a"
    fail(one, "a", Kind.RATE_LIMIT, wait=9, now=6.0)
    canary.succeed()
    assert pick(one, now=7.0) is None
    canary.release(7.0)


def test_a_canary_that_was_cleared_and_fails_is_a_first_failure():
    one = pool('name = "a"')
    fail(one, "a", Kind.RATE_LIMIT, wait=5)
    canary = taken(one, now=5.0)
    seat(one, "a").clear()
    bench = canary.fail(GatewayError(Kind.RATE_LIMIT, retry_after=5), 6.0, WALL)
    assert bench is not None
    assert (bench.failures, bench.since) == (1, 6.0)


def test_troubles_of_endless_models_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(seat_module, "_MAX_MODELS", 3)
    one = pool('name = "a"')
    for number in range(5):
        fail(one, "a", Kind.RATE_LIMIT, wait=10 - number, model=f"m{number}")
    fail(one, "a", Kind.UPSTREAM_AUTH, model="x")
    fail(one, "a", Kind.RATE_LIMIT, wait=60, model="y", now=30.0)
    assert [why.model for why in one.why("a", 30.0)] == [None, "m0", "y"]


# Retries.


def test_a_retry_is_over_when_content_has_come():
    many = pool(*(f'name = "{name}"' for name in "abcd"))
    leases = [taken(many, "a") for _ in range(3)]
    assert pick(many, "a") is None
    assert pick(many) is not None
    assert leases[0].succeed()
    assert not leases[0].succeed()
    assert pick(many, "a") is not None
    for lease in leases:
        lease.release(0.0)
    assert (many.retries.running, many.retries.retrying) == (0, 0)


def test_whoever_has_failed_waits_for_somebody_else():
    two = pair()
    fail(two, "a", Kind.RATE_LIMIT, wait=4)
    fail(two, "b", Kind.RATE_LIMIT, wait=9)
    assert two.outlook([target()], 1.0, tried={"a"}) == Outlook(9.0, limited=True)
    assert two.outlook([target()], 1.0, tried={"a", "b"}) == Outlook(None, limited=False)


def test_a_retry_for_which_there_is_no_budget_waits_for_another_to_end():
    many = pool(*(f'name = "{name}"' for name in "ab"))
    leases = [taken(many, "a") for _ in range(3)]
    assert many.outlook([target()], 1.0, tried={"a"}) == Outlook(2.0, limited=False, sooner=True)
    assert many.outlook([target()], 1.0) == Outlook(1.0, limited=False)
    leases[0].release(1.0)
    assert many.outlook([target()], 1.0, tried={"a"}) == Outlook(1.0, limited=False)


# When somebody is back.


def test_somebody_who_is_there_is_there_now():
    assert pair().outlook([target()], 3.0).at == 3.0


def test_the_first_one_back_is_told():
    two = pair()
    fail(two, "a", Kind.RATE_LIMIT, wait=9)
    fail(two, "b", Kind.RATE_LIMIT, wait=4)
    assert two.outlook([target()], 1.0).at == 4.0
    assert two.outlook([target(), target("n")], 1.0).at == 1.0


def test_nobody_knows_when_a_running_call_ends():
    narrow = pool('name = "a"\nconcurrency = 1')
    held = taken(narrow)
    assert narrow.outlook([target()], 3.0).at == 4.0
    assert narrow.outlook([target()], 3.0).limited
    held.fail(GatewayError(Kind.RATE_LIMIT, retry_after=9), 3.0, WALL)
    assert narrow.outlook([target()], 3.0).at == 12.0
    held.release(3.0)


def test_a_canary_that_is_out_may_return_any_moment():
    one = pool('name = "a"')
    fail(one, "a", Kind.RATE_LIMIT, wait=5)
    taken(one, now=5.0)
    assert one.outlook([target()], 6.0).at == 35.0
    assert one.outlook([target()], 50.0).at == 50.0


def test_a_canary_that_does_not_return_does_not_keep_its_account_out():
    two = pair()
    fail(two, "a", Kind.TIMEOUT_FIRST_CONTENT)
    first = taken(two, now=5.0)
    second = taken(two, now=35.0)
    assert [(one.seat.name, one.is_canary) for one in (first, second)] == [("a", True)] * 2
    assert {pick(two, now=64.9) for _ in range(4)} == {"b"}
    second.succeed()
    assert seat(two, "a").why(65.0) == ()
    for lease in (first, second):
        lease.release(66.0)
    assert {pick(two, now=66.0) for _ in range(9)} == {"a", "b"}


def test_whoever_waits_is_told_whether_the_end_of_a_call_may_end_the_wait():
    one = pool('name = "a"\nconcurrency = 1')
    fail(one, "a", Kind.RATE_LIMIT, wait=5)
    assert not one.outlook([target()], 1.0).sooner
    canary = taken(one, now=5.0)
    assert one.outlook([target()], 6.0).sooner
    canary.fail(GatewayError(Kind.RATE_LIMIT, retry_after=9), 7.0, WALL)
    assert not one.outlook([target()], 8.0).sooner
    canary.release(8.0)
    held = taken(one, now=50.0)
    held.succeed()
    assert one.outlook([target()], 51.0).sooner
    held.fail(GatewayError(Kind.UPSTREAM_AUTH), 52.0, WALL)
    assert not one.outlook([target()], 53.0).sooner
    held.release(53.0)


def test_an_account_that_is_spent_or_disabled_is_back_when_somebody_says_so():
    one = pool('name = "a"')
    seat(one, "a").spent = True
    assert pick(one) is None
    assert one.outlook([target()], 0.0).at is None
    seat(one, "a").spent = False
    seat(one, "a").enabled = False
    assert one.outlook([target()], 0.0) == Outlook(None, limited=False)


DAILY = 'name = "a"\nbudget_usd = 1\nbudget_period = "day"'
LATE = datetime(2026, 11, 20, 23, tzinfo=UTC).timestamp()


def test_an_account_whose_budget_is_spent_rests_until_the_window_ends():
    one = pool(DAILY)
    seat(one, "a").spend(999_999, 100.0, LATE)
    assert pick(one, now=100.0) == "a"
    seat(one, "a").spend(1, 100.0, LATE)
    assert pick(one, now=100.0) is None
    assert one.outlook([target()], 100.0) == Outlook(3700.0, limited=False)
    error = one.outlook([target()], 100.5).error(100.5)
    assert (error.kind, error.retry_after) == (Kind.NOBODY, 3600)
    assert state(one, 100.0).until == 3700.0
    assert pick(one, now=3699.9) is None
    assert pick(one, now=3700.0) == "a"
    seat(one, "a").spend(5, 3701.0, LATE + 3601)
    assert not seat(one, "a").spent


def test_a_total_that_is_spent_brings_nobody_back():
    one = pool('name = "a"\nbudget_usd = 1\nbudget_period = "total"')
    seat(one, "a").spend(1_000_000, 0.0, LATE)
    assert one.outlook([target()], 0.0) == Outlook(None, limited=False)


def test_somebody_else_is_asked_while_a_budget_is_spent():
    one = pool(DAILY, 'name = "b"')
    seat(one, "a").spend(2_000_000, 0.0, LATE)
    seat(one, "b").spend(2_000_000, 0.0, LATE)
    assert {pick(one) for _ in range(5)} == {"b"}


def test_a_spent_account_that_is_also_cooling_is_back_when_both_are_over():
    one = pool(DAILY)
    fail(one, "a", Kind.UPSTREAM_QUOTA, wait=500)
    seat(one, "a").spend(1_000_000, 0.0, LATE + 3400)
    assert one.outlook([target()], 0.0).at == 500.0
    seat(one, "a").clear()
    assert one.outlook([target()], 0.0).at == 200.0


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Kind.RATE_LIMIT, Kind.ALL_LIMITED),
        (Kind.UPSTREAM_QUOTA, Kind.NOBODY),
        (Kind.UPSTREAM_AUTH, Kind.NOBODY),
    ],
)
def test_a_client_is_told_429_if_somebody_is_only_limited_and_503_if_nobody_is_well(kind, told):
    one = pool('name = "a"')
    fail(one, "a", kind, wait=20)
    error = one.outlook([target()], 0.5).error(0.5)
    assert (error.kind, error.retry_after) == (told, 20)


def test_one_that_is_limited_is_enough_for_a_429():
    two = pair()
    fail(two, "a", Kind.UPSTREAM_AUTH)
    fail(two, "b", Kind.RATE_LIMIT, wait=2)
    assert two.outlook([target()], 0.0) == Outlook(2.0, limited=True)


def test_a_client_is_never_told_to_come_back_at_once():
    assert Outlook(5.0, limited=False).error(5.0).retry_after == 1
    assert Outlook(None, limited=False).error(5.0).retry_after == 60


# Why.


@pytest.mark.parametrize(
    ("told", "until", "hint"),
    [
        ("0", 5.0, None),
        ("-1", 5.0, None),
        ("1e9", 300.0, 1e9),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 5.0, None),
        ("a while", 5.0, None),
        ("2.5", 2.5, 2.5),
    ],
)
def test_what_a_provider_says_is_shown_as_it_said_it(told, until, hint):
    one = pool('name = "a"')
    lease = taken(one)
    error = GatewayError(Kind.RATE_LIMIT, evidence="429 slow down")
    lease.fail(error, 0.0, WALL, 429, {b"retry-after": told.encode()})
    lease.release(0.0)
    found = Evidence(Kind.RATE_LIMIT, 429, f"retry-after: {told}", hint, "429 slow down")
    expected = Why("m", State.OPEN, Cause.BURST, 0.0, until, 1, found)
    assert one.why("a", 0.0) == (expected,)
    assert one.why("nobody", 0.0) == ()


def state(of: Pool, now: float = 0.0) -> AccountState:
    return of.accounts(now)[0]


def test_an_operator_sees_how_an_account_is():
    one = pool('name = "a"\nrpm = 60\ntpm = 600\nconcurrency = 2')
    lease = taken(one, tokens=100)
    assert state(one) == AccountState(
        "a", "p", Standing.AVAILABLE, None, None, (), 1, 59, 500, None
    )
    taken(one)
    assert (state(one).standing, state(one).until) == (Standing.FULL, 1.0)
    lease.release(0.0)
    for _ in range(58):
        pick(one)
    assert (state(one).standing, state(one).cause) == (Standing.LIMITED, Cause.BURST)
    assert state(one).until == 1.0
    seat(one, "a").spent = True
    assert (state(one).standing, state(one).cause) == (Standing.SPENT, Cause.BUDGET)
    seat(one, "a").enabled = False
    assert (state(one).standing, state(one).until) == (Standing.DISABLED, None)


def test_an_operator_sees_what_an_account_is_benched_for():
    one = pool('name = "a"')
    fail(one, "a", Kind.UPSTREAM_AUTH)
    fail_state = state(one, 1.0)
    assert (fail_state.standing, fail_state.cause) == (Standing.COOLING, Cause.AUTH)
    assert (fail_state.until, fail_state.why[0].since) == (30.0, 0.0)
    assert state(one, 30.0).standing is Standing.HALF_OPEN


def test_one_models_trouble_is_not_the_accounts():
    one = pool('name = "a"')
    fail(one, "a", Kind.RATE_LIMIT)
    assert state(one).standing is Standing.AVAILABLE
    assert state(one).why[0].model == "m"


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


def test_a_draw_that_rounds_up_takes_the_last():
    assert in_turn([target("a"), target("b")], 1.0)[0].model == "b"


# Another configuration.


def adopted(of: Pool, *accounts: str, now: float = 0.0) -> None:
    tables = "".join(f'[[accounts]]\nprovider = "p"\napi_key = "x"\n{one}\n' for one in accounts)
    of.adopt(loads(PROVIDER + tables, Path("c.toml"), {"HOME": "/root"}), now, WALL)


def test_a_reload_keeps_what_runs_and_what_was_used():
    one = pool('name = "a"\nrpm = 10')
    lease = taken(one)
    adopted(one, 'name = "a"\nrpm = 20')
    assert seat(one, "a").in_flight == 1
    (state,) = one.accounts(0.0)
    assert state.requests_left == 19
    lease.release(0.0)
    assert seat(one, "a").in_flight == 0
    assert one.retries.running == 0


def test_a_reload_keeps_a_cooldown_and_what_an_operator_took_out():
    one = pair()
    fail(one, "a", Kind.RATE_LIMIT)
    seat(one, "b").enabled = False
    adopted(one, 'name = "b"', 'name = "a"\nweight = 3')
    assert one.why("a", 0.0)
    assert pick(one) is None


def test_an_account_that_leads_elsewhere_now_is_not_benched_for_what_was_there():
    one = pair()
    fail(one, "a", Kind.RATE_LIMIT)
    adopted(one, 'name = "a"\nbase_url = "http://q.test"', 'name = "b"')
    assert not one.why("a", 0.0)


def test_an_account_that_is_gone_gets_no_more_calls_and_gives_its_places_back():
    one = pair()
    lease = taken(one, "b")
    adopted(one, 'name = "b"', 'name = "c"')
    assert lease.seat.name == "a"
    lease.release(0.0)
    assert lease.seat.in_flight == 0
    assert one.seat("a") is None
    assert {pick(one), pick(one)} == {"b", "c"}


def test_a_cooldown_that_runs_goes_by_the_new_times():
    one = pool('name = "a"', 'name = "b"')
    fail(one, "a", Kind.RATE_LIMIT)
    tables = '[cooldown]\nmax_burst = "2s"\nbase = "1s"\nprobe_interval = "1s"\n'
    accounts = "".join(
        f'[[accounts]]\nprovider = "p"\napi_key = "x"\nname = "{name}"\n' for name in "ab"
    )
    one.adopt(loads(tables + PROVIDER + accounts, Path("c.toml"), {"HOME": "/root"}), 0.0, WALL)
    (why,) = one.why("a", 0.0)
    now = why.until
    lease = taken(one, now=now)
    assert lease.is_canary
    lease.fail(GatewayError(Kind.RATE_LIMIT), now, WALL, 429, {b"retry-after": b"99"})
    lease.release(now)
    (why,) = one.why("a", now)
    assert why.until == now + 2.0


def test_a_reload_keeps_what_was_spent_of_a_budget_of_the_same_period():
    one = pool('name = "a"\nbudget_usd = 1\nbudget_period = "day"')
    seat(one, "a").spend(900_000, 0.0, WALL)
    adopted(one, 'name = "a"\nbudget_usd = 0.5\nbudget_period = "day"')
    assert pick(one) is None
    adopted(one, 'name = "a"\nbudget_usd = 2\nbudget_period = "day"')
    assert pick(one) == "a"
    seat(one, "a").spend(1_100_000, 0.0, WALL)
    assert pick(one) is None
    adopted(one, 'name = "a"')
    assert pick(one) == "a"


def test_a_target_may_be_one_account_alone_whatever_its_globs():
    one = pool('name = "a"\nmodels = ["x"]', 'name = "b"')
    held = replace(target(), account="a")
    assert [seat.name for seat in one.serving(held)] == ["a"]
    assert [seat.name for seat in one.serving(target())] == ["b"]
    assert one.serving(replace(held, account="gone")) == ()
    assert one.serving(replace(held, provider="another")) == ()
    lease = one.pick(held, (), 0.0)
    assert lease is not None
    assert one.pick(held, ("a",), 0.0) is None


def test_what_names_no_model_every_account_of_the_provider_has():
    one = pool('name = "a"', 'name = "b"\nmodels = ["x"]')
    assert {found.name for found in one.serving(target(""))} == {"a", "b"}


# Another process.


def test_calls_of_another_process_take_places_until_it_has_ended():
    accounts = pool('name = "a"\nconcurrency = 2')
    one = seat(accounts, "a")
    one.elsewhere(2)
    assert pick(accounts) is None
    one.elsewhere(1)
    assert pick(accounts) == "a"
    lease = taken(accounts)
    assert one.in_flight == 2
    one.alone(0.0, WALL)
    assert one.in_flight == 1
    lease.release(0.0, 0)


def test_an_account_shares_its_buckets_and_its_budget_with_another_process():
    accounts = pool(
        'name = "a"\nrpm = 4\nbudget_usd = 0.00001\nbudget_period = "total"',
        'name = "b"\npriority = 1',
    )
    one = seat(accounts, "a")
    one.share(Missing(), 0.0, WALL)
    assert [pick(accounts) for _ in range(3)] == ["a", "a", "b"]
    one.spend(5, 0.0, WALL)
    assert one.standing("m", 0, 1000.0) is Standing.SPENT
    one.alone(1000.0, WALL)
    assert one.standing("m", 0, 1000.0) is Standing.AVAILABLE
    seat(accounts, "b").share(Missing(), 0.0, WALL)
    assert pick(accounts, "a") == "b"
