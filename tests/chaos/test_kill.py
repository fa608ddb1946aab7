"""A gateway that is killed at any moment has lost nothing that a client was told, and counts nothing twice."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from proxy.billing.audit import audit
from tests.chaos.daemon import KILLS, PATIENCE, Daemon, daemon
from tests.integration import spoken

SEED = 4
STEPS = [
    "before:pwrite",
    "after:pwrite",
    "at:half a write",
    "before:fdatasync",
    "after:fdatasync",
    "after:posix_fallocate",
    "before:link",
    "after:link",
    "before:ftruncate",
    "after:BEGIN",
    "after:INSERT INTO requests",
    "after:INSERT INTO usage_daily",
    "before:COMMIT",
    "after:COMMIT",
    "before:unlink",
    "after:unlink",
]
ROUNDS = max(KILLS // len(STEPS), 1)
"""How often each step is killed at."""


def check(one: Daemon) -> str:
    """Compare what clients were told with what is kept; return the figures."""
    rows = {row["request_id"]: row for row in one.rows("SELECT * FROM requests_v1")}
    lost = [request_id for request_id in one.acked if request_id not in rows]
    (days,) = one.rows("SELECT sum(requests) AS requests FROM usage_daily_v1")
    doubled = days["requests"] - len(rows)
    wrong = [
        rows[request_id]
        for request_id in one.acked
        if request_id in rows
        and (
            rows[request_id]["input_tokens"],
            rows[request_id]["cache_read_tokens"],
            rows[request_id]["output_tokens"],
            rows[request_id]["error_type"],
            rows[request_id]["status"],
        )
        != (spoken.INPUT, spoken.CACHED, spoken.OUTPUT, None, 200)
    ]
    found = audit(one.state / "ledger.db")
    figures = (
        f"{len(one.acked)} acked, {len(rows)} kept, {len(lost)} lost, {doubled} doubled, {len(wrong)} wrong, "
        f"{found.quarantined} in quarantine, {len(found.faults)} faults of the audit"
    )
    assert (lost, doubled, wrong, found.quarantined, found.faults) == ([], 0, [], 0, []), figures
    return figures


@pytest.mark.timeout(PATIENCE)
async def test_nothing_is_lost_or_doubled_by_kills_at_random_moments(tmp_path: Path):
    moments = random.Random(SEED)
    async with daemon(tmp_path) as one:
        for turn in range(KILLS):
            await one.start()
            async with asyncio.TaskGroup() as group:
                group.create_task(one.load())
                await asyncio.sleep(0.1 + moments.random() * 0.5)
                if turn % 6 == 5:
                    assert await one.stop() == 0
                else:
                    one.kill()
        await one.start()
        assert await one.stop() == 0
        print(f"seed {SEED}, {KILLS} ends:", check(one))  # noqa: T201 - the figures
        assert len(one.acked) > KILLS


@pytest.mark.timeout(60 + 6 * ROUNDS * len(STEPS))
async def test_nothing_is_lost_or_doubled_by_a_kill_at_any_step(tmp_path: Path):
    moments = random.Random(SEED)
    ended = []
    async with daemon(tmp_path) as one:
        for step in STEPS * ROUNDS:
            often = step.endswith(("pwrite", "a write"))
            count = moments.randrange(1, 300) if often else moments.randrange(1, 4)
            try:
                await one.start("tests/chaos/dying.py", step, str(count))
                async with asyncio.timeout(10):
                    await one.load()
            except ConnectionError:
                pass  # it did not live to accept anything
            assert one.process is not None
            ended.append((step, one.process.wait(10)))
        await one.start()
        assert await one.stop() == 0
        print(f"seed {SEED}, {len(ended)} kills:", check(one))  # noqa: T201 - the figures
    assert {code for _, code in ended} == {-9}, ended


async def test_a_second_daemon_on_the_same_directory_is_refused(tmp_path: Path):
    async with daemon(tmp_path) as one:
        await one.start()
        config = (tmp_path / "config.toml").read_text().replace("unix:socket", "unix:other")
        (tmp_path / "config.toml").write_text(config)
        with pytest.raises(ConnectionError, match="ended with 1"):
            await Daemon(tmp_path, "other").start()
        said = [line for line in one.log().splitlines() if line.startswith("splice: ")]
        assert len(said) == 1
        assert "in use by process" in said[0]


async def test_a_stream_that_was_cut_by_a_kill_is_settled_by_its_last_note(tmp_path: Path):
    async def endless(reader, writer, asked):
        writer.write(spoken.HEAD + spoken.chunk(spoken.metadata("openai-chat")))
        while True:
            writer.write(spoken.chunk(spoken.text("openai-chat", "word ")))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with daemon(tmp_path, endless) as one:
        await one.start()
        wire = await one.wire()
        asked = asyncio.get_running_loop().create_task(one.ask(wire, stream=True))
        await asyncio.sleep(2.5)
        one.kill()
        assert not (await asked).whole
        wire.leave()
        await one.start()
        assert await one.stop() == 0
        (row,) = one.rows("SELECT * FROM requests_v1")
    assert (row["error_type"], row["estimated"], row["status"]) == ("interrupted", 1, 200)
    assert row["output_tokens"] > 10
    assert row["duration_us"] >= 1_000_000
