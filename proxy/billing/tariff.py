"""What a call costs us and what its key pays, as the configuration and the price list say.

Rules that hold here:

1. A model's configured ``cost`` is what we pay for any of its targets; without one each target costs what is listed for it, and
   what is listed for nobody costs what the key pays.
2. A model's configured ``price`` is what a key pays; without one it pays the cost. An account's ``cost_multiplier`` is a matter
   between us and the provider: a key pays the same whoever answers, and so can be told before it asks.
3. Both multipliers are part of the one sum that is rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from proxy.billing.pricelist import PriceList
from proxy.billing.prices import Price, Rates, cost_micro, row_at
from proxy.config import model
from proxy.config.model import Account, Config
from proxy.usage import Usage

Source = Literal["config", "catalog", "none"]

_MOST_QUOTES = 4096
"""Tomorrow's models have endless names, and clients send them."""
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stated:
    """What is known of a target's prices before anybody's multiplier; both are there or neither is."""

    cost: tuple[Price, ...]
    price: tuple[Price, ...]
    cost_source: Source
    price_source: Source

    @property
    def is_known(self) -> bool:
        return bool(self.cost)

    def price_now(self, wall: float) -> Price | None:
        """Return the row of the price that holds at ``wall``, the time since 1970; None: nobody knows one."""
        return row_at(self.price, datetime.fromtimestamp(wall, UTC)) if self.price else None


@dataclass(frozen=True, slots=True)
class Quote:
    """The prices of one model on one account for keys of one multiplier."""

    cost: tuple[Price, ...]
    price: tuple[Price, ...]

    @property
    def priced(self) -> bool:
        """False: nobody knows what it costs, so it is recorded at nothing."""
        return bool(self.cost)

    def charge(self, usage: Usage, wall: float) -> tuple[int, int]:
        """Return in micro-USD what a call of ``usage`` costs us and what its key pays; ``wall`` is the time since 1970."""
        cost, price = self.cost, self.price
        if not cost:
            return 0, 0
        at = _NEVER if len(cost) == len(price) == 1 else datetime.fromtimestamp(wall, UTC)
        paid = cost_micro(usage, cost, at)
        return paid, (paid if price is cost else cost_micro(usage, price, at))

    def price_micro(self, wall: float, usage: Usage) -> int:
        """Return what the key pays, in micro-USD."""
        return self.charge(usage, wall)[1]


class Quotes:
    """What keys of one price multiplier pay."""

    def __init__(self, tariff: Tariff, multiplier: Decimal) -> None:
        self._tariff = tariff
        self._multiplier = multiplier
        self._known: dict[tuple[str, str, str], Quote] = {}

    def of(self, account: Account, upstream_model: str, name: str) -> Quote:
        """Return the quote for ``upstream_model`` on ``account``, called by the public ``name``. Runs once a try."""
        asked = (account.name, upstream_model, name)
        quote = self._known.get(asked)
        if quote is None:
            if len(self._known) >= _MOST_QUOTES:
                self._known.clear()
            quote = self._known[asked] = self._tariff.quote(
                account, upstream_model, name, self._multiplier
            )
        return quote


class Tariff:
    """The prices of one configuration."""

    def __init__(self, config: Config, listed: PriceList) -> None:
        self.listed = listed
        self._models = {one.name: one for one in config.models}
        self._refusing = frozenset(one.name for one in config.models if one.unpriced == "refuse")
        self._quotes: dict[Decimal, Quotes] = {}
        self.find = lru_cache(maxsize=_MOST_QUOTES)(listed.find)
        """What the list has on an upstream id of a provider."""
        # One for each object, or the memo would keep a configuration alive that was replaced.
        self.stated = lru_cache(maxsize=_MOST_QUOTES)(self._stated)

    def quotes(self, multiplier: Decimal) -> Quotes:
        """Return what keys with this price multiplier pay."""
        quotes = self._quotes.get(multiplier)
        if quotes is None:
            if len(self._quotes) >= _MOST_QUOTES:
                self._quotes.clear()
            quotes = self._quotes[multiplier] = Quotes(self, multiplier)
        return quotes

    def quote(self, account: Account, upstream_model: str, name: str, multiplier: Decimal) -> Quote:
        """Return what ``Quotes.of`` remembers. The account may be one that a later configuration has brought."""
        stated = self.stated(account.provider, upstream_model, name)
        cost = _times(stated.cost, account.cost_multiplier)
        if stated.price is stated.cost and multiplier == account.cost_multiplier:
            # The very same rows, so that the sum is made once.
            return Quote(cost, cost)
        return Quote(cost, _times(stated.price, multiplier))

    def refuses(self, provider: str, upstream_model: str, name: str) -> bool:
        """Tell whether a call is refused because nobody knows what it costs."""
        return name in self._refusing and not self.stated(provider, upstream_model, name).is_known

    @property
    def refuses_some(self) -> bool:
        """Whether ``refuses`` can be true at all."""
        return bool(self._refusing)

    def pricing(
        self, provider: str, upstream_model: str, name: str, multiplier: Decimal, wall: float
    ) -> dict[str, str] | None:
        """Return what a key pays now, as lists of models tell it: USD for one token, by OpenRouter's names. None: unknown."""
        row = self.stated(provider, upstream_model, name).price_now(wall)
        return None if row is None else _told(row.rates.times(multiplier))

    def _stated(self, provider: str, upstream_model: str, name: str) -> Stated:
        entry = self._models.get(name)
        cost = configured(entry.cost) if entry is not None else ()
        price = configured(entry.price) if entry is not None else ()
        cost_source: Source = "config" if cost else "none"
        price_source: Source = "config" if price else "none"
        if not cost:
            found = self.find(provider, upstream_model)
            if found is not None:
                cost, cost_source = found.prices, "catalog"
            else:
                cost, cost_source = price, price_source
        if not price:
            price, price_source = cost, cost_source
        return Stated(cost, price, cost_source, price_source)


def configured(prices: model.Prices | None) -> tuple[Price, ...]:
    """Return the rows of a configured price; none if there is none."""
    return tuple(map(_price, prices or ()))


def _price(entry: model.PriceEntry) -> Price:
    return Price.of(
        _rates(entry.rates),
        [(tier.above, _rates(tier.rates)) for tier in entry.tiers],
        entry.since,
        entry.hours,
        {name: _price(service) for name, service in entry.service_tiers.items()},
    )


def _rates(rates: model.Rates) -> dict[str, Decimal | None]:
    return {name: getattr(rates, name) for name in model.Rates.__slots__}


def _times(prices: Sequence[Price], multiplier: Decimal) -> tuple[Price, ...]:
    return tuple(row.times(multiplier) for row in prices)


def _told(rates: Rates) -> dict[str, str]:
    per_million = rates.unit * 1_000_000
    told = {
        "prompt": rates.input,
        "completion": rates.output,
        "input_cache_read": rates.cache_read,
        "input_cache_write": rates.cache_write,
    }
    if rates.search:
        told["web_search"] = rates.search
    if rates.request:
        told["request"] = rates.request
    return {name: _decimal(amount, per_million) for name, amount in told.items()}


def _decimal(amount: int, unit: int) -> str:
    """Return ``amount / unit``, where the unit is a power of ten."""
    return f"{(Decimal(amount) / unit).normalize():f}"
