"""What is turned away at the edge, before anybody is asked: strangers, and clients that are slow, broken or of another protocol."""

from __future__ import annotations

import asyncio

import pytest

from proxy.server import body as body_module
from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    KEY,
    OTHER_KEY,
    PATHS,
    body_of,
    config_text,
    gateway,
    in_front_of,
)
from tests.integration.wire import Wire, encoded, request

SURFACES = ("chat", "messages")
PATHS_TOO = {**PATHS, "responses": "/v1/responses"}


def beginning(surface: str, *lines: bytes) -> bytes:
    """Return the head of a POST of the tests' key."""
    fields = b"".join(line + b"\r\n" for line in lines)
    return b"POST %b HTTP/1.1\r\nHost: g\r\nAuthorization: %b\r\n%b\r\n" % (
        PATHS_TOO[surface].encode(), BEARER.encode(), fields,
    )  # fmt: skip


@pytest.mark.parametrize("surface", PATHS_TOO)
async def test_a_body_that_stops_is_a_408_in_the_callers_dialect(surface, monkeypatch):
    monkeypatch.setattr(body_module, "TICK", 0.01)
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        wire = await front.wire()
        wire.send(beginning(surface, b"Content-Length: 1000") + b'{"model":')
        answered = await wire.answer()
        line = await front.last()
        assert (answered.status, answered.headers["connection"]) == (408, "close")
        assert "16 KiB" in answered.error["message"]
        assert (answered.json.get("type") == "error") is (surface == "messages")
        assert (line["status"], line["error_type"]) == (408, "invalid_request")
        assert (await front.chat()).status == 200
    assert len(up.requests) == 1


@pytest.mark.parametrize("surface", PATHS_TOO)
async def test_a_body_whose_framing_breaks_is_a_400_at_once_and_one_answer(surface):
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        wire = await front.wire()
        wire.send(beginning(surface, b"Transfer-Encoding: chunked") + b'3\r\n{"m\r\n')
        await asyncio.sleep(0.01)
        wire.send(b"xyz\r\n" + request("GET", "/healthz"))
        answered = await wire.answer()
        assert (answered.status, answered.headers["connection"]) == (400, "close")
        assert answered.error["message"]
        assert await wire.rest() == b""
    assert up.requests == []


async def test_a_stranger_is_not_asked_for_a_body():
    async with in_front_of([]) as (front, _):
        wire = await front.wire()
        wire.send(
            request(
                "POST",
                PATHS["chat"],
                authorization="Bearer no",
                expect="100-continue",
                content_length="10",
            )
        )
        answered = await wire.answer()
    assert (answered.status, answered.headers["connection"]) == (401, "close")


@pytest.mark.parametrize("path", ["/v1/responses", *PATHS.values()])
async def test_a_websocket_is_told_to_post(path):
    async with in_front_of([]) as (front, _):
        answered = await front.get(path, connection="Upgrade", upgrade="websocket")
    assert answered.status == 426
    assert answered.headers["upgrade"] == "HTTP/1.1"


async def test_what_comes_behind_an_upgrade_is_the_next_request_and_no_other_protocol():
    offered = {"connection": "Upgrade", "upgrade": "websocket", "authorization": BEARER}
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        wire = await front.wire()
        wire.send(
            request("POST", PATHS["chat"], encoded(body_of("chat")), **offered)
            + request("GET", "/healthz")
        )
        assert (await wire.answer()).text == "Hello"
        assert (await wire.answer()).json["status"] == "ok"
    assert len(up.requests) == 1


# Strangers.


@pytest.mark.parametrize("surface", PATHS_TOO)
async def test_an_address_that_keeps_failing_is_told_to_wait_and_a_known_key_passes(surface):
    path = PATHS_TOO[surface]
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        wire = await front.wire()
        answers = [await wire.post(path, b"{}", authorization=f"Bearer sk-{n}") for n in range(30)]
        statuses = [answered.status for answered in answers]
        assert statuses[:10] == [401] * 10
        assert statuses.count(429) >= 15
        assert {*statuses} == {401, 429}
        last = next(one for one in reversed(answers) if one.status == 429)
        assert last.headers["retry-after"] == "1"
        assert (last.json.get("type") == "error") is (surface == "messages")
        assert (await front.chat()).status == 200
        wire = await front.wire()
        other = await wire.post(PATHS["chat"], body_of("chat"), authorization=f"Bearer {OTHER_KEY}")
        assert other.status == 200


async def test_behind_a_trusted_proxy_it_is_the_clients_own_address_that_waits():
    server = 'trusted_proxies = ["127.0.0.0/8"]'
    async with in_front_of([], server=server) as (front, _):
        wire = await front.wire()

        async def fails(address: str) -> int:
            return (await wire.post(PATHS["chat"], b"{}", x_forwarded_for=address)).status

        assert [await fails("198.51.100.1") for _ in range(30)][-1] == 429
        assert await fails("198.51.100.2") == 401


async def test_a_flood_of_wrong_keys_does_not_slow_down_who_has_one():
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        floods = [await front.wire() for _ in range(20)]

        async def flood(wire: Wire) -> None:
            for _ in range(50):
                answered = await wire.post(PATHS["chat"], b"{}", x_api_key="sk-wrong")
                assert answered.status in (401, 429)

        known = await front.wire()
        tasks = [asyncio.get_running_loop().create_task(flood(wire)) for wire in floods]
        for _ in range(20):
            assert (await known.post(PATHS["chat"], body_of("chat"), x_api_key=KEY)).status == 200
        await asyncio.gather(*tasks)
        lines = await front.requests(1020)
    assert sum(line["status"] == 200 for line in lines) == 20


async def test_wrong_admin_tokens_make_the_right_one_wait_too():
    admin = 'listen = ["127.0.0.1:0"]\ntoken = "right"'
    async with gateway(config_text(admin=admin)) as front:
        wire = front.keep(await Wire.open(front.running.admin_addresses[0]))

        async def status(token: str, path: str = "/api/v1/status") -> int:
            wire.send(request("GET", path, host="localhost", authorization=f"Bearer {token}"))
            answered = await wire.answer()
            assert "server" not in answered.headers
            return answered.status

        assert await status("right") == 200
        assert [await status("wrong") for _ in range(30)][-1] == 429
        assert await status("right") == 429
        assert (await front.admin("GET", "status")).status == 200
        wire.send(request("GET", "/healthz", host="localhost"))
        assert (await wire.answer()).status == 200
        front.running.gateway.now = lambda: asyncio.get_running_loop().time() + 2
        assert await status("right") == 200
