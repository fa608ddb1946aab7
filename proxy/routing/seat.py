"""An account at work: what it carries, and what keeps it from carrying more.

``Available = healthy and not full and not limited``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from proxy.config.model import Account
from proxy.config.model import Cooldown as Times
from proxy.providers import Provider
from proxy.routing.cooldown import Cause, Cooldown, Evidence, State
from proxy.routing.limits import UNKNOWN_WAIT, Limiter, Quota
from proxy.routing.ratelimits import Reading

_MAX_MODELS = 256
"""Models of an account whose troubles are remembered: names of tomorrow's models are endless, and clients send them."""
EVERY = None
"""The key of the cooldown that is about the whole account, beside those of its models."""


class Standing(StrEnum):
    """Whether an account takes a call, or what keeps it from it; of several reasons the last of this list."""

    AVAILABLE = "available"
    HALF_OPEN = "half_open"
    LIMITED = "limited"
    FULL = "full"
    COOLING = "cooling"
    SPENT = "spent"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Why:
    """Why an account, or one model on it, is benched. Times are seconds of the pool's clock."""

    model: str | None
    """None: the whole account."""
    state: State
    cause: Cause
    since: float
    until: float
    failures: int
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account as an operator sees it."""

    name: str
    provider: str
    standing: Standing
    cause: Cause | None
    """Of ``cooling``, ``half_open``, ``limited`` (burst) and ``spent`` (budget)."""
    until: float | None
    """When that ends, as far as anybody knows."""
    why: tuple[Why, ...]
    in_flight: int
    requests_left: int | None
    """Of our own limit; None: it has none."""
    tokens_left: int | None
    told: Reading | None
    """What the provider said last."""


class Seat:
    """An account at work: what it carries, and what keeps it from carrying more."""

    __slots__ = (
        "account", "benched", "cooldowns", "empty_until", "enabled", "heads", "limiter", "name", "priority",
        "provider", "spent", "told", "turn", "weight",
    )  # fmt: skip

    def __init__(self, account: Account, provider: Provider, now: float = 0.0) -> None:
        self.account = account
        self.provider = provider
        self.name = account.name
        self.priority = account.priority
        self.weight = account.weight
        self.heads: dict[bool, bytes] = {}
        """The account's header lines as bytes, for streamed calls and others."""
        self.limiter = Limiter(Quota(account.rpm, account.tpm, account.concurrency), now)
        self.enabled = True
        """False: an operator took it out."""
        self.spent = False
        """What we may spend there in this period is spent; whoever keeps the books says so."""
        self.cooldowns: dict[str | None, Cooldown] = {}
        """Of the account, and of its models: only what is not closed."""
        self.benched: dict[Cause, int] = {}
        """How often it, or a model on it, was found failing."""
        self.empty_until: dict[str, float] = {}
        """The models for which the provider said that nothing is left, and until when."""
        self.told: Reading | None = None
        self.turn = 0.0
        """When its next turn is among equally laden ones, in calls for its weight."""

    @property
    def in_flight(self) -> int:
        return self.limiter.running

    def standing(self, model: str, tokens: int, now: float) -> Standing:
        """Return whether it takes a call to ``model`` of about so many tokens; ``half_open``: as a canary."""
        if not self.enabled:
            return Standing.DISABLED
        if self.spent:
            return Standing.SPENT
        probed = False
        if self.cooldowns:
            for key in (EVERY, model):
                cooldown = self.cooldowns.get(key)
                if cooldown is not None:
                    if not cooldown.lets_in(now):
                        return Standing.COOLING
                    probed = True
        limiter = self.limiter
        if limiter.is_full:
            return Standing.FULL
        if self.empty_until and now < self.empty_until.get(model, now):
            return Standing.LIMITED
        if limiter.wait(tokens, now):
            return Standing.LIMITED
        return Standing.HALF_OPEN if probed else Standing.AVAILABLE

    def free_at(self, model: str, tokens: int, now: float) -> float | None:
        """Return when it will take a call to ``model``, as far as that can be known; None: no time will do it."""
        standing = self.standing(model, tokens, now)
        if standing is Standing.DISABLED or standing is Standing.SPENT:
            return None
        if standing is Standing.AVAILABLE or standing is Standing.HALF_OPEN:
            return now
        at = max(
            (self.cooldowns[key].free_at(now) for key in (EVERY, model) if key in self.cooldowns),
            default=now,
        )
        at = max(at, self.empty_until.get(model, now), now + self.limiter.wait(tokens, now))
        # What is left is somebody else's call, which ends when it ends.
        return at if at > now and not self.limiter.is_full else max(at, now + UNKNOWN_WAIT)

    def waits_for_a_call(self, model: str, tokens: int, now: float) -> bool:
        """Tell whether the end of a running call is all that it waits for: it frees a slot, or is the canary's."""
        standing = self.standing(model, tokens, now)
        if standing is not Standing.COOLING:
            return standing is Standing.FULL
        shut = [
            self.cooldowns[key]
            for key in (EVERY, model)
            if key in self.cooldowns and not self.cooldowns[key].lets_in(now)
        ]
        return all(cooldown.probing for cooldown in shut)

    def is_limited(self, model: str, tokens: int, now: float) -> bool:
        """Tell whether a limit keeps it from a call to ``model``: the provider's or our own."""
        standing = self.standing(model, tokens, now)
        if standing is Standing.COOLING:
            return any(
                bench.cause is Cause.BURST
                for key in (EVERY, model)
                if key in self.cooldowns and (bench := self.cooldowns[key].bench) is not None
            )
        return standing is Standing.FULL or standing is Standing.LIMITED

    def clear(self) -> None:
        """Forget every cooldown and what the provider said was empty: an operator knows better."""
        for cooldown in self.cooldowns.values():
            cooldown.close()
        self.cooldowns.clear()
        self.empty_until.clear()

    def learn(self, model: str, reading: Reading, now: float, longest: float) -> None:
        """Note what an answer said is left; at zero the account rests before it is told to, at most ``longest`` seconds."""
        self.told = reading
        empty_for = reading.empty_for
        if empty_for > 0:
            until = now + min(empty_for, longest)
            if model not in self.empty_until:
                self.empty_until = {
                    name: end for name, end in self.empty_until.items() if now < end
                }
                if len(self.empty_until) >= _MAX_MODELS:
                    del self.empty_until[next(iter(self.empty_until))]
            self.empty_until[model] = max(until, self.empty_until.get(model, until))
        elif self.empty_until.get(model, math.inf) <= now:
            del self.empty_until[model]

    def cooldown(self, key: str | None, times: Times) -> Cooldown:
        """Return the cooldown of a model, or of the account (None), to bench it with."""
        found = self.cooldowns.get(key)
        if found is None:
            if len(self.cooldowns) >= _MAX_MODELS:
                self._forget_one()
            found = self.cooldowns[key] = Cooldown(times)
        return found

    def _forget_one(self) -> None:
        """Drop the model whose deadline comes first, which is the one most likely to work again."""
        soonest = min(
            (bench.until, key)
            for key, cooldown in self.cooldowns.items()
            if key is not None and (bench := cooldown.bench) is not None
        )
        del self.cooldowns[soonest[1]]

    def why(self, now: float) -> tuple[Why, ...]:
        """Return what is benched and on what evidence, the account itself first."""
        return tuple(
            Why(
                key,
                cooldown.state(now),
                bench.cause,
                bench.since,
                bench.until,
                bench.failures,
                bench.evidence,
            )
            for key, cooldown in sorted(self.cooldowns.items(), key=lambda one: one[0] or "")
            if (bench := cooldown.bench) is not None
        )

    def __repr__(self) -> str:
        return f"<Seat {self.name} {self.in_flight} in flight, {len(self.cooldowns)} cooling>"


def account_state(seat: Seat, now: float) -> AccountState:
    """Return how an account is as a whole: what is wrong with single models is in ``why`` only."""
    standing = seat.standing("", 0, now)
    limiter = seat.limiter
    why = seat.why(now)
    cause: Cause | None = None
    if standing is Standing.SPENT:
        cause = Cause.BUDGET
    elif standing is Standing.LIMITED:
        cause = Cause.BURST
    elif standing in (Standing.COOLING, Standing.HALF_OPEN):
        cause = why[0].cause
    available = standing is Standing.AVAILABLE
    return AccountState(
        name=seat.name,
        provider=seat.account.provider,
        standing=standing,
        cause=cause,
        until=None if available else seat.free_at("", 0, now),
        why=why,
        in_flight=seat.in_flight,
        requests_left=None if limiter.requests is None else limiter.requests.remaining(now),
        tokens_left=None if limiter.tokens is None else limiter.tokens.remaining(now),
        told=seat.told,
    )
