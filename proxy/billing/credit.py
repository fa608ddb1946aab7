"""What a key or a team may still spend: its credit, its monthly allowance, its budget, and what is held for calls that run.

Rules that hold here:

1. A hold is checked and taken in one step, so two calls never spend the same money. What is available is what is there less
   what is held.
2. A hold is settled once, by what the call cost. That may be more than was held, since a hold is an estimate: then what is
   there goes below zero by the difference, and nothing more is held before it is made good.
3. A month's allowance is spent before the credit, and what is left of it ends with the month.
4. A call belongs to the day and the month in which it began, as in the ledger: so both count the same.
5. While two processes let calls in, each leaves half of what was there when the second one began to the other.

Amounts are micro-USD; ``wall`` is the time since 1970.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from proxy.errors import GatewayError, Kind
from proxy.money import Period, Spending, usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a wallet may spend. A wallet that is not prepaid and has no budget may spend anything."""

    prepaid: bool = False
    """Only what is there may be spent: the allowance, and what was paid in."""
    allowance: int = 0
    """For each month; of no meaning unless prepaid."""
    budget: int | None = None
    period: Period = "total"
    """Of the budget."""

    @property
    def bound(self) -> bool:
        """Calls must hold what they may cost."""
        return self.prepaid or self.budget is not None


class Lacking(StrEnum):
    """What does not cover a call."""

    CREDIT = "credit"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Short:
    """A call that a wallet does not cover."""

    lacking: Lacking
    wallet: str
    wanted: int
    left: int
    """What is available; below 0 if calls cost more than was held for them."""
    retry_after: float | None = None
    """Seconds until there is a new budget; None: no time will do it."""

    def error(self) -> GatewayError:
        """Return the 402 or 429 that a client is told."""
        whose = "team" if self.wallet.startswith("team:") else "key"
        may_cost = f"This request may cost up to ${usd(self.wanted)}"
        if self.lacking is Lacking.CREDIT:
            return GatewayError(
                Kind.NO_CREDIT,
                f"{may_cost}, and this {whose} has ${usd(max(self.left, 0))} left. Add credit, or ask for less with max_tokens.",
            )
        again = "" if self.retry_after is None else " It begins anew when its period does."
        wait = None if self.retry_after is None else max(math.ceil(self.retry_after), 1)
        return GatewayError(
            Kind.BUDGET,
            f"{may_cost}, and ${usd(max(self.left, 0))} is left of this {whose}'s budget.{again}",
            retry_after=wait,
        )


class Wallet:
    """The money of one key or team. ``name`` is its ``wallet_id`` in the ledger: ``key:…`` or ``team:…``."""

    __slots__ = (
        "_aside_budget", "_aside_credit", "_budget", "_drawn", "_elsewhere", "credit", "held", "name", "terms",
    )  # fmt: skip

    def __init__(self, name: str, terms: Terms) -> None:
        self.name = name
        self.terms = terms
        self.credit = 0
        """What was paid in, less what was drawn from it; below 0 if calls cost more than was held for them."""
        self.held = 0
        """For calls that run."""
        self._elsewhere = 0
        """What of that is held for calls of another process."""
        self._aside_credit = self._aside_budget = 0
        """What is left to another process."""
        self._drawn = Spending("month")
        """From this month's allowance."""
        self._budget = Spending(terms.period)

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on. What was spent counts on, unless the budget is now for another period."""
        if terms.period != self.terms.period:
            self._budget = Spending(terms.period)
        self.terms = terms

    def pay_in(self, amount: int) -> None:
        """Add to the credit, or take back from it (below 0)."""
        self.credit += amount

    def restore(self, credit: int, covered: int, spent: int, wall: float) -> None:
        """Have the credit, what this month's allowance has covered and what the budget's window has seen be these."""
        self.credit = credit
        self._drawn.restore(covered, wall)
        self._budget.restore(spent, wall)

    def charge(self, amount: int, began: float) -> int:
        """Take what a call cost that began at ``began``: from the allowance of the month, then from the credit.

        Counted by the budget either way. Return what came out of the credit.
        """
        self._budget.add(amount, began)
        drawn = self.draws(amount, began)
        if self.terms.prepaid:
            self._drawn.add(amount - drawn, began)
            self.credit -= drawn
        return drawn

    def charge_elsewhere(self, amount: int, drawn: int, began: float) -> None:
        """Take what a call cost that another process has settled, of which ``drawn`` came out of the credit."""
        self._budget.add(amount, began)
        if self.terms.prepaid:
            self._drawn.add(amount - drawn, began)
            self.credit -= drawn

    def draws(self, amount: int, began: float) -> int:
        """Return how much of ``amount`` would come out of the credit: what the allowance does not cover."""
        if not self.terms.prepaid:
            return 0
        if not self._drawn.covers(began):
            # What was left of that month's allowance has ended with it.
            return amount
        return amount - min(amount, max(self.terms.allowance - self._drawn.spent(began), 0))

    def share(self, elsewhere: int, wall: float) -> None:
        """Leave half of what is left now to another process, which holds ``elsewhere`` for calls of its own."""
        self.held += elsewhere - self._elsewhere
        self._elsewhere = elsewhere
        self._aside_credit = _half(self.credit_left(wall))
        self._aside_budget = _half(self.budget_left(wall))

    def alone(self) -> None:
        """Have everything again: there is no other process any more, and all that it cost is booked."""
        self.held -= self._elsewhere
        self._elsewhere = self._aside_credit = self._aside_budget = 0

    def spent(self, wall: float) -> int:
        """Return what was spent in the budget's window."""
        return self._budget.spent(wall)

    def renews_in(self, wall: float) -> float | None:
        """Return the seconds until the budget's window ends; None: never, or there is no budget."""
        return None if self.terms.budget is None else self._budget.ends_in(wall)

    def credit_left(self, wall: float) -> int | None:
        """Return the allowance and credit that nobody holds; None: it is not prepaid."""
        if not self.terms.prepaid:
            return None
        allowance = max(self.terms.allowance - self._drawn.spent(wall), 0)
        return allowance + self.credit - self.held

    def budget_left(self, wall: float) -> int | None:
        """Return what is left of the budget and not held; None: there is none."""
        if self.terms.budget is None:
            return None
        return self.terms.budget - self._budget.spent(wall) - self.held

    def short_of(self, amount: int, wall: float) -> Short | None:
        """Return why ``amount`` cannot be held; None: it can. Who has nothing left cannot hold nothing either."""
        left = self.credit_left(wall)
        if left is not None:
            left -= self._aside_credit
            if amount > left or left <= 0:
                return Short(Lacking.CREDIT, self.name, amount, left)
        left = self.budget_left(wall)
        if left is not None:
            left -= self._aside_budget
            if amount > left or left <= 0:
                return Short(Lacking.BUDGET, self.name, amount, left, self._budget.ends_in(wall))
        return None

    def __repr__(self) -> str:
        return f"<Wallet {self.name} credit {self.credit}, {self.held} held>"


class Hold:
    """What a call that runs may cost. ``settle`` belongs into a ``finally``; the second time it does nothing."""

    __slots__ = ("_open", "amount", "wallets")

    def __init__(self, wallets: Sequence[Wallet], amount: int) -> None:
        self.wallets = wallets
        self._open = True
        self.amount = amount

    def grow(self, more: int, wall: float) -> Short | None:
        """Hold ``more`` as well; return what does not cover it, and then nothing has changed."""
        for wallet in self.wallets:
            short = wallet.short_of(more, wall)
            if short is not None:
                return short
        for wallet in self.wallets:
            wallet.held += more
        self.amount += more
        return None

    def settle(self, price: int, began: float) -> tuple[int, ...]:
        """Let go of what is held, and charge what the call cost that began at ``began``.

        Return what came out of the credit of each wallet; nothing the second time.
        """
        if not self._open:
            return ()
        self._open = False
        for wallet in self.wallets:
            wallet.held -= self.amount
        return tuple([wallet.charge(price, began) for wallet in self.wallets])

    def __repr__(self) -> str:
        state = "" if self._open else ", settled"
        return f"<Hold {self.amount} micro-USD of {len(self.wallets)} wallets{state}>"


def hold(wallets: Iterable[Wallet], amount: int, wall: float) -> Hold | Short:
    """Hold ``amount`` in all ``wallets`` that are bound by terms, or in none; return what does not cover it.

    The others are charged when the call is settled, so that their sums are right should they get terms.
    """
    found = tuple(wallets)
    for wallet in found:
        short = wallet.short_of(amount, wall)
        if short is not None:
            return short
    for wallet in found:
        wallet.held += amount
    return Hold(found, amount)


def _half(left: int | None) -> int:
    """Return the larger half of what is left; 0 if there is no limit, or nothing left of it."""
    return 0 if left is None else (max(left, 0) + 1) // 2
