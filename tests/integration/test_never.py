"""What never happens, a sentence a test. Each has more beside it where the machinery is: kills in ``tests/chaos/test_kill.py``,
deploys in ``test_drain.py``, labels in ``test_metrics.py``; that nothing crosses from one key to another is
``tests/chaos/test_tenants.py``.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from tests.integration import spoken
from tests.integration.gateway import (
    DIALECTS,
    KEY,
    OTHER_KEY,
    PATHS,
    SECRET,
    account,
    body_of,
    config_text,
    gateway,
    in_front_of,
    upstream,
)
from tests.integration.scripted import Cut, Scripted, settled, whole
from tests.integration.wire import Wire, request

SURFACES = ("chat", "messages")
ADMIN = 'listen = ["127.0.0.1:0"]'


async def everything_kept(front, directory) -> str:
    """Return all that an operator can come to see: the log, the metrics, the admin API, and every file of the state."""
    wire = front.keep(await Wire.open(front.running.admin_addresses[0]))
    wire.send(request("GET", "/metrics", host="localhost"))
    page = (await wire.answer()).body.decode()
    paths = ("accounts", "accounts/up", "requests?in_flight=true", "status")
    shown = [(await front.admin("GET", path)).body.decode() for path in paths]
    files = [
        path.read_bytes().decode("latin-1")
        for path in (directory / "state").rglob("*")
        if path.is_file()
    ]
    return "\n".join([json.dumps(front.lines), page, *shown, *files])


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_no_prompt_completion_or_key_is_in_a_log_a_metric_the_database_or_the_admin_api(
    dialect, tmp_path
):
    asked, said = "a-prompt-canary", "a-completion-canary"

    async def script(reader, writer, request):
        streams = b'"stream":true' in request.body.replace(b" ", b"") or "stream" in request.target
        if b"please fail" in request.body:
            writer.write(whole(b"no", "500 No"))
        else:
            writer.write((spoken.streamed if streams else spoken.told)(dialect, said))

    async with (
        Scripted(script) as up,
        gateway(config_text(upstream(up.url, dialect), admin=ADMIN), directory=tmp_path) as front,
    ):
        for surface in SURFACES:
            for stream in (False, True):
                answered = await front.ask(surface, said=asked, stream=stream, user=asked)
                assert (answered.status, answered.text) == (200, said)
                kept_as = f"/v1/usage/{answered.headers['x-request-id']}"
                assert (await front.get(kept_as)).status == 200
            assert (await front.ask(surface, said=asked, model=f"no/{surface}")).status == 404
            assert (await front.ask(surface, said=f"{asked}: please fail")).status == 502
        await front.requests(8)
        kept = await everything_kept(front, tmp_path)
    assert "tester" in kept
    for secret in (asked, said, KEY, OTHER_KEY, SECRET):
        assert secret not in kept


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (f"/v1/models/{KEY}", "/v1/models/{id}"),
        (f"/v1beta/models/{KEY}:countTokens", "/v1beta/models/{id}:countTokens"),
        (f"/v1/usage/{KEY}", "/v1/usage/{id}"),
        (f"/v1/{KEY}/models", "/v1/…/models"),
        ("/v1/v1/chat/completions", "/v1/v1/chat/completions"),
        ("/a" * 100, "/a" * 50),
    ],
)
async def test_no_key_that_strayed_into_a_path_is_in_the_log(path, route):
    async with in_front_of([]) as (front, _):
        await front.get(path)
        (line,) = await front.requests(1)
        assert line["route"] == route
        assert KEY not in json.dumps(front.lines)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("status", ["401 No", "402 No", "403 No", "429 No", "500 No", "503 No"])
async def test_no_upstream_credential_cookie_or_word_about_our_account_is_at_a_client(
    surface, status
):
    body = json.dumps({"error": {"message": f"tell-tale org of {SECRET}"}}).encode()
    refusal = whole(body, status, set_cookie="tell-tale=1", x_org="tell-tale", **spoken.JSON)
    async with in_front_of([refusal]) as (front, _):
        answered = await front.ask(surface)
    assert answered.status in (429, 502, 503)
    assert "tell-tale" not in str(answered)
    assert SECRET not in str(answered)


ELSEWHERE = "http://127.0.0.1:{port}/x"


def wishes(url: str) -> dict[str, object]:
    """Return the fields by which gateways have been made to call somebody else."""
    return {
        "api_base": url, "base_url": url, "api_url": url, "endpoint": url, "custom_host": url, "proxy": url,
        "user_config": {"api_base": url}, "extra_headers": {"host": url}, "callback_url": url, "webhook": url,
        "mcp_servers": [{"type": "url", "url": url, "name": "x"}],
    }  # fmt: skip


CONTENTS = {
    "chat": lambda url: [
        {"type": "text", "text": url},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "file", "file": {"file_data": url}},
    ],
    "messages": lambda url: [
        {"type": "text", "text": url},
        {"type": "image", "source": {"type": "url", "url": url}},
        {"type": "document", "source": {"type": "url", "url": url}},
    ],
}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_no_url_is_fetched_because_a_request_named_it(surface, dialect):
    async with (
        Scripted([spoken.told(dialect)]) as elsewhere,
        in_front_of([spoken.told(dialect)], dialect) as (front, up),
    ):
        url = ELSEWHERE.format(port=elsewhere.port)
        headers = {
            "x_portkey_custom_host": url, "x_forwarded_host": url, "helicone_target_url": url, "x_base_url": url,
            "proxy": url, "forwarded": f"host={url}", "referer": url, "origin": url, "x_original_url": url,
        }  # fmt: skip
        for content in CONTENTS[surface](url):
            body = {**body_of(surface), "messages": [{"role": "user", "content": [content]}]}
            await front.post(PATHS[surface], body, **headers)
        answered = await front.post(PATHS[surface], {**body_of(surface), **wishes(url)}, **headers)
        assert answered.status in (200, 400)
        await front.post(f"http://127.0.0.1:{elsewhere.port}{PATHS[surface]}", body_of(surface))
        wire = await front.wire()
        host = f"127.0.0.1:{elsewhere.port}"
        told = await wire.post(
            PATHS[surface], body_of(surface), host=host, authorization=f"Bearer {KEY}"
        )
        assert told.status == 200
        await asyncio.sleep(0.05)
    assert elsewhere.connections == 0
    assert all(one.headers["host"] == f"127.0.0.1:{up.port}" for one in up.requests)
    assert up.requests


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
async def test_no_host_is_called_that_is_not_in_the_configuration(status, monkeypatch):
    async with Scripted([spoken.told("openai-chat")]) as elsewhere:
        for name in (
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
        ):
            monkeypatch.setenv(name, elsewhere.url)
        moved = whole(b"", status, location=elsewhere.url, refresh=f"0; {elsewhere.url}")
        async with in_front_of([moved]) as (front, up):
            assert (await front.chat()).status == 502
        assert elsewhere.connections == 0
        assert len(up.requests) == 1


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_no_call_is_tried_again_after_content_has_reached_the_client(surface, dialect):
    begun = spoken.HEAD + spoken.chunk(spoken.metadata(dialect) + spoken.text(dialect, "Good"))
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(Scripted([begun, Cut()]))
        tables = upstream(up.url, dialect) + account("spare", "up")
        front = await stack.enter_async_context(gateway(config_text(tables)))
        answered = await front.ask(surface, stream=True)
        await front.last()
    assert (answered.status, answered.text) == (200, "Good")
    assert "error" in answered.data[-1]
    assert len(up.requests) == 1


async def test_no_request_is_billed_twice_and_no_accepted_one_is_forgotten():
    turns = iter(range(1000))

    async def script(reader, writer, request):
        if next(turns) % 3 == 0:
            writer.write(whole(b"{}", "500 No"))
        else:
            writer.write(spoken.told("openai-chat"))

    async with Scripted(script) as up:
        tables = upstream(up.url) + account("spare", "up") + account("third", "up")
        cooldown = 'base = "1ms"\nmax_burst = "1ms"\nmax_quota = "1ms"'
        async with gateway(config_text(tables, cooldown=cooldown)) as front:
            answers = [await front.chat() for _ in range(40)]
            await front.requests(40)
            page = (await front.get("/v1/usage/requests?limit=100")).json
            usage = (await front.get("/v1/usage")).json
    ids = [answered.headers["x-request-id"] for answered in answers]
    booked = [one["request_id"] for one in page["data"]]
    assert sorted(booked) == sorted(ids)
    good = sum(answered.status == 200 for answered in answers)
    assert good > 30
    assert usage["total_tokens"] == good * (spoken.INPUT + spoken.CACHED + spoken.OUTPUT)


@pytest.mark.parametrize("count", [-1, -(10**30), 10**30, 1.5, "7", True, None, [], {"a": 1}])
async def test_no_cost_is_negative_or_a_fraction(count):
    document = spoken.document("openai-chat")
    document["usage"] = {"prompt_tokens": count, "completion_tokens": count, "total_tokens": count}
    priced = '[[models]]\nname = "m"\ntargets = ["up/m"]\ncost = { input = 0.1, output = 0.3 }\n'
    async with (
        Scripted([whole(json.dumps(document).encode(), **spoken.JSON)]) as up,
        gateway(config_text(upstream(up.url), priced)) as front,
    ):
        answered = await front.chat("m")
        await front.last()
        row = (await front.get(f"/v1/usage/{answered.headers['x-request-id']}")).json
    assert answered.status == 200
    assert not answered.headers["x-splice-cost-usd"].startswith("-")
    for name in ("cost_micro", "input_tokens", "output_tokens"):
        assert type(row[name]) is int
        assert row[name] >= 0


async def test_no_stream_is_cut_by_a_deploy_within_the_grace_period():
    go_on = asyncio.Event()

    async def script(reader, writer, request):
        said = spoken.metadata("openai-chat") + spoken.text("openai-chat", "Good")
        writer.write(spoken.HEAD + spoken.chunk(said))
        await go_on.wait()
        rest = spoken.more("openai-chat", " day") + spoken.end("openai-chat")
        writer.write(spoken.chunk(rest) + spoken.LAST)

    async with in_front_of(script) as (front, up):
        asked = asyncio.get_running_loop().create_task(front.chat(stream=True))
        await settled(lambda: up.requests)
        stopped = asyncio.get_running_loop().create_task(front.running.drain(20))
        await settled(lambda: front.running.gateway.draining)
        go_on.set()
        answered = await asked
        await stopped
    assert (answered.text, answered.whole, answered.data[-1]) == ("Good day", True, "[DONE]")


async def test_no_name_from_a_request_is_a_label():
    async with (
        Scripted([spoken.told("openai-chat")]) as up,
        gateway(config_text(upstream(up.url), admin=ADMIN)) as front,
    ):
        for number in range(20):
            await front.chat(f"up/canary-{number}")
            await front.messages(f"canary-{number}")
            await front.get(f"/canary-{number}")
        await front.requests(60)
        wire = front.keep(await Wire.open(front.running.admin_addresses[0]))
        wire.send(request("GET", "/metrics", host="localhost"))
        page = (await wire.answer()).body
    assert b"splice_requests_total" in page
    assert b"canary" not in page
