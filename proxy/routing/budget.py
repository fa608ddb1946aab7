"""What may be spent with an account in a day, a week, a month or in all, and when it may be again.

Windows are UTC's: a week begins on Monday. A budget is checked after a call, not before it: the calls that run when it is spent
are finished and counted, so it is exceeded by what they cost at most.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

from proxy.config.model import Period

_MICRO = 1_000_000


def window(period: Period, wall: float) -> tuple[float, float | None]:
    """Return when the window that holds ``wall`` began, and when it ends; None: never. Seconds since 1970."""
    if period == "total":
        return 0.0, None
    now = datetime.fromtimestamp(wall, UTC)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        end = start + timedelta(days=1)
    elif period == "week":
        start -= timedelta(days=start.weekday())
        end = start + timedelta(days=7)
    else:
        start = start.replace(day=1)
        end = (start + timedelta(days=31)).replace(day=1)
    return start.timestamp(), end.timestamp()


class Budget:
    """One account's. Amounts are micro-USD, ``wall`` is the time since 1970."""

    __slots__ = ("_ends", "_period", "_spent", "limit")

    def __init__(self, limit_usd: Decimal, period: Period) -> None:
        # A fraction of a micro-dollar can not be spent.
        self.limit = int((limit_usd * _MICRO).to_integral_value(ROUND_FLOOR))
        self._period: Period = period
        self._spent = 0
        # A window that ended long ago: the first question begins the present one.
        self._ends = None if period == "total" else 0.0

    def add(self, micro: int, wall: float) -> None:
        """Count what a call cost that ended at ``wall``; also what an earlier process counted in this window."""
        self._roll(wall)
        self._spent += micro

    def spent(self, wall: float) -> int:
        """Return what has been spent in the window that holds ``wall``."""
        self._roll(wall)
        return self._spent

    def is_spent(self, wall: float) -> bool:
        """Tell whether no more may be spent."""
        return self.spent(wall) >= self.limit

    def ends_in(self, wall: float) -> float | None:
        """Return the seconds until the window ends; None: it never does."""
        self._roll(wall)
        return None if self._ends is None else self._ends - wall

    def _roll(self, wall: float) -> None:
        if self._ends is not None and wall >= self._ends:
            self._spent = 0
            self._ends = window(self._period, wall)[1]

    def __repr__(self) -> str:
        return f"<Budget {self._spent} of {self.limit} micro-USD, {self._period}>"
