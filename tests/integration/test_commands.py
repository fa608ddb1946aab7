"""The commands that ask a daemon, run as a user runs them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import proxy
from tests.integration import spoken
from tests.integration.gateway import BEARER, PATHS, SECRET, Gateway, body_of, config_text, upstream
from tests.integration.gateway import gateway as running
from tests.integration.scripted import Scripted, whole
from tests.integration.wire import encoded, request

PYTHONPATH = str(Path(proxy.__file__).parents[1])
DEAD = whole(b'{"error": {"message": "the key is \\u001b[31mdead\\u001b[0m"}}', "401 No")
ENDLESS = 'base = "5m"\nprobe_interval = "5m"'


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def environ() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SPLICE_", "XDG_", "RUNTIME_", "STATE_"))
    }
    return {**kept, "PYTHONPATH": PYTHONPATH}


async def splice(path: Path, *words: str) -> Ran:
    """Run ``splice -c path …``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "-c", str(path), *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ(),
    )
    out, err = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), err.decode())


async def on_a_terminal(path: Path, *words: str) -> str:
    """Run it with a terminal as its output; return what that shows."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "-c", str(path), *words), stdout=theirs, env=environ()
    )
    os.close(theirs)
    assert await process.wait() == 0
    seen = b""
    try:
        # When the other end is closed, what it has written is read to its end, and then this fails.
        while True:
            seen += os.read(ours, 65536)
    except OSError:
        return seen.decode().replace("\r\n", "\n")
    finally:
        os.close(ours)


class Up:
    """An upstream that answers nothing but what it is told, or holds its streams open."""

    def __init__(self) -> None:
        self.says: bytes | None = None
        self.server = Scripted(self)

    async def __call__(self, reader, writer, request):
        if self.says is not None:
            writer.write(self.says)
        elif request.method == "GET":
            writer.write(whole(b'{"data": []}'))
        else:
            begun = spoken.metadata("openai-chat") + spoken.text("openai-chat", "He")
            writer.write(spoken.HEAD + spoken.chunk(begun))
            with contextlib.suppress(ConnectionError):
                await reader.read()


@contextlib.asynccontextmanager
async def front(**sections: str) -> AsyncIterator[tuple[Gateway, Up]]:
    up = Up()
    async with (
        up.server,
        running(config_text(upstream(up.server.url), **sections)) as found,
    ):
        yield found, up


# Accounts.


async def test_the_accounts_are_listed_for_pipes_people_and_programs():
    async with front() as (found, _):
        plain = await splice(found.path, "accounts")
        explicit = await splice(found.path, "accounts", "list")
        seen = await on_a_terminal(found.path, "accounts")
        parsed = await splice(found.path, "accounts", "--json")
        also = await splice(found.path, "accounts", "list", "--json")
    assert (plain.code, plain.out, plain.err) == (0, "up\tup\tavailable\t-\t-\t0\t-\t-\n", "")
    assert explicit == plain
    assert seen == (
        "ACCOUNT  PROVIDER  STATE      CAUSE  BACK IN  IN FLIGHT  LEFT  BENCHED MODELS\n"
        "up       up        available  -      -        0          -     -\n"
    )
    assert parsed.json == also.json
    assert [one["name"] for one in parsed.json["data"]] == ["up"]


async def test_why_tells_an_operator_everything_and_their_terminal_nothing():
    async with front(cooldown=ENDLESS, retry='queue_timeout = "0s"') as (found, up):
        up.says = DEAD
        assert (await found.chat()).status == 502
        ran = await splice(found.path, "accounts", "why", "up")
        listed = await splice(found.path, "accounts")
        parsed = await splice(found.path, "accounts", "why", "up", "--json")
    first, second, third, fourth = ran.out.splitlines()
    assert ran.code == 0
    assert re.fullmatch(r"up \(up\): cooling \(auth\), back in (5m00s|4m5\ds), 0 in flight", first)
    moment = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(
        rf"  the account: open \(auth\), since {moment}, until {moment} \((5m00s|4m5\ds)\), found failing once",
        second,
    )
    assert third == "    evidence: upstream_auth, status 401"
    assert fourth.startswith("    in words: 401 ")
    assert "the key is" in fourth
    assert "\x1b" not in ran.out
    assert parsed.json["cause"] == "auth"
    assert re.fullmatch(r"up\tup\tcooling\tauth\t(5m00s|4m5\ds)\t0\t-\t-\n", listed.out)


async def test_an_account_is_tested_and_cleared_by_a_good_answer():
    async with front(cooldown=ENDLESS, retry='queue_timeout = "0s"') as (found, up):
        up.says = DEAD
        await found.chat()
        failed = await splice(found.path, "accounts", "test", "up", "--clear")
        up.says = None
        passed = await splice(found.path, "accounts", "test", "up", "--clear")
        parsed = await splice(found.path, "accounts", "test", "up", "--json")
        listed = await splice(found.path, "accounts")
    assert failed.code == 1
    assert failed.out.startswith("up: failed, upstream_auth (status 401 from http://127.0.0.1:")
    assert "\n  in words: 401 " in failed.out
    assert "\x1b" not in failed.out
    assert (passed.code, passed.out.startswith("up: ok, cleared (status 200 from ")) == (0, True)
    assert parsed.json["ok"] is True
    assert "\tavailable\t" in listed.out
    assert not any(SECRET in ran.out for ran in (failed, passed, parsed))


async def test_an_account_is_taken_out_and_put_back():
    async with front() as (found, _):
        ran = [await splice(found.path, "accounts", word, "up") for word in ("disable", "why")]
        ran += [await splice(found.path, "accounts", word, "up") for word in ("enable", "clear")]
        parsed = await splice(found.path, "accounts", "--json", "disable", "up")
    assert [one.code for one in ran] == [0, 0, 0, 0]
    assert "".join(one.out for one in ran) == (
        "up: disabled until it is enabled or the daemon restarts, 0 in flight\n"
        "up (up): disabled, 0 in flight\n"
        "  an operator disabled it, and `splice accounts enable` undoes that\n"
        "up: available, 0 in flight\n"
        "up: available, 0 in flight\n"
    )
    assert parsed.json["state"] == "disabled"


async def test_a_name_that_is_none_is_told_the_nearest():
    async with front() as (found, _):
        for action in ("why", "test", "disable", "enable", "clear"):
            ran = await splice(found.path, "accounts", action, "uq/../x y")
            assert (ran.code, ran.out) == (1, "")
            assert ran.err == (
                "splice: found no account 'uq/../x y', expected one of [[accounts]]; "
                "`splice accounts` lists them\n"
            )
        ran = await splice(found.path, "accounts", "why", "upp")
        assert ran.err.endswith("did you mean up?\n")


# Requests.


async def test_running_requests_are_listed_and_one_is_cancelled():
    async with front() as (found, _):
        empty = await splice(found.path, "requests", "--in-flight")
        wire = await found.wire()
        wire.send(
            request(
                "POST",
                PATHS["chat"],
                encoded(body_of("chat", stream=True)),
                authorization=BEARER,
                x_request_id="mine",
            )
        )
        request_id = (await wire.head())[1]["x-request-id"]
        plain = await splice(found.path, "requests", "--in-flight")
        seen = await on_a_terminal(found.path, "requests", "--in-flight")
        parsed = await splice(found.path, "requests", "--in-flight", "--json")
        cancelled = await splice(found.path, "requests", "cancel", request_id)
        rest = b""
        while piece := await wire.chunk():
            rest += piece
        again = await splice(found.path, "requests", "cancel", request_id)
    assert (empty.code, empty.out) == (0, "")
    cells = plain.out.rstrip("\n").split("\t")
    assert re.fullmatch(r"\d+\.\ds", cells.pop(1))
    assert cells == [request_id, "tester", "up/m", "up: m", "streaming", "1", "1", "mine"]
    assert seen.startswith("REQUEST")
    assert len(seen.splitlines()) == 2
    assert parsed.json["data"][0]["request_id"] == request_id
    assert (cancelled.code, cancelled.out) == (0, f"cancelled {request_id}\n")
    assert b"cancelled" in rest
    assert again.code == 1
    assert "it may just have ended" in again.err


# The daemon.


async def test_the_status_says_whether_calls_are_answered():
    async with front() as (found, _):
        ran = await splice(found.path, "status")
        parsed = await splice(found.path, "status", "--json")
        await splice(found.path, "accounts", "disable", "up")
        nobody = await splice(found.path, "status")
        await splice(found.path, "accounts", "enable", "up")
        found.running.gateway.draining = True
        draining = await splice(found.path, "status")
    lines = (
        rf"splice {re.escape(proxy.__version__)}: %s, up \d+s\n"
        r"  accounts: %s/1 available\n  in flight: 0, 0 queued\n"
        r"  ledger: 0 requests behind\n  configuration: read at \S+Z\n  disk: [\d.]+ GiB free\n"
    )
    assert ran.code == 0
    assert re.fullmatch(lines % ("ready", 1), ran.out)
    assert parsed.json["state"] == "ready"
    assert nobody.code == 1
    assert re.fullmatch(lines % ("ready", 0), nobody.out)
    assert draining.code == 1
    assert re.fullmatch(lines % ("draining", 1), draining.out)


# Nobody there, or somebody else.


async def test_without_a_daemon_it_is_said_where_one_was_expected(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[state]\ndirectory = "state"\n')
    expected = (
        f"splice: found no daemon at {tmp_path}/state/admin.sock, expected `splice serve` to run; "
        "start it or name its config with -c\n"
    )
    assert await splice(path, "accounts") == Ran(1, "", expected)
    (tmp_path / "state").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "state/admin.sock"))
    assert await splice(path, "requests", "--in-flight") == Ran(1, "", expected)


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnone"]
)
async def test_what_is_no_daemon_is_told_in_one_line(tmp_path, answer):
    (tmp_path / "config.toml").write_text('[state]\ndirectory = "."\n')

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, str(tmp_path / "admin.sock"))
    async with server:
        ran = await splice(tmp_path / "config.toml", "accounts")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (1, "", 1)
    assert f"{tmp_path}/admin.sock" in ran.err


# Real daemons.


@contextlib.asynccontextmanager
async def daemon(*words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ(),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_daemon_takes_its_socket_with_it_and_replaces_a_killed_ones(tmp_path):
    path, sock = tmp_path / "config.toml", tmp_path / "state" / "admin.sock"
    up = Up()
    async with up.server:
        path.write_text(config_text(upstream(up.server.url)))
        path.chmod(0o600)
        for end in (signal.SIGKILL, signal.SIGTERM):
            async with daemon("serve", "-c", str(path)) as process:
                assert process.stderr is not None
                assert b'"ready"' in await process.stderr.readline()
                listed = await splice(path, "accounts")
                assert listed.out.startswith("up\tup\tavailable")
                process.send_signal(end)
                await process.wait()
            assert sock.exists() == (end == signal.SIGKILL)


async def test_the_demo_prints_a_line_that_shows_its_accounts():
    async with daemon("demo") as process:
        assert process.stdout is not None
        line = b""
        while not line.startswith(b"Operate"):
            line = await process.stdout.readline()
        command = shlex.split(line.decode())[1:]
        assert command[:2] == ["splice", "-c"]
        ran = await splice(Path(command[2]), *command[3:])
        called = [
            await splice(Path(command[2]), "accounts", "test", row.split("\t")[0])
            for row in ran.out.splitlines()
        ]
        process.send_signal(signal.SIGINT)
        await process.wait()
    assert ran.out.count("\tavailable\t") == len(called) == 4
    assert {one.code for one in called} == {0}
    assert not Path(command[2]).exists()  # noqa: ASYNC240
