"""What is bad, and how bad."""

from __future__ import annotations

import pytest

from proxy.cli import findings
from proxy.cli.findings import Level
from proxy.cli.machine import _limit
from proxy.cli.reach import _offset

GIB = 1 << 30


@pytest.mark.parametrize(
    ("limit", "used", "level"),
    [(65536, 97, "ok"), (-1, 97, "ok"), (4096, None, "ok"), (4096, 3500, "warn"), (1024, None, "warn"), (255, 9, "fail")],
)  # fmt: skip
def test_descriptors_are_for_two_a_stream(limit, used, level):
    found = findings.descriptors(limit, used, "the daemon")
    assert found.level == level
    assert bool(found.todo) == (level != "ok")


@pytest.mark.parametrize(
    ("offsets", "level", "said"),
    [
        ([], "ok", "not compared"),
        ([0.4, 900.0], "ok", "within 5 s"),
        ([-7.2], "warn", "7 s behind"),
        ([61.0, 70.0], "fail", "61 s ahead of"),
    ],
)
def test_the_clock_is_compared_with_the_provider_that_agrees_best(offsets, level, said):
    found = findings.clock(offsets)
    assert found.level == level
    assert said in found.found


@pytest.mark.parametrize(
    ("free", "level"), [(GIB, "ok"), (GIB - 1, "warn"), (128 << 20, "warn"), (1, "fail")]
)
def test_a_disk_has_room_for_the_journal(free, level):
    assert findings.disk(free, "/state").level == level


@pytest.mark.parametrize(
    ("mode", "owner", "user", "level"),
    [(0o40700, 5, 5, "ok"), (0o40700, 5, 0, "ok"), (0o40700, 5, 6, "warn"), (0o40750, 5, 5, "fail")],
)  # fmt: skip
def test_the_state_is_for_its_owner_alone(mode, owner, user, level):
    assert findings.directory(mode, owner, user, "/state").level == level


@pytest.mark.parametrize(("mode", "level"), [(0o640, "ok"), (0o644, "ok"), (0o666, "fail")])
def test_the_configuration_is_not_for_anybody_to_change(mode, level):
    assert findings.config_file(mode, "c.toml").level == level


def test_another_distribution_with_our_package_is_told():
    assert findings.package("1", "/here", ["splice-gateway"]).level is Level.OK
    assert findings.package("1", "/here", []).level is Level.OK
    both = findings.package("1", "/here", ["proxy.py", "splice-gateway"])
    assert both.level is Level.FAIL
    assert "beside `proxy` of proxy.py" in both.found


def test_parsers_in_python_are_a_failure():
    found = findings.extensions(["parser of HTTP"], "aiohttp 3", "install it")
    assert (found.level, found.found) == (Level.FAIL, "aiohttp's parser of HTTP in Python")


def test_a_limit_is_the_soft_one():
    head = "Limit                     Soft Limit           Hard Limit           Units\n"
    line = "Max open files            1024                 1048576              files\n"
    assert _limit(head + line) == 1024
    assert _limit(head + line.replace("1024 ", "unlimited ", 1)) == -1


@pytest.mark.parametrize(
    ("date", "offset"),
    [(b"Thu, 01 Jan 1970 00:01:40 GMT", 9.5), (b"", None), (b"soon", None), (b"\xff", None)],
)
def test_a_date_is_taken_for_the_middle_of_its_second(date, offset):
    assert _offset(date, 110.0) == offset
