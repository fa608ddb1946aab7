"""How much a key or an account may still send."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from proxy.config.model import Key, Model
from proxy.errors import Kind
from proxy.routing.limits import (
    Grant,
    KeyLimits,
    Left,
    Limit,
    Limiter,
    Missing,
    Quota,
    Refusal,
    RetryBudget,
    Standing,
    TokenBucket,
    admit,
    enter,
    standing,
)


def let_in(limiter: Limiter, tokens: int = 0, now: float = 0.0) -> Grant:
    grant = admit([limiter], tokens, now)
    assert isinstance(grant, Grant)
    return grant


def refused(limiter: Limiter, tokens: int = 0, now: float = 0.0) -> Refusal:
    refusal = admit([limiter], tokens, now)
    assert isinstance(refusal, Refusal)
    return refusal


def test_what_is_no_request_by_the_minute_takes_a_slot_alone():
    limiter = Limiter(Quota(rpm=1, concurrency=2), 0.0)
    first, second = enter([limiter]), enter([limiter])
    assert isinstance(first, Grant)
    assert isinstance(second, Grant)
    third = enter([limiter])
    assert isinstance(third, Refusal)
    assert third.limit is Limit.CONCURRENCY
    first.release(None, 0.0)
    second.release(0, 0.0)
    assert limiter.running == 0
    let_in(limiter)


# The bucket.


def test_a_bucket_holds_a_minute_and_fills_evenly():
    bucket = TokenBucket(60, 0.0)
    assert bucket.take(60, 0.0) == 60
    assert bucket.remaining(0.0) == 0
    assert bucket.wait(1, 0.0) == 1.0
    assert bucket.wait(1, 1.0) == 0.0
    assert bucket.remaining(30.0) == 30
    assert bucket.reset(30.0) == 30.0
    assert bucket.remaining(1e6) == 60


def test_what_was_reserved_is_settled_by_what_was_used():
    bucket = TokenBucket(100, 0.0)
    bucket.settle(bucket.take(80, 0.0), 30, 0.0)
    assert bucket.remaining(0.0) == 70


def test_what_was_used_beyond_the_reservation_is_paid_before_the_next_call():
    bucket = TokenBucket(60, 0.0)
    bucket.settle(bucket.take(10, 0.0), 120, 0.0)
    assert bucket.remaining(0.0) == 0
    assert bucket.wait(1, 0.0) == 61.0
    assert bucket.reset(0.0) == 120.0


def test_a_call_larger_than_the_bucket_waits_for_a_full_one():
    bucket = TokenBucket(60, 0.0)
    assert bucket.take(1, 0.0) == 1
    assert bucket.wait(1000, 0.0) == 1.0
    assert bucket.take(1000, 1.0) == 60


def test_a_call_that_costs_nothing_never_waits():
    bucket = TokenBucket(60, 0.0)
    bucket.settle(0, 600, 0.0)
    assert bucket.wait(0, 0.0) == 0.0
    assert bucket.take(0, 0.0) == 0


def test_a_clock_that_goes_back_gives_nothing():
    bucket = TokenBucket(60, 100.0)
    bucket.take(60, 100.0)
    assert bucket.remaining(0.0) == 0


def test_a_bucket_tells_what_is_in_it():
    assert repr(TokenBucket(60, 9.0)) == "<TokenBucket of 60, full at 9.0>"


@pytest.mark.parametrize(("size", "left"), [(100, 50), (200, 150), (40, 0)])
def test_a_bucket_of_another_size_misses_as_much(size, left):
    bucket = TokenBucket(100, 0.0)
    bucket.take(50, 0.0)
    assert bucket.resized(size, 0.0).remaining(0.0) == left


def test_a_debt_outlives_another_size():
    bucket = TokenBucket(60, 0.0)
    bucket.settle(0, 120, 0.0)
    assert bucket.resized(6000, 0.0).wait(1, 0.0) == 0.0
    assert bucket.resized(30, 0.0).wait(1, 0.0) == 122.0


@given(
    st.integers(1, 10**7),
    st.lists(st.tuples(st.integers(1, 10**7), st.floats(0, 100)), max_size=20),
    st.floats(0, 1e7),
)
def test_whoever_waits_as_long_as_he_is_told_gets_through(capacity, calls, now):
    bucket = TokenBucket(capacity, now)
    for amount, pause in calls:
        now += pause
        now += bucket.wait(amount, now)
        assert bucket.wait(amount, now) == 0.0
        bucket.take(amount, now)


class Bucket(RuleBasedStateMachine):
    """A bucket beside the plain account of what was taken, given back and waited for."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.bucket = TokenBucket(600, 0.0)
        self.used = 0.0
        self.overshot = 0

    running = Bundle("running")

    @rule(seconds=st.floats(0, 120))
    def wait(self, seconds):
        self.now += seconds

    @rule(target=running, amount=st.integers(1, 900))
    def take(self, amount):
        if self.bucket.wait(amount, self.now):
            return 0
        taken = self.bucket.take(amount, self.now)
        self.used += taken
        assert taken == min(amount, 600)
        # Over any time no more goes in than a full bucket and what flowed into it, beside what running calls overshot.
        assert self.used - self.overshot <= 600 + 10 * self.now + 1
        return taken

    @rule(taken=consumes(running), part=st.floats(0, 3))
    def settle(self, taken, part):
        used = int(taken * part)
        self.bucket.settle(taken, used, self.now)
        self.used += used - taken
        self.overshot += max(used - taken, 0)

    @invariant()
    def never_below_nothing_nor_above_full(self):
        assert 0 <= self.bucket.remaining(self.now) <= 600
        assert self.bucket.reset(self.now) >= 0
        assert self.bucket.reset(self.now) >= 0


TestBucket = Bucket.TestCase
TestBucket.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# Several limits together.


def test_a_refused_request_burns_nothing():
    limiter = Limiter(Quota(rpm=2, tpm=100, concurrency=1), 0.0)
    grant = let_in(limiter, 40)
    for _ in range(5):
        assert refused(limiter, 40).limit is Limit.CONCURRENCY
    grant.release(40, 0.0)
    assert limiter.requests is not None
    assert limiter.tokens is not None
    assert limiter.requests.remaining(0.0) == 1
    assert limiter.tokens.remaining(0.0) == 60


def test_what_one_limit_refuses_the_others_do_not_count():
    key = Limiter(Quota(rpm=10, concurrency=5), 0.0)
    model = Limiter(Quota(rpm=1), 0.0, "m")
    assert isinstance(admit([key, model], 0, 0.0), Grant)
    refusal = admit([key, model], 0, 0.0)
    assert refusal == Refusal(Limit.REQUESTS, 1, 60.0, "m")
    assert key.running == 1
    assert key.requests is not None
    assert key.requests.remaining(0.0) == 9


def test_the_limit_that_lasts_longest_is_told():
    limiter = Limiter(Quota(rpm=60, tpm=60, concurrency=1), 0.0)
    let_in(limiter, 60)
    assert refused(limiter, 30) == Refusal(Limit.TOKENS, 60, 30.0)
    assert refused(limiter, 0) == Refusal(Limit.CONCURRENCY, 1, 1.0)


def test_of_two_limiters_the_one_that_lasts_longest_is_told():
    fast = Limiter(Quota(rpm=60), 0.0)
    slow = Limiter(Quota(rpm=1), 0.0, "m")
    for limiter in (fast, slow):
        assert limiter.requests is not None
        limiter.requests.take(limiter.requests.capacity, 0.0)
    refusal = admit([fast, slow], 0, 0.0)
    assert isinstance(refusal, Refusal)
    assert refusal.retry_after == 60.0


def test_a_grant_is_given_back_once():
    limiter = Limiter(Quota(tpm=100, concurrency=2), 0.0)
    first, _ = let_in(limiter, 10), let_in(limiter, 10)
    first.release(0, 0.0)
    first.release(0, 0.0)
    assert limiter.running == 1
    assert limiter.tokens is not None
    assert limiter.tokens.remaining(0.0) == 90


def test_an_unknown_usage_leaves_the_estimate():
    limiter = Limiter(Quota(tpm=100), 0.0)
    let_in(limiter, 10).release(None, 0.0)
    assert limiter.tokens is not None
    assert limiter.tokens.remaining(0.0) == 90


def test_without_limits_everything_gets_through():
    limiter = Limiter(Quota(), 0.0)
    grants = [let_in(limiter, 10**9) for _ in range(100)]
    assert limiter.running == 100
    assert not limiter.is_full
    assert limiter.lets_in(10**9, 0.0)
    assert limiter.wait(10**9, 0.0) == 0.0
    for grant in grants:
        grant.release(5, 0.0)
    assert limiter.is_fresh(0.0)


@pytest.mark.parametrize(
    ("refusal", "kind", "message", "wait"),
    [
        (
            Refusal(Limit.REQUESTS, 60, 0.2),
            Kind.KEY_RATE,
            "This key may send 60 requests a minute; try again in 1 s.",
            1,
        ),
        (
            Refusal(Limit.TOKENS, 1000, 12.1, "smart"),
            Kind.KEY_RATE,
            "This key may send 1000 tokens a minute on smart; try again in 13 s.",
            13,
        ),
        (
            Refusal(Limit.CONCURRENCY, 4, 1.0),
            Kind.KEY_CONCURRENCY,
            "This key may run 4 requests at a time; try again when one has ended.",
            1,
        ),
    ],
)
def test_a_refusal_tells_the_limit_and_when_to_come_back(refusal, kind, message, wait):
    error = refusal.error()
    assert (error.kind, error.message, error.retry_after) == (kind, message, wait)


# Keys.


def key(name: str = "k", **options: int) -> Key:
    return Key(name=name, hash=name * 4, **options)  # type: ignore[arg-type]


def limits(*models: Model, concurrency: int = 64) -> KeyLimits:
    return KeyLimits(models, concurrency)


def test_each_key_has_its_own_limits():
    both = limits()
    assert isinstance(admit(both.of(key("a", rpm=1), "m", 0.0), 0, 0.0), Grant)
    assert isinstance(admit(both.of(key("a", rpm=1), "m", 0.0), 0, 0.0), Refusal)
    assert isinstance(admit(both.of(key("b", rpm=1), "m", 0.0), 0, 0.0), Grant)


def test_a_key_that_sets_no_concurrency_has_the_default():
    narrow = limits(concurrency=1)
    grant = admit(narrow.of(key(), "m", 0.0), 0, 0.0)
    assert isinstance(admit(narrow.of(key(), "m", 0.0), 0, 0.0), Refusal)
    assert isinstance(admit(narrow.of(key(concurrency=2), "m", 0.0), 0, 0.0), Grant)
    assert isinstance(grant, Grant)
    assert narrow.running(key()) == 2
    assert narrow.running(key("other")) == 0


def test_a_model_has_limits_for_each_key():
    shared = limits(Model(name="m", rpm=1), Model(name="t", tpm=10), Model(name="free"))
    assert isinstance(admit(shared.of(key("a"), "m", 0.0), 0, 0.0), Grant)
    refusal = admit(shared.of(key("a"), "m", 0.0), 0, 0.0)
    assert isinstance(refusal, Refusal)
    assert refusal.model == "m"
    assert isinstance(admit(shared.of(key("b"), "m", 0.0), 0, 0.0), Grant)
    assert isinstance(admit(shared.of(key("a"), "free", 0.0), 0, 0.0), Grant)
    assert isinstance(admit(shared.of(key("a"), "t", 0.0), 10, 0.0), Grant)
    assert isinstance(admit(shared.of(key("a"), "t", 0.0), 10, 0.0), Refusal)


def test_the_headers_have_the_real_numbers_of_the_narrower_limit():
    shared = limits(Model(name="m", rpm=6))
    one = key(rpm=60, tpm=600)
    admit(shared.of(one, "m", 0.0), 60, 0.0)
    assert standing(shared.of(one, "m", 0.0), 0.0) == Standing(
        Left(6, 5, 10.0), Left(600, 540, 6.0)
    )
    assert standing(shared.of(one, None, 0.5), 0.5) == Standing(
        Left(60, 59, 0.5), Left(600, 545, 5.5)
    )
    assert standing(shared.of(key("free"), "x", 0.0), 0.0) == Standing(None, None)


def test_of_two_limits_on_tokens_the_one_with_less_is_told():
    wide, narrow = Limiter(Quota(tpm=600), 0.0), Limiter(Quota(tpm=60), 0.0)
    assert standing([wide, narrow], 0.0).tokens == Left(60, 60, 0.0)
    assert standing([narrow, wide], 0.0).tokens == Left(60, 60, 0.0)


def test_a_call_that_was_refused_before_anybody_was_asked_gives_everything_back():
    limited, free = Limiter(Quota(rpm=10, tpm=100, concurrency=1), 0.0), Limiter(Quota(), 0.0)
    before = standing([limited, free], 0.0)
    grant = admit([limited, free], 60, 0.0)
    assert isinstance(grant, Grant)
    assert standing([limited, free], 0.0) != before
    grant.cancel(0.0)
    assert standing([limited, free], 0.0) == before
    assert (limited.running, free.running) == (0, 0)
    # Once is enough: a finally may release what has been given back.
    grant.cancel(0.0)
    grant.release(None, 0.0)
    assert (standing([limited, free], 0.0), limited.running) == (before, 0)


def test_changed_limits_hold_at_once_and_forget_nothing():
    shared = limits()
    grants = [admit(shared.of(key(rpm=10), "m", 0.0), 0, 0.0) for _ in range(4)]
    changed = key(rpm=5, tpm=100, concurrency=4)
    refusal = admit(shared.of(changed, "m", 0.0), 0, 0.0)
    assert isinstance(refusal, Refusal)
    assert refusal.limit is Limit.CONCURRENCY
    assert isinstance(grants[0], Grant)
    grants[0].release(30, 0.0)
    assert standing(shared.of(changed, "m", 0.0), 0.0) == Standing(
        Left(5, 1, 48.0), Left(100, 70, 18.0)
    )
    assert standing(shared.of(key(), "m", 0.0), 0.0) == Standing(None, None)


def test_keys_that_do_nothing_are_forgotten():
    shared = limits(Model(name="m", rpm=60))
    grant = admit(shared.of(key(rpm=60), "m", 0.0), 0, 0.0)
    assert isinstance(grant, Grant)
    shared.sweep(10.0)
    assert len(shared) == 2
    grant.release(0, 10.0)
    shared.sweep(10.0)
    assert len(shared) == 0


def test_limits_that_are_not_whole_again_are_kept():
    shared = limits()
    grant = admit(shared.of(key(rpm=6), "m", 0.0), 0, 0.0)
    assert isinstance(grant, Grant)
    grant.release(0, 0.0)
    shared.sweep(5.0)
    assert len(shared) == 1


class Keys(RuleBasedStateMachine):
    """Random calls of two keys to a limited model and a free one."""

    RPM, TPM, SLOTS = 30, 3000, 3

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.limits = limits(Model(name="m", rpm=10, tpm=1000))
        self.running = {"a": 0, "b": 0}
        self.admitted = {"a": 0, "b": 0}

    grants = Bundle("grants")

    def _key(self, name):
        return key(name, rpm=self.RPM, tpm=self.TPM, concurrency=self.SLOTS)

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds):
        self.now += seconds

    @rule(
        target=grants,
        name=st.sampled_from("ab"),
        model=st.sampled_from(["m", "free"]),
        tokens=st.integers(0, 4000),
    )
    def ask(self, name, model, tokens):
        before = standing(self.limits.of(self._key(name), model, self.now), self.now)
        answer = admit(self.limits.of(self._key(name), model, self.now), tokens, self.now)
        if isinstance(answer, Refusal):
            assert answer.retry_after > 0
            # Nothing is burnt.
            assert standing(self.limits.of(self._key(name), model, self.now), self.now) == before
            return (name, None)
        self.running[name] += 1
        self.admitted[name] += 1
        assert self.admitted[name] <= self.RPM + self.RPM / 60 * self.now + 1
        return (name, answer)

    @rule(held=grants, used=st.none() | st.integers(0, 5000))
    def release(self, held, used):
        name, grant = held
        if grant is not None and grant._held:
            self.running[name] -= 1
        if grant is not None:
            grant.release(used, self.now)

    @rule()
    def sweep(self):
        self.limits.sweep(self.now)

    @invariant()
    def no_slot_leaks_and_no_tokens_below_zero(self):
        for name, count in self.running.items():
            assert self.limits.running(self._key(name)) == count <= self.SLOTS
            for model in ("m", "free"):
                left = standing(self.limits.of(self._key(name), model, self.now), self.now)
                assert left.requests is not None
                assert left.tokens is not None
                assert left.requests.remaining >= 0
                assert left.tokens.remaining >= 0


TestKeys = Keys.TestCase
TestKeys.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(
    st.none() | st.integers(1, 100),
    st.none() | st.integers(1, 1000),
    st.none() | st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 1500), st.floats(0, 30)), max_size=30),
)
def test_the_quick_look_agrees_with_the_reason(rpm, tpm, concurrency, calls):
    limiter = Limiter(Quota(rpm, tpm, concurrency), 0.0)
    now = 0.0
    for tokens, pause in calls:
        now += pause
        quick = limiter.lets_in(tokens, now)
        assert quick == (limiter.refusal(tokens, now) is None)
        assert quick == (not limiter.is_full and not limiter.wait(tokens, now))
        if quick:
            limiter.take(tokens, now)


# Retries.


@pytest.mark.parametrize(("running", "most"), [(0, 3), (10, 3), (15, 3), (16, 4), (100, 20)])
def test_a_fifth_of_the_running_calls_may_be_retries_and_three_in_any_case(running, most):
    budget = RetryBudget()
    budget.running = running
    while not budget.is_spent:
        budget.retrying += 1
    assert budget.retrying == most


# Two processes.


def test_of_a_bucket_each_of_two_processes_has_half_of_what_is_left():
    old = Limiter(Quota(rpm=60, tpm=600), now=0.0)
    for _ in range(20):
        let_in(old, tokens=10).release(10, 0.0)
    new = Limiter(Quota(rpm=60, tpm=600), now=1000.0)
    new.share(old.missing(0.0), 1000.0)
    old.share(Missing(), 0.0)
    for one, now in ((old, 0.0), (new, 1000.0)):
        left = standing([one], now)
        assert left.requests is not None
        assert left.tokens is not None
        assert (left.requests.remaining, left.tokens.remaining) == (20, 200)
    # What comes back is not halved.
    left = standing([new], 1010.0)
    assert left.requests is not None
    assert left.requests.remaining == 30


def test_a_debt_is_taken_over_whole():
    bucket = TokenBucket(60, now=0.0)
    bucket.settle(0, 90, now=0.0)
    before = bucket.full_at
    bucket.halve(0.0)
    assert bucket.full_at == before


def test_a_limit_that_there_is_not_is_not_shared():
    limiter = Limiter(Quota(), now=0.0)
    limiter.share(Missing(30.0, 30.0), 0.0)
    assert limiter.missing(0.0) == Missing()
    assert limiter.lets_in(1_000_000, 0.0)


def test_keys_go_on_in_another_process_from_where_they_were():
    key, other = Key(name="k", hash="a", rpm=60), Key(name="o", hash="b", rpm=60)
    old, new = KeyLimits([], 64), KeyLimits([], 64)
    for _ in range(40):
        let_in(old.of(key, None, 0.0)[0])
    old.of(other, None, 0.0)
    shared = old.missing(0.0)
    assert shared == {("a", None): Missing(40.0, 0.0)}
    old.share({}, 0.0)
    new.share(shared, 1000.0)

    def left(limits: KeyLimits, of: Key, now: float) -> int:
        found = standing(limits.of(of, None, now), now).requests
        assert found is not None
        return found.remaining

    assert [left(old, key, 0.0), left(old, other, 0.0)] == [10, 30]
    assert [left(new, key, 1000.0), left(new, other, 1000.0)] == [10, 30]
    new.sweep(1030.0)
    assert left(new, Key(name="later", hash="c", rpm=60), 1030.0) == 60
    assert left(new, key, 1030.0) == 40
    new.sweep(1061.0)
    assert left(new, other, 1061.0) == 60
