"""What a key may send: what is refused burns nothing, and the headers tell what the buckets hold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    PATHS,
    Gateway,
    body_of,
    config_text,
    gateway,
    upstream,
)
from tests.integration.scripted import Cut, Scripted, play, settled, whole
from tests.integration.wire import Answered, Wire, encoded, request

SURFACES = ("chat", "messages")
DIALECT = "openai-chat"
USED = spoken.INPUT + spoken.CACHED + spoken.OUTPUT
TOKEN = "sk-splice-the-key-with-the-limits"
MODEL = '[[models]]\nname = "{name}"\ntargets = ["up/m"]\n{limits}\n'


@dataclass(frozen=True, slots=True)
class Limited:
    """A gateway with one key that has limits, in front of an upstream that can be held."""

    front: Gateway
    up: Scripted
    go_on: asyncio.Event
    steps: list

    async def ask(self, surface: str = "chat", token: str = TOKEN, **fields) -> Answered:
        body = body_of(surface, **fields)
        return await self.front.post(PATHS[surface], body, authorization=f"Bearer {token}")

    async def send(self, surface: str = "chat", **fields) -> Wire:
        wire = await self.front.wire()
        body = encoded(body_of(surface, **fields))
        wire.send(request("POST", PATHS[surface], body, authorization=f"Bearer {TOKEN}"))
        return wire

    @property
    def running(self) -> int:
        inside = self.front.running.gateway
        return sum(inside.key_limits.running(key) for key in inside.config.keys)


@contextlib.asynccontextmanager
async def limited(
    own: str, *tables: str, dialect: str = DIALECT, **sections: str
) -> AsyncIterator[Limited]:
    go_on = asyncio.Event()
    go_on.set()
    steps: list = []

    async def script(reader, writer, request):
        await go_on.wait()
        if steps:
            await play(steps, writer)
        elif b'"stream": true' in request.body:
            writer.write(spoken.streamed(DIALECT))
        else:
            writer.write(spoken.told(DIALECT))

    key = f'[[keys]]\nname = "limited"\nkey = "{TOKEN}"\n{own}\n'
    async with Scripted(script) as up:
        text = config_text(upstream(up.url, dialect), key, *tables, **sections)
        async with gateway(text) as front:
            found = Limited(front, up, go_on, steps)
            yield found
            await settled(lambda: not found.running)


def assert_refused(answered: Answered, surface: str, code: str = "rate_limit_exceeded") -> None:
    assert answered.status == 429
    assert answered.error["type"] == "rate_limit_error"
    if surface == "chat":
        assert answered.error["code"] == code
    else:
        assert answered.json["type"] == "error"
        assert answered.json["request_id"] == answered.headers["request-id"]
    assert int(answered.headers["retry-after"]) >= 1


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_sends_as_many_requests_a_minute_as_it_may(surface, stream):
    async with limited("rpm = 2") as key:
        answered = [await key.ask(surface, stream=stream) for _ in range(4)]
        lines = await key.front.requests(4)
    assert [one.status for one in answered] == [200, 200, 429, 429]
    for one in answered[2:]:
        assert_refused(one, surface)
        # The bucket refills one request in thirty seconds, of which the test has used a few.
        assert 1 <= int(one.headers["retry-after"]) <= 30
        assert "x-should-retry" not in one.headers
    assert len(key.up.requests) == 2
    assert (lines[2]["error_type"], lines[2]["attempts"]) == ("rate_limited", 0)


async def test_a_refused_request_burns_nothing():
    async with limited("rpm = 3\ntpm = 1000") as key:
        assert (await key.ask()).status == 200
        left = (await key.ask(max_tokens=900)).headers
        refused = await key.ask(max_tokens=1000)
        again = await key.ask()
    assert left["x-ratelimit-remaining-requests"] == "1"
    assert refused.status == 429
    assert refused.headers["x-ratelimit-remaining-requests"] == "1"
    assert again.status == 200
    assert again.headers["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.parametrize("surface", SURFACES)
async def test_tokens_are_reserved_by_an_estimate_and_settled_by_usage(surface):
    async with limited("tpm = 1000") as key:
        key.go_on.clear()
        held = await key.send(surface, max_tokens=900)
        await settled(lambda: key.up.requests)
        refused = await key.ask(surface, max_tokens=900)
        key.go_on.set()
        first = await held.answer()
        await settled(lambda: not key.running)
        second = await key.ask(surface, max_tokens=900)
    assert_refused(refused, surface)
    assert "tokens a minute" in refused.error["message"]
    assert (first.status, second.status) == (200, 200)
    reserved = 1000 - int(first.headers["x-ratelimit-remaining-tokens"])
    assert reserved >= 900
    # Beside its own reservation the second one misses only what the first has really used.
    missing = 1000 - int(second.headers["x-ratelimit-remaining-tokens"])
    assert reserved <= missing <= reserved + USED


async def test_a_call_that_came_to_nothing_costs_no_tokens():
    async with limited("tpm = 1000") as key:
        key.steps.append(whole(b"{}", "500 No"))
        statuses = [(await key.ask(max_tokens=900)).status for _ in range(3)]
    assert statuses == [502] * 3


async def test_a_stream_that_broke_off_costs_what_it_said():
    async with limited("tpm = 1000") as key:
        begun = spoken.metadata(DIALECT) + spoken.text(DIALECT, "He")
        key.steps.extend([spoken.HEAD + spoken.chunk(begun), Cut()])
        first = await key.ask(stream=True, max_tokens=900)
        await settled(lambda: not key.running)
        second = await key.ask(stream=True, max_tokens=900)
    assert (first.status, second.status) == (200, 200)


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_key_runs_as_many_calls_as_it_may(surface):
    async with limited("concurrency = 2") as key:
        key.go_on.clear()
        held = [await key.send(surface, stream=True) for _ in range(2)]
        await settled(lambda: len(key.up.requests) == 2)
        refused = await key.ask(surface)
        key.go_on.set()
        for wire in held:
            assert (await wire.answer()).status == 200
        await settled(lambda: not key.running)
        again = await key.ask(surface)
    assert_refused(refused, surface, "concurrency_limit_exceeded")
    assert again.status == 200
    assert len(key.up.requests) == 3


async def test_a_client_that_leaves_frees_its_slot():
    async with limited("concurrency = 1") as key:
        key.go_on.clear()
        held = await key.send(stream=True)
        await settled(lambda: key.up.requests)
        held.leave()
        await settled(lambda: not key.running)
        key.go_on.set()
        assert (await key.ask()).status == 200


@pytest.mark.parametrize("limits", ["concurrency = 1", "rpm = 1"])
async def test_a_key_does_not_wait_in_the_queue_for_its_own_limits(limits):
    async with limited(limits, retry='queue_timeout = "60s"') as key:
        key.go_on.clear()
        held = await key.send()
        await settled(lambda: key.up.requests)
        assert (await key.ask()).status == 429
        key.go_on.set()
        assert (await held.answer()).status == 200


async def test_a_key_without_a_number_of_its_own_has_the_general_one():
    async with limited("", limits="concurrency = 1") as key:
        key.go_on.clear()
        held = await key.send()
        await settled(lambda: key.up.requests)
        assert_refused(await key.ask(), "chat", "concurrency_limit_exceeded")
        wire = await key.front.wire()
        body = encoded(body_of("chat"))
        wire.send(request("POST", PATHS["chat"], body, authorization=BEARER))
        await settled(lambda: len(key.up.requests) == 2)
        key.go_on.set()
        assert (await held.answer()).status == (await wire.answer()).status == 200


async def test_a_call_for_which_nobody_was_asked_burns_nothing():
    async with limited("rpm = 2", retry='queue_timeout = "0s"') as key:
        key.steps.append(whole(b"{}", "429 Slow", retry_after="60"))
        answered = [await key.ask() for _ in range(4)]
        lines = await key.front.requests(4)
    assert [one.status for one in answered] == [429] * 4
    told = [(one["error_type"], one["attempts"]) for one in lines]
    assert told == [("upstream_rate_limited", 1)] + [("all_cooling", 0)] * 3


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_call_for_which_nobody_was_asked_is_told_what_is_really_left(surface):
    async with limited("rpm = 3\ntpm = 60000", retry='queue_timeout = "0s"') as key:
        key.steps.append(whole(b"{}", "429 Slow", retry_after="60"))
        told = [(await key.ask(surface)).headers for _ in range(3)]
    assert [one["x-ratelimit-remaining-requests"] for one in told] == ["2"] * 3
    assert [one["x-ratelimit-remaining-tokens"] for one in told[1:]] == ["60000"] * 2
    if surface == "messages":
        assert told[2]["anthropic-ratelimit-requests-remaining"] == "2"


async def test_one_keys_limits_are_nobody_elses():
    async with limited("rpm = 1") as key:
        assert (await key.ask()).status == 200
        assert (await key.ask()).status == 429
        other = await key.front.chat()
    assert other.status == 200
    assert not [name for name in other.headers if "ratelimit" in name]


async def test_a_models_limit_holds_for_each_key():
    models = (
        MODEL.format(name="dear", limits="rpm = 1"),
        MODEL.format(name="cheap", limits=""),
    )
    async with limited("", *models) as key:
        first = await key.ask(model="dear")
        second = await key.ask(model="dear")
        cheap = await key.ask(model="cheap")
        other = await key.front.chat("dear")
    assert [one.status for one in (first, second, cheap, other)] == [200, 429, 200, 200]
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert "on dear" in second.error["message"]
    assert "x-ratelimit-limit-requests" not in cheap.headers


async def test_a_model_has_its_limit_under_each_of_its_names():
    model = MODEL.format(name="dear", limits='rpm = 1\naliases = ["costly"]')
    async with limited("", model) as key:
        statuses = [(await key.ask(model=name)).status for name in ("dear", "costly")]
    assert statuses == [200, 429]


async def test_a_models_tokens_are_limited_too():
    async with limited("", MODEL.format(name="dear", limits="tpm = 500")) as key:
        first = await key.ask(model="dear", max_tokens=400)
        key.go_on.clear()
        held = await key.send(model="dear", max_tokens=400)
        await settled(lambda: len(key.up.requests) == 2)
        refused = await key.ask(model="dear", max_tokens=400)
        key.go_on.set()
        assert (await held.answer()).status == 200
    assert first.headers["x-ratelimit-limit-tokens"] == "500"
    assert_refused(refused, "chat")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_headers_have_the_buckets_numbers(surface, stream):
    async with limited("rpm = 60\ntpm = 60000") as key:
        answered = [await key.ask(surface, stream=stream, max_tokens=600) for _ in range(2)]
    for number, one in enumerate(answered):
        headers = one.headers
        assert headers["x-ratelimit-limit-requests"] == "60"
        assert headers["x-ratelimit-limit-tokens"] == "60000"
        assert headers["x-ratelimit-remaining-requests"] in (str(59 - number), "59")
        assert 59_000 < int(headers["x-ratelimit-remaining-tokens"]) <= 59_400
        assert headers["x-ratelimit-reset-requests"].endswith("s")
        if surface == "messages":
            for what in ("requests", "tokens"):
                for field in ("limit", "remaining"):
                    name = f"{what}-{field}"
                    told = headers[f"x-ratelimit-{field}-{what}"]
                    assert headers[f"anthropic-ratelimit-{name}"] == told
                assert headers[f"anthropic-ratelimit-{what}-reset"].endswith("Z")
        else:
            assert not [name for name in headers if name.startswith("anthropic-")]


async def test_a_providers_own_numbers_never_reach_a_client():
    async with limited("rpm = 60") as key:
        told = {"x_ratelimit_limit_requests": "7", "x_ratelimit_remaining_tokens": "8"}
        key.steps.append(whole(b'{"choices": []}', **spoken.JSON, **told))
        answered = await key.ask()
    assert answered.headers["x-ratelimit-limit-requests"] == "60"
    assert "x-ratelimit-remaining-tokens" not in answered.headers


async def test_a_count_of_tokens_is_a_request_without_tokens():
    async with limited("rpm = 2\ntpm = 100", dialect="anthropic") as key:
        key.steps.append(whole(b'{"input_tokens": 5}', **spoken.JSON))
        body = body_of("messages", max_tokens=5000)
        path = "/v1/messages/count_tokens"
        answered = [
            await key.front.post(path, body, authorization=f"Bearer {TOKEN}") for _ in range(3)
        ]
    assert [one.status for one in answered] == [200, 200, 429]
    assert answered[0].headers["x-ratelimit-remaining-tokens"] == "100"


@pytest.mark.parametrize("surface", SURFACES)
async def test_what_is_no_request_is_not_counted(surface):
    async with limited("rpm = 1") as key:
        assert (await key.ask(surface, model="nowhere/at-all")).status == 404
        assert (await key.ask(surface, messages="no list")).status == 400
        assert (await key.ask(surface)).status == 200
