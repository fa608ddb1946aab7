"""How a value is written in the file: each kind can be parsed, and shown as one would write it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import ip_network
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from proxy.config.errors import Wrong, nearest
from proxy.config.model import Json, Network

T = TypeVar("T")
S = TypeVar("S", bound=str)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """``parse`` takes what TOML gave (floats as Decimal) and raises Wrong; ``show`` undoes it."""

    parse: Callable[[object], T]
    show: Callable[[T], object]


# Numbers.


def integer(minimum: int, why: str = "") -> Kind[int]:
    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise Wrong(f"a whole number from {minimum}", why)
        return value

    return Kind(parse, lambda value: value)


COUNT = integer(1, "leave it out for no limit")
WEIGHT = integer(1)
PRIORITY = integer(0)


_TOO_MUCH = Decimal(10**12)
_TOO_FINE = Decimal("1e-12")
"""Amounts are counted in whole numbers of their last digit: what nobody means must not make those endless."""


def money(*, zero: bool, why: str = "") -> Kind[Decimal]:
    """An amount or a factor, exact: 0.1 is a tenth."""

    def parse(value: object) -> Decimal:
        if isinstance(value, Decimal | int) and not isinstance(value, bool):
            amount = Decimal(value)
            if amount.is_finite() and (amount > 0 or (zero and amount == 0)):
                if amount >= _TOO_MUCH or amount % _TOO_FINE:
                    raise Wrong("a number below a million million, with at most 12 decimals")
                return amount
        raise Wrong("a number of at least 0" if zero else "a number above 0", why)

    return Kind(parse, lambda value: format(value, "f"))


LIMIT_USD = money(zero=False, why="leave it out for no limit")
USD = money(zero=True)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong("true or false")
    return value


BOOLEAN: Kind[bool] = Kind(_boolean, lambda value: value)


# Durations and sizes.

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {
    "d": Decimal(86_400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB)")
_BYTES = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}


def parse_duration(value: object) -> float:
    """``"250ms" "10s" "5m" "24h" "90d"`` in seconds."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Wrong('a duration such as "250ms", "10s", "5m", "24h" or "90d"')
    return float(Decimal(match[1]) * _SECONDS[match[2]])


def show_duration(seconds: float) -> str:
    """The duration in the largest unit that needs no fraction; milliseconds may have one."""
    exact = Decimal(repr(seconds))
    for unit, size in _SECONDS.items():
        if exact % size == 0:
            return f"{int(exact // size)}{unit}"
    return f"{(exact * 1000).normalize():f}ms"


def _positive_duration(value: object) -> float:
    seconds = parse_duration(value)
    if seconds == 0:
        raise Wrong("a duration above 0", "there is no way to say unlimited")
    return seconds


def parse_size(value: object) -> int:
    """``"16KiB" "32MiB" "2GiB"`` in bytes; never 0."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise Wrong('a size above 0 such as "64KiB", "32MiB" or "2GiB"')
    return int(match[1]) * _BYTES[match[2]]


def show_size(size: int) -> str:
    unit = next(unit for unit, factor in _BYTES.items() if size % factor == 0)
    return f"{size // _BYTES[unit]}{unit}"


DURATION: Kind[float] = Kind(_positive_duration, show_duration)
WAIT: Kind[float] = Kind(parse_duration, show_duration)
"""A duration that may be 0, where that means: not at all."""
SIZE: Kind[int] = Kind(parse_size, show_size)


# Words.


def word(expected: str, pattern: str, hint: str = "") -> Kind[str]:
    compiled = re.compile(pattern)

    def parse(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise Wrong(expected, hint)
        return value

    return Kind(parse, lambda value: value)


STRING = word("a string", r"(?s).*")
NAME = word(
    "a name of letters, digits, . _ @ and -, at most 64", r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
)
MODEL_NAME = word("a model name: no spaces, at most 256 characters", r"[^\s\x00-\x1f\x7f]{1,256}")
GLOB = word('a glob such as "gpt-*"', r"[^\s\x00-\x1f\x7f]{1,256}")
PREFIX = word("2 to 24 letters, digits, _ and -", r"[A-Za-z0-9_-]{2,24}")
ORIGIN = word('"*" or an origin such as "https://app.example.com"', r"\*|https?://[^/\s?#]+")
HOST = word('a host name such as "localhost"', r"[^\s/]+")


def choice(options: tuple[S, ...]) -> Kind[S]:
    def parse(value: object) -> S:
        for option in options:
            if value == option:
                return option
        hint = nearest(value, options) if isinstance(value, str) else ""
        raise Wrong(_listed(options), hint if hint.startswith("did") else "")

    return Kind(parse, lambda value: value)


def _listed(options: tuple[str, ...]) -> str:
    if len(options) == 1:
        return options[0]
    return f"{', '.join(options[:-1])} or {options[-1]}"


def wanted(kind: Kind[T]) -> str:
    """What the kind expects, in the words of its own refusal."""
    try:
        kind.parse(None)
    except Wrong as wrong:
        return wrong.expected
    raise TypeError("a kind that takes None")


def many(kind: Kind[T], *, at_least: int = 0) -> Kind[tuple[T, ...]]:
    """A list whose elements are all of one kind, none twice."""

    def parse(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Wrong(
                f"a list of: {wanted(kind)}",
                'put it in brackets: ["…"]' if isinstance(value, str) else "",
            )
        if len(value) < at_least:
            raise Wrong(f"a list of at least {at_least}")
        items = []
        for element in value:
            try:
                item = kind.parse(element)
            except Wrong as wrong:
                found = wrong.found or repr_toml(element)
                raise Wrong(f"a list of: {wrong.expected}", wrong.hint, found) from None
            if item in items:
                raise Wrong("each only once", found=f"{repr_toml(element)} twice")
            items.append(item)
        return tuple(items)

    return Kind(parse, lambda items: [kind.show(item) for item in items])


# The network.


def _url(value: object, schemes: tuple[str, ...], example: str) -> str:
    wrong = Wrong(f'an address such as "{example}"')
    if not isinstance(value, str) or re.search(r"[\s#]", value):
        raise wrong
    try:
        parts = urlsplit(value)
        valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise wrong from None
    if "@" in parts.netloc:
        wrong.found = "credentials in the address"
    if not valid or wrong.found:
        raise wrong
    return value.rstrip("/")


def _base_url(value: object) -> str:
    url = _url(value, ("http", "https"), "https://api.example.com/v1")
    parts = urlsplit(url)
    if (parts.hostname or "").endswith(".openai.azure.com") and not parts.path:
        raise Wrong("the address of the v1 API", f"write {url}/openai/v1")
    for route in ("/chat/completions", "/messages", "/responses"):
        if parts.path.endswith(route):
            raise Wrong("the address without the route", f"write {url.removesuffix(route)}")
    return url


def _public_url(value: object) -> str:
    return "" if value == "" else _url(value, ("http", "https"), "https://llm.example.com")


def _egress(value: object) -> str:
    return _url(value, ("http",), "http://proxy.example.com:3128")


def _network(value: object) -> Network:
    if isinstance(value, str):
        try:
            return ip_network(value)
        except ValueError as error:
            if "host bits" in str(error):
                network = ip_network(value, strict=False)
                raise Wrong("a network", f"write {network}") from None
    raise Wrong('an address or network such as "10.0.0.0/8" or "2001:db8::1"')


BASE_URL: Kind[str] = Kind(_base_url, lambda value: value)
PUBLIC_URL: Kind[str] = Kind(_public_url, lambda value: value)
EGRESS: Kind[str] = Kind(_egress, lambda value: value)
NETWORK: Kind[Network] = Kind(_network, str)


# Time, and JSON.


def _moment(value: object) -> datetime:
    """A date is its first moment; what names no time zone is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise Wrong("a date such as 2026-12-31 or 2026-12-31T18:00:00Z") from None
    if isinstance(value, datetime):
        try:
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        except OverflowError:
            raise Wrong("a moment in the years 1 to 9999 of UTC") from None
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise Wrong("a date such as 2026-12-31 or 2026-12-31T18:00:00Z")


MOMENT: Kind[datetime] = Kind(_moment, lambda value: value.isoformat().replace("+00:00", "Z"))


def parse_json(value: object) -> Json:
    """What a request body can hold; a fraction becomes the float that JSON knows."""
    match value:
        case bool() | int() | str():
            return value
        case Decimal() if value.is_finite():
            return float(value)
        case list():
            return [parse_json(element) for element in value]
        case dict():
            return {key: parse_json(child) for key, child in value.items()}
        case _:
            raise Wrong("text, numbers, true, false, lists and tables", found=repr_toml(value))


def repr_toml(value: object) -> str:
    """A value as one would find it in the file, shortened: for messages."""
    match value:
        case str():
            text = f'"{value}"'
        case bool():
            text = "true" if value else "false"
        case list():
            text = f"[{', '.join(map(repr_toml, value))}]"
        case dict():
            pairs = (f"{key} = {repr_toml(child)}" for key, child in value.items())
            text = f"{{ {', '.join(pairs)} }}" if value else "{}"
        case _:
            text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
