"""What may be spent with an account in a day, a week, a month or in all, and when it may be again.

A budget is checked after a call, not before it: the calls that run when it is spent are finished and counted, so it is exceeded
by what they cost at most.
"""

from __future__ import annotations

from decimal import Decimal

from proxy.money import Period, Spending, micro


class Budget(Spending):
    """One account's. Amounts are micro-USD, ``wall`` is the time since 1970."""

    __slots__ = ("_aside", "limit")

    def __init__(self, limit_usd: Decimal, period: Period) -> None:
        super().__init__(period)
        self.limit = micro(limit_usd)
        self._aside = 0
        """What is left to another process."""

    def is_spent(self, wall: float) -> bool:
        """Tell whether no more may be spent."""
        return self.spent(wall) >= self.limit - self._aside

    def share(self, wall: float) -> None:
        """Leave half of what is left to another process."""
        self._aside = max(self.limit - self.spent(wall), 0) // 2

    def alone(self) -> None:
        """Have everything again: there is no other process any more."""
        self._aside = 0

    def __repr__(self) -> str:
        return f"<Budget {self._spent} of {self.limit} micro-USD, {self.period}>"
