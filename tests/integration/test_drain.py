"""A gateway that is told to stop finishes what it has begun."""

from __future__ import annotations

import asyncio

import pytest

from proxy.tasks import spawn
from tests.integration import spoken
from tests.integration.gateway import BEARER, PATHS, body_of, in_front_of
from tests.integration.wire import encoded, request

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
