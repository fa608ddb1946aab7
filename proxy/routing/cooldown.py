"""When an account that failed may be asked again.

Closed, open until a deadline, half-open until a canary returns. Three rules hold:

1. A deadline is only ever extended, and lies at most the cause's cap after the failure that set it.
2. After the deadline one live call each ``probe_interval`` is let through to see, also if the one before has not returned: an
   upstream that is silent for minutes may be well again long before. Its success closes, its failure opens for longer; an
   end that says neither, such as a client that leaves, changes nothing.
3. A failure is the account's only if another account could have done better: nobody's request cools one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from proxy.config.model import Cooldown as Times
from proxy.errors import GatewayError, Kind
from proxy.routing.ratelimits import Hint

_SAID = 200
"""Characters of an upstream's words that are kept as evidence."""


class Cause(StrEnum):
    """Why an account is benched. ``budget`` is no cooldown: what we may spend there is spent."""

    BURST = "burst"
    QUOTA = "quota"
    OVERLOAD = "overload"
    AUTH = "auth"
    NETWORK = "network"
    SLOW = "slow"
    BUDGET = "budget"


class Scope(StrEnum):
    """What a cause benches: the account, or only the model on it that was called."""

    ACCOUNT = "account"
    MODEL = "account_model"


class State(StrEnum):
    """Where a cooldown stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failure means for the account it happened on."""

    cause: Cause
    scope: Scope


VERDICTS: Mapping[Kind, Verdict] = {
    Kind.UPSTREAM_AUTH: Verdict(Cause.AUTH, Scope.ACCOUNT),
    # A key that may not use one model may well use the others.
    Kind.UPSTREAM_FORBIDDEN: Verdict(Cause.AUTH, Scope.MODEL),
    Kind.UPSTREAM_QUOTA: Verdict(Cause.QUOTA, Scope.ACCOUNT),
    # Providers count by model; where one counts everything together, each model finds out with its own 429.
    Kind.RATE_LIMIT: Verdict(Cause.BURST, Scope.MODEL),
    Kind.OVERLOADED: Verdict(Cause.OVERLOAD, Scope.MODEL),
    Kind.SERVER: Verdict(Cause.OVERLOAD, Scope.MODEL),
    Kind.MALFORMED: Verdict(Cause.OVERLOAD, Scope.MODEL),
    Kind.TIMEOUT: Verdict(Cause.SLOW, Scope.MODEL),
    Kind.TIMEOUT_FIRST_CONTENT: Verdict(Cause.SLOW, Scope.MODEL),
    Kind.TIMEOUT_IDLE: Verdict(Cause.SLOW, Scope.MODEL),
    Kind.TIMEOUT_CONNECT: Verdict(Cause.NETWORK, Scope.ACCOUNT),
    Kind.UNREACHABLE: Verdict(Cause.NETWORK, Scope.ACCOUNT),
    Kind.DISCONNECTED: Verdict(Cause.NETWORK, Scope.ACCOUNT),
}
"""What is not here never cools an account: the request's own faults, and ours."""

SPARED = frozenset((Cause.OVERLOAD, Cause.NETWORK, Cause.SLOW))
"""Causes that do not bench the last account of a target: it has not said no, and its own error is better than none."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What benched an account, for whoever asks why."""

    kind: Kind
    status: int | None
    told: str
    """The header that said when to come back, also if it made no sense; empty if none did."""
    hint: float | None
    """The seconds that were made of it, before the cap."""
    said: str
    """The beginning of the upstream's own words, without secrets."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One outage, as of its latest failure. Times are seconds of the caller's clock."""

    cause: Cause
    since: float
    until: float
    failures: int
    """How often it was found failing: at first, and by each canary."""
    evidence: Evidence
    """Of the failure that set the deadline."""


def verdict(error: GatewayError) -> Verdict | None:
    """Return what ``error`` means for the account it happened on; None: nothing."""
    found = VERDICTS.get(error.kind)
    if found is not None and found.cause is Cause.QUOTA and "PerModel" in error.evidence:
        # Gemini names the quota that is exhausted, and has one for each model.
        return Verdict(Cause.QUOTA, Scope.MODEL)
    return found


def evidence(error: GatewayError, status: int | None, hint: Hint) -> Evidence:
    """Return what is kept of a failure. ``status`` is the upstream's, None if it sent none."""
    return Evidence(error.kind, status, hint.told, hint.seconds, error.evidence[:_SAID])


def cap(cause: Cause, times: Times) -> float:
    """Return the longest time in seconds that a failure of ``cause`` benches, whatever a provider says."""
    return times.max_quota if cause in (Cause.QUOTA, Cause.AUTH) else times.max_burst


def length(cause: Cause, hint: float | None, failures: int, times: Times) -> float:
    """Return for how many seconds the ``failures``-th failure in a row benches.

    The provider's hint is believed the first time; if the canary then fails, its own idea was too short. Without a hint it
    doubles: from ``base`` for what passes by itself, and from ``probe_interval`` for what somebody must pay or repair. A
    sick upstream is never left alone for longer than ``probe_interval`` unless it asks for that: most are back in seconds.
    """
    longest = cap(cause, times)
    first = times.probe_interval if cause in (Cause.QUOTA, Cause.AUTH) else times.base
    growth = min(times.probe_interval, longest) if cause in SPARED else longest
    backoff = min(first * 2.0 ** min(failures - 1, 30), growth)
    if hint is None or hint <= 0:
        return backoff
    told = min(hint, longest)
    return told if failures == 1 else max(told, backoff)


class Cooldown:
    """The cooldown of one account, or of one model on it."""

    __slots__ = ("_next_probe", "_out", "bench", "times")

    def __init__(self, times: Times) -> None:
        self.times = times
        self._out = 0
        """Canaries that have not returned."""
        self._next_probe = 0.0
        self.bench: Bench | None = None

    def state(self, now: float) -> State:
        """Return where it stands at ``now``."""
        if self.bench is None:
            return State.CLOSED
        return State.OPEN if now < self.bench.until else State.HALF_OPEN

    @property
    def probing(self) -> bool:
        """A canary is out."""
        return self._out > 0

    def lets_in(self, now: float) -> bool:
        """Tell whether a call may go: any when closed, a canary when one is due."""
        return self.free_at(now) <= now

    def free_at(self, now: float) -> float:
        """Return when the next call may go, as far as that can be known: a canary that is out may also return earlier."""
        if self.bench is None:
            return now
        return max(self.bench.until, self._next_probe, now)

    def probe(self, now: float) -> None:
        """Send a canary; it must be followed by ``fail``, ``close`` or ``return_canary``."""
        self._out += 1
        self._next_probe = now + self.times.probe_interval

    def return_canary(self) -> None:
        """A canary's end said nothing about the account."""
        # One that was out when another closed is not counted any more.
        self._out = max(self._out - 1, 0)

    def fail(self, cause: Cause, found: Evidence, now: float, *, canary: bool) -> Bench:
        """Bench, or bench for longer; return the outage as it is now known.

        Only the first failure and a canary's count as one more: of fifty calls that were running when the account broke, the
        others tell nothing new, and at most move the deadline.
        """
        before = self.bench
        failures = 1 if before is None else before.failures + canary
        until = now + length(cause, found.hint, failures, self.times)
        if canary:
            self._out -= 1
            self._next_probe = until
        if before is not None and until <= before.until:
            return before
        since = now if before is None else before.since
        self.bench = Bench(cause, since, until, failures, found)
        return self.bench

    def close(self) -> None:
        """The account works again, or an operator says so."""
        self.bench = None
        self._out = 0
        self._next_probe = 0.0

    def __repr__(self) -> str:
        bench = self.bench
        if bench is None:
            return "<Cooldown closed>"
        return f"<Cooldown {bench.cause} until {bench.until:.1f}, {bench.failures} failures>"
