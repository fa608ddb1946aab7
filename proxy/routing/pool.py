"""Which upstream account takes the next call.

Of the available ones the lowest priority number comes first, then the account that has the conversation's prompt in its
cache, then the least laden for its weight. A half-open account gets one call as its canary: a first try, so that whoever
has failed once is not used to find out whether somebody else fails too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from proxy.config.model import Config, Target
from proxy.errors import GatewayError, Kind
from proxy.routing import ratelimits
from proxy.routing.affinity import Affinity
from proxy.routing.catalog import serves
from proxy.routing.cooldown import SPARED, Bench, Cooldown, Scope, evidence, verdict
from proxy.routing.limits import UNKNOWN_WAIT, RetryBudget
from proxy.routing.seat import EVERY, AccountState, Seat, Standing, Why, account_state

_MAX_TARGETS = 4096
_NOBODY_BACK = 60.0
"""Seconds to tell a client when no time brings anybody back: an operator must act first."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """When somebody will take a call that nobody takes now."""

    at: float | None
    """The moment of the look if somebody takes it now after all; None: no time will do it."""
    limited: bool
    """Somebody is only rate limited, by the provider or by our own limits: the client shall come back, nobody is ill."""
    sooner: bool = False
    """A call that runs, such as a canary, may bring somebody back before ``at`` when it ends."""

    def error(self, now: float) -> GatewayError:
        """Return what the client is told: 429 if somebody is limited, else 503, and when to come back."""
        kind = Kind.ALL_LIMITED if self.limited else Kind.NOBODY
        return GatewayError(kind, retry_after=self.wait(now))

    def wait(self, now: float) -> int:
        """Return the whole seconds for which to stay away, at least 1."""
        return max(math.ceil(_NOBODY_BACK if self.at is None else self.at - now), 1)


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

    def succeed(self) -> bool:
        """Content has come: what this was the canary of is closed, and it is no longer a burden as a retry.

        Return whether either makes room for a call that waits.
        """
        makes_room = self._retries
        if self._canaries:
            makes_room = True
            for key, cooldown in self._canaries:
                cooldown.close()
                if self.seat.cooldowns.get(key) is cooldown:
                    del self.seat.cooldowns[key]
            self._canaries = ()
        self._content()
        return makes_room

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
            key = EVERY if found.scope is Scope.ACCOUNT else self._target.model
            canary = next((one for name, one in canaries if name == key), None)
            if (
                canary is not None
                or found.cause not in SPARED
                or self._pool.has_another(self._target, self.seat, now)
            ):
                hint = ratelimits.hint(headers or {}, error.retry_after, wall)
                cooldown = self.seat.cooldown(key, self._pool.times)
                before = cooldown.bench
                bench = cooldown.fail(
                    found.cause,
                    evidence(error, status, hint),
                    now,
                    canary=canary is cooldown,
                )
                if before is None or bench.failures > before.failures:
                    benched = self.seat.benched
                    benched[found.cause] = benched.get(found.cause, 0) + 1
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

    def adopt(self, config: Config, now: float, wall: float) -> None:
        """Go by another configuration from now on. An account that is still there keeps its counters and cooldowns.

        One that is gone gets no more calls; those that it has end as they would have. ``wall`` is the time since 1970.
        """
        self.times = config.cooldown
        seats = {}
        for account in config.accounts:
            provider = config.providers[account.provider]
            seat = self._seats.get(account.name)
            if seat is None or seat.account.provider != account.provider:
                seat = Seat(account, provider, now)
            else:
                seat.adopt(account, provider, config.cooldown, now, wall)
            seats[account.name] = seat
        self._seats = seats
        self._serving.clear()

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

    def outlook(
        self,
        targets: Iterable[Target],
        now: float,
        tokens: int = 0,
        tried: Collection[str] = (),
    ) -> Outlook:
        """Return when somebody who is not in ``tried`` takes a call to one of ``targets``, and whether somebody is only limited."""
        at: float | None = None
        limited = sooner = False
        for target in targets:
            for seat in self.serving(target):
                if seat.name in tried:
                    continue
                free_at = seat.free_at(target.model, tokens, now)
                if free_at is not None and (at is None or free_at < at):
                    at = free_at
                limited = limited or seat.is_limited(target.model, tokens, now)
                sooner = sooner or seat.waits_for_a_call(target.model, tokens, now)
        if at is not None and at <= now and tried and self.retries.is_spent:
            # Somebody is there, but others must be through with their retries first.
            at, sooner = now + UNKNOWN_WAIT, True
        return Outlook(at, limited, sooner)

    def has_another(self, target: Target, but: Seat, now: float) -> bool:
        """Tell whether anybody but one is available for ``target``."""
        return any(
            seat is not but and seat.standing(target.model, 0, now) is Standing.AVAILABLE
            for seat in self.serving(target)
        )

    def serving(self, target: Target) -> tuple[Seat, ...]:
        """Return who may be asked for ``target`` at all, by ascending priority.

        What no model is asked for, every account of the provider has.
        """
        if target.account is not None:
            seat = self._seats.get(target.account)
            return (seat,) if seat is not None and seat.account.provider == target.provider else ()
        named = (target.provider, target.model)
        seats = self._serving.get(named)
        if seats is None:
            found = (
                seat
                for seat in self._seats.values()
                if seat.account.provider == target.provider
                and (not target.model or serves(seat.account.models, target.model))
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
        return tuple(account_state(seat, now) for seat in self._seats.values())

    def __len__(self) -> int:
        return len(self._seats)

    def _seat(self, seat: Seat, target: Target, tokens: int, now: float, *, retries: bool) -> Lease:
        canaries: tuple[tuple[str | None, Cooldown], ...] = ()
        if seat.cooldowns:
            canaries = tuple(
                (key, seat.cooldowns[key]) for key in (EVERY, target.model) if key in seat.cooldowns
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
