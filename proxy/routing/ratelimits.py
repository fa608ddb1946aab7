"""What a provider's headers say about its own limits: how much is left, and when to come back.

Every provider spells it differently: ``x-ratelimit-remaining-requests`` with a reset of ``6m0s`` (OpenAI), of ``7.66s``
(Groq), of seconds by the day (Cerebras) or of milliseconds since 1970 (OpenRouter), and
``anthropic-ratelimit-input-tokens-reset`` with a date. Header names are lower case. What cannot be read counts as not said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_WAITS = ((b"retry-after-ms", 0.001), (b"x-ms-retry-after-ms", 0.001), (b"retry-after", 1.0))
_OPENAI = b"x-ratelimit-remaining"
_ANTHROPIC = b"anthropic-ratelimit-"
_REMAINING = b"-remaining"
_TOLD = (_OPENAI, _ANTHROPIC)
_DURATION = re.compile(rb"(?:\d+(?:\.\d+)?(?:ms|us|d|h|m|s))+")
_PART = re.compile(rb"(\d+(?:\.\d+)?)(ms|us|d|h|m|s)")
_UNITS = {b"us": 1e-6, b"ms": 1e-3, b"s": 1.0, b"m": 60.0, b"h": 3600.0, b"d": 86_400.0}
_EPOCH = 1e9
"""A number of at least so many seconds is a date (this one is of 2001), not a wait of thirty years."""
_EPOCH_MS = 1e12
_SHOWN = 64
"""Characters of a header's value that an operator gets to see."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of one limit, and in how many seconds it is whole again (None: not said)."""

    left: int
    reset: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer said about the limits that it counted against; of several of a kind the one with least left."""

    requests: Remaining | None
    tokens: Remaining | None

    @property
    def empty_for(self) -> float:
        """Seconds for which a limit has nothing left; 0.0 if all have, or nobody said when that ends."""
        resets = [one.reset or 0.0 for one in (self.requests, self.tokens) if one and not one.left]
        return max(resets, default=0.0)


@dataclass(frozen=True, slots=True)
class Hint:
    """When a refusal says to come back. ``told`` is the header that said so, or the one that made no sense."""

    seconds: float | None = None
    """Above 0; None: not said."""
    told: str = ""


def read(headers: Mapping[bytes, bytes], wall: float) -> Reading | None:
    """Return what an answer's headers say is left, or None if they say nothing. ``wall`` is the time since 1970."""
    for header in headers:
        if header.startswith(_TOLD):
            break
    else:
        return None
    requests: Remaining | None = None
    tokens: Remaining | None = None
    for name, left, reset in _limits(headers):
        seconds = None if reset is None else _wait(headers[reset], headers, wall)
        if seconds is not None and seconds < 0:
            seconds = None
        remaining = Remaining(left, seconds)
        if b"tokens" in name:
            tokens = _lesser(tokens, remaining)
        else:
            requests = _lesser(requests, remaining)
    return None if requests is None and tokens is None else Reading(requests, tokens)


def hint(headers: Mapping[bytes, bytes], body: float | None, wall: float) -> Hint:
    """Return when a refusal with these headers says to come back.

    ``body`` is the seconds that its body names, None if it names none. A wait in a header goes before the body's, and that
    before the reset of a limit that has nothing left: the reset of one that is not exhausted says nothing about this refusal.
    """
    nonsense = Hint()
    for name, unit in _WAITS:
        value = headers.get(name)
        if value is None:
            continue
        seconds = _number(value, unit)
        if seconds is None and unit == 1.0:
            seconds = _http_date(value, headers, wall)
        if seconds is not None and seconds > 0:
            return Hint(seconds, _shown(name, value))
        nonsense = nonsense if nonsense.told else Hint(None, _shown(name, value))
    if body is not None and body > 0:
        return Hint(body, f"retry delay of {body:g} s in the body")
    longest = nonsense
    for _, left, reset in _limits(headers):
        if left or reset is None:
            continue
        seconds = _wait(headers[reset], headers, wall)
        if seconds is not None and seconds > (longest.seconds or 0.0):
            longest = Hint(seconds, _shown(reset, headers[reset]))
    return longest


def _limits(headers: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, int, bytes | None]]:
    """Yield the name of each limit that is told, what is left of it, and the header with its reset, if there is one."""
    for header, value in headers.items():
        if header.startswith(_OPENAI):
            name = header[len(_OPENAI) :]
            reset = b"x-ratelimit-reset" + name
        elif header.startswith(_ANTHROPIC) and header.endswith(_REMAINING):
            name = header[len(_ANTHROPIC) : -len(_REMAINING)]
            reset = _ANTHROPIC + name + b"-reset"
        else:
            continue
        left = _number(value, 1.0)
        if left is not None and left >= 0:
            yield name, int(left), reset if reset in headers else None


def _lesser(one: Remaining | None, other: Remaining) -> Remaining:
    if one is None or other.left < one.left:
        return other
    if other.left == one.left and (other.reset or 0.0) > (one.reset or 0.0):
        return other
    return one


def _wait(value: bytes, headers: Mapping[bytes, bytes], wall: float) -> float | None:
    """Return the seconds until a reset, which may be past, in whatever form it stands."""
    number = _number(value, 1.0)
    if number is not None:
        if number >= _EPOCH_MS:
            return number / 1000 - _sent(headers, wall)
        return number - _sent(headers, wall) if number >= _EPOCH else number
    if _DURATION.fullmatch(value):
        seconds = sum(float(part[1]) * _UNITS[part[2]] for part in _PART.finditer(value))
        return seconds if math.isfinite(seconds) else None
    try:
        moment = datetime.fromisoformat(value.decode("latin-1"))
    except ValueError:
        return None
    return _unix(moment) - _sent(headers, wall)


def _number(value: bytes, unit: float) -> float | None:
    try:
        number = float(value) * unit
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _http_date(value: bytes, headers: Mapping[bytes, bytes], wall: float) -> float | None:
    moment = _date(value)
    return None if moment is None else moment - _sent(headers, wall)


def _sent(headers: Mapping[bytes, bytes], wall: float) -> float:
    """Return when the answer was sent, by the provider's own clock if it shows it: clocks differ."""
    moment = _date(headers.get(b"date", b""))
    return wall if moment is None else moment


def _date(value: bytes) -> float | None:
    try:
        return _unix(parsedate_to_datetime(value.decode("latin-1")))
    except (ValueError, OverflowError):
        return None


def _unix(moment: datetime) -> float:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _shown(name: bytes, value: bytes) -> str:
    text = f"{name.decode('latin-1')}: {value[:_SHOWN].decode('latin-1')}"
    return "".join(character if character.isprintable() else "?" for character in text)
