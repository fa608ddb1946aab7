"""Every call of a key is kept, and its key can see it as soon as it has its last byte."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from proxy.billing.database import connect
from proxy.billing.entry import COLUMNS
from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    DIALECTS,
    KEY,
    OTHER_KEY,
    SECRET,
    chat_body,
    config_text,
    gateway,
    in_front_of,
    upstream,
)
from tests.integration.scripted import Scripted, settled, whole
from tests.integration.wire import encoded, request

SURFACES = ("chat", "messages")
TOKENS = spoken.INPUT + spoken.CACHED + spoken.OUTPUT


def another(key=OTHER_KEY):
    return {"authorization": f"Bearer {key}"}


async def usage_of(front, wanted, **headers):
    return await front.get(f"/v1/usage/{wanted}", **headers)


def rows_of(front, sql="SELECT * FROM requests_v1"):
    with closing(connect(front.running.gateway.config.state.directory / "ledger.db")) as database:
        cursor = database.execute(sql)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


async def booked(front, count):
    await settled(lambda: len(rows_of(front)) >= count)
    return rows_of(front)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_there_by_the_time_its_last_byte_is(surface, dialect, stream):
    answer = spoken.streamed(dialect) if stream else spoken.told(dialect)
    async with in_front_of([answer], dialect) as (front, _):
        answered = await front.ask(surface, stream=stream)
        request_id = answered.headers["x-request-id"]
        found = (await usage_of(front, request_id)).json
        await booked(front, 1)
        again = (await usage_of(front, request_id)).json
    assert found == again
    assert {name: found[name] for name in found if name not in ("started_at", "ttft_ms", "duration_ms")} == {
        "request_id": request_id,
        "model": "up/m",
        "input_tokens": spoken.INPUT,
        "output_tokens": spoken.OUTPUT,
        "cache_read_input_tokens": spoken.CACHED,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "reasoning_tokens": 0,
        "cost_micro": 0,
        "estimated": False,
        "status": 200,
        "error": None,
    }  # fmt: skip
    started = datetime.fromisoformat(found["started_at"])
    assert abs((datetime.now(UTC) - started).total_seconds()) < 60
    assert found["duration_ms"] >= 0
    assert (found["ttft_ms"] is not None) == stream


async def test_the_row_has_what_is_worth_keeping():
    async with in_front_of([spoken.streamed("anthropic")], "anthropic") as (front, _):
        answered = await front.post(
            "/v1/messages",
            {**chat_body("up/m"), "max_tokens": 9, "stream": True},
            x_request_id="mine-1",
            traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        )
        (row,) = await booked(front, 1)
    assert set(row) - {"number"} == {
        "started_at" if name == "started" else name for name in COLUMNS
    }
    expected = {
        "request_id": answered.headers["x-request-id"],
        "key_name": "tester",
        "team": None,
        "wallet_id": "key:tester",
        "route": "/v1/messages",
        "dialect": "messages",
        "model_asked": "up/m",
        "model": "up/m",
        "upstream_model": "m",
        "provider": "up",
        "account": "up",
        "status": 200,
        "error_type": None,
        "stream": 1,
        "attempts": 1,
        "client_request_id": "mine-1",
        "trace_id": "a" * 32,
    }
    assert {name: row[name] for name in expected} == expected
    assert len(row["key_hash"]) == 64
    assert row["answer_id"]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_it_is_found_by_the_id_that_its_client_reads(surface, dialect, stream):
    answer = spoken.streamed(dialect) if stream else spoken.told(dialect)
    async with in_front_of([answer], dialect) as (front, _):
        answered = await front.ask(surface, stream=stream)
        read = answered.data[0] if stream else answered.json
        answer_id = (read.get("message") or read)["id"]
        assert (await usage_of(front, answer_id)).json["request_id"] == answered.headers[
            "x-request-id"
        ]


@pytest.mark.parametrize("stream", [False, True])
async def test_it_is_found_by_the_answers_id_too_and_the_newest_counts(stream):
    answer = spoken.streamed("openai-chat") if stream else spoken.told("openai-chat")
    async with in_front_of([answer]) as (front, _):
        first = await front.chat(stream=stream)
        answer_id = (first.data[0] if stream else first.json)["id"]
        second = await front.chat(stream=stream)
        found = [(await usage_of(front, answer_id)).json["request_id"]]
        await booked(front, 2)
        found.append((await usage_of(front, answer_id)).json["request_id"])
        third = await front.chat(stream=stream)
        found.append((await usage_of(front, answer_id)).json["request_id"])
    newest = [answered.headers["x-request-id"] for answered in (second, second, third)]
    assert found == newest


async def test_anothers_request_is_as_absent_as_one_that_never_was():
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        answered = await front.chat()
        ids = (answered.headers["x-request-id"], answered.json["id"], "req_" + "0" * 26)
        waiting = [await usage_of(front, one, **another()) for one in ids]
        await booked(front, 1)
        found = waiting + [await usage_of(front, one, **another()) for one in ids]
        listed = await front.get("/v1/usage/requests", **another())
        summed = await front.get("/v1/usage", **another())
    assert {answered.status for answered in found} == {404}
    assert len({answered.body for answered in found}) == 1
    assert listed.json == {"data": [], "has_more": False, "last_id": None}
    assert (summed.json["total_tokens"], summed.json["breakdown_by_day"]) == (0, [])


async def test_the_sums_count_every_request_once_whether_booked_or_not():
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        today = datetime.now(UTC).date()
        for number in range(1, 4):
            await front.chat()
            found = (await front.get("/v1/usage")).json
            assert found["total_tokens"] == number * TOKENS
        await booked(front, 3)
        await front.chat()
        answered = await front.get("/v1/usage")
    found = json.loads(answered.body, parse_float=Decimal)
    row = {"requests": 4, "tokens": 4 * TOKENS, "cost_usd": Decimal("0.000000")}
    assert found["breakdown_by_model"] == [{"model": "up/m", **row}]
    assert found["breakdown_by_day"] == [{"day": today.isoformat(), **row}]
    assert found["period_start"] == today.replace(day=1).isoformat()
    assert found["period_end"] >= today.isoformat()
    assert found["credit_remaining_usd"] is None


async def test_the_days_that_are_asked_for_are_inclusive():
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        await front.chat()
        today = datetime.now(UTC).date().isoformat()
        inside = await front.get(f"/v1/usage?start={today}&end={today}")
        outside = await front.get("/v1/usage?start=2020-01-01&end=2020-02-01")
    assert inside.json["total_tokens"] == TOKENS
    assert (outside.json["total_tokens"], outside.json["period_end"]) == (0, "2020-02-01")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?start=yesterday", "start"),
        ("?end=2026-02-30", "end"),
        ("?start=2026-02-02&end=2026-02-01", "end"),
        ("/requests?limit=0", "limit"),
        ("/requests?limit=1001", "limit"),
        ("/requests?limit=many", "limit"),
        ("/requests?before=req_nobodys", "before"),
        ("/requests?before=chatcmpl-1", "before"),
    ],
)
async def test_what_cannot_be_asked_is_a_400_that_names_it(query, param):
    async with in_front_of([]) as (front, _):
        answered = await front.get(f"/v1/usage{query}")
    assert (answered.status, answered.error["param"]) == (400, param)


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/usage/requests", "/v1/usage/x", "/v1/key"])
async def test_nobody_sees_anything_without_a_key(path):
    async with in_front_of([]) as (front, _):
        answered = await front.get(path, authorization="Bearer sk-wrong")
    assert answered.status == 401


async def test_the_history_has_refused_and_failed_calls_newest_first():
    async with in_front_of([spoken.told("openai-chat")], retry="attempts = 1") as (front, up):
        good = await front.chat()
        unknown = await front.chat("nobody-has-this")
        bad = await front.post("/v1/chat/completions", b"{")
        await booked(front, 3)
        up._script = [whole(b'{"error": {"message": "x"}}', "500 Oops")]
        failed = await front.chat()
        await front.get("/v1/usage/absent")
        listed = (await front.get("/v1/usage/requests")).json
        await booked(front, 4)
        again = (await front.get("/v1/usage/requests")).json
    assert listed == again
    wanted = [failed, bad, unknown, good]
    assert [one["request_id"] for one in listed["data"]] == [
        answered.headers["x-request-id"] for answered in wanted
    ]
    assert [(one["status"], one["error"], one["model"]) for one in listed["data"]] == [
        (502, "server_error", "up/m"),
        (400, "invalid_request", None),
        (404, "model_unknown", "nobody-has-this"),
        (200, None, "up/m"),
    ]


async def test_the_history_comes_in_pages():
    async with in_front_of([spoken.told("openai-chat")]) as (front, _):
        wanted = []
        for number in range(7):
            wanted.append((await front.chat()).headers["x-request-id"])
            if number == 3:
                await booked(front, 4)
        found: list[str] = []
        query = "?limit=3"
        pages = 0
        more = True
        while more:
            page = (await front.get(f"/v1/usage/requests{query}")).json
            found += [one["request_id"] for one in page["data"]]
            more = page["has_more"]
            query = f"?limit=3&before={page['last_id']}"
            pages += 1
    assert found == wanted[::-1]
    assert pages == 3


async def test_a_key_sees_its_limits_and_what_is_left():
    async with Scripted([spoken.told("openai-chat")]) as up:
        text = config_text(
            upstream(up.url),
            '[[models]]\nname = "small"\ntargets = ["up/m"]\nrpm = 5\n',
        ).replace('name = "tester"', 'name = "tester"\nrpm = 10\nconcurrency = 3\nteam = "red"')
        async with gateway(text) as front:
            await front.chat("small")
            found = (await front.get("/v1/key")).json
            (row,) = await booked(front, 1)
    (own,) = found["limits"]["by_model"]
    assert (found["name"], found["team"], found["models"]) == ("tester", "red", ["*"])
    assert (found["limits"]["requests"]["limit"], found["limits"]["requests"]["remaining"]) == (
        10,
        9,
    )
    resets = datetime.fromisoformat(found["limits"]["requests"]["resets_at"])
    assert 0 < (resets - datetime.now(UTC)).total_seconds() <= 6
    assert found["limits"]["tokens"] is None
    assert found["limits"]["concurrency"] == {"limit": 3, "remaining": 3}
    assert (own["model"], own["requests"]["limit"], own["requests"]["remaining"]) == ("small", 5, 4)
    assert (row["team"], row["wallet_id"]) == ("red", "team:red")


async def test_a_client_that_leaves_is_booked_with_what_came():
    async def script(reader, writer, request):
        writer.write(
            spoken.HEAD
            + spoken.chunk(spoken.metadata("openai-chat") + spoken.text("openai-chat", "Hello"))
        )
        await reader.read()

    async with in_front_of(script) as (front, _):
        wire = await front.wire()
        body = encoded(chat_body("up/m", stream=True))
        wire.send(request("POST", "/v1/chat/completions", body, authorization=BEARER))
        await wire.head()
        await wire.chunk()
        wire.leave()
        (row,) = await booked(front, 1)
    assert (row["status"], row["error_type"], row["estimated"]) == (499, "cancelled", 1)
    assert row["output_tokens"] > 0


async def test_counting_tokens_is_kept_and_costs_nothing():
    async with in_front_of([whole(b'{"input_tokens": 42}')], "anthropic") as (front, _):
        answered = await front.post("/v1/messages/count_tokens", chat_body("up/m"))
        (row,) = await booked(front, 1)
    assert answered.json == {"input_tokens": 42}
    assert (row["route"], row["input_tokens"], row["output_tokens"]) == (
        "/v1/messages/count_tokens",
        0,
        0,
    )


async def test_a_count_that_is_estimated_is_kept_too():
    async with in_front_of([]) as (front, up):
        answered = await front.post("/v1/messages/count_tokens", chat_body("up/m"))
        (row,) = await booked(front, 1)
        line = await front.last()
    assert (answered.status, up.requests) == (200, [])
    assert (row["route"], row["status"], row["cost_micro"]) == ("/v1/messages/count_tokens", 200, 0)
    assert (row["attempts"], row["input_tokens"], row["error_type"]) == (0, 0, None)
    assert line["status"] == 200


async def test_what_fails_inside_after_an_early_head_is_kept_as_well(monkeypatch):
    async def broken(*_: object) -> None:
        await asyncio.sleep(0.1)
        raise ZeroDivisionError

    async with in_front_of([], streaming='heartbeat = "20ms"') as (front, _):
        monkeypatch.setattr("proxy.relay.call.Call._send", broken)
        monkeypatch.setattr(front.running.gateway.log, "failure", lambda *_, **__: None)
        answered = await front.chat(stream=True)
        (row,) = await booked(front, 1)
        lines = await front.requests(1)
    assert (answered.status, answered.whole) == (200, False)
    assert (row["status"], row["error_type"], row["cost_micro"]) == (500, "internal", 0)
    assert len(lines) == 1


async def test_stopping_loses_nothing_and_the_next_start_knows_it_all(tmp_path):
    async with Scripted([spoken.streamed("openai-chat")]) as up:
        text = config_text(upstream(up.url))
        async with gateway(text, directory=tmp_path) as front:
            answered = [await front.chat(stream=True) for _ in range(3)]
        assert not list((tmp_path / "state").glob("ledger.db-*"))
        async with gateway(text, directory=tmp_path) as front:
            found = [await usage_of(front, one.headers["x-request-id"]) for one in answered]
            assert "replayed the journal" not in {line["msg"] for line in front.lines}
    assert [one.status for one in found] == [200, 200, 200]


async def test_what_runs_is_noted_every_few_seconds_and_not_for_every_token(monkeypatch):
    monkeypatch.setattr("proxy.relay.call._NOTED_AFTER", 0.1)
    monkeypatch.setattr("proxy.relay.call._NOTED_EVERY", 0.1)
    notes = []
    go_on = asyncio.Event()

    async def script(reader, writer, request):
        writer.write(
            spoken.HEAD
            + spoken.chunk(spoken.metadata("openai-chat") + spoken.text("openai-chat", "Hello"))
        )
        await go_on.wait()
        writer.write(spoken.chunk(spoken.end("openai-chat")) + spoken.LAST)

    async with in_front_of(script) as (front, _):
        books = front.running.gateway.books
        note = books.progress

        def noted_down(row):
            notes.append(row)
            note(row)

        monkeypatch.setattr(books, "progress", noted_down)
        asked = asyncio.get_running_loop().create_task(front.chat(stream=True))
        await settled(lambda: len(notes) >= 2)
        go_on.set()
        answered = await asked
        after = len(notes)
        await asyncio.sleep(0.15)
        (row,) = await booked(front, 1)
    assert len(notes) == after
    noted = dict(zip(COLUMNS, notes[-1], strict=True))
    assert (noted["request_id"], noted["estimated"]) == (answered.headers["x-request-id"], True)
    assert noted["output_tokens"] > 0
    assert noted["input_tokens"] > 0
    assert row["output_tokens"] == spoken.OUTPUT


async def test_nothing_of_a_prompt_an_answer_or_a_key_is_kept(tmp_path):
    async with (
        Scripted([spoken.streamed("openai-chat", "a word of the answer")]) as up,
        gateway(config_text(upstream(up.url)), directory=tmp_path) as front,
    ):
        await front.chat(said="the-secret-question", stream=True, user="the-secret-user")
        await front.chat("nobody", said="the-secret-question")
        await booked(front, 2)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    for secret in ("the-secret", "a word of", KEY, SECRET):
        assert secret.encode() not in kept


async def test_a_call_without_a_known_key_leaves_nothing(tmp_path):
    async with in_front_of([]) as (front, _):
        await front.post("/v1/chat/completions", chat_body(), authorization="Bearer sk-wrong")
        await front.post("/v1/nothing", {})
        await front.requests(2)
        assert front.running.gateway.books.waiting().since(0) == []


@pytest.mark.parametrize("target", [b"/v1/usage/\xff", b"/v1/usage/%ff%00", b"/v1/usage/requests?before=\xed\xa0\x80", b"/v1/usage?start=\xff"])  # fmt: skip
async def test_a_target_that_is_no_text_names_nothing(target):
    async with in_front_of([]) as (front, _):
        wire = await front.wire()
        wire.send(
            b"GET %b HTTP/1.1\r\nhost: gateway\r\nauthorization: %b\r\n\r\n"
            % (target, BEARER.encode())
        )
        answered = await wire.answer()
    assert answered.status in (400, 404)


NONSENSE = [10**30, -1, 1.5, "7", True, None, [], "\ud800"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("count", NONSENSE, ids=ascii)
async def test_a_count_that_is_none_costs_nothing_and_holds_nobody_up(count, stream):
    usage = {"prompt_tokens": 11, "completion_tokens": count, "total_tokens": 11}
    if stream:
        last = {**json.loads(spoken.end("openai-chat").split(b"data: ")[1].split(b"\n")[0])}
        last["usage"] = usage
        answer = spoken.HEAD + spoken.chunk(
            spoken.metadata("openai-chat")
            + spoken.text("openai-chat", "Hello")
            + spoken.data(last)
            + b"data: [DONE]\n\n"
        ) + spoken.LAST  # fmt: skip
    else:
        answer = whole(
            json.dumps({**spoken.document("openai-chat"), "usage": usage}).encode(),
            content_type="application/json",
        )
    async with in_front_of([answer]) as (front, _):
        await front.chat(stream=stream)
        await front.chat(stream=stream)
        rows = await booked(front, 2)
        assert rows_of(front, "SELECT * FROM quarantine") == []
    assert len(rows) == 2
    assert {row["output_tokens"] in range(20) for row in rows} == {True}
