"""Where a gateway listens, and what it says when it cannot."""

from __future__ import annotations

import os
import socket
import stat

import pytest

from proxy.server.listeners import CannotListen
from tests.integration import spoken
from tests.integration.gateway import BEARER, PATHS, body_of, config_text, gateway, upstream
from tests.integration.scripted import Scripted
from tests.integration.wire import Wire, request


def unix(path, *tables: str) -> str:
    return config_text(*tables, server=f'listen = ["unix:{path}"]')


async def test_a_unix_socket_is_as_good_as_a_port(tmp_path):
    path = tmp_path / "splice.sock"
    async with (
        Scripted([spoken.streamed("openai-chat")]) as up,
        gateway(unix(path, upstream(up.url))) as front,
    ):
        wire = await front.wire()
        wire.send(request("GET", "/healthz", host=""))
        assert (await wire.answer()).status == 200
        answered = await wire.post(
            PATHS["chat"], body_of("chat", stream=True), authorization=BEARER
        )
    assert answered.text == "Hello"


async def test_a_socket_that_a_dead_daemon_left_is_replaced(tmp_path):
    path = tmp_path / "splice.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with gateway(unix(path)) as front:
        assert (await front.get("/healthz")).status == 200
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660  # noqa: PTH116


async def test_a_socket_that_is_in_use_is_left_alone(tmp_path):
    path = tmp_path / "splice.sock"
    async with gateway(unix(path)) as front:
        with pytest.raises(CannotListen, match="another process answers there"):
            async with gateway(unix(path)):
                pass
        assert (await front.get("/healthz")).status == 200


async def test_a_taken_port_is_named_with_its_owner():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen) as raised:
            async with gateway(config_text(server=f'listen = ["127.0.0.1:{port}"]')):
                pass
    message = str(raised.value)
    assert f"127.0.0.1:{port}" in message
    assert f"(process {os.getpid()})" in message
    assert "\n" not in message


async def test_when_one_listener_cannot_be_had_none_is(tmp_path):
    path = tmp_path / "splice.sock"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f'listen = ["unix:{path}", "127.0.0.1:{taken.getsockname()[1]}"]'
        with pytest.raises(CannotListen):
            async with gateway(config_text(server=listen)):
                pass
    with pytest.raises(ConnectionRefusedError):
        await Wire.open(str(path))


async def test_several_listeners_answer_alike():
    async with gateway(config_text(server='listen = ["127.0.0.1:0", "[::1]:0"]')) as front:
        for address in front.running.addresses:
            wire = front.keep(await Wire.open(address))
            wire.send(request("GET", "/healthz"))
            assert (await wire.answer()).status == 200
