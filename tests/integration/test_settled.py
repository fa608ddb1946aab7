"""What is billed when usage is told oddly, or when the client leaves at any moment of a stream."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.relay.attempt import Attempt
from tests.integration import spoken
from tests.integration.gateway import DIALECTS
from tests.integration.scripted import settled, whole
from tests.integration.test_credit import COST, PROMPT, Paying, paying

OWN = "prepaid = true\ncredit_usd = 1"
SURFACES = ("chat", "messages")
SAID = ("He", "ll", "o, wor", "ld")


# The client leaves.


def frames(dialect: str) -> list[bytes]:
    stream = spoken.stream(dialect, *SAID)
    return [frame + b"\n\n" for frame in stream.split(b"\n\n") if frame]


class Stepwise:
    """Sends the first ``count`` frames, and the rest only if nobody leaves before."""

    def __init__(self, dialect: str, count: int) -> None:
        self.frames = frames(dialect)
        self.count = count
        self.sent = asyncio.Event()

    async def __call__(self, reader, writer, request):
        writer.write(spoken.HEAD)
        for frame in self.frames[: self.count]:
            writer.write(spoken.chunk(frame))
            await writer.drain()
        self.sent.set()
        if self.count == len(self.frames):
            writer.write(spoken.LAST)
        await reader.read()


async def left_after(key: Paying, surface: str, dialect: str, count: int) -> tuple[dict, int, int]:
    """Leave a stream after ``count`` frames; return its log line, what was held and what had come by then."""
    script = Stepwise(dialect, count)
    key.up._script = script
    calls = key.front.running.gateway.calls
    before = len(key.front.lines)
    wire = await key.send(surface, stream=True, max_tokens=50)
    await script.sent.wait()
    await asyncio.sleep(0.02)
    seen = max([call.output_so_far for call in calls], default=0)
    held = key.wallet.held
    wire.leave()
    await settled(lambda: not calls)
    lines = [line for line in key.front.lines[before:] if line["msg"] == "request"]
    (line,) = lines
    return line, held, seen


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("surface", SURFACES)
async def test_a_client_that_leaves_pays_for_what_came(surface, dialect):
    count = len(frames(dialect))
    async with paying(OWN, dialect=dialect) as key:
        spent, last = 0, 0
        for number in range(count + 1):
            line, held, seen = await left_after(key, surface, dialect, number)
            price = round(line.get("price_usd", line.get("cost_usd", 0)) * 1e6)
            spent += price
            assert key.wallet.credit == 1_000_000 - spent
            assert key.wallet.held == 0
            last = line["status"]
            if line["status"] == 200:
                # It had its end: nobody has left before that.
                assert (number, price, line.get("estimated")) == (count, COST, None)
                continue
            assert line["status"] == 499
            assert held == PROMPT + 500
            assert price <= held
            if "ttft_s" not in line:
                assert price == 0
                continue
            assert price > 0
            prompt = line["input_tokens"] + line["cache_read_tokens"]
            told = prompt == spoken.INPUT + spoken.CACHED
            assert told or 2 * prompt == PROMPT
            if told and line["output_tokens"] == spoken.OUTPUT:
                # The provider had told all of it.
                assert price == COST
                continue
            assert price == 2 * prompt + 10 * line["output_tokens"]
            assert line["output_tokens"] >= seen
            assert line.get("estimated") or told
        assert last == 200


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("surface", SURFACES)
async def test_a_client_that_leaves_an_answer_that_is_read_on_pays_what_it_cost(surface, dialect):
    count = len(frames(dialect))
    async with paying(OWN, dialect=dialect, streaming='on_disconnect = { read_on = "5s" }') as key:
        for number in range(count + 1):
            line = await left_and_read_on(key, surface, dialect, number)
            assert line["input_tokens"] + line["cache_read_tokens"] == spoken.INPUT + spoken.CACHED
            assert (line["output_tokens"], line.get("estimated")) == (spoken.OUTPUT, None)
            assert round(line["cost_usd"] * 1e6) == COST
            assert key.wallet.credit == 1_000_000 - COST * (number + 1)
            assert key.wallet.held == 0


async def left_and_read_on(key: Paying, surface: str, dialect: str, count: int) -> dict[str, Any]:
    """Leave a stream after ``count`` frames, of which the rest come when nobody waits; return its log line."""
    script = Leisurely(dialect, count)
    key.up._script = script
    gateway = key.front.running.gateway
    before = len(key.front.lines)
    wire = await key.send(surface, stream=True, max_tokens=50)
    await script.sent.wait()
    await asyncio.sleep(0.02)
    wire.leave()
    await settled(lambda: gateway.reading_on or not gateway.calls)
    script.go_on.set()
    await settled(lambda: not gateway.calls)
    (line,) = [line for line in key.front.lines[before:] if line["msg"] == "request"]
    return line


class Leisurely(Stepwise):
    """Sends the first ``count`` frames, and the rest when a test lets it."""

    def __init__(self, dialect: str, count: int) -> None:
        super().__init__(dialect, count)
        self.go_on = asyncio.Event()

    async def __call__(self, reader, writer, request):
        writer.write(spoken.HEAD + b"".join(map(spoken.chunk, self.frames[: self.count])))
        await writer.drain()
        self.sent.set()
        await self.go_on.wait()
        writer.write(b"".join(map(spoken.chunk, self.frames[self.count :])) + spoken.LAST)
        await writer.drain()


async def test_what_events_hold_is_learned_from_the_streams_that_ended():
    said = [spoken.text("openai-chat", "twelve bytes")] * 200
    told = {"id": "c", "choices": [], "usage": usage(200)}
    untold = [spoken.chat_chunk({}, "stop"), b"data: [DONE]\n\n"]
    end = [spoken.chat_chunk({}, "stop"), spoken.data(told), b"data: [DONE]\n\n"]
    async with paying(OWN) as key:
        for rest, output, estimated in (
            # Of a model of which nothing is known the letters count: three tokens an event.
            (untold, 600, True),
            (end, 200, False),
            (end, 200, False),
            (end, 200, False),
            (untold, 200, True),
        ):
            key.steps[:] = [spoken.HEAD, spoken.chunk(b"".join([*said, *rest])), spoken.LAST]
            answered = await key.ask(stream=True, max_tokens=5_000)
            request_id = answered.headers["x-request-id"]
            found = await key.get(f"/v1/usage/{request_id}")
            assert (found["output_tokens"], found["estimated"]) == (output, estimated)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_does_not_wait_for_an_answer_pays_nothing_though_it_costs_us(
    dialect, stream
):
    async with paying(OWN, dialect=dialect) as key:
        key.go_on.clear()
        wire = await key.send(max_tokens=50, stream=stream)
        await settled(lambda: key.up.requests)
        wire.leave()
        assert await key.paid() == [0]
        line = await key.front.last()
        key.go_on.set()
        assert key.wallet.credit == 1_000_000
    assert (line["status"], line["estimated"], line["output_tokens"]) == (499, True, 0)
    assert (line["cost_usd"], line["price_usd"]) == (PROMPT / 1e6, 0)


async def test_a_client_that_leaves_in_the_middle_of_a_document_pays_nothing_though_it_costs_us():
    sent = asyncio.Event()
    told = spoken.told("openai-chat", "x" * 8000)

    async def script(reader, writer, request):
        writer.write(told[:-100])
        await writer.drain()
        sent.set()
        await reader.read()

    async with paying(OWN) as key:
        key.up._script = script
        wire = await key.send(max_tokens=5000)
        await sent.wait()
        await asyncio.sleep(0.05)
        wire.leave()
        assert await key.paid() == [0]
        line = await key.front.last()
    assert line["output_tokens"] >= 1000
    assert line["price_usd"] == 0
    assert line["cost_usd"] == (PROMPT + 10 * line["output_tokens"]) / 1e6


async def test_a_refusal_that_its_client_does_not_wait_for_costs_nobody_anything():
    async def script(reader, writer, request):
        writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        sent.set()
        await reader.read()

    sent = asyncio.Event()
    async with paying(OWN) as key:
        key.up._script = script
        wire = await key.send(max_tokens=50)
        await sent.wait()
        await asyncio.sleep(0.05)
        wire.leave()
        assert await key.paid() == [0]
        line = await key.front.last()
    assert "cost_usd" not in line


async def test_a_document_that_is_whole_when_its_client_leaves_is_paid(monkeypatch):
    resolve = Attempt._resolve
    async with paying(OWN) as key:

        def resolve_and_leave(attempt, outcome):
            resolve(attempt, outcome)
            # What the loss of the client does, in the same turn of the loop.
            (call,) = key.front.running.gateway.calls
            call.task.cancel()

        monkeypatch.setattr(Attempt, "_resolve", resolve_and_leave)
        await key.send(max_tokens=50)
        await settled(lambda: key.up.requests)
        assert await key.paid() == [COST]
        line = await key.front.last()
    assert (line["status"], "estimated" in line) == (499, False)
    assert key.wallet.credit == 1_000_000 - COST


async def test_an_estimate_is_never_above_what_was_held():
    async with paying(OWN) as key:
        key.steps += [spoken.HEAD, spoken.chunk(spoken.metadata("openai-chat") + b"".join(spoken.text("openai-chat", "word") for _ in range(90)))]  # fmt: skip
        key.steps += [spoken.chunk(b"data: [DONE]\n\n"), spoken.LAST]
        answered = await key.ask(stream=True, max_tokens=50)
        line = await key.front.last()
        assert answered.whole
        assert await key.paid() == [PROMPT + 500]
        assert (line["output_tokens"], line["estimated"]) == (50, True)


# Usage that is told oddly.


WORDS = ("Some", "word", "s...")
"""Of four letters, so they are as many tokens by the text as by the frames."""


def usage(output: Any = spoken.OUTPUT, prompt: int = 11, cached: int = 3) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": cached},
    }  # fmt: skip


def chat(*events: object) -> list[bytes]:
    """Return a chat stream of three content frames with these events before its end."""
    told = b"".join(spoken.data({"id": "c", "choices": [], "usage": one}) for one in events)
    said = b"".join(spoken.text("openai-chat", one) for one in WORDS)
    return [said, told, spoken.chat_chunk({}, "stop"), b"data: [DONE]\n\n"]


PIECES = len(WORDS)
"""What is counted of such a stream where nobody tells."""

CHAT = {
    "none": (chat(), PROMPT + 10 * PIECES, True),
    "null": (chat(None), PROMPT + 10 * PIECES, True),
    "empty": (chat({}), PROMPT + 10 * PIECES, True),
    "once": (chat(usage()), COST, False),
    "twice": (chat(usage(), usage()), COST, False),
    "growing": (chat(usage(2), usage(7)), COST, False),
    "decreasing": (chat(usage(9), usage(7)), COST, False),
    "first": ([spoken.data({"id": "c", "choices": [], "usage": usage()}), *chat()], COST, False),
    "after the end": ([*chat(), spoken.data({"id": "c", "choices": [], "usage": usage()})], PROMPT + 10 * PIECES, True),
    "cached above the prompt": (chat(usage(cached=50)), COST, False),
    "no number": (chat(usage(output="many")), 22, False),
}  # fmt: skip


@pytest.mark.parametrize(("stream", "price", "estimated"), CHAT.values(), ids=CHAT)
async def test_chat_usage_that_is_told_oddly(stream, price, estimated):
    async with paying(OWN) as key:
        key.steps += [spoken.HEAD, *map(spoken.chunk, filter(None, stream)), spoken.LAST]
        answered = await key.ask(stream=True, max_tokens=50)
        line = await key.front.last()
        assert answered.whole
        assert await key.paid() == [price]
        assert bool(line.get("estimated")) == estimated
        assert key.wallet.credit == 1_000_000 - price


def message(start: object, *deltas: object) -> list[bytes]:
    """Return an Anthropic stream of three content frames that tells these usages."""
    opened = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    first, *rest = WORDS
    said = spoken.text("anthropic", first) + b"".join(spoken.more("anthropic", one) for one in rest)
    ends = [
        spoken.event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": one})
        for one in deltas
    ]
    started = spoken.event({"type": "message_start", "message": {**opened, "usage": start}})
    return [started, said, *ends, spoken.event({"type": "message_stop"})]


START = {"input_tokens": 8, "cache_read_input_tokens": 3, "output_tokens": 1}
MESSAGES = {
    "none": (message(None, None), PROMPT + 30, True),
    "at the end": (message(START, {"output_tokens": 7}), COST, False),
    "twice": (message(START, {"output_tokens": 7}, {"output_tokens": 7}), COST, False),
    "decreasing": (message(START, {"output_tokens": 9}, {"output_tokens": 7}), COST, False),
    "only at the start": (message(START, None), 22 + 30, True),
    "all at the start, more than came": (message({**START, "output_tokens": 7}, {}), COST, False),
    "all at the end": (message(None, {**START, "output_tokens": 7}), COST, False),
    "null at the end": (message(START, {"input_tokens": None, "output_tokens": 7}), COST, False),
}


@pytest.mark.parametrize(("stream", "price", "estimated"), MESSAGES.values(), ids=MESSAGES)
async def test_messages_usage_that_is_told_oddly(stream, price, estimated):
    async with paying(OWN, dialect="anthropic") as key:
        key.steps += [spoken.HEAD, *map(spoken.chunk, stream), spoken.LAST]
        answered = await key.ask("messages", stream=True, max_tokens=50)
        line = await key.front.last()
        assert answered.whole
        assert await key.paid() == [price]
        assert bool(line.get("estimated")) == estimated
        assert key.wallet.credit == 1_000_000 - price


WHOLE = {
    "none": (None, True),
    "null": ({"usage": None}, True),
    "once": ({"usage": usage()}, False),
}


@pytest.mark.parametrize(("fields", "estimated"), WHOLE.values(), ids=WHOLE)
async def test_a_whole_answer_without_usage_is_estimated_and_no_dearer_than_held(fields, estimated):
    document = {k: v for k, v in spoken.document("openai-chat").items() if k != "usage"}
    async with paying(OWN) as key:
        key.steps.append(whole(json.dumps({**document, **(fields or {})}).encode(), **spoken.JSON))
        assert (await key.ask(max_tokens=20)).status == 200
        (price,) = await key.paid()
        line = await key.front.last()
    assert bool(line.get("estimated")) == estimated
    assert price == (PROMPT + 200 if estimated else COST)
