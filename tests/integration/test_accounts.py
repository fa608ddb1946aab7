"""What an operator sees of accounts, and does about them, while calls run."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.tasks import spawn
from tests.integration import spoken
from tests.integration.gateway import (
    SECRET,
    Gateway,
    account,
    config_text,
    gateway,
    upstream,
)
from tests.integration.scripted import Request, Scripted, Step, play, settled, whole

DIALECT = "openai-chat"
LONG = 'queue_timeout = "2m"'
"""A test that waits for that has failed."""
ENDLESS = 'base = "5m"\nprobe_interval = "5m"'


class Up:
    """An upstream that answers, or plays what it is told; its list of models is apart, and it can be held."""

    def __init__(self) -> None:
        self.steps: list[Step] | None = None
        self.listed: list[Step] = [whole(b'{"data": []}')]
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.server = Scripted(self)

    @property
    def asked(self) -> list[str]:
        return [one.target for one in self.server.requests]

    async def __call__(self, reader, writer, request: Request) -> None:
        await self.go_on.wait()
        if request.method == "GET":
            await play(self.listed, writer)
        else:
            await play(self.steps or [spoken.told(DIALECT)], writer)


@contextlib.asynccontextmanager
async def one_account(*tables: str, **sections: str) -> AsyncIterator[tuple[Gateway, Up]]:
    up = Up()
    async with (
        up.server,
        gateway(config_text(upstream(up.server.url), *tables, **sections)) as front,
    ):
        yield front, up


async def shown(front: Gateway, name: str = "up") -> dict[str, Any]:
    answered = await front.admin("GET", f"accounts/{name}")
    assert answered.status == 200
    assert isinstance(answered.json, dict)
    return answered.json


async def done(front: Gateway, action: str, name: str = "up") -> dict[str, Any]:
    answered = await front.admin("POST", f"accounts/{name}/{action}")
    assert answered.status == 200, answered.body
    assert isinstance(answered.json, dict)
    return answered.json


def refusal(status: str, said: str = "go away", **headers: str) -> list[Step]:
    return [whole(json.dumps({"error": {"message": said}}).encode(), status, **headers)]


# Seeing.


async def test_the_list_is_in_the_order_of_the_configuration():
    async with one_account(account("zoe", "up"), account("ann", "up", rpm="60")) as (front, _):
        answered = await front.admin("GET", "accounts")
    listed = answered.json
    assert answered.headers["cache-control"] == "no-store"
    assert [one["name"] for one in listed["data"]] == ["up", "zoe", "ann"]
    assert {one["state"] for one in listed["data"]} == {"available"}
    assert listed["data"][2]["limits"]["requests_left"] == 60
    assert listed["has_more"] is False


async def test_why_tells_what_benched_an_account_and_on_what_evidence():
    async with one_account(cooldown=ENDLESS, retry='queue_timeout = "0s"') as (front, up):
        up.steps = refusal("401 No", f"the key {SECRET} is dead")
        before = datetime.now(UTC)
        assert (await front.chat()).status == 502
        found = await shown(front)
    assert (found["state"], found["cause"], found["benched"]) == ("cooling", "auth", 1)
    [why] = found["why"]
    assert (why["model"], why["state"], why["cause"], why["failures"]) == (None, "open", "auth", 1)
    since, until = (datetime.fromisoformat(why[name]) for name in ("since", "until"))
    assert abs((since - before).total_seconds()) < 5
    assert (until - since).total_seconds() == pytest.approx(300, abs=0.01)
    assert found["until"] == why["until"]
    evidence = why["evidence"]
    assert (evidence["kind"], evidence["status"]) == ("upstream_auth", 401)
    assert (evidence["header"], evidence["hint_s"]) == (None, None)
    assert "is dead" in evidence["said"]
    assert SECRET not in json.dumps(found)


async def test_a_hint_that_is_too_long_is_shown_as_it_was_told():
    async with one_account(cooldown=ENDLESS, retry='queue_timeout = "0s"') as (front, up):
        up.steps = refusal("429 Slow", retry_after="1000000000")
        assert (await front.chat()).status == 429
        [why] = (await shown(front))["why"]
    assert why["model"] == "m"
    assert why["evidence"]["header"] == "retry-after: 1000000000"
    assert why["evidence"]["hint_s"] == 1e9
    told = [datetime.fromisoformat(why[name]) for name in ("since", "until")]
    assert (told[1] - told[0]).total_seconds() == pytest.approx(300, abs=0.01)


async def test_what_the_provider_says_is_left_is_shown():
    async with one_account() as (front, up):
        headers = {
            "x_ratelimit_remaining_requests": "0",
            "x_ratelimit_reset_requests": "60s",
            "x_ratelimit_remaining_tokens": "123",
        }
        document = spoken.told(DIALECT).partition(b"\r\n\r\n")[2]
        up.steps = [whole(document, **spoken.JSON, **headers)]
        assert (await front.chat()).status == 200
        found = await shown(front)
    assert found["provider_says_left"] == {"requests": 0, "tokens": 123}
    assert [empty["model"] for empty in found["empty"]] == ["m"]


async def test_calls_in_flight_are_counted():
    async with one_account() as (front, up):
        up.go_on.clear()
        calls = [calling(front) for _ in range(3)]
        await settled(lambda: len(up.asked) == 3)
        assert (await shown(front))["in_flight"] == 3
        up.go_on.set()
        assert [(await call).status for call in calls] == [200] * 3
        assert (await shown(front))["in_flight"] == 0


async def test_the_status_counts_who_could_take_a_call_and_what_runs():
    full = account("full", "up", concurrency="1", models='["n"]')
    async with one_account(full, account("out", "up", models='["x"]')) as (front, up):
        await done(front, "disable", "out")
        up.go_on.clear()
        calls = [calling(front, "up/n") for _ in range(3)]
        await settled(lambda: len(up.asked) == 3)
        await done(front, "disable")
        calls.append(calling(front, "up/n"))
        await settled(lambda: len(front.running.gateway.means.queue) == 1)
        found = (await front.admin("GET", "status")).json
        up.go_on.set()
        assert [(await call).status for call in calls] == [200] * 4
    assert found.pop("version")
    assert 0 <= found.pop("uptime_s") < 30
    assert found.pop("state_free_bytes") > 0
    assert found.pop("configuration_read_at").endswith("Z")
    # The one that is full is well.
    assert found == {
        "state": "ready",
        "accounts": 3,
        "accounts_available": 1,
        "requests_in_flight": 4,
        "requests_queued": 1,
        "process_before": None,
        "ledger_behind": 0,
        "ledger_takes_calls": True,
        "last_reload_failed": False,
    }


async def test_a_daemon_without_accounts_says_so():
    async with gateway(config_text()) as front:
        assert (await front.admin("GET", "status")).json["state"] == "no account"


async def test_an_unknown_account_is_told_the_nearest():
    async with one_account() as (front, _):
        for method, path in (("GET", "accounts/upp"), ("POST", "accounts/upp/test")):
            answered = await front.admin(method, path)
            assert answered.status == 404
            assert "did you mean up?" in answered.error["message"]


# Acting.


async def test_a_disabled_account_ends_its_calls_and_gets_no_new_ones():
    async with one_account(account("spare", "up", priority="1")) as (front, up):
        spare = front.running.gateway.pool.seat("spare")
        assert spare is not None
        up.go_on.clear()
        running = calling(front)
        await settled(lambda: up.asked)
        assert (await done(front, "disable"))["state"] == "disabled"
        assert (await done(front, "disable", "spare"))["state"] == "disabled"
        refused = await front.chat()
        assert (refused.status, refused.error["code"]) == (503, "no_healthy_account")
        up.go_on.set()
        assert (await running).status == 200
        await done(front, "enable", "spare")
        assert (await front.chat()).status == 200
        assert [line["account"] for line in await front.requests(3) if line["status"] == 200] == [
            "up",
            "spare",
        ]
        changes = [line for line in front.lines if "by an operator" in line["msg"]]
    assert [(line["msg"].split()[1], line["account"]) for line in changes] == [
        ("disabled", "up"),
        ("disabled", "spare"),
        ("enabled", "spare"),
    ]


async def waiting_for_a_minute(front: Gateway, up: Up) -> asyncio.Future[Any]:
    """Bench the one account that is enabled; return a call that waits in the queue for the end of that."""
    up.steps = refusal("429 Slow", retry_after="60")
    assert (await front.chat()).status == 429
    up.steps = None
    waiting = calling(front)
    await settled(lambda: len(front.running.gateway.means.queue) == 1)
    return waiting


async def test_an_account_that_is_enabled_takes_those_who_wait_for_another():
    async with one_account(account("spare", "up"), retry=LONG) as (front, up):
        await done(front, "disable", "spare")
        waiting = await waiting_for_a_minute(front, up)
        await done(front, "enable", "spare")
        assert (await waiting).status == 200
        assert (await front.last(2))["account"] == "spare"


async def test_a_benched_account_that_is_cleared_takes_those_who_wait():
    async with one_account(retry=LONG) as (front, up):
        waiting = await waiting_for_a_minute(front, up)
        cleared = await done(front, "clear")
        assert (await waiting).status == 200
    assert (cleared["benched"], cleared["why"]) == (0, [])


# Testing.


async def test_a_test_says_that_all_is_well_and_changes_nothing():
    async with one_account(cooldown=ENDLESS, retry='queue_timeout = "0s"') as (front, up):
        up.steps = refusal("401 No")
        assert (await front.chat()).status == 502
        found = await done(front, "test")
        assert (found["ok"], found["status"], found["error"], found["cleared"]) == (
            True,
            200,
            None,
            False,
        )
        assert (await shown(front))["state"] == "cooling"
        found = await done(front, "test?clear=true")
        assert (found["ok"], found["cleared"]) == (True, True)
        assert (await shown(front))["state"] == "available"
    assert up.asked == ["/v1/chat/completions", "/v1/models", "/v1/models"]


async def test_a_test_that_fails_clears_nothing_and_shows_no_credential():
    async with one_account(cooldown=ENDLESS, retry='queue_timeout = "0s"') as (front, up):
        up.steps = up.listed = refusal("401 No", f"bad key {SECRET}")
        assert (await front.chat()).status == 502
        found = await done(front, "test?clear=true")
        assert (found["ok"], found["status"], found["cleared"]) == (False, 401, False)
        assert found["error"]["kind"] == "upstream_auth"
        assert "bad key" in found["error"]["said"]
        assert SECRET not in json.dumps(found)
        assert (await shown(front))["state"] == "cooling"


async def test_a_failed_test_benches_nobody():
    async with one_account() as (front, up):
        up.listed = refusal("429 Slow", retry_after="60")
        assert (await done(front, "test"))["error"]["kind"] == "rate_limit"
        assert (await shown(front))["benched"] == 0
        assert (await front.chat()).status == 200


async def test_a_disabled_account_can_be_tested_and_stays_disabled():
    async with one_account() as (front, _):
        await done(front, "disable")
        assert (await done(front, "test?clear=true"))["ok"]
        assert (await shown(front))["state"] == "disabled"


def calling(front: Gateway, model: str = "up/m") -> asyncio.Future[Any]:
    """Ask without waiting for the answer."""
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        answered.set_result(await front.chat(model))

    spawn(ask(), "call", answered.set_exception)
    return answered
