"""Valid requests, and what becomes of them when bytes are changed at random."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.integration.gateway import BEARER, KEY, body_of
from tests.integration.wire import encoded, request

Mutation = Callable[[random.Random, bytes], bytes]

_LINES = (
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding:\tchunked", b"Content-Length: 0", b"Content-Length: 5",
    b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length: 99999999999999999999", b"Content-Length: -1",
    b"Host: a/b", b"Host: \xff", b"Connection: close", b"Connection: upgrade", b"Connection: x-forwarded-for, close",
    b"Upgrade: websocket", b"Upgrade: h2c", b"Expect: 100-continue", b"Expect: a miracle", b"Content-Encoding: gzip",
    b"Content-Encoding: \xff", b"Authorization: Bearer \xff\xfe", b"Authorization: Basic ////", b"x-api-key: \x80",
    b"Cookie: a=b; a=c", b"X-Forwarded-For: ::::", b"traceparent: 00-zz", b"x-request-id: \x7f\x80", b" folded: a",
    b"nocolon", b": noname", b"X-Nul: a\0b", b"X-Long: " + b"a" * 8100, b"Origin: null", b"anthropic-version: \xe2\x82",
    b"Accept: text/html", b"X-Stainless-Timeout: 1e999",
)  # fmt: skip
_PIECES = (
    b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b" ", b"\t", b":", b";", b"%00", b"%", b"?", b"#", b"..", b"//", b"\\",
    b'"', b"{", b"[", b"}", b"]", b",", b"null", b"true", b"-1", b"1e999", b"NaN", b"\xff", b"\xed\xa0\x80", b"\\ud800",
    b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"HTTP/1.1", b"HTTP/2.0", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
)  # fmt: skip
_TARGETS = (
    b"*", b"/", b"", b"http://elsewhere/v1/models", b"https://u:p@elsewhere:0/", b"//v1/models", b"/v1/../v1/models",
    b"/v1/models/%2e%2e", b"/v1/models/%ff", b"/v1/models?key=%ff&key=", b"/v1/usage?start=9999-99-99&end=%00",
    b"/v1/usage/requests?limit=99999999999999999999", b"/v1/usage/req_%00", b"/healthz#a", b"/\xff", b"/" + b"a" * 8000,
    b"/v1/messages/count_tokens", b"/v1/responses", b"/v1/chat/completions?" + b"&" * 4000, b"/v1beta/models/m:x",
)  # fmt: skip
_METHODS = (
    b"GET",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"PATCH",
    b"PRI",
    b"post",
    b"X" * 40,
)


def valid() -> list[bytes]:
    """Return requests with which nothing is wrong: every endpoint, and every framing of a body."""
    posts = []
    for surface, path in (("chat", "/v1/chat/completions"), ("messages", "/v1/messages")):
        for stream in (False, True):
            body = encoded(body_of(surface, stream=stream))
            posts.append(request("POST", path, body, authorization=BEARER))
            posts.append(_chunked(request("POST", path, body, x_api_key=KEY), body))
    said = encoded({"model": "up/m", "input": "Hi"})
    posts.append(request("POST", "/v1/responses", said, authorization=BEARER))
    count = encoded(body_of("messages"))
    posts.append(request("POST", "/v1/messages/count_tokens", count, authorization=BEARER))
    gets = (
        "/v1/models",
        "/v1/models/up/m",
        "/v1/usage",
        "/v1/usage/requests",
        "/v1/key",
        "/",
        "/healthz",
        "/readyz",
    )
    posts += [request("GET", path, authorization=BEARER) for path in gets]
    posts.append(request("OPTIONS", "/v1/messages", origin="http://a.test"))
    return posts


def mutated(rng: random.Random, one: bytes) -> bytes:
    """Return ``one`` after one to four changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        one = rng.choice(_MUTATIONS)(rng, one)
    return one


def _chunked(one: bytes, body: bytes) -> bytes:
    head = one.partition(b"\r\n\r\n")[0].replace(
        b"content-length: %d" % len(body), b"transfer-encoding: chunked"
    )
    half = len(body) // 2
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    return head + b"\r\n\r\n" + framed + b"0\r\n\r\n"


def _flip(rng: random.Random, one: bytes) -> bytes:
    at = rng.randrange(len(one) or 1)
    return one[:at] + bytes([rng.randrange(256)]) + one[at + 1 :]


def _insert(rng: random.Random, one: bytes) -> bytes:
    at = rng.randrange(len(one) + 1)
    return one[:at] + rng.choice(_PIECES) + one[at:]


def _drop(rng: random.Random, one: bytes) -> bytes:
    at = rng.randrange(len(one) + 1)
    return one[:at] + one[at + rng.randrange(1, 40) :]


def _double(rng: random.Random, one: bytes) -> bytes:
    at = rng.randrange(len(one) + 1)
    end = at + rng.randrange(1, 60)
    return one[:end] + one[at:]


def _cut(rng: random.Random, one: bytes) -> bytes:
    return one[: rng.randrange(len(one) + 1)]


def _line(rng: random.Random, one: bytes) -> bytes:
    first, _, rest = one.partition(b"\r\n")
    return first + b"\r\n" + rng.choice(_LINES) + b"\r\n" + rest


def _without_line(rng: random.Random, one: bytes) -> bytes:
    head, end, rest = one.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if len(lines) > 1:
        del lines[rng.randrange(1, len(lines))]
    return b"\r\n".join(lines) + end + rest


def _target(rng: random.Random, one: bytes) -> bytes:
    parts = one.split(b" ", 2)
    return b" ".join([parts[0], rng.choice(_TARGETS), *parts[2:]])


def _method(rng: random.Random, one: bytes) -> bytes:
    return rng.choice(_METHODS) + b" " + one.partition(b" ")[2]


def _behind(rng: random.Random, one: bytes) -> bytes:
    return one + rng.choice(
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n\r\n", b"\0" * 100, one)
    )


_MUTATIONS: tuple[Mutation, ...] = (
    _flip, _flip, _insert, _insert, _drop, _double, _cut, _line, _line, _without_line, _target, _method, _behind,
)  # fmt: skip
