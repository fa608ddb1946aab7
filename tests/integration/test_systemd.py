"""The daemon as systemd knows it: what it is handed, what it says, and how it exits."""

from __future__ import annotations

import signal

from tests.integration.daemon import started
from tests.integration.gateway import config_text


async def test_it_says_that_it_is_ready_how_it_is_and_that_it_stops():
    async with started(config_text()) as daemon:
        await daemon.says("STATUS=serving, 0 in flight")
        daemon.asked(signal.SIGTERM)
        assert await daemon.ended() == 0
        heard = daemon.heard
    assert heard[0] == "READY=1"
    assert heard.index("STOPPING=1") > heard.index("STATUS=serving, 0 in flight")


async def test_its_loop_feeds_the_watchdog():
    async with started(config_text(), environ={"WATCHDOG_USEC": "500000"}) as daemon:
        for _ in range(3):
            await daemon.says("WATCHDOG=1")
            daemon.heard.clear()


async def test_a_faulty_configuration_is_78_and_nothing_is_ready():
    async with started("[server]\nlisten = 1\n", ready=False) as daemon:
        assert await daemon.ended() == 78
        assert daemon.heard == []
        assert "server.listen" in daemon.log.read_text()
