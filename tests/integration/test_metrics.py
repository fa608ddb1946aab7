"""What a scrape tells after calls that went well, badly, or to another account; and that nobody else's words are in it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from time import time
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from proxy.billing.database import NAME, connect
from proxy.metrics import METRICS, PREFIX
from tests.exposition import labels, samples
from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    PATHS,
    Gateway,
    account,
    body_of,
    chat_body,
    config_text,
    gateway,
    upstream,
)
from tests.integration.scripted import Cut, Scripted, settled, whole
from tests.integration.test_disconnect import Watched
from tests.integration.wire import Answered, Wire, encoded, request

ROOT = Path(__file__).parents[2]
CHAT = PATHS["chat"]
ADMIN = 'listen = ["127.0.0.1:0"]\nread_token = "reads"'
SPELT = '[[models]]\nname = "smart"\ntargets = ["up/m"]\n'
ONCE = "attempts = 1"
LIMITED = whole(b'{"error":{"message":"slow"}}', "429 Slow", retry_after="60", **spoken.JSON)


def admin_address(front: Gateway) -> tuple[str, int]:
    address = front.running.admin_addresses[0]
    assert isinstance(address, tuple)
    return address


async def page(front: Gateway, method: str = "GET", **headers: str) -> Answered:
    wire = front.keep(await Wire.open(admin_address(front), limit=1 << 22))
    wire.send(request(method, "/metrics", b"", **{"host": "localhost", **headers}))
    return await wire.answer(bodiless=method == "HEAD")


async def scraped(front: Gateway) -> dict[str, float]:
    """Return every sample of a scrape that is not 0, names without the prefix."""
    told = await page(front)
    assert told.status == 200
    return {
        name.removeprefix(PREFIX): value
        for name, value in samples(told.body.decode()).items()
        if value
    }


def about(found: dict[str, float], *names: str) -> dict[str, float]:
    """Return the samples of the metrics ``names``."""
    return {name: value for name, value in found.items() if name.partition("{")[0] in names}


@asynccontextmanager
async def two(first: object, second: object, **sections: str) -> AsyncIterator[Gateway]:
    """Run a gateway in front of the accounts a, which is asked first, and b, of one provider; its model is ``smart``."""
    async with Scripted(first) as a, Scripted(second) as b:  # type: ignore[arg-type]
        text = config_text(
            '[providers.up]\ndialects = ["openai-chat"]\nbase_url = "http://127.0.0.1:9"\n',
            account("a", "up", base_url=f'"{a.url}"', priority="1"),
            account("b", "up", base_url=f'"{b.url}"', priority="2"),
            SPELT,
            **{"admin": ADMIN, **sections},
        )
        async with gateway(text) as front:
            yield front


# What happened.


async def test_a_call_that_goes_well():
    async with two([spoken.told("openai-chat")], [Cut()]) as front:
        assert (await front.chat("smart")).status == 200
        await front.requests()
        found = await scraped(front)
    used = 'model="smart",provider="up"'
    assert about(
        found, "requests_total", "input_tokens_total", "cache_read_tokens_total",
        "output_tokens_total", "requests_unpriced_total", "upstream_attempts_total",
        "request_duration_seconds_count", "overhead_duration_seconds_count", "time_to_first_token_seconds_count",
        "failovers_total", "cooldowns_total", "limit_rejections_total", "client_disconnects_total",
    ) == {
        f'requests_total{{code="200",error_type="",{used},route="{CHAT}"}}': 1,
        f"input_tokens_total{{{used}}}": spoken.INPUT,
        f"cache_read_tokens_total{{{used}}}": spoken.CACHED,
        f"output_tokens_total{{{used}}}": spoken.OUTPUT,
        'requests_unpriced_total{model="smart"}': 1,
        'upstream_attempts_total{account="a",outcome="success",provider="up"}': 1,
        f'request_duration_seconds_count{{provider="up",route="{CHAT}"}}': 1,
        f'overhead_duration_seconds_count{{route="{CHAT}"}}': 1,
    }  # fmt: skip


async def test_a_stream_is_timed_by_its_tokens():
    async with two([spoken.streamed("openai-chat", "He", "llo")], [Cut()]) as front:
        assert (await front.chat("smart", stream=True)).text == "Hello"
        await front.requests()
        found = await scraped(front)
    assert about(
        found, "time_to_first_token_seconds_count", "time_per_output_token_seconds_count",
        "stream_max_gap_seconds_count", "overhead_duration_seconds_count",
    ) == {
        f'time_to_first_token_seconds_count{{provider="up",route="{CHAT}"}}': 1,
        'time_per_output_token_seconds_count{provider="up"}': 1,
        'stream_max_gap_seconds_count{provider="up"}': 1,
        f'overhead_duration_seconds_count{{route="{CHAT}"}}': 1,
    }  # fmt: skip


async def test_the_longest_silence_of_a_stream_is_found():
    go_on = asyncio.Event()

    async def pausing(reader, writer, request):
        begun = spoken.metadata("openai-chat") + spoken.text("openai-chat", "He")
        writer.write(spoken.HEAD + spoken.chunk(begun))
        await go_on.wait()
        writer.write(spoken.chunk(spoken.end("openai-chat")) + spoken.LAST)

    async with two(pausing, [Cut()]) as front:
        asked = asyncio.get_running_loop().create_task(front.chat("smart", stream=True))
        await settled(lambda: any(one.record.max_gap > 0.15 for one in front.running.gateway.calls))
        go_on.set()
        await asked
        found = await scraped(front)
    assert found['stream_max_gap_seconds_sum{provider="up"}'] > 0.15
    assert found["event_loop_lag_seconds_count"] > 1
    # Waiting for an upstream is none of our own time.
    whole_time = found[f'request_duration_seconds_sum{{provider="up",route="{CHAT}"}}']
    ours = found.get(f'overhead_duration_seconds_sum{{route="{CHAT}"}}', 0.0)
    assert whole_time - ours > 0.15


async def test_a_slow_client_is_none_of_our_own_time():
    async with two([spoken.told("openai-chat")], [Cut()]) as front:
        wire = await front.wire()
        asking = request("POST", CHAT, encoded(chat_body("smart")), authorization=BEARER)
        wire.send(asking[:-5])
        await asyncio.sleep(0.2)
        wire.send(asking[-5:])
        assert (await wire.answer()).status == 200
        found = await scraped(front)
    whole_time = found[f'request_duration_seconds_sum{{provider="up",route="{CHAT}"}}']
    ours = found.get(f'overhead_duration_seconds_sum{{route="{CHAT}"}}', 0.0)
    assert whole_time - ours > 0.15


async def test_a_429_moves_the_call_to_another_account():
    async with two([LIMITED], [spoken.told("openai-chat")]) as front:
        for _ in range(2):
            assert (await front.chat("smart")).status == 200
        await front.requests(2)
        found = await scraped(front)
    assert about(
        found, "requests_total", "upstream_attempts_total", "failovers_total", "cooldowns_total",
        "account_state", "accounts", "accounts_available",
    ) == {
        f'requests_total{{code="200",error_type="",model="smart",provider="up",route="{CHAT}"}}': 2,
        'upstream_attempts_total{account="a",outcome="upstream_rate_limited",provider="up"}': 1,
        'upstream_attempts_total{account="b",outcome="success",provider="up"}': 2,
        'failovers_total{cause="burst"}': 1,
        'cooldowns_total{account="a",cause="burst"}': 1,
        # The model rests, not the account.
        'account_state{account="a",state="available"}': 1,
        'account_state{account="b",state="available"}': 1,
        'accounts{provider="up"}': 2,
        'accounts_available{provider="up"}': 2,
    }  # fmt: skip
    benched = about(found, "account_cooldown_until_timestamp_seconds")
    assert list(benched) == ['account_cooldown_until_timestamp_seconds{account="a"}']
    began = found["config_last_reload_success_timestamp_seconds"]
    assert began + 55 < benched.popitem()[1] < began + 120


async def test_an_account_that_is_refused_is_not_available():
    refused = whole(b'{"error":{"message":"no"}}', "401 No", **spoken.JSON)
    async with two([refused], [spoken.told("openai-chat")]) as front:
        await front.chat("smart")
        found = await scraped(front)
    assert about(found, "account_state", "accounts_available") == {
        'account_state{account="a",state="cooling"}': 1,
        'account_state{account="b",state="available"}': 1,
        'accounts_available{provider="up"}': 1,
    }


async def test_twenty_calls_that_meet_one_outage_count_it_once():
    go_on = asyncio.Event()

    async def held(reader, writer, request):
        await go_on.wait()
        writer.write(LIMITED)

    async with two(held, [spoken.told("openai-chat")], retry=ONCE) as front:
        calls = [front.chat("smart") for _ in range(20)]
        asked = asyncio.gather(*calls)
        pool = front.running.gateway.pool
        seat = pool.seat("a")
        assert seat is not None
        await settled(lambda: seat.in_flight == 20)
        go_on.set()
        assert {one.status for one in await asked} == {429}
        found = await scraped(front)
    assert about(found, "cooldowns_total") == {'cooldowns_total{account="a",cause="burst"}': 1}


async def test_a_client_that_leaves_is_counted_with_its_phase_and_its_try():
    watched = Watched(
        spoken.HEAD
        + spoken.chunk(spoken.metadata("openai-chat") + spoken.text("openai-chat", "He"))
    )
    async with two(watched, [Cut()]) as front:
        wire = await front.wire()
        body = encoded(body_of("chat", "smart", stream=True))
        wire.send(request("POST", CHAT, body, authorization=BEARER))
        await wire.head()
        await wire.chunk()
        running = await scraped(front)
        wire.leave()
        await front.requests()
        await settled(lambda: not front.running.gateway.calls)
        found = await scraped(front)
    names = ("requests_in_flight", "streams_in_flight", "account_requests_in_flight")
    assert about(running, *names, "upstream_connections") == {
        'requests_in_flight{phase="streaming",provider="up"}': 1,
        "streams_in_flight": 1,
        'account_requests_in_flight{account="a"}': 1,
        'upstream_connections{provider="up",state="active"}': 1,
    }
    assert about(found, *names, "requests_total", "client_disconnects_total", "upstream_attempts_total",
                 "requests_estimated_total", "upstream_connections") == {
        f'requests_total{{code="499",error_type="cancelled",model="smart",provider="up",route="{CHAT}"}}': 1,
        'client_disconnects_total{phase="streaming"}': 1,
        'upstream_attempts_total{account="a",outcome="cancelled",provider="up"}': 1,
        'requests_estimated_total{provider="up",reason="client_left"}': 1,
    }  # fmt: skip


async def test_a_stream_that_breaks_is_a_200_with_an_error_type():
    broken = spoken.HEAD + spoken.chunk(
        spoken.metadata("openai-chat") + spoken.text("openai-chat", "He")
    )
    async with two([broken, Cut()], [Cut()]) as front:
        await front.chat("smart", stream=True)
        await front.requests()
        found = await scraped(front)
    assert about(found, "requests_total", "upstream_attempts_total") == {
        f'requests_total{{code="200",error_type="truncated",model="smart",provider="up",route="{CHAT}"}}': 1,
        'upstream_attempts_total{account="a",outcome="truncated",provider="up"}': 1,
    }


async def test_what_the_provider_says_is_left_is_told():
    said = whole(
        json.dumps(spoken.document("openai-chat")).encode(),
        x_ratelimit_remaining_requests="41",
        x_ratelimit_remaining_tokens="9000",
        **spoken.JSON,
    )
    async with two([said], [Cut()]) as front:
        await front.chat("smart")
        found = await scraped(front)
    assert about(found, "account_remaining_requests", "account_remaining_tokens") == {
        'account_remaining_requests{account="a"}': 41,
        'account_remaining_tokens{account="a"}': 9000,
    }


async def test_a_key_that_is_at_its_limit_is_counted_by_the_limit():
    async with (
        Scripted([spoken.told("openai-chat")]) as up,
        gateway(
            config_text(upstream(up.url), SPELT + "rpm = 1\n", admin=ADMIN)
        ) as front,
    ):  # fmt: skip
        assert [(await front.chat("smart")).status for _ in range(3)] == [200, 429, 429]
        found = await scraped(front)
    assert about(found, "limit_rejections_total") == {'limit_rejections_total{kind="requests"}': 2}


async def test_calls_that_wait_are_seen_waiting_and_counted_when_they_go():
    go_on = asyncio.Event()

    async def held(reader, writer, request):
        await go_on.wait()
        writer.write(spoken.told("openai-chat"))

    async with Scripted(held) as up:
        tables = (upstream(up.url) + "concurrency = 1\n", SPELT)
        async with gateway(config_text(*tables, admin=ADMIN)) as front:
            asked = asyncio.gather(front.chat("smart"), front.chat("smart"))
            await settled(lambda: len(front.running.gateway.means.queue) and up.requests)
            waiting = await scraped(front)
            go_on.set()
            await asked
            found = await scraped(front)
    assert about(waiting, "requests_queued", "requests_in_flight", "account_state") == {
        "requests_queued": 1,
        'requests_in_flight{phase="queued",provider=""}': 1,
        'requests_in_flight{phase="waiting",provider="up"}': 1,
        'account_state{account="up",state="full"}': 1,
    }
    assert found["queue_duration_seconds_count"] == 1


async def test_the_books_tell_how_far_behind_they_are_and_what_room_they_have(monkeypatch):
    async with two([spoken.told("openai-chat")], [Cut()]) as front:
        books = front.running.gateway.books
        failing = books.ledger.commit
        held = asyncio.Event()

        async def late(*batch):
            await held.wait()
            return await failing(*batch)

        monkeypatch.setattr(type(books.ledger), "commit", lambda _, *batch: late(*batch))
        assert (await front.chat("smart")).status == 200
        await front.requests()
        waiting = await scraped(front)
        held.set()
        await settled(lambda: not books.behind)
        directory = books.directory
        files = [directory / name for name in ("ledger.db", "ledger.db-wal")]
        before = sum(one.stat().st_size for one in files)
        found = await scraped(front)
        # The batch that is being booked may still be growing the second file.
        after = sum(one.stat().st_size for one in files)
        shutil.rmtree(directory)
        gone = await scraped(front)
    began = found["config_last_reload_success_timestamp_seconds"]
    assert waiting["ledger_pending_records"] == 1
    assert began - 1 < waiting["ledger_oldest_pending_timestamp_seconds"] < began + 30
    assert not about(found, "ledger_pending_records", "ledger_oldest_pending_timestamp_seconds")
    assert found["ledger_rows_written_total"] == 1
    assert before <= found["database_size_bytes"] <= after
    assert found["state_free_bytes"] > 0
    assert not about(gone, "database_size_bytes", "state_free_bytes")
    listed = front.running.gateway.means.tariff.listed.date
    midnight = datetime(listed.year, listed.month, listed.day, tzinfo=UTC)
    assert found["prices_timestamp_seconds"] == midnight.timestamp()


# Who asks, and for what.


async def test_every_metric_is_there_from_the_start_and_no_other():
    async with two([Cut()], [Cut()]) as front:
        text = (await page(front)).body.decode()
    told = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    ours = {name: kind for name, kind in told if name.startswith(PREFIX)}
    assert ours == {PREFIX + name: metric.kind for name, metric in METRICS.items()}
    others = {name for name, _ in told} - ours.keys()
    assert {
        "process_open_fds",
        "process_cpu_seconds_total",
        "python_gc_collections_total",
    } <= others
    assert all(name.startswith(("process_", "python_gc_")) for name in others)
    found = samples(text)
    assert (found["splice_ready"], found["splice_config_last_reload_successful"]) == (1, 1)
    assert "_created" not in text


@pytest.mark.skipif(
    which("openssl") is None, reason="there is no openssl here, and TLS needs a certificate"
)
async def test_the_certificate_tells_when_it_ends(tmp_path):
    process = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-keyout", "key.pem", "-out", "cert.pem", "-days", "10", "-subj", "/CN=localhost",
        cwd=tmp_path, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0
    tls = f'tls = {{ cert_file = "{tmp_path}/cert.pem", key_file = "{tmp_path}/key.pem" }}'
    async with two([Cut()], [Cut()], server=tls) as front:
        found = await scraped(front)
    days = (
        found["tls_certificate_expiry_timestamp_seconds"]
        - found["config_last_reload_success_timestamp_seconds"]
    ) / 86_400
    assert 9.9 < days < 10.1


async def test_a_proxy_needs_a_token():
    async with two([Cut()], [Cut()]) as front:
        assert (await page(front, x_forwarded_for="192.0.2.1")).status == 401
        wrong = await page(front, x_forwarded_for="192.0.2.1", authorization="Bearer no")
        right = await page(front, x_forwarded_for="192.0.2.1", authorization="Bearer reads")
    assert (wrong.status, wrong.headers["www-authenticate"]) == (401, "Bearer")
    assert right.status == 200


async def test_only_reading_is_possible():
    async with two([Cut()], [Cut()]) as front:
        posted = await page(front, "POST")
        head = await page(front, "HEAD")
    assert (posted.status, posted.headers["allow"]) == (405, "GET, HEAD")
    assert (head.status, head.body) == (200, b"")


async def test_what_the_last_audit_found_is_told_also_after_a_restart(tmp_path):
    told = {"ledger_audit_difference_usd", "ledger_last_audit_timestamp_seconds"}
    text = config_text(admin=ADMIN)
    async with gateway(text, directory=tmp_path) as front:
        found = samples((await page(front)).body.decode())
        assert found[f"{PREFIX}ledger_last_audit_timestamp_seconds"] == 0
        assert f"{PREFIX}ledger_audit_difference_usd" not in found
        asked = await front.admin("GET", "audit")
        assert (asked.status, asked.json["ok"], asked.json["requests"]) == (200, True, 0)
        assert about(await scraped(front), *told).keys() == {"ledger_last_audit_timestamp_seconds"}
        with closing(connect(tmp_path / "state" / NAME)) as database:
            database.execute(
                "INSERT INTO credits (wallet_id, amount_micro, at) VALUES ('key:tester', 250000, 0)"
            )
        asked = await front.admin("GET", "audit")
        assert (asked.json["ok"], asked.json["difference_usd"]) == (False, "0.25")
    async with gateway(text, directory=tmp_path) as front:
        found = about(await scraped(front), *told)
        assert found["ledger_audit_difference_usd"] == 0.25
        assert time() - 60 < found["ledger_last_audit_timestamp_seconds"] <= time()


async def test_openmetrics_is_told_to_whoever_asks_for_it():
    async with two([Cut()], [Cut()]) as front:
        told = await page(front, accept="application/openmetrics-text; version=1.0.0")
    assert told.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert told.body.endswith(b"# EOF\n")


async def test_nothing_that_a_client_sends_becomes_a_label():
    tell_tales = [f"tell-tale-{n}" for n in range(8)]
    async with two([spoken.told("openai-chat")], [Cut()]) as front:
        for word in tell_tales:
            await front.post(CHAT, chat_body(f"up/{word}"), **{"x-request-id": word})
            await front.post(CHAT, chat_body(word), user_agent=word)
            await front.post(f"/{word}", {"model": word})
            await front.post(CHAT, {"model": "smart", "messages": word}, traceparent=word)
            await front.get(f"/v1/models/{word}?{word}={word}")
            await front.get(f"/v1/models/up/{quote(word)}", "OPTIONS", origin=f"http://{word}")
            await front.get("/v1/models", authorization=f"Bearer {word}")
        text = (await page(front)).body.decode()
    assert "tell-tale" not in text
    found = labels(text)
    assert found["model"] == {"", "other", "smart"}
    assert found["route"] == {"other", CHAT, "/v1/models", "/v1/models/{id}"}
    assert found["provider"] == {"", "up"}
    assert found["account"] == {"a", "b"}


# Prometheus itself. Debian: apt install prometheus.


@pytest.mark.skipif(
    which("promtool") is None, reason="there is no promtool here: install prometheus"
)
async def test_promtool_has_nothing_to_say():
    async with two([LIMITED], [spoken.told("openai-chat")]) as front:
        await front.chat("smart")
        text = (await page(front)).body
    process = await asyncio.create_subprocess_exec(
        "promtool", "check", "metrics",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate(text)
    assert (process.returncode, said) == (0, b"")


@pytest.mark.skipif(which("prometheus") is None, reason="there is no prometheus here: install it")
async def test_prometheus_scrapes_with_the_configuration_of_the_documentation(
    tmp_path, unused_tcp_port
):
    fence = re.search(
        r"^```yaml\n(scrape_configs:.*?)^```$",
        (ROOT / "docs/metrics.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert fence is not None
    async with two([LIMITED], [spoken.told("openai-chat")]) as front:
        await front.chat("smart")
        host, port = admin_address(front)
        config = fence[1].replace("127.0.0.1:8081", f"{host}:{port}")
        (tmp_path / "prometheus.yml").write_text("global:\n  scrape_interval: 200ms\n" + config)
        process = await asyncio.create_subprocess_exec(
            "prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{unused_tcp_port}", "--log.level=error",
        )  # fmt: skip
        try:
            found = await asyncio.wait_for(asked(unused_tcp_port), 20)
        finally:
            process.terminate()
            await process.wait()
    assert found == {
        'up{job="splice"}': 1,
        'splice_upstream_attempts_total{account="a",outcome="upstream_rate_limited"}': 1,
        'splice_upstream_attempts_total{account="b",outcome="success"}': 1,
    }


async def asked(port: int) -> dict[str, float]:
    """Wait until Prometheus has scraped; return what it knows of the scrape and of the tries."""
    while True:
        found = {}
        for name in ("up", "splice_upstream_attempts_total"):
            for one in await asyncio.to_thread(_query, port, name):
                told = one["metric"]
                kept = {k: v for k, v in told.items() if k in ("job", "account", "outcome")}
                if name != "up":
                    del kept["job"]
                inside = ",".join(f'{key}="{value}"' for key, value in sorted(kept.items()))
                found[f"{name}{{{inside}}}"] = float(one["value"][1])
        if len(found) >= 3:
            return found
        await asyncio.sleep(0.1)


def _query(port: int, name: str) -> list:
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={name}", timeout=5) as answer:
            found: list = json.load(answer)["data"]["result"]
    except OSError:
        return []
    return found
