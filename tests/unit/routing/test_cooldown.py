"""When an account that failed may be asked again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.config.model import Cooldown as Times
from proxy.errors import ROWS, GatewayError, Kind
from proxy.routing.cooldown import (
    SPARED,
    VERDICTS,
    Cause,
    Cooldown,
    Evidence,
    Scope,
    State,
    Verdict,
    cap,
    evidence,
    length,
    verdict,
)
from proxy.routing.ratelimits import Hint

TIMES = Times()
COOLING = sorted(set(Cause) - {Cause.BUDGET})


def because(hint: float | None = None, kind: Kind = Kind.RATE_LIMIT) -> Evidence:
    return Evidence(kind, 429, "", hint, "")


def benched(cause: Cause = Cause.OVERLOAD, hint: float | None = None, now: float = 0.0) -> Cooldown:
    cooldown = Cooldown(TIMES)
    cooldown.fail(cause, because(hint), now, canary=False)
    return cooldown


def until(cooldown: Cooldown) -> float:
    assert cooldown.bench is not None
    return cooldown.bench.until


# What a failure means.


@pytest.mark.parametrize(
    ("kind", "cause", "scope"),
    [
        (Kind.UPSTREAM_AUTH, "auth", "account"),
        (Kind.UPSTREAM_FORBIDDEN, "auth", "account_model"),
        (Kind.UPSTREAM_QUOTA, "quota", "account"),
        (Kind.RATE_LIMIT, "burst", "account_model"),
        (Kind.OVERLOADED, "overload", "account_model"),
        (Kind.SERVER, "overload", "account_model"),
        (Kind.MALFORMED, "overload", "account_model"),
        (Kind.TIMEOUT_FIRST_CONTENT, "slow", "account_model"),
        (Kind.TIMEOUT_CONNECT, "network", "account"),
        (Kind.UNREACHABLE, "network", "account"),
        (Kind.DISCONNECTED, "network", "account"),
    ],
)
def test_a_failure_benches_as_much_as_it_says_something_about(kind, cause, scope):
    assert verdict(GatewayError(kind)) == Verdict(Cause(cause), Scope(scope))


@pytest.mark.parametrize(
    "kind",
    [
        Kind.INVALID_REQUEST,
        Kind.CONTEXT,
        Kind.CONTENT_POLICY,
        Kind.NOT_FOUND,
        Kind.TOO_LARGE,
        Kind.TIMEOUT_TOTAL,
        Kind.CLIENT_CLOSED,
        Kind.KEY_RATE,
        Kind.INTERNAL,
    ],
)
def test_what_the_request_or_the_gateway_did_benches_nobody(kind):
    assert verdict(GatewayError(kind)) is None


def test_only_what_another_account_could_do_better_benches():
    assert all(ROWS[kind].another for kind in VERDICTS)


def test_a_quota_of_one_model_benches_that_model():
    named = GatewayError(
        Kind.UPSTREAM_QUOTA, evidence="429 … GenerateRequestsPerDayPerProjectPerModel-FreeTier"
    )
    assert verdict(named) == Verdict(Cause.QUOTA, Scope.MODEL)


def test_evidence_is_what_an_operator_needs_to_believe_it():
    error = GatewayError(Kind.RATE_LIMIT, evidence="429 " + "x" * 1000)
    found = evidence(error, 429, Hint(3.0, "retry-after: 3"))
    assert found == Evidence(Kind.RATE_LIMIT, 429, "retry-after: 3", 3.0, "429 " + "x" * 196)


# For how long.


@pytest.mark.parametrize(
    ("cause", "hint", "failures", "seconds"),
    [
        (Cause.BURST, None, 1, 5.0),
        (Cause.BURST, None, 2, 10.0),
        (Cause.BURST, None, 20, 300.0),
        (Cause.BURST, 0.2, 1, 0.2),
        (Cause.BURST, 0.2, 3, 20.0),
        (Cause.BURST, 1e9, 1, 300.0),
        (Cause.BURST, 0.0, 1, 5.0),
        (Cause.BURST, -1.0, 1, 5.0),
        (Cause.QUOTA, None, 1, 30.0),
        (Cause.QUOTA, None, 2, 60.0),
        (Cause.QUOTA, None, 10_000, 900.0),
        (Cause.QUOTA, 86_400.0, 1, 900.0),
        (Cause.AUTH, None, 1, 30.0),
        (Cause.AUTH, None, 9, 900.0),
        (Cause.OVERLOAD, None, 1, 5.0),
        (Cause.OVERLOAD, None, 9, 30.0),
        (Cause.OVERLOAD, 100.0, 1, 100.0),
        (Cause.NETWORK, None, 3, 20.0),
        (Cause.SLOW, None, 4, 30.0),
    ],
)
def test_a_bench_lasts_as_the_provider_says_or_doubles_up_to_its_cap(
    cause, hint, failures, seconds
):
    assert length(cause, hint, failures, TIMES) == seconds


@given(
    st.sampled_from(COOLING),
    st.none() | st.floats(allow_nan=False),
    st.integers(1, 10**6),
    st.builds(
        Times,
        base=st.floats(0.001, 1e6),
        max_burst=st.floats(0.001, 1e6),
        max_quota=st.floats(0.001, 1e6),
        probe_interval=st.floats(0.001, 1e6),
    ),
)
def test_no_bench_is_longer_than_its_cap(cause, hint, failures, times):
    assert 0 < length(cause, hint, failures, times) <= cap(cause, times)


# Closed, open, half-open.


def test_an_account_that_did_not_fail_is_closed():
    cooldown = Cooldown(TIMES)
    assert cooldown.state(0.0) is State.CLOSED
    assert cooldown.lets_in(0.0)
    assert cooldown.free_at(3.0) == 3.0
    assert repr(cooldown) == "<Cooldown closed>"


def test_it_is_open_until_its_deadline_and_half_open_from_then_on():
    cooldown = benched(hint=10.0)
    assert cooldown.state(9.9) is State.OPEN
    assert not cooldown.lets_in(9.9)
    assert cooldown.free_at(0.0) == 10.0
    assert cooldown.state(10.0) is State.HALF_OPEN
    assert cooldown.lets_in(10.0)
    assert repr(cooldown) == "<Cooldown overload until 10.0, 1 failures>"


def test_one_canary_goes_and_nobody_with_it():
    cooldown = benched(hint=10.0)
    cooldown.probe(10.0)
    assert cooldown.probing
    assert not cooldown.lets_in(10.0)
    assert not cooldown.lets_in(39.9)
    assert cooldown.free_at(11.0) == 40.0


def test_a_canary_that_does_not_return_is_followed_by_another_after_the_interval():
    cooldown = benched(hint=10.0)
    cooldown.probe(10.0)
    assert cooldown.lets_in(40.0)
    cooldown.probe(40.0)
    assert not cooldown.lets_in(69.9)
    cooldown.return_canary()
    assert cooldown.probing
    cooldown.return_canary()
    assert not cooldown.probing


def test_whichever_canary_returns_first_is_believed():
    cooldown = benched(hint=10.0)
    cooldown.probe(10.0)
    cooldown.probe(40.0)
    cooldown.fail(Cause.SLOW, because(), 45.0, canary=True)
    assert until(cooldown) == 55.0
    assert not cooldown.lets_in(54.9)
    cooldown.close()
    assert cooldown.lets_in(55.0)
    cooldown.return_canary()
    assert not cooldown.probing


def test_a_canary_that_succeeds_closes():
    cooldown = benched(hint=10.0)
    cooldown.probe(10.0)
    cooldown.close()
    assert cooldown.bench is None
    assert cooldown.lets_in(10.0)


def test_a_canary_that_fails_opens_for_longer():
    cooldown = benched()
    now = 0.0
    lengths = []
    for _ in range(5):
        lengths.append(until(cooldown) - now)
        now = until(cooldown)
        assert cooldown.lets_in(now)
        cooldown.probe(now)
        cooldown.fail(Cause.OVERLOAD, because(), now, canary=True)
    assert lengths == [5.0, 10.0, 20.0, 30.0, 30.0]
    assert cooldown.bench is not None
    assert cooldown.bench.failures == 6
    assert cooldown.bench.since == 0.0


def test_a_canary_that_says_nothing_makes_room_for_the_next_after_the_interval():
    cooldown = benched(hint=10.0)
    cooldown.probe(10.0)
    cooldown.return_canary()
    assert cooldown.state(11.0) is State.HALF_OPEN
    assert not cooldown.lets_in(39.9)
    assert cooldown.lets_in(40.0)


def test_a_longer_cooldown_replaces_a_shorter_with_its_reason():
    cooldown = benched(Cause.OVERLOAD, hint=1.0)
    bench = cooldown.fail(Cause.QUOTA, because(60.0), 0.5, canary=False)
    assert (bench.cause, bench.since, bench.until) == (Cause.QUOTA, 0.0, 60.5)


def test_a_shorter_cooldown_changes_nothing():
    cooldown = benched(Cause.QUOTA, hint=60.0)
    before = cooldown.bench
    assert cooldown.fail(Cause.OVERLOAD, because(), 1.0, canary=False) is before
    assert cooldown.bench is before


def test_fifty_calls_that_fail_together_are_one_failure():
    cooldown = benched()
    for late in range(50):
        cooldown.fail(Cause.OVERLOAD, because(), late / 100, canary=False)
    assert cooldown.bench is not None
    assert cooldown.bench.failures == 1
    assert until(cooldown) == 5.49


def test_a_straggler_that_fails_later_reopens_without_growing():
    cooldown = benched()
    bench = cooldown.fail(Cause.OVERLOAD, because(), 100.0, canary=False)
    assert (bench.failures, bench.until) == (1, 105.0)


class Machine(RuleBasedStateMachine):
    """Any sequence of failures, canaries and time."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.cooldown = Cooldown(TIMES)
        self.canaries = 0
        self.deadline = 0.0
        self.started: list[float] = []

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def to_the_deadline(self):
        self.now = self.cooldown.free_at(self.now)

    @precondition(lambda self: self.cooldown.bench is not None)
    @rule()
    def ask(self):
        if self.cooldown.lets_in(self.now):
            assert self.cooldown.state(self.now) is State.HALF_OPEN
            self.cooldown.probe(self.now)
            self.canaries += 1
            # One each interval, unless one before came to something.
            if self.started:
                assert self.now >= self.started[-1] + TIMES.probe_interval
            self.started.append(self.now)

    @rule(
        cause=st.sampled_from(COOLING),
        hint=st.none() | st.floats(-10, 2000),
        canary=st.booleans(),
    )
    def fail(self, cause, hint, canary):
        canary = canary and self.canaries > 0
        before = self.cooldown.bench
        bench = self.cooldown.fail(cause, because(hint), self.now, canary=canary)
        assert self.cooldown.bench is bench
        assert bench.until >= self.now + length(cause, hint, 1, TIMES)
        if before is not None:
            assert bench.until >= before.until
            assert bench.since == before.since
            assert bench.failures <= before.failures + canary
        if canary:
            self.canaries -= 1
            self.started.clear()

    @precondition(lambda self: self.canaries)
    @rule(success=st.booleans())
    def end(self, success):
        if success:
            self.canaries = 0
            self.cooldown.close()
            self.started.clear()
        else:
            self.canaries -= 1
            self.cooldown.return_canary()

    @invariant()
    def somebody_goes_in_the_end_and_no_deadline_is_past_its_cap(self):
        bench = self.cooldown.bench
        latest = self.now
        if bench is not None:
            assert bench.until <= self.now + cap(bench.cause, TIMES)
            latest = max(bench.until, self.now + TIMES.probe_interval)
        assert self.cooldown.probing == (self.canaries > 0)
        assert self.cooldown.free_at(self.now) <= latest
        assert self.cooldown.lets_in(self.cooldown.free_at(self.now))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_what_passes_by_itself_is_what_the_last_account_is_spared_for():
    assert {"overload", "network", "slow"} == SPARED
