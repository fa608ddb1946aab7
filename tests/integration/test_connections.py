"""Connections to upstreams are kept and used again, and one that has died meanwhile is nobody's problem."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration import spoken
from tests.integration.gateway import in_front_of
from tests.integration.scripted import settled

SURFACES = ("chat", "messages")


async def test_a_connection_carries_one_call_after_the_other():
    async with in_front_of([spoken.streamed("openai-chat")]) as (front, up):
        for _ in range(3):
            assert (await front.chat(stream=True)).text == "Hello"
    assert [one.connection for one in up.requests] == [0, 0, 0]


@pytest.mark.parametrize("surface", SURFACES)
async def test_one_dead_connection_is_replaced_without_a_word(surface):
    async def script(reader, writer, request):
        writer.write(spoken.told("openai-chat"))
        if len(up.requests) == 1:
            await reader.readexactly(1)  # the second request has come: nobody has read it
            writer.transport.abort()

    async with in_front_of(script) as (front, up):
        assert (await front.ask(surface)).status == 200
        answered = await front.ask(surface)
        line = await front.last(2)
    assert (answered.status, answered.text) == (200, "Hello")
    assert (line["attempts"], line["account"], line["status"]) == (1, "up", 200)


async def test_several_dead_connections_are_no_more_than_one():
    together = asyncio.Barrier(3)

    async def script(reader, writer, request):
        if len(up.requests) <= 3:
            await together.wait()
            writer.write(spoken.told("openai-chat"))
            await reader.readexactly(1)
            writer.transport.abort()
        else:
            writer.write(spoken.told("openai-chat"))

    async with in_front_of(script) as (front, up):
        async with asyncio.TaskGroup() as calls:
            first = [calls.create_task(front.chat()) for _ in range(3)]
        assert [one.result().status for one in first] == [200, 200, 200]
        answered = await front.chat()
    assert answered.status == 200


async def test_an_upstream_that_does_not_end_its_body_is_left_soon(monkeypatch):
    monkeypatch.setattr("proxy.relay.attempt.LINGER", 0.05)
    left = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(spoken.HEAD + spoken.chunk(spoken.stream("openai-chat")))
        try:
            await reader.read()
        finally:
            left.set()

    async with in_front_of(script) as (front, _):
        answered = await front.chat(stream=True)
        assert (answered.whole, answered.text) == (True, "Hello")
        async with asyncio.timeout(10):
            await left.wait()


async def test_an_upstream_that_ends_its_body_a_little_later_is_asked_again(monkeypatch):
    monkeypatch.setattr("proxy.relay.attempt.LINGER", 20)
    go_on = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(spoken.HEAD + spoken.chunk(spoken.stream("openai-chat")))
        await go_on.wait()
        writer.write(spoken.LAST)

    async with in_front_of(script) as (front, up):
        assert (await front.chat(stream=True)).text == "Hello"
        go_on.set()
        connections = front.running._connections
        await settled(lambda: [one.idle for one in connections.counts().values()] == [1])
        assert (await front.chat(stream=True)).text == "Hello"
    assert [one.connection for one in up.requests] == [0, 0]


async def test_a_connection_that_dies_under_a_first_request_is_a_502():
    async def script(reader, writer, request):
        writer.transport.abort()

    async with in_front_of(script) as (front, up):
        answered = await front.chat()
        line = await front.last()
    assert (answered.status, line["error_type"]) == (502, "connection_failed")
    assert len(up.requests) == 1


async def test_idle_connections_are_closed_with_the_gateway():
    gone = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(spoken.told("openai-chat"))
        await reader.read()
        gone.set()

    async with in_front_of(script) as (front, _):
        await front.chat()
        assert not gone.is_set()
        await front.running.close()
        await settled(gone.is_set)
