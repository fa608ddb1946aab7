"""What became of the recordings: one row for each provider on each surface, and one for each way of a request."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field

from tests.corpus.recordings import EMBEDDINGS, load

CUTS_VARIABLE = "SPLICE_CORPUS_CUTS"
CUTS = int(os.environ.get(CUTS_VARIABLE, "1"))
"""How often each answer is also sent cut at random places."""
SEED = int(os.environ.get("SPLICE_CORPUS_SEED", random.SystemRandom().randrange(1 << 32)))


@dataclass(slots=True)
class Row:
    """Recordings that were tried, and of these the ones that are equal, that differ with a written reason (by id), and that
    differ without one (told in full)."""

    tried: int = 0
    equal: int = 0
    excused: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        return self.tried, self.equal, len(self.excused), len(self.differing)


ROWS: dict[tuple[str, str], Row] = {}
"""By provider and surface."""
REQUESTS: dict[tuple[str, str], Counter[str]] = {}
"""By the client's dialect and the upstream's: how many recorded requests had which outcome."""

ESTIMATES: list[str] = []
"""How far estimates are from the truth."""


def row(provider: str, surface: str) -> Row:
    """Return the row of ``provider`` on ``surface``, empty."""
    ROWS[provider, surface] = made = Row()
    return made


def lines() -> list[str]:
    """Return the report: in full where the number of cut passes was asked for, else its sums."""
    if not ROWS and not REQUESTS:
        return ESTIMATES
    full = CUTS_VARIABLE in os.environ
    told = [f"seed {SEED}, {CUTS} cut pass{'' if CUTS == 1 else 'es'}"]
    if ROWS:
        heads = ("tried", "equal", "with a reason", "differing")
        told.append(_line("provider", "surface", heads))
        if full:
            told += [_line(*name, row.counts) for name, row in sorted(ROWS.items())]
        sums = [sum(column) for column in zip(*(row.counts for row in ROWS.values()), strict=True)]
        told.append(_line("all", "", sums))
        others = sorted({one.endpoint for one in load() if one.wire is None} - {*EMBEDDINGS})
        told.append(f"not replayed, since no surface answers them: {', '.join(others)}")
    for (client, target), outcomes in sorted(REQUESTS.items()) if full else ():
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        told.append(f"requests in {client} to {target}: {counts}")
    return told + ESTIMATES


def _line(provider: str, surface: str, columns: tuple[object, ...] | list[int]) -> str:
    cells = "".join(f"{column!s:>14}" for column in columns)
    return f"{provider:22} {surface:9}{cells}"
