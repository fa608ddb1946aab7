"""What needs a network of its own: one address with too many connections, and packets that are lost on every way."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos import apart
from tests.chaos.amount import AMOUNT, FIGURES

REQUESTS = 100 if AMOUNT.is_short else AMOUNT.requests
LOSSES = (5,) if AMOUNT.is_short else (1, 5, 10)
_NO_NETWORK = apart.missing()
_NO_LOSS = apart.missing("nft")


@pytest.mark.skipif(_NO_NETWORK is not None, reason=_NO_NETWORK or "")
async def test_one_address_has_256_connections_and_others_have_theirs():
    found = await asyncio.to_thread(apart.inside, "one_address", "400")
    FIGURES.append(f"400 connections of one address, 50 of another: {found}")
    assert found == {"them 200": 256, "them 503": 144, "others 200": 50}


@pytest.mark.skipif(_NO_LOSS is not None, reason=f"{_NO_LOSS} (Debian: apt install nftables)")
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.timeout(300)
async def test_lost_packets_cost_time_and_no_answer(loss):
    found = await asyncio.to_thread(apart.inside, "lossy", str(REQUESTS), loss=loss)
    seen = found["seen"]
    FIGURES.append(
        f"{loss} % of packets lost: {seen}, p50 {1000 * found['p50']:.0f} ms, p99 {1000 * found['p99']:.0f} ms"
    )
    assert sum(seen.values()) >= REQUESTS
    assert seen.keys() == {"200"}
