"""When every account is cooling or full, a call waits for the first one back, and is told honestly when none comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from proxy.tasks import spawn
from tests.integration import spoken
from tests.integration.gateway import (
    KEY,
    OTHER_KEY,
    PATHS,
    Gateway,
    account,
    body_of,
    config_text,
    gateway,
    upstream,
)
from tests.integration.scripted import Scripted, Step, play, settled, whole
from tests.integration.wire import Wire, encoded, request

SURFACES = ("chat", "messages")
DIALECT = "openai-chat"
BRIEF = 'base = "100ms"\nmax_burst = "100ms"\nmax_quota = "100ms"\nprobe_interval = "5m"'
LONG = 'queue_timeout = "60s"'
COMMENT = b": keep-alive\n\n"
LIMITED = whole(b'{"error":{"message":"slow down"}}', "429 Slow", retry_after="1", **spoken.JSON)


class Upstream:
    """An upstream that answers what its client said, unless it is told to play something; it can be held."""

    def __init__(self) -> None:
        self.steps: list[Step] | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.begun = b""
        self.server = Scripted(self)

    @property
    def asked(self) -> int:
        return len(self.server.requests)

    async def __call__(self, reader, writer, request):
        streams = b'"stream": true' in request.body
        if streams and self.begun:
            writer.write(self.begun)
        await self.go_on.wait()
        if self.steps is not None:
            await play(self.steps, writer)
        elif not streams:
            writer.write(spoken.told(DIALECT))
        elif self.begun:
            writer.write(spoken.chunk(spoken.end(DIALECT)) + spoken.LAST)
        else:
            writer.write(spoken.streamed(DIALECT))


@dataclass(frozen=True, slots=True)
class One:
    front: Gateway
    up: Upstream

    @property
    def waiting(self) -> int:
        return len(self.front.running.gateway.means.queue)

    async def send(self, surface: str = "chat", token: str = KEY, **fields) -> Wire:
        """Send a request and do not wait for its answer."""
        wire = await self.front.wire()
        body = encoded(body_of(surface, **fields))
        wire.send(request("POST", PATHS[surface], body, authorization=f"Bearer {token}"))
        return wire

    async def join(self, surface: str = "chat", token: str = KEY, **fields) -> Wire:
        """Send a request that has to wait, and see it wait."""
        before = self.waiting
        wire = await self.send(surface, token, **fields)
        await settled(lambda: self.waiting == before + 1)
        return wire

    async def bench(self) -> None:
        """Have the account benched, and well again but for that."""
        self.up.steps = [LIMITED]
        assert (await self.front.chat()).status == 429
        self.up.steps = None

    async def fill(self) -> Wire:
        """Have the account's only slot taken by a call that is held."""
        self.up.go_on.clear()
        held = await self.send()
        await settled(lambda: self.up.asked == 1)
        return held


@contextlib.asynccontextmanager
async def one(
    *tables: str, options: dict[str, str] | None = None, **sections
) -> AsyncIterator[One]:
    """Run a gateway in front of one account; leave when nothing runs or waits."""
    up = Upstream()
    async with up.server:
        provider = '[providers.up]\ndialects = ["openai-chat"]\nbase_url = "http://127.0.0.1:9"\n'
        only = account("up", "up", base_url=f'"{up.server.url}"', **(options or {}))
        sections.setdefault("retry", LONG)
        async with gateway(config_text(provider, only, *tables, **sections)) as front:
            found = One(front, up)
            yield found
            inside = front.running.gateway
            await settled(lambda: not inside.calls and not found.waiting)
            assert not any(state.in_flight for state in inside.pool.accounts(0.0))
            assert inside.pool.retries.running == inside.pool.retries.retrying == 0
            assert not any(inside.key_limits.running(key) for key in inside.config.keys)


FULL = {"concurrency": "1"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_waits_for_a_benched_account(stream):
    async with one(cooldown=BRIEF) as only:
        await only.bench()
        answered = await only.front.chat(stream=stream)
        line = await only.front.last(2)
    assert (answered.status, answered.text) == (200, "Hello")
    assert only.up.asked == line["attempts"] + 1 == 2


async def test_a_call_waits_for_a_slot():
    async with one(options=FULL) as only:
        held = await only.fill()
        wire = await only.join()
        assert only.up.asked == 1
        only.up.go_on.set()
        assert (await held.answer()).status == 200
        assert (await wire.answer()).status == 200


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_stream_hears_that_its_call_waits(surface):
    async with one(options=FULL, streaming='heartbeat = "30ms"') as only:
        held = await only.fill()
        wire = await only.join(surface, stream=True)
        status, headers = await wire.head()
        beats = [await wire.chunk() for _ in range(2)]
        assert only.up.asked == 1
        only.up.go_on.set()
        await held.answer()
        rest = b""
        while piece := await wire.chunk():
            rest += piece
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert beats == [COMMENT, COMMENT]
    assert b"Hello" in rest


async def test_a_stream_that_waited_in_vain_ends_in_an_error_frame():
    async with one(
        options=FULL, streaming='heartbeat = "30ms"', retry='queue_timeout = "300ms"'
    ) as only:
        held = await only.fill()
        answered = await (await only.send(stream=True)).answer()
        assert only.up.asked == 1
        only.up.go_on.set()
        await held.answer()
    assert (answered.status, answered.whole) == (200, True)
    assert answered.frames[0] == COMMENT.rstrip()
    assert answered.data[-1]["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    ("wait", "queue", "told", "retries"),
    [
        ("30", "0s", 30, None),
        ("30", "10s", 30, None),
        ("61", "10s", 61, "false"),
        ("3600", "10s", 300, "false"),
    ],
)
async def test_a_call_that_nobody_will_take_in_time_is_told_when_to_come_back(
    surface, wait, queue, told, retries
):
    async with one(retry=f'queue_timeout = "{queue}"') as only:
        only.up.steps = [whole(b"{}", "429 Slow", retry_after=wait)]
        await only.front.chat()
        answered = await only.front.ask(surface)
        line = await only.front.last(2)
        assert only.up.asked == 1
    assert answered.status == 429
    # The wait is rounded up, and of 300 seconds some have passed.
    assert int(answered.headers["retry-after"]) == told
    assert answered.headers.get("x-should-retry") == retries
    assert answered.error["type"] == "rate_limit_error"
    assert (line["error_type"], line["attempts"]) == ("all_cooling", 0)


@pytest.mark.parametrize(("status", "wait"), [("401 No", 30), ("402 No", 30), ("403 No", 30)])
async def test_nobody_well_is_a_503(status, wait):
    async with one(retry='queue_timeout = "10s"') as only:
        only.up.steps = [whole(b"{}", status)]
        await only.front.chat()
        answered = await only.front.chat()
        assert only.up.asked == 1
    assert answered.status == 503
    assert answered.error["code"] == "no_healthy_account"
    assert int(answered.headers["retry-after"]) == wait


async def test_one_canary_goes_and_the_others_wait_for_it():
    async with one(cooldown=BRIEF) as only:
        await only.bench()
        only.up.go_on.clear()
        wires = [await only.send() for _ in range(5)]
        await settled(lambda: only.up.asked == 2 and only.waiting == 4)
        late = await only.join()
        assert only.up.asked == 2
        only.up.go_on.set()
        answered = [await wire.answer() for wire in (*wires, late)]
    assert [one.status for one in answered] == [200] * 6
    assert only.up.asked == 7


async def test_the_others_go_with_the_canarys_first_content_not_with_its_end():
    async with one(cooldown=BRIEF) as only:
        await only.bench()
        only.up.begun = spoken.HEAD + spoken.chunk(
            spoken.metadata(DIALECT) + spoken.text(DIALECT, "Hello")
        )
        only.up.go_on.clear()
        wires = [await only.send(stream=True) for _ in range(3)]
        # Nothing has ended, and yet all have gone.
        await settled(lambda: only.up.asked == 4)
        only.up.go_on.set()
        answered = [await wire.answer() for wire in wires]
    assert [one.text for one in answered] == ["Hello"] * 3


async def test_a_canary_that_fails_ends_the_wait_of_the_others():
    async with one(cooldown=BRIEF.replace('"100ms"\nmax_quota', '"5m"\nmax_quota')) as only:
        only.up.steps = [whole(b"{}", "429 Slow", retry_after_ms="100", **spoken.JSON)]
        assert (await only.front.chat()).status == 429
        only.up.go_on.clear()
        only.up.steps = [whole(b"{}", "429 Slow", retry_after="200", **spoken.JSON)]
        wires = [await only.send() for _ in range(3)]
        await settled(lambda: only.up.asked == 2 and only.waiting == 2)
        only.up.go_on.set()
        answered = [await wire.answer() for wire in wires]
        lines = (await only.front.requests(4))[1:]
    assert [one.status for one in answered] == [429] * 3
    assert {one.headers["x-should-retry"] for one in answered} == {"false"}
    assert sorted(line["attempts"] for line in lines) == [0, 0, 1]
    assert only.up.asked == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_while_it_waits_sends_nothing(stream):
    async with one(options=FULL) as only:
        held = await only.fill()
        wire = await only.join(stream=stream)
        wire.leave()
        await settled(lambda: not only.waiting)
        line = await only.front.last()
        only.up.go_on.set()
        await held.answer()
        assert (await only.front.chat()).status == 200
    assert (line["status"], line["error_type"], line["attempts"]) == (499, "cancelled", 0)
    assert only.up.asked == 2


async def test_clients_that_leave_take_no_place_from_those_who_stay():
    async with one(options=FULL) as only:
        held = await only.fill()
        wires = [await only.join() for _ in range(6)]
        for wire in wires[::2]:
            wire.leave()
        only.up.go_on.set()
        await held.answer()
        statuses = [(await wire.answer()).status for wire in wires[1::2]]
    assert statuses == [200] * 3


async def test_the_keys_take_turns():
    async with one(options=FULL) as only:
        held = await only.fill()
        many = [await only.join(said=f"many {number}") for number in range(4)]
        few = [await only.join(token=OTHER_KEY, said=f"few {number}") for number in range(2)]
        only.up.go_on.set()
        await held.answer()
        for wire in (*many, *few):
            assert (await wire.answer()).status == 200
        said = [one.body for one in only.up.server.requests[1:]]
    order = ["many 0", "few 0", "many 1", "few 1", "many 2", "many 3"]
    assert [text.encode() in body for text, body in zip(order, said, strict=True)] == [True] * 6


async def test_calls_of_another_model_do_not_wait_behind_these():
    async with (
        Scripted([spoken.told(DIALECT, "other")]) as other,
        one(upstream(other.url, name="other"), options=FULL) as only,
    ):
        held = await only.fill()
        wire = await only.join()
        answered = await only.front.chat("other/m")
        only.up.go_on.set()
        await held.answer()
        assert (await wire.answer()).status == 200
    assert answered.text == "other"


async def test_a_call_that_waits_is_told_when_the_gateway_stops():
    async with one(options=FULL) as only:
        held = await only.fill()
        wire = await only.join()
        failures: list[BaseException] = []
        ending = spawn(only.front.running.drain(0), "drain", failures.append)
        answered = await wire.answer()
        await ending
        assert not failures
        assert (await held.answer()).status == 503
        only.up.go_on.set()
    assert (answered.status, answered.error["code"]) == (503, "draining")
    assert only.up.asked == 1


async def test_the_whole_time_ends_a_wait_as_well():
    async with one(timeouts='total = "300ms"') as only:
        only.up.steps = [whole(b"{}", "429 Slow", retry_after="30")]
        assert (await only.front.chat()).status == 429
        answered = await (await only.join()).answer()
    assert answered.status == 504
    assert only.up.asked == 1
