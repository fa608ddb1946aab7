"""The demo provider as a server: its pace, its lists, its waits and how it stops."""

import asyncio
import gc

import aiohttp
import pytest

from proxy import demo
from proxy.demo.models import Dialect

BEARER = {"authorization": "Bearer k"}


def chat_body(text, *, stream=False):
    messages = [{"role": "user", "content": text}]
    return {"model": "demo-chat", "messages": messages, "stream": stream}


async def first_content(response):
    """The chunks before the first one with words in it, and that one."""
    async for line in response.content:
        yield line
        if b'"content":"Hello' in line:
            return


def test_the_first_model_is_a_chat_model():
    assert demo.MODELS[0].id == "demo-chat"
    assert demo.MODELS[0].kind == "chat"
    for dialect in Dialect:
        kinds = [model.kind for model in demo.MODELS if model.dialect is dialect]
        assert kinds[0] == "chat"


@pytest.mark.parametrize(
    ("path", "headers", "first"),
    [
        ("/v1/models", BEARER, "demo-chat"),
        ("/v1/models", {"x-api-key": "k", "anthropic-version": "2023-06-01"}, "demo-claude"),
        ("/v1/models", {"x-goog-api-key": "k"}, "models/demo-gemini"),
        ("/v1beta/models", {"x-goog-api-key": "k"}, "models/demo-gemini"),
    ],
)
async def test_models_are_listed_in_the_shape_of_the_caller(http, path, headers, first):
    async with http.get(path, headers=headers) as response:
        listed = await response.json()
    entry = (listed.get("data") or listed.get("models"))[0]
    assert entry.get("id", entry.get("name")) == first
    one = first.removeprefix("models/")
    async with http.get(f"{path}/{one}", headers=headers) as response:
        assert await response.json() == entry
    async with http.get(f"{path}/none", headers=headers) as response:
        assert response.status == 404


async def test_a_page_of_html_comes_with_200(http):
    for stream in (False, True):
        body = chat_body("fail:html", stream=stream)
        async with http.post("/v1/chat/completions", json=body, headers=BEARER) as response:
            assert response.status == 200
            assert response.content_type == "text/html"
            assert (await response.text()).startswith("<!doctype html>")


async def test_a_slow_answer_begins_before_it_has_content(http):
    body = chat_body("slow:50ms", stream=True)
    async with http.post("/v1/chat/completions", json=body, headers=BEARER) as response:
        lines = [line async for line in first_content(response)]
        await response.read()
    assert b'"role":"assistant"' in lines[0]


async def test_a_body_that_is_not_json_is_refused(http):
    async with http.post("/v1/chat/completions", data=b"{", headers=BEARER) as response:
        assert response.status == 400
        assert "could not parse" in (await response.json())["error"]["message"]
    async with http.post("/v1/chat/completions", data=b"[]", headers=BEARER) as response:
        assert response.status == 400


async def test_it_stops_while_a_stream_is_running():
    running = await demo.start(words_per_second=1)
    async with aiohttp.ClientSession() as session:
        url = f"{running.url}/v1/chat/completions"
        response = await session.post(url, json=chat_body("Hi", stream=True), headers=BEARER)
        assert await response.content.readline()
        await asyncio.wait_for(running.close(), 5)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(running.url)
        response.close()


async def test_a_caller_may_leave_in_the_middle(provider):
    async with aiohttp.ClientSession() as session:
        url = f"{provider.url}/v1/chat/completions"
        body = chat_body("long:2000", stream=True)
        response = await session.post(url, json=body, headers=BEARER)
        assert await response.content.readline()
        response.close()
        await asyncio.sleep(0)
        async with session.post(url, json=chat_body("Hi"), headers=BEARER) as again:
            assert again.status == 200
    gc.collect()


async def test_a_taken_port_is_an_error(provider):
    port = int(provider.url.rpartition(":")[2])
    with pytest.raises(OSError, match="address already in use"):
        await demo.start(port=port)
