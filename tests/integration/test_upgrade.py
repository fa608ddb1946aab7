"""A daemon is replaced in place: whoever calls does not notice, and nothing that was begun is lost.

systemd is played by the test: it hands over sockets and hears what is said.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from tests.integration import spoken
from tests.integration.daemon import ROOT, Handed, activated, on_a_port, started
from tests.integration.gateway import BEARER, PATHS, body_of, config_text, upstream
from tests.integration.scripted import Scripted, whole
from tests.integration.wire import Wire, encoded, request

pytestmark = pytest.mark.timeout(60)


async def at_once(reader, writer, asked):
    writer.write(spoken.told("openai-chat"))


def asking(model="up/m", *, stream=False, authorization=BEARER, **fields):
    body = encoded(body_of("chat", model, stream=stream, **fields))
    return request("POST", PATHS["chat"], body, authorization=authorization)


class Held:
    """An upstream whose streams end when they are let go."""

    def __init__(self):
        self.go_on = asyncio.Event()

    async def __call__(self, reader, writer, asked):
        if b'"stream": true' not in asked.body:
            writer.write(spoken.told("openai-chat"))
            return
        writer.write(spoken.HEAD + spoken.chunk(spoken.text("openai-chat", "He")))
        await self.go_on.wait()
        writer.write(
            spoken.chunk(spoken.more("openai-chat", "llo") + spoken.end("openai-chat"))
            + spoken.LAST
        )


@asynccontextmanager
async def streaming(*tables, **sections):
    """A daemon behind a socket of systemd's, with one stream that runs until it is let go: yield all three and its wire."""
    held = Held()
    async with Scripted(held) as up:
        with on_a_port() as public:
            text = activated(upstream(up.url), *tables, **sections)
            async with started(text, Handed((public,), ("public",))) as daemon:
                wire = await Wire.open(public.getsockname())
                wire.send(asking(stream=True))
                await wire.head()
                await wire.chunk()
                yield daemon, held, wire, public.getsockname()
                wire.leave()


async def rest_of(wire):
    found = b""
    while piece := await wire.chunk():
        found += piece
    return found


def requests_of(daemon):
    path = daemon.directory / "state" / "ledger.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
        return ledger.execute(
            "SELECT error_type, output_tokens, estimated FROM requests_v1 ORDER BY number"
        ).fetchall()


async def until(holds, within=15):
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_stream_goes_on_in_the_old_process_and_the_next_call_is_the_new_ones():
    async with streaming() as (daemon, held, wire, address):
        said = await daemon.upgraded()
        old, new = daemon.pids
        assert (said["from"]["pid"], said["to"]["pid"]) == (old, new)
        assert said["from"]["version"] == said["to"]["version"]
        other = await Wire.open(address)
        other.send(asking())
        assert (await other.answer()).status == 200
        assert "connection" not in (await other.post(PATHS["chat"], body_of("chat"), authorization=BEARER)).headers  # fmt: skip
        other.close()
        held.go_on.set()
        assert b"llo" in await rest_of(wire)
        assert await daemon.end_of(old) == 0
        daemon.asked(signal.SIGTERM)
        assert await daemon.ended() == 0
        assert requests_of(daemon) == [(None, spoken.OUTPUT, 0)] * 3
        heard = daemon.heard
    assert [one for one in heard if not one.startswith(("STATUS=", "WATCHDOG="))] == [
        "READY=1",
        f"MAINPID={new}",
        "READY=1",
        "STOPPING=1",
    ]


async def test_who_asks_how_it_is_asks_the_new_process_and_hears_of_the_old_one():
    async with streaming() as (daemon, held, wire, _):
        old = daemon.main
        await daemon.upgraded()
        async with asyncio.timeout(10):
            status = (await daemon.admin("GET", "status")).json
            while status["process_before"] != {"pid": old, "requests_in_flight": 1}:
                status = (await daemon.admin("GET", "status")).json
        (up,) = (await daemon.admin("GET", "accounts")).json["data"]
        assert (status["requests_in_flight"], up["in_flight"]) == (0, 1)
        held.go_on.set()
        await rest_of(wire)
        assert await daemon.end_of(old) == 0
        async with asyncio.timeout(10):
            while status["process_before"]:
                status = (await daemon.admin("GET", "status")).json
        (up,) = (await daemon.admin("GET", "accounts")).json["data"]
        assert up["in_flight"] == 0


async def test_whoever_keeps_a_connection_to_the_admin_listener_comes_to_the_new_process():
    async with streaming() as (daemon, _, _, _):
        where = str(daemon.directory / "state" / "admin.sock")
        idle, asking_ = await Wire.open(where), await Wire.open(where)
        for wire in (idle, asking_):
            wire.send(request("GET", "/api/v1/status", host=""))
            assert "connection" not in (await wire.answer()).headers
        asking_.send(request("POST", "/api/v1/upgrade", b"", host=""))
        answered = await asking_.answer()
        assert (answered.status, answered.headers["connection"]) == (200, "close")
        async with asyncio.timeout(10):
            assert await idle.rest() == b""
            assert await asking_.rest() == b""
        for wire in (idle, asking_):
            wire.close()


async def test_no_second_upgrade_before_the_first_one_is_over():
    async with streaming() as (daemon, _, _, _):
        old = daemon.main
        await daemon.upgraded()
        refused = await daemon.admin("POST", "upgrade")
        assert refused.status == 409
        assert f"process {old} still runs 1 requests" in refused.error["message"]


async def test_a_stop_waits_for_the_streams_of_the_process_before():
    async with streaming() as (daemon, held, wire, _):
        old, new = daemon.main, (await daemon.upgraded())["to"]["pid"]
        daemon.asked(signal.SIGTERM)
        await asyncio.sleep(1)
        assert new in daemon.alive()
        held.go_on.set()
        assert b"llo" in await rest_of(wire)
        assert await daemon.end_of(old) == 0
        assert await daemon.ended() == 0


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ('listen = ["systemd:public"]\nlisten_on = 1', "listen_on"),
        ('listen = ["systemd:public", "unix:/no/such/directory/s"]', "cannot listen"),
    ],
)
async def test_one_that_fails_leaves_everything_as_it_was(fault, told):
    async with streaming() as (daemon, held, wire, address):
        config = daemon.directory / "config.toml"
        good = config.read_text()
        config.write_text(good.replace('listen = ["systemd:public"]', fault))
        command = [sys.executable, "-m", "proxy", "-c", str(config), "upgrade"]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, error = await process.communicate()
        assert (process.returncode, out) == (1, b"")
        assert told in error.decode()
        assert error.startswith(b"splice: not upgraded: ")
        config.write_text(good)
        other = await Wire.open(address)
        other.send(asking())
        assert (await other.answer()).status == 200
        other.close()
        held.go_on.set()
        await rest_of(wire)
        # The ledger is its own again: keys can be made, and what has ended is there.
        await until(lambda: len(requests_of(daemon)) == 2)
        assert daemon.pids == [daemon.process.pid]
        assert not any(one.startswith("MAINPID") for one in daemon.heard)
        # And the next try succeeds.
        await daemon.upgraded()


async def test_sockets_of_its_own_are_handed_on_as_well(tmp_path):
    async with Scripted(at_once) as up:
        text = config_text(
            upstream(up.url),
            server=f'listen = ["127.0.0.1:0", "unix:{tmp_path}/public"]',
            admin=f'listen = ["unix:{tmp_path}/admin"]',
        )
        async with started(text) as daemon:
            port = port_of(daemon.main)
            await daemon.upgraded()
            assert await daemon.end_of(daemon.pids[0]) == 0
            for where in (("127.0.0.1", port), f"{tmp_path}/public", f"{tmp_path}/admin"):
                wire = await Wire.open(where)
                wire.send(request("GET", "/readyz", host="localhost"))
                assert (await wire.answer()).status == 200
                wire.close()
            assert (await daemon.admin("GET", "status")).status == 200
            daemon.asked(signal.SIGTERM)
            assert await daemon.ended() == 0
            assert not (daemon.directory / "state" / "admin.sock").exists()


def port_of(pid):
    """Return the port on which a process listens."""
    links = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in links:
            return int(fields[1].rpartition(":")[2], 16)
    raise AssertionError(f"process {pid} listens on no port")


async def test_what_is_started_is_what_the_link_names_by_then(tmp_path):
    for version in ("1", "2"):
        release = tmp_path / "releases" / version
        release.mkdir(parents=True)
        script = release / "splice"
        script.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            f"import proxy\nproxy.__version__ = '{version}'\n"
            "from proxy.cli import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "releases" / "1")
    async with started(config_text(), command=(str(current / "splice"),)) as daemon:
        current.unlink()
        current.symlink_to(tmp_path / "releases" / "2")
        said = await daemon.upgraded()
        assert (said["from"]["version"], said["to"]["version"]) == ("1", "2")
        assert (await daemon.admin("GET", "status")).json["version"] == "2"


async def test_one_that_is_killed_while_it_starts_leaves_everything_as_it_was(tmp_path):
    script = tmp_path / "splice"
    good = (
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from proxy.cli import main\n"
    )
    script.write_text(good + "sys.exit(main())\n")
    script.chmod(0o755)
    async with started(config_text(), command=(str(script),)) as daemon:
        # It dies at the worst moment: the ledger is its own, and it accepts nobody yet.
        script.write_text(
            good + "import os\nfrom proxy.app.running import Running\n"
            "async def dies(*args):\n    os.kill(os.getpid(), 9)\n"
            "Running.listen = dies\nsys.exit(main())\n"
        )
        refused = await daemon.admin("POST", "upgrade")
        assert refused.status == 409
        assert "ended with -9" in refused.error["message"]
        script.write_text(good + "sys.exit(main())\n")
        made = await daemon.admin("POST", "teams")
        assert made.status == 400, "the ledger can be written: it is the body that is missing"
        await daemon.upgraded()


KEY = "sk-splice-the-key-with-the-money"
PRICED = '[[models]]\nname = "smart"\ntargets = ["up/m"]\ncost = { input = 2, output = 10 }\n'
PAYER = f'[[keys]]\nname = "payer"\nkey = "{KEY}"\nprepaid = true\ncredit_usd = 0.01\n'


async def test_until_the_old_one_has_ended_the_new_one_lets_in_for_half_of_what_is_left():
    async def asked(address, tokens):
        wire = await Wire.open(address)
        try:
            wire.send(asking("smart", max_tokens=tokens, authorization=f"Bearer {KEY}"))
            return (await wire.answer()).status
        finally:
            wire.close()

    async with streaming(PRICED, PAYER) as (daemon, held, first, address):
        wire = await Wire.open(address)
        # 10,000 micro-USD are there, and 4,000 of them are held, beside the prompt.
        wire.send(asking("smart", stream=True, max_tokens=400, authorization=f"Bearer {KEY}"))
        await wire.head()
        await wire.chunk()
        old = daemon.main
        await daemon.upgraded()
        assert await asked(address, 310) == 402
        assert await asked(address, 280) == 200
        held.go_on.set()
        await rest_of(wire)
        await rest_of(first)
        assert await daemon.end_of(old) == 0
        async with asyncio.timeout(10):
            while (await daemon.admin("GET", "status")).json["process_before"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        # Two calls cost 92 each.
        assert await asked(address, 1000) == 402
        assert await asked(address, 970) == 200
        wire.close()


IMPORTING = ROOT / "tests" / "integration" / "importing.py"


async def test_nothing_is_imported_once_it_is_ready(tmp_path):
    noted = tmp_path / "imported"

    async def script(reader, writer, asked):
        if asked.target.endswith("/embeddings"):
            vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
            usage = {"prompt_tokens": 1, "total_tokens": 1}
            writer.write(whole(encoded({"object": "list", "data": [vector], "usage": usage})))
            return
        stream = (
            b'"stream": true' in asked.body or b"streamGenerateContent" in asked.target.encode()
        )
        writer.write(spoken.streamed("openai-chat") if stream else spoken.told("openai-chat"))

    async with Scripted(script) as up:
        text = config_text(
            upstream(up.url), admin='listen = ["127.0.0.1:0"]', server='listen = ["unix:public"]'
        )
        async with started(
            text, environ={"SPLICE_NOTED": str(noted)}, command=(str(IMPORTING),)
        ) as daemon:
            wire = await Wire.open(str(daemon.directory / "public"))
            for path, body in SURFACES:
                for stream in (False, True):
                    answered = await wire.post(
                        path, {**body, "stream": stream}, authorization=BEARER
                    )
                    assert answered.status in (200, 400), (path, answered.body)
            gemini = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
            for verb in ("generateContent", "streamGenerateContent?alt=sse"):
                answered = await wire.post(f"/v1beta/models/up%2Fm:{verb}", gemini, authorization=BEARER)  # fmt: skip
                assert answered.status == 200, answered.body
            for path in LOOKED_AT:
                wire.send(request("GET", path, authorization=BEARER))
                await wire.answer()
            wire.send(request("GET", "/v1/models", authorization="Bearer wrong"))
            assert (await wire.answer()).status == 401
            assert (await wire.post(PATHS["chat"], b"{", authorization=BEARER)).status == 400
            wire.close()
            for method, path in ADMIN:
                assert (await daemon.admin(method, path)).status in (200, 400, 404)
            metrics = await Wire.open(str(daemon.directory / "state" / "admin.sock"))
            metrics.send(request("GET", "/metrics", host=""))
            assert (await metrics.answer()).status == 200
            metrics.send(request("GET", "/metrics", host="", accept="application/openmetrics-text; version=1.0.0"))  # fmt: skip
            assert (await metrics.answer()).status == 200
            metrics.close()
            config = daemon.directory / "config.toml"
            config.write_text(text + "\nfaulty = [")
            assert (await daemon.admin("POST", "reload")).status == 409
            config.write_text(text + "\n[limits]\nconcurrency = 0\n")
            assert (await daemon.admin("POST", "reload")).status == 409
            config.write_text(text)
            assert (await daemon.admin("POST", "reload")).status == 200
            await daemon.upgraded()
            assert await daemon.end_of(daemon.pids[0]) == 0
            daemon.asked(signal.SIGTERM)
            assert await daemon.ended() == 0
    told = [json.loads(line) for line in noted.read_text().splitlines()]
    assert told == [[], []]


SURFACES = [
    (PATHS["chat"], body_of("chat")),
    (PATHS["messages"], body_of("messages")),
    ("/v1/responses", {"model": "up/m", "input": "Hi"}),
    ("/v1/embeddings", {"model": "up/m", "input": "Hi"}),
]
LOOKED_AT = [
    *(
        "/",
        "/healthz",
        "/nowhere",
        "/openapi.json",
        "/llms.txt",
        "/llms-full.txt",
        "/docs/index.md",
    ),
    *("/v1/models", "/v1/models/up/m", "/v1beta/models", "/v1/key", "/v1/usage", "/v1/usage/req_0"),
    *(
        "/v1/usage/requests",
        "/v1/files",
        "/v1/batches",
        "/v1/responses/resp_1",
        "/openai/v1/models",
    ),
]
ADMIN = [
    ("GET", "status"),
    ("GET", "accounts"),
    ("GET", "accounts/up"),
    ("POST", "accounts/up/disable"),
    ("POST", "accounts/up/enable"),
    ("POST", "accounts/up/test"),
    ("GET", "requests?in_flight=true"),
    ("POST", "requests/req_0/cancel"),
    ("GET", "keys"),
    ("POST", "keys"),
    ("GET", "teams"),
    ("GET", "credits?wallet=key:tester"),
    ("GET", "credits/tester"),
    ("GET", "nothing"),
]
