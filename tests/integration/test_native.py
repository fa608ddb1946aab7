"""A provider's own paths behind its name: the bytes of both sides are untouched, and a key sees what it made and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import random
from typing import Any

import openai
import pytest
import pytest_asyncio

from proxy.server import routes
from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    KEY,
    OTHER_KEY,
    chat_body,
    config_text,
    gateway,
    in_front_of,
    messages_body,
    upstream,
)
from tests.integration.scripted import whole
from tests.integration.sdk import Anthropic, Google, OpenAI, demo_gateway
from tests.integration.warehouse import warehouse
from tests.integration.wire import Wire, request

# The SDK's own way of using aiohttp.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")

BODIES = int(os.environ.get("SPLICE_NATIVE_BODIES", "300"))
"""Bodies that are hashed on both sides; ``make chaos`` sends 10,000."""
CALLS: dict[str, tuple[str, Any]] = {
    "openai-chat": ("/up/v1/chat/completions", chat_body("m")),
    "openai-responses": ("/up/v1/responses", {"model": "m", "input": "Hi"}),
    "anthropic": ("/up/v1/messages", messages_body("m")),
    "gemini": (
        "/up/v1beta/models/m:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
    ),
}
USED = (spoken.INPUT, spoken.CACHED, spoken.OUTPUT)


def used(line: dict[str, Any]) -> tuple[int, int, int]:
    return line["input_tokens"], line["cache_read_tokens"], line["output_tokens"]


@pytest.mark.parametrize("dialect", CALLS)
async def test_a_document_of_each_dialect_is_untouched_and_metered(dialect):
    path, body = CALLS[dialect]
    raw = json.dumps(body, indent=3).encode()
    answer = json.dumps(spoken.document(dialect), indent=1).encode()
    async with in_front_of([whole(answer, **spoken.JSON)], dialect) as (front, up):
        answered = await front.post(path, raw)
        line = await front.last()
    assert (answered.status, answered.body) == (200, answer)
    assert up.requests[0].body == raw
    assert up.requests[0].target == path.removeprefix("/up")
    assert used(line) == USED
    assert (line["route"], line["model"]) == ("/{provider}/{path}", "up/m")
    assert "x-splice-cost-usd" in answered.headers


@pytest.mark.parametrize("dialect", CALLS)
async def test_a_stream_of_each_dialect_is_untouched_and_metered(dialect):
    path, body = CALLS[dialect]
    if dialect == "gemini":
        path = path.replace("generateContent", "streamGenerateContent") + "?alt=sse"
    else:
        body = {**body, "stream": True}
    frames = [
        spoken.metadata(dialect),
        b": a comment\n\n",
        spoken.text(dialect, "Hi"),
        spoken.end(dialect),
    ]
    script = [spoken.HEAD, *map(spoken.chunk, frames), spoken.LAST]
    async with in_front_of(script, dialect) as (front, up):
        answered = await front.post(path, body)
        line = await front.last()
    assert (answered.status, answered.whole) == (200, True)
    assert answered.body == b"".join(frames)
    assert up.requests[0].target == path.removeprefix("/up")
    assert used(line) == USED
    assert line["stream"] is True


@pytest.mark.parametrize("dialect", CALLS)
async def test_a_stream_that_is_cut_off_ends_in_an_error_of_its_dialect(dialect):
    path, body = CALLS[dialect]
    if dialect == "gemini":
        path = path.replace("generateContent", "streamGenerateContent") + "?alt=sse"
    else:
        body = {**body, "stream": True}
    frames = [spoken.metadata(dialect), spoken.text(dialect, "Hi")]
    script = [spoken.HEAD, *map(spoken.chunk, frames), spoken.LAST]
    async with in_front_of(script, dialect) as (front, _):
        answered = await front.post(path, body)
        line = await front.last()
    assert answered.body.startswith(b"".join(frames))
    assert b"error" in answered.body.removeprefix(b"".join(frames))
    assert line["error_type"] == "truncated"


async def test_a_gemini_stream_that_is_an_array_is_metered_by_its_last_word():
    chunks = [spoken.document("gemini"), spoken.document("gemini")]
    del chunks[0]["usageMetadata"]
    answer = json.dumps(chunks).encode()
    async with in_front_of([whole(answer, **spoken.JSON)], "gemini") as (front, _):
        path = "/up/v1beta/models/m:streamGenerateContent"
        answered = await front.post(path, CALLS["gemini"][1])
        assert (answered.body, used(await front.last())) == (answer, USED)


@pytest.mark.timeout(900)
async def test_thousands_of_bodies_are_the_same_on_both_sides():
    rng = random.Random(7)
    answers: list[bytes] = []

    async def echo(reader, writer, asked):
        body = json.dumps(
            {**spoken.document("openai-chat"), "x": hashlib.sha256(asked.body).hexdigest()}
        )
        answers.append(body.encode())
        writer.write(whole(body.encode(), **spoken.JSON))
        await writer.drain()

    async with in_front_of(echo) as (front, up):
        wire = await front.wire()
        for number in range(BODIES):
            body = _odd(rng, number)
            answered = await wire.post("/up/v1/chat/completions", body, authorization=BEARER)
            assert answered.status == 200, (body, answered.body)
            assert answered.json["x"] == hashlib.sha256(body).hexdigest()
            assert hashlib.sha256(answered.body).digest() == hashlib.sha256(answers[-1]).digest()
        assert len(up.requests) == BODIES


def _odd(rng: random.Random, number: int) -> bytes:
    """Return a request with the white space, order, escapes and strange fields that a client may send."""
    said = "".join(
        rng.choice(['"', "\\", "é", "\U0001f600", "a", "\n", "model", "}"]) for _ in range(20)
    )
    fields: list[tuple[str, Any]] = [
        ("model", "m"),
        ("messages", [{"role": "user", "content": said, "x": {"model": "other"}}]),
        ("temperature", rng.choice([0, 0.1, 1.0])),
        (f"invented_{number}", rng.choice([None, [], {"model": "m"}, 1e22, "model"])),
    ]
    rng.shuffle(fields)
    gap = rng.choice(["", " ", "\n\t"])
    inner = f",{gap}".join(
        f'"{name}"{gap}:{gap}' + json.dumps(value, ensure_ascii=rng.random() < 0.5)
        for name, value in fields
    )
    return f"{{{gap}{inner}{gap}}}".encode()


# The SDKs.


async def test_the_sdks_work_with_a_providers_own_paths():
    async with demo_gateway() as front:
        chat = OpenAI(front, asynchronous=True, base="/demo-chat/v1")
        said = await chat.create(model="demo-chat", messages=[{"role": "user", "content": "Hi"}])
        assert said.choices[0].message.content
        assert (
            len(await chat.stream(model="demo-chat", messages=[{"role": "user", "content": "Hi"}]))
            > 2
        )
        await chat.close()
        claude = Anthropic(front, asynchronous=True, base="/demo-anthropic")
        answer = await claude.create(
            model="demo-claude", messages=[{"role": "user", "content": "Hi"}]
        )
        assert answer.content
        await claude.close()
        google = Google(front, asynchronous=True, base="/demo-gemini")
        answer = await google.call(
            google.models.generate_content, model="demo-gemini", contents="Hi"
        )
        assert answer.text
        await google.close()


# Where a path leads.


@pytest.mark.parametrize(
    ("base", "asked", "target"),
    [
        ("/v1", "/up/chat/completions", "/v1/chat/completions"),
        ("/v1", "/up/v1/chat/completions", "/v1/chat/completions"),
        ("", "/up/chat/completions", "/v1/chat/completions"),
        ("/openai/v1", "/up/v1/chat/completions", "/openai/v1/chat/completions"),
        ("/openai/v1", "/up/openai/v1/chat/completions", "/openai/v1/chat/completions"),
        (
            "/v1",
            "/up/v1/chat/completions?x=1&api-version=2&key=" + KEY,
            "/v1/chat/completions?api-version=2",
        ),
    ],
)
async def test_a_version_is_added_and_the_path_of_the_address_may_be_repeated(base, asked, target):
    async with (
        in_front_of(
            [whole(json.dumps(spoken.document("openai-chat")).encode(), **spoken.JSON)]
        ) as (
            _,
            up,
        ),
        gateway(config_text(upstream(up.url + base))) as front,
    ):
        assert (await front.post(asked, chat_body("m"))).status == 200
    assert up.requests[0].target == target


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/up/v1/chat/completions"])
async def test_a_body_that_two_parsers_read_differently_reaches_nobody(path):
    model = b"m" if path.startswith("/up") else b"up/m"
    body = (
        b'{"model": "dear", "messages": [{"role": "user", "content": "Hi"}], "model": "%b"}' % model
    )
    async with in_front_of([]) as (front, up):
        refused = await front.post(path, body)
        assert (refused.status, refused.error["param"]) == (400, "model")
        assert not up.requests


@pytest.mark.parametrize(
    "query", ["?fields=candidates", "?%24fields=candidates", "?alt=proto&access_token=x&KEY=y"]
)
async def test_no_query_decides_whether_an_answer_tells_what_it_has_used(query):
    script = [whole(json.dumps(spoken.document("gemini")).encode(), **spoken.JSON)]
    async with in_front_of(script, "gemini") as (front, up):
        path, body = CALLS["gemini"]
        assert (await front.post(path + query, body)).status == 200
        assert up.requests[0].target == path.removeprefix("/up")
        assert (await front.last())["output_tokens"] == spoken.OUTPUT


async def test_a_provider_is_known_by_its_aliases(tmp_path):
    script = [whole(json.dumps(spoken.document("gemini")).encode(), **spoken.JSON)]
    async with in_front_of(script, "gemini") as (_, up):
        text = config_text(
            f'[[accounts]]\nname = "g"\nprovider = "gemini"\napi_key = "x"\nbase_url = "{up.url}"\n'
        )
        async with gateway(text) as front:
            for name in ("gemini", "google"):
                path = f"/{name}/v1beta/models/m:generateContent"
                assert (await front.post(path, CALLS["gemini"][1])).status == 200
            nobody = await front.post("/openai/v1/chat/completions", chat_body("m"))
    assert nobody.status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/up/v1/models"),
        ("POST", "/up/v1/fine_tuning/jobs"),
        ("GET", "/up/v1/organization/users"),
        ("DELETE", "/up/v1/models/m"),
        ("POST", "/up/v1/vector_stores"),
        ("POST", "/up/v1/assistants"),
        ("PUT", "/up/v1/chat/completions"),
        ("POST", "/up/v1/messages"),
        ("GET", "/up/v1/chat/completions/chatcmpl-1"),
    ],
)
async def test_what_calls_no_model_wants_a_key_that_may_do_anything(method, path):
    async with warehouse() as house, gateway(config_text(upstream(house.url))) as front:
        wire = await front.wire()
        wire.send(request(method, path, b"" if method == "GET" else b"{}", authorization=BEARER))
        answered = await wire.answer()
        assert (answered.status, answered.error["code"]) == (403, "path_not_allowed")
        assert house.seen == []


async def test_a_key_that_may_do_anything_does(tmp_path):
    async with warehouse() as house:
        text = config_text(upstream(house.url)).replace(
            'name = "tester"', 'name = "tester"\nnative = "all"'
        )
        async with gateway(text) as front:
            answered = await front.get("/up/v1/models?limit=2")
            assert answered.status == 404  # the warehouse has none
            wire = await front.wire()
            wire.send(
                request(
                    "PUT", "/up/v1/any/thing", b"\0\1", authorization=BEARER, content_type="a/b"
                )
            )
            assert (await wire.answer()).status == 404
            wire = await front.wire()
            wire.send(request("POST", "/up/v1/any", b"x" * (1 << 20), authorization=BEARER))
            assert (await wire.answer()).status == 404
    assert [(one["method"], one["path"]) for one in house.seen] == [
        ("GET", "/v1/models?limit=2"),
        ("PUT", "/v1/any/thing"),
        ("POST", "/v1/any"),
    ]
    assert house.seen[1]["body"] == b"\0\1"
    assert len(house.seen[2]["body"]) == 1 << 20
    assert KEY not in str(house.seen)


@pytest.mark.parametrize(
    "path",
    ["/up/v1/../admin", "/up/v1/files/%2e%2e/x", "/up/v1/a%2Fb", "/up//v1/x\\y", "/up/v1/%5c"],
)
async def test_no_path_leads_out_of_where_it_begins(path):
    async with warehouse() as house:
        text = config_text(upstream(house.url)).replace(
            'name = "tester"', 'name = "tester"\nnative = "all"'
        )
        async with gateway(text) as front:
            assert (await front.get(path)).status in (400, 404)
        assert house.seen == []


# Whose it is.


@pytest_asyncio.fixture
async def stored():
    async with (
        warehouse() as house,
        gateway(config_text(upstream(house.url), upstream(house.url, name="two"))) as front,
    ):
        sdk = OpenAI(front, asynchronous=True, base="/up/v1")
        file = await sdk.client.files.create(file=("f", b"{}\n"), purpose="batch")
        yield front, house, sdk.client, file
        await sdk.close()


async def test_a_keys_own_objects_are_there_and_anothers_are_not(stored):
    front, house, client, file = stored
    assert (await client.files.retrieve(file.id)).id == file.id
    assert [one.id async for one in client.files.list()] == [file.id]
    asked = len(house.seen)
    other = OpenAI(front, asynchronous=True, base="/up/v1", key=OTHER_KEY)
    elsewhere = OpenAI(front, asynchronous=True, base="/two/v1")
    for stranger in (other.client, elsewhere.client):
        for call in (
            stranger.files.retrieve(file.id),
            stranger.files.delete(file.id),
            stranger.files.content(file.id),
            stranger.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            ),
        ):
            with pytest.raises(openai.NotFoundError):
                await call
        assert [one async for one in stranger.files.list()] == []
    await other.close()
    await elsewhere.close()
    assert len(house.seen) == asked


@pytest.mark.parametrize(
    ("dialect", "field"),
    [
        ("openai-responses", {"previous_response_id": "resp_1"}),
        (
            "openai-responses",
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
        ),
        ("anthropic", {"container": "container_1"}),
        ("gemini", {"cachedContent": "cachedContents/1"}),
    ],
)
async def test_an_id_in_a_body_that_the_key_did_not_make_is_not_there(dialect, field):
    path, body = CALLS[dialect]
    async with in_front_of([whole(b"{}", **spoken.JSON)], dialect) as (front, up):
        answered = await front.post(path, {**body, **field})
    assert (answered.status, up.requests) == (404, [])


async def test_a_response_is_found_on_native_paths_too():
    document = {**spoken.document("openai-responses"), "id": "resp_mine"}
    script = [whole(json.dumps(document).encode(), **spoken.JSON)]
    async with in_front_of(script, "openai-responses") as (front, up):
        path, body = CALLS["openai-responses"]
        await front.post(path, body)
        assert (await front.get("/up/v1/responses/resp_mine")).status == 200
        asked = len(up.requests)
        foreign = f"Bearer {OTHER_KEY}"
        assert (await front.get("/up/v1/responses/resp_mine", authorization=foreign)).status == 404
        assert (await front.post(path, {**body, "previous_response_id": "resp_mine"})).status == 200
    assert len(up.requests) == asked + 1


# Errors, limits, credit.


@pytest.mark.parametrize("dialect", CALLS)
async def test_errors_are_told_in_the_providers_words(dialect):
    path, body = CALLS[dialect]
    async with in_front_of([whole(b"{}", "401 Unauthorized", **spoken.JSON)], dialect) as (
        front,
        _,
    ):
        nobody = await front.post(path, body, authorization="Bearer nobody")
        ours = await front.post(path, body)
        unknown = await front.post(path.replace("/m:", "/../m:"), {**body, "model": ".."})
    shapes = {
        "openai-chat": {"message", "type", "param", "code"},
        "openai-responses": {"message", "type", "param", "code"},
        "anthropic": {"type", "message"},
        "gemini": {"code", "message", "status"},
    }
    assert (nobody.status, ours.status, unknown.status) == (401, 502, 404)
    for one in (nobody, ours):
        assert shapes[dialect] <= set(one.error)


async def test_a_key_calls_natively_only_what_it_may_call():
    async with in_front_of(
        [whole(json.dumps(spoken.document("openai-chat")).encode(), **spoken.JSON)]
    ) as (_, up):
        text = config_text(upstream(up.url)).replace(
            'name = "tester"', 'name = "tester"\nmodels = ["up/a*"]\nrpm = 2'
        )
        async with gateway(text) as front:
            assert (await front.post("/up/v1/chat/completions", chat_body("b"))).status == 403
            assert (await front.post("/up/v1/chat/completions", chat_body("a1"))).status == 200
            assert (await front.post("/up/v1/chat/completions", chat_body("a2"))).status == 200
            limited = await front.post("/up/v1/chat/completions", chat_body("a2"))
            assert (limited.status, limited.error["code"]) == (429, "rate_limit_exceeded")


async def test_a_prepaid_key_pays_and_its_body_is_not_given_a_limit():
    script = [whole(json.dumps(spoken.document("openai-chat")).encode(), **spoken.JSON)]
    async with in_front_of(script) as (_, up):
        text = config_text(
            upstream(up.url),
            '[[models]]\nname = "up/m"\ncost = { input = 1000, output = 1000, cache_read = 1000 }\n',
        ).replace('name = "tester"', 'name = "tester"\nprepaid = true\ncredit_usd = 20')
        async with gateway(text) as front:
            raw = json.dumps(chat_body("m")).encode()
            answered = await front.post("/up/v1/chat/completions", raw)
            assert answered.headers["x-splice-cost-usd"] == "0.018"
            key = (await front.get("/v1/key")).json
            dear = await front.post(
                "/up/v1/chat/completions", {**chat_body("m"), "max_tokens": 30_000}
            )
    assert up.requests[0].body == raw
    assert "19.982" in json.dumps(key)
    assert (dear.status, len(up.requests)) == (402, 1)


@pytest.mark.parametrize(
    ("terms", "codes"),
    [("rpm = 1", [404, 429, 404]), ("prepaid = true\ncredit_usd = 0", [402, 402, 404])],
)
async def test_whatever_a_key_may_do_it_does_within_its_limits(terms, codes):
    async with warehouse() as house:
        text = config_text(upstream(house.url)).replace(
            'name = "tester"', f'name = "tester"\nnative = "all"\n{terms}'
        )
        async with gateway(text) as front:
            told = [
                (await front.post("/up/v1/any", {})).status,
                (await front.post("/up/v1/any", {})).status,
                (await front.get("/up/v1/any")).status,
            ]
    assert told == codes
    assert len(house.seen) == codes.count(404)


def test_the_route_is_one_for_all_of_them():
    assert routes.template("/{provider}/{path}") == "/{provider}/{path}"
    assert routes.template("/openai/v1/chat/completions") == "other"


async def test_no_wire_sees_a_key_in_a_log_line():
    async with in_front_of([whole(b"{}", **spoken.JSON)]) as (front, _):
        wire: Wire = await front.wire()
        wire.send(request("GET", f"/up/{KEY}/x", b"", authorization=BEARER))
        await wire.answer()
        assert KEY not in json.dumps(front.lines)
