"""The daemon as systemd knows it: what it is handed, what it says, and how it exits."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

from tests.integration.daemon import Handed, activated, on_a_port, on_a_unix_socket, started
from tests.integration.gateway import config_text, upstream
from tests.integration.wire import Wire, request


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


# Sockets that systemd hands over.


async def test_a_socket_is_found_by_its_name_among_others(tmp_path):
    with on_a_port() as admin, on_a_port() as public, on_a_unix_socket(tmp_path / "s") as local:
        handed = Handed((admin, public, local), ("admin", "public", "public"))
        text = activated(upstream("http://127.0.0.1:9"), admin='listen = ["systemd:admin"]')
        async with started(text, handed):
            for one, answered in ((public, "/"), (local, "/"), (admin, None)):
                wire = await Wire.open(one.getsockname())
                wire.send(request("GET", "/readyz", host="localhost"))
                assert (await wire.answer()).status == 200
                # Only the public listener has a front page.
                wire.send(request("GET", "/", host="localhost"))
                assert (await wire.answer()).status == (200 if answered else 404)
                wire.close()


async def test_whoever_knocks_before_it_runs_is_answered(tmp_path):
    with on_a_port() as public:
        early = await Wire.open(public.getsockname())
        early.send(request("GET", "/healthz"))
        async with started(activated(), Handed((public,), ("public",))):
            assert (await early.answer()).status == 200
            early.close()


async def test_the_socket_outlives_the_daemon_and_the_next_one_answers_who_waited(tmp_path):
    path = tmp_path / "s"
    with on_a_unix_socket(path) as public:
        handed = Handed((public,), ("public",))
        async with started(activated(), handed) as daemon:
            daemon.asked(signal.SIGTERM)
            assert await daemon.ended() == 0
        waiting = await Wire.open(str(path))
        waiting.send(request("GET", "/healthz"))
        async with started(activated(), handed):
            assert (await waiting.answer()).status == 200
            waiting.close()


async def test_no_program_that_it_starts_inherits_them(tmp_path):
    with on_a_port() as public:
        async with started(activated(), Handed((public,), ("public",))) as daemon:
            flags = flags_of(daemon, 3)
    assert flags & os.O_CLOEXEC


def flags_of(daemon, number):
    told = Path(f"/proc/{daemon.process.pid}/fdinfo/{number}").read_text()
    (octal,) = re.findall(r"^flags:\s+(\d+)", told, re.MULTILINE)
    return int(octal, 8)


async def test_a_port_that_is_the_socket_units_own_is_said_to_be():
    with on_a_port() as public:
        text = config_text(server=f'listen = ["127.0.0.1:{public.getsockname()[1]}"]')
        async with started(text, Handed((public,), ("public",)), ready=False) as daemon:
            assert await daemon.ended() == 1
            assert 'listen = ["systemd:public"] in [server]' in daemon.log.read_text()


async def test_a_name_that_nothing_came_under_is_said(tmp_path):
    with on_a_port() as one:
        async with started(activated(), Handed((one,), ("http",)), ready=False) as daemon:
            assert await daemon.ended() == 1
            said = daemon.log.read_text()
    assert "found no socket named 'public' from systemd, found only 'http'" in said
    assert "FileDescriptorName=public" in said


async def test_a_socket_that_does_not_listen_is_said():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        async with started(activated(), Handed((one,), ("public",)), ready=False) as daemon:
            assert await daemon.ended() == 1
            assert "ListenStream=" in daemon.log.read_text()
