"""What is settled is kept: in the journal at once, in the ledger once, in memory in between."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from contextlib import asynccontextmanager, closing

import pytest

from proxy.billing import books as module
from proxy.billing import ledger as ledger_module
from proxy.billing import reading, upkeep
from proxy.billing.books import Books
from proxy.billing.database import connect
from proxy.billing.entry import COLUMNS, PROGRESS, encode
from proxy.billing.journal import Journal
from proxy.billing.reading import Query
from proxy.billing.state import Unusable
from proxy.log import Log
from tests.exposition import counted
from tests.unit.billing.rows import STARTED, row

NOW = STARTED / 1e6 + 3600
KEY = "a" * 64


@pytest.fixture
def log(tmp_path):
    with (tmp_path / "log").open("wb+") as file:
        yield Log(file.fileno(), now=lambda: NOW)


@pytest.fixture
def said(tmp_path, log):
    def read():
        log.flush()
        return (tmp_path / "log").read_text()

    return read


async def opened(tmp_path, log, retain=90 * 86_400.0, wall=NOW):
    return await Books.open(tmp_path / "state", log, wall=lambda: wall, retain=retain)


async def killed(books, *, handed_over=False):
    """Let go of everything, as the system does for a process that is killed: nothing is booked, nothing said."""
    books._thread.shutdown()
    journal = books._journal
    os.close(journal._descriptor)
    journal._descriptor = -1
    await books.ledger._reader.close()
    if not handed_over:
        await books.ledger._writer.close()
    os.close(books._lingering if handed_over else books._lock)


@asynccontextmanager
async def the_books(tmp_path, log, **options):
    books = await opened(tmp_path, log, **options)
    try:
        yield books
    finally:
        await books.close()


def rows_in(tmp_path, sql="SELECT request_id FROM requests ORDER BY number"):
    with closing(connect(tmp_path / "state" / "ledger.db")) as database:
        return [one[0] if len(one) == 1 else one for one in database.execute(sql)]


def ids(*numbers: int) -> list[str]:
    return [str(row(number)[0]) for number in numbers]


def break_disk(monkeypatch):
    def failing(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", failing)
    monkeypatch.setattr(os, "posix_fallocate", failing)


async def test_a_settled_request_is_booked_with_every_column(tmp_path, log):
    wanted = row(1, team="red", error_type="truncated", service_tier="flex", trace_id="t" * 32)
    async with the_books(tmp_path, log) as books:
        books.settle(wanted)
        assert await books.book()
        (found,) = rows_in(tmp_path, f"SELECT {', '.join(COLUMNS)} FROM requests")
    assert found == wanted


async def test_what_was_settled_and_not_booked_is_booked_by_the_next_start(tmp_path, log):
    books = await opened(tmp_path, log)
    books.settle(row(1))
    await books.book()
    books.settle(row(2))
    books.settle(row(3))
    await killed(books)
    async with the_books(tmp_path, log):
        assert rows_in(tmp_path) == ids(1, 2, 3)


async def test_a_replay_that_is_repeated_adds_nothing(tmp_path, log):
    books = await opened(tmp_path, log)
    for number in range(50):
        books.settle(row(number))
    await killed(books)
    for _ in range(3):
        books = await opened(tmp_path, log)
        await books.ledger._writer.execute("UPDATE standing SET segment = 0, byte = 0")
        await killed(books)
    assert rows_in(tmp_path) == ids(*range(50))
    assert rows_in(tmp_path, "SELECT sum(requests), sum(price_micro) FROM usage_daily") == [
        (50, 450)
    ]


async def test_closing_books_what_is_left_and_leaves_nothing_to_replay(tmp_path, log, said):
    async with the_books(tmp_path, log) as books:
        for number in range(2500):
            books.settle(row(number))
    assert rows_in(tmp_path) == ids(*range(2500))
    assert rows_in(tmp_path, "SELECT clean FROM standing") == [1]
    async with the_books(tmp_path, log):
        assert rows_in(tmp_path, "SELECT clean FROM standing") == [0]
    assert "replayed" not in said()


async def test_the_tasks_book_within_moments_and_end_when_told(tmp_path, log):
    async with the_books(tmp_path, log) as books, asyncio.TaskGroup() as group:
        group.create_task(books.keep_synced())
        group.create_task(books.keep_booked())
        books.settle(row(1))
        while not rows_in(tmp_path) or books._journal.needs_sync:  # noqa: ASYNC110 - another connection's view
            await asyncio.sleep(0.01)
        books.stop()


# Interrupted requests.


async def test_a_request_that_was_running_is_settled_by_its_last_note(tmp_path, log):
    books = await opened(tmp_path, log)
    books.progress(row(1, output_tokens=5, estimated=True))
    books.progress(row(2, output_tokens=7, estimated=True))
    books.progress(row(1, output_tokens=9, estimated=True))
    books.settle(row(2, output_tokens=8))
    await killed(books)
    async with the_books(tmp_path, log):
        found = rows_in(
            tmp_path,
            "SELECT request_id, output_tokens, error_type, estimated FROM requests ORDER BY 1",
        )
    assert found == [(ids(1)[0], 9, "interrupted", 1), (ids(2)[0], 8, None, 0)]


async def test_a_note_is_found_however_much_was_booked_after_it(tmp_path, log):
    books = await opened(tmp_path, log)
    books.progress(row(1, estimated=True))
    for number in range(2, 10):
        books.settle(row(number))
        await books.book()
    await killed(books)
    async with the_books(tmp_path, log):
        assert sorted(rows_in(tmp_path)) == ids(*range(1, 10))
        assert rows_in(tmp_path, "SELECT sum(requests) FROM usage_daily") == [9]


async def test_the_position_moves_on_when_nothing_runs(tmp_path, log):
    async with the_books(tmp_path, log) as books:
        books.progress(row(1))
        books.settle(row(2))
        await books.book()
        assert books.ledger.position.offset == 0
        books.settle(row(1))
        await books.book()
        assert books.ledger.position == books._journal.end


# A disk that is full.


async def test_a_full_disk_closes_the_books_and_loses_nothing(tmp_path, log, said, monkeypatch):
    books = await opened(tmp_path, log)
    books.settle(row(1))
    with monkeypatch.context() as patch:
        break_disk(patch)
        books.settle(row(2))
        books.settle(row(3))
        assert not books.open_for_calls
        assert books.find(KEY, ids(3)[0]) is not None
        books._retry()
        assert not books.open_for_calls
    books._retry()
    assert books.open_for_calls
    assert books._unkept == []
    await killed(books)
    async with the_books(tmp_path, log):
        assert rows_in(tmp_path) == ids(1, 2, 3)
    assert said().count("the journal cannot be written") == 1


async def test_what_the_journal_did_not_take_the_ledger_may(tmp_path, log, monkeypatch):
    async with the_books(tmp_path, log) as books:
        with monkeypatch.context() as patch:
            break_disk(patch)
            books.settle(row(1))
            await books.book()
            assert rows_in(tmp_path) == ids(1)
            assert books._unkept == []
            books._retry()
            assert not books.open_for_calls, "there is still no room"
        books._retry()
        assert books.open_for_calls


async def test_memory_is_bounded_while_the_disk_is_full(tmp_path, log, said, monkeypatch):
    monkeypatch.setattr(module, "MAX_UNKEPT", 10)
    async with the_books(tmp_path, log) as books:
        with monkeypatch.context() as patch:
            break_disk(patch)
            for number in range(12):
                books.settle(row(number))
        assert len(books._pending) == 10
    assert said().count("a request was lost") == 2
    assert rows_in(tmp_path) == ids(*range(10))


async def test_a_failed_sync_writes_everything_again_elsewhere(tmp_path, log, monkeypatch):
    books = await opened(tmp_path, log)
    books.settle(row(1))
    task = asyncio.get_running_loop().create_task(books.keep_synced())

    def failing(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        while books.open_for_calls:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)
    while not books.open_for_calls:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.005)
    books.stop()
    await task
    assert books._journal.end.segment > 1
    books._journal.path(1).unlink()
    await killed(books)
    async with the_books(tmp_path, log):
        assert rows_in(tmp_path) == ids(1)


# A ledger that cannot be written, and what it does not take.


async def test_a_locked_ledger_gets_the_same_batch_again(tmp_path, log, said, monkeypatch):
    monkeypatch.setattr(ledger_module, "BUSY", 0.05)
    async with the_books(tmp_path, log) as books:
        with closing(connect(tmp_path / "state" / "ledger.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            books.settle(row(1))
            assert not await books.book()
            books.settle(row(2))
            assert not await books.book()
            assert books.open_for_calls, "the journal has it all"
            assert books.find(KEY, ids(1)[0]) is not None
            other.execute("ROLLBACK")
        assert await books.book()
        assert await books.book()
        assert rows_in(tmp_path) == ids(1, 2)
    assert said().count("the ledger cannot be written") == 1


async def test_a_ledger_that_is_locked_for_too_long_closes_the_books(tmp_path, log, monkeypatch):
    monkeypatch.setattr(ledger_module, "BUSY", 0.01)
    monkeypatch.setattr(module, "MAX_PENDING", 3)
    async with the_books(tmp_path, log) as books:
        with closing(connect(tmp_path / "state" / "ledger.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            books.settle(row(0))
            await books.book()
            for number in range(1, 4):
                books.settle(row(number))
            await books.book()
            assert not books.open_for_calls
            books._retry()
            assert not books.open_for_calls
            other.execute("ROLLBACK")
        while await books.book() and books._pending:
            pass
        books._retry()
        assert books.open_for_calls
        assert rows_in(tmp_path) == ids(0, 1, 2, 3)


POISON = [
    {"input_tokens": 10**30},
    {"input_tokens": -1},
    {"output_tokens": 1.5},
    {"output_tokens": "seven"},
    {"input_tokens": None},
    {"cost_micro": -1},
    {"price_micro": 10**11},
    {"answer_id": "x" * 300},
    {"key_hash": None},
    {"started": -5},
]


@pytest.mark.parametrize("poison", POISON, ids=lambda poison: str(poison)[:40])
async def test_a_poisoned_row_is_put_aside_and_the_others_are_booked(tmp_path, log, said, poison):
    books = await opened(tmp_path, log)
    for one in (row(1), row(2, **poison), row(3)):
        books.settle(one)
    assert await books.book()
    assert rows_in(tmp_path) == ids(1, 3)
    assert rows_in(tmp_path, "SELECT count(*) FROM quarantine") == [1]
    books.settle(row(4))
    await killed(books)
    async with the_books(tmp_path, log):
        assert rows_in(tmp_path) == ids(1, 3, 4)
    assert rows_in(tmp_path, "SELECT count(*) FROM quarantine") == [1]
    assert rows_in(tmp_path, "SELECT sum(requests), sum(price_micro) FROM usage_daily") == [(3, 27)]
    assert said().count("is in quarantine") == 1


async def test_what_cannot_be_written_down_while_it_runs_is_put_aside_when_it_has_ended(
    tmp_path, log
):
    async with the_books(tmp_path, log) as books:
        books.progress(row(1, input_tokens=10**30))
        books.settle(row(1, input_tokens=10**30))
        assert await books.book()
        assert rows_in(tmp_path, "SELECT count(*) FROM quarantine") == [1]


async def test_what_is_damaged_while_a_batch_is_booked_is_put_aside_with_the_next(
    tmp_path, log, monkeypatch
):
    async with the_books(tmp_path, log) as books:
        books.settle(row(1, input_tokens=-1))
        commit = books.ledger.commit

        async def meanwhile(*batch):
            found = await commit(*batch)
            books.settle(row(2, input_tokens=10**30))
            return found

        with monkeypatch.context() as patch:
            patch.setattr(type(books.ledger), "commit", lambda _, *batch: meanwhile(*batch))
            assert await books.book()
        assert await books.book()
    assert rows_in(tmp_path, "SELECT count(*) FROM quarantine") == [2]


# What is told of it.


async def test_what_is_booked_and_put_aside_is_counted_also_by_a_replay(tmp_path, log):
    books = await opened(tmp_path, log)
    books.settle(row(1))
    books.settle(row(2, input_tokens=-1))
    books.settle(row(3, input_tokens=10**30))
    await books.book()
    found = samples_of(books)
    assert found["splice_ledger_rows_written_total"] == 1
    assert found["splice_ledger_rows_quarantined_total"] == 2
    assert found["splice_ledger_flush_duration_seconds_count"] == 1
    books.settle(row(4))
    books.settle(row(5))
    await killed(books)
    async with the_books(tmp_path, log) as books:
        assert samples_of(books)["splice_ledger_rows_written_total"] == 2


async def test_what_waits_is_told_since_when(tmp_path, log):
    async with the_books(tmp_path, log) as books:
        assert books.behind_since is None
        books.settle(row(1, started=STARTED, duration_us=1_500_000))
        books.settle(row(2, started=STARTED - 9_000_000, duration_us=9_000_000))
        assert books.behind_since == STARTED / 1e6 + 1.5
        await books.book()
        assert books.behind_since is None


async def test_every_failure_of_the_journal_is_counted_and_every_sync_timed(
    tmp_path, log, monkeypatch
):
    async with the_books(tmp_path, log) as books:
        assert books.journal_failures == 0
        with monkeypatch.context() as patch:
            break_disk(patch)
            books.settle(row(1))
            await books.book()
            books._retry()
            books._retry()
        # The record, and twice the attempt to begin another segment.
        assert books.journal_failures == 3
        books._retry()
        assert books.journal_failures == 3
        books.settle(row(2))
        task = asyncio.get_running_loop().create_task(books.keep_synced())
        while books._journal.needs_sync:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)
        books.stop()
        await task
        assert samples_of(books)["splice_journal_sync_duration_seconds_count"] >= 1


def samples_of(books):
    return counted(books.metrics)


@pytest.mark.parametrize(
    ("given", "kept"), [("name\udce9", "name?"), ("a\0b", "a\0b"), ("\u2028é", "\u2028é")]
)
async def test_odd_text_is_kept_as_text(tmp_path, log, given, kept):
    async with the_books(tmp_path, log) as books:
        books.settle(row(1, client_request_id=given))
        books.progress(row(2, client_request_id=given))
        assert await books.book()
        assert rows_in(tmp_path, "SELECT client_request_id FROM requests") == [kept]


async def test_a_damaged_line_of_the_journal_is_put_aside_once(tmp_path, log, said):
    books = await opened(tmp_path, log)
    for number in (1, 2, 3):
        books.settle(row(number))
    path = books._journal.path(1)
    await killed(books)
    data = path.read_bytes()
    path.write_bytes(data.replace(ids(2)[0].encode(), ids(9)[0].encode()))
    for _ in range(2):
        books = await opened(tmp_path, log)
        await books.ledger._writer.execute("UPDATE standing SET segment = 0, byte = 0")
        await killed(books)
    assert rows_in(tmp_path) == ids(1, 3)
    assert rows_in(tmp_path, "SELECT reason FROM quarantine")[0].endswith("a wrong checksum")
    assert rows_in(tmp_path, "SELECT count(*) FROM quarantine") == [1]
    assert "found damage" in said()


@pytest.mark.parametrize("record", [b"X[]", b'S{"a":1}', b"Snonsense", b'S[["a"]]', b"S[1.5]"])
async def test_a_record_that_nobody_understands_is_put_aside(tmp_path, log, record):
    books = await opened(tmp_path, log)
    books._journal.append(record)
    books.settle(row(1))
    await killed(books)
    async with the_books(tmp_path, log):
        assert rows_in(tmp_path) == ids(1)
        assert rows_in(tmp_path, "SELECT record FROM quarantine")[0].endswith(record)


async def test_a_record_of_an_earlier_version_lacks_the_later_columns(tmp_path, log):
    books = await opened(tmp_path, log)
    books._journal.append(encode(b"S", row(1)[:-2]))
    await killed(books)
    async with the_books(tmp_path, log):
        assert rows_in(tmp_path) == ids(1)


# The state directory as it may be found.


async def test_a_second_gateway_is_refused(tmp_path, log):
    async with the_books(tmp_path, log):
        with pytest.raises(Unusable, match="in use by process"):
            await opened(tmp_path, log)


async def test_a_damaged_database_lets_go_of_the_directory(tmp_path, log):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "ledger.db").write_bytes(b"garbage" * 1000)
    for _ in range(2):
        with pytest.raises(Unusable, match="splice restore FILE"):
            await opened(tmp_path, log)


async def test_a_locked_database_at_the_start_is_told_and_nothing_stays_held(
    tmp_path, log, monkeypatch
):
    monkeypatch.setattr(ledger_module, "BUSY", 0.01)
    books = await opened(tmp_path, log)
    books.settle(row(1))
    await killed(books)
    with closing(connect(tmp_path / "state" / "ledger.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unusable, match=r"cannot use .* \(database is locked\), expected"):
            await opened(tmp_path, log)
        other.execute("ROLLBACK")
    async with the_books(tmp_path, log):
        assert rows_in(tmp_path) == ids(1)


async def test_a_lost_journal_does_not_hide_the_next_one(tmp_path, log):
    books = await opened(tmp_path, log)
    books.settle(row(1))
    await books.close()
    books = await opened(tmp_path, log)
    await books.close()
    for path in (tmp_path / "state" / "journal").iterdir():
        path.unlink()
    books = await opened(tmp_path, log)
    books.settle(row(2))
    await killed(books)
    async with the_books(tmp_path, log):
        assert rows_in(tmp_path) == ids(1, 2)


async def test_a_journal_with_a_gap_is_told(tmp_path, log, said):
    books = await opened(tmp_path, log)
    books.settle(row(1))
    await killed(books)
    books = await opened(tmp_path, log)
    books.settle(row(2))
    await killed(books)
    with closing(connect(tmp_path / "state" / "ledger.db")) as database:
        database.execute("UPDATE standing SET segment = 1")
    books._journal.path(1).unlink()
    async with the_books(tmp_path, log):
        assert rows_in(tmp_path) == ids(1, 2)
    assert "does not reach back" in said()


async def test_a_killed_process_leaves_no_room_allocated(tmp_path, log):
    books = await opened(tmp_path, log)
    books.settle(row(1))
    path = books._journal.path(1)
    assert path.stat().st_size == 64 << 20
    await killed(books)
    async with the_books(tmp_path, log):
        assert path.stat().st_size < 1000


# Daily sums, and what is removed.


async def test_the_days_are_those_on_which_requests_started(tmp_path, log):
    midnight = 1_795_046_400_000_000
    async with the_books(tmp_path, log) as books:
        books.settle(row(1, started=midnight - 1))
        books.settle(row(2, started=midnight))
        books.settle(row(3, started=midnight, error_type="truncated", model_asked="other"))
        await books.book()
    found = rows_in(
        tmp_path, "SELECT day, model_asked, requests, failed FROM usage_daily_v1 ORDER BY 1, 2"
    )
    assert found == [
        ("2026-11-18", "smart", 1, 0),
        ("2026-11-19", "other", 1, 1),
        ("2026-11-19", "smart", 1, 0),
    ]


async def test_invented_names_of_models_do_not_make_the_sums_grow(tmp_path, log):
    nothing = {"input_tokens": 0, "output_tokens": 0, "price_micro": 0, "cost_micro": 0}
    async with the_books(tmp_path, log) as books:
        for number in range(20):
            books.settle(
                row(number, model_asked=f"x{number}", error_type="model_unknown", **nothing)
            )
        await books.book()
    assert rows_in(tmp_path, "SELECT model_asked, requests FROM usage_daily") == [("", 20)]


DAY = 86_400


async def test_old_requests_go_and_their_sums_stay(tmp_path, log):
    async with the_books(tmp_path, log, retain=3 * DAY, wall=NOW) as books:
        for day in range(6):
            books.settle(row(day, started=STARTED - day * DAY * 1_000_000))
        await books.book()
        await books._upkeep.run(NOW)
        assert sorted(rows_in(tmp_path)) == ids(0, 1, 2, 3)
        assert rows_in(tmp_path, "SELECT sum(requests) FROM usage_daily_v1") == [6]
        assert rows_in(tmp_path, "SELECT folded_until FROM standing") == ["2026-11-15"]


async def test_nothing_goes_while_the_sums_are_wrong(tmp_path, log, said):
    async with the_books(tmp_path, log, retain=DAY, wall=NOW) as books:
        books.settle(row(1, started=STARTED - 4 * DAY * 1_000_000))
        await books.book()
        await books.ledger._writer.execute("UPDATE usage_daily SET price_micro = 8")
        await books._upkeep.run(NOW)
        assert rows_in(tmp_path) == ids(1)
    assert "2026-11-14: price_micro is 9 in requests and 8 in the daily sums" in said()


async def test_a_request_of_a_day_that_is_gone_still_counts(tmp_path, log):
    async with the_books(tmp_path, log, retain=DAY, wall=NOW) as books:
        books.settle(row(1, started=STARTED - 4 * DAY * 1_000_000))
        await books.book()
        await books._upkeep.run(NOW)
        books.settle(row(2, started=STARTED - 4 * DAY * 1_000_000))
        await books.book()
        rows, days = reading.sums_of_requests(), reading.sums_of_days()
        _, (ours, theirs) = await books.ledger.read(rows, days)
        assert reading.differences(ours, theirs) == []
        assert rows_in(tmp_path, "SELECT sum(requests) FROM usage_daily") == [2]


async def test_a_log_of_the_database_that_grows_is_told(tmp_path, log, said, monkeypatch):
    monkeypatch.setattr(upkeep, "_LARGE_LOG", 4096)
    async with the_books(tmp_path, log) as books:
        await books._upkeep.run(NOW)
        books.settle(row(1))
        await books.book()
        await books._upkeep.run(NOW)
    assert said().count("the database's log is large") >= 1


# Reading.


async def test_what_waits_is_counted_once_whatever_is_booked_meanwhile(tmp_path, log):
    async with the_books(tmp_path, log) as books:
        for number in range(5):
            books.settle(row(number))
        waiting = books.waiting()
        assert [one[0] for one in waiting.since(0)] == ids(*range(5))
        await books.book()
        books.settle(row(5))
        serial, (found,) = await books.ledger.read(Query("SELECT count(*) AS n FROM requests", {}))
        assert found == [{"n": 5}]
        assert waiting.since(serial) == []
        assert [one[0] for one in books.waiting().since(serial)] == ids(5)


async def test_a_reader_that_takes_too_long_is_ended(tmp_path, log, monkeypatch):
    monkeypatch.setattr(ledger_module, "READ_TIME", 0.01)
    async with the_books(tmp_path, log) as books:
        endless = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        )
        with pytest.raises(ledger_module.ReadTooLong):
            await books.ledger.read(Query(endless, {}))
        _, (found,) = await books.ledger.read(Query("SELECT 1 AS one", {}))
        assert found == [{"one": 1}]


async def test_a_reader_cannot_write(tmp_path, log):
    async with the_books(tmp_path, log) as books:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await books.ledger.read(Query("DELETE FROM requests", {}))


async def test_a_note_is_a_record_of_its_own_kind(tmp_path, log):
    async with the_books(tmp_path, log) as books:
        books.progress(row(1))
        assert encode(PROGRESS, row(1)) in Journal(tmp_path / "state" / "journal").read(1)


async def test_what_is_settled_and_booked_while_it_is_counted_counts_once(
    tmp_path, log, monkeypatch
):
    async with the_books(tmp_path, log) as books:
        books.settle(row(1, price_micro=1, key_drawn_micro=1))
        await books.book()
        books.settle(row(2, price_micro=10, team="red", team_drawn_micro=4))
        look = books.ledger.read
        reads = []

        async def slow(*queries, **within):
            found = await look(*queries, **within)
            reads.append(found)
            if len(reads) == 1:
                # Neither what was waiting before nor what is waiting afterwards has this one.
                books.settle(row(3, price_micro=100))
                await books.book()
                await books.book()
            books.settle(row(3 + len(reads), price_micro=1_000))
            return found

        monkeypatch.setattr(books.ledger, "read", slow)
        found = await books.spent_by_wallets()
        assert len(reads) == 2
    assert (found["key:tester"].total, found["key:tester"].drawn) == (2_111, 1)
    assert (found["team:red"].total, found["team:red"].drawn) == (10, 4)


async def test_a_reader_who_leaves_at_any_moment_is_no_trouble_to_the_next(tmp_path, log):
    async with the_books(tmp_path, log) as books:
        query = Query("SELECT request_id FROM requests", {})
        for turns in range(60):
            left = asyncio.get_running_loop().create_task(books.ledger.read(query, query))
            for _ in range(turns % 12):
                await asyncio.sleep(0)
            left.cancel()
            await asyncio.wait([left])
            _, found = await books.ledger.read(query)
            assert found == [[]]
