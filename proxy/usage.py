"""What a call consumed, in one shape for all dialects."""

from __future__ import annotations

from typing import NamedTuple

MAX_COUNT = 10**9
"""A count above this is an upstream's bug, not a bill: no context window comes near it."""


class Usage(NamedTuple):
    """Disjoint token counts: no token is in two of ``input``, ``cache_read``, ``cache_write``, ``cache_write_1h``.

    ``output`` includes ``reasoning`` and ``audio_output``, and ``input`` includes ``audio_input``: these three are shares,
    not further tokens. ``tier`` is the upstream's own word for the service tier that it billed.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    searches: int = 0
    tier: str | None = None
    estimated: bool = False

    @property
    def input_total(self) -> int:
        """Every prompt token, cached or not: what OpenAI and Gemini call prompt tokens."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h

    @property
    def cache_writes(self) -> int:
        """Prompt tokens written to a cache, of any lifetime."""
        return self.cache_write + self.cache_write_1h

    @property
    def total(self) -> int:
        """Every token of the call."""
        return self.input_total + self.output


def count(value: object) -> int:
    """Return ``value`` as a token count; anything but a whole number from 0 to a billion counts as 0.

    Providers send null, ``12.0`` and, once, ten to the thirtieth; ``True`` is an integer to Python, and no count.
    """
    if value is None:
        return 0
    if type(value) is int and 0 <= value <= MAX_COUNT:
        return value
    if type(value) is float and value.is_integer() and 0 <= value <= MAX_COUNT:
        return int(value)
    return 0


def inclusive(
    *,
    input_total: int,
    output: int,
    cache_read: int = 0,
    cache_write: int = 0,
    cache_write_1h: int = 0,
    reasoning: int = 0,
    audio_input: int = 0,
    audio_output: int = 0,
    searches: int = 0,
    tier: str | None = None,
) -> Usage:
    """Return the disjoint usage of a provider that counts cached tokens inside its prompt tokens.

    A share larger than its whole is cut to the whole, so no count can turn negative.
    """
    plain = input_total
    if cache_read or cache_write or cache_write_1h:
        cache_read = min(cache_read, plain)
        plain -= cache_read
        cache_write = min(cache_write, plain)
        plain -= cache_write
        cache_write_1h = min(cache_write_1h, plain)
        plain -= cache_write_1h
    return Usage(
        plain,
        cache_read,
        cache_write,
        cache_write_1h,
        output,
        min(reasoning, output),
        min(audio_input, plain),
        min(audio_output, output),
        searches,
        tier,
    )


def at_least(usage: Usage, output: int) -> Usage:
    """Return ``usage`` with no less output than has been seen, for an answer that broke off.

    Anthropic tells one output token at the start and the rest at the end: a call that ends in between was not free.
    """
    return usage if usage.output >= output else usage._replace(output=output, estimated=True)


def estimate_output(by_text: int, events: int, pace: float | None) -> int:
    """Return about how many tokens came in ``events`` whose text is ``by_text``, at ``pace`` tokens an event; None: any number.

    The lower of the two: a text may be made of longer tokens than most, and an event of less text than most.
    """
    return by_text if pace is None else min(by_text, int(events * pace + 0.5))


def estimate_tokens(text: str) -> int:
    """Return about how many tokens ``text`` is: a quarter for an ASCII character, three quarters for any other, rounded up.

    Used where a provider told nothing; a tokenizer would need its tables from the network and a microsecond a character.
    """
    length = len(text)
    ascii_count = length if text.isascii() else len(text.encode("ascii", "ignore"))
    quarters = ascii_count + 3 * (length - ascii_count)
    return -(-quarters // 4)
