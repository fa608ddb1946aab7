"""The database file: made for its owner, checked when it must be, migrated with a copy first."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from proxy.billing import database
from proxy.billing.database import check, connect, copy, prepare
from proxy.billing.entry import COLUMNS
from proxy.billing.ledger import _INSERT
from proxy.billing.reading import SUMS
from proxy.billing.state import Unusable
from tests.unit.billing.rows import row


@pytest.fixture
def path(tmp_path):
    prepare(tmp_path / "ledger.db")
    return tmp_path / "ledger.db"


def run(path, *statements):
    with closing(connect(path)) as opened:
        return [opened.execute(one).fetchall() for one in statements]


def test_only_the_owner_may_read_it(path):
    with closing(connect(path)) as opened:
        opened.execute(_INSERT, row())
        modes = {stat.S_IMODE(one.stat().st_mode) for one in path.parent.glob("ledger.db*")}
    assert modes == {0o600}


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "ledger.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unusable, match=r"cannot open .*symbolic links"):
        prepare(tmp_path / "ledger.db")
    assert not (tmp_path / "elsewhere").exists()


def test_the_columns_are_those_of_an_entry_in_their_order(path):
    (columns,) = run(path, "SELECT name FROM pragma_table_info('requests')")
    assert [name for (name,) in columns] == ["number", *COLUMNS]


def test_the_public_views_have_these_columns(path):
    requests, days = run(
        path,
        "SELECT name FROM pragma_table_info('requests_v1')",
        "SELECT name FROM pragma_table_info('usage_daily_v1')",
    )
    assert [name for (name,) in requests] == ["number"] + [
        "started_at" if name == "started" else name for name in COLUMNS
    ]
    assert " ".join(name for (name,) in days) == (
        "day key_hash key_name team wallet_id model_asked model upstream_model provider account requests failed estimated "
        "input_tokens cache_read_tokens cache_write_tokens cache_write_1h_tokens output_tokens reasoning_tokens searches "
        "cost_micro price_micro key_drawn_micro team_drawn_micro"
    )


def test_a_moment_is_shown_to_the_microsecond(path):
    with closing(connect(path)) as opened:
        opened.execute(_INSERT, row(started=1_795_000_000_000_042))
        (shown,) = opened.execute("SELECT started_at FROM requests_v1").fetchone()
    assert shown == "2026-11-18T11:06:40.000042Z"


def test_a_second_time_changes_nothing(path):
    run(path, "UPDATE standing SET serial = 7")
    prepare(path)
    assert run(path, "SELECT serial FROM standing", "PRAGMA user_version") == [
        [(7,)],
        [(database.VERSION,)],
    ]


def test_a_later_schema_is_refused(path):
    run(path, f"PRAGMA user_version = {database.VERSION + 1}")
    with pytest.raises(
        Unusable,
        match=rf"with schema {database.VERSION + 1}, expected 1 to {database.VERSION}; a later version of Splice",
    ):
        prepare(path)


def test_what_the_first_version_wrote_drew_on_no_credit(tmp_path, monkeypatch):
    path = tmp_path / "ledger.db"
    with monkeypatch.context() as earlier:
        earlier.setattr(database, "VERSION", 1)
        earlier.setattr(database, "_MIGRATIONS", ("schema.sql",))
        prepare(path)
    columns = COLUMNS[: COLUMNS.index("key_drawn_micro")]
    with closing(connect(path)) as opened:
        opened.execute(
            f"INSERT INTO requests ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
            row()[: len(columns)],
        )
    prepare(path)
    drawn, sums = run(
        path,
        "SELECT price_micro, key_drawn_micro, team_drawn_micro FROM requests_v1",
        f"SELECT {SUMS['key_drawn_micro']} FROM requests",
    )
    assert (drawn, sums) == ([(9, None, None)], [(0,)])


def test_a_migration_copies_first_and_is_one_transaction(path, monkeypatch):
    before = database.VERSION
    run(path, "UPDATE standing SET serial = 7")
    monkeypatch.setattr(database, "VERSION", before + 1)
    monkeypatch.setattr(database, "_MIGRATIONS", (*database._MIGRATIONS, "third.sql"))
    scripts = ["CREATE TABLE third (x);", "CREATE TABLE third (x); INSERT INTO absent VALUES (1);"]
    monkeypatch.setattr(database, "_script", lambda name: scripts.pop())
    with pytest.raises(Unusable, match="no such table: absent"):
        prepare(path)
    tables = "SELECT name FROM sqlite_schema WHERE name = 'third'"
    assert run(path, tables, "PRAGMA user_version") == [[], [(before,)]]
    prepare(path)
    assert run(path, tables, "PRAGMA user_version", "SELECT serial FROM standing") == [
        [("third",)],
        [(before + 1,)],
        [(7,)],
    ]
    copies = sorted(path.parent.glob(f"ledger.db.schema-{before}*"))
    assert len(copies) == 2
    assert {stat.S_IMODE(one.stat().st_mode) for one in copies} == {0o600}
    with closing(sqlite3.connect(copies[1])) as opened:
        assert opened.execute("PRAGMA user_version").fetchone() == (before,)


def spoil(path):
    """Overwrite a page in the middle of the database."""
    with closing(connect(path)) as opened:
        opened.execute("BEGIN")
        opened.executemany(_INSERT, [row(number) for number in range(500)])
        opened.execute("COMMIT")
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096 * 40)
        file.write(b"\xff" * 4096 * 20)


def test_one_that_was_not_closed_in_order_is_checked(path):
    spoil(path)
    prepare(path)
    run(path, "UPDATE standing SET clean = 0")
    with pytest.raises(Unusable, match=r"ledger.db damaged \(.*splice restore FILE") as caught:
        prepare(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_database_is_refused_with_the_way_out(path):
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(Unusable, match=r"damaged \(file is not a database\).*splice restore FILE"):
        prepare(path)


def test_one_that_somebody_else_writes_is_not_called_damaged(path, monkeypatch):
    monkeypatch.setattr(database, "BUSY", 0.05)
    monkeypatch.setattr(database, "VERSION", database.VERSION + 1)
    monkeypatch.setattr(database, "_MIGRATIONS", (*database._MIGRATIONS, "schema.sql"))
    with closing(connect(path)) as opened:
        opened.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unusable, match=r"cannot use .* \(database is locked\)"):
            prepare(path)


def test_a_copy_is_whole_one_file_and_its_owners(path, tmp_path):
    run(path, "UPDATE standing SET serial = 7")
    copy(path, tmp_path / "copy.db")
    check(tmp_path / "copy.db")
    assert run(tmp_path / "copy.db", "SELECT serial FROM standing") == [[(7,)]]
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert not (tmp_path / "copy.db-wal").exists()
    with pytest.raises(Unusable, match="already, expected no such file"):
        copy(path, tmp_path / "copy.db")


def test_a_copy_that_is_no_ledger_is_not_taken_for_one(tmp_path):
    (tmp_path / "empty.db").touch()
    with pytest.raises(Unusable, match="with schema 0"):
        check(tmp_path / "empty.db")
    (tmp_path / "text.db").write_text("x" * 1000)
    with pytest.raises(Unusable, match="no ledger"):
        check(tmp_path / "text.db")


# A ledger of the first schema.


def test_one_of_the_first_schema_gets_the_new_tables_and_keeps_what_it_has(tmp_path):
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as made:
        made.executescript(Path(__file__).with_name("ledger-1.sql").read_text())
    kept = (
        f"SELECT {', '.join(COLUMNS[3:8])}, price_micro FROM requests_v1",
        "SELECT day, key_name, wallet_id, requests, price_micro FROM usage_daily_v1 ORDER BY key_name",
        "SELECT * FROM quarantine",
        "SELECT * FROM standing",
    )
    before = run(path, *kept)
    prepare(path)
    for rows, were in zip(run(path, *kept), before, strict=True):
        # Views have got new columns, at their end.
        assert [row[: len(was)] for row, was in zip(rows, were, strict=True)] == were
    assert [len(rows) for rows in before] == [3, 2, 1, 1]
    fresh = tmp_path / "fresh.db"
    prepare(fresh)
    shape = (
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY 1, 2"
    )
    assert run(path, shape, "PRAGMA user_version") == run(fresh, shape, "PRAGMA user_version")
    copy_of_before = tmp_path / "ledger.db.schema-1"
    assert run(copy_of_before, "PRAGMA user_version", kept[0]) == [[(1,)], before[0]]
