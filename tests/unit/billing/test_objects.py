"""An object is found by the key that made it, wherever its record is, and by nobody else."""

from __future__ import annotations

import errno
import os
from contextlib import closing

import pytest

from proxy.billing import objects as module
from proxy.billing.database import connect
from proxy.billing.objects import Kind, Object, read_change
from tests.unit.billing.rows import STARTED, row
from tests.unit.billing.test_books import killed, log, opened, said, the_books

__all__ = ["log", "said"]

MINE = "a" * 64
THEIRS = "b" * 64


def made(name, number=0, *, key=MINE, kind=Kind.file, provider="openai", account="main"):
    return Object(key, name, kind.value, provider, account, STARTED + number)


def stored(tmp_path):
    with closing(connect(tmp_path / "state" / "ledger.db")) as database:
        return [one[0] for one in database.execute("SELECT id FROM objects ORDER BY created, id")]


async def names(books, **wanted):
    return [one.id for one in await books.objects.listed(MINE, Kind.file, **wanted)]


@pytest.mark.parametrize("booked", [False, True], ids=["waiting", "booked"])
async def test_an_object_is_found_by_its_key_and_by_no_other(tmp_path, log, booked):
    async with the_books(tmp_path, log) as books:
        assert books.objects.bind(made("file-1"))
        if booked:
            await books.book()
            books.objects._known.clear()
        assert await books.objects.owner(MINE, "file-1") == made("file-1")
        assert await books.objects.owner(THEIRS, "file-1") is None
        assert await books.objects.owner(MINE, "file-2") is None
        assert await books.objects.listed(THEIRS, Kind.file) == []
        assert await names(books) == ["file-1"]


@pytest.mark.parametrize("booked", [False, True], ids=["waiting", "booked"])
async def test_what_is_another_keys_is_told_from_what_is_nobodys(tmp_path, log, booked):
    async with the_books(tmp_path, log) as books:
        ours, theirs = (
            (made("both"), made("mine")),
            (made("both", key=THEIRS), made("theirs", key=THEIRS)),
        )
        for one in (*ours, *theirs, made("gone", key=THEIRS)):
            books.objects.bind(one)
        if booked:
            await books.book()
            books.objects._known.clear()
        books.objects.forget(made("gone", key=THEIRS))
        asked = ["both", "mine", "theirs", "gone", "nobodys", "", "x" * 257]
        assert await books.objects.of_others(MINE, asked) == {"theirs"}
        assert await books.objects.of_others(MINE, ["", "x" * 257]) == set()


async def test_an_object_that_a_client_knows_of_survives_the_process(tmp_path, log):
    books = await opened(tmp_path, log)
    books.objects.bind(made("file-1"))
    books.objects.bind(made("file-2", 1))
    books.objects.forget(made("file-1"))
    await killed(books)
    async with the_books(tmp_path, log) as books:
        assert stored(tmp_path) == ["file-2"]
        assert await books.objects.owner(MINE, "file-1") is None
        assert await books.objects.owner(MINE, "file-2") == made("file-2", 1)


async def test_a_replay_that_is_repeated_leaves_the_same_objects(tmp_path, log):
    books = await opened(tmp_path, log)
    for number in range(20):
        books.objects.bind(made(f"file-{number:02d}", number))
        books.settle(row(number))
    books.objects.forget(made("file-03", 3))
    await killed(books)
    for _ in range(2):
        books = await opened(tmp_path, log)
        await books.ledger._writer.execute("UPDATE standing SET segment = 0, byte = 0")
        await killed(books)
    assert stored(tmp_path) == [f"file-{number:02d}" for number in range(20) if number != 3]


async def test_the_journal_is_not_replayed_from_beyond_an_object_that_waits(tmp_path, log):
    async with the_books(tmp_path, log) as books:
        books.objects.bind(made("file-1"))
        assert await books.book()
        assert books.ledger.position == books._journal.end
        assert books.objects.waiting == ()
        assert stored(tmp_path) == ["file-1"]


@pytest.mark.parametrize("booked", [False, True], ids=["waiting", "booked"])
async def test_a_deleted_object_is_as_absent_as_one_that_never_was(tmp_path, log, booked):
    async with the_books(tmp_path, log) as books:
        books.objects.bind(made("file-1"))
        if booked:
            await books.book()
        books.objects.forget(made("file-1"))
        assert await books.objects.owner(MINE, "file-1") is None
        assert await names(books) == []
        await books.book()
        assert await books.objects.owner(MINE, "file-1") is None
        assert stored(tmp_path) == []


async def test_the_later_of_two_objects_with_one_id_has_it(tmp_path, log):
    async with the_books(tmp_path, log) as books:
        books.objects.bind(made("file-1"))
        await books.book()
        books.objects.bind(made("file-1", 5, account="other"))
        assert (await books.objects.owner(MINE, "file-1")).account == "other"
        await books.book()
        books.objects._known.clear()
        assert (await books.objects.owner(MINE, "file-1")).account == "other"


async def test_objects_are_listed_by_kind_and_provider_the_newest_first(tmp_path, log):
    async with the_books(tmp_path, log) as books:
        for number in range(4):
            books.objects.bind(made(f"file-{number}", number))
        books.objects.bind(made("batch-1", 9, kind=Kind.batch))
        await books.book()
        books.objects.bind(made("file-4", 4, provider="azure-openai", account="blue"))
        books.objects.bind(made("file-x", 5, key=THEIRS))
        books.objects.forget(made("file-2", 2))
        assert await names(books) == ["file-4", "file-3", "file-1", "file-0"]
        assert await names(books, provider="openai") == ["file-3", "file-1", "file-0"]
        assert await names(books, oldest_first=True, limit=2) == ["file-0", "file-1"]


async def test_a_list_is_read_on_page_by_page_across_memory_and_database(tmp_path, log):
    async with the_books(tmp_path, log) as books:
        for number in range(7):
            if number == 4:
                await books.book()
            books.objects.bind(made(f"file-{number}", number))
        first = await names(books, limit=3)
        second = await names(books, limit=3, after=first[-1])
        third = await names(books, limit=3, after=second[-1])
        assert first + second + third == [f"file-{number}" for number in reversed(range(7))]
        assert await names(books, limit=2, after="file-4", oldest_first=True) == [
            "file-5",
            "file-6",
        ]
        assert await names(books, after="file-of-somebody-else") == []


async def test_what_is_booked_while_a_list_is_read_is_in_it(tmp_path, log):
    async with the_books(tmp_path, log) as books:
        books.objects.bind(made("file-1"))
        read = books.objects._read

        async def slowly(query):
            rows = await read(query)
            await books.book()
            return rows

        books.objects._read = slowly
        assert await names(books) == ["file-1"]
        assert books.objects.waiting == ()


async def test_memory_holds_the_objects_that_were_asked_for_last(tmp_path, log, monkeypatch):
    monkeypatch.setattr(module, "MAX_KNOWN", 2)
    async with the_books(tmp_path, log) as books:
        for name in ("file-1", "file-2", "file-3"):
            books.objects.bind(made(name))
        await books.book()
        assert [name for _, name in books.objects._known] == ["file-2", "file-3"]
        assert await books.objects.owner(MINE, "file-1") is not None
        assert await books.objects.owner(MINE, "file-3") is not None
        assert [name for _, name in books.objects._known] == ["file-1", "file-3"]


async def test_a_full_disk_keeps_objects_in_memory_and_lets_no_call_in(
    tmp_path, log, said, monkeypatch
):
    def failing(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    books = await opened(tmp_path, log)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing)
        patch.setattr(os, "posix_fallocate", failing)
        assert not books.objects.bind(made("file-1"))
        assert not books.open_for_calls
        assert await books.objects.owner(MINE, "file-1") is not None
        books._retry()
        assert not books.open_for_calls
    books._retry()
    assert books.open_for_calls
    await killed(books)
    async with the_books(tmp_path, log) as books:
        assert await books.objects.owner(MINE, "file-1") == made("file-1")
    assert "the journal cannot be written" in said()


async def test_what_the_database_has_need_not_be_written_again(tmp_path, log):
    async with the_books(tmp_path, log) as books:
        books.objects.bind(made("file-1"))
        books.objects.doubt()
        await books.book()
        end = books._journal.end
        assert books.objects.retry()
        assert books._journal.end == end


@pytest.mark.parametrize("name", ["", "x" * 257, "file\n1", "dat\u00e9i"])
async def test_an_id_that_no_provider_gives_is_nobodys(tmp_path, log, name):
    async with the_books(tmp_path, log) as books:
        assert not books.objects.bind(made(name))
        assert await books.objects.owner(MINE, name) is None
        assert await names(books) == []


async def test_responses_are_remembered_for_as_long_as_openai_has_them(tmp_path, log):
    day = 86_400_000_000
    async with the_books(tmp_path, log) as books:
        for kind in (Kind.response, Kind.file):
            books.objects.bind(made(f"{kind}-old", -36 * day, kind=kind))
            books.objects.bind(made(f"{kind}-new", -34 * day, kind=kind))
        await books.book()
        await books._upkeep.run(books._wall())
        assert stored(tmp_path) == ["file-old", "file-new", "response-new"]


@pytest.mark.parametrize("record", [b"O[]", b"O{}", b'O["a","b","c","d","e","f"]', b"Ox"])
def test_a_record_that_is_no_object_is_refused(record):
    with pytest.raises(ValueError, match=r"."):
        read_change(record)


async def test_a_damaged_record_of_an_object_is_set_aside(tmp_path, log):
    books = await opened(tmp_path, log)
    books._journal.append(b"O[1,2,3]")
    books.objects.bind(made("file-1"))
    await killed(books)
    async with the_books(tmp_path, log):
        assert stored(tmp_path) == ["file-1"]
        with closing(connect(tmp_path / "state" / "ledger.db")) as database:
            ((reason,),) = database.execute("SELECT reason FROM quarantine").fetchall()
    assert "a record of an object that is none" in reason
