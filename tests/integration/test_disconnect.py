"""A client that leaves takes its upstream call with it."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.integration import spoken
from tests.integration.gateway import BEARER, DIALECTS, PATHS, body_of, in_front_of
from tests.integration.scripted import settled
from tests.integration.wire import encoded, request

SURFACES = ("chat", "messages")


class Watched:
    """A script that sends ``begun`` and then waits for the gateway to close the connection."""

    def __init__(self, begun: bytes) -> None:
        self.begun = begun
        self.left = asyncio.Event()

    async def __call__(self, reader, writer, request):
        writer.write(self.begun)
        try:
            await reader.read()  # a connection that is dropped with unread bytes is reset
        finally:
            self.left.set()
            writer.close()


def asking(surface, *, stream=True, **fields):
    return request(
        "POST",
        PATHS[surface],
        encoded(body_of(surface, stream=stream, **fields)),
        authorization=BEARER,
    )


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_upstream_is_dropped_when_the_client_leaves_in_the_middle(surface, dialect):
    watched = Watched(
        spoken.HEAD + spoken.chunk(spoken.metadata(dialect) + spoken.text(dialect, "He"))
    )
    async with in_front_of(watched, dialect) as (front, _):
        wire = await front.wire()
        wire.send(asking(surface))
        await wire.head()
        await wire.chunk()
        wire.leave()
        await asyncio.wait_for(watched.left.wait(), 10)
        line = await front.last()
    assert (line["status"], line["error_type"]) == (499, "cancelled")
    assert line["output_tokens"] >= 1


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("begun", [b"", spoken.HEAD], ids=["before the head", "after the head"])
async def test_the_upstream_is_dropped_when_the_client_leaves_before_any_content(
    surface, stream, begun
):
    watched = Watched(begun)
    async with in_front_of(watched) as (front, up):
        wire = await front.wire()
        wire.send(asking(surface, stream=stream))
        await settled(lambda: up.requests)
        wire.leave()
        await asyncio.wait_for(watched.left.wait(), 10)
        line = await front.last()
    assert (line["status"], line["error_type"]) == (499, "cancelled")


async def test_a_client_that_only_closes_its_half_has_left_as_well():
    watched = Watched(
        spoken.HEAD
        + spoken.chunk(spoken.metadata("openai-chat") + spoken.text("openai-chat", "He"))
    )
    async with in_front_of(watched) as (front, _):
        wire = await front.wire()
        wire.send(asking("chat"))
        await wire.head()
        wire.writer.write_eof()
        await asyncio.wait_for(watched.left.wait(), 10)
        assert (await front.last())["status"] == 499


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/moderations"])
async def test_a_client_that_leaves_while_it_sends_its_body_costs_nothing_and_is_kept(path):
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        wire = await front.wire()
        body = encoded(body_of("chat"))
        wire.send(request("POST", path, body, authorization=BEARER)[:-10])
        await asyncio.sleep(0.02)
        wire.leave()
        line = await front.last()
        answered = await front.chat()
        assert answered.status == 200
        history = (await front.get("/v1/usage/requests")).json["data"]
    assert len(up.requests) == 1
    assert (line["status"], line["error_type"], line["attempts"]) == (499, "cancelled", 0)
    assert [one["status"] for one in history] == [200, 499]


async def test_a_client_that_leaves_between_two_heartbeats_is_noticed():
    watched = Watched(b"")
    async with in_front_of(watched, streaming='heartbeat = "30ms"') as (front, _):
        wire = await front.wire()
        wire.send(asking("chat"))
        await wire.head()
        await wire.chunk()
        wire.leave()
        await asyncio.wait_for(watched.left.wait(), 10)
        line = await front.last()
    assert (line["status"], line["error_type"]) == (499, "cancelled")


async def test_other_calls_do_not_notice_that_one_client_left():
    dialect = "openai-chat"
    go_on = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(
            spoken.HEAD + spoken.chunk(spoken.metadata(dialect) + spoken.text(dialect, "He"))
        )
        await go_on.wait()
        writer.write(spoken.chunk(spoken.more(dialect, "llo") + spoken.end(dialect)) + spoken.LAST)

    async with in_front_of(script) as (front, _):
        wires = [await front.wire() for _ in range(6)]
        for wire in wires:
            wire.send(asking("chat"))
        for wire in wires:
            await wire.head()
            await wire.chunk()
        for wire in wires[::2]:
            wire.leave()
        await front.requests(3)
        go_on.set()
        for wire in wires[1::2]:
            rest = b""
            while piece := await wire.chunk():
                rest += piece
            assert rest.endswith(b"data: [DONE]\n\n")
        lines = await front.requests(6)
    assert sorted(line["status"] for line in lines) == [200, 200, 200, 499, 499, 499]


async def test_a_connection_whose_client_left_is_not_used_again():
    begun = spoken.HEAD + spoken.chunk(
        spoken.metadata("openai-chat") + spoken.text("openai-chat", "He")
    )

    async def script(reader, writer, request):
        if json.loads(request.body).get("stream"):
            writer.write(begun)
            await reader.read()
        else:
            writer.write(spoken.told("openai-chat"))

    async with in_front_of(script) as (front, up):
        wire = await front.wire()
        wire.send(asking("chat"))
        await wire.head()
        wire.leave()
        await front.last()
        assert (await front.chat()).text == "Hello"
    assert [one.connection for one in up.requests] == [0, 1]
