"""What may be set of a key or a team of the database, as commands and the admin API write it.

The names are those of ``[[keys]]``. An option that is null has its default, which is what it has when it is not there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

from proxy.billing.credit import Terms
from proxy.config import Key, values
from proxy.config.errors import Wrong, nearest
from proxy.config.keys import HASH, NATIVE
from proxy.config.upstreams import PERIOD
from proxy.config.values import Kind, many, repr_toml
from proxy.money import micro

Options = dict[str, Any]
"""By name, as JSON: amounts as text, moments as RFC 3339; defaults left out."""

_NUMBER = re.compile(r"-?\d{1,13}(\.\d{1,12})?")


class Reason(StrEnum):
    INVALID = "invalid"
    ABSENT = "absent"
    TAKEN = "taken"


class Refused(Exception):
    """A change that is not made; the message says what was found, what was expected and what to do."""

    def __init__(self, reason: Reason, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.param = param


def _decimal(kind: Kind[Decimal]) -> Kind[Decimal]:
    """Return ``kind`` for JSON, where a number is exact as text only."""

    def parse(value: object) -> Decimal:
        if isinstance(value, float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
            # The nearest float prints as the decimal that was written.
            value = Decimal(str(value))
        return kind.parse(value)

    return Kind(parse, lambda value: format(value, "f"))


def _whole_micros(kind: Kind[Decimal]) -> Kind[Decimal]:
    """Return ``kind`` without amounts that a ledger of whole micro-dollars would have to round."""

    def parse(value: object) -> Decimal:
        amount = kind.parse(value)
        if amount * 1_000_000 % 1:
            raise Wrong("at most 6 decimals")
        return amount

    return Kind(parse, kind.show)


_LIMIT = _whole_micros(_decimal(values.LIMIT_USD))
_MOST = Decimal(10**9)


def _credit(value: object) -> Decimal:
    if isinstance(value, float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        value = Decimal(str(value))
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        amount = Decimal(value)
        if amount.is_finite() and 0 < abs(amount) <= _MOST and not amount * 1_000_000 % 1:
            return amount
    raise Wrong("an amount in USD of at most 6 decimals, below 0 to take back")


CREDIT: Kind[Decimal] = Kind(_credit, lambda value: format(value, "f"))
NAME = values.NAME

TEAM: Mapping[str, Kind[Any]] = {
    "budget_usd": _LIMIT,
    "budget_period": PERIOD,
    "prepaid": values.BOOLEAN,
    "allowance_usd": _LIMIT,
}
KEY: Mapping[str, Kind[Any]] = {
    "team": values.NAME,
    "models": many(values.GLOB, at_least=1),
    "rpm": values.COUNT,
    "tpm": values.COUNT,
    "concurrency": values.COUNT,
    **TEAM,
    "price_multiplier": _decimal(values.USD),
    "expires": values.MOMENT,
    "allow_ip": many(values.NETWORK),
    "enabled": values.BOOLEAN,
    "native": NATIVE,
}


def taken(name: str, kind: Kind[Any], value: object) -> Any:
    """Return what ``value`` of the field ``name`` is. Raises Refused."""
    try:
        return kind.parse(value)
    except Wrong as wrong:
        found = wrong.found or ("nothing" if value is None else repr_toml(value))
        hint = f"; {wrong.hint}" if wrong.hint else ""
        # A header's bytes that are no UTF-8 are no text that could be told.
        told = found.encode("utf-8", "replace").decode()
        message = f"{name}: found {told}, expected {wrong.expected}{hint}"
        raise Refused(Reason.INVALID, message, name) from None


def known(given: Iterable[str], names: Collection[str]) -> None:
    """Raise Refused if there is a field that is none of ``names``."""
    for name in given:
        if name not in names:
            hint = nearest(name, names)
            message = f"found the unknown field {name[:64]!r}; {hint}"
            raise Refused(Reason.INVALID, message, name[:64])


def changed(
    kinds: Mapping[str, Kind[Any]], before: Options, given: Mapping[str, object]
) -> Options:
    """Return the options ``before`` with those that are ``given``, of which null takes one away. Raises Refused."""
    known(given, kinds)
    after = dict(before)
    for name, value in given.items():
        if value is None:
            after.pop(name, None)
        else:
            after[name] = kinds[name].show(taken(name, kinds[name], value))
    if "budget_usd" in given and given["budget_usd"] is None and "budget_period" not in given:
        after.pop("budget_period", None)
    for one, other in (("budget_usd", "budget_period"), ("budget_period", "budget_usd")):
        if one in after and other not in after:
            expected = "an amount" if other == "budget_usd" else values.wanted(PERIOD)
            message = f"{other}: found nothing, expected {expected}, as {one} is set"
            raise Refused(Reason.INVALID, message, other)
    return after


def key_of(name: str, identity: str, options: Options) -> Key:
    """Return the key that ``options`` make. Raises Refused."""
    found = {one: taken(one, KEY[one], value) for one, value in options.items()}
    return Key(name=name, hash=identity, **found)


def terms_of(options: Options) -> Terms:
    """Return what the wallet of a key or team with ``options`` may spend. Raises Refused."""
    found = {
        name: taken(name, kind, options[name]) for name, kind in TEAM.items() if name in options
    }
    budget = found.get("budget_usd")
    return Terms(
        prepaid=found.get("prepaid", False),
        allowance=micro(found.get("allowance_usd", Decimal(0))),
        budget=None if budget is None else micro(budget),
        period=found.get("budget_period", "total"),
    )


def digest_of(given: object) -> str:
    """Return the digest in ``sha256:…``. Raises Refused."""
    return str(taken("hash", HASH, given))
