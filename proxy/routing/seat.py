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
from proxy.routing.budget import Budget
from proxy.routing.cooldown import Cause, Cooldown, Evidence, State
from proxy.routing.limits import UNKNOWN_WAIT, Limiter, Missing, Quota
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
    empty: tuple[tuple[str, float], ...] = ()
    """The models of which the provider said that nothing is left, and until when."""


class Seat:
    """An account at work: what it carries, and what keeps it from carrying more."""

    __slots__ = (
        "_elsewhere", "account", "benched", "budget", "cooldowns", "empty_until", "enabled", "limiter", "name",
        "priority", "provider", "spent", "spent_until", "told", "turn", "weight",
    )  # fmt: skip

    def __init__(self, account: Account, provider: Provider, now: float = 0.0) -> None:
        self.account = account
        self.provider = provider
        self.name = account.name
        self.priority = account.priority
        self.weight = account.weight
        self.limiter = Limiter(Quota(account.rpm, account.tpm, account.concurrency), now)
        self._elsewhere = 0
        """How many calls of another process run there."""
        self.enabled = True
        """False: an operator took it out."""
        self.spent = False
        """What we may spend there in this period is spent; ``spend`` says so."""
        self.spent_until: float | None = None
        """When the period ends in which it is; None: no time will do it."""
        self.budget = _budget(account)
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

    def share(self, missing: Missing, now: float, wall: float) -> None:
        """Go on from where another process was, and leave half of what is left of every limit to it."""
        self.limiter.share(missing, now)
        if self.budget is not None:
            self.budget.share(wall)
            self.spend(0, now, wall)

    def elsewhere(self, running: int) -> None:
        """Have ``running`` calls of another process count among those that run."""
        self.limiter.running += running - self._elsewhere
        self._elsewhere = running

    def alone(self, now: float, wall: float) -> None:
        """Have everything again: the other process has ended."""
        self.elsewhere(0)
        if self.budget is not None:
            self.budget.alone()
            self.spend(0, now, wall)

    def adopt(
        self, account: Account, provider: Provider, times: Times, now: float, wall: float
    ) -> None:
        """Go by another configuration of the same account. What runs and what was used is not forgotten.

        Cooldowns are, if calls now go elsewhere or with another credential: what was wrong may have been just that.
        """
        before = self.account
        same = (before.api_key, before.base_url, before.proxy, self.provider) == (
            account.api_key,
            account.base_url,
            account.proxy,
            provider,
        )
        self.account = account
        self.provider = provider
        self.priority = account.priority
        self.weight = account.weight
        self.limiter.adjust(Quota(account.rpm, account.tpm, account.concurrency), now)
        if not same:
            self.clear()
        for cooldown in self.cooldowns.values():
            cooldown.times = times
        spent = 0
        if self.budget is not None and before.budget_period == account.budget_period:
            spent = self.budget.spent(wall)
        self.budget = _budget(account)
        self.spent = False
        self.spend(spent, now, wall)

    def standing(self, model: str, tokens: int, now: float) -> Standing:
        """Return whether it takes a call to ``model`` of about so many tokens; ``half_open``: as a canary."""
        if not self.enabled:
            return Standing.DISABLED
        if self.is_spent(now):
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
        if standing is Standing.DISABLED:
            return None
        if standing is Standing.AVAILABLE or standing is Standing.HALF_OPEN:
            return now
        at = now
        if standing is Standing.SPENT:
            if self.spent_until is None:
                return None
            at = self.spent_until
        at = max(
            (self.cooldowns[key].free_at(at) for key in (EVERY, model) if key in self.cooldowns),
            default=at,
        )
        at = max(at, self.empty_until.get(model, now), now + self.limiter.wait(tokens, now))
        # What is left is somebody else's call, which ends when it ends.
        return at if at > now and not self.limiter.is_full else max(at, now + UNKNOWN_WAIT)

    def is_spent(self, now: float) -> bool:
        """Tell whether its budget is spent and the period that it was for has not ended."""
        return self.spent and (self.spent_until is None or now < self.spent_until)

    def spend(self, micro: int, now: float, wall: float) -> None:
        """Count what a call cost, in micro-USD; once its budget is spent it rests until the period ends.

        Also what an earlier process is known to have spent in this period. ``wall`` is the time since 1970.
        """
        budget = self.budget
        if budget is None:
            return
        budget.add(micro, wall)
        self.spent = budget.is_spent(wall)
        if self.spent:
            left = budget.ends_in(wall)
            self.spent_until = None if left is None else now + left

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


def _budget(account: Account) -> Budget | None:
    if account.budget_usd is None or account.budget_period is None:
        return None
    return Budget(account.budget_usd, account.budget_period)


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
        empty=tuple((model, end) for model, end in seat.empty_until.items() if now < end),
    )
