"""Which upstream account takes the next call.

``Available = healthy and not full and not limited``. Of the available ones the lowest priority number comes first, then the
account that has the conversation's prompt in its cache, then the least laden for its weight. A half-open account gets one
call as its canary: a first try, so that whoever has failed once is not used to find out whether somebody else fails too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from proxy.config.model import Account, Config, Target
from proxy.config.model import Cooldown as Times
from proxy.errors import GatewayError, Kind
from proxy.providers import Provider
from proxy.routing import ratelimits
from proxy.routing.affinity import Affinity
from proxy.routing.catalog import serves
from proxy.routing.cooldown import (
    SPARED,
    Bench,
    Cause,
    Cooldown,
    Evidence,
    Scope,
    State,
    evidence,
    verdict,
)
from proxy.routing.limits import UNKNOWN_WAIT, Limiter, Quota, RetryBudget
from proxy.routing.ratelimits import Reading

_MAX_MODELS = 256
"""Models of an account whose troubles are remembered: names of tomorrow's models are endless, and clients send them."""
_MAX_TARGETS = 4096
_NOBODY_BACK = 60.0
"""Seconds to tell a client when no time brings anybody back: an operator must act first."""

_EVERY = None
"""The key of the cooldown that is about the whole account, beside those of its models."""


class Standing(StrEnum):
    """Whether an account takes a call, or what keeps it from it; of several reasons the last of this list."""

    AVAILABLE = "available"
    LIMITED = "limited"
    FULL = "full"
    HALF_OPEN = "half_open"
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


@dataclass(frozen=True, slots=True)
class Outlook:
    """When somebody will take a call that nobody takes now."""

    at: float | None
    """None: no time will do it."""
    limited: bool
    """Somebody is only rate limited, by the provider or by our own limits: the client shall come back, nobody is ill."""

    def error(self, now: float) -> GatewayError:
        """Return what the client is told: 429 if somebody is limited, else 503, and when to come back."""
        wait = _NOBODY_BACK if self.at is None else self.at - now
        kind = Kind.ALL_LIMITED if self.limited else Kind.NOBODY
        return GatewayError(kind, retry_after=max(math.ceil(wait), 1))


class Seat:
    """An account at work: what it carries, and what keeps it from carrying more."""

    __slots__ = (
        "account", "cooldowns", "empty_until", "enabled", "heads", "limiter", "name", "priority",
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
            for key in (_EVERY, model):
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
            (self.cooldowns[key].free_at(now) for key in (_EVERY, model) if key in self.cooldowns),
            default=now,
        )
        at = max(at, self.empty_until.get(model, now), now + self.limiter.wait(tokens, now))
        # What is left is somebody else's call, which ends when it ends.
        return at if at > now and not self.limiter.is_full else max(at, now + UNKNOWN_WAIT)

    def is_limited(self, model: str, tokens: int, now: float) -> bool:
        """Tell whether a limit keeps it from a call to ``model``: the provider's or our own."""
        standing = self.standing(model, tokens, now)
        if standing is Standing.COOLING:
            return any(
                bench.cause is Cause.BURST
                for key in (_EVERY, model)
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


class Lease:
    """A call's place at an account. ``release`` belongs into a ``finally``; whatever was not told by then counts as unknown."""

    __slots__ = ("_canaries", "_open", "_pool", "_reserved", "_retries", "_target", "seat")

    def __init__(
        self,
        pool: Pool,
        seat: Seat,
        target: Target,
        reserved: int,
        canaries: tuple[tuple[str | None, Cooldown], ...],
        *,
        retries: bool,
    ) -> None:
        self.seat = seat
        self._pool = pool
        self._target = target
        self._reserved = reserved
        self._canaries = canaries
        self._retries = retries
        self._open = True

    @property
    def is_canary(self) -> bool:
        """It finds out whether a half-open account works again."""
        return bool(self._canaries)

    def succeed(self) -> None:
        """Content has come: what this was the canary of is closed, and it is no longer a burden as a retry."""
        for key, cooldown in self._canaries:
            cooldown.close()
            if self.seat.cooldowns.get(key) is cooldown:
                del self.seat.cooldowns[key]
        self._canaries = ()
        self._content()

    def learn(self, headers: Mapping[bytes, bytes], now: float, wall: float) -> None:
        """Read what the provider's answer says about its limits. ``wall`` is the time since 1970."""
        reading = ratelimits.read(headers, wall)
        if reading is not None:
            self.seat.learn(self._target.model, reading, now, self._pool.times.max_burst)

    def fail(
        self,
        error: GatewayError,
        now: float,
        wall: float,
        status: int | None = None,
        headers: Mapping[bytes, bytes] | None = None,
    ) -> Bench | None:
        """Bench the account for ``error`` if it is the account's; return the outage, None if there is none.

        ``status`` and ``headers`` are the upstream's, if it answered. ``wall`` is the time since 1970.
        """
        found = verdict(error)
        canaries, self._canaries = self._canaries, ()
        bench = None
        canary = None
        if found is not None:
            key = _EVERY if found.scope is Scope.ACCOUNT else self._target.model
            canary = next((one for name, one in canaries if name == key), None)
            if (
                canary is not None
                or found.cause not in SPARED
                or self._pool.has_another(self._target, self.seat, now)
            ):
                hint = ratelimits.hint(headers or {}, error.retry_after, wall)
                cooldown = self.seat.cooldown(key, self._pool.times)
                bench = cooldown.fail(
                    found.cause,
                    evidence(error, status, hint),
                    now,
                    canary=canary is cooldown,
                )
        for _, cooldown in canaries:
            if cooldown is not canary:
                cooldown.return_canary()
        return bench

    def release(self, now: float, used: int | None = None) -> None:
        """Give the place back; the second time does nothing. ``used`` is the tokens used; None: nobody knows."""
        if not self._open:
            return
        self._open = False
        if self._canaries:
            for _, cooldown in self._canaries:
                cooldown.return_canary()
            self._canaries = ()
        self._content()
        self._pool.retries.running -= 1
        self.seat.limiter.release(self._reserved, used, now)

    def _content(self) -> None:
        if self._retries:
            self._retries = False
            self._pool.retries.retrying -= 1


class Pool:
    """All accounts by their provider. ``now`` is always the same clock's: seconds that only go forward."""

    def __init__(self, config: Config, now: float = 0.0) -> None:
        self.times = config.cooldown
        self.retries = RetryBudget()
        self.affinity = Affinity()
        self._turns: dict[str, float] = {}
        self._seats = {
            account.name: Seat(account, config.providers[account.provider], now)
            for account in config.accounts
        }
        self._serving: dict[tuple[str, str], tuple[Seat, ...]] = {}

    def pick(
        self,
        target: Target,
        tried: Collection[str],
        now: float,
        *,
        tokens: int = 0,
        session: bytes | None = None,
    ) -> Lease | None:
        """Return a place for a call to ``target``, or None if nobody takes it.

        Accounts in ``tried`` are passed over; a call that has tried some is a retry, for which there must be budget.
        ``tokens`` is the estimate to reserve, ``session`` what ``affinity.session_of`` found.
        """
        retries = self.retries
        if tried and retries.is_spent:
            return None
        seats = self.serving(target)
        model = target.model
        able: list[Seat] = []
        due: Seat | None = None
        for seat in seats:
            if able and seat.priority > able[0].priority:
                break
            if seat.name in tried:
                continue
            if seat.enabled and not (seat.spent or seat.cooldowns or seat.empty_until):
                # The rule of ``standing`` for an account that nothing is wrong with, for a quarter of its cost.
                if seat.limiter.lets_in(tokens, now):
                    able.append(seat)
                continue
            standing = seat.standing(model, tokens, now)
            if standing is Standing.AVAILABLE:
                able.append(seat)
            elif standing is Standing.HALF_OPEN and due is None:
                due = seat
        if due is not None and not (tried and able):
            return self._seat(due, target, tokens, now, retries=bool(tried))
        if not able:
            return None
        if session is not None and len(seats) > 1:
            chosen = self.affinity.place(session, target.provider, model, able, now)
        else:
            chosen = _least_laden(able)
        return self._seat(chosen, target, tokens, now, retries=bool(tried))

    def earliest(self, target: Target, now: float, tokens: int = 0) -> float | None:
        """Return when somebody takes a call to ``target``: ``now`` if somebody does now, None if no time will do it."""
        return self.outlook((target,), now, tokens).at

    def outlook(self, targets: Iterable[Target], now: float, tokens: int = 0) -> Outlook:
        """Return when somebody takes a call to one of ``targets``, and whether somebody is only limited."""
        at: float | None = None
        limited = False
        for target in targets:
            for seat in self.serving(target):
                free_at = seat.free_at(target.model, tokens, now)
                if free_at is not None and (at is None or free_at < at):
                    at = free_at
                limited = limited or seat.is_limited(target.model, tokens, now)
        return Outlook(at, limited)

    def has_another(self, target: Target, but: Seat, now: float) -> bool:
        """Tell whether anybody but one is available for ``target``."""
        return any(
            seat is not but and seat.standing(target.model, 0, now) is Standing.AVAILABLE
            for seat in self.serving(target)
        )

    def serving(self, target: Target) -> tuple[Seat, ...]:
        """Return who may be asked for ``target`` at all, by ascending priority."""
        named = (target.provider, target.model)
        seats = self._serving.get(named)
        if seats is None:
            found = (
                seat
                for seat in self._seats.values()
                if seat.account.provider == target.provider
                and serves(seat.account.models, target.model)
            )
            seats = tuple(sorted(found, key=lambda seat: seat.priority))
            if len(self._serving) < _MAX_TARGETS:
                self._serving[named] = seats
        return seats

    # What an operator asks.

    def seat(self, name: str) -> Seat | None:
        """Return the account called ``name``; set its ``enabled`` or ``spent``, or ``clear`` it."""
        return self._seats.get(name)

    def why(self, name: str, now: float) -> tuple[Why, ...]:
        """Return what is benched of the account ``name`` and on what evidence; nothing if nothing is."""
        seat = self._seats.get(name)
        return () if seat is None else seat.why(now)

    def accounts(self, now: float) -> tuple[AccountState, ...]:
        """Return how all accounts are, in the order of the configuration."""
        return tuple(_account_state(seat, now) for seat in self._seats.values())

    def __len__(self) -> int:
        return len(self._seats)

    def _seat(self, seat: Seat, target: Target, tokens: int, now: float, *, retries: bool) -> Lease:
        canaries: tuple[tuple[str | None, Cooldown], ...] = ()
        if seat.cooldowns:
            canaries = tuple(
                (key, seat.cooldowns[key])
                for key in (_EVERY, target.model)
                if key in seat.cooldowns
            )
            for _, cooldown in canaries:
                cooldown.probe(now)
        # Whoever was away does not get all the turns that it missed.
        turn = max(self._turns.get(target.provider, 0.0), seat.turn)
        self._turns[target.provider] = turn
        seat.turn = turn + 1 / seat.weight
        budget = self.retries
        budget.running += 1
        if retries:
            budget.retrying += 1
        return Lease(self, seat, target, seat.limiter.take(tokens, now), canaries, retries=retries)


def _least_laden(able: Sequence[Seat]) -> Seat:
    """Return who carries least for its weight; among equals it goes by turns."""
    chosen = able[0]
    least = chosen.limiter.running / chosen.weight
    for seat in able:
        load = seat.limiter.running / seat.weight
        if load < least or (load == least and seat.turn < chosen.turn):
            chosen, least = seat, load
    return chosen


def _account_state(seat: Seat, now: float) -> AccountState:
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


def in_turn(targets: Sequence[Target], draw: float) -> list[Target]:
    """Return ``targets`` in the order in which to try them: by their order, and shared by weight where that is equal.

    ``draw`` is a random number in [0, 1); the same one gives the same order.
    """
    if len(targets) == 1:
        return list(targets)
    ordered: list[Target] = []
    rest = sorted(targets, key=lambda target: target.order)
    while rest:
        peers = [target for target in rest if target.order == rest[0].order]
        chosen = _weighted(peers, draw)
        ordered.append(chosen)
        rest.remove(chosen)
    return ordered


def _weighted(targets: Sequence[Target], draw: float) -> Target:
    mark = draw * sum(target.weight for target in targets)
    for target in targets:
        mark -= target.weight
        if mark < 0:
            return target
    return targets[-1]
