"""Two processes, of which one takes over from the other: one writes the ledger, both write the journal, nothing counts twice."""

from __future__ import annotations

import asyncio
import os
import sqlite3

import pytest

from proxy.billing import reading
from proxy.billing.books import Books
from proxy.billing.entry import Row
from proxy.billing.journal import Journal
from proxy.billing.objects import Kind
from proxy.billing.reading import Query
from proxy.billing.state import Unusable
from proxy.billing.waiting import Waiting
from proxy.log import Log
from tests.unit.billing.rows import STARTED, row
from tests.unit.billing.test_books import ids, killed, rows_in
from tests.unit.billing.test_objects import made, stored

NOW = STARTED / 1e6 + 3600
KEY = "a" * 64


@pytest.fixture
def log():
    return Log(os.open(os.devnull, os.O_WRONLY), level="error", now=lambda: NOW)


async def opened(tmp_path, log, patience=0.0):
    return await Books.open(
        tmp_path / "state", log, wall=lambda: NOW, retain=90 * 86_400.0, patience=patience
    )


@pytest.fixture
async def two(tmp_path, log):
    """The process on its way out, and the one that has taken over."""
    old = await opened(tmp_path, log)
    await old.hand_over()
    new = await opened(tmp_path, log)
    yield old, new
    await old.close()
    await new.close()


async def booked(books):
    books._follow()
    while await books.book() and books.behind:
        pass


def sums(tmp_path):
    return rows_in(tmp_path, "SELECT sum(requests), sum(price_micro) FROM usage_daily")


async def test_the_next_process_waits_for_the_ledger_and_gets_it(tmp_path, log):
    old = await opened(tmp_path, log)
    with pytest.raises(Unusable, match="in use by process"):
        await opened(tmp_path, log)

    async def give_way():
        await asyncio.sleep(0.1)
        await old.hand_over()

    new, _ = await asyncio.gather(opened(tmp_path, log, patience=10), give_way())
    assert (old.handed_over, new.handed_over) == (True, False)
    assert (old.shared, new.shared) == (True, True)
    await old.close()
    await new.close()


async def test_what_was_settled_before_is_booked_before(tmp_path, log):
    old = await opened(tmp_path, log)
    for number in range(2500):
        old.settle(row(number))
    await old.hand_over()
    assert rows_in(tmp_path, "SELECT count(*) FROM requests") == [2500]
    await old.close()


async def test_what_the_old_one_settles_the_new_one_books_once(tmp_path, log, two):
    old, new = two
    for number in range(20):
        (old, new)[number % 2].settle(row(number))
        if number % 3 == 0:
            await booked(new)
    await booked(new)
    assert sorted(rows_in(tmp_path)) == ids(*range(20))
    await old.close()
    new.settle(row(20))
    await booked(new)
    assert not new.shared
    assert new.ledger.position == new._journal.end
    assert sums(tmp_path) == [(21, 189)]


async def test_it_is_found_at_the_new_one_the_moment_it_is_settled(two):
    old, new = two
    old.settle(row(1))
    assert new.find(KEY, ids(1)[0]) == row(1)
    old.settle(row(2))
    assert [one[0] for one in new.waiting().since(new.ledger.serial)] == ids(1, 2)
    assert old.find(KEY, ids(2)[0]) == row(2)


async def test_what_is_made_at_the_old_one_is_found_at_the_new_one(tmp_path, log):
    old = await opened(tmp_path, log)
    old.objects.bind(made("file-1"))
    await old.hand_over()
    old.objects.bind(made("file-2", 1))
    new = await opened(tmp_path, log)
    old.objects.bind(made("file-3", 2))
    old.objects.forget(made("file-1"))
    assert await new.objects.owner(KEY, "file-3") == made("file-3", 2)
    assert [one.id for one in await new.objects.listed(KEY, Kind.file)] == ["file-3", "file-2"]
    await booked(new)
    assert stored(tmp_path) == ["file-2", "file-3"]
    assert await new.objects.owner(KEY, "file-1") is None
    await old.close()
    await new.close()


async def test_the_old_one_adds_nothing_to_the_sums_that_the_ledger_may_have(two):
    old, _ = two
    old.settle(row(1))
    assert old.waiting().since(0) == Waiting([], 0).since(0) == []
    _, (days,) = await old.ledger.read(reading.days_of(KEY, "2026-01-01", "2026-12-31"))
    assert days == []


async def test_the_old_one_can_change_no_key(two):
    old, _ = two
    with pytest.raises(sqlite3.OperationalError, match="another process"):
        await old.ledger.write([Query("DELETE FROM teams", {})])


async def test_what_runs_at_the_old_one_is_not_called_interrupted(tmp_path, log):
    old = await opened(tmp_path, log)
    old.progress(row(1, output_tokens=2, estimated=True))
    await old.hand_over()
    new = await opened(tmp_path, log)
    await booked(new)
    assert rows_in(tmp_path) == []
    old.settle(row(1, output_tokens=5))
    await old.close()
    await booked(new)
    assert rows_in(tmp_path, "SELECT output_tokens, error_type FROM requests") == [(5, None)]
    await new.close()


async def test_if_the_old_one_is_killed_what_ran_there_is_settled_by_its_last_note(tmp_path, log):
    old = await opened(tmp_path, log)
    await old.hand_over()
    new = await opened(tmp_path, log)
    old.progress(row(1, output_tokens=2, estimated=True))
    old.settle(row(2))
    old.progress(row(1, output_tokens=3, estimated=True))
    await killed(old, handed_over=True)
    await booked(new)
    found = rows_in(tmp_path, "SELECT request_id, output_tokens, error_type FROM requests")
    assert sorted(found) == [(ids(1)[0], 3, "interrupted"), (ids(2)[0], 5, None)]
    assert not new.shared
    await new.close()


async def test_if_both_are_killed_the_next_start_has_everything_once(tmp_path, log):
    old = await opened(tmp_path, log)
    old.settle(row(0))
    await old.hand_over()
    new = await opened(tmp_path, log)
    for number in range(1, 21):
        (old, new)[number % 2].settle(row(number))
        if number == 10:
            await booked(new)
    await killed(old, handed_over=True)
    await killed(new)
    again = await opened(tmp_path, log)
    assert sorted(rows_in(tmp_path)) == ids(*range(21))
    assert sums(tmp_path) == [(21, 189)]
    await again.close()


async def test_one_that_did_not_come_up_gives_the_ledger_back(tmp_path, log):
    old = await opened(tmp_path, log)
    await old.hand_over()
    old.settle(row(1))
    new = await opened(tmp_path, log)
    new.settle(row(2))
    with pytest.raises(Unusable, match="in use by process"):
        await old.take_back()
    assert old.handed_over
    await booked(new)
    new.settle(row(3))
    await killed(new)
    await old.take_back()
    assert not old.handed_over
    await booked(old)
    old.settle(row(4))
    await old.close()
    assert sorted(rows_in(tmp_path)) == ids(1, 2, 3, 4)
    assert sums(tmp_path) == [(4, 36)]
    assert rows_in(tmp_path, "SELECT clean FROM standing") == [1]


async def test_three_in_a_row_lose_nothing(tmp_path, log):
    first = await opened(tmp_path, log)
    await first.hand_over()
    second = await opened(tmp_path, log)
    first.settle(row(1))
    second.settle(row(2))
    await second.hand_over()
    third = await opened(tmp_path, log)
    for number, books in enumerate((first, second, third), start=3):
        books.settle(row(number))
    await second.close()
    await booked(third)
    assert third.shared
    first.settle(row(6))
    await first.close()
    await booked(third)
    assert not third.shared
    assert sorted(rows_in(tmp_path)) == ids(*range(1, 7))
    assert sums(tmp_path) == [(6, 54)]
    await third.close()


async def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path, two):
    old, new = two
    old.settle(row(1))
    journal: Journal = old._journal
    path, at = journal.path(journal.end.segment), journal.end.offset
    whole = journal.read(journal.end.segment)[:at]
    with path.open("r+b") as file:
        for size in range(1, at, 97):
            file.seek(0)
            file.write(whole[:size].ljust(at, b"\0"))
            file.flush()
            assert new.waiting().since(0) == []
        # The newline may be seen before what stands in front of it.
        file.seek(0)
        file.write(b"\0" * (at - 1) + b"\n")
        file.flush()
        assert new.waiting().since(0) == []
        file.seek(0)
        file.write(whole)
    assert [one[0] for one in new.waiting().since(0)] == ids(1)
    assert rows_in(tmp_path, "SELECT count(*) FROM quarantine") == [0]


async def test_damage_in_the_middle_of_a_followed_segment_is_put_aside(tmp_path, two):
    old, new = two
    old.settle(row(1))
    end = old._journal.end
    old.settle(row(2))
    with old._journal.path(end.segment).open("r+b") as file:
        file.seek(20)
        file.write(b"?")
    await booked(new)
    assert rows_in(tmp_path) == ids(2)
    assert rows_in(tmp_path, "SELECT count(*) FROM quarantine") == [1]


async def test_more_than_a_block_is_followed(tmp_path, two):
    old, new = two
    for number in range(4000):
        old.settle(row(number))
    assert old._journal.end.offset > 1 << 20
    await booked(new)
    assert rows_in(tmp_path, "SELECT count(*) FROM requests") == [4000]


async def test_who_follows_hears_of_each_request_once(two):
    old, new = two
    heard: list[Row] = []
    new.heard = heard.append
    old.settle(row(1))
    await booked(new)
    old.settle(row(2))
    new.settle(row(3))
    await booked(new)
    assert heard == [row(1), row(2)]


async def test_the_tasks_follow_by_themselves(tmp_path, two):
    old = two[0]
    async with asyncio.TaskGroup() as group:
        for one in two:
            group.create_task(one.keep_synced())
            group.create_task(one.keep_booked())
        old.settle(row(1))
        while not rows_in(tmp_path):  # noqa: ASYNC110 - another connection's view
            await asyncio.sleep(0.01)
        for one in two:
            one.stop()
