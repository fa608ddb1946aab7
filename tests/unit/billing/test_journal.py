"""Records outlive the process that wrote them, whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from itertools import accumulate
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.billing import journal as module
from proxy.billing.journal import Journal, Position, scan
from proxy.billing.state import Unusable, lock, prepare

SIZE = 4096


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "journal", size=SIZE)
    made.open()
    yield made
    made.close()


def synced(journal):
    work = journal.begin_sync()
    work.run()
    journal.end_sync(work)
    return work


def records(journal, number=1):
    return [line.record for line in scan(journal.read(number))]


def line_of(record):
    return b"%08x %b\n" % (crc32(record), record)


def failing(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_record_is_one_line_with_its_checksum(journal):
    assert journal.append(b'S["a"]')
    assert journal.read(1).rstrip(b"\0") == b'855d88eb S["a"]\n'
    assert journal.end == Position(1, len(b'855d88eb S["a"]\n'))


def test_it_is_readable_before_anything_is_synced_or_closed(journal):
    journal.append(b"S1")
    journal.append(b"S2")
    assert records(journal) == [b"S1", b"S2"]


def test_only_the_owner_may_read_it(journal):
    assert stat.S_IMODE(journal.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(journal.path(1).stat().st_mode) == 0o600


def test_room_is_allocated_ahead_and_given_back_at_the_end(journal):
    assert journal.path(1).stat().st_size == SIZE
    journal.append(b"S1")
    journal.close()
    assert journal.path(1).stat().st_size == len(line_of(b"S1"))


def test_each_start_begins_a_segment_of_its_own(journal):
    journal.append(b"S1")
    journal.close()
    again = Journal(journal.directory, size=SIZE)
    again.open()
    again.append(b"S2")
    assert again.segments() == [1, 2]
    assert (records(again, 1), records(again, 2)) == ([b"S1"], [b"S2"])
    again.close()


def test_a_full_segment_is_followed_by_the_next(journal):
    wanted = [b"S%d" % number * 40 for number in range(200)]
    for record in wanted:
        assert journal.append(record)
    assert len(journal.segments()) > 2
    found = [one for number in journal.segments() for one in records(journal, number)]
    assert found == wanted
    assert all(journal.path(number).stat().st_size <= SIZE for number in journal.segments())


def test_the_next_segment_is_made_ahead_of_need(journal):
    while journal.end.offset <= SIZE // 2:
        journal.append(b"S" * 100)
    synced(journal)
    (spare,) = journal.directory.glob("*.spare")
    assert spare.stat().st_size == SIZE
    assert journal.segments() == [1]
    while journal.end.segment == 1:
        journal.append(b"S" * 100)
    assert journal.segments() == [1, 2]
    assert not list(journal.directory.glob("*.spare"))


def test_a_spare_that_comes_too_late_is_the_one_after(journal):
    while journal.end.offset <= SIZE // 2:
        journal.append(b"S" * 100)
    work = journal.begin_sync()
    while journal.end.segment == 1:
        journal.append(b"T" * 100)
    work.run()
    journal.end_sync(work)
    assert records(journal, 2) == [b"T" * 100]
    while journal.end.segment == 2:
        journal.append(b"U" * 100)
    assert not list(journal.directory.glob("*.spare"))
    assert records(journal, 3) == [b"U" * 100]


def test_two_processes_never_take_the_same_number(journal):
    other = Journal(journal.directory, size=SIZE)
    other.open(alone=False)
    wanted: dict[Journal, list[bytes]] = {}
    for number in range(200):
        one = (journal, other)[number % 2]
        assert one.append(b"S%d" % number * 40)
        wanted.setdefault(one, []).append(b"S%d" % number * 40)
        if one.needs_sync and number % 7 == 0:
            synced(one)
    for one, another in ((journal, other), (other, journal)):
        mine = [found for segment in another.others(1) for found in records(one, segment)]
        assert mine == wanted[one]
    assert not set(journal.others(1)) & set(other.others(1))
    other.close()


def test_the_spare_of_a_process_on_its_way_out_is_left_alone(journal):
    while journal.end.offset <= SIZE // 2:
        journal.append(b"S" * 100)
    synced(journal)
    other = Journal(journal.directory, size=SIZE)
    other.open(alone=False)
    while journal.end.segment == 1:
        assert journal.append(b"S" * 100)
    assert (other.end.segment, journal.end.segment) == (2, 3)
    other.close()


def test_a_spare_that_was_left_behind_is_removed(journal):
    (journal.directory / "0000000009.spare").write_bytes(b"\0" * 10)
    journal.close()
    again = Journal(journal.directory, size=SIZE)
    again.open()
    again.close()
    assert not list(journal.directory.glob("*.spare"))


def test_without_room_for_a_spare_the_segment_is_still_written(journal, monkeypatch):
    while journal.end.offset <= SIZE // 2:
        journal.append(b"S" * 100)
    monkeypatch.setattr(os, "posix_fallocate", failing)
    assert synced(journal).error is None
    assert journal.append(b"S1")
    assert synced(journal).spare is None, "it is asked for again only further on"


def test_a_full_disk_is_told_by_append_and_forgotten_when_there_is_room_again(journal, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", failing)
    kept = [journal.append(b"S%03d" % number * 100) for number in range(12)]
    assert kept.count(False) >= 1
    assert kept == sorted(kept, reverse=True)
    assert journal.failure is not None
    assert journal.failure.errno == errno.ENOSPC
    monkeypatch.undo()
    assert journal.append(b"Safter")
    assert journal.failure is None
    assert records(journal, 1) == [b"S%03d" % number * 100 for number in range(kept.count(True))]
    assert records(journal, 2) == [b"Safter"]


def test_half_a_line_is_taken_back(journal, monkeypatch):
    journal.append(b"S1")
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, data[:5], at))
    assert not journal.append(b"S2")
    monkeypatch.undo()
    assert journal.path(1).stat().st_size == len(line_of(b"S1"))
    assert journal.append(b"S3")
    assert (records(journal, 1), records(journal, 2)) == ([b"S1"], [b"S3"])


def test_what_could_not_be_synced_is_told(journal, monkeypatch):
    journal.append(b"S1")
    monkeypatch.setattr(os, "fdatasync", failing)
    assert synced(journal).error is not None
    assert journal.failure is not None
    monkeypatch.undo()
    assert journal.append(b"S2")
    assert journal.end.segment == 2, "what was written there may be gone"


def test_there_is_nothing_to_sync_when_nothing_was_written(journal):
    synced(journal)
    assert not journal.needs_sync
    journal.append(b"S1")
    assert journal.needs_sync


def test_a_symbolic_link_is_not_followed(tmp_path):
    prepare(tmp_path / "state")
    (tmp_path / "elsewhere").write_text("mine")
    directory = tmp_path / "state" / "journal"
    directory.mkdir()
    (directory / "0000000001.journal").symlink_to(tmp_path / "nowhere")
    (directory / "0000000002.journal").symlink_to(tmp_path / "elsewhere")
    made = Journal(directory, size=SIZE)
    made.open()
    made.append(b"S1")
    made.close()
    assert made.end.segment == 3
    assert (tmp_path / "elsewhere").read_text() == "mine"
    with pytest.raises(OSError, match="symbolic links"):
        made.read(2)


def test_a_directory_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", failing)
    with pytest.raises(Unusable, match=r"journal \(No space left on device\), expected .* 64 MiB"):
        Journal(tmp_path / "journal").open()


def test_old_segments_go_when_nobody_needs_them(journal, monkeypatch):
    for number in range(200):
        journal.append(b"S%d" % number * 40)
    journal.close()
    numbers = journal.segments()
    now = journal.path(1).stat().st_mtime
    journal.prune(3, now + 60)
    assert journal.segments() == numbers, "a backup of yesterday is rolled forward from them"
    journal.prune(3, now + 8 * 86_400)
    assert journal.segments() == [number for number in numbers if number >= 3]
    monkeypatch.setattr(module, "_KEEP_BYTES", 1)
    journal.prune(5, now)
    assert journal.segments() == [number for number in numbers if number >= 5]


# What is read back.


def test_a_torn_last_line_is_dropped():
    data = line_of(b"S1") + line_of(b"S2")
    for cut in range(len(line_of(b"S1")), len(data)):
        assert [line.record for line in scan(data[:cut])] == [b"S1"]
        assert [line.record for line in scan(data[:cut] + b"\0" * 50)] == [b"S1"]


def test_damage_in_the_middle_is_kept_apart_and_reading_goes_on():
    bad = line_of(b"S2").replace(b"S2", b"S3")
    found = list(scan(line_of(b"S1") + bad + line_of(b"S4")))
    assert [line.record for line in found] == [b"S1", None, b"S4"]
    assert found[1].raw == bad[:-1]


def test_reading_goes_on_from_where_it_stopped():
    data = line_of(b"S1") + line_of(b"S2")
    (first, _) = scan(data)
    assert [line.record for line in scan(data, first.after)] == [b"S2"]


json = st.binary(max_size=60).map(lambda data: b"S" + data.hex().encode())


@given(st.lists(json, max_size=20), st.data())
def test_any_prefix_of_a_segment_is_a_prefix_of_its_records(wanted, data):
    written = b"".join(map(line_of, wanted))
    cut = data.draw(st.integers(0, len(written)))
    found = [line.record for line in scan(written[:cut] + b"\0" * data.draw(st.integers(0, 9)))]
    ends = accumulate(len(line_of(record)) for record in wanted)
    assert found == wanted[: sum(end <= cut for end in ends)]


@given(st.lists(json, min_size=1, max_size=20), st.data())
def test_a_changed_byte_costs_no_other_record(wanted, data):
    written = bytearray(b"".join(map(line_of, wanted)))
    at = data.draw(st.integers(0, len(written) - 2))
    written[at] ^= 1 << data.draw(st.integers(0, 6))
    found = [line.record for line in scan(bytes(written)) if line.record is not None]
    assert len(found) >= len(wanted) - 2
    assert set(found) <= set(wanted)


# One at a time.


def test_a_second_process_is_told_who_has_the_directory(tmp_path):
    prepare(tmp_path)
    held = lock(tmp_path)
    with pytest.raises(Unusable, match=rf"in use by process {os.getpid()}, expected to be alone"):
        lock(tmp_path)
    os.close(held)
    os.close(lock(tmp_path))


def test_the_state_directory_is_its_owners(tmp_path):
    prepare(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    prepare(tmp_path / "a" / "b")
