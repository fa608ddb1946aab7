"""``splice keys``, ``teams``, ``credits`` and ``statement``, as an operator types them: with the daemon up, and with it down."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy.billing import database, state
from proxy.billing.database import connect
from proxy.billing.ledger import Ledger
from proxy.config import key_hash
from tests.integration.gateway import config_text, gateway, upstream
from tests.integration.test_commands import splice
from tests.unit.billing.rows import row

KEY = re.compile(r"sk-splice-[0-9A-Za-z]{49}\n")
BOTH = pytest.mark.parametrize("up", [True, False], ids=["up", "down"])


@asynccontextmanager
async def place(directory: Path, *, up: bool):
    """Yield the path of a configuration, and the daemon that runs on it if it does."""
    path = directory / "config.toml"
    text = config_text(upstream("http://127.0.0.1:9"))
    path.write_text(text)
    path.chmod(0o600)
    running = gateway(text, path=path) if up else nullcontext()
    async with running as front:
        yield SimpleNamespace(path=path, front=front, state=directory / "state")


async def status_of(text, one):
    """Return what a key is answered by the daemon: one that runs, or one that is started to see."""
    if one.front is not None:
        return (await one.front.get("/v1/key", authorization=f"Bearer {text}")).status
    async with gateway(one.path.read_text(), path=one.path) as front:
        return (await front.get("/v1/key", authorization=f"Bearer {text}")).status


async def done(path: Path, *words: str) -> str:
    ran = await splice(path, *words)
    assert ran.code == 0, ran.err
    return ran.out


async def refused(path: Path, *words: str) -> str:
    ran = await splice(path, *words)
    assert (ran.code, ran.out) == (1, "")
    (line,) = ran.err.splitlines()
    return line.removeprefix("splice: ")


@BOTH
async def test_the_life_of_a_key(tmp_path, up):
    async with place(tmp_path, up=up) as one:
        first = await done(one.path, "keys", "create", "ci", "--rpm", "5", "--models", "gpt-*,up/*")
        assert KEY.fullmatch(first)
        first = first.strip()
        assert await status_of(first, one) == 200
        line = f"ci\tsk-splice-…{first[-4:]}\tactive\t-\tgpt-*,up/*\t-\t-\t-\n"
        assert await done(one.path, "keys", "list") == line
        assert await done(one.path, "keys", "disable", "ci") == "ci: disabled\n"
        assert await status_of(first, one) == 403
        assert await done(one.path, "keys", "enable", "ci") == "ci: active\n"
        second = (await done(one.path, "keys", "rotate", "ci", "--grace", "0s")).strip()
        assert [await status_of(text, one) for text in (first, second)] == [403, 200]
        shown = await done(
            one.path, "keys", "update", "ci", "--rpm", "none", "--expires", "2036-01-01"
        )
        assert "rpm: -\n" in shown
        assert "expires: 2036-01-01T00:00:00Z\n" in shown
        assert await done(one.path, "keys", "revoke", "ci") == "ci: revoked\n"
        assert await status_of(second, one) == 401
        shown = json.loads(await done(one.path, "keys", "show", "ci", "--json"))
        assert (shown["state"], shown["models"]) == ("revoked", ["gpt-*", "up/*"])
        assert second not in json.dumps(shown)


@BOTH
async def test_what_is_wrong_is_one_line(tmp_path, up):
    async with place(tmp_path, up=up) as one:
        await done(one.path, "teams", "create", "red")
        for words, said in (
            ("keys create tester", "name: found a key tester in the configuration"),
            (
                "keys create x --team rad",
                "team: found no team 'rad', expected one that is there; did",
            ),
            ("keys create x --rpm 0", "rpm: found 0, expected a whole number from 1"),
            ("keys create x --hash sk-splice-x", "hash: found something else, expected"),
            ("keys disable tester", "found tester in the configuration, expected a key of the"),
            ("keys rotate nobody", "found no key 'nobody'"),
            ("credits add team:red nothing", "amount_usd: found"),
            ("credits show team:blue", "found no team 'blue'"),
        ):
            assert (await refused(one.path, *words.split())).startswith(said)
        assert await done(one.path, "keys", "list") == ""


@BOTH
async def test_a_credit_is_booked_once_for_its_ref_also_by_two_at_once(tmp_path, up):
    async with place(tmp_path, up=up) as one:
        await done(one.path, "teams", "create", "red", "--prepaid", "--credit-usd", "5")
        add = ("credits", "add", "team:red", "10", "--ref", "i-7", "--note", "invoice 7")
        told = await asyncio.gather(*(done(one.path, *add) for _ in range(3)))
        assert sum("booked 10 USD; 15 USD paid in" in line for line in told) == 1
        assert sum("nothing was added; 15 USD paid in" in line for line in told) == 2
        await done(one.path, "credits", "add", "team:red", "-2.5")
        history = json.loads(await done(one.path, "credits", "history", "team:red", "--json"))
        assert [(found["amount_usd"], found["ref"]) for found in history] == [
            ("-2.5", None),
            ("10", "i-7"),
            ("5", None),
        ]
        shown = json.loads(await done(one.path, "credits", "show", "team:red", "--json"))
        assert (shown["paid_in_usd"], shown["credit_left_usd"]) == ("12.5", "12.5")
        audited = json.loads(await done(one.path, "audit", "--json"))
        assert (audited["ok"], audited["credits_usd"]) == (True, "12.5")


async def test_credit_that_bounds_nothing_is_warned_of(tmp_path):
    async with place(tmp_path, up=False) as one:
        ran = await splice(one.path, "keys", "create", "ci", "--credit-usd", "5")
        assert KEY.fullmatch(ran.out)
        assert "warning: ci is not prepaid" in ran.err


@BOTH
async def test_hashes_of_another_gateway_work(tmp_path, up):
    async with place(tmp_path, up=up) as one:
        digest = f"sha256:{key_hash('sk-from-elsewhere')}"
        told = await done(one.path, "keys", "create", "ci", "--hash", digest)
        assert told == "ci: active, opened by the key with this hash\n"
        assert await status_of("sk-from-elsewhere", one) == 200


async def test_disable_now_says_what_it_ended(tmp_path):
    async with place(tmp_path, up=False) as one:
        await done(one.path, "keys", "create", "ci")
        assert await done(one.path, "keys", "disable", "ci", "--now") == "ci: disabled\n"


async def test_commands_need_none_of_the_daemons_secrets(tmp_path):
    async with place(tmp_path, up=False) as one:
        text = one.path.read_text()
        secret = '[[accounts]]\nname = "x"\nprovider = "openai"\napi_key = { credential = "x" }\n'
        one.path.write_text(f'{text}\n{secret}[[keys]]\nname = "s"\nkey = {{ env = "UNSET" }}\n')
        assert KEY.fullmatch(await done(one.path, "keys", "create", "ci"))
        assert "in the configuration" in await refused(one.path, "keys", "create", "s")


async def test_looking_makes_no_ledger(tmp_path):
    async with place(tmp_path, up=False) as one:
        for words in ("keys list", "teams show x", "credits show x", "statement x --month 2026-11"):
            assert "found no daemon and no ledger at" in await refused(one.path, *words.split())
        assert not one.state.exists()


async def test_a_held_state_directory_without_a_daemon_is_told_after_a_while(tmp_path):
    async with place(tmp_path, up=False) as one:
        one.state.mkdir()
        held = state.lock(one.state)
        try:
            assert f"in use by process {os.getpid()}" in await refused(
                one.path, "keys", "create", "x"
            )
        finally:
            os.close(held)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
async def test_what_root_makes_is_the_owners_of_the_state(tmp_path):
    async with place(tmp_path, up=False) as one:
        one.state.mkdir(mode=0o700)
        os.chown(one.state, 65534, 65534)
        for above in (tmp_path, *tmp_path.parents[:2]):
            above.chmod(0o755)
        ran = await splice(one.path, "keys", "create", "ci")
        assert KEY.fullmatch(ran.out), ran.err
        assert {file.stat().st_uid for file in one.state.iterdir()} == {65534}


# Statements.


@pytest.fixture
async def october(tmp_path):
    """A team of two keys, prepaid with an allowance, that has had calls in two months."""
    async with place(tmp_path, up=False) as one:
        team = ("--prepaid", "--credit-usd", "5", "--allowance-usd", "1")
        await done(one.path, "teams", "create", "red", *team)
        await done(one.path, "keys", "create", "ci", "--team", "red")
        november, day = 1_795_000_000_000_000, 86_400_000_000
        about = {"team": "red", "wallet_id": "team:red"}
        rows = [
            row(
                1,
                started=november - 30 * day,
                key_name="ci",
                price_micro=1_500_000,
                team_drawn_micro=500_000,
                **about,
            ),
            row(
                2,
                started=november,
                key_name="ci",
                price_micro=2_000_000,
                team_drawn_micro=1_000_000,
                **about,
            ),
            row(
                3,
                started=november,
                key_name="bob",
                price_micro=10,
                team_drawn_micro=10,
                model_asked="x",
                **about,
            ),
        ]
        path = one.state / database.NAME
        ledger = await Ledger.open(path)
        await ledger.commit(rows, None)
        await ledger.close()
        with connect(path) as opened:
            opened.execute("UPDATE credits SET at = 1792000000000000")
        opened.close()
        yield one


async def test_a_statement_adds_up_from_its_opening_to_its_closing(october):
    told = await done(october.path, "statement", "team:red", "--month", "2026-11", "--csv")
    rows = list(csv.DictReader(io.StringIO(told)))
    assert [(one["kind"], one["key"], one["model"], one["amount_usd"]) for one in rows] == [
        ("opening", "", "", "4.5"),
        ("charge", "bob", "x", "-0.00001"),
        ("charge", "ci", "smart", "-2"),
        ("allowance", "", "", "1"),
        ("closing", "", "", "3.49999"),
    ]
    before = json.loads(
        await done(october.path, "statement", "team:red", "--month", "2026-10", "--json")
    )
    assert (before["opening_usd"], before["closing_usd"]) == ("0", "4.5")
    assert [one["kind"] for one in before["lines"]] == [
        "opening",
        "credit",
        "charge",
        "allowance",
        "closing",
    ]
    shown = json.loads(await done(october.path, "credits", "show", "team:red", "--json"))
    assert shown["credit_left_usd"] == "3.49999"


async def test_a_statement_of_a_key_tells_what_its_team_was_charged_for_it(october):
    told = json.loads(await done(october.path, "statement", "ci", "--month", "2026-11", "--json"))
    assert (told["wallet"], told["charged_usd"]) == ("key:ci", "2")
    assert [one["kind"] for one in told["lines"]] == ["charge"]
    assert "found no key nobody" in await refused(
        october.path, "statement", "nobody", "--month", "2026-11"
    )


@pytest.mark.parametrize("month", ["2026", "2026-13", "0000-01", "next"])
async def test_a_month_is_a_month(tmp_path, month):
    ran = await splice(tmp_path / "none.toml", "statement", "ci", "--month", month)
    assert ran.code == 2
