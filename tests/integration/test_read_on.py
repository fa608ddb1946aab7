"""Where the configuration wants to know, an answer is read on when its client has left, and billed by what its upstream tells."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    DIALECTS,
    PATHS,
    Gateway,
    body_of,
    config_text,
    gateway,
    in_front_of,
    upstream,
)
from tests.integration.scripted import Scripted, settled
from tests.integration.test_disconnect import Watched
from tests.integration.wire import encoded, request

READ_ON = 'on_disconnect = { read_on = "5s" }'
BRIEFLY = 'on_disconnect = { read_on = "200ms" }'
SURFACES = ("chat", "messages")


class Held:
    """A script that begins an answer, waits until a test lets it go on, and ends it as its upstream would."""

    def __init__(self, dialect: str, *, stream: bool = True) -> None:
        self.go_on = asyncio.Event()
        self.sent = asyncio.Event()
        if stream:
            said = spoken.metadata(dialect) + spoken.text(dialect, "He")
            self.begun = spoken.HEAD + spoken.chunk(said)
            self.rest = spoken.chunk(spoken.more(dialect, "llo") + spoken.end(dialect, "Hello"))
            self.rest += spoken.LAST
        else:
            self.begun, self.rest = b"", spoken.told(dialect)

    async def __call__(self, reader, writer, request):
        writer.write(self.begun)
        await self.go_on.wait()
        writer.write(self.rest)
        await writer.drain()
        self.sent.set()


async def leave(front: Gateway, surface: str, up: Scripted, *, stream: bool = True) -> None:
    """Ask, wait for the first content if there is a stream, and leave."""
    wire = await front.wire()
    body = encoded(body_of(surface, stream=stream))
    wire.send(request("POST", PATHS[surface], body, authorization=BEARER))
    await settled(lambda: up.requests)
    if stream:
        await wire.head()
        await wire.chunk()
    wire.leave()


async def asked(up: Scripted, times: int) -> None:
    await settled(lambda: len(up.requests) == times)


def nothing_runs(front: Gateway) -> bool:
    inside = front.running.gateway
    now = asyncio.get_running_loop().time()
    return (
        not inside.calls
        and not inside.reading_on
        and not any(one.in_flight for one in inside.pool.accounts(now))
        and not any(inside.key_limits.running(key) for key in inside.config.keys)
    )


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_the_upstream_tells_at_the_end_is_what_is_billed(dialect, surface, stream):
    held = Held(dialect, stream=stream)
    async with in_front_of(held, dialect, streaming=READ_ON) as (front, up):
        await leave(front, surface, up, stream=stream)
        await settled(lambda: front.running.gateway.reading_on == 1)
        held.go_on.set()
        line = await front.last()
        assert (line["status"], line["error_type"]) == (499, "cancelled")
        assert "estimated" not in line
        assert line["input_tokens"] + line["cache_read_tokens"] == spoken.INPUT + spoken.CACHED
        assert line["output_tokens"] == spoken.OUTPUT
        await settled(lambda: nothing_runs(front))


async def test_it_is_read_on_for_so_long_and_then_dropped():
    begun = spoken.HEAD + spoken.chunk(
        spoken.metadata("openai-chat") + spoken.text("openai-chat", "He")
    )
    watched = Watched(begun)
    async with in_front_of(watched, streaming=BRIEFLY) as (front, up):
        await leave(front, "chat", up)
        await asyncio.wait_for(watched.left.wait(), 10)
        line = await front.last()
        assert (line["status"], line["error_type"], line["estimated"]) == (499, "cancelled", True)
        await settled(lambda: nothing_runs(front))


async def test_an_account_may_say_otherwise_than_the_rest():
    held, watched = Held("openai-chat"), Watched(spoken.HEAD)
    async with Scripted(held) as one, Scripted(watched) as other:
        text = config_text(
            upstream(one.url, name="up") + READ_ON + "\n", upstream(other.url, name="other")
        )
        async with gateway(text) as front:
            await leave(front, "chat", one)
            wire = await front.wire()
            body = encoded(body_of("chat", model="other/m", stream=True))
            wire.send(request("POST", PATHS["chat"], body, authorization=BEARER))
            await settled(lambda: other.requests)
            wire.leave()
            await asyncio.wait_for(watched.left.wait(), 10)
            assert front.running.gateway.reading_on == 1
            held.go_on.set()
            assert {line["account"] for line in await front.requests(2)} == {"up", "other"}


async def test_nobody_else_is_asked_for_a_client_that_has_left():
    go_on = asyncio.Event()

    async def failing(reader, writer, request):
        await go_on.wait()
        writer.write(spoken.told("openai-chat").replace(b"200 OK", b"503 Busy", 1))

    async with Scripted(failing) as one, Scripted([spoken.told("openai-chat")]) as other:
        second = f'[[accounts]]\nname = "second"\nprovider = "up"\napi_key = "x"\nbase_url = "{other.url}"\npriority = 1\n'
        async with gateway(config_text(upstream(one.url), second, streaming=READ_ON)) as front:
            await leave(front, "chat", one, stream=False)
            await settled(lambda: front.running.gateway.reading_on == 1)
            go_on.set()
            line = await front.last()
            assert (line["status"], line["error_type"], line["attempts"]) == (499, "cancelled", 1)
            assert not other.requests
            await settled(lambda: nothing_runs(front))


async def test_a_client_that_stays_notices_nothing():
    async with in_front_of([spoken.told("openai-chat")], streaming=READ_ON) as (front, _):
        assert (await front.chat()).text == "Hello"
        refused = await front.chat("nobody")
        assert refused.status == 404
    async with in_front_of([spoken.streamed("openai-chat")], streaming=READ_ON) as (front, _):
        assert (await front.chat(stream=True)).whole


async def test_so_many_are_read_on_and_no_more(monkeypatch):
    monkeypatch.setattr("proxy.server.read_on.MOST", 2)
    held = Held("openai-chat")
    async with in_front_of(held, streaming=READ_ON) as (front, up):
        for number in range(4):
            await leave(front, "chat", up)
            await asked(up, number + 1)
        lines = await front.requests(2)
        assert front.running.gateway.reading_on == 2
        assert [line["estimated"] for line in lines] == [True, True]
        held.go_on.set()
        lines = await front.requests(4)
        assert ["estimated" in line for line in lines] == [True, True, False, False]
        await settled(lambda: nothing_runs(front))


async def test_a_client_that_does_not_read_and_leaves_does_not_keep_the_upstream_waiting():
    text = spoken.more("openai-chat", "x" * 100_000)

    async def script(reader, writer, request):
        writer.write(
            spoken.HEAD
            + spoken.chunk(spoken.metadata("openai-chat") + spoken.text("openai-chat", "He"))
        )
        for _ in range(100):
            writer.write(spoken.chunk(text))
            await writer.drain()
        writer.write(spoken.chunk(spoken.end("openai-chat")) + spoken.LAST)

    async with in_front_of(script, streaming=READ_ON) as (front, _):
        wire = await front.wire()
        body = encoded(body_of("chat", stream=True))
        wire.send(request("POST", PATHS["chat"], body, authorization=BEARER))
        await wire.head()
        await settled(lambda: any(call.delivery.paused_at for call in front.running.gateway.calls))
        wire.leave()
        line = await front.last()
        assert (line["status"], line["output_tokens"]) == (499, spoken.OUTPUT)
