"""Naughty strings wherever a string goes: what goes through comes back as it was, and logs, metrics, books and tables stay whole."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any
from urllib.parse import quote

import pytest

from proxy.server.routes import template
from tests.chaos.amount import FIGURES
from tests.chaos.everywhere import PROVIDERS, ROUTES, everywhere
from tests.chaos.four import leaks
from tests.chaos.strings import NAUGHTY, SURROGATES
from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    KEY,
    Gateway,
    config_text,
    gateway,
    upstream,
)
from tests.integration.scripted import Request, Scripted, settled, whole
from tests.integration.wire import Wire, request

ADMIN = 'listen = ["127.0.0.1:0"]'
CALLS = {template(route.path("m").partition("?")[0]) for route in ROUTES}
SERIES = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_]+="[^"\\\n]*",?)*\})? \S+')
"""One line of the metrics, with labels in which nothing had to be escaped."""


async def page_of(front: Gateway) -> str:
    wire = front.keep(await Wire.open(front.running.admin_addresses[0]))
    wire.send(request("GET", "/metrics", host="localhost"))
    return (await wire.answer()).body.decode()


async def everything_is_whole(front: Gateway, calls: int) -> None:
    """Assert that each call is one line of the log and none is in quarantine, and that the metrics can be read."""
    await settled(lambda: not leaks(front))
    ended = [line for line in front.lines if line.get("route") in CALLS]
    assert len(ended) == calls
    page = await page_of(front)
    for line in page.splitlines():
        assert line.startswith("# ") or SERIES.fullmatch(line), line
    await front.running.gateway.books.book()
    assert not [line for line in front.lines if line["level"] == "error"]


# Prompts, and what tools are called and say.

_SAID = {
    "openai-chat": lambda body: body["messages"][-1]["content"],
    "anthropic": lambda body: body["messages"][-1]["content"],
    "openai-responses": lambda body: body["input"][-1]["content"] if isinstance(body["input"], list) else body["input"],
    "gemini": lambda body: body["contents"][-1]["parts"],
}  # fmt: skip


def words(said: Any) -> str:
    return said if isinstance(said, str) else "".join(part["text"] for part in said)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("dialect", PROVIDERS.values())
async def test_a_prompt_goes_there_and_an_answer_comes_back_as_they_were(dialect):
    async def echo(reader, writer, asked: Request) -> None:
        said = words(_SAID[dialect](json.loads(asked.body)))
        streams = b'"stream":true' in asked.body.replace(b" ", b"") or "stream" in asked.target
        writer.write((spoken.streamed if streams else spoken.told)(dialect, said))

    asked = 0
    async with (
        Scripted(echo) as up,
        gateway(config_text(upstream(up.url, dialect), admin=ADMIN)) as front,
    ):
        for name, said in NAUGHTY.items():
            for surface in ("chat", "messages"):
                for stream in (False, True):
                    # Anthropic takes no empty text, so what is nothing stands between two letters.
                    wanted = f"<{said}>"
                    answered = await front.ask(surface, said=wanted, stream=stream)
                    asked += 1
                    assert (answered.status, answered.text) == (200, wanted), (name, surface)
        await everything_is_whole(front, asked)
    FIGURES.append(f"strings through {dialect}: {asked} prompts and answers, all as they were")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_names_and_ids_of_tools_come_back_as_they_were(provider):
    """Providers take few characters in them; what they would refuse goes under another name and comes back under its own."""
    dialect = PROVIDERS[provider]

    async def call_back(reader, writer, asked: Request) -> None:
        body = json.loads(asked.body)
        writer.write(whole(json.dumps(_calling(dialect, body)).encode(), **spoken.JSON))

    tried = 0
    async with (
        Scripted(call_back) as up,
        gateway(config_text(upstream(up.url, dialect), admin=ADMIN)) as front,
    ):
        for name, said in NAUGHTY.items():
            call = {
                "id": f"call_{said}",
                "type": "function",
                "function": {"name": f"f{said}", "arguments": json.dumps({"a": said})},
            }
            turns = [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": f"call_{said}", "content": f"<{said}>"},
            ]
            tools = [
                {
                    "type": "function",
                    "function": {"name": f"f{said}", "parameters": {"type": "object"}},
                }
            ]
            answered = await front.chat(messages=turns, tools=tools)
            tried += 1
            assert answered.status in (200, 400), (name, answered)
            if answered.status == 400:
                assert answered.error["param"], name
                continue
            (made,) = answered.json["choices"][0]["message"]["tool_calls"]
            assert made["function"]["name"] == f"f{said}", name
        await everything_is_whole(front, tried)


def _calling(dialect: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return an answer that calls the tool that was offered."""
    document = spoken.document(dialect)
    match dialect:
        case "openai-chat":
            name = asked["tools"][0]["function"]["name"]
            call = {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}
            document["choices"][0]["message"]["tool_calls"] = [call]
            document["choices"][0]["finish_reason"] = "tool_calls"
        case "anthropic":
            block = {"type": "tool_use", "id": "c", "name": asked["tools"][0]["name"], "input": {}}
            document["content"] = [block]
            document["stop_reason"] = "tool_use"
        case "openai-responses":
            call = {
                "type": "function_call",
                "call_id": "c",
                "id": "fc",
                "name": asked["tools"][0]["name"],
                "arguments": "{}",
                "status": "completed",
            }
            document["output"] = [call]
        case _:
            name = asked["tools"][0]["functionDeclarations"][0]["name"]
            document["candidates"][0]["content"]["parts"] = [
                {"functionCall": {"name": name, "args": {}}}
            ]
    return document


# Where a string is a name, or nobody's business.


@pytest.mark.timeout(120)
async def test_models_users_headers_and_paths_are_taken_as_they_are_or_refused():
    asked = got = 0
    seen: dict[int, int] = {}
    async with everywhere(admin=ADMIN) as (front, up):
        wire = await front.wire()

        async def ask(path: str, body: Any, **headers: str) -> Any:
            nonlocal asked
            answered = await wire.post(path, body, authorization=BEARER, **headers)
            asked += 1
            assert answered.status < 500, (path[:100], body, answered)
            seen[answered.status] = seen.get(answered.status, 0) + 1
            return answered

        for name, said in NAUGHTY.items():
            for route in ROUTES:
                before = len(up.requests)
                # In the body, or in the path where the model stands there.
                model = f"{route.native}/{said}"
                path = route.path(quote(model[:500], safe=""))
                answered = await ask(
                    path, {**route.body(model, "Hi"), "user": said, "metadata": {"user_id": said}}
                )
                # Nothing that a name could climb up a path with, either.
                named = (
                    len(model) <= 256 and model.isprintable() and bool(said) and "../" not in said
                )
                wanted = (200,) if named else (400, 404)
                assert answered.status in wanted, (name, route.name, answered)
                if answered.status == 200 and route.native != "g":
                    assert json.loads(up.requests[-1].body)["model"] == said, name
                assert len(up.requests) - before == (answered.status == 200)
            # Where the head of a request is text of its own.
            line = quote(said[:2000], safe="")
            for path in (
                f"/v1/models/{line}",
                f"/v1/usage/{line}",
                f"/v1beta/models/{line}",
                f"/{line}",
                f"/v1/usage?start={line}",
                f"/v1/usage/requests?before={line}&limit={line}",
            ):
                wire.send(request("GET", path, authorization=BEARER))
                answered = await wire.answer()
                if answered.headers.get("connection") == "close":
                    # A target of more than 8 KiB is refused before it is anybody's request.
                    wire = await front.wire()
                    continue
                got += 1
                assert answered.status in (200, 400, 404), (path[:100], answered)
            shown = said.encode()[:4000].translate(None, bytes([*range(32), 127])).decode("latin-1")
            await ask(
                "/v1/chat/completions", ROUTES[0].body("c/m", "Hi"), x_request_id=shown, user_agent=shown, x_session_id=shown,
                traceparent=shown, referer=shown, x_stainless_lang=shown, anthropic_beta=shown, openai_organization=shown,
            )  # fmt: skip
        await everything_is_whole(front, asked)
        page = await page_of(front)
        for label in re.findall(r'model="([^"]*)"', page):
            assert label in ("", "c/m", "other", "none", "_other"), label
        usage = (await front.get("/v1/usage")).json
        assert usage["total_tokens"] > 0
    FIGURES.append(
        f"strings as models, users, headers and paths: {asked} calls, {dict(sorted(seen.items()))}; {got} other requests; 0 of 5xx"
    )


@pytest.mark.parametrize("text", SURROGATES.values(), ids=SURROGATES)
async def test_half_of_a_pair_is_no_text(text):
    async with everywhere() as (front, up):
        for route in ROUTES:
            body = json.dumps(route.body(f"{route.native}/m", "Hi"))[:-1] + f',"x":{text}}}'
            answered = await front.post(route.path(f"{route.native}%2Fm"), body.encode())
            assert answered.status == 400
            assert "line 1 column" in answered.error["message"]
        assert up.requests == []


# What an operator names.


async def test_keys_teams_and_notes_are_named_or_refused_and_shown_as_they_are(tmp_path):
    """Names are few characters; a note is a line of anything."""
    made: list[str] = []
    noted: list[str] = []
    async with gateway(config_text(admin=ADMIN), directory=tmp_path) as front:
        for name, said in NAUGHTY.items():
            for noun in ("keys", "teams"):
                answered = await _admin(front, "POST", noun, {"name": said})
                assert answered.status in (200, 201, 400, 413), (name, answered)
                if answered.status < 400:
                    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", said), name
                    if noun == "keys":
                        made.append(said)
                for path in (
                    f"{noun}/{quote(said[:500], safe='')}",
                    f"credits/{quote(said[:500], safe='')}",
                ):
                    assert (await _admin(front, "GET", path)).status in (200, 400, 404), (
                        name,
                        path,
                    )
            given = {"wallet": "tester", "amount_usd": "1", "note": said}
            answered = await _admin(front, "POST", "credits", given)
            assert answered.status in (200, 201, 400, 413), (name, answered)
            if answered.status < 400:
                noted.append(said)
        listed = (await _admin(front, "GET", "keys?limit=1000")).json
        assert {one["name"] for one in listed["data"]} >= set(made)
        kept = (await _admin(front, "GET", "credits?wallet=key:tester&limit=1000")).json
        assert [one["note"] for one in kept["data"]] in (noted, noted[::-1])
        assert not [line for line in front.lines if line["level"] == "error"]
    assert made
    assert len(noted) > len(NAUGHTY) // 2
    FIGURES.append(
        f"strings as names by the admin API: {len(made)} of {len(NAUGHTY)} are names, {len(noted)} are notes, kept as they were"
    )


async def _admin(front: Gateway, method: str, path: str, body: object = None) -> Any:
    wire = front.keep(await Wire.open(front.socket))
    data = b"" if body is None else json.dumps(body).encode()
    wire.send(request(method, f"/api/v1/{path}", data, host=""))
    return await wire.answer()


def test_no_cell_of_a_spreadsheet_is_a_formula(capsys):
    from proxy.cli.ledger import print_csv  # noqa: PLC0415 - the one thing of the commands that is tried here

    print_csv(("model", "note"), [{"model": said, "note": -1} for said in NAUGHTY.values()])
    head, *rows = csv.reader(io.StringIO(capsys.readouterr().out, newline=""))
    assert head == ["model", "note"]
    assert len(rows) == len(NAUGHTY)
    for said, (cell, number) in zip(NAUGHTY.values(), rows, strict=True):
        assert cell in (said, f"'{said}")
        assert said == "-0" or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
        assert number == "-1"
    assert KEY not in str(rows)
