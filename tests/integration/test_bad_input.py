"""Whatever a client sends, it is told what is wrong with it, in its own dialect, and nobody else suffers."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.integration import spoken
from tests.integration.gateway import BEARER, DIALECTS, KEY, PATHS, body_of, in_front_of
from tests.integration.wire import encoded, request

SURFACES = ("chat", "messages")


async def refused(front, up, surface, body, status=400, **headers):
    """Send ``body``; check that it is refused in the dialect and that a right request still works; return the error."""
    wire = await front.wire()
    answered = await wire.post(PATHS[surface], body, **{"authorization": BEARER, **headers})
    assert answered.status == status
    assert answered.headers["content-type"] == "application/json"
    if surface == "messages":
        assert answered.json["type"] == "error"
        assert answered.json["request_id"] == answered.headers["request-id"]
        assert answered.error.keys() >= {"type", "message"}
    else:
        assert answered.error.keys() == {"message", "type", "param", "code"}
    if answered.headers.get("connection") == "close":
        assert await wire.rest() == b""
        wire = await front.wire()
    asked = len(up.requests)
    again = await wire.post(PATHS[surface], body_of(surface), authorization=BEARER)
    assert (again.status, len(up.requests)) == (200, asked + 1)
    return answered.error


def upstream_of(dialect="openai-chat"):
    return in_front_of([spoken.told(dialect)], dialect)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("body", [b"", b"  \r\n", b"\n"])
async def test_an_empty_body_gets_a_hint_about_lost_backslashes(surface, body):
    async with upstream_of() as (front, up):
        error = await refused(front, up, surface, body)
    assert "backslash" in error["message"]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "JSON"),
        (b'{"model": "m",}', "JSON"),
        (b"{'model': 'm'}", "JSON"),
        (b"\xff\xfe{}", "JSON"),
        (b'{"model": "\xff"}', "JSON"),
        (b'{"model": "\\ud800"}', "JSON"),
        (b'{"a": NaN}', "JSON"),
        (b"model=m", "JSON"),
        (b"[]", "array"),
        (b"null", "null"),
        (b'"text"', "string"),
        (b"17", "number"),
        (b"true", "boolean"),
    ],
)
async def test_what_is_no_json_object_is_a_400_that_says_what_it_is(surface, body, word):
    async with upstream_of() as (front, up):
        error = await refused(front, up, surface, body)
    assert word in error["message"]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("value", [None, "", 5, ["up/m"], {"a": 1}, True])
async def test_a_model_that_is_no_name_is_a_400_about_the_model(surface, value):
    async with upstream_of() as (front, up):
        error = await refused(front, up, surface, {**body_of(surface), "model": value})
    assert "model" in error["message"]
    if surface == "chat":
        assert error["param"] == "model"


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("value", ["yes", 1, 0, [], {}])
async def test_a_stream_that_is_neither_true_nor_false_is_a_400(surface, value):
    async with upstream_of() as (front, up):
        error = await refused(front, up, surface, body_of(surface, stream=value))
    assert "stream" in error["message"]


def without(surface, name):
    body = body_of(surface)
    del body[name]
    return body


TRANSLATED = [("chat", dialect) for dialect in DIALECTS if dialect != "openai-chat"] + [
    ("messages", dialect) for dialect in DIALECTS if dialect != "anthropic"
]

WRONG = [
    ("chat", {"n": True}, "n"),
    ("chat", {"messages": []}, "messages"),
    ("chat", {"messages": None}, "messages"),
    ("chat", {"messages": "Hi"}, "messages"),
    ("chat", {"messages": {"role": "user"}}, "messages"),
    ("chat", {"messages": [5]}, "messages[0]"),
    ("chat", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ("chat", {"messages": [{"role": "wizard", "content": "Hi"}]}, "messages[0].role"),
    ("chat", {"messages": [{"content": "Hi"}]}, "messages[0].role"),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
    ("chat", {"temperature": "hot"}, "temperature"),
    ("chat", {"temperature": True}, "temperature"),
    ("chat", {"max_tokens": "many"}, "max_tokens"),
    ("chat", {"tools": {}}, "tools"),
    ("chat", {"tools": [{"type": "function"}]}, "tools[0].function"),
    ("chat", {"stop": [1]}, "stop[0]"),
    ("chat", {"response_format": "json"}, "response_format"),
    ("messages", {"messages": []}, "messages"),
    ("messages", {"messages": None}, "messages"),
    ("messages", {"messages": [5]}, "messages[0]"),
    ("messages", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "image", "source": 1}]}]},
     "messages[0].content[0].source"),
    ("messages", {"messages": [{"role": "wizard", "content": "Hi"}]}, "messages[0].role"),
    ("messages", {"max_tokens": "many"}, "max_tokens"),
    ("messages", {"max_tokens": True}, "max_tokens"),
    ("messages", {"system": 5}, "system"),
    ("messages", {"tools": {}}, "tools"),
    ("messages", {"temperature": [1]}, "temperature"),
    ("messages", {"stop_sequences": "x"}, "stop_sequences"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("surface", "dialect", "fields", "path"),
    [
        (surface, dialect, fields, path)
        for surface, dialect in TRANSLATED
        for about, fields, path in WRONG
        if about == surface
    ],
    ids=str,
)
async def test_a_wrong_type_is_a_400_that_names_the_field(surface, dialect, fields, path):
    async with upstream_of(dialect) as (front, up):
        error = await refused(front, up, surface, body_of(surface, **fields))
    if surface == "chat":
        assert error["param"] == path
    else:
        assert path in error["message"]


@pytest.mark.parametrize(("surface", "dialect"), TRANSLATED)
async def test_no_messages_at_all_is_a_400_about_the_messages(surface, dialect):
    async with upstream_of(dialect) as (front, up):
        error = await refused(front, up, surface, without(surface, "messages"))
    assert "messages" in error["message"]


@pytest.mark.parametrize(("surface", "dialect"), TRANSLATED)
@pytest.mark.parametrize(
    "wrong", [{"messages": []}, {"messages": [{"role": "user", "content": 5}]}]
)
async def test_streams_are_refused_with_a_status_too(surface, dialect, wrong):
    async with upstream_of(dialect) as (front, up):
        await refused(front, up, surface, body_of(surface, stream=True, **wrong))


@pytest.mark.parametrize(
    ("surface", "fields", "path"),
    [
        ("chat", {"n": True}, "n"),
        ("chat", {"n": 0}, "n"),
        ("chat", {"n": 9}, "n"),
        ("chat", {"max_tokens": -1}, "max_tokens"),
        ("chat", {"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ("chat", {"messages": []}, "messages"),
        ("chat", {"messages": "Hi"}, "messages"),
        ("chat", {"messages": None}, "messages"),
        ("messages", {"messages": {}}, "messages"),
        ("messages", {"max_tokens": "many"}, "max_tokens"),
    ],
    ids=str,
)
async def test_what_money_hangs_on_is_checked_on_native_requests_too(surface, fields, path):
    dialect = {"chat": "openai-chat", "messages": "anthropic"}[surface]
    async with upstream_of(dialect) as (front, up):
        error = await refused(front, up, surface, body_of(surface, **fields))
    assert f"`{path}`" in error["message"]
    assert len(up.requests) == 1  # the right one, which ``refused`` sends behind it


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_native_request_is_mostly_the_upstreams_to_judge(surface):
    dialect = {"chat": "openai-chat", "messages": "anthropic"}[surface]
    async with upstream_of(dialect) as (front, up):
        assert (await front.ask(surface, temperature="hot")).status == 200
    assert json.loads(up.requests[0].body)["temperature"] == "hot"


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("opened", [b"[", b'{"a":'])
async def test_a_body_five_thousand_levels_deep_is_a_400(surface, opened):
    depth = 5000
    closed = b"]" if opened == b"[" else b"}"
    nested = opened * depth + b"1" + closed * depth
    body = encoded(body_of(surface))[:-1] + b',"deep":' + nested + b"}"
    async with upstream_of() as (front, up):
        await refused(front, up, surface, body)


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_body_a_hundred_and_one_levels_deep_is_a_400_and_ninety_nine_are_fine(surface):
    def body(depth):
        return encoded(body_of(surface))[:-1] + b',"deep":' + b"[" * depth + b"]" * depth + b"}"

    async with upstream_of("anthropic" if surface == "messages" else "openai-chat") as (front, up):
        error = await refused(front, up, surface, body(101))
        assert "100" in error["message"]
        assert (await front.post(PATHS[surface], body(99))).status == 200


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_body_of_too_many_brackets_is_a_400(surface):
    async with upstream_of() as (front, up):
        error = await refused(front, up, surface, b'{"a":[' + b"[]," * 200_000 + b"[]]}")
    assert "200,000" in error["message"]


@pytest.mark.parametrize("surface", SURFACES)
async def test_forty_mib_are_a_413_before_they_are_all_here(surface):
    async with upstream_of() as (front, up):
        wire = await front.wire()
        size = 40 << 20
        wire.send(
            request("POST", PATHS[surface], b"", authorization=BEARER, content_length=str(size))
        )
        wire.send(b'{"model":"' + b"x" * 1000)
        answered = await wire.answer()
        assert answered.status == 413
        assert "32 MiB" in answered.error["message"]
        assert answered.error["type"] == (
            "request_too_large" if surface == "messages" else "invalid_request_error"
        )
        assert answered.headers["connection"] == "close"
        assert (await front.ask(surface)).status == 200
    assert len(up.requests) == 1


async def test_forty_mib_in_chunks_are_a_413_as_well():
    async with upstream_of() as (front, _):
        wire = await front.wire()
        wire.send(
            request(
                "POST", PATHS["chat"], authorization=BEARER, transfer_encoding="chunked"
            ).replace(b"content-length: 0\r\n", b"")
        )
        piece = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        try:
            for _ in range(40):
                wire.send(piece)
                await wire.writer.drain()
        except ConnectionError:
            pass  # refused before all of it was taken
        assert (await front.chat()).status == 200
        line = (await front.requests(2))[0]
    assert (line["status"], line["error_type"]) == (413, "too_large")


async def test_a_body_may_be_as_large_as_the_operator_says():
    async with in_front_of([spoken.told("openai-chat")], server='max_body = "1KiB"') as (front, _):
        assert (await front.chat(said="x" * 900)).status == 200
        assert (await front.chat(said="x" * 1100)).status == 413


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("coding", ["gzip", "zstd", "br", "deflate", "gzip, identity"])
async def test_a_compressed_body_is_a_415(surface, coding):
    async with upstream_of() as (front, up):
        error = await refused(
            front,
            up,
            surface,
            gzip.compress(encoded(body_of(surface))),
            415,
            content_encoding=coding,
        )
    assert "content-encoding" in error["message"]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_the_content_type_is_not_looked_at(surface, kind):
    async with upstream_of() as (front, _):
        headers = {} if kind is None else {"content_type": kind}
        assert (await front.post(PATHS[surface], body_of(surface), **headers)).status == 200


@pytest.mark.parametrize("surface", SURFACES)
async def test_an_unknown_model_is_told_in_the_callers_dialect(surface):
    async with upstream_of() as (front, up):
        error = await refused(front, up, surface, body_of(surface, "nobody/knows"), 404)
    assert "nobody/knows" in error["message"]
    assert error["type"] == (
        "not_found_error" if surface == "messages" else "invalid_request_error"
    )


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_name_of_a_megabyte_is_not_repeated(surface):
    async with upstream_of() as (front, up):
        error = await refused(front, up, surface, body_of(surface, "x" * (1 << 20)), 404)
    assert len(error["message"]) < 1000


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_wrong_key_is_told_before_the_body_is_read(surface):
    async with upstream_of() as (front, _):
        wire = await front.wire()
        wire.send(
            request(
                "POST", PATHS[surface], b"", authorization="Bearer no", content_length=str(30 << 20)
            )
        )
        answered = await wire.answer()
    assert (answered.status, answered.headers["connection"]) == (401, "close")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_of_only_a_system_message_is_answered(surface, dialect, stream):
    answer = spoken.streamed(dialect) if stream else spoken.told(dialect)
    body = {
        "model": "up/m",
        "stream": stream,
        "max_tokens": 10,
        "messages": [{"role": "system", "content": "Be kind."}],
    }
    async with in_front_of([answer], dialect) as (front, up):
        answered = await front.post(PATHS[surface], body)
    assert (answered.status, answered.text) == (200, "Hello")
    sent = up.requests[0].body
    assert b"Be kind." in sent
    if dialect in ("anthropic", "gemini") and surface == "chat":
        assert b'"role":"user"' in sent


async def test_no_body_and_no_key_ends_up_in_the_log():
    said = "a secret that nobody may read later"
    async with upstream_of() as (front, _):
        await front.chat(said=said)
        await front.chat("nobody/knows", said)
        await front.post(PATHS["chat"], b'{"model": "up/m", "messages": [' + said.encode())
        await front.requests(3)
        assert said not in str(front.lines)
        assert KEY not in str(front.lines)
