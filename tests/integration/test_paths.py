"""Where things are, and what is told to whom knocks at the wrong door."""

from __future__ import annotations

import pytest

from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    PATHS,
    body_of,
    config_text,
    gateway,
    in_front_of,
    upstream,
)
from tests.integration.scripted import Scripted
from tests.integration.wire import request


@pytest.mark.parametrize("path", ["/", "/api/hello", "/healthz", "/readyz"])
async def test_head_is_answered_like_get_without_the_body(path):
    async with in_front_of([]) as (front, _):
        wire = await front.wire()
        wire.send(request("HEAD", path))
        answered = await wire.answer(bodiless=True)
        wire.send(request("GET", path))  # the connection goes on
        got = await wire.answer()
    assert (answered.status, got.status) == (200, 200)
    assert int(answered.headers["content-length"]) == len(got.body) > 0


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nowhere", 404), ("/v1/nowhere/x", 404), ("/v1/messages", 405), ("/v1/models", 401)],
)
async def test_head_is_refused_without_a_body_too(path, status):
    async with in_front_of([]) as (front, _):
        wire = await front.wire()
        wire.send(request("HEAD", path))
        answered = await wire.answer(bodiless=True)
        assert answered.status == status
        # A body would be read as the next answer.
        wire.send(request("GET", "/api/hello"))
        assert (await wire.answer()).status == 200


async def test_the_front_page_is_a_few_lines_for_people():
    async with in_front_of([]) as (front, _):
        wire = await front.wire()
        wire.send(request("GET", "/", host="llm.example:8443"))
        answered = await wire.answer()
    lines = answered.body.decode().splitlines()
    assert len(lines) == 8
    for path in ("/v1", "/docs/index.md", "/llms.txt", "/openapi.json"):
        assert f"http://llm.example:8443{path}" in answered.body.decode()
    assert answered.headers["content-type"].startswith("text/plain")


async def test_a_gateway_without_accounts_is_alive_but_not_ready():
    async with gateway(config_text()) as front:
        assert (await front.get("/healthz")).status == 200
        assert (await front.get("/readyz")).status == 503


WRONG = [
    ("/v1/v1/messages", "/v1/messages", "base URL"),
    ("/messages", "/v1/messages", None),
    ("/chat/completions", "/v1/chat/completions", "/v1"),
    ("/v1/v1/chat/completions", "/v1/chat/completions", "base URL"),
    ("//v1/chat/completions", "/v1/chat/completions", None),
    ("/v1/chat/completions/", "/v1/chat/completions", None),
    ("/v1/v1/messages/count_tokens", "/v1/messages/count_tokens", "base URL"),
    ("/messages/count_tokens", "/v1/messages/count_tokens", None),
    ("/api/v1/chat/completions", "/v1/chat/completions", None),
]


@pytest.mark.parametrize(("path", "right", "word"), WRONG)
async def test_a_wrong_base_url_is_a_404_that_names_the_right_path(path, right, word):
    async with in_front_of([spoken.told("openai-chat")]) as (front, up):
        surface = "messages" if "messages" in right else "chat"
        answered = await front.post(path, body_of(surface))
    assert (answered.status, up.requests) == (404, [])
    message = answered.error["message"]
    assert right in message.partition(". ")[2]
    if word:
        assert word in message
    if surface == "messages":
        assert answered.json["type"] == "error"


@pytest.mark.parametrize("path", ["/models", "/v1/v1/models"])
async def test_the_list_of_models_has_a_wrong_address_too(path):
    async with in_front_of([]) as (front, _):
        answered = await front.get(path)
    assert answered.status == 404
    assert "/v1/models" in answered.error["message"].partition(". ")[2]


@pytest.mark.parametrize(
    "path", ["/nowhere", "/v1", "/v1/", "/v1/nothing", "/../etc/passwd", "/%2e%2e/", "/v1/models/"]
)
async def test_what_does_not_exist_is_a_404_in_openais_shape(path):
    async with in_front_of([]) as (front, _):
        answered = await front.get(path)
    assert answered.status == 404
    assert answered.error.keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "TRACE"])
@pytest.mark.parametrize("surface", ["chat", "messages"])
async def test_a_wrong_method_is_a_405_that_names_the_right_one(method, surface):
    async with in_front_of([]) as (front, _):
        answered = await front.get(PATHS[surface], method=method)
    assert (answered.status, answered.headers["allow"]) == (405, "POST, OPTIONS")


async def test_posting_to_a_list_is_a_405():
    async with in_front_of([]) as (front, _):
        answered = await front.post("/v1/models", {})
    assert (answered.status, answered.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


# Browsers.


@pytest.mark.parametrize("surface", ["chat", "messages"])
async def test_a_browsers_preflight_needs_no_key(surface):
    async with in_front_of([], server='cors_origins = ["https://app.example"]') as (front, _):
        wire = await front.wire()
        wire.send(
            request(
                "OPTIONS",
                PATHS[surface],
                origin="https://app.example",
                access_control_request_method="POST",
                access_control_request_headers="authorization, content-type, x-stainless-os",
            )
        )
        answered = await wire.answer()
        wire.send(request("GET", "/healthz"))
        assert (await wire.answer()).status == 200
    assert answered.status == 204
    assert answered.headers["access-control-allow-origin"] == "https://app.example"
    assert "POST" in answered.headers["access-control-allow-methods"]
    assert (
        answered.headers["access-control-allow-headers"]
        == "authorization, content-type, x-stainless-os"
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_a_browser_that_is_allowed_may_read_answers_and_errors(stream):
    answer = spoken.streamed("openai-chat") if stream else spoken.told("openai-chat")
    async with in_front_of([answer], server='cors_origins = ["https://app.example"]') as (front, _):
        fine = await front.post(
            PATHS["chat"], body_of("chat", stream=stream), origin="https://app.example"
        )
        refused = await front.post(PATHS["chat"], b"{", origin="https://app.example")
        stranger = await front.post(
            PATHS["chat"], body_of("chat", stream=stream), origin="https://evil.example"
        )
    assert fine.headers["access-control-allow-origin"] == "https://app.example"
    assert refused.headers["access-control-allow-origin"] == "https://app.example"
    assert (refused.status, fine.headers["vary"].lower()) == (400, "origin")
    assert "access-control-allow-origin" not in stranger.headers


async def test_no_browser_is_allowed_unless_the_operator_says_so():
    async with in_front_of([]) as (front, _):
        wire = await front.wire()
        wire.send(
            request(
                "OPTIONS",
                PATHS["chat"],
                origin="https://app.example",
                access_control_request_method="POST",
            )
        )
        answered = await wire.answer()
    assert answered.status in (200, 204)
    assert "access-control-allow-origin" not in answered.headers


# Names of models, as people spell them.


@pytest.mark.parametrize(
    ("name", "provider", "upstream_model"),
    [
        ("google/gemini-2.5-flash", "gemini", "gemini-2.5-flash"),
        ("gemini-2.5-flash", "gemini", "gemini-2.5-flash"),
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("gpt-4o", "openai", "gpt-4o"),
        ("o9-tomorrow", "openai", "o9-tomorrow"),
        ("claude-sonnet-4-20250514", "anthropic", "claude-sonnet-4-20250514"),
        ("anthropic/claude-sonnet-5-5", "anthropic", "claude-sonnet-5-5"),
    ],
)
@pytest.mark.parametrize("surface", ["chat", "messages"])
async def test_models_are_found_under_the_names_that_people_use(
    name, provider, upstream_model, surface
):
    dialect = {"gemini": "gemini", "openai": "openai-chat", "anthropic": "anthropic"}[provider]
    async with Scripted([spoken.told(dialect)]) as up:
        accounts = "".join(
            f'[[accounts]]\nname = "{one}"\nprovider = "{one}"\napi_key = "x"\nbase_url = "{up.url}"\n'
            for one in ("gemini", "openai", "anthropic")
        )
        async with gateway(config_text(accounts)) as front:
            answered = await front.ask(surface, model=name)
            line = await front.last()
    assert (answered.status, answered.text) == (200, "Hello")
    assert (line["account"], line["upstream_model"]) == (provider, upstream_model)
    (request,) = up.requests
    assert upstream_model in request.target + request.body.decode()


@pytest.mark.parametrize("surface", ["chat", "messages"])
async def test_an_unknown_model_is_a_404_with_the_nearest_names(surface):
    model = '[[models]]\nname = "smart-one"\ntargets = ["up/m"]\n'
    async with gateway(config_text(upstream("http://127.0.0.1:9"), model)) as front:
        answered = await front.ask(surface, model="smart-onee")
    assert answered.status == 404
    assert "`smart-one`" in answered.error["message"]
    if surface == "chat":
        assert (answered.error["code"], answered.error["param"]) == ("model_not_found", "model")


async def test_the_answer_names_the_model_that_was_asked_for():
    model = '[[models]]\nname = "smart"\naliases = ["best"]\ntargets = ["up/m"]\n'
    async with (
        Scripted([spoken.told("anthropic")]) as up,
        gateway(config_text(upstream(up.url, "anthropic"), model)) as front,
    ):
        answered = await front.chat("best")
        line = await front.last()
    assert answered.json["model"] == "best"
    assert (line["model"], line["upstream_model"]) == ("smart", "m")


@pytest.mark.parametrize(
    "name", ["up/vendor/model:free", "up/a b", "up/ü", "up/m?x=1", "up/m#f", "up/%2e"]
)
async def test_a_models_name_stays_a_name_in_a_path(name):
    async with in_front_of([spoken.told("gemini")], "gemini") as (front, up):
        answered = await front.chat(name)
    assert answered.status == 200
    (request,) = up.requests
    assert request.target.count("?") == 0
    assert request.target.endswith(":generateContent")


@pytest.mark.parametrize("name", ["up/../x", "up/..", "up/a/../../b", "gemini-/../x"])
@pytest.mark.parametrize("dialect", ["gemini", "openai-chat"])
async def test_no_name_leads_out_of_the_models_of_an_upstream(name, dialect):
    async with in_front_of([spoken.told(dialect)], dialect) as (front, up):
        answered = await front.chat(name)
    assert (answered.status, up.requests) == (404, [])


async def test_a_models_defaults_and_overrides_reach_the_upstream():
    model = (
        '[[models]]\nname = "set"\ntargets = ["up/m"]\ndefaults = { temperature = 0.25, top_p = 0.5 }\n'
        "override = { seed = 7 }\n"
    )
    async with (
        Scripted([spoken.told("openai-chat")]) as up,
        gateway(config_text(upstream(up.url), model)) as front,
    ):
        await front.chat("set", temperature=1, seed=1)
    body = up.requests[0].body
    assert b'"temperature":1' in body
    assert b'"top_p":0.5' in body
    assert b'"seed":7' in body


async def test_the_bearer_of_a_key_without_access_is_not_told_of_other_models():
    tables = '[[models]]\nname = "secret-one"\ntargets = ["up/m"]\n[[models]]\nname = "open-one"\ntargets = ["up/m"]\n'
    key = '[[keys]]\nname = "limited"\nkey = "sk-limited"\nmodels = ["open-*"]\n'
    async with gateway(config_text(tables, key, upstream("http://127.0.0.1:9"))) as front:
        wire = await front.wire()
        wire.send(request("GET", "/v1/models", x_api_key="sk-limited"))
        listed = await wire.answer()
        answered = await wire.post(
            PATHS["chat"], body_of("chat", "secret-onee"), x_api_key="sk-limited"
        )
        everything = await front.get("/v1/models", authorization=BEARER)
    assert [one["id"] for one in listed.json["data"]] == ["open-one"]
    assert "secret-one`" not in answered.error["message"]
    assert {one["id"] for one in everything.json["data"]} == {"secret-one", "open-one"}
