"""Whatever an upstream sends, no client sees our credential, its cookies or its pages, and the next call is not its victim."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.integration import spoken
from tests.integration.gateway import DIALECTS, SECRET, config_text, gateway, in_front_of, upstream
from tests.integration.scripted import Cut, Pause, Scripted, Step, chunked, play, whole

SURFACES = ("chat", "messages")
ECHOES = {
    "its words": lambda secret: {
        "error": {"message": f"Bad key {secret}!", "type": "invalid_request_error"}
    },
    "its parameter": lambda secret: {
        "error": {"message": "no", "type": "invalid_request_error", "param": secret}
    },
    "its code": lambda secret: {
        "error": {"message": "no", "type": "invalid_request_error", "code": secret}
    },
    "anywhere": lambda secret: {
        "error": {"message": "no"},
        "debug": {"headers": [f"Bearer {secret}"]},
    },
}
HEX = "0123456789abcdef0123456789abcdef"
"""A credential that looks like no key of anybody's."""


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic"])
@pytest.mark.parametrize("status", ["400 No", "404 No", "500 No"])
@pytest.mark.parametrize("echo", ECHOES)
async def test_a_credential_that_is_echoed_reaches_neither_client_nor_log(
    surface, dialect, status, echo
):
    body = json.dumps(ECHOES[echo](HEX)).encode()
    async with Scripted([whole(body, status, **spoken.JSON)]) as up:
        text = config_text(upstream(up.url, dialect)).replace(SECRET, HEX)
        async with gateway(text) as front:
            answered = await front.ask(surface)
            await front.last()
            seen = [*front.lines, (await front.admin("GET", "accounts/up")).json]
    assert answered.status >= 400
    assert HEX.encode() not in answered.body
    assert HEX not in str(answered.headers)
    assert HEX not in json.dumps(seen)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("begun", [False, True])
async def test_a_credential_in_an_error_inside_a_stream_is_not_told(surface, dialect, begun):
    failure = spoken.failure(dialect).replace(b"inside", f"invalid_prompt {HEX}".encode())
    for code in (b"server_is_overloaded", b"overloaded_error", b"UNAVAILABLE"):
        failure = failure.replace(code, b"invalid_request_error")
    failure = failure.replace(b"503", b"400")
    said = spoken.metadata(dialect) + (spoken.text(dialect, "Hello") if begun else b"") + failure
    async with (
        Scripted([spoken.HEAD + spoken.chunk(said) + spoken.LAST]) as up,
        gateway(config_text(upstream(up.url, dialect)).replace(SECRET, HEX)) as front,
    ):
        answered = await front.ask(surface, stream=True)
        await front.last()
        assert HEX.encode() not in answered.body
        assert HEX not in str(front.lines)
    assert (answered.status == 200) is begun
    assert b"error" in answered.body


OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
DOCUMENT = json.dumps(spoken.document("openai-chat")).encode()
SIZED = b"content-length: %d\r\n\r\n%b" % (len(DOCUMENT), DOCUMENT)
HOSTILE = {
    "a NUL in a header": OK + b"x-a: b\0c\r\n" + SIZED,
    "a bare CR in a header": OK + b"x-a: b\rc: d\r\n" + SIZED,
    "a folded header": OK + b"x-a: b\r\n c\r\n" + SIZED,
    "a space in a name": OK + b"x a: b\r\n" + SIZED,
    "a hundred thousand headers": OK + b"x: y\r\n" * 100_000 + SIZED,
    "an endless header": OK + b"x: " + b"y" * 1_000_000 + b"\r\n" + SIZED,
    "early hints without end": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 20_000 + OK + SIZED,
    "continue without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000 + OK + SIZED,
    "a switch of protocols": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "both framings": OK + b"transfer-encoding: chunked\r\n" + SIZED,
    "two lengths": OK + b"content-length: 1\r\n" + SIZED,
    "a negative length": OK + b"content-length: -1\r\n\r\n" + DOCUMENT,
    "a length beyond any": OK + b"content-length: 99999999999999999999\r\n\r\n" + DOCUMENT,
    "an unknown coding": OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a chunk without size": OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + DOCUMENT,
    "chunk extensions without end": OK + b"transfer-encoding: chunked\r\n\r\n1;" + b"a" * 1_000_000,
    "another version": b"HTTP/2.0 200 OK\r\n" + SIZED,
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "a redirect": b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2:9/\r\ncontent-length: 0\r\n\r\n",
    "a redirect that keeps the method": b"HTTP/1.1 307 T\r\nlocation: http://127.0.0.2:9/\r\ncontent-length: 0\r\n\r\n",
    "gzip": whole(gzip.compress(b"0" * 50_000_000, 1), content_encoding="gzip", **spoken.JSON),
    "brotli": whole(b"\x1b\0", content_encoding="br", **spoken.JSON),
    "a web page": whole(b"<html>tell-tale</html>", content_type="text/html"),
    "no JSON": whole(b"tell-tale", **spoken.JSON),
    "a list": whole(b"[1]", **spoken.JSON),
    "nothing": whole(b"", **spoken.JSON),
    "a 204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a document without end": OK + b"transfer-encoding: chunked\r\n\r\n" + (b"100000\r\n" + b" " * (1 << 20) + b"\r\n") * 33,
}  # fmt: skip


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("hostile", HOSTILE)
async def test_an_answer_that_is_none_is_a_502_and_harms_nobody_else(surface, hostile):
    played: list[Step] = [HOSTILE[hostile], Cut()]

    async def script(reader, writer, request):
        if b"be evil" in request.body:
            await play(played, writer)
        else:
            writer.write(spoken.told("openai-chat"))

    async with in_front_of(script) as (front, up):
        answered = await front.ask(surface, said="be evil")
        assert answered.status == 502, answered
        assert b"tell-tale" not in answered.body
        assert not answered.headers.keys() & {"location", "set-cookie", "x-a", "link"}
        seat = front.running.gateway.pool.seat("up")
        assert seat is not None
        seat.clear()
        good = await front.ask(surface, said="be good")
        assert (good.status, good.text) == (200, "Hello")
    assert sum(b"be evil" in one.body for one in up.requests) == 1


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    "extra", [b"surplus", spoken.told("openai-chat", "not yours"), b"\r\n\r\n"]
)
async def test_bytes_behind_an_answer_are_nobodys(surface, extra):
    async def script(reader, writer, request):
        answer = spoken.told("openai-chat", "yours")
        await play([answer + extra, Pause(0.01)], writer)

    async with in_front_of(script) as (front, _):
        for _ in range(3):
            answered = await front.ask(surface)
            assert (answered.status, answered.text) == (200, "yours")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("stream", [False, True])
async def test_cookies_are_neither_kept_nor_passed_on(surface, stream):
    headers = {"set_cookie": "session=tell-tale; Path=/", "x_internal": "tell-tale", **spoken.JSON}
    answer = whole(DOCUMENT, **headers)
    if stream:
        frames = spoken.stream("openai-chat")
        answer = chunked(frames, set_cookie="session=tell-tale", **spoken.EVENTS)
    async with in_front_of([answer]) as (front, up):
        for _ in range(2):
            answered = await front.ask(surface, stream=stream)
            assert answered.status == 200
            assert "tell-tale" not in str(answered.headers)
    assert all("cookie" not in one.headers for one in up.requests)
