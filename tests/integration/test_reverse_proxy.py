"""Behind nginx, Caddy and HAProxy, configured with the very lines of docs/install.md."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from tests.integration import spoken
from tests.integration.fronts import ELSEWHERE, PROXIES, behind, key_from
from tests.integration.gateway import BEARER, PATHS, body_of, chat_body, upstream
from tests.integration.scripted import Scripted, settled
from tests.integration.wire import encoded, request

LOCAL, SPOOFED = "sk-splice-for-one-address", "sk-splice-for-another-address"


@asynccontextmanager
async def gateway_behind(proxy, script, directory):
    """A gateway behind ``proxy``, and a function that connects to that from elsewhere."""
    keys = key_from("local", LOCAL, ELSEWHERE), key_from("spoofed", SPOOFED, "203.0.113.7")
    async with Scripted(script) as up, behind(proxy, directory, upstream(up.url), *keys) as found:
        yield found


@pytest.mark.parametrize("proxy", PROXIES)
async def test_each_token_arrives_before_the_next_one_is_made(proxy, tmp_path):
    seen = asyncio.Semaphore(0)
    words = [f"token {number} " for number in range(5)]

    async def script(reader, writer, request):
        writer.write(spoken.HEAD + spoken.chunk(spoken.metadata("openai-chat")))
        for word in words:
            writer.write(spoken.chunk(spoken.text("openai-chat", word)))
            await seen.acquire()
        writer.write(spoken.chunk(spoken.end("openai-chat")) + spoken.LAST)

    async with gateway_behind(proxy, script, tmp_path) as (_, connect):
        wire = await connect()
        body = encoded(body_of("chat", stream=True))
        wire.send(request("POST", PATHS["chat"], body, authorization=BEARER))
        status, headers = await wire.head()
        assert (status, headers["content-type"][:17]) == (200, "text/event-stream")
        for word in words:
            frame = await wire.frame()
            while word.encode() not in frame:
                frame += await wire.frame()
            seen.release()
        rest = b""
        while piece := await wire.chunk():
            rest += piece
        assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("proxy", PROXIES)
async def test_the_address_is_the_clients_own_and_not_what_it_says_of_itself(proxy, tmp_path):
    async def script(reader, writer, request):
        writer.write(spoken.told("openai-chat"))

    async with gateway_behind(proxy, script, tmp_path) as (_, connect):
        for token, status in ((LOCAL, 200), (SPOOFED, 403)):
            wire = await connect()
            answered = await wire.post(
                PATHS["chat"],
                body_of("chat"),
                authorization=f"Bearer {token}",
                x_forwarded_for="203.0.113.7",
            )
            assert answered.status == status


@pytest.mark.parametrize("proxy", PROXIES)
async def test_a_body_within_our_limit_passes_and_a_larger_one_is_refused_in_our_words(
    proxy, tmp_path
):
    async def script(reader, writer, request):
        writer.write(spoken.told("openai-chat"))

    async with gateway_behind(proxy, script, tmp_path) as (_, connect):
        wire = await connect()
        answered = await wire.post(
            PATHS["chat"], chat_body("up/m", "x" * (20 << 20)), authorization=BEARER
        )
        assert answered.status == 200
        wire = await connect()
        # Sent whole: Caddy passes an early answer on only when the client goes on sending.
        answered = await wire.post(
            PATHS["chat"], chat_body("up/m", "x" * (33 << 20)), authorization=BEARER
        )
        assert (answered.status, answered.error["type"]) == (413, "invalid_request_error")


@pytest.mark.parametrize("proxy", PROXIES)
async def test_a_client_that_leaves_ends_the_call(proxy, tmp_path):
    left = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(spoken.HEAD + spoken.chunk(spoken.text("openai-chat", "Hi")))
        await reader.read()
        left.set()

    async with gateway_behind(proxy, script, tmp_path) as (front, connect):
        wire = await connect()
        body = encoded(body_of("chat", stream=True))
        wire.send(request("POST", PATHS["chat"], body, authorization=BEARER))
        await wire.head()
        await wire.frame()
        wire.leave()
        async with asyncio.timeout(10):
            await left.wait()
        await settled(lambda: not front.running.gateway.calls)
        assert (await front.last())["error_type"] == "cancelled"


@pytest.mark.parametrize("proxy", PROXIES)
async def test_connections_to_us_are_kept(proxy, tmp_path):
    async def script(reader, writer, request):
        writer.write(spoken.told("openai-chat"))

    async with gateway_behind(proxy, script, tmp_path) as (front, connect):
        for _ in range(5):
            wire = await connect()
            assert (
                await wire.post(PATHS["chat"], body_of("chat"), authorization=BEARER)
            ).status == 200
            wire.leave()
        assert len(front.running._servers[0].connections) == 1
