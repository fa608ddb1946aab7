"""What holds of the limits of keys and accounts together, however calls go: let in, tried, tried elsewhere, given up, left."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.config import loads
from proxy.config.model import Key, Model, Target
from proxy.errors import GatewayError, Kind
from proxy.routing.cooldown import VERDICTS, cap
from proxy.routing.limits import Grant, KeyLimits, Limiter, Refusal, admit, standing
from proxy.routing.pool import Lease, Pool
from proxy.routing.seat import Seat, Standing

CONFIG = """
[providers.p]
dialects = ["openai-chat"]
base_url = "http://p.test"
auth = "none"
[providers.q]
dialects = ["openai-chat"]
base_url = "http://q.test"
auth = "none"
[[accounts]]
name = "a"
provider = "p"
rpm = 3
tpm = 2000
concurrency = 2
[[accounts]]
name = "b"
provider = "p"
concurrency = 2
[[accounts]]
name = "f"
provider = "q"
tpm = 4000
"""
NAMES = "abf"
TARGETS = (
    Target(provider="p", model="m", order=1),
    Target(provider="q", model="n", order=1),
)
"""The model's own, and its fallback's."""
ATTEMPTS = 3
RPM, TPM, SLOTS = 8, 2500, 4
MODEL = Model(name="smart", rpm=5, tpm=2000)
WALL = 1_792_000_000.0
KINDS = [*VERDICTS, Kind.INVALID_REQUEST, Kind.NOT_FOUND]
HINTS = ("0", "-1", "1e9", "2", "45", "soon")


@dataclass(slots=True)
class Book:
    """What a limiter has let through, kept independently: when, and what it cost as far as that is known."""

    rpm: int | None
    tpm: int | None
    requests: list[float] = field(default_factory=list)
    tokens: float = 0.0

    def let_in(self, tokens: int, now: float) -> int:
        """Note a call; check that it was within the limits, of requests in any stretch of time and of tokens since the start."""
        self.requests.append(now)
        if self.rpm is not None:
            for count, began in enumerate(reversed(self.requests), 1):
                assert count <= self.rpm + self.rpm * (now - began) / 60 + 1
        if self.tpm is None:
            return 0
        reserved = min(tokens, self.tpm)
        self.tokens += reserved
        # What calls used beyond their estimate is paid before the next one comes in that costs anything.
        assert not reserved or self.tokens <= self.tpm + self.tpm * now / 60 + 1
        return reserved

    def settle(self, reserved: int, used: int | None) -> None:
        if self.tpm is not None and used is not None:
            self.tokens += used - reserved


@dataclass(slots=True, eq=False)
class Running:
    """A call that was let in."""

    key: str
    grant: Grant
    tokens: int
    began: float
    reserved: dict[str, int]
    tried: set[str] = field(default_factory=set)
    lease: Lease | None = None
    place: int = 0
    """The tokens that are reserved at the account."""


class CallMachine(RuleBasedStateMachine):
    """Calls of two keys to a limited model with a fallback, on three accounts that fail as they like."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.pool = Pool(loads(CONFIG, Path("c.toml"), {"HOME": "/root"}))
        self.limits = KeyLimits([MODEL], SLOTS)
        self.running: list[Running] = []
        self.books = {
            "a": Book(3, 2000), "b": Book(None, None), "f": Book(None, 4000),
            **{name: Book(RPM, TPM) for name in ("one", "two")},
            **{f"{name} on smart": Book(MODEL.rpm, MODEL.tpm) for name in ("one", "two")},
        }  # fmt: skip

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 3.0, 5.0, 30.0, 61.0, 400.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(name=st.sampled_from(["one", "two"]), tokens=st.sampled_from([0, 10, 300, 1500, 3000]))
    def arrive(self, name, tokens):
        limiters = self._limiters(name)
        before = standing(limiters, self.now)
        granted = admit(limiters, tokens, self.now)
        if isinstance(granted, Refusal):
            assert granted.retry_after > 0
            assert standing(limiters, self.now) == before
            return
        books = (name, f"{name} on smart")
        reserved = {book: self.books[book].let_in(tokens, self.now) for book in books}
        self.running.append(Running(name, granted, tokens, self.now, reserved))

    @rule(name=st.sampled_from(["one", "two"]), tokens=st.sampled_from([0, 10, 300, 1500, 3000]))
    def arrive_in_vain(self, name, tokens):
        """Come to nothing at once: that is as if it had not been."""
        before = self._left(name)
        granted = admit(self._limiters(name), tokens, self.now)
        if isinstance(granted, Grant):
            granted.cancel(self.now)
        assert self._left(name) == before

    @precondition(lambda self: any(one.lease is None for one in self.running))
    @rule(data=st.data())
    def go(self, data):
        self._go(data.draw(st.sampled_from([one for one in self.running if one.lease is None])))

    @precondition(lambda self: any(one.lease is not None for one in self.running))
    @rule(
        data=st.data(),
        kind=st.sampled_from(KINDS),
        told=st.none() | st.sampled_from(HINTS),
        goes_on=st.booleans(),
    )
    def fail(self, data, kind, told, goes_on):
        call, lease = self._busy(data)
        headers = {} if told is None else {b"retry-after": told.encode()}
        lease.fail(GatewayError(kind), self.now, WALL, 429, headers)
        call.tried.add(lease.seat.name)
        self._give_place_back(call, lease, 0)
        if goes_on:
            self._go(call)

    @precondition(lambda self: any(one.lease is not None for one in self.running))
    @rule(data=st.data(), used=st.none() | st.integers(0, 4000), whole=st.booleans())
    def answer(self, data, used, whole):
        """Bring the whole answer, or only its first content."""
        call, lease = self._busy(data)
        lease.succeed()
        if whole:
            self._give_place_back(call, lease, used)
            self._end(call, used)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def leave(self, data):
        """The client leaves, or is told that nobody takes its call."""
        call = data.draw(st.sampled_from(self.running))
        asked = call.lease is not None or bool(call.tried)
        if call.lease is not None:
            self._give_place_back(call, call.lease, None)
        self._end(call, None if asked else 0, cancelled=not asked)

    @rule()
    def sweep(self):
        self.limits.sweep(self.now)

    @rule(name=st.sampled_from(NAMES))
    def clear(self, name):
        self._seat(name).clear()

    @invariant()
    def no_slot_leaks_and_nothing_is_below_zero(self):
        for name in ("one", "two"):
            count = sum(call.key == name for call in self.running)
            for limiter in self._limiters(name):
                assert limiter.running == count <= SLOTS
            assert min(self._left(name)) >= 0
        for state in self.pool.accounts(self.now):
            held = [one for one in self.running if one.lease and one.lease.seat.name == state.name]
            assert state.in_flight == len(held)
            assert state.in_flight <= {"a": 2, "b": 2}.get(state.name, SLOTS * 2)
            assert (state.requests_left or 0) >= 0
            assert (state.tokens_left or 0) >= 0
        assert self.pool.retries.running == sum(one.lease is not None for one in self.running)
        assert 0 <= self.pool.retries.retrying <= self.pool.retries.running

    @invariant()
    def nobody_is_benched_past_the_cap(self):
        for name in NAMES:
            for why in self.pool.why(name, self.now):
                assert why.until <= self.now + cap(why.cause, self.pool.times)

    def teardown(self):
        for call in list(self.running):
            if call.lease is not None:
                self._give_place_back(call, call.lease, 0)
            self._end(call, 0)
        self.no_slot_leaks_and_nothing_is_below_zero()
        # A debt may be paid for an hour, but no bench outlives its cap, and then everybody is asked again.
        self.now += max(self.pool.times.max_quota, self.pool.times.probe_interval)
        for name in NAMES:
            assert all(
                cooldown.lets_in(self.now) for cooldown in self._seat(name).cooldowns.values()
            )

    # Steps.

    def _limiters(self, name: str) -> list[Limiter]:
        key = Key(name=name, hash=name, rpm=RPM, tpm=TPM, concurrency=SLOTS)
        return self.limits.of(key, "smart", self.now)

    def _left(self, name: str) -> tuple[int, int]:
        left = standing(self._limiters(name), self.now)
        assert left.requests is not None
        assert left.tokens is not None
        return left.requests.remaining, left.tokens.remaining

    def _takes(self, target: Target, call: Running) -> dict[str, Standing]:
        found = {
            seat.name: seat.standing(target.model, call.tokens, self.now)
            for seat in self.pool.serving(target)
            if seat.name not in call.tried
        }
        able = (Standing.AVAILABLE, Standing.HALF_OPEN)
        return {name: how for name, how in found.items() if how in able}

    def _busy(self, data) -> tuple[Running, Lease]:
        asking = [(one, one.lease) for one in self.running if one.lease is not None]
        chosen: tuple[Running, Lease] = data.draw(st.sampled_from(asking))
        return chosen

    def _go(self, call: Running) -> None:
        """Try the next account, if one takes the call."""
        if len(call.tried) >= ATTEMPTS:
            return
        spent = bool(call.tried) and self.pool.retries.is_spent
        for target in TARGETS:
            takes = self._takes(target, call)
            outlook = self.pool.outlook((target,), self.now, call.tokens, call.tried)
            lease = self.pool.pick(target, call.tried, self.now, tokens=call.tokens)
            if lease is None:
                assert spent or not takes
                assert outlook.at is None or outlook.at > self.now
                continue
            assert not spent
            assert outlook.at == self.now
            assert lease.seat.name in takes
            assert lease.is_canary == (takes[lease.seat.name] is Standing.HALF_OPEN)
            call.lease = lease
            call.place = self.books[lease.seat.name].let_in(call.tokens, self.now)
            return

    def _give_place_back(self, call: Running, lease: Lease, used: int | None) -> None:
        lease.release(self.now, used)
        lease.release(self.now, 999)
        self.books[lease.seat.name].settle(call.place, used)
        call.lease = None

    def _end(self, call: Running, used: int | None, *, cancelled: bool = False) -> None:
        if cancelled:
            call.grant.cancel(self.now)
        else:
            call.grant.release(used, self.now)
        call.grant.release(999, self.now)
        call.grant.cancel(self.now)
        for book, reserved in call.reserved.items():
            self.books[book].settle(reserved, used)
            if cancelled:
                self.books[book].requests.remove(call.began)
        self.running.remove(call)

    def _seat(self, name: str) -> Seat:
        seat = self.pool.seat(name)
        assert seat is not None
        return seat


TestCallMachine = CallMachine.TestCase
TestCallMachine.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
