"""The configuration file is read again while requests run: what is right holds from the next one on, what is wrong changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from proxy.config import ConfigError, key_hash, load
from tests.integration import spoken
from tests.integration.gateway import (
    KEY,
    Gateway,
    account,
    chat_body,
    config_text,
    gateway,
    upstream,
)
from tests.integration.scripted import Pause, Scripted, Step, settled, whole

DIALECT = "openai-chat"
NEW_KEY = "sk-splice-a-key-that-comes-later"


class Reloadable:
    """A gateway and the file that it was read from."""

    def __init__(self, front: Gateway, path: Path) -> None:
        self.front, self.path = front, path

    async def with_(self, text: str) -> list[str]:
        """Write ``text`` to the file and reload; return the changes."""
        self.path.write_text(text)
        return [str(change) for change in await self.front.running.reload()]


@contextlib.asynccontextmanager
async def reloadable(text: str, tmp_path: Path) -> AsyncIterator[Reloadable]:
    path = tmp_path / "config.toml"
    path.write_text(text)
    async with gateway(text, path=path) as front:
        yield Reloadable(front, path)


def key_table(name: str, token: str) -> str:
    return f'[[keys]]\nname = "{name}"\nhash = "sha256:{key_hash(token)}"\n'


async def test_a_key_and_a_model_that_were_added_work_from_the_next_request_on(tmp_path):
    async with Scripted([spoken.told(DIALECT)]) as up:
        text = config_text(upstream(up.url))
        async with reloadable(text, tmp_path) as one:
            assert (await one.front.chat("smart")).status == 404
            added = '[[models]]\nname = "smart"\ntargets = ["up/m"]\n' + key_table("late", NEW_KEY)
            assert await one.with_(text + added) == ["models.smart: added", "keys.late: added"]
            assert (await one.front.chat("smart")).status == 200
            answer = await one.front.post(
                "/v1/chat/completions", chat_body(), authorization=f"Bearer {NEW_KEY}"
            )
            assert answer.status == 200


async def test_a_key_that_was_removed_is_unknown_at_once(tmp_path):
    async with Scripted([spoken.told(DIALECT)]) as up:
        text = config_text(upstream(up.url))
        async with reloadable(text, tmp_path) as one:
            assert (await one.front.chat()).status == 200
            changed = text.replace(key_hash(KEY), key_hash(NEW_KEY))
            (change,) = await one.with_(changed)
            assert change.startswith("keys.tester.hash: sha256:")
            assert (await one.front.chat()).status == 401


async def test_a_faulty_file_changes_nothing_and_every_fault_is_told(tmp_path):
    async with Scripted([spoken.told(DIALECT)]) as up:
        text = config_text(upstream(up.url))
        async with reloadable(text, tmp_path) as one:
            with pytest.raises(ConfigError) as raised:
                await one.with_(text.replace("[server]", "[server]\nexposed = []\nmax_body = 0"))
            assert len(raised.value.faults) == 2
            assert (await one.front.chat()).status == 200
            assert one.front.running.gateway.config == load_from(text, one.path)


async def test_a_price_list_that_cannot_be_read_changes_nothing_of_the_rest(tmp_path):
    said: list[Step] = [spoken.told(DIALECT)]
    async with Scripted(said) as up, Scripted(said) as other:
        text = config_text(upstream(up.url))
        async with reloadable(text, tmp_path) as one:
            gateway = one.front.running.gateway
            (gateway.config.state.directory / "prices.json").write_text("{not json")
            changed = config_text(upstream(other.url), limits="concurrency = 1")
            with pytest.raises(ConfigError, match="found no price list"):
                await one.with_(changed + key_table("late", NEW_KEY))
            assert (await one.front.chat()).status == 200
            assert len(up.requests) == 1
            assert gateway.config.limits.concurrency == 64
            seat = gateway.pool.seat("up")
            assert seat is not None
            assert seat.provider.base_url == up.url


def load_from(text: str, path: Path):
    path.write_text(text)
    return load(path, {})


async def test_a_stream_that_runs_ends_as_it_began_though_its_account_is_gone(tmp_path):
    go_on = asyncio.Event()

    async def held(reader, writer, request):
        streamed = spoken.streamed(DIALECT, "still here")
        writer.write(streamed[:-40])
        await go_on.wait()
        writer.write(streamed[-40:])

    async with (
        Scripted(held) as before,
        Scripted([spoken.told(DIALECT)]) as after,
        reloadable(config_text(upstream(before.url)), tmp_path) as one,
        asyncio.TaskGroup() as calls,
    ):
        running = calls.create_task(one.front.chat(stream=True))
        await settled(lambda: before.requests)
        changes = await one.with_(config_text(upstream(after.url, name="other")))
        assert "accounts.up: removed" in changes
        assert "accounts.other: added" in changes
        assert (await one.front.chat()).status == 404
        assert (await one.front.chat("other/m")).status == 200
        go_on.set()
        answer = await running
        assert answer.status == 200
        assert b"still here" in answer.body
        assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_an_account_keeps_its_cooldown_unless_it_gets_another_credential(tmp_path):
    async with Scripted([whole(b"{}", "429 Too Many", retry_after="99", **spoken.JSON)]) as up:
        text = config_text(upstream(up.url))
        async with reloadable(text, tmp_path) as one:
            pool = one.front.running.gateway.pool
            assert (await one.front.chat()).status == 429
            assert pool.why("up", loop_time())
            await one.with_(text + "[retry]\nattempts = 2\n")
            assert pool.why("up", loop_time())
            changes = await one.with_(text.replace("sk-upstream-secret", "sk-another-secret"))
            assert "accounts.up.api_key: another secret" in changes
            assert not pool.why("up", loop_time())


def loop_time() -> float:
    return asyncio.get_running_loop().time()


async def test_what_an_account_and_a_key_have_used_is_not_forgotten(tmp_path):
    async with Scripted([spoken.told(DIALECT)]) as up:
        text = config_text(upstream(up.url)).replace(
            'name = "tester"\n', 'name = "tester"\nrpm = 10\n'
        )
        async with reloadable(text, tmp_path) as one:
            first = await one.front.chat()
            assert first.headers["x-ratelimit-remaining-requests"] == "9"
            await one.with_(text.replace("rpm = 10", "rpm = 20"))
            second = await one.front.chat()
            assert second.headers["x-ratelimit-limit-requests"] == "20"
            assert second.headers["x-ratelimit-remaining-requests"] == "18"


async def test_a_call_that_waits_for_a_slot_is_let_in_when_the_reload_brings_one(tmp_path):
    async with Scripted([Pause(1.0), spoken.told(DIALECT)]) as slow:
        provider = f'[providers.up]\ndialects = ["openai-chat"]\nbase_url = "{slow.url}"\n'
        narrow = config_text(provider, account("a", "up", concurrency="1"))
        wide = narrow.replace("concurrency = 1\n", "concurrency = 2\n")
        async with reloadable(narrow, tmp_path) as one, asyncio.TaskGroup() as calls:
            first, second = (calls.create_task(one.front.chat()) for _ in range(2))
            await settled(lambda: len(one.front.running.gateway.means.queue) == 1)
            assert await one.with_(wide) == ["accounts.a.concurrency: 1 -> 2"]
            await settled(lambda: len(slow.requests) == 2)
            assert ((await first).status, (await second).status) == (200, 200)


async def test_the_level_of_the_log_and_the_headers_shown_change(tmp_path):
    async with Scripted([spoken.told(DIALECT)]) as up:
        text = config_text(upstream(up.url))
        async with reloadable(text, tmp_path) as one:
            assert "x-splice-account" not in (await one.front.chat()).headers
            told = config_text(upstream(up.url), server='expose = ["account"]')
            await one.with_(told + '[logging]\nlevel = "error"\n')
            assert (await one.front.chat()).headers["x-splice-account"] == "up"
            assert len(await one.front.requests()) == 1


async def test_another_address_is_told_to_need_a_restart(tmp_path):
    text = config_text(upstream("http://127.0.0.1:9"))
    async with reloadable(text, tmp_path) as one:
        changes = await one.with_(text.replace("127.0.0.1:0", "127.0.0.1:1"))
        assert changes == ['server.listen: ["127.0.0.1:0"] -> ["127.0.0.1:1"] (after a restart)']


def certificate(directory: Path, name: str) -> str:
    """Make a certificate for ``name``; return the line of [server] that has it served."""
    openssl = which("openssl")
    if openssl is None:
        pytest.skip("the openssl command is missing, and a certificate needs it")
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    files = f"-keyout {directory}/key.pem -out {directory}/cert.pem -subj /CN={name}"
    subprocess.run([*command.split(), *files.split()], check=True, capture_output=True)
    return f'tls = {{ cert_file = "{directory}/cert.pem", key_file = "{directory}/key.pem" }}'


async def test_a_renewed_certificate_is_shown_to_new_connections_and_a_broken_one_is_refused(
    tmp_path,
):
    line = certificate(tmp_path, "old")
    text = config_text(upstream("http://127.0.0.1:9"), server=line)
    async with reloadable(text, tmp_path) as one:

        async def shown() -> str:
            address = one.front.address
            assert isinstance(address, tuple)
            return await asyncio.to_thread(ssl.get_server_certificate, address)

        old = await shown()
        certificate(tmp_path, "new")
        await one.with_(text)
        renewed = await shown()
        assert renewed != old
        (tmp_path / "key.pem").write_text("nothing")
        with pytest.raises(ConfigError, match="no usable certificate"):
            await one.with_(text)
        assert await shown() == renewed


def test_a_hangup_signal_reloads_and_the_log_tells_what_came_of_it(tmp_path):
    path = tmp_path / "config.toml"
    text = config_text(upstream("http://127.0.0.1:9"))
    path.write_text(text)
    command = [sys.executable, "-m", "proxy", "serve", "-c", str(path)]
    daemon = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "HOME": "/tmp"})
    try:

        def next_line(message: str) -> Any:
            for line in daemon.stderr or ():
                said = json.loads(line)
                if said["msg"] == message:
                    return said
            raise AssertionError(f"the daemon ended without saying {message!r}")

        next_line("ready")
        path.write_text(text + "[retry]\nattempts = 5\n")
        daemon.send_signal(signal.SIGHUP)
        assert next_line("configuration reloaded")["changes"] == ["retry.attempts: 3 -> 5"]
        path.write_text(text + "[retry]\nattempt = 5\n")
        daemon.send_signal(signal.SIGHUP)
        (fault,) = next_line("configuration not reloaded")["faults"]
        assert "retry.attempt:" in fault
        assert "attempts" in fault
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 0
    finally:
        daemon.kill()
        daemon.wait()
        daemon.communicate()


async def test_an_operator_reloads_over_the_daemon_s_socket(tmp_path):
    text = config_text(upstream("http://127.0.0.1:9"))
    async with reloadable(text, tmp_path) as one:
        one.path.write_text(text + "[retry]\nattempts = 5\n")
        told = await one.front.admin("POST", "reload")
        assert (told.status, json.loads(told.body)) == (
            200,
            {"changes": [{"key": "retry.attempts", "what": "3 -> 5"}]},
        )
        one.path.write_text(text + "[retry]\nattempt = 5\n")
        refused = await one.front.admin("POST", "reload")
        assert refused.status == 409
        assert b"retry.attempt:" in refused.body
        status = json.loads((await one.front.admin("GET", "status")).body)
        assert status["last_reload_failed"] is True
        assert one.front.running.gateway.config.retry.attempts == 5


def test_the_command_prints_what_is_different_or_what_is_wrong(tmp_path):
    path = tmp_path / "config.toml"
    text = config_text(upstream("http://127.0.0.1:9"))
    path.write_text(text)
    splice = [sys.executable, "-m", "proxy"]
    environ = {**os.environ, "HOME": str(tmp_path)}
    with subprocess.Popen(
        [*splice, "serve", "-c", str(path)], stderr=subprocess.PIPE, env=environ
    ) as daemon:
        try:
            assert any(b'"ready"' in line for line in daemon.stderr or ())

            def reloaded() -> tuple[int, str, str]:
                done = subprocess.run(
                    [*splice, "reload", "-c", str(path)],
                    capture_output=True,
                    text=True,
                    env=environ,
                    check=False,
                )
                return done.returncode, done.stdout, done.stderr

            assert reloaded() == (0, "nothing has changed\n", "")
            path.write_text(text + "[retry]\nattempts = 5\n")
            assert reloaded() == (0, "retry.attempts: 3 -> 5\n", "")
            path.write_text(text + "[retry]\nattempts = 0\n")
            code, said, complaint = reloaded()
            assert (code, said) == (1, "")
            assert "stays as it was" in complaint
            assert "retry.attempts" in complaint
        finally:
            daemon.terminate()
            daemon.communicate()
