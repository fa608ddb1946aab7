"""While the upstream is silent, the client of a stream hears that the gateway is still there."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration import spoken
from tests.integration.gateway import BEARER, DIALECTS, PATHS, body_of, in_front_of
from tests.integration.scripted import Cut, whole
from tests.integration.wire import encoded, request

SURFACES = ("chat", "messages")
OFTEN = 'heartbeat = "30ms"'
COMMENT = b": keep-alive\n\n"


def script_of(dialect, *pieces: bytes):
    """Return a script that sends each piece when its event is set, and those events."""
    turns = [asyncio.Event() for _ in pieces]

    async def script(reader, writer, request):
        writer.write(spoken.HEAD)
        for turn, piece in zip(turns, pieces, strict=True):
            await turn.wait()
            writer.write(piece)

    return script, turns


async def asked(front, surface, **fields):
    wire = await front.wire()
    wire.send(
        request(
            "POST",
            PATHS[surface],
            encoded(body_of(surface, stream=True, **fields)),
            authorization=BEARER,
        )
    )
    return wire


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_silent_upstream_is_bridged_by_comments_before_the_first_content(surface, dialect):
    script, (first,) = script_of(dialect, spoken.chunk(spoken.stream(dialect)) + spoken.LAST)
    async with in_front_of(script, dialect, streaming=OFTEN, server='expose = ["account"]') as (
        front,
        _,
    ):
        wire = await asked(front, surface)
        status, headers = await wire.head()
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert "x-splice-account" not in headers
        assert headers["x-request-id"] == headers["request-id"]
        assert await wire.chunk() == COMMENT
        assert await wire.chunk() == COMMENT
        first.set()
        rest = b""
        while piece := await wire.chunk():
            rest += piece
        line = await front.last()
    rest = rest.removeprefix(COMMENT)
    assert rest.startswith(b"data: {" if surface == "chat" else b"event: message_start\n")
    assert b"Hello" in rest
    assert line["status"] == 200


@pytest.mark.parametrize(
    ("surface", "beat"),
    [("chat", COMMENT), ("messages", b'event: ping\ndata: {"type": "ping"}\n\n')],
)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_silent_upstream_is_bridged_in_the_clients_dialect_after_content(
    surface, beat, dialect
):
    begun = spoken.chunk(spoken.metadata(dialect) + spoken.text(dialect, "He"))
    rest = spoken.chunk(spoken.more(dialect, "llo") + spoken.end(dialect)) + spoken.LAST
    script, (first, then) = script_of(dialect, begun, rest)
    async with in_front_of(script, dialect, streaming=OFTEN) as (front, _):
        first.set()
        wire = await asked(front, surface)
        await wire.head()
        content = await wire.chunk()
        assert b"He" in content
        assert (await wire.chunk()).replace(b'":"', b'": "') == beat
        then.set()
        out = b""
        while piece := await wire.chunk():
            out += piece
    assert b"llo" in out


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            whole(b'{"error":{"message":"inside"}}', "500 No", **spoken.JSON),
            "The upstream provider returned an error.",
        ),
        (Cut(), "The upstream provider could not be reached."),
    ],
    ids=["500", "cut"],
)
async def test_a_failure_after_an_early_head_is_an_error_frame(surface, answer, message):
    failing = asyncio.Event()

    async def script(reader, writer, request):
        await failing.wait()
        if isinstance(answer, bytes):
            writer.write(answer)
        else:
            writer.close()

    async with in_front_of(script, streaming=OFTEN) as (front, _):
        wire = await asked(front, surface)
        await wire.head()
        assert await wire.chunk() == COMMENT
        failing.set()
        out = b""
        while piece := await wire.chunk():
            out += piece
        line = await front.last()
    assert message.encode() in out
    assert b"inside" not in out
    assert b"[DONE]" not in out
    assert (line["status"], line["error_type"] is None) == (200, False)


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_call_that_is_not_streamed_is_not_touched_before_its_answer(surface):
    turn = asyncio.Event()

    async def script(reader, writer, request):
        await turn.wait()
        writer.write(spoken.told("openai-chat"))

    async with in_front_of(script, streaming=OFTEN) as (front, _):
        wire = await front.wire()
        wire.send(request("POST", PATHS[surface], encoded(body_of(surface)), authorization=BEARER))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.reader.read(1), 0.2)
        turn.set()
        answered = await wire.answer()
    assert (answered.status, answered.text) == (200, "Hello")
