"""How much a key or an account may still send: requests and tokens a minute, calls at a time.

A refused request burns nothing: every limit is looked at before any is taken from. Tokens are reserved by an estimate when a
call begins and settled by its real usage when it ends; a call that used more than it had reserved leaves a debt, which is
paid before the next one goes. So a limit is overstepped by what runs already, and by nothing that comes after.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from proxy.config.model import Key, Model
from proxy.errors import GatewayError, Kind

MINUTE = 60.0
UNKNOWN_WAIT = 1.0
"""Seconds to tell whoever waits for a running call to end: nobody knows when it will."""
_INSTANT = 1e-6
"""Seconds that the arithmetic of seconds may lose: who waits as long as he was told must then get through."""
_ROUNDING = 0.01
"""What it may lose of a token."""
_RETRY_SHARE = 0.2
_RETRY_FLOOR = 3


class TokenBucket:
    """Tokens that come back evenly over a minute, up to ``capacity``. Times are seconds of any clock that only goes forward.

    All it knows is when it will be full: each token that is taken puts that off by the time in which one comes back. So
    nothing has to be refilled before it can be asked, and a debt is a time more than a minute away.
    """

    __slots__ = ("_each", "capacity", "full_at")

    def __init__(self, capacity: int, now: float) -> None:
        self.capacity = capacity
        self._each = MINUTE / capacity
        self.full_at = now

    def wait(self, amount: int, now: float) -> float:
        """Return the seconds until ``amount`` can be taken; 0.0 if it can be now.

        More than a whole bucket waits for a full one: such a call would never get through otherwise.
        """
        if not amount:
            return 0.0
        room = self.capacity - amount
        wait = self.full_at - now
        if room > 0:
            wait -= room * self._each
        return wait if wait > _INSTANT else 0.0

    def take(self, amount: int, now: float) -> int:
        """Take ``amount``, for which ``wait`` was 0; return what was taken, at most a whole bucket."""
        taken = min(self.capacity, amount)
        full_at = self.full_at
        self.full_at = max(now, full_at) + taken * self._each
        return taken

    def settle(self, taken: int, used: int, now: float) -> None:
        """Replace what was ``taken`` by what was ``used``."""
        full_at = self.full_at
        self.full_at = max(now, full_at) + (used - taken) * self._each

    def remaining(self, now: float) -> int:
        """Return the whole tokens that are left; never below 0."""
        behind = self.full_at - now
        if behind <= 0:
            return self.capacity
        left = int(self.capacity - behind / self._each + _ROUNDING)
        return max(0, left)

    def reset(self, now: float) -> float:
        """Return the seconds until the bucket is full, if nothing more is taken."""
        return max(self.full_at - now, 0.0)

    def halve(self, now: float) -> None:
        """Leave half of what is left to another process. It comes back as whatever is missing does."""
        left = MINUTE - self.reset(now)
        if left > 0:
            self.full_at = max(now, self.full_at) + left / 2

    def resized(self, capacity: int, now: float) -> TokenBucket:
        """Return a bucket of another size from which as much is missing as from this one; only a debt outgrows it."""
        missing = self.reset(now) / self._each
        bucket = TokenBucket(capacity, now)
        debt = max(missing - self.capacity, 0.0)
        bucket.full_at = now + min(missing, capacity + debt) * MINUTE / capacity
        return bucket

    def __repr__(self) -> str:
        return f"<TokenBucket of {self.capacity}, full at {self.full_at:.1f}>"


class Missing(NamedTuple):
    """What is missing from the buckets of a limiter, as the seconds until they are full."""

    requests: float = 0.0
    tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Quota:
    """What is allowed; None: without limit."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


class Limit(StrEnum):
    """Which limit was hit."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A limit that lets nobody through for ``retry_after`` seconds. ``of`` is how much it allows."""

    limit: Limit
    of: int
    retry_after: float
    model: str | None = None
    """The model that it is about; None: the whole key."""

    def error(self) -> GatewayError:
        """Return the 429 that a client is told."""
        wait = max(math.ceil(self.retry_after), 1)
        on = f" on {self.model}" if self.model is not None else ""
        if self.limit is Limit.CONCURRENCY:
            message = (
                f"This key may run {self.of} requests at a time{on}; try again when one has ended."
            )
            return GatewayError(Kind.KEY_CONCURRENCY, message, retry_after=wait)
        message = f"This key may send {self.of} {self.limit} a minute{on}; try again in {wait} s."
        return GatewayError(Kind.KEY_RATE, message, retry_after=wait)


class Limiter:
    """The limits of one key, of one key on one model, or of one account. ``running`` is counted also without a limit."""

    __slots__ = ("concurrency", "model", "quota", "requests", "running", "tokens")

    def __init__(self, quota: Quota, now: float, model: str | None = None) -> None:
        self.quota = quota
        self.model = model
        self.concurrency = quota.concurrency
        self.requests = None if quota.rpm is None else TokenBucket(quota.rpm, now)
        self.tokens = None if quota.tpm is None else TokenBucket(quota.tpm, now)
        self.running = 0

    @property
    def is_full(self) -> bool:
        """As many calls run as may."""
        return self.concurrency is not None and self.running >= self.concurrency

    def lets_in(self, tokens: int, now: float) -> bool:
        """Tell whether a call of so many tokens may go: what ``refusal`` says, for whoever does not ask why."""
        if self.concurrency is not None and self.running >= self.concurrency:
            return False
        requests, bucket = self.requests, self.tokens
        return (requests is None or not requests.wait(1, now)) and (
            bucket is None or not bucket.wait(tokens, now)
        )

    def wait(self, tokens: int, now: float) -> float:
        """Return the seconds until both buckets let a call of so many tokens through; slots are not looked at."""
        wait = 0.0 if self.requests is None else self.requests.wait(1, now)
        return wait if self.tokens is None else max(wait, self.tokens.wait(tokens, now))

    def refusal(self, tokens: int, now: float) -> Refusal | None:
        """Return what keeps a call of so many tokens out for longest; None if it may go."""
        found: Refusal | None = None
        if self.concurrency is not None and self.running >= self.concurrency:
            found = Refusal(Limit.CONCURRENCY, self.concurrency, UNKNOWN_WAIT, self.model)
        for limit, bucket, amount in (
            (Limit.REQUESTS, self.requests, 1),
            (Limit.TOKENS, self.tokens, tokens),
        ):
            if bucket is None:
                continue
            wait = bucket.wait(amount, now)
            if wait and (found is None or wait > found.retry_after):
                found = Refusal(limit, bucket.capacity, wait, self.model)
        return found

    def take(self, tokens: int, now: float) -> int:
        """Let a call in that nothing refuses; return the tokens that are reserved for it."""
        self.running += 1
        if self.requests is not None:
            self.requests.take(1, now)
        return 0 if self.tokens is None else self.tokens.take(tokens, now)

    def release(self, reserved: int, used: int | None, now: float) -> None:
        """Free the slot of a call. ``used`` replaces what was reserved; None: nobody knows, and the estimate stands."""
        self.running -= 1
        if self.tokens is not None and used is not None:
            self.tokens.settle(reserved, used, now)

    def adjust(self, quota: Quota, now: float) -> None:
        """Go by another quota from now on; what was used and what runs is not forgotten."""
        self.requests = _adjusted(self.requests, quota.rpm, now)
        self.tokens = _adjusted(self.tokens, quota.tpm, now)
        self.concurrency = quota.concurrency
        self.quota = quota

    def missing(self, now: float) -> Missing:
        """Return what is missing, for a process that goes on from here."""
        requests, tokens = self.requests, self.tokens
        return Missing(
            0.0 if requests is None else requests.reset(now),
            0.0 if tokens is None else tokens.reset(now),
        )

    def share(self, missing: Missing, now: float) -> None:
        """Go on from where a process was that ``missing`` is of, and leave half of what is left to it."""
        for bucket, seconds in ((self.requests, missing.requests), (self.tokens, missing.tokens)):
            if bucket is not None:
                bucket.full_at = max(bucket.full_at, now + seconds)
                bucket.halve(now)

    def is_fresh(self, now: float) -> bool:
        """Nothing runs and nothing is missing: a new one would be the same."""
        return not self.running and all(
            bucket is None or bucket.reset(now) <= 0 for bucket in (self.requests, self.tokens)
        )


class Grant:
    """A call that was let in: its slots, and what is reserved for it. ``release`` belongs into a ``finally``."""

    __slots__ = ("_held",)

    def __init__(self, held: tuple[tuple[Limiter, int], ...]) -> None:
        self._held = held

    def cancel(self, now: float) -> None:
        """Give everything back: the call was refused before anybody was asked."""
        held, self._held = self._held, ()
        for limiter, reserved in held:
            limiter.release(reserved, 0, now)
            if limiter.requests is not None:
                limiter.requests.settle(1, 0, now)

    def release(self, used: int | None, now: float) -> None:
        """Free the slots and settle the tokens by what was ``used``; the second time does nothing.

        0: the call came to nothing. None: what it used is not known, and the estimate stands.
        """
        held, self._held = self._held, ()
        for limiter, reserved in held:
            limiter.release(reserved, used, now)


def admit(limiters: Sequence[Limiter], tokens: int, now: float) -> Grant | Refusal:
    """Let a call of about ``tokens`` in by all ``limiters``, or by none: then return the one that keeps it out for longest."""
    for limiter in limiters:
        if not limiter.lets_in(tokens, now):
            refusals = [one.refusal(tokens, now) for one in limiters]
            return max(
                [one for one in refusals if one is not None],
                key=lambda refusal: refusal.retry_after,
            )
    return Grant(tuple([(limiter, limiter.take(tokens, now)) for limiter in limiters]))


def enter(limiters: Sequence[Limiter]) -> Grant | Refusal:
    """Let a call in that is no request by the minute, such as one that reads what is there: it takes a slot and nothing else."""
    for limiter in limiters:
        if limiter.concurrency is not None and limiter.is_full:
            return Refusal(Limit.CONCURRENCY, limiter.concurrency, UNKNOWN_WAIT, limiter.model)
    for limiter in limiters:
        limiter.running += 1
    return Grant(tuple([(limiter, 0) for limiter in limiters]))


class Left(NamedTuple):
    """What a limit has left: ``reset`` seconds from now it is whole again."""

    limit: int
    remaining: int
    reset: float


class Standing(NamedTuple):
    """What the ``x-ratelimit-*`` headers tell; None where there is no limit."""

    requests: Left | None
    tokens: Left | None


def standing(limiters: Sequence[Limiter], now: float) -> Standing:
    """Return what ``limiters`` have left together: of two limits the one that has less."""
    requests = tokens = None
    for one in limiters:
        requests = _lesser(requests, one.requests, now)
        tokens = _lesser(tokens, one.tokens, now)
    return Standing(requests, tokens)


_WHOLE = Missing()


class KeyLimits:
    """The limits of all keys, by key and by key and model. Unused keys cost nothing after a ``sweep``."""

    def __init__(self, models: Iterable[Model], concurrency: int) -> None:
        self._limiters: dict[tuple[str, str | None], Limiter] = {}
        self._shared: Mapping[tuple[str, str | None], Missing] = {}
        self._shared_at = -math.inf
        self.adopt(models, concurrency)

    def adopt(self, models: Iterable[Model], concurrency: int) -> None:
        """Go by another configuration from now on; what was used and what runs is not forgotten."""
        self._models = {
            model.name: Quota(model.rpm, model.tpm)
            for model in models
            if model.rpm is not None or model.tpm is not None
        }
        self._concurrency = concurrency

    def of(self, key: Key, model: str | None, now: float) -> list[Limiter]:
        """Return what limits ``key`` on the public name ``model`` (None: on any)."""
        concurrency = self._concurrency if key.concurrency is None else key.concurrency
        found = [self._limiter((key.hash, None), key.rpm, key.tpm, concurrency, now)]
        if model is not None and (quota := self._models.get(model)) is not None:
            found.append(
                self._limiter((key.hash, model), quota.rpm, quota.tpm, quota.concurrency, now)
            )
        return found

    def running(self, key: Key) -> int:
        """Return how many calls of ``key`` run."""
        limiter = self._limiters.get((key.hash, None))
        return 0 if limiter is None else limiter.running

    def sweep(self, now: float) -> None:
        """Forget what a new limiter would know as well."""
        self._limiters = {
            name: one for name, one in self._limiters.items() if not one.is_fresh(now)
        }
        self._shared = {
            name: one for name, one in self._shared.items() if self._shared_at + max(one) > now
        }

    def missing(self, now: float) -> dict[tuple[str, str | None], Missing]:
        """Return what is missing of each limit, where something is."""
        found = {name: one.missing(now) for name, one in self._limiters.items()}
        return {name: one for name, one in found.items() if any(one)}

    def share(self, missing: Mapping[tuple[str, str | None], Missing], now: float) -> None:
        """Go on from where another process was, and leave half of what is left of every limit to it."""
        for name, one in self._limiters.items():
            one.share(missing.get(name, _WHOLE), now)
        # The others are made when their keys call.
        self._shared, self._shared_at = missing, now

    def __len__(self) -> int:
        return len(self._limiters)

    def _limiter(
        self,
        name: tuple[str, str | None],
        rpm: int | None,
        tpm: int | None,
        concurrency: int | None,
        now: float,
    ) -> Limiter:
        limiter = self._limiters.get(name)
        if limiter is None:
            quota = Quota(rpm, tpm, concurrency)
            shared = name in self._shared or now < self._shared_at + MINUTE
            began = self._shared_at if shared else now
            limiter = self._limiters[name] = Limiter(quota, began, name[1])
            if shared:
                limiter.share(self._shared.get(name, _WHOLE), began)
            return limiter
        was = limiter.quota
        if was.rpm != rpm or was.tpm != tpm or was.concurrency != concurrency:
            limiter.adjust(Quota(rpm, tpm, concurrency), now)
        return limiter


class RetryBudget:
    """How many calls may be on a further try at once: a fifth of those that run, and three in any case.

    When everything fails, trying everything again would double the load on what is sick.
    """

    __slots__ = ("retrying", "running")

    def __init__(self) -> None:
        self.running = 0
        self.retrying = 0

    @property
    def is_spent(self) -> bool:
        return self.retrying >= max(_RETRY_FLOOR, _RETRY_SHARE * self.running)


def _adjusted(bucket: TokenBucket | None, capacity: int | None, now: float) -> TokenBucket | None:
    if capacity is None:
        return None
    return TokenBucket(capacity, now) if bucket is None else bucket.resized(capacity, now)


def _lesser(left: Left | None, bucket: TokenBucket | None, now: float) -> Left | None:
    if bucket is None:
        return left
    remaining = bucket.remaining(now)
    if left is not None and left.remaining <= remaining:
        return left
    return Left(bucket.capacity, remaining, bucket.reset(now))
