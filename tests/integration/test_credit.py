"""No key spends what it does not have: held before anything is sent, settled whatever happens, the same after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from proxy.billing.credit import Terms, Wallet
from proxy.billing.wallets import Wallets
from proxy.relay.reserve import LEAST, STEP, UNASKED
from tests.exposition import samples
from tests.integration import spoken
from tests.integration.gateway import (
    PATHS,
    Gateway,
    account,
    body_of,
    config_text,
    gateway,
    upstream,
)
from tests.integration.scripted import Cut, Pause, Reset, Scripted, play, settled, whole
from tests.integration.wire import Answered, Wire, encoded, request

SURFACES = ("chat", "messages")
TOKEN = "sk-splice-the-key-with-the-money"
AUTH = f"Bearer {TOKEN}"
PRICED = '[[models]]\nname = "smart"\ntargets = ["up/m"]\ncost = { input = 2, output = 10 }\n'
"""Micro-USD for a token."""
COST = 2 * (spoken.INPUT + spoken.CACHED) + 10 * spoken.OUTPUT
"""Of what ``spoken`` says that it used: 92 micro-USD."""
PROMPT = 2 * 5
"""What a prompt of five tokens, as it is estimated, is held for."""


@dataclass(slots=True)
class Paying:
    """A gateway with one key that has money, in front of an upstream that can be held, and plays ``steps`` if there are any."""

    front: Gateway
    up: Scripted
    go_on: asyncio.Event
    steps: list[Any]

    @property
    def wallets(self) -> Wallets:
        return self.front.running.gateway.means.wallets

    @property
    def wallet(self) -> Wallet:
        found = self.wallets.get("key:payer")
        assert found is not None
        return found

    async def ask(self, surface: str = "chat", **fields: Any) -> Answered:
        body = body_of(surface, "smart", **fields)
        return await self.front.post(PATHS[surface], body, authorization=AUTH)

    async def send(self, surface: str = "chat", **fields: Any) -> Wire:
        wire = await self.front.wire()
        body = encoded(body_of(surface, "smart", **fields))
        wire.send(request("POST", PATHS[surface], body, authorization=AUTH))
        return wire

    async def get(self, path: str) -> Any:
        return (await self.front.get(path, authorization=AUTH)).json

    async def paid(self) -> list[int]:
        """Wait until nothing runs; return the price of each request, the last one first."""
        await settled(lambda: not self.front.running.gateway.calls)
        return [one["cost_micro"] for one in (await self.get("/v1/usage/requests"))["data"]]


def text_of(own: str, url: str, dialect: str = "openai-chat", *tables: str, **sections: str) -> str:
    key = f'[[keys]]\nname = "payer"\nkey = "{TOKEN}"\n{own}\n'
    return config_text(upstream(url, dialect), PRICED, key, *tables, **sections)


@contextlib.asynccontextmanager
async def paying(
    own: str, *tables: str, dialect: str = "openai-chat", directory: Any = None, **sections: str
) -> AsyncIterator[Paying]:
    """Nothing may be held when it is over, and what is left must be what the ledger makes of it."""
    go_on = asyncio.Event()
    go_on.set()
    steps: list[Any] = []

    async def script(reader, writer, request):
        await go_on.wait()
        if steps:
            await play(steps, writer)
        elif dialect == "gemini":
            streams = "stream" in request.target
            writer.write(spoken.streamed(dialect) if streams else spoken.told(dialect))
        elif json.loads(request.body).get("stream"):
            writer.write(spoken.streamed(dialect))
        else:
            writer.write(spoken.told(dialect))

    async with Scripted(script) as up:
        text = text_of(own, up.url, dialect, *tables, **sections)
        async with gateway(text, directory=directory) as front:
            found = Paying(front, up, go_on, steps)
            yield found
            await settled(lambda: not front.running.gateway.calls)
            await assert_even(front)


async def assert_even(front: Gateway) -> None:
    """Nothing is held, and counting everything anew from the books changes nothing."""
    inside = front.running.gateway
    wallets = inside.means.wallets
    assert not wallets.holds
    assert not any(one.held for one in wallets)
    wall = inside.clock()
    before = [(one.name, one.credit, one.credit_left(wall), one.spent(wall)) for one in wallets]
    wallets.count(await inside.books.spent_by_wallets(), wall)
    assert before == [
        (one.name, one.credit, one.credit_left(wall), one.spent(wall)) for one in wallets
    ]


# Before anything is sent.


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_the_credit_does_not_cover_is_refused_and_told_what_is_missing(
    surface, stream
):
    async with paying("prepaid = true\ncredit_usd = 0.001\nrpm = 5") as key:
        refused = await key.ask(surface, stream=stream, max_tokens=100)
        line = await key.front.last()
    assert refused.status == 402
    assert "$0.00101" in refused.error["message"]
    assert "$0.001 left" in refused.error["message"]
    if surface == "chat":
        assert refused.error["type"] == "insufficient_quota"
        assert refused.error["code"] == "insufficient_credits"
    else:
        assert refused.error["type"] == "billing_error"
    assert (line["error_type"], line["attempts"], key.up.requests) == ("no_credit", 0, [])
    # It has burnt none of its requests a minute.
    assert refused.headers["x-ratelimit-remaining-requests"] == "5"


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_call_that_the_budget_does_not_cover_is_told_when_it_begins_anew(surface):
    async with paying('budget_usd = 0.001\nbudget_period = "month"') as key:
        refused = await key.ask(surface, max_tokens=100)
        line = await key.front.last()
    assert (refused.status, line["error_type"]) == (429, "budget_exceeded")
    if surface == "chat":
        assert refused.error["code"] == "budget_exceeded"
    # The SDKs sleep for as long as they are told.
    assert (int(refused.headers["retry-after"]) > 60) == ("x-should-retry" in refused.headers)
    assert key.up.requests == []


async def test_nobody_is_told_to_wait_for_a_budget_that_never_begins_anew():
    async with paying('budget_usd = 0.001\nbudget_period = "total"') as key:
        refused = await key.ask(max_tokens=100)
    assert (refused.status, refused.headers["x-should-retry"]) == (429, "false")
    assert int(refused.headers["retry-after"]) > 3600


async def test_what_runs_is_held_and_what_it_cost_is_taken():
    async with paying("prepaid = true\ncredit_usd = 0.0015") as key:
        key.go_on.clear()
        held = await key.send(max_tokens=100)
        await settled(lambda: key.up.requests)
        assert (key.wallet.held, key.wallet.credit) == (PROMPT + 1_000, 1_500)
        assert (await key.get("/v1/key"))["credit_remaining_usd"] == 0.00049
        assert (await key.ask(max_tokens=100)).status == 402
        key.go_on.set()
        assert (await held.answer()).status == 200
        assert (key.wallet.held, key.wallet.credit) == (0, 1_500 - COST)
        assert (await key.ask(max_tokens=100)).status == 200
        assert await key.paid() == [COST, COST, 0]


@pytest.mark.parametrize("stream", [False, True])
async def test_it_is_settled_before_the_last_byte_goes_out(stream):
    async with paying("prepaid = true\ncredit_usd = 1") as key:
        for calls in (1, 2, 3):
            assert (await key.ask(stream=stream)).status == 200
            assert (key.wallet.held, key.wallet.credit) == (0, 1_000_000 - calls * COST)


async def test_the_allowance_is_spent_before_the_credit():
    async with paying("prepaid = true\ncredit_usd = 0.01\nallowance_usd = 0.0001") as key:
        for left in (10_100 - COST, 10_100 - 2 * COST):
            assert (await key.ask(max_tokens=20)).status == 200
            assert (await key.get("/v1/usage"))["credit_remaining_usd"] == left / 1e6
        assert key.wallet.credit == 10_100 - 2 * COST


async def test_counting_tokens_costs_nothing_and_needs_nothing():
    async with paying("prepaid = true") as key:
        body = body_of("messages", "smart")
        counted = await key.front.post("/v1/messages/count_tokens", body, authorization=AUTH)
    assert counted.status == 200


async def test_a_model_without_a_price_holds_nothing():
    async with paying("prepaid = true\ncredit_usd = 0.000001") as key:
        body = body_of("chat", "up/m", max_tokens=10**6)
        answered = await key.front.post(PATHS["chat"], body, authorization=AUTH)
        assert answered.status == 200
        assert key.wallet.credit == 1


async def test_fallbacks_are_held_for_at_the_dearest_price():
    dear = '[[models]]\nname = "dear"\ntargets = ["up/n"]\ncost = { input = 2, output = 100 }\n'
    cheap = '[[models]]\nname = "cheap"\ntargets = ["up/m"]\nfallbacks = ["dear"]\ncost = { output = 1 }\n'
    async with paying("prepaid = true\ncredit_usd = 0.005", dear, cheap) as key:
        body = body_of("chat", "cheap", max_tokens=100)
        refused = await key.front.post(PATHS["chat"], body, authorization=AUTH)
    assert (refused.status, "$0.01001" in refused.error["message"]) == (402, True)


async def test_other_keys_are_neither_asked_nor_counted():
    async with paying("prepaid = true") as key:
        answered = await key.front.chat("smart", max_tokens=10**9)
        assert answered.status == 200
        assert [one.name for one in key.wallets] == ["key:payer"]


# A limit that the client did not set.


@pytest.mark.parametrize(
    ("surface", "dialect", "field"),
    [
        ("chat", "openai-chat", "max_tokens"),
        ("chat", "anthropic", "max_tokens"),
        ("chat", "openai-responses", "max_output_tokens"),
        ("messages", "openai-chat", "max_tokens"),
    ],
)
async def test_a_whole_answer_without_a_limit_is_limited_to_what_there_is(surface, dialect, field):
    async with paying("prepaid = true\ncredit_usd = 0.01", dialect=dialect) as key:
        limit = {"max_tokens": None} if surface == "messages" else {}
        assert (await key.ask(surface, **limit)).status == 200
        assert json.loads(key.up.requests[0].body)[field] == (10_000 - PROMPT) // 10


async def test_a_whole_answer_without_a_limit_has_a_limit_even_if_there_is_plenty():
    async with paying("prepaid = true\ncredit_usd = 1000", dialect="gemini") as key:
        assert (await key.ask()).status == 200
        config = json.loads(key.up.requests[0].body)["generationConfig"]
        assert config["maxOutputTokens"] == UNASKED


async def test_who_cannot_pay_for_an_answer_gets_none():
    async with paying(f"prepaid = true\ncredit_usd = 0.{10 * LEAST:06d}") as key:
        assert (await key.ask()).status == 402
        assert key.up.requests == []


# Streams that are paid as they come.


def pieces(count: int, dialect: str = "openai-chat") -> bytes:
    return b"".join(spoken.more(dialect, "word ") for _ in range(count))


STREAMS = {"anthropic": "messages", "openai-chat": "chat", "openai-responses": "chat"}


@pytest.mark.parametrize("dialect", STREAMS)
async def test_a_stream_holds_more_as_it_goes_on(dialect):
    surface = STREAMS[dialect]
    async with paying("prepaid = true\ncredit_usd = 1", dialect=dialect) as key:
        key.steps += [spoken.HEAD, spoken.chunk(spoken.metadata(dialect) + spoken.text(dialect, "a"))]  # fmt: skip
        for _ in range(4):
            key.steps += [spoken.chunk(pieces(STEP // 4, dialect)), Pause(0.02)]
        key.steps += [Pause(0.1), spoken.chunk(spoken.end(dialect)), spoken.LAST]
        wire = await key.send(surface, stream=True, max_tokens=None)
        await settled(lambda: key.wallet.held == PROMPT + 10 * STEP)
        await settled(lambda: key.wallet.held >= PROMPT + 20 * STEP)
        answered = await wire.answer()
        assert answered.whole
        assert await key.paid() == [COST]


@pytest.mark.parametrize("dialect", STREAMS)
async def test_a_stream_that_cannot_hold_more_ends_with_the_402_and_is_billed(dialect):
    surface = STREAMS[dialect]
    credit = PROMPT + 10 * STEP + 100
    async with paying(f"prepaid = true\ncredit_usd = {credit / 1e6}", dialect=dialect) as key:
        first = spoken.metadata(dialect) + spoken.text(dialect, "a")
        key.steps += [spoken.HEAD, spoken.chunk(first), Pause(0.01)]
        for _ in range(20):
            key.steps += [spoken.chunk(pieces(STEP // 8, dialect)), Pause(0.01)]
        key.steps += [spoken.chunk(spoken.end(dialect)), spoken.LAST]
        answered = await key.ask(surface, stream=True, max_tokens=None)
        assert answered.status == 200
        last = answered.data[-1]
        kind = "insufficient_quota" if surface == "chat" else "billing_error"
        assert last["error"]["type"] == kind
        (price,) = await key.paid()
        line = await key.front.last()
        assert (line["error_type"], line["estimated"]) == ("no_credit", True)
        assert 7 * STEP < price <= PROMPT + 10 * STEP
        assert key.wallet.credit == credit - price > 0
    assert len(key.up.requests) == 1


# What did not come to its end.


@pytest.mark.parametrize(
    "answer",
    [
        [whole(b'{"error": {"message": "inside"}}', "500 No")],
        [whole(b'{"error": {"message": "too long"}}', "400 Bad")],
        [whole(b"{", **spoken.JSON)],
        [spoken.HEAD + spoken.chunk(spoken.failure("openai-chat")) + spoken.LAST],
        [spoken.HEAD + spoken.chunk(spoken.metadata("openai-chat")), Cut()],
        [Reset()],
    ],
    ids=["500", "400", "no document", "error event", "cut before content", "reset"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_content_costs_nothing(answer, stream):
    async with paying("prepaid = true\ncredit_usd = 1") as key:
        key.steps += answer
        assert (await key.ask(stream=stream)).status >= 400
        assert await key.paid() == [0]
        assert key.wallet.credit == 1_000_000


async def test_what_fails_inside_holds_nothing(monkeypatch):
    async with paying("prepaid = true\ncredit_usd = 1") as key:

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as inside:
            inside.setattr("proxy.relay.call.Call._send", broken)
            inside.setattr(key.front.running.gateway.log, "failure", lambda *_, **__: None)
            answered = await key.ask()
        assert answered.status == 500
        assert (key.wallet.held, key.wallet.credit) == (0, 1_000_000)


async def test_a_client_that_leaves_before_content_pays_nothing():
    async with paying("prepaid = true\ncredit_usd = 1") as key:
        key.go_on.clear()
        for stream in (False, True):
            wire = await key.send(stream=stream)
            await settled(lambda: key.wallet.held)
            wire.leave()
            await settled(lambda: not key.wallet.held)
        key.go_on.set()
        assert await key.paid() == [0, 0]


async def test_a_call_that_was_retried_is_charged_once():
    spare = account("spare", "up")
    async with paying("prepaid = true\ncredit_usd = 1", spare) as key:
        turn = iter([whole(b"{}", "503 No"), spoken.told("openai-chat")])

        async def script(reader, writer, request):
            writer.write(next(turn))

        key.up._script = script
        key.go_on.set()
        assert (await key.ask()).status == 200
        assert len(key.up.requests) == 2
        assert await key.paid() == [COST]
        assert key.wallet.credit == 1_000_000 - COST


async def test_a_stream_that_broke_in_the_middle_is_charged_once_and_not_asked_again():
    spare = account("spare", "up")
    async with paying("prepaid = true\ncredit_usd = 1", spare) as key:
        begun = spoken.metadata("openai-chat") + spoken.text("openai-chat", "He")
        key.steps += [spoken.HEAD + spoken.chunk(begun), Cut()]
        answered = await key.ask(stream=True)
        (price,) = await key.paid()
    assert answered.data[-1]["error"]
    assert len(key.up.requests) == 1
    assert price == PROMPT + 10


# Teams, restarts, reloads.


async def test_a_team_s_money_is_shared_by_its_keys():
    async with paying('team = "red"') as key:
        key.wallets.set_terms("team:red", Terms(prepaid=True))
        key.wallets.pay_in("team:red", COST + 500)
        await settled(lambda: not key.wallets.uncounted)
        assert (await key.ask(max_tokens=40)).status == 200
        refused = await key.ask(max_tokens=50)
        assert (refused.status, "this team has $0.0005 left" in refused.error["message"]) == (402, True)  # fmt: skip
        assert (await key.get("/v1/key"))["credit_remaining_usd"] == 0.0005


async def test_a_restart_goes_on_with_what_is_left(tmp_path):
    own = (
        "prepaid = true\ncredit_usd = 0.01\nallowance_usd = 0.0001\n"
        'budget_usd = 0.02\nbudget_period = "week"'
    )
    for calls in (1, 2, 3):
        async with paying(own, directory=tmp_path) as key:
            assert (await key.ask(max_tokens=20)).status == 200
            told = await key.get("/v1/key")
            assert told["credit_remaining_usd"] == (10_100 - calls * COST) / 1e6
            (budget,) = told["budgets"]
            assert budget["resets_at"].endswith("T00:00:00.000Z")
            assert {name: budget[name] for name in budget if name != "resets_at"} == {
                "of": "key",
                "period": "week",
                "limit_usd": 0.02,
                "spent_usd": calls * COST / 1e6,
                "remaining_usd": (20_000 - calls * COST) / 1e6,
            }


async def test_a_restart_remembers_what_was_spent_with_an_account(tmp_path):
    mine = 'budget_usd = 0.0001\nbudget_period = "day"\n'
    async with Scripted([spoken.told("openai-chat")]) as up:
        text = config_text(upstream(up.url) + mine, PRICED)
        statuses = []
        for _ in range(3):
            async with gateway(text, directory=tmp_path) as front:
                statuses.append((await front.chat("smart")).status)
    assert statuses == [200, 200, 503]


async def test_a_key_that_gets_a_budget_has_spent_already_what_it_has(tmp_path):
    async with paying("", directory=tmp_path) as key:
        assert (await key.ask()).status == 200
        path = key.front.path
        path.write_text(path.read_text().replace(f'key = "{TOKEN}"\n', f'key = "{TOKEN}"\nbudget_usd = 1\nbudget_period = "day"\n'))  # fmt: skip
        await key.front.running.reload()
        await settled(lambda: not key.wallets.uncounted)
        (budget,) = (await key.get("/v1/key"))["budgets"]
        assert budget["spent_usd"] == COST / 1e6


async def test_a_request_that_a_crash_interrupted_has_cost_what_it_had_said(tmp_path, monkeypatch):
    monkeypatch.setattr("proxy.relay.call._NOTED_AFTER", 0.05)
    begun = spoken.metadata("openai-chat") + spoken.text("openai-chat", "He")
    async with paying("prepaid = true\ncredit_usd = 1", directory=tmp_path) as key:
        key.steps += [spoken.HEAD + spoken.chunk(begun), Pause(10)]
        wire = await key.send(stream=True)
        books = key.front.running.gateway.books
        await settled(lambda: books._running)
        # What a process leaves behind that dies here: its journal, and the ledger as it is.
        (tmp_path / "left").mkdir()
        for name in ("journal", "ledger.db", "ledger.db-wal"):
            found = tmp_path / "state" / name
            if found.is_dir():
                (tmp_path / "left" / name).mkdir()
                for one in found.iterdir():
                    (tmp_path / "left" / name / one.name).write_bytes(one.read_bytes())
            else:
                (tmp_path / "left" / name).write_bytes(found.read_bytes())
        wire.leave()
        await key.paid()
    async with paying(
        "prepaid = true\ncredit_usd = 1", directory=tmp_path, state='directory = "left"'
    ) as key:
        assert await key.paid() == [PROMPT + 10]
        assert key.wallet.credit == 1_000_000 - PROMPT - 10


# Metrics.


async def scraped(front: Gateway) -> dict[str, float]:
    (address,) = front.running.admin_addresses
    wire = front.keep(await Wire.open(address))
    wire.send(request("GET", "/metrics", host="127.0.0.1"))
    return samples((await wire.answer()).body.decode())


async def test_holds_budgets_and_refusals_are_counted():
    own = 'prepaid = true\ncredit_usd = 0.0015\nbudget_usd = 0.002\nbudget_period = "day"'
    admin = 'listen = ["127.0.0.1:0"]'
    async with paying(own, admin=admin, metrics="keys = true") as key:
        key.go_on.clear()
        held = await key.send(max_tokens=100)
        await settled(lambda: key.up.requests)
        running = await scraped(key.front)
        assert (await key.ask(max_tokens=100)).status == 402
        key.go_on.set()
        await held.answer()
        over = await scraped(key.front)
    assert (running["splice_credit_holds"], running["splice_credit_holds_usd"]) == (1, 0.00101)
    assert (over["splice_credit_holds"], over["splice_credit_holds_usd"]) == (0, 0)
    budget = 'splice_key_budget_remaining_usd{key="payer",period="day"}'
    assert (running[budget], over[budget]) == (0.00099, (2_000 - COST) / 1e6)
    assert over['splice_limit_rejections_total{kind="credit"}'] == 1
