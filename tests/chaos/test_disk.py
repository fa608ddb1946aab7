"""A full disk, a locked database and a backup under load: what was begun is finished, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from proxy.billing.database import connect
from tests.chaos.daemon import ROOT, Daemon, daemon
from tests.chaos.test_kill import check
from tests.integration import spoken

PATIENCE = 120


def disk(one: Daemon, *, full: bool) -> None:
    """Let no file of the daemon grow, or let them again; for a file that is as good as a full disk."""
    assert one.process is not None
    _, hard = resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE)
    soft = 0 if full else hard
    resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


def splice(one: Daemon, *line: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxy", *line, "-c", str(one.directory / "config.toml")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.timeout(PATIENCE)
async def test_on_a_full_disk_streams_finish_and_new_calls_are_turned_away(tmp_path: Path):
    go_on = asyncio.Event()

    async def slow(reader, writer, asked):
        if b'"stream": true' not in asked.body:
            writer.write(spoken.told("openai-chat"))
            return
        writer.write(
            spoken.HEAD
            + spoken.chunk(spoken.metadata("openai-chat") + spoken.text("openai-chat", "He"))
        )
        await go_on.wait()
        writer.write(
            spoken.chunk(spoken.more("openai-chat", "llo") + spoken.end("openai-chat"))
            + spoken.LAST
        )

    async with daemon(tmp_path, slow) as one:
        await one.start()
        wires = [await one.wire() for _ in range(6)]
        try:
            async with asyncio.TaskGroup() as group:
                streams = [group.create_task(one.ask(wire, stream=True)) for wire in wires[:4]]
                await one.ask(wires[4])
                await asyncio.sleep(0.5)
                disk(one, full=True)
                # The first to end finds out; it is still answered, and kept in memory.
                before = await one.ask(wires[4])
                refused = await one.ask(wires[5])
                go_on.set()
            disk(one, full=False)
            async with asyncio.timeout(5):
                while (again := await one.ask(wires[5])).status != 200:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.1)
        finally:
            for wire in wires:
                wire.leave()
        told = [stream.result() for stream in streams]
        assert {(stream.status, stream.whole, stream.text) for stream in told} == {
            (200, True, "Hello")
        }
        assert (before.status, again.status) == (200, 200)
        assert (refused.status, refused.error["code"]) == (503, "ledger_unavailable")
        assert int(refused.headers["retry-after"]) > 0
        await asyncio.sleep(0.5)
        one.kill()
        await one.start()
        assert await one.stop() == 0
        print("full disk:", check(one))  # noqa: T201 - the figures
        assert len(one.acked) == 7


@pytest.mark.timeout(PATIENCE)
async def test_a_locked_database_delays_the_ledger_and_nothing_else(tmp_path: Path):
    async with daemon(tmp_path) as one:
        await one.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(one.load())
            # The upkeep of the start writes too, and would take the lock's first seconds upon itself.
            while one.rows("SELECT folded_until AS day FROM standing") == [{"day": "1970-01-01"}]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
            with closing(connect(one.state / "ledger.db")) as other:
                other.execute("BEGIN IMMEDIATE")
                (before,) = one.rows("SELECT count(*) AS n FROM requests_v1")
                acked = len(one.acked)
                await asyncio.sleep(7)
                (during,) = one.rows("SELECT count(*) AS n FROM requests_v1")
                answered = len(one.acked) - acked
                other.execute("ROLLBACK")
            assert during == before
            assert answered > 100
            await asyncio.sleep(1.5)
            assert await one.stop() == 0
        assert "the ledger cannot be written, and is tried again" in one.log()
        print(f"locked: {answered} answered meanwhile;", check(one))  # noqa: T201 - the figures


@pytest.mark.timeout(PATIENCE)
async def test_a_backup_under_load_is_rolled_forward_to_the_last_request(tmp_path: Path):
    async with daemon(tmp_path) as one:
        await one.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(one.load())
            await asyncio.sleep(1)
            copied = await asyncio.to_thread(splice, one, "backup", str(tmp_path / "copy.db"))
            await asyncio.sleep(1)
            one.kill()
        assert copied.returncode == 0, copied.stderr
        (one.state / "ledger.db").write_bytes(b"\xff" * 65_536)
        with pytest.raises(ConnectionError, match="ended with 1"):
            await one.start()
        assert "splice restore FILE" in one.log()
        restored = splice(one, "restore", str(tmp_path / "copy.db"))
        assert restored.returncode == 0, restored.stderr
        await one.start()
        shown = json.loads(splice(one, "usage", "--json").stdout)
        assert await one.stop() == 0
        print("backup:", check(one))  # noqa: T201 - the figures
        assert shown[0]["requests"] >= len(one.acked)


async def test_without_room_for_a_journal_the_gateway_does_not_start(tmp_path: Path):
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit (util-linux) is not here")
    async with daemon(tmp_path) as one:
        command = [
            "prlimit",
            "--fsize=1048576",
            sys.executable,
            "-m",
            "proxy",
            "serve",
            "-c",
            str(tmp_path / "config.toml"),
        ]
        ended = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 1
        said = [line for line in ended.stderr.splitlines() if line.startswith("splice: ")]
        assert len(said) == 1
        assert "journal (File too large), expected a directory with 64 MiB free" in said[0]
        assert one.process is None
