"""How an amount is written: money is whole micro-dollars everywhere, and becomes a decimal only where somebody reads it."""

from __future__ import annotations

_MICRO = 1_000_000


def usd(micro: int) -> str:
    """Return ``micro`` micro-USD in USD, exactly: a JSON number with no more digits than it needs."""
    whole, rest = divmod(micro, _MICRO)
    return f"{whole}.{rest:06d}".rstrip("0") if rest else str(whole)
