"""Every illness on one, two and three of four accounts: who asks hardly notices, and who is well again is asked again."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.chaos.amount import AMOUNT, FIGURES
from tests.chaos.four import Four, four, now
from tests.chaos.load import Ask, Got, asks, run
from tests.chaos.upstreams import HINTED, ILLNESSES, RESET, SLOW, TRUNCATED, Upstream

DIALECTS = ("openai-chat", "anthropic")
BARS = {1: 0.999, 2: 0.99, 3: 0.95}
"""Of the requests that get their first content, by the accounts of four that are ill."""
WASTED = 2
"""Accounts asked for one request beyond the first."""
CLIENTS = 20 if AMOUNT.is_short else 60
LATENCY = 0.03
"""Seconds that an upstream takes for whatever it answers, so that many requests meet an illness before anybody knows of it."""
CELLS = tuple(itertools.product(BARS, (False, True)))
CASES = tuple(
    zip(ILLNESSES, itertools.cycle(DIALECTS), strict=False)
    if AMOUNT.is_short
    else itertools.product(ILLNESSES, DIALECTS)
)
"""At length every illness in every dialect and cell; else each once, in the dialects by turns and a cell that is drawn."""
GRACE = 1.0
SHORT_OF_TIME = 'connect = "600ms"\nfirst_content = "1s"\nresponse = "1s"'
HEADING = (
    f"{'illness':22} {'dialect':12} {'ill':>3} {'':8} {'answered':>9} {'wasted':>6} {'worst':>5}"
    f" {'benched':>8} {'late':>7}"
)


@dataclass(slots=True)
class Cell:
    """What became of the requests of one cell of the matrix."""

    illness: str
    stream: bool
    broken: int
    upstreams: Sequence[Upstream]
    sent: int = 0
    answered: int = 0
    wasted: int = 0
    worst: int = 0

    def take(self, ask: Ask, got: Got) -> None:
        self.sent += 1
        whole = {one.said_to(ask.marker) for one in self.upstreams}
        if got.status == 200 and got.text:
            self.answered += 1
            # One account's whole text, or its beginning if the client is told so: nothing twice, nothing of somebody else's.
            if got.failed:
                assert self.illness == TRUNCATED
                assert self.stream
                assert any(text.startswith(got.text) for text in whole)
            else:
                assert got.text in whole
        else:
            assert got.status in {429, 502, 503, 504, 529}, got
        times = [one.asked[ask.marker] for one in self.upstreams if ask.marker in one.asked]
        # A connection that is reset may have died while it was idle, so the same account is asked again on a new one.
        assert max(times, default=0) <= (2 if self.illness == RESET else 1)
        asked = max(len(times), got.attempts)
        wasted = max(asked - 1, 0)
        self.wasted += wasted
        self.worst = max(self.worst, wasted)

    @property
    def rate(self) -> float:
        return self.answered / self.sent


@pytest.mark.parametrize(("illness", "dialect"), CASES)
async def test_clients_hardly_notice_that_accounts_are_ill(illness, dialect):
    rng = random.Random(f"{AMOUNT.seed} {illness} {dialect}")
    cells = [rng.choice(CELLS)] if AMOUNT.is_short else CELLS
    async with four(dialect, timeouts=SHORT_OF_TIME if illness in SLOW else "") as pool:
        for broken, stream in cells:
            await pool.clear()
            cell = Cell(illness, stream, broken, pool.upstreams)
            ill = rng.sample(pool.upstreams, broken)
            for one in ill:
                await one.fall_ill(illness)
            for one in pool.upstreams:
                one.latency = LATENCY

            def take(ask: Ask, got: Got, cell: Cell = cell) -> None:
                cell.take(ask, got)
                pool.watch()

            wanted = itertools.islice(asks(rng, stream=stream), AMOUNT.requests)
            await run(pool.front, wanted, CLIENTS, take)
            if illness in HINTED:
                hints = [why.evidence.hint for one in ill for why in pool.why(one)]
                assert hints
                assert all(hint == pytest.approx(30, abs=2) for hint in hints), hints
            late = await _recovery(pool, ill, rng)
            line = _line(cell, dialect, pool.longest, late)
            if not AMOUNT.is_short:
                FIGURES.extend([line] if FIGURES else [HEADING, line])
            assert cell.sent == AMOUNT.requests
            assert cell.rate >= BARS[broken], line
            assert cell.worst <= WASTED, line


async def _recovery(pool: Four, ill: Sequence[Upstream], rng: random.Random) -> float:
    """Make everybody well; return by how many seconds after its deadline the last of ``ill`` was asked again."""
    benched = [one for one in ill if pool.why(one)]
    for one in ill:
        one.forget()
        await one.recover()
    since = now()
    probe = pool.times.probe_interval
    latest = since + pool.times.max_quota + probe + 2 * GRACE

    def wanted() -> Iterator[Ask]:
        for ask in asks(rng):
            if now() > latest or all(one.answers for one in ill):
                return
            yield ask

    def take(_: Ask, got: Got) -> None:
        assert got.status == 200
        assert not got.failed
        pool.watch()

    await run(pool.front, wanted(), CLIENTS, take)
    late = []
    for one in ill:
        assert one.answers, f"{one.name} has not been asked again"
        late.append(one.hits[0] - max(since, pool.deadlines.get(one.name, since)))
        assert late[-1] <= probe + GRACE
        if one in benched:
            before = sum(hit < one.answers[0] for hit in one.hits)
            assert before <= 1 + int((one.answers[0] - one.hits[0]) / probe), "a herd came"
    return max(late)


def _line(cell: Cell, dialect: str, longest: float, late: float) -> str:
    kind = "streamed" if cell.stream else "whole"
    return (
        f"{cell.illness:22} {dialect:12} {cell.broken:>3} {kind:8} {cell.rate:>9.2%} {cell.wasted:>6}"
        f" {cell.worst:>5} {longest:>7.2f}s {late:>6.2f}s"
    )
