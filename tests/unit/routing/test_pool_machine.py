"""What holds of a pool whatever happens to it, in whatever order."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from proxy.config import loads
from proxy.config.model import Target
from proxy.errors import GatewayError, Kind
from proxy.money import window
from proxy.routing.cooldown import SPARED, VERDICTS, State, cap, verdict
from proxy.routing.pool import Lease, Pool
from proxy.routing.seat import Standing

CONFIG = """
[providers.p]
dialects = ["openai-chat"]
base_url = "http://p.test"
auth = "none"
[[accounts]]
name = "a"
provider = "p"
rpm = 30
tpm = 3000
concurrency = 2
[[accounts]]
name = "b"
provider = "p"
weight = 2
concurrency = 3
budget_usd = 0.001
budget_period = "day"
[[accounts]]
name = "c"
provider = "p"
models = ["m"]
rpm = 20
[[accounts]]
name = "d"
provider = "p"
priority = 1
"""
RPM = {"a": 30, "c": 20}
SLOTS = {"a": 2, "b": 3}
MODELS = ("m", "n")
WALL = 1_792_000_000.0
HINTS = ("0", "-1", "1e9", "Wed, 21 Oct 2015 07:28:00 GMT", "soon", "3", "120")
KINDS = [*VERDICTS, Kind.INVALID_REQUEST, Kind.NOT_FOUND]


def target(model: str) -> Target:
    return Target(provider="p", model=model, order=1)


class PoolMachine(RuleBasedStateMachine):
    """Calls of two models to four accounts, which fail, succeed, and leave as they like."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.pool = Pool(loads(CONFIG, Path("c.toml"), {"HOME": "/root"}))
        self.open: list[Lease] = []
        self.retries: list[Lease] = []
        self.sent = dict.fromkeys(RPM, 0)
        self.deadlines: dict[tuple[str, str | None], float] = {}

    leases = Bundle("leases")

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 5.0, 30.0, 31.0, 400.0, 50_000.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(model=st.sampled_from(MODELS))
    def wait_for_the_earliest(self, model):
        at = self.pool.outlook([target(model)], self.now).at
        if at is not None:
            assert at >= self.now
            self.now = at

    @rule(model=st.sampled_from(MODELS), tokens=st.integers(0, 4000))
    def look(self, model, tokens):
        """Looking changes nothing."""
        before = self.pool.accounts(self.now)
        self.pool.outlook([target(model)], self.now, tokens)
        assert self.pool.accounts(self.now) == before

    @rule(
        target=leases,
        model=st.sampled_from(MODELS),
        tried=st.sets(st.sampled_from("abcd"), max_size=2),
        tokens=st.integers(0, 4000),
        session=st.none() | st.sampled_from([b"1" * 16, b"2" * 16]),
    )
    def pick(self, model, tried, tokens, session):
        spent = self.pool.retries.is_spent
        standings = {
            seat.name: seat.standing(model, tokens, self.now)
            for seat in self.pool.serving(target(model))
            if seat.name not in tried
        }
        takes = {Standing.AVAILABLE, Standing.HALF_OPEN} & set(standings.values())
        lease = self.pool.pick(target(model), tried, self.now, tokens=tokens, session=session)
        if lease is None:
            assert not takes or (tried and spent)
            return None
        name = lease.seat.name
        assert standings[name] in takes
        assert lease.is_canary == (standings[name] is Standing.HALF_OPEN)
        if tried and Standing.AVAILABLE in standings.values():
            assert not lease.is_canary
        better = [one for one in "abc" if standings.get(one) is Standing.AVAILABLE]
        assert not (name == "d" and better)
        if name in self.sent:
            self.sent[name] += 1
            assert self.sent[name] <= RPM[name] + RPM[name] / 60 * self.now + 1
        self.open.append(lease)
        if tried:
            self.retries.append(lease)
        return (lease, model)

    @rule(held=leases)
    def succeed(self, held):
        if held is not None and held[0] in self.open:
            held[0].succeed()
            self._closed()
            self.retries = [one for one in self.retries if one is not held[0]]

    @rule(held=leases, kind=st.sampled_from(KINDS), told=st.none() | st.sampled_from(HINTS))
    def fail(self, held, kind, told):
        if held is None or held[0] not in self.open:
            return
        lease, model = held
        error = GatewayError(kind)
        found = verdict(error)
        canary = lease.is_canary
        others = self.pool.has_another(target(model), lease.seat, self.now)
        headers = {} if told is None else {b"retry-after": told.encode()}
        bench = lease.fail(error, self.now, WALL, 429, headers)
        assert not lease.is_canary
        if found is None or (found.cause in SPARED and not others and not canary):
            assert bench is None
        if bench is not None:
            assert bench.until > self.now

    @rule(held=leases, empty_for=st.sampled_from(["1s", "20s", "9h"]))
    def learn(self, held, empty_for):
        if held is not None and held[0] in self.open:
            told = {
                b"x-ratelimit-remaining-tokens": b"0",
                b"x-ratelimit-reset-tokens": empty_for.encode(),
            }
            held[0].learn(told, self.now, WALL)
            until = held[0].seat.empty_until[held[1]]
            assert self.now < until <= self.now + self.pool.times.max_burst

    @rule(held=consumes(leases), used=st.none() | st.integers(0, 5000), twice=st.booleans())
    def release(self, held, used, twice):
        if held is None:
            return
        for _ in range(1 + twice):
            held[0].release(self.now, used)
        self.open.remove(held[0])
        self.retries = [one for one in self.retries if one is not held[0]]

    @rule(name=st.sampled_from("abcd"), what=st.sampled_from(["enabled", "spent", "clear"]))
    def operate(self, name, what):
        seat = self.pool.seat(name)
        assert seat is not None
        if what == "clear":
            seat.clear()
            self._closed()
        else:
            setattr(seat, what, not getattr(seat, what))

    @rule(name=st.sampled_from("ab"), micro=st.integers(0, 700))
    def spend(self, name, micro):
        seat = self.pool.seat(name)
        assert seat is not None
        wall = WALL + self.now
        seat.spend(micro, self.now, wall)
        if seat.budget is None:
            return
        spent, end = seat.budget.spent(wall), window("day", wall)[1]
        assert micro <= spent
        assert seat.is_spent(self.now) is (spent >= 1000)
        if seat.spent:
            assert seat.spent_until is not None
            assert end is not None
            assert abs(seat.spent_until - (end - WALL)) < 0.01
            assert not seat.is_spent(end - WALL + 0.01)

    def _closed(self):
        kept = {
            (seat.name, model)
            for seat in map(self.pool.seat, "abcd")
            if seat is not None
            for model in seat.cooldowns
        }
        self.deadlines = {key: end for key, end in self.deadlines.items() if key in kept}

    @invariant()
    def no_slot_leaks(self):
        for state in self.pool.accounts(self.now):
            held = [lease for lease in self.open if lease.seat.name == state.name]
            assert state.in_flight == len(held) <= SLOTS.get(state.name, 10**9)
        assert self.pool.retries.running == len(self.open)
        assert self.pool.retries.retrying == len(self.retries)

    @invariant()
    def no_tokens_below_zero(self):
        for state in self.pool.accounts(self.now):
            assert state.requests_left is None or state.requests_left >= 0
            assert state.tokens_left is None or state.tokens_left >= 0

    @invariant()
    def deadlines_are_within_their_cap_and_only_ever_extended(self):
        for name in "abcd":
            for why in self.pool.why(name, self.now):
                assert why.until <= self.now + cap(why.cause, self.pool.times)
                assert why.state is (State.OPEN if self.now < why.until else State.HALF_OPEN)
                assert why.until >= self.deadlines.get((name, why.model), 0.0)
                self.deadlines[name, why.model] = why.until

    @invariant()
    def one_canary_each_interval_and_none_is_lost(self):
        out = {
            id(cooldown)
            for lease in self.open
            for _, cooldown in lease._canaries
            if cooldown.bench is not None
        }
        for seat in map(self.pool.seat, "abcd"):
            assert seat is not None
            for cooldown in seat.cooldowns.values():
                assert cooldown.probing == (id(cooldown) in out)
                assert cooldown.bench is not None
                latest = max(cooldown.bench.until, self.now + self.pool.times.probe_interval)
                assert cooldown.free_at(self.now) <= latest
                assert cooldown.lets_in(cooldown.free_at(self.now))

    def teardown(self):
        for lease in self.open:
            lease.release(self.now)
        assert all(not state.in_flight for state in self.pool.accounts(self.now))
        assert (self.pool.retries.running, self.pool.retries.retrying) == (0, 0)


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)
