"""What an operator sees of running calls, and how one is ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any

import anthropic
import openai
import pytest

from proxy.config.model import Target
from proxy.relay.call import Call
from proxy.relay.delivery import Delivery
from proxy.tasks import spawn
from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    KEY,
    PATHS,
    Gateway,
    account,
    body_of,
    config_text,
    gateway,
    in_front_of,
    upstream,
)
from tests.integration.scripted import Scripted, settled, whole
from tests.integration.wire import Wire, encoded, request

SURFACES = ("chat", "messages")
DIALECTS = ("openai-chat", "anthropic")


class Watched:
    """A script that sends what it is told to, then waits for the gateway to leave."""

    def __init__(self, begun: bytes) -> None:
        self.begun = begun
        self.left = asyncio.Event()

    async def __call__(self, reader, writer, request):
        writer.write(self.begun)
        try:
            with contextlib.suppress(ConnectionError):
                await reader.read()
        finally:
            self.left.set()


def begun(dialect: str, *words: str) -> bytes:
    """Return the beginning of a stream that has said ``words``."""
    first, *rest = words
    said = spoken.metadata(dialect) + spoken.text(dialect, first)
    said += b"".join(spoken.more(dialect, word) for word in rest)
    return spoken.HEAD + spoken.chunk(said)


async def send(front: Gateway, surface: str = "chat", *, stream: bool, **headers: str) -> Wire:
    wire = await front.wire()
    body = encoded(body_of(surface, stream=stream))
    wire.send(request("POST", PATHS[surface], body, authorization=BEARER, **headers))
    return wire


async def running(front: Gateway):
    answered = await front.admin("GET", "requests?in_flight=true")
    assert answered.status == 200
    return answered.json["data"]


async def cancelled(front: Gateway) -> None:
    [one] = await running(front)
    answered = await front.admin("POST", f"requests/{one['request_id']}/cancel")
    assert (answered.status, answered.json) == (
        200,
        {"request_id": one["request_id"], "cancelled": True},
    )


# Seeing.


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("surface", SURFACES)
async def test_a_stream_is_seen_with_who_where_and_how_far(surface, dialect):
    script = Watched(begun(dialect, "one", "two", "three"))
    async with in_front_of(script, dialect) as (front, _):
        assert await running(front) == []
        wire = await send(front, surface, stream=True, x_request_id="mine")
        status, headers = await wire.head()
        await settled(lambda: next(iter(front.running.gateway.calls)).output_so_far >= 3)
        [one] = await running(front)
        wire.leave()
        await settled(lambda: not front.running.gateway.calls)
        assert await running(front) == []
    assert status == 200
    assert 0 < one.pop("age_s") < 30
    assert 3 <= one.pop("output_tokens") <= 5
    assert one == {
        "request_id": headers["x-request-id"],
        "client_request_id": "mine",
        "phase": "streaming",
        "key": "tester",
        "team": None,
        "route": PATHS[surface],
        "stream": True,
        "model": "up/m",
        "account": "up",
        "provider": "up",
        "upstream_model": "m",
        "attempts": 1,
    }


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_without_content_is_waiting(stream):
    async with in_front_of(Watched(b"")) as (front, up):
        wire = await send(front, stream=stream)
        await settled(lambda: up.requests)
        [one] = await running(front)
        wire.leave()
    assert (one["phase"], one["account"], one["output_tokens"]) == ("waiting", "up", 0)


async def test_a_call_on_its_way_to_an_upstream_is_connecting():
    # Nobody accepts, and the one place of the backlog is taken: who comes next waits for an answer to its SYN.
    with socket.socket() as deaf, socket.socket() as first:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        first.connect(deaf.getsockname())
        text = config_text(upstream(f"http://127.0.0.1:{deaf.getsockname()[1]}"))
        async with gateway(text) as front:
            wire = await send(front, stream=True)
            await settled(lambda: front.running.gateway.calls)
            [one] = await running(front)
            assert (one["phase"], one["account"], one["attempts"]) == ("connecting", "up", 1)
            await cancelled(front)
            assert (await wire.answer()).status == 503


async def test_a_call_that_nobody_takes_is_queued():
    async with Scripted(Watched(b"")) as up:
        busy = account("busy", "up", concurrency="1", base_url=f'"{up.url}"')
        provider = f'[providers.up]\ndialects = ["openai-chat"]\nbase_url = "{up.url}"\n'
        async with gateway(config_text(provider, busy)) as front:
            first = await send(front, stream=True)
            await settled(lambda: up.requests)
            second = await send(front, stream=True)
            await settled(lambda: len(front.running.gateway.means.queue))
            found = await running(front)
            first.leave()
            second.leave()
    assert [one["phase"] for one in found] == ["waiting", "queued"]
    assert [one["account"] for one in found] == ["busy", None]


async def test_a_long_list_has_the_oldest_and_says_that_there_are_more(monkeypatch):
    monkeypatch.setattr("proxy.server.requests_api._LISTED", 2)
    async with in_front_of(Watched(b"")) as (front, up):
        wires = [await send(front, stream=True, x_request_id=f"number-{n}") for n in (1, 2)]
        await settled(lambda: len(up.requests) == 2)
        whole = (await front.admin("GET", "requests?in_flight=true")).json
        wires.append(await send(front, stream=True, x_request_id="number-3"))
        await settled(lambda: len(up.requests) == 3)
        listed = (await front.admin("GET", "requests?in_flight=true")).json
        for wire in wires:
            wire.leave()
    assert (whole["has_more"], listed["has_more"]) == (False, True)
    assert whole["data"][0]["request_id"] == listed["data"][0]["request_id"]
    assert len(listed["data"]) == 2


async def test_only_running_ones_are_listed():
    async with gateway(config_text()) as front:
        for query in ("", "?in_flight=false", "?in_flight=yes", "?inflight=true"):
            assert (await front.admin("GET", f"requests{query}")).status == 400


# Ending.


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("surface", SURFACES)
async def test_a_cancelled_stream_ends_in_an_error_frame(surface, dialect):
    script = Watched(begun(dialect, "one"))
    async with in_front_of(script, dialect) as (front, _):
        wire = await send(front, surface, stream=True)
        await wire.head()
        await wire.chunk()
        await cancelled(front)
        async with asyncio.timeout(5):
            await script.left.wait()
        rest = b""
        while piece := await wire.chunk():
            rest += piece
        line = await front.last()
        # The connection is whole: it carries the next request.
        wire.send(request("GET", "/healthz"))
        assert (await wire.answer()).status == 200
    assert b"operator of this gateway cancelled" in rest
    assert b"[DONE]" not in rest
    assert b"message_stop" not in rest
    assert (line["status"], line["error_type"]) == (200, "cancelled")
    assert line["evidence"] == "cancelled by an operator"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("surface", SURFACES)
async def test_a_cancelled_call_without_an_answer_gets_an_error_that_sdks_do_not_repeat(
    surface, stream
):
    script = Watched(b"")
    async with in_front_of(script) as (front, up):
        wire = await send(front, surface, stream=stream)
        await settled(lambda: up.requests)
        await cancelled(front)
        async with asyncio.timeout(5):
            await script.left.wait()
        answered = await wire.answer()
        line = await front.last()
        assert front.running.gateway.pool.why("up", 0.0) == ()
        wire.send(request("GET", "/healthz"))
        assert (await wire.answer()).status == 200
    assert answered.status == 503
    assert answered.headers["x-should-retry"] == "false"
    assert "cancelled" in answered.error["message"]
    assert (line["status"], line["error_type"], line["attempts"]) == (503, "cancelled", 1)


@pytest.mark.parametrize("surface", SURFACES)
async def test_an_sdk_that_tries_again_does_not_try_what_was_cancelled_again(surface):
    said: Any = [{"role": "user", "content": "Hi"}]
    async with in_front_of(Watched(b"")) as (front, up):
        client: Any
        if surface == "chat":
            client = openai.AsyncOpenAI(base_url=f"{front.url}/v1", api_key=KEY, max_retries=2)
            asked = client.chat.completions.create(model="up/m", messages=said)
        else:
            client = anthropic.AsyncAnthropic(base_url=front.url, api_key=KEY, max_retries=2)
            asked = client.messages.create(model="up/m", messages=said, max_tokens=9)
        failures: list[BaseException] = []
        calling = spawn(asked, "sdk", failures.append)
        await settled(lambda: up.requests)
        await cancelled(front)
        await settled(calling.done)
        await client.close()
    assert len(up.requests) == 1
    assert [getattr(one, "status_code", one) for one in failures] == [503]


async def test_a_call_in_the_queue_is_cancelled():
    retry = 'queue_timeout = "20s"'
    async with Scripted(Watched(b"")) as up:
        provider = f'[providers.up]\ndialects = ["openai-chat"]\nbase_url = "{up.url}"\n'
        busy = account("busy", "up", concurrency="1")
        async with gateway(config_text(provider, busy, retry=retry)) as front:
            first = await send(front, stream=True)
            await settled(lambda: up.requests)
            second = await send(front, stream=False)
            await settled(lambda: len(front.running.gateway.means.queue))
            queued = (await running(front))[1]["request_id"]
            assert (await front.admin("POST", f"requests/{queued}/cancel")).status == 200
            answered = await second.answer()
            assert len(front.running.gateway.means.queue) == 0
            first.leave()
    assert (answered.status, answered.error["code"]) == (503, "cancelled")


def place(name: str) -> Target:
    """Return what only the account ``name`` serves."""
    return Target(provider="up", model="m", order=1, account=name)


@pytest.mark.parametrize("how", ["cancelled", "timeout_total"])
async def test_a_call_in_the_queue_that_is_ended_twice_ends_once(how):
    async with Scripted(Watched(b"")) as up:
        provider = f'[providers.up]\ndialects = ["openai-chat"]\nbase_url = "{up.url}"\n'
        busy = account("busy", "up", concurrency="1")
        text = config_text(provider, busy, retry='queue_timeout = "20s"')
        async with gateway(text) as front:
            lease = front.running.gateway.pool.pick(place("busy"), (), front.running.gateway.now())
            assert lease is not None
            wire = await send(front, stream=False)
            await settled(lambda: len(front.running.gateway.means.queue))
            (call,) = front.running.gateway.calls
            connection = call.task
            if how == "cancelled":
                assert call.cancel()
                assert call.cancel()
            else:
                later = asyncio.get_running_loop().time() + 24 * 3600
                call.sweep(later)
                call.sweep(later)
            answered = await wire.answer()
            line = await front.last()
            # Else whatever waits on this connection next would take itself for cancelled.
            assert connection.cancelling() == 0
            wire.send(request("GET", "/healthz"))
            assert (await wire.answer()).status == 200
            lease.release(front.running.gateway.now(), 0)
    assert (answered.status, line["error_type"]) == (503 if how == "cancelled" else 504, how)


async def test_a_call_that_waits_again_after_a_failure_is_queued():
    refused = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(whole(b"{}", "503 No"))
        refused.set()

    async with Scripted(script) as up:
        text = config_text(upstream(up.url), account("busy", "up", concurrency="1", priority="1"))
        async with gateway(text) as front:
            lease = front.running.gateway.pool.pick(place("busy"), (), front.running.gateway.now())
            assert lease is not None
            wire = await send(front, stream=True)
            await refused.wait()
            await settled(lambda: len(front.running.gateway.means.queue))
            [one] = await running(front)
            lease.release(front.running.gateway.now(), 0)
            wire.leave()
    assert (one["phase"], one["attempts"]) == ("queued", 1)


async def test_a_stream_with_an_early_head_is_told_in_the_stream():
    streaming = 'heartbeat = "50ms"'
    async with in_front_of(Watched(b""), streaming=streaming) as (front, _):
        wire = await send(front, stream=True)
        await wire.head()
        await cancelled(front)
        rest = b""
        while piece := await wire.chunk():
            rest += piece
    frame = json.loads(rest.rpartition(b"data: ")[2])
    assert frame["error"]["code"] == "cancelled"


async def test_what_does_not_run_cannot_be_cancelled():
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        ended = (await front.chat()).headers["x-request-id"]
        for name in (ended, "req_unknown", "%00"):
            answered = await front.admin("POST", f"requests/{name}/cancel")
            assert answered.status == 404
            assert "it may just have ended" in answered.error["message"]


async def test_an_answer_that_is_complete_is_left_as_it_is(monkeypatch):
    async with in_front_of([spoken.streamed("openai-chat")]) as (front, _):
        finish = Delivery.finish
        results = []

        def end(call: Call) -> None:
            results.append(call.cancel())
            call.dismiss()

        def finish_and_end(delivery: Delivery, data: bytes) -> None:
            finish(delivery, data)
            # Between this and the moment at which the call's own task hears of it, anybody may come.
            [call] = front.running.gateway.calls
            asyncio.get_running_loop().call_soon(end, call)

        monkeypatch.setattr(Delivery, "finish", finish_and_end)
        wire = await send(front, stream=True)
        answered = await wire.answer()
        line = await front.last()
        wire.send(request("GET", "/healthz"))
        assert (await wire.answer()).status == 200
    assert results == [False]
    assert (answered.whole, answered.text) == (True, "Hello")
    assert (line["status"], "error_type" in line) == (200, False)
