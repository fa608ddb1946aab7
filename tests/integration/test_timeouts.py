"""Every wait for an upstream has an end: a 504 before the content, an error frame after it."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    DIALECTS,
    PATHS,
    account,
    body_of,
    config_text,
    gateway,
    in_front_of,
    upstream,
)
from tests.integration.scripted import Pause, Scripted
from tests.integration.wire import encoded, request

SURFACES = ("chat", "messages")
SILENCE = Pause(60)
CODES = {"chat": "server_error", "messages": "timeout_error"}


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_first_content_that_does_not_come_is_a_504(surface):
    dialect = "openai-chat"
    begun = spoken.HEAD + spoken.chunk(spoken.metadata(dialect))
    async with in_front_of([begun, SILENCE], timeouts='first_content = "100ms"') as (front, _):
        answered = await front.ask(surface, stream=True)
        line = await front.last()
    assert (answered.status, answered.error["type"]) == (504, CODES[surface])
    assert (line["status"], line["error_type"]) == (504, "timeout_first_content")


@pytest.mark.parametrize("surface", SURFACES)
async def test_an_answer_that_is_not_streamed_has_a_time_of_its_own(surface):
    times = 'response = "100ms"\nfirst_content = "60s"'
    async with in_front_of([SILENCE], timeouts=times) as (front, _):
        answered = await front.ask(surface)
        line = await front.last()
    assert (answered.status, line["status"]) == (504, 504)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_that_falls_silent_ends_in_an_error_frame(surface, dialect):
    begun = spoken.HEAD + spoken.chunk(spoken.metadata(dialect) + spoken.text(dialect, "He"))
    async with in_front_of([begun, SILENCE], dialect, timeouts='idle = "100ms"') as (front, _):
        answered = await front.ask(surface, stream=True)
        line = await front.last()
    assert (answered.status, answered.text, answered.whole) == (200, "He", True)
    assert answered.data[-1]["error"]["message"] == "The upstream provider timed out."
    assert (line["status"], line["error_type"]) == (200, "timeout_idle")


@pytest.mark.parametrize("surface", SURFACES)
async def test_the_whole_request_has_a_time_too(surface):
    async def script(reader, writer, request):
        writer.write(
            spoken.HEAD
            + spoken.chunk(spoken.metadata("openai-chat") + spoken.text("openai-chat", "He"))
        )
        while not writer.is_closing():
            writer.write(spoken.chunk(spoken.text("openai-chat", "llo")))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with in_front_of(script, timeouts='total = "300ms"') as (front, _):
        answered = await front.ask(surface, stream=True)
        line = await front.last()
    assert (answered.status, answered.whole) == (200, True)
    assert answered.data[-1]["error"]["message"] == "The upstream provider timed out."
    assert (line["status"], line["error_type"]) == (200, "timeout_total")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_whole_time_ends_a_call_before_its_content_as_well(stream):
    async with in_front_of([SILENCE], timeouts='total = "100ms"') as (front, up):
        answered = await front.chat(stream=stream)
        line = await front.last()
    assert (answered.status, line["error_type"]) == (504, "timeout_total")
    assert len(up.requests) == 1


async def test_a_call_that_fails_when_it_is_looked_at_ends_alone(monkeypatch):
    begun = spoken.HEAD + spoken.chunk(spoken.text("openai-chat", "He"))
    failures = []
    async with in_front_of([begun, SILENCE], timeouts='idle = "300ms"') as (front, _):
        gateway = front.running.gateway
        monkeypatch.setattr(gateway.log, "failure", lambda *told, **__: failures.append(told))
        wires = [await front.wire() for _ in range(2)]
        for wire in wires:
            wire.send(request("POST", PATHS["chat"], encoded(body_of("chat", stream=True)), authorization=BEARER))  # fmt: skip
            await wire.head()
        broken = min(gateway.calls, key=lambda call: call.record.started)
        monkeypatch.setattr(broken, "sweep", lambda _: 1 / 0)
        first = await wires[0].rest()
        second = b""
        while piece := await wires[1].chunk():
            second += piece
        lines = await front.requests(2)
    assert b"timed out" not in first
    assert b"timed out" in second
    assert [line["error_type"] for line in lines] == ["cancelled", "timeout_idle"]
    assert [type(error) for _, error in failures] == [ZeroDivisionError]


async def test_a_time_out_is_repeated_once_at_most():
    async with Scripted([SILENCE]) as up:
        more = "".join(account(f"a{n}", "up") for n in range(4))
        text = config_text(
            upstream(up.url) + more, timeouts='first_content = "100ms"', retry="attempts = 5"
        )
        async with gateway(text) as front:
            answered = await front.chat(stream=True)
            line = await front.last()
    assert answered.status == 504
    assert len(up.requests) == line["attempts"] == 2


async def test_a_server_that_does_not_take_connections_is_a_504_of_its_own_kind():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with contextlib.ExitStack() as waiting:
            for _ in range(2):  # a full queue answers no further SYN
                one = waiting.enter_context(socket.socket())
                one.setblocking(False)  # noqa: FBT003 - the socket's own
                one.connect_ex(full.getsockname())
            url = f"http://127.0.0.1:{full.getsockname()[1]}"
            async with gateway(config_text(upstream(url), timeouts='connect = "100ms"')) as front:
                answered = await front.chat()
                line = await front.last()
    assert (answered.status, line["error_type"]) == (504, "timeout_connect")


async def test_a_port_where_nobody_listens_is_a_502():
    async with Scripted([]) as up:
        url = up.url
    async with gateway(config_text(upstream(url))) as front:
        answered = await front.chat()
        line = await front.last()
    assert (answered.status, line["error_type"]) == (502, "connection_failed")
    assert url.rpartition(":")[2] not in answered.error["message"]


async def test_a_models_own_times_come_before_the_general_ones():
    model = (
        '[[models]]\nname = "hasty"\ntargets = ["up/m"]\ntimeouts = { first_content = "100ms" }\n'
    )
    async with Scripted([SILENCE]) as up, gateway(config_text(upstream(up.url), model)) as front:
        answered = await front.chat("hasty", stream=True)
    assert answered.status == 504
