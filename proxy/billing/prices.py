"""What a call costs: its usage times a price, in whole micro-dollars.

Rules that hold here:

1. A price is USD per million tokens, which is micro-USD per token; searches and requests are USD per thousand.
2. Over a tier's threshold the tier prices the whole request, as providers do, not the excess.
3. No fraction is lost on the way: amounts are integers of the row's own smallest unit, and the sum is
   rounded once, half up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from proxy.usage import Usage

RATES = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "audio_output",
    "searches_kcount",
    "requests_kcount",
)
"""The rates that a price may state."""

_FALLBACKS = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "audio_input": "input",
    "audio_output": "output",
}
"""In this order: a cache write for an hour costs at least what any costs."""
_MICRO_PER_ONE = 1000  # a dollar per thousand searches is a thousand micro-dollars each
_LONGEST_FRACTION = 18
_DAY = 24 * 60
_SERVICES = {"on_demand_flex": "flex", "on_demand_priority": "priority"}
"""What Vertex calls the service tiers that others call by the names on the right."""

Stated = Mapping[str, Decimal | None]
"""Rates by name; None, or no entry, is a rate that is not stated."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Micro-USD for each token, each search and the request, times ``unit``, which makes all of them integers."""

    unit: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    audio_input: int
    audio_output: int
    search: int
    request: int

    @classmethod
    def of(cls, stated: Stated) -> Rates:
        """Return the rates; a cache or audio rate that is not stated is the plain one."""
        found = {name: stated.get(name) for name in RATES}
        for name, plain in _FALLBACKS.items():
            if found[name] is None:
                found[name] = found[plain]
        amounts = {name: Decimal(0) if rate is None else rate for name, rate in found.items()}
        for name, amount in amounts.items():
            if not amount.is_finite() or amount < 0 or _fraction(amount) > _LONGEST_FRACTION:
                raise ValueError(f"{name}: found {amount}, expected a price from 0 up")
        unit = 10 ** max(_fraction(amount) for amount in amounts.values())
        whole = {name: int(Fraction(amount) * unit) for name, amount in amounts.items()}
        search = whole.pop("searches_kcount") * _MICRO_PER_ONE
        request = whole.pop("requests_kcount") * _MICRO_PER_ONE
        return cls(unit=unit, search=search, request=request, **whole)

    def told(self, name: str) -> str:
        """Return a rate as it is stated in USD, for a million tokens or a thousand searches or requests."""
        unit = self.unit * (_MICRO_PER_ONE if name in ("search", "request") else 1)
        return f"{(Decimal(getattr(self, name)) / unit).normalize():f}"

    def times(self, factor: Decimal) -> Rates:
        """Return the rates multiplied by ``factor``, exactly."""
        places = 10 ** _fraction(factor)
        by = int(factor * places)
        changed = {one.name: getattr(self, one.name) * by for one in fields(self)}
        changed["unit"] = self.unit * places
        return Rates(**changed)


@dataclass(frozen=True, slots=True)
class Price:
    """One row: what holds from ``since`` on (None: always has), and of each day only in its ``hours``.

    ``tiers`` are (threshold, rates) from the highest threshold down: the first whose threshold the
    prompt's tokens exceed, cached ones included, prices the request; else ``rates`` do. ``services``
    are whole prices of their own, by the service tier that the upstream says it billed. ``hours`` are
    two minutes of the UTC day, the second excluded and, where it is the lesser, the next day's.
    """

    rates: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()
    since: datetime | None = None
    hours: tuple[int, int] | None = None
    services: Mapping[str, Price] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        stated: Stated,
        tiers: Iterable[tuple[int, Stated]] = (),
        since: datetime | None = None,
        hours: tuple[int, int] | None = None,
        services: Mapping[str, Price] | None = None,
    ) -> Price:
        """Return the row of stated rates. What a tier does not state stays as it is below the tier."""
        below = {name: rate for name, rate in stated.items() if rate is not None}
        made = []
        for above, over in tiers:
            changed = {name: rate for name, rate in over.items() if rate is not None}
            made.append((above, Rates.of({**below, **changed})))
        made.sort(key=lambda tier: tier[0], reverse=True)
        return cls(Rates.of(stated), tuple(made), since, hours, services or {})

    def times(self, factor: Decimal) -> Price:
        """Return the row multiplied by ``factor``, exactly."""
        if factor == 1:
            return self
        return Price(
            self.rates.times(factor),
            tuple((above, rates.times(factor)) for above, rates in self.tiers),
            self.since,
            self.hours,
            {name: service.times(factor) for name, service in self.services.items()},
        )

    def holds(self, at: datetime) -> bool:
        """Tell whether the row has begun at ``at``, a moment in UTC, and this is its time of the day."""
        if self.since is not None and self.since > at:
            return False
        if self.hours is None:
            return True
        start, end = self.hours
        return (at.hour * 60 + at.minute - start) % _DAY < (end - start) % _DAY

    @classmethod
    def parse(cls, table: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> tuple[Price, ...]:
        """Return the rows of a price as JSON or TOML states it: one table, or one for each date.

        Numbers may be strings, integers or decimals; a float counts as what it prints as. A table has
        the names of ``RATES``, ``tiers`` (each with ``above``), ``from``, a date in UTC or a moment,
        ``hours``, two times of the day as in ``["16:30", "00:30"]``, and ``service_tiers``, a table of
        rates and tiers for each. Raises ValueError.
        """
        tables = [table] if isinstance(table, Mapping) else table
        rows = [cls._row(row) for row in tables]
        if not rows:
            raise ValueError("found no price, expected at least one row")
        # What holds at some hours only is looked at before what holds all day.
        return tuple(sorted(rows, key=lambda row: (row.since or _ALWAYS, row.hours is not None)))

    @classmethod
    def _row(cls, row: Mapping[str, Any]) -> Price:
        tiers = []
        for tier in row.get("tiers", ()):
            above = tier.get("above")
            if type(above) is not int or above < 0:
                raise ValueError(f"above: found {above!r}, expected a number of tokens")
            tiers.append((above, _stated(tier, "above")))
        start, hours = row.get("from"), row.get("hours")
        since = None if start is None else _moment(start)
        services = {name: cls._row(table) for name, table in row.get("service_tiers", {}).items()}
        return cls.of(
            _stated(row, "tiers", "from", "hours", "service_tiers"),
            tiers,
            since,
            None if hours is None else _hours(hours),
            services,
        )


_ALWAYS = datetime.min.replace(tzinfo=UTC)


def cost_micro(usage: Usage, prices: Price | Sequence[Price], at: date) -> int:
    """Return what ``usage`` costs in micro-USD, rounded half up.

    Of several rows, ascending by date, the last that holds at ``at`` counts; if none does yet, the
    first. ``at`` may be a datetime; without a zone it is UTC.
    """
    price = prices if isinstance(prices, Price) else row_at(prices, at)
    if usage.tier is not None and price.services:
        word = usage.tier.lower()
        price = price.services.get(_SERVICES.get(word, word), price)
    rates = price.rates
    if price.tiers:
        prompt = usage.input_total
        for above, over in price.tiers:
            if prompt > above:
                rates = over
                break
    amount = (
        usage.input * rates.input
        + usage.cache_read * rates.cache_read
        + usage.output * rates.output
        + rates.request
    )
    if usage.cache_write or usage.cache_write_1h:
        amount += usage.cache_write * rates.cache_write
        amount += usage.cache_write_1h * rates.cache_write_1h
    if usage.audio_input or usage.audio_output:
        heard = min(usage.audio_input, usage.input)
        spoken = min(usage.audio_output, usage.output)
        amount += heard * (rates.audio_input - rates.input)
        amount += spoken * (rates.audio_output - rates.output)
    if usage.searches:
        amount += usage.searches * rates.search
    unit = rates.unit
    return (2 * amount + unit) // (2 * unit)


def row_at(prices: Sequence[Price], at: date) -> Price:
    """Return the last row that holds at ``at``; if none does yet, the first."""
    if len(prices) == 1:
        return prices[0]
    now = _utc(at)
    for row in reversed(prices):
        if row.holds(now):
            return row
    return prices[0]


def _stated(table: Mapping[str, Any], *others: str) -> dict[str, Decimal]:
    stated = {}
    for name, value in table.items():
        if name in others:
            continue
        if name not in RATES:
            raise ValueError(f"found the unknown rate {name!r}, expected one of {', '.join(RATES)}")
        stated[name] = _decimal(name, value)
    return stated


def _decimal(name: str, value: object) -> Decimal:
    if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool):
        try:
            return Decimal(str(value))
        except InvalidOperation:
            pass
    raise ValueError(f"{name}: found {value!r}, expected a number")


def _moment(value: object) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, date):
        raise ValueError(f"from: found {value!r}, expected a date")  # noqa: TRY004 - one error for all
    return _utc(value)


def _hours(value: object) -> tuple[int, int]:
    try:
        start, end = (datetime.strptime(one, "%H:%M") for one in value)  # type: ignore[attr-defined]  # noqa: DTZ007
    except (TypeError, ValueError):
        raise ValueError(
            f'hours: found {value!r}, expected two times of the day such as ["16:30", "00:30"]'
        ) from None
    return start.hour * 60 + start.minute, end.hour * 60 + end.minute


def _utc(moment: date) -> datetime:
    """Return the moment in UTC; a date is its first moment."""
    if not isinstance(moment, datetime):
        return datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _fraction(amount: Decimal) -> int:
    """Return how many decimal places ``amount`` has."""
    exponent = amount.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
