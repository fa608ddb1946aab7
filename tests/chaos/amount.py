"""How much chaos is made, and what came of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

SHORT = 100
"""Requests of a cell unless somebody asks for more: the fewest with which one failure is not more than a hundredth."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What ``SPLICE_CHAOS_REQUESTS`` and ``SPLICE_CHAOS_SEED`` say."""

    requests: int
    seed: int
    is_short: bool

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.requests} requests a cell"


def _amount() -> Amount:
    requests = os.environ.get("SPLICE_CHAOS_REQUESTS")
    seed = int(os.environ.get("SPLICE_CHAOS_SEED", "1"))
    return Amount(int(requests or SHORT), seed, is_short=requests is None)


AMOUNT = _amount()
FIGURES: list[str] = []
"""Lines for the end of the output, in the order in which they were found."""
