"""What each key, team and account has spent, as the ledger and what it does not have yet tell.

A request of a key counts for the key by its ``key_name`` and for its team by its ``team``: once in each, whichever of the two its
``wallet_id`` names. Daily sums are read, so requests that were removed count as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from proxy.billing.entry import KEY_DRAWN, KEY_NAME, PRICE, STARTED, TEAM, TEAM_DRAWN, Row
from proxy.billing.reading import Query
from proxy.money import Period, window

_PERIODS: tuple[Period, ...] = ("day", "week", "month")


@dataclass(slots=True)
class Spent:
    """Micro-USD, in the windows of one moment and in all."""

    day: int = 0
    week: int = 0
    month: int = 0
    total: int = 0
    drawn: int = 0
    """In all, out of the credit."""
    month_drawn: int = 0

    def within(self, period: Period) -> int:
        """Return what was spent in the window of a budget."""
        found: int = getattr(self, period)
        return found


def wallets(wall: float) -> Query:
    """What every key has spent for every team; of the windows that hold ``wall``. ``by_wallet`` reads it."""
    drawn = [
        f"sum({whose}_drawn_micro) AS {whose}_drawn, sum({whose}_drawn_micro * (day >= :month)) AS {whose}_month_drawn"
        for whose in ("key", "team")
    ]
    return Query(
        f"SELECT key_name, team, {_sums('price_micro')}, {', '.join(drawn)} FROM usage_daily GROUP BY key_name, team",  # noqa: S608 - our own words
        _days(wall),
    )


def accounts(wall: float) -> Query:
    """What we have spent with every account. ``by_account`` reads it."""
    return Query(
        f"SELECT account, {_sums('cost_micro')} FROM usage_daily WHERE account <> '' GROUP BY account",  # noqa: S608 - our own words
        _days(wall),
    )


def by_wallet(rows: Iterable[Mapping[str, Any]]) -> dict[str, Spent]:
    """Return what keys and teams have spent by the names of their wallets."""
    found: dict[str, Spent] = {}
    for row in rows:
        places = [("key", row["key_name"])]
        if row["team"]:
            places.append(("team", row["team"]))
        for whose, name in places:
            spent = found.setdefault(f"{whose}:{name}", Spent())
            for period in (*_PERIODS, "total"):
                setattr(spent, period, getattr(spent, period) + row[period])
            spent.drawn += row[f"{whose}_drawn"]
            spent.month_drawn += row[f"{whose}_month_drawn"]
    return found


def by_account(rows: Iterable[Mapping[str, Any]]) -> dict[str, Spent]:
    """Return what was spent with accounts by their names."""
    return {
        row["account"]: Spent(row["day"], row["week"], row["month"], row["total"]) for row in rows
    }


def add(found: dict[str, Spent], rows: Iterable[Row], wall: float) -> None:
    """Add what the ledger does not have yet to what ``by_wallet`` found."""
    begins: dict[Period, float] = {period: window(period, wall)[0] for period in _PERIODS}
    for row in rows:
        began, price = whole(row[STARTED]) / 1e6, whole(row[PRICE])
        names = [(f"key:{row[KEY_NAME]}", row[KEY_DRAWN])]
        if row[TEAM] is not None:
            names.append((f"team:{row[TEAM]}", row[TEAM_DRAWN]))
        for name, drawn in names:
            spent = found.setdefault(name, Spent())
            spent.total += price
            spent.drawn += whole(drawn)
            for period, since in begins.items():
                if began >= since:
                    setattr(spent, period, spent.within(period) + price)
            if began >= begins["month"]:
                spent.month_drawn += whole(drawn)


def _sums(money: str) -> str:
    windows = [f"sum({money} * (day >= :{period})) AS {period}" for period in _PERIODS]
    return f"{', '.join(windows)}, sum({money}) AS total"


def _days(wall: float) -> dict[str, str]:
    return {
        period: datetime.fromtimestamp(window(period, wall)[0], UTC).strftime("%Y-%m-%d")
        for period in _PERIODS
    }


def whole(value: object) -> int:
    """Return a number of a row, whose columns are typed by their names alone; none counts as 0."""
    return value if isinstance(value, int) else 0
