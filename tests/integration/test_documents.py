"""What a caller can read before having a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.gateway import BEARER, config_text, gateway, in_front_of
from tests.integration.wire import Answered, Wire, request

API = Path(__file__).parents[2] / "docs" / "api"
KINDS = {
    "/llms.txt": "text/plain; charset=utf-8",
    "/llms-full.txt": "text/plain; charset=utf-8",
    "/openapi.json": "application/json",
    **{f"/docs/{page.name}": "text/markdown; charset=utf-8" for page in API.glob("*.md")},
}


async def read(
    wire: Wire, path: str, method: str = "GET", host: str = "llm.example:8443"
) -> Answered:
    wire.send(request(method, path, host=host))
    return await wire.answer(bodiless=method == "HEAD")


async def test_every_document_is_open_to_all_and_says_what_it_is():
    async with in_front_of([]) as (front, up):
        wire = await front.wire()
        for path, kind in KINDS.items():
            got = await read(wire, path)
            assert (got.status, got.headers["content-type"]) == (200, kind)
            assert "127.0.0.1:8080" not in got.body.decode()
            told = await read(wire, path, "HEAD")
            assert (told.status, told.body) == (200, b"")
            assert told.headers["content-length"] == str(len(got.body))
            assert (await read(wire, path, "POST")).status == 405
    assert up.requests == []


async def test_documents_name_the_address_that_was_called():
    async with in_front_of([]) as (front, _):
        wire = await front.wire()
        page = (await read(wire, "/docs/chat.md")).body.decode()
        assert "curl -s http://llm.example:8443/v1/chat/completions" in page
        assert (
            "](http://llm.example:8443/docs/chat.md)"
            in (await read(wire, "/llms.txt")).body.decode()
        )
        described = (await read(wire, "/openapi.json")).json
        assert described["servers"] == [{"url": "http://llm.example:8443"}]
        other = await read(wire, "/docs/chat.md", host="[::1]:80")
        assert "curl -s http://[::1]:80/v1/chat/completions" in other.body.decode()


async def test_documents_name_the_public_url_where_there_is_one():
    async with in_front_of([], server='public_url = "https://llm.example.com/ai"') as (front, _):
        wire = await front.wire()
        for path in (*KINDS, "/"):
            text = (await read(wire, path, host="inside:1")).body.decode()
            assert "inside" not in text
            assert "https://llm.example.com/ai" in text


async def test_over_a_unix_socket_without_a_host_there_is_an_address_too(tmp_path):
    listen = f'listen = ["unix:{tmp_path}/front.sock"]'
    async with gateway(config_text(server=listen)) as front:
        assert "http://localhost/v1" in (await read(await front.wire(), "/", host="")).body.decode()


@pytest.mark.parametrize(
    "path",
    [
        "/docs/",
        "/docs",
        "/docs/../README.md",
        "/docs/../../docs/configuration.md",
        "/docs/%2e%2e/configuration.md",
        "/docs/..%2fconfiguration.md",
        "/docs/api/chat.md",
        "/docs/configuration.md",
        "/docs/operations.md",
        "/docs//etc/passwd",
        "/docs/chat.md%00",
        "/docs/chat.md/",
        "/openapi.json/",
        "/handbook/chat.md",
    ],
)  # fmt: skip
async def test_nothing_else_is_a_document(path):
    async with in_front_of([]) as (front, _):
        got = await read(await front.wire(), path)
    assert (got.status, got.error["code"]) == (404, "not_found")


async def test_a_page_that_is_asked_for_with_a_query_or_a_key_is_the_same():
    async with in_front_of([]) as (front, _):
        bare = await front.get("/docs/errors.md", host="a", authorization="")
        assert (
            await front.get("/docs/errors.md?x=1", host="a", authorization=BEARER)
        ).body == bare.body
        assert (
            await front.get("/docs/errors.md", host="a", authorization="Bearer no")
        ).body == bare.body


async def test_what_was_asked_for_is_no_label_of_a_metric():
    async with in_front_of([]) as (front, _):
        await front.get("/docs/secret-name.md")
        assert (await front.last())["route"] == "/docs/{id}"
