"""Every route of the admin API, and everybody who may come: nobody changes anything without the token."""

from __future__ import annotations

import base64

import pytest

from proxy.server.admin import ROUTES
from tests.integration.gateway import KEY, Gateway, config_text, gateway, upstream
from tests.integration.wire import Answered, Wire, request

TOKEN, READ = "t0ken", "r3ad"
CALLS = [
    (method, route.replace("*", "up")) for route, methods in ROUTES.items() for method in methods
]
BASIC = base64.b64encode(f"{TOKEN}:".encode()).decode()
NOBODY: dict[str, list[str]] = {
    "nobody": [],
    "a wrong token": ["authorization: Bearer wrong"],
    "the token and more": [f"authorization: Bearer {TOKEN}x"],
    "the token in capitals": [f"authorization: Bearer {TOKEN.upper()}"],
    "an empty token": ["authorization: Bearer "],
    "no scheme": [f"authorization: {TOKEN}"],
    "another scheme": [f"authorization: Basic {BASIC}"],
    "a client's key": [f"authorization: Bearer {KEY}"],
    "another header": [f"x-api-key: {TOKEN}"],
    "a cookie": [f"cookie: token={TOKEN}; authorization=Bearer {TOKEN}"],
    "two tokens": [f"authorization: Bearer {TOKEN}", f"authorization: Bearer {TOKEN}"],
    "bytes": ["authorization: Bearer t0ken\xff"],
    "who says that he is here": ["x-forwarded-for: 127.0.0.1", "forwarded: for=127.0.0.1", "x-real-ip: 127.0.0.1", "x-original-url: /healthz"],
    "a form of another page": ["content-type: application/x-www-form-urlencoded", "origin: http://evil.example"],
}  # fmt: skip


def administered():
    tables = upstream("http://127.0.0.1:9")
    admin = f'listen = ["127.0.0.1:0"]\ntoken = "{TOKEN}"\nread_token = "{READ}"'
    return gateway(config_text(tables, admin=admin))


async def ask(
    front: Gateway, method: str, path: str, *lines: str, host: str = "127.0.0.1"
) -> Answered:
    wire = front.keep(await Wire.open(front.running.admin_addresses[0]))
    made = request(method, path, b"", host=host)
    more = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
    wire.send(made.replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n", 1))
    return await wire.answer(bodiless=method == "HEAD")


async def state(front: Gateway) -> list[object]:
    """Return what the changes of the API change."""
    paths = ("keys", "teams", "credits", "accounts")
    return [(await front.admin("GET", path)).json for path in paths if path in ROUTES]


@pytest.mark.parametrize("who", NOBODY)
async def test_without_the_token_nothing_is_told_or_changed(who, monkeypatch):
    monkeypatch.setattr("proxy.server.failures.Failures.is_spent", lambda *_: False)
    async with administered() as front:
        before = await state(front)
        for method, route in CALLS:
            for path in (
                route,
                f"{route}?token={TOKEN}&key={TOKEN}&authorization=Bearer%20{TOKEN}",
            ):
                answered = await ask(front, method, f"/api/v1/{path}", *NOBODY[who])
                assert answered.status == 401, (method, path, answered)
                assert answered.headers["www-authenticate"] == "Bearer"
                assert TOKEN.encode() not in answered.body
                assert not [name for name in answered.headers if name.startswith("access-control")]
        assert await state(front) == before


async def test_the_read_token_reads_and_changes_nothing():
    async with administered() as front:
        before = await state(front)
        for method, route in CALLS:
            answered = await ask(front, method, f"/api/v1/{route}", f"authorization: Bearer {READ}")
            if method == "GET":
                # It came through to the handler, which may want more to be said.
                assert answered.status in (200, 400, 404), (route, answered)
            else:
                assert answered.status == 403, (method, route, answered)
        assert await state(front) == before


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8081", "127.0.0.1.evil.example", "localhost.evil.example", "[::1].evil", "127.0.0.2", "0.0.0.0", "2130706433", "LOCALHOST."],
)  # fmt: skip
async def test_a_foreign_host_gets_nothing_with_the_token(host):
    async with administered() as front:
        for method, route in CALLS:
            answered = await ask(
                front, method, f"/api/v1/{route}", f"authorization: Bearer {TOKEN}", host=host
            )
            assert answered.status == 403, (route, host, answered)
        for path in ("/metrics", "/healthz", "/"):
            assert (await ask(front, "GET", path, host=host)).status == 403


async def test_odd_methods_change_nothing():
    async with administered() as front:
        before = await state(front)
        for method in ("PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "GETT"):
            for _, route in CALLS:
                answered = await ask(
                    front, method, f"/api/v1/{route}", f"authorization: Bearer {READ}"
                )
                assert answered.status in (400, 403, 405), (method, route, answered)
        assert await state(front) == before
