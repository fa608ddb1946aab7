"""A gateway that is told to stop finishes what it has begun."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from proxy.server.drain import LINGER
from proxy.tasks import spawn
from tests.integration import spoken
from tests.integration.gateway import BEARER, PATHS, body_of, config_text, gateway, in_front_of
from tests.integration.scripted import settled
from tests.integration.wire import Wire, encoded, request

SURFACES = ("chat", "messages")


def asking(surface, *, stream=True):
    return request(
        "POST", PATHS[surface], encoded(body_of(surface, stream=stream)), authorization=BEARER
    )


def drain(front, grace):
    failures: list[BaseException] = []
    return spawn(front.running.drain(grace), "drain", failures.append)


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_running_stream_is_finished(surface):
    go_on = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(
            spoken.HEAD
            + spoken.chunk(spoken.metadata("openai-chat") + spoken.text("openai-chat", "He"))
        )
        await go_on.wait()
        writer.write(
            spoken.chunk(spoken.more("openai-chat", "llo") + spoken.end("openai-chat"))
            + spoken.LAST
        )

    async with in_front_of(script) as (front, _):
        wire = await front.wire()
        wire.send(asking(surface))
        await wire.head()
        first = await wire.chunk()
        draining = drain(front, 30)
        await asyncio.sleep(0.05)
        assert not draining.done()
        go_on.set()
        rest = b""
        while piece := await wire.chunk():
            rest += piece
        await draining
        line = await front.last()
    assert b"He" in first
    assert b"llo" in rest
    assert line["status"] == 200


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_stream_that_takes_too_long_is_told_why_it_ends(surface):
    async def script(reader, writer, request):
        writer.write(
            spoken.HEAD
            + spoken.chunk(spoken.metadata("openai-chat") + spoken.text("openai-chat", "He"))
        )
        await reader.read()

    async with in_front_of(script) as (front, _):
        wire = await front.wire()
        wire.send(asking(surface))
        await wire.head()
        await wire.chunk()
        await front.running.drain(0)
        rest = b""
        while piece := await wire.chunk():
            rest += piece
        line = await front.last()
    assert b"shutting down" in rest
    assert (line["status"], line["error_type"]) == (200, "draining")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_without_content_yet_gets_a_503(stream):
    async def script(reader, writer, request):
        await reader.read()

    async with in_front_of(script) as (front, up):
        wire = await front.wire()
        wire.send(asking("chat", stream=stream))
        while not up.requests:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await front.running.drain(0)
        answered = await wire.answer()
    assert (answered.status, answered.error["code"]) == (503, "draining")
    assert answered.headers["retry-after"] == "1"


async def test_a_draining_gateway_says_so_on_the_connections_that_it_has():
    async def script(reader, writer, request):
        writer.write(spoken.told("openai-chat"))

    async with in_front_of(script) as (front, up):
        ready, model = await front.wire(), await front.wire()
        for wire in (ready, model):
            wire.send(request("GET", "/readyz"))
            assert (await wire.answer()).status == 200
        await front.running.drain(0)
        ready.send(request("GET", "/readyz"))
        assert (await ready.answer()).status == 503
        model.send(asking("chat"))
        answered = await model.answer()
        assert (answered.status, answered.headers["connection"]) == (503, "close")
        with pytest.raises(OSError, match=r"."):
            await front.wire()
    assert up.requests == []


@asynccontextmanager
async def held_by_a_stream(**sections):
    """A gateway that drains, and goes on doing so until the event is set: one stream still runs."""
    go_on = asyncio.Event()

    async def script(reader, writer, request):
        if b"the one that lasts" not in request.body:
            writer.write(spoken.told("openai-chat"))
            return
        writer.write(spoken.HEAD + spoken.chunk(spoken.text("openai-chat", "He")))
        await go_on.wait()
        writer.write(spoken.chunk(spoken.end("openai-chat")) + spoken.LAST)

    async with in_front_of(script, **sections) as (front, _):
        wire = await front.wire()
        body = encoded(body_of("chat", said="the one that lasts", stream=True))
        wire.send(request("POST", PATHS["chat"], body, authorization=BEARER))
        await wire.head()
        await wire.chunk()
        yield front, go_on
        go_on.set()


async def test_whoever_asks_on_a_connection_that_was_kept_is_answered_for_the_last_time():
    async with held_by_a_stream() as (front, go_on):
        wire = await front.wire()
        wire.send(request("GET", "/healthz"))
        assert "connection" not in (await wire.answer()).headers
        draining = drain(front, 30)
        await settled(lambda: front.running.gateway.draining)
        wire.send(asking("chat", stream=False))
        answered = await wire.answer()
        assert (answered.status, answered.headers["connection"]) == (200, "close")
        assert await wire.rest() == b""
        assert not draining.done()
        go_on.set()
        await draining


async def test_an_answer_that_was_on_its_way_says_that_it_is_the_last_one():
    go_on = asyncio.Event()

    async def script(reader, writer, request):
        await go_on.wait()
        writer.write(spoken.told("openai-chat"))

    async with in_front_of(script) as (front, up):
        wire = await front.wire()
        wire.send(asking("chat", stream=False))
        await settled(lambda: up.requests)
        draining = drain(front, 30)
        await settled(lambda: front.running.gateway.draining)
        go_on.set()
        answered = await wire.answer()
        assert (answered.status, answered.headers["connection"]) == (200, "close")
        await draining


@pytest.mark.parametrize("cut", [10, -1])
async def test_a_request_of_which_a_part_has_come_is_waited_for(cut):
    async def script(reader, writer, request):
        writer.write(spoken.told("openai-chat"))

    async with in_front_of(script) as (front, _):
        wire = await front.wire()
        whole = asking("chat", stream=False)
        wire.send(whole[:cut])
        (guard,) = await connections(front, 1)
        await settled(lambda: guard.busy)
        draining = drain(front, 30)
        # Longer than a connection on which nothing comes is waited for.
        await asyncio.sleep(2 * LINGER)
        assert not draining.done()
        wire.send(whole[cut:])
        assert (await wire.answer()).status == 200
        await draining


async def connections(front, count):
    server = front.running._servers[0]
    await settled(lambda: len(server.connections) == count)
    return server.connections


async def test_an_answer_that_its_client_has_yet_to_read_is_waited_for():
    size = 16 << 20

    async def script(reader, writer, request):
        writer.write(spoken.told("openai-chat", "x" * size))

    async with in_front_of(script) as (front, _):
        wire = await front.wire(limit=1 << 16)
        wire.send(asking("chat", stream=False))
        _, headers = await wire.head()
        await settled(lambda: not front.running.gateway.calls)
        draining = drain(front, 30)
        await asyncio.sleep(2 * LINGER)
        assert not draining.done()
        body = await wire.reader.readexactly(int(headers["content-length"]))
        assert b"x" * size in body
        await draining


async def test_a_connection_that_a_client_holds_in_reserve_holds_nothing_up():
    async with gateway(config_text()) as front:
        await front.wire()
        await connections(front, 1)
        await front.running.drain(3600)
        assert front.lines[-1]["ended_early"] == 0


async def test_the_admin_listener_answers_while_the_gateway_drains(tmp_path):
    path = str(tmp_path / "admin.sock")
    async with held_by_a_stream(admin=f'listen = ["unix:{path}"]') as (front, go_on):
        draining = drain(front, 30)
        await settled(lambda: front.running.gateway.draining)
        wire = front.keep(await Wire.open(path))
        wire.send(request("GET", "/readyz", host="localhost"))
        assert (await wire.answer()).status == 503
        go_on.set()
        await draining
