"""Money is whole micro-dollars everywhere: how an amount is read and written, and what is spent in a day, a week or a month.

Days are UTC's, and a week begins on Monday.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Literal

Period = Literal["day", "week", "month", "total"]
_MICRO = 1_000_000


def usd(micro: int) -> str:
    """Return ``micro`` micro-USD in USD, exactly: a JSON number with no more digits than it needs."""
    whole, rest = divmod(abs(micro), _MICRO)
    told = f"{whole}.{rest:06d}".rstrip("0") if rest else str(whole)
    return f"-{told}" if micro < 0 else told


def micro(amount_usd: Decimal) -> int:
    """Return an amount in micro-USD: a fraction of one can not be spent."""
    return int((amount_usd * _MICRO).to_integral_value(ROUND_FLOOR))


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


class Spending:
    """What has been spent in the window that is running. ``wall`` is the time since 1970; amounts are micro-USD."""

    __slots__ = ("_begins", "_ends", "_spent", "period")

    def __init__(self, period: Period) -> None:
        self.period: Period = period
        self._spent = 0
        self._begins = 0.0
        # A window that ended long ago: the first question begins the present one.
        self._ends = None if period == "total" else 0.0

    def add(self, micro: int, wall: float) -> None:
        """Count what was spent at ``wall``; also what an earlier process counted in this window.

        What belongs to a window that has ended is not counted any more.
        """
        if self.covers(wall):
            self._spent += micro

    def covers(self, wall: float) -> bool:
        """Tell whether the window that is running holds ``wall``: False if that was before it."""
        self._roll(wall)
        return wall >= self._begins

    def restore(self, micro: int, wall: float) -> None:
        """Have ``micro`` be what was spent in the window that holds ``wall``."""
        self._roll(wall)
        self._spent = micro

    def spent(self, wall: float) -> int:
        """Return what has been spent in the window that holds ``wall``."""
        self._roll(wall)
        return self._spent

    def ends_in(self, wall: float) -> float | None:
        """Return the seconds until the window ends; None: it never does."""
        self._roll(wall)
        return None if self._ends is None else self._ends - wall

    def _roll(self, wall: float) -> None:
        if self._ends is not None and wall >= self._ends:
            self._spent = 0
            self._begins, self._ends = window(self.period, wall)

    def __repr__(self) -> str:
        return f"<Spending {self._spent} micro-USD, {self.period}>"
