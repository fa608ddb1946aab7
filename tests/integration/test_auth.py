"""Whose call it is, in every way in which clients say so."""

from __future__ import annotations

import base64

import pytest

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
from tests.integration.wire import encoded, request

SURFACES = ("chat", "messages")
BASIC = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()


def head(path: str, body: bytes, *lines: bytes) -> bytes:
    """Return a POST with these header lines as they are."""
    fields = b"".join(line + b"\r\n" for line in lines)
    return b"POST %b HTTP/1.1\r\nHost: gateway\r\n%bContent-Length: %d\r\n\r\n%b" % (
        path.encode(), fields, len(body), body,
    )  # fmt: skip


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": BEARER},
        {"authorization": f"bearer   {KEY} "},
        {"authorization": KEY},
        {"authorization": BASIC},
        {"x_api_key": KEY},
        {"x_goog_api_key": KEY},
        {"authorization": BEARER, "x_api_key": KEY},
        {"authorization": BEARER, "x_api_key": "sk-ant-somebody-elses"},
        {"authorization": "Bearer sk-somebody-elses", "x_api_key": KEY},
        {"authorization": "", "x_api_key": KEY},
        {"authorization": "Digest x=1", "x_api_key": KEY},
    ],
    ids=str,
)
async def test_a_key_is_taken_wherever_clients_put_it(surface, headers):
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        wire = await front.wire()
        answered = await wire.post(PATHS[surface], body_of(surface), **headers)
        assert answered.status == 200
        assert (await front.last())["key"] == "tester"


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_key_in_the_query_is_taken_and_not_logged(surface):
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        wire = await front.wire()
        answered = await wire.post(f"{PATHS[surface]}?beta=true&key={KEY}", body_of(surface))
        assert answered.status == 200
        await front.last()
        assert KEY not in str(front.lines)
        assert KEY not in up.requests[0].target


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"Authorization: Bearer sk-wrong"],
        [b"Authorization: Bearer "],
        [b"Authorization: Bearer \xff"],
        [b"Authorization: \xff\xfe"],
        [b"x-api-key: \xc3\x28"],
        [b"Authorization: Basic !!!"],
        [b"Authorization: Basic //8="],
        [b"Authorization: Basic " + b"A" * 4000],
        [b"x-api-key: " + b"k" * 5000],
        [b"Cookie: key=" + KEY.encode()],
    ],
    ids=lambda lines: str(lines)[:40],
)
async def test_no_key_of_ours_is_a_401_in_the_callers_dialect(surface, lines):
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        wire = await front.wire()
        wire.send(head(PATHS[surface], encoded(body_of(surface)), *lines))
        answered = await wire.answer()
        line = await front.last()
    assert answered.status == 401
    assert up.requests == []
    assert line["error_type"] == "unauthorized"
    if surface == "chat":
        assert answered.error.keys() == {"message", "type", "param", "code"}
        assert (answered.error["type"], answered.error["code"]) == (
            "invalid_request_error",
            "invalid_api_key",
        )
    else:
        assert answered.json["type"] == "error"
        assert answered.error["type"] == "authentication_error"
        assert answered.json["request_id"] == answered.headers["request-id"]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "x-goog-api-key"])
async def test_one_header_twice_with_different_values_is_a_401(surface, name):
    scheme = "Bearer " if name == "Authorization" else ""
    lines = [f"{name}: {scheme}{key}".encode() for key in (KEY, "sk-other")]
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        wire = await front.wire()
        wire.send(head(PATHS[surface], encoded(body_of(surface)), *lines))
        answered = await wire.answer()
    assert (answered.status, up.requests) == (401, [])
    assert name.lower() in answered.error["message"].lower()
    assert "twice" in answered.error["message"]


async def test_one_header_twice_with_one_value_is_fine():
    lines = [f"Authorization: {BEARER}".encode()] * 2
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        wire = await front.wire()
        wire.send(head(PATHS["chat"], encoded(body_of("chat")), *lines))
        assert (await wire.answer()).status == 200


@pytest.mark.parametrize("surface", SURFACES)
async def test_two_keys_of_ours_are_a_401_that_names_both_places(surface):
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        wire = await front.wire()
        answered = await wire.post(
            PATHS[surface], body_of(surface), authorization=BEARER, x_api_key=OTHER_KEY
        )
    assert (answered.status, up.requests) == (401, [])
    message = answered.error["message"]
    assert "authorization" in message
    assert "x-api-key" in message
    assert KEY not in message


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ("enabled = false", 403, "key_disabled"),
        ('expires = "2020-01-01"', 403, "key_expired"),
        ('expires = "2100-01-01"', 200, None),
        ('allow_ip = ["10.0.0.0/8"]', 403, "address_not_allowed"),
        ('allow_ip = ["127.0.0.0/8"]', 200, None),
        ('models = ["other/*"]', 403, "model_not_allowed"),
        ('models = ["up/*"]', 200, None),
        ('models = ["m"]', 403, "model_not_allowed"),
    ],
)
async def test_what_a_key_may_not_do_is_a_403_that_says_which(options, status, code):
    key = "sk-limited"
    async with in_front_of([spoken.told("openai-chat")]) as (_, up):
        tables = f'[[keys]]\nname = "limited"\nkey = "{key}"\n{options}\n'
        text = config_text(tables, _upstream(up))
        async with gateway(text) as front:
            wire = await front.wire()
            answered = await wire.post(
                PATHS["chat"], body_of("chat"), authorization=f"Bearer {key}"
            )
    assert answered.status == status
    if code is not None:
        assert answered.error["code"] == code


async def test_a_forwarded_address_counts_only_from_a_trusted_proxy():
    key = 'key = "sk-limited"\nallow_ip = ["10.0.0.0/8"]\n'
    async with in_front_of([spoken.told("openai-chat")]) as (_, up):
        for trusted, status in (("", 403), ('trusted_proxies = ["127.0.0.1/32"]', 200)):
            text = config_text(f'[[keys]]\nname = "limited"\n{key}', _upstream(up), server=trusted)
            async with gateway(text) as front:
                wire = await front.wire()
                answered = await wire.post(
                    PATHS["chat"],
                    body_of("chat"),
                    x_api_key="sk-limited",
                    x_forwarded_for="1.1.1.1, 10.1.2.3",
                )
            assert answered.status == status


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/api/hello"])
async def test_some_pages_need_no_key(path):
    async with in_front_of([]) as (front, _):
        wire = await front.wire()
        wire.send(request("GET", path))
        assert (await wire.answer()).status == 200


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/up/m"])
async def test_lists_need_one(path):
    async with in_front_of([]) as (front, _):
        wire = await front.wire()
        wire.send(request("GET", path))
        answered = await wire.answer()
        assert answered.status == 401
        assert (await front.get(path)).status == 200


def _upstream(up) -> str:
    return f"""
[providers.up]
dialects = ["openai-chat"]
base_url = "{up.url}"
auth = "bearer"
[[accounts]]
name = "up"
provider = "up"
api_key = "x"
"""
