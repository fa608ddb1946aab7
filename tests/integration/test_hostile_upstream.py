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


@pytest.mark.parametrize(
    ("surface", "stream"), [("chat", False), ("messages", False), ("chat", True)]
)
@pytest.mark.parametrize("hostile", HOSTILE)
async def test_an_answer_that_is_none_is_a_502_and_harms_nobody_else(surface, stream, hostile):
    played: list[Step] = [HOSTILE[hostile], Cut()]

    async def script(reader, writer, request):
        if b"be evil" in request.body:
            await play(played, writer)
        else:
            writer.write(spoken.told("openai-chat"))

    async with in_front_of(script, server=EXPOSED) as (front, up):
        answered = await front.ask(surface, said="be evil", stream=stream)
        assert answered.status == 502, answered
        assert b"tell-tale" not in answered.body
        assert not answered.headers.keys() & {"location", "set-cookie", "x-a", "link"}
        seat = front.running.gateway.pool.seat("up")
        assert seat is not None
        seat.clear()
        good = await front.ask(surface, said="be good")
        assert (good.status, good.text) == (200, "Hello")
    assert sum(b"be evil" in one.body for one in up.requests) == 1


EXPOSED = 'expose = ["account", "upstream_model", "attempts", "upstream_request_id"]'
FIELDS = {
    "a flood of short headers": b"x-a: tell-tale\r\n" * 120,
    "a flood of cookies": b"set-cookie: a=tell-tale; Path=/\r\n" * 120,
    "one long header": b"x-a: " + b"tell-tale" * 6000 + b"\r\n",
    "headers of a connection": b"connection: tell-tale, x-request-id\r\nkeep-alive: timeout=0\r\nproxy-authenticate: tell-tale\r\n",
    "headers for a browser": b"content-security-policy: tell-tale\r\naccess-control-allow-origin: tell-tale\r\n",
    "headers for a proxy": b"x-accel-redirect: /tell-tale\r\nx-sendfile: tell-tale\r\nx-accel-buffering: tell-tale\r\n",
    "a place to go": b"location: http://tell-tale/\r\nrefresh: 0; tell-tale\r\ncontent-location: /tell-tale\r\nalt-svc: tell-tale\r\n",
    "an id that is none": b"x-request-id: \xff\x80 tell-tale; a=\xe2\x80\xa8b\r\n",
    "an id without end": b"x-request-id: " + b"tell-tale" * 500 + b"\r\n",
    "two ids": b"x-request-id: tell, \r\nx-request-id: tale\r\n",
    "waits that are none": b"retry-after: tell-tale\r\nretry-after-ms: -1\r\nx-ratelimit-reset-requests: 1e999s\r\n",
    "limits that are none": b"x-ratelimit-remaining-requests: \xb2\r\nx-ratelimit-remaining-tokens: 9" + b"9" * 5000 + b"\r\n",
    "sixty interim answers": b"",
    "a trailer": b"trailer: set-cookie\r\n",
}  # fmt: skip
_INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </tell-tale>\r\nset-cookie: tell-tale=1\r\n\r\n" * 60


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    "status", [b"200 OK", b"400 tell-tale", b"429 tell-tale", b"503 tell-tale"]
)
@pytest.mark.parametrize("fields", FIELDS)
async def test_no_header_of_an_upstream_reaches_a_client_or_its_next_answer(
    surface, status, fields
):
    """``tell-tale`` stands in everything that is the upstream's alone; of an exposed id what is printable and short is shown."""
    body = DOCUMENT if status.startswith(b"200") else b"{}"
    answer = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%b" % (status, FIELDS[fields])
    if fields == "sixty interim answers":
        answer = _INTERIM + answer
    if fields == "a trailer":
        answer += b"transfer-encoding: chunked\r\n\r\n" + spoken.chunk(body)
        answer += b"0\r\nset-cookie: tell-tale=1\r\nx-a: tell-tale\r\n\r\n"
    else:
        answer += b"content-length: %d\r\n\r\n%b" % (len(body), body)

    async def script(reader, writer, request):
        writer.write(answer if b"be evil" in request.body else spoken.told("openai-chat"))

    async with in_front_of(script, server=EXPOSED) as (front, up):
        answered = await front.ask(surface, said="be evil")
        assert answered.status in (200, 400, 429, 502, 503)
        shown = {
            name: value
            for name, value in answered.headers.items()
            if "upstream-request-id" not in name
        }
        assert "tell-tale" not in str(shown)
        assert all(len(value) < 200 and value.isascii() for value in answered.headers.values())
        assert b"tell-tale" not in answered.body
        seat = front.running.gateway.pool.seat("up")
        assert seat is not None
        seat.clear()
        good = await front.ask(surface, said="be good")
        assert (good.status, good.text) == (200, "Hello")
        assert "tell-tale" not in str(good)
    assert len(up.requests) == 2


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
