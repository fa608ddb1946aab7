"""HTTP as clients really speak it: old, impatient, and on connections that go on after a mistake."""

from __future__ import annotations

import pytest

from tests.integration import spoken
from tests.integration.gateway import BEARER, KEY, PATHS, body_of, in_front_of
from tests.integration.wire import encoded, request

SURFACES = ("chat", "messages")


def asking(surface="chat", **fields):
    return request(
        "POST", PATHS[surface], encoded(body_of(surface, **fields)), authorization=BEARER
    )


def old(data: bytes) -> bytes:
    return data.replace(b"HTTP/1.1", b"HTTP/1.0", 1)


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_stream_for_http_1_0_has_no_chunks_and_ends_with_the_connection(surface):
    async with in_front_of([spoken.streamed("openai-chat")]) as (front, _):
        wire = await front.wire()
        wire.send(old(asking(surface, stream=True)))
        answered = await wire.answer()
        assert await wire.rest() == b""
    assert "transfer-encoding" not in answered.headers
    assert answered.headers["connection"] == "close"
    assert answered.text == "Hello"
    assert answered.body.startswith((b"data: {", b"event: message_start\n"))


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_document_for_http_1_0_has_its_length_and_closes(surface):
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        wire = await front.wire()
        wire.send(old(asking(surface)))
        answered = await wire.answer()
        assert await wire.rest() == b""
    assert (answered.text, answered.headers["content-length"]) == ("Hello", str(len(answered.body)))


async def test_http_1_0_needs_no_host():
    async with in_front_of([]) as (front, _):
        wire = await front.wire()
        wire.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await wire.answer()).status == 200


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (request("POST", "/v1/nothing", b"{}"), 404),
        (request("PUT", "/v1/messages", b"{}"), 405),
        (request("POST", "/v1/chat/completions", b"{}", authorization="Bearer no"), 401),
        (request("POST", "/v1/chat/completions", b"{", authorization=BEARER), 400),
        (request("POST", "/v1/chat/completions", b"", authorization=BEARER), 400),
        (request("POST", "/v1/messages", b'{"model":"nobody"}', authorization=BEARER), 404),
    ],
    ids=["404", "405", "401", "400", "empty", "model"],
)
async def test_a_connection_goes_on_after_a_mistake_whose_body_has_come(surface, wrong, status):
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        wire = await front.wire()
        for _ in range(2):
            wire.send(wrong)
            answered = await wire.answer()
            assert answered.status == status
            if answered.headers.get("connection") == "close":
                # Permitted only where a body was left unread.
                assert wrong.endswith(b"{}")
                wire = await front.wire()
            wire.send(asking(surface))
            assert (await wire.answer()).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_goes_on_after_an_upstreams_failure(stream):
    answers = iter(
        [b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", spoken.streamed("openai-chat", "fine")]
    )

    async def script(reader, writer, request):
        writer.write(next(answers))

    async with in_front_of(script) as (front, _):
        wire = await front.wire()
        wire.send(asking(stream=stream))
        assert (await wire.answer()).status == 502
        wire.send(asking(stream=True))
        assert (await wire.answer()).text == "fine"


async def test_many_streams_go_over_one_connection():
    async with in_front_of([spoken.streamed("openai-chat")]) as (front, _):
        wire = await front.wire()
        for _ in range(5):
            wire.send(asking(stream=True))
            answered = await wire.answer()
            assert (answered.text, answered.whole) == ("Hello", True)


async def test_a_connection_goes_on_after_a_broken_stream():
    begun = (
        spoken.HEAD
        + spoken.chunk(spoken.metadata("openai-chat") + spoken.text("openai-chat", "He"))
        + spoken.LAST
    )
    answers = iter([begun, spoken.told("openai-chat")])

    async def script(reader, writer, request):
        writer.write(next(answers))

    async with in_front_of(script) as (front, _):
        wire = await front.wire()
        wire.send(asking(stream=True))
        answered = await wire.answer()
        assert "error" in answered.data[-1]
        wire.send(asking())
        assert (await wire.answer()).text == "Hello"


async def test_pipelined_requests_are_answered_in_their_order():
    async def script(reader, writer, request):
        said = "one" if b"first" in request.body else "two"
        writer.write(
            spoken.streamed("openai-chat", said)
            if b'"stream": true' in request.body
            else spoken.told("openai-chat", said)
        )

    async with in_front_of(script) as (front, _):
        wire = await front.wire()
        wire.send(
            asking(said="first", stream=True)
            + asking(said="second")
            + request("GET", "/healthz")
            + asking(said="first")
        )
        answers = [await wire.answer() for _ in range(4)]
    assert [answered.text for answered in (answers[0], answers[1], answers[3])] == [
        "one",
        "two",
        "one",
    ]
    assert answers[2].json["status"] == "ok"


async def test_connection_close_is_obeyed():
    async with in_front_of([spoken.streamed("openai-chat")]) as (front, _):
        wire = await front.wire()
        wire.send(
            request(
                "POST",
                PATHS["chat"],
                encoded(body_of("chat", stream=True)),
                authorization=BEARER,
                connection="close",
            )
        )
        answered = await wire.answer()
        assert (answered.text, answered.headers["connection"]) == ("Hello", "close")
        assert await wire.rest() == b""


async def test_expect_100_continue_is_answered_before_the_body():
    body = encoded(body_of("chat"))
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        wire = await front.wire()
        wire.send(
            request(
                "POST",
                PATHS["chat"],
                authorization=BEARER,
                expect="100-continue",
                content_length=str(len(body)),
            )
        )
        assert await wire.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(body)
        assert (await wire.answer()).status == 200


async def test_a_body_may_come_in_chunks():
    body = encoded(body_of("chat"))
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        wire = await front.wire()
        wire.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nx-api-key: %b\r\n\r\n"
            % KEY.encode()
        )
        for at in range(0, len(body), 7):
            wire.send(spoken.chunk(body[at : at + 7]))
        wire.send(b"0\r\n\r\n")
        assert (await wire.answer()).status == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/healthz", "/v1/nothing"])
async def test_what_has_trailers_is_the_last_request_on_its_connection_and_told_so(path):
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        body = encoded(body_of("chat"))
        chunked = spoken.chunk(body) + b"0\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n"
        wire = await front.wire()
        head = f"POST {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire.send(head.encode() + chunked + request("GET", "/healthz"))
        answered = await wire.answer()
        assert answered.headers["connection"] == "close"
        assert await wire.rest() == b""


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET / HTTP/3.7\r\nHost: g\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: g\r\nContent-Length: -5\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: g\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: g\r\nx: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    ],
    ids=range(8),
)
async def test_what_is_no_http_is_a_400_and_the_end_of_the_connection(data):
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        wire = await front.wire()
        wire.send(data)
        wire.writer.write_eof()
        rest = await wire.rest()
        assert rest == b"" or rest.startswith(
            (b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 431", b"HTTP/1.1 414")
        )
        assert b"Traceback" not in rest
        assert (await front.chat()).status == 200


@pytest.mark.parametrize(
    "target",
    ["http://gateway/healthz", "*", "healthz", "//healthz", "/healthz?x=%00", "/healthz#f"],
)
async def test_odd_targets_do_no_harm(target):
    async with in_front_of([]) as (front, _):
        wire = await front.wire()
        wire.send(request("GET", target))
        assert (await wire.answer()).status in (200, 400, 404)
        assert (await front.get("/healthz")).status == 200
