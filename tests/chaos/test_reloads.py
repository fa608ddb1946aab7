"""The configuration is changed again and again while calls run: what is wrong is never taken, and no call fails.

Half of the changes have an outcome that is known beforehand; the others are random, and taken if and only if the file is one that
a start would take. ``SPLICE_CHAOS_REQUESTS`` halved is how many changes there are.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from proxy.config import ConfigError, loads
from tests.chaos.amount import AMOUNT, FIGURES
from tests.integration import spoken
from tests.integration.daemon import Daemon, started
from tests.integration.gateway import BEARER, PATHS, body_of, config_text, upstream
from tests.integration.scripted import Scripted
from tests.integration.wire import Wire, encoded, request

CHANGES = 60 if AMOUNT.is_short else AMOUNT.requests // 2
CLIENTS = 4
ASKING = request("POST", PATHS["chat"], encoded(body_of("chat")), authorization=BEARER)
STREAMING = request(
    "POST", PATHS["chat"], encoded(body_of("chat", stream=True)), authorization=BEARER
)

# What the calls of the test do not need, so that any of it may be changed.
OTHER = """
[streaming]
heartbeat = "15s"

[cooldown]
base = "5s"
max_burst = "5m"

[metrics]
keys = false

[providers.spare]
dialects = ["openai-chat"]
base_url = "http://127.0.0.1:9/v1"
auth = "bearer"

[[accounts]]
name = "spare"
provider = "spare"
api_key = "k"
weight = 2
rpm = 100
budget_usd = 5.5
budget_period = "day"

[[models]]
name = "smart"
aliases = ["best"]
targets = ["spare/m", "spare/n"]
cost = { input = 2, output = 10 }

[[keys]]
name = "third"
key = "sk-splice-a-third-key-of-the-tests"
models = ["smart"]
prepaid = true
"""
GOOD = (
    ("weight = 2", "weight = 3"),
    ("rpm = 100", "rpm = 5\ntpm = 10000"),
    ('name = "smart"', 'name = "clever"'),
    ('aliases = ["best"]', ""),
    ('base = "5s"', 'base = "1s"'),
    ("keys = false", "keys = true"),
    ("prepaid = true", 'prepaid = true\nallowance_usd = 3\nexpires = "2031-01-01"'),
    ("budget_usd = 5.5", "budget_usd = 6"),
)
BAD = (
    ("weight = 2", "weights = 2"),
    ("weight = 2", "weight = 0"),
    ("weight = 2", 'weight = "2"'),
    ("rpm = 100", "rpm = -1"),
    ("rpm = 100", "rpm = 1e3"),
    ('api_key = "k"', 'api_key = { env = "NOBODY_HAS_SET_THIS" }'),
    ('api_key = "k"', 'api_key = { file = "/no/such/file" }'),
    ('provider = "spare"', 'provider = "spear"'),
    ('name = "spare"', 'name = "up"'),
    ('name = "third"', 'name = "tester"'),
    ('dialects = ["openai-chat"]', 'dialects = ["openai-chatt"]'),
    ('base_url = "http', 'base_url = "gopher'),
    ('heartbeat = "15s"', "heartbeat = 15"),
    ('heartbeat = "15s"', 'heartbeat = "15 parsecs"'),
    ("[[models]]", "[[model]]"),
    ("[metrics]", "[metrics"),
    ('targets = ["spare/m", "spare/n"]', 'targets = ["nowhere/m"]'),
    ("input = 2", "input = -2"),
    ('budget_period = "day"', 'budget_period = "year"'),
    ('base = "5s"', 'base = "6m"\nbase = "5s"'),
)


def changed(rng: random.Random) -> tuple[str, bool | None]:
    """Return another form of ``OTHER``, and whether it is one to be taken; None: that is to be found out."""
    kind = rng.randrange(4)
    if kind < 2:
        before, after = rng.choice(GOOD if kind else BAD)
        assert before in OTHER
        return OTHER.replace(before, after, 1), bool(kind)
    if kind == 2:
        lines = OTHER.splitlines(keepends=True)
        here = rng.randrange(len(lines))
        lines[here : here + 1] = rng.choice(([], [lines[here]] * 2, [rng.choice(lines)]))
        return "".join(lines), None
    text = list(OTHER)
    for _ in range(rng.randrange(1, 4)):
        here = rng.randrange(len(text))
        text[here : here + 1] = rng.choice(("", rng.choice('"=[]{}#\n 0-.é\\'), text[here] * 2))
    return "".join(text), None


def is_taken(text: str, path: Path) -> bool:
    try:
        loads(text, path, {})
    except ConfigError:
        return False
    return True


class Calls:
    """Clients that call without a pause, streamed and not."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.count: Counter[str] = Counter()
        self.over = False

    async def run(self) -> None:
        wire = await Wire.open(self.address)
        while not self.over:
            for asking in (ASKING, STREAMING):
                wire.send(asking)
                answered = await wire.answer()
                good = answered.status == 200 and answered.whole and answered.text == "Hello"
                self.count["answered" if good else f"{answered.status} {answered.body!r}"] += 1
        wire.close()


async def models(wire: Wire) -> set[str]:
    wire.send(request("GET", "/v1/models", authorization=BEARER))
    return {one["id"] for one in (await wire.answer()).json["data"]}


class Outcomes:
    """What came of each reload, as the log tells."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._told: list[bool] = []
        self._read = 0

    async def of(self, turn: int) -> bool:
        """Wait for the outcome of reload number ``turn``, which has to be the last one."""
        async with asyncio.timeout(10):
            while len(self._told) <= turn:
                await asyncio.sleep(0.005)
                self._look()
        assert len(self._told) == turn + 1
        return self._told[turn]

    def _look(self) -> None:
        with self._daemon.log.open("rb") as log:
            log.seek(self._read)
            lines = log.read().split(b"\n")
        self._read += sum(len(line) + 1 for line in lines[:-1])
        for line in lines[:-1]:
            if b'"msg":"configuration ' in line:
                self._told.append(b'"msg":"configuration reloaded"' in line)


async def upstream_answers(reader, writer, asked):
    stream = b'"stream": true' in asked.body
    writer.write(spoken.streamed("openai-chat") if stream else spoken.told("openai-chat"))


@pytest.mark.timeout(300)
async def test_what_is_wrong_is_never_taken_and_no_call_fails_meanwhile():
    rng = random.Random(AMOUNT.seed)
    found: Counter[str] = Counter()
    async with Scripted(upstream_answers) as up:
        fixed = config_text(upstream(up.url), server='listen = ["unix:public"]')
        async with started(fixed + OTHER) as daemon:
            path = daemon.directory / "config.toml"
            public = str(daemon.directory / "public")
            calls, outcomes = Calls(public), Outcomes(daemon)
            wire = await Wire.open(public)
            async with asyncio.TaskGroup() as clients:
                for _ in range(CLIENTS):
                    clients.create_task(calls.run())
                shown = await models(wire)
                for turn in range(CHANGES):
                    other, known = changed(rng)
                    path.write_text(fixed + other)
                    wanted = is_taken(fixed + other, path)
                    assert known in (None, wanted), other
                    daemon.asked(signal.SIGHUP)
                    assert await outcomes.of(turn) == wanted, other
                    now = await models(wire)
                    # What is refused changes nothing.
                    assert wanted or now == shown
                    shown = now
                    found["taken" if wanted else "refused"] += 1
                calls.over = True
            wire.close()
            path.write_text(fixed + OTHER)
            daemon.asked(signal.SIGHUP)
            assert await outcomes.of(CHANGES)
            assert daemon.process.returncode is None
            daemon.asked(signal.SIGTERM)
            assert await daemon.ended() == 0
    FIGURES.append(
        f"reloads: {dict(found)} as they should be; calls meanwhile: {dict(calls.count)}"
    )
    assert set(calls.count) == {"answered"}
    assert min(found.values()) > CHANGES // 8
