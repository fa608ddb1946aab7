"""The commands on the ledger, as an operator types them, with the daemon up or down."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest

from proxy.billing import audited
from proxy.billing.books import Books
from proxy.billing.database import connect
from proxy.cli import main
from proxy.log import Log
from tests.unit.billing.rows import STARTED, row

DAY = 86_400_000_000
ROWS = [
    row(1, price_micro=1_250_000),
    row(2, key_name="other", model="large", account="b", team="red", cache_read_tokens=3),
    row(3, started=STARTED - DAY, model="large", cache_write_tokens=1, cache_write_1h_tokens=2),
    row(4, status=502, error_type="server_error", output_tokens=0, input_tokens=0, price_micro=0, cost_micro=0),
]  # fmt: skip


async def opened(directory):
    log = Log(os.open(os.devnull, os.O_WRONLY), now=lambda: STARTED / 1e6)
    return await Books.open(directory, log, wall=lambda: STARTED / 1e6, retain=90 * 86_400)


async def kept(directory, rows):
    books = await opened(directory)
    for one in rows:
        books.settle(one)
    await books.close()


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A ledger of four requests, whose daemon is down."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPLICE_CONFIG", raising=False)
    Path("config.toml").write_text('[state]\ndirectory = "state"\n')
    asyncio.run(kept(tmp_path / "state", ROWS))
    return tmp_path / "state"


def told(capsys, *line):
    assert main(list(line)) == 0
    return capsys.readouterr().out


def test_usage_is_added_up(state, capsys):
    (found,) = json.loads(told(capsys, "usage", "--json"))
    assert found == {
        "requests": 4,
        "failed": 1,
        "input_tokens": 30,
        "cache_read_tokens": 3,
        "cache_write_tokens": 3,
        "output_tokens": 15,
        "cost_usd": "0.000021",
        "price_usd": "1.250018",
    }


def test_usage_by_several_things(state, capsys):
    found = list(
        csv.DictReader(io.StringIO(told(capsys, "usage", "--by", "day", "--by", "model", "--csv")))
    )
    assert [(one["day"], one["model"], one["requests"]) for one in found] == [
        ("2026-11-17", "large", "1"),
        ("2026-11-18", "", "1"),
        ("2026-11-18", "large", "1"),
        ("2026-11-18", "smart", "1"),
    ]


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        ("--since 2026-11-18", 3),
        ("--until 2026-11-17", 1),
        ("--key other", 1),
        ("--team red", 1),
        ("--model large", 2),
        ("--account b", 1),
        ("--key nobody", 0),
    ],
)
def test_usage_of_a_part(state, capsys, options, requests):
    (found,) = json.loads(told(capsys, "usage", "--json", *options.split()))
    assert found["requests"] == requests


def test_usage_as_a_table(state, capsys):
    lines = told(capsys, "usage", "--by", "team").splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        ["team", "requests"],
        ["-", "3"],
        ["red", "1"],
    ]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ("", [1, 2, 3, 4]),
        ("--last 2", [3, 4]),
        ("--key other", [2]),
        ("--model large", [2, 3]),
        ("--account b", [2]),
        ("--status 502", [4]),
        ("--error server_error", [4]),
    ],
)
def test_requests_are_listed_the_last_one_last(state, capsys, options, numbers):
    found = json.loads(told(capsys, "requests", "--json", *options.split()))
    assert [one["request_id"] for one in found] == [row(number)[0] for number in numbers]


def test_a_request_is_a_line(state, capsys):
    (line,) = told(capsys, "requests", "--last", "1").splitlines()
    assert line.split("\t") == [
        "2026-11-18T11:06:40Z", str(row(4)[0]), "tester", "smart", "up", "502", "server_error", "0", "0", "0.00", "0.000000",
    ]  # fmt: skip


@pytest.mark.parametrize("line", ["usage --since today", "requests --last 0", "usage --by hour"])
def test_bad_usage_is_2(state, line):
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2


@pytest.mark.parametrize("line", ["usage", "requests", "audit", "backup copy.db"])
def test_without_a_ledger_one_line_says_where_it_was_looked_for(state, capsys, line):
    for path in state.glob("ledger.db*"):
        path.unlink()
    assert main(line.split()) == 1
    (complaint,) = capsys.readouterr().err.splitlines()
    assert complaint.startswith(f"splice: found no ledger at {state / 'ledger.db'}, expected")


def test_a_ledger_that_may_not_be_read_is_told_in_a_line_too(state, capsys):
    # What is above it is named by no path, since commands run in it.
    state.parent.chmod(0o755)
    state.chmod(0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        assert main(["statement", "tester", "--month", "2026-11"]) == 1
    finally:
        os.seteuid(before)
        state.chmod(0o700)
    (complaint,) = capsys.readouterr().err.splitlines()
    assert "may this user read the directory?" in complaint


def test_the_daemon_may_run_meanwhile(state, capsys):
    async def meanwhile():
        books = await opened(state)
        books.settle(row(9))
        await books.book()
        try:
            return await asyncio.to_thread(told, capsys, "requests", "--json", "--last", "1")
        finally:
            await books.close()

    assert json.loads(asyncio.run(meanwhile()))[0]["request_id"] == row(9)[0]


# The audit.


def test_what_the_last_audit_found_is_kept(state, capsys):
    assert audited.last(state) is None
    told(capsys, "audit")
    found = audited.last(state)
    assert found is not None
    assert found.difference_micro == 0
    assert time.time() - 60 < found.at <= time.time()
    for damage, difference in (
        ("UPDATE requests SET price_micro = price_micro + 5 WHERE number = 1", 5),
        ("UPDATE requests SET price_micro = price_micro - 7 WHERE number = 3", 12),
        ("UPDATE usage_daily SET cost_micro = cost_micro + 1 WHERE key_name = 'other'", 13),
    ):
        with closing(connect(state / "ledger.db")) as database:
            database.execute(damage)
        assert main(["audit"]) == 1
        found = audited.last(state)
        assert found is not None
        assert found.difference_micro == difference
    assert stat.S_IMODE((state / "audit.json").stat().st_mode) == 0o600


def test_books_that_differ_in_no_money_differ_all_the_same(state, capsys):
    with closing(connect(state / "ledger.db")) as database:
        database.execute("UPDATE requests SET output_tokens = 1 WHERE number = 1")
    assert main(["audit"]) == 1
    found = audited.last(state)
    assert found is not None
    assert found.difference_micro == 1


def test_a_note_of_an_audit_that_is_none_is_no_audit(state):
    for kept in (b"", b"{}", b"[]", b'{"at": "x", "difference_micro": 0}'):
        (state / "audit.json").write_bytes(kept)
        assert audited.last(state) is None


def test_an_audit_by_who_may_not_write_there_is_an_audit(state, capsys):
    (state / "audit.json").mkdir()
    assert "4 requests" in told(capsys, "audit")
    assert [path.name for path in state.glob("audit.json.*")] == []


def test_an_audit_of_good_books_tells_their_sums(state, capsys):
    found = json.loads(told(capsys, "audit", "--json"))
    assert found == {
        "ok": True,
        "faults": [],
        "requests": 4,
        "removed": 0,
        "journal": 4,
        "quarantined": 0,
        "price_usd": "1.250018",
        "cost_usd": "0.000021",
        "credits_usd": "0",
        "difference_usd": "0",
        "keys": 0,
    }
    assert told(capsys, "audit").startswith("4 requests and 0 removed ones: price 1.250018 USD")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            "UPDATE requests SET price_micro = price_micro + 1 WHERE number = 1",
            "2026-11-18: price_micro is 1250010 in requests and 1250009 in the daily sums",
        ),
        (
            "DELETE FROM requests WHERE number = 3",
            "2026-11-17: requests is 0 in requests and 1 in the daily sums",
        ),
        ("DELETE FROM requests WHERE number = 3", f"{row(3)[0]}: is in segment 1 of the journal"),
        ("DELETE FROM usage_daily", "2026-11-18: requests is 3 in requests and 0 in the daily"),
    ],
)
def test_an_audit_finds_what_was_changed(state, capsys, damage, complaint):
    with closing(connect(state / "ledger.db")) as database:
        database.execute(damage)
    assert main(["audit"]) == 1
    assert complaint in capsys.readouterr().err
    assert main(["audit", "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["ok"]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            "UPDATE credits SET amount_micro = amount_micro + 1",
            "team:red: 5000001 micro-USD in credits and 5000000 in the record of changes",
        ),
        ("DELETE FROM credits", "team:red: 0 micro-USD in credits and 5000000 in the record"),
        ("DELETE FROM teams", "team:red: is credited, and there is no such team"),
        ("DELETE FROM teams", "key:ci: its team red does not exist"),
        ("DELETE FROM key_hashes", "key:ci: 0 hashes open it, expected 1"),
        ("UPDATE keys SET revoked = 1", "key:ci: 1 hashes open it, expected 1, or 0 once"),
        ("DELETE FROM keys", "opens ci, which does not exist"),
        ("UPDATE key_hashes SET key_name = 'x'", "key:ci: has the identity of x"),
    ],
)
def test_an_audit_holds_credits_and_keys_against_their_record(state, capsys, damage, complaint):
    told(capsys, "teams", "create", "red", "--credit-usd", "5")
    told(capsys, "keys", "create", "ci", "--team", "red")
    found = json.loads(told(capsys, "audit", "--json"))
    assert (found["credits_usd"], found["keys"]) == ("5", 1)
    with closing(connect(state / "ledger.db")) as database:
        database.execute(damage)
    assert main(["audit"]) == 1
    assert complaint in capsys.readouterr().err


def test_keys_without_a_team_are_no_fault_where_there_is_no_team(state, capsys):
    told(capsys, "keys", "create", "ci")
    assert json.loads(told(capsys, "audit", "--json"))["faults"] == []


def test_removed_requests_are_audited_by_their_sums(state, capsys):
    async def removed():
        books = await opened(state)
        await books.ledger.fold("2026-11-18")
        await books.close()

    asyncio.run(removed())
    found = json.loads(told(capsys, "audit", "--json"))
    assert (found["requests"], found["removed"], found["journal"]) == (3, 1, 3)


# Copies.


def test_a_backup_is_restored_and_rolled_forward_from_the_journal(state, capsys):
    assert told(capsys, "backup", "copy.db").startswith("wrote copy.db: ")
    assert stat.S_IMODE(Path("copy.db").stat().st_mode) == 0o600
    asyncio.run(kept(state, [row(5), row(6)]))
    (state / "ledger.db").write_bytes(b"\xff" * 8192)
    assert main(["usage"]) == 1
    assert "splice restore FILE" in capsys.readouterr().err
    assert "start the daemon to roll it forward" in told(capsys, "restore", "copy.db")
    assert json.loads(told(capsys, "audit", "--json"))["requests"] == 4
    asyncio.run(kept(state, []))
    found = json.loads(told(capsys, "audit", "--json"))
    assert (found["requests"], found["faults"]) == (6, [])
    assert len(list(state.glob("ledger.db.before-*"))) == 1
    with closing(connect(state / "ledger.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_backup_does_not_replace_a_file(state, capsys):
    Path("copy.db").write_text("mine")
    assert main(["backup", "copy.db"]) == 1
    assert capsys.readouterr().err == (
        "splice: found copy.db already, expected no such file; name another\n"
    )
    assert Path("copy.db").read_text() == "mine"


def test_what_is_no_backup_is_not_restored(state, capsys):
    Path("copy.db").write_text("not a ledger" * 100)
    before = (state / "ledger.db").read_bytes()
    assert main(["restore", "copy.db"]) == 1
    assert "copy.db to be no ledger" in capsys.readouterr().err
    assert (state / "ledger.db").read_bytes() == before


def test_nothing_is_restored_under_a_daemon_that_runs(state, capsys):
    told(capsys, "backup", "copy.db")

    async def meanwhile():
        books = await opened(state)
        try:
            return await asyncio.to_thread(main, ["restore", "copy.db"])
        finally:
            await books.close()

    assert asyncio.run(meanwhile()) == 1
    assert "in use by process" in capsys.readouterr().err


def test_a_command_cannot_change_anything(state):
    with (
        closing(connect(state / "ledger.db", read_only=True)) as database,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        database.execute("DELETE FROM requests")
